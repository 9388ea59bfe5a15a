package relay

import (
	"context"
	"errors"
	"testing"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origin"
	"github.com/jumpget/jumpget/internal/origintest"
)

func TestRemoveOneOfTwo(t *testing.T) {
	t.Parallel()
	f := origintest.File{Size: 3 * mib, Seed: 1}
	o := origintest.New(t, f)
	h := hold(realFetcher(t), mib)
	w := newWorld(t, with(func(c *Config) { c.Fetcher = h }))
	first, second := w.submit(alice, get(o.URL(""))).Job, w.submit(bob, get(o.URL(""))).Job
	wait(t, "the first chunk", h.reached)
	watched := w.watchAside(w.ctx(), alice, first, 0)
	if err := w.Remove(w.ctx(), alice, first); err != nil {
		t.Fatal(err)
	}
	wantCode(t, (<-watched).err, job.CodeRemoved)
	h.free()
	w.finish(bob, second, job.Ready)
	w.wantFile(bob, second, f)
	if o.Count() != 1 {
		t.Errorf("%d requests", o.Count())
	}
}

func TestRemoveTheLast(t *testing.T) {
	t.Parallel()
	o := origintest.New(t, origintest.File{Size: 3 * mib, ETag: `"v1"`})
	h := hold(realFetcher(t), mib)
	w := newWorld(t, with(func(c *Config) { c.Fetcher = h }))
	id := w.submit(alice, get(o.URL(""))).Job
	b := w.body(alice, id)
	read := make(chan error, 1)
	go func() {
		_, err := readAll(w.ctx(), b)
		read <- err
	}()
	watched := w.watchAside(w.ctx(), alice, id, 0)
	wait(t, "the first chunk", h.reached)
	if err := w.Remove(w.ctx(), alice, id); err != nil {
		t.Fatal(err)
	}
	wantCode(t, <-read, job.CodeRemoved)
	wantCode(t, (<-watched).err, job.CodeRemoved)
	_, err := w.Status(w.ctx(), alice, id)
	wantCode(t, err, job.CodeNotFound)
	until(t, "the body is removed", func() bool { return len(w.files()) == 0 })
	if os, err := w.db.Objects(w.ctx()); err != nil || len(os) != 0 {
		t.Errorf("%d records are left, %v", len(os), err)
	}
}

// TestJoinAfterTheLastLeft submits to a fetch that has been cancelled but does
// not know it yet.
func TestJoinAfterTheLastLeft(t *testing.T) {
	t.Parallel()
	f := origintest.File{Size: 3 * mib, Seed: 1, ETag: `"v1"`}
	begun, end := make(chan struct{}), make(chan struct{})
	s := new(scripted)
	s.fetch = func(ctx context.Context, req *job.Request, prior *origin.Prior, sink origin.Sink) (origin.Result, error) {
		if s.fetches() > 1 {
			return bringFile(ctx, f, prior, sink)
		}
		if _, err := sink.Begin(ctx, origin.Meta{Name: "f", Size: f.Size, ETag: f.ETag}); err != nil {
			return origin.Result{}, err
		}
		p := make([]byte, mib)
		_, _ = f.Content().ReadAt(p, 0)
		_, err := sink.WriteAt(p, 0)
		close(begun)
		<-end
		return origin.Result{}, errors.Join(err, errors.New("cut off"))
	}
	w := newWorld(t, with(func(c *Config) { c.Fetcher = s }))
	first := w.submit(alice, get("http://origin/f")).Job
	wait(t, "the fetch has begun", begun)
	b := w.body(alice, first)
	until(t, "the first chunk is hashed", func() bool { n := w.hashedOf(b.lv); return n.Len() == 1 })
	b.Close()
	if err := w.Remove(w.ctx(), alice, first); err != nil {
		t.Fatal(err)
	}
	second := w.submit(bob, get("http://origin/f")).Job
	if st, err := w.Status(w.ctx(), bob, second); err != nil || st.Job.State != job.Queued {
		t.Errorf("who joins what is being given up is %+v, %v", st, err)
	}
	close(end)
	w.finish(bob, second, job.Ready)
	w.wantFile(bob, second, f)
	if p := s.priors[1]; p == nil || p.Have.Len() != mib {
		t.Errorf("the second fetch goes on from %+v", p)
	}
}

// TestRemoveKeepsOthersObject removes a job while its flight verifies an object
// that is another user's as well.
func TestRemoveKeepsOthersObject(t *testing.T) {
	t.Parallel()
	f := origintest.File{Size: 3 * mib, Seed: 1, ETag: `"v1"`}
	o := origintest.New(t, f)
	d := new(disk)
	w := newWorld(t, withDisk(d))
	first := w.bring(alice, get(o.URL("")))
	verifying, release := d.holdReads(t)
	w.restart()
	second := w.submit(bob, get(o.URL(""))).Job
	wait(t, "the verification has begun", verifying)
	if err := w.Remove(w.ctx(), bob, second); err != nil {
		t.Fatal(err)
	}
	// The flight need not wait for the disk to end.
	until(t, "the flight has landed", func() bool { return w.flying() == 0 })
	release()
	w.wantFile(alice, first.Job.ID, f)
	if o.Count() != 2 { // the fetch, and the question whether it still stands
		t.Errorf("%d requests", o.Count())
	}
}

// TestGivenUpPartIsKept removes the only job of a fetch that goes on from what
// another user's failed job has left: that is not taken away.
func TestGivenUpPartIsKept(t *testing.T) {
	t.Parallel()
	f := fourChunks
	f.Faults = []origintest.Fault{func(r *origintest.Reply) {
		switch r.N {
		case 1:
			origintest.Close(2 * mib)(r)
		case 2:
			origintest.Status(404)(r)
		}
	}}
	o := origintest.New(t, f)
	h := hold(realFetcher(t), 3*mib)
	w := newWorld(t, with(func(c *Config) { c.Fetcher = h }))
	w.finish(alice, w.submit(alice, get(o.URL(""))).Job, job.Failed)
	second := w.submit(bob, get(o.URL(""))).Job
	wait(t, "the third chunk", h.reached)
	if err := w.Remove(w.ctx(), bob, second); err != nil {
		t.Fatal(err)
	}
	until(t, "the flight has landed", func() bool { return w.flying() == 0 })
	h.free()
	st := w.bring(alice, get(o.URL("")))
	w.wantFile(alice, st.Job.ID, f)
	if got := lastAnswer(o); got.Start < 2*mib {
		t.Errorf("fetched again from %d", got.Start)
	}
}
