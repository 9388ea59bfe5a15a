package relay

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origin"
	"github.com/jumpget/jumpget/internal/origintest"
)

// virtual opens a world whose clock is that of the bubble it is called in. It
// is closed by the caller, within the bubble.
func virtual(t *testing.T, opts ...option) *world {
	return newWorld(t, append(opts, func(w *world) { w.now = time.Now })...)
}

// trickle is a fetch that brings a chunk at every tick.
func trickle(f origintest.File, tick time.Duration) *scripted {
	return &scripted{fetch: func(ctx context.Context, _ *job.Request, prior *origin.Prior, sink origin.Sink) (origin.Result, error) {
		all := content(f)
		meta := origin.Meta{Name: "f", Size: f.Size, ETag: f.ETag, Resumed: prior != nil}
		have, err := sink.Begin(ctx, meta)
		if err != nil {
			return origin.Result{}, err
		}
		for at := have.From(0); at < f.Size; at += mib {
			if _, err := sink.WriteAt(all[at:min(f.Size, at+mib)], at); err != nil {
				return origin.Result{}, err
			}
			select {
			case <-time.After(tick):
			case <-ctx.Done():
				return origin.Result{}, context.Cause(ctx)
			}
		}
		return origin.Result{Meta: meta, LengthVerified: true}, nil
	}}
}

// TestCheckpoints kills a relay whose fetch has never come to a stop: what is
// older than a checkpoint is not fetched again.
func TestCheckpoints(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := fourChunks
		s := trickle(f, 3*checkpoint/2)
		w := virtual(t, with(func(c *Config) { c.Fetcher = s }))
		defer w.close()
		id := w.submit(alice, get("http://origin/f")).Job
		time.Sleep(5 * checkpoint / 2)
		synctest.Wait()
		next := w.killed()
		next.open()
		defer next.close()
		next.finish(alice, id, job.Ready)
		next.wantFile(alice, id, f)
		if p := s.priors[1]; p == nil || p.Have.Len() != 2*mib {
			t.Errorf("goes on from %+v", p)
		}
	})
}

// TestProgress counts the statuses that tell of nothing but arriving bytes.
func TestProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := trickle(fourChunks, time.Second)
		w := virtual(t, with(func(c *Config) { c.Fetcher = s }))
		defer w.close()
		seen := w.watch(alice, w.submit(alice, get("http://origin/f")).Job, 0)
		if seen.err != nil || seen.early != 4 {
			t.Errorf("%d sums before the end, %v", seen.early, seen.err)
		}
		received, rated := map[int64]bool{}, false
		for _, st := range seen.statuses {
			received[st.Received] = true
			rated = rated || st.Job.State == job.Fetching && st.Rate > mib/2 && st.Rate < 4*mib
		}
		if len(received) < 4 || len(seen.statuses) > 40 || !rated {
			t.Errorf("%d statuses with %d different amounts, a rate: %v", len(seen.statuses), len(received), rated)
		}
	})
}

// TestRun lets the cleaner run by itself: each job is seen to in its time.
func TestRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := virtual(t, with(func(c *Config) { c.Fetcher = &scripted{fetch: deliver(fourChunks)} }))
		defer w.close()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.Run(ctx)
		}()
		long := w.submit(alice, job.Request{URL: "http://origin/1", Retain: 1000}).Job
		w.finish(alice, long, job.Ready)
		time.Sleep(5 * time.Second)
		short := w.submit(alice, job.Request{URL: "http://origin/2", Retain: 7}).Job
		w.finish(alice, short, job.Ready)
		time.Sleep(7*time.Second - time.Millisecond)
		if got := w.state(alice, short); got != job.Ready {
			t.Errorf("before its time the short job is %s", got)
		}
		time.Sleep(time.Second)
		if got := w.state(alice, short); got != job.Expired {
			t.Errorf("after its time the short job is %s", got)
		}
		if n := len(w.files()); n != 1 || w.state(alice, long) != job.Ready {
			t.Errorf("%d bodies, the long job is %s", n, w.state(alice, long))
		}
		cancel()
		<-done
	})
}

// TestRevalidationTakesTooLong has the origin say nothing when it is asked
// whether its file still stands: what the relay has is used.
func TestRevalidationTakesTooLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{fetch: deliver(fourChunks), revalidate: func(ctx context.Context, _ *job.Request, _ *job.Object) (bool, error) {
			<-ctx.Done()
			return false, context.Cause(ctx)
		}}
		w := virtual(t, with(func(c *Config) { c.Fetcher = s }))
		defer w.close()
		first := w.bring(alice, get("http://origin/f"))
		start := time.Now()
		second := w.submit(bob, get("http://origin/f")).Job
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		var last job.Status
		for e, err := range w.Watch(ctx, bob, second, 0) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Status != nil {
				last = *e.Status
			}
		}
		if last.Job.State != job.Ready || last.Object.ID != first.Object.ID || time.Since(start) > revalidateTimeout+time.Second {
			t.Errorf("after %v the job is %+v", time.Since(start), last.Job)
		}
	})
}
