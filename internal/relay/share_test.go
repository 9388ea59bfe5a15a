package relay

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origintest"
)

func TestTwoClientsShareAFetch(t *testing.T) {
	t.Parallel()
	f := origintest.File{Size: 3 * mib, Seed: 1, ETag: `"v1"`}
	o := origintest.New(t, f)
	h := hold(realFetcher(t), mib+1)
	w := newWorld(t, with(func(c *Config) { c.Fetcher = h }))
	first := w.submit(alice, get(o.URL(""))).Job
	wait(t, "the first chunk", h.reached)
	second := w.submit(bob, get(o.URL(""))).Job
	st, err := w.Status(w.ctx(), bob, second)
	if err != nil || st.Job.State != job.Fetching || st.Received < mib {
		t.Errorf("the second job joins as %+v, %v", st, err)
	}
	h.free()
	a, b := w.finish(alice, first, job.Ready), w.finish(bob, second, job.Ready)
	if a.Object.ID != b.Object.ID {
		t.Error("two objects")
	}
	w.wantFile(bob, second, f)
	if n := o.Count(); n != 1 || o.Sent() != f.Size {
		t.Errorf("%d requests, %d bytes", n, o.Sent())
	}
}

func TestReuse(t *testing.T) {
	t.Parallel()
	modified := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	old := origintest.File{Size: 2 * mib, Seed: 1, ETag: `"v1"`}
	for name, tt := range map[string]struct {
		file   origintest.File
		change func(*origintest.Server)
		fresh  bool
		reused bool
		status int // of the origin's last answer; 0: not asked
	}{
		"unchanged":         {file: old, reused: true, status: 304},
		"unchanged by date": {file: origintest.File{Size: 10, LastModified: modified}, reused: true, status: 304},
		"weak tag":          {file: origintest.File{Size: 10, ETag: `W/"v1"`}, reused: true, status: 304},
		"no validator":      {file: origintest.File{Size: 10}, status: 200},
		"changed": {file: old, change: func(s *origintest.Server) {
			s.Add(origintest.File{Size: 2 * mib, Seed: 2, ETag: `"v2"`})
		}, status: 200},
		"fresh":  {file: old, fresh: true, status: 200},
		"away":   {file: old, change: (*origintest.Server).Close, reused: true},
		"broken": {file: old, change: func(s *origintest.Server) { s.Add(origintest.File{Faults: []origintest.Fault{origintest.Status(503)}}) }, reused: true, status: 503},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := origintest.New(t, tt.file)
			w := newWorld(t)
			first := w.bring(alice, get(o.URL("")))
			asked := o.Count()
			if tt.change != nil {
				tt.change(o)
			}
			second := w.bring(bob, job.Request{URL: o.URL(""), Fresh: tt.fresh})
			if got := second.Object.ID == first.Object.ID; got != tt.reused {
				t.Errorf("reused: %v", got)
			}
			log := o.Requests()[asked:]
			if tt.status == 0 && len(log) > 0 || tt.status != 0 && log[len(log)-1].Status != tt.status {
				t.Errorf("the origin was asked %+v", log)
			}
			// The first client keeps the version that it was told of.
			w.wantFile(alice, first.Job.ID, tt.file)
		})
	}
}

func TestReuseOfWhatIsGone(t *testing.T) {
	t.Parallel()
	o := origintest.New(t, origintest.File{Size: 10, ETag: `"v1"`})
	w := newWorld(t)
	w.bring(alice, get(o.URL("")))
	o.Add(origintest.File{Faults: []origintest.Fault{origintest.Status(404)}})
	st := w.finish(bob, w.submit(bob, get(o.URL(""))).Job, job.Failed)
	if e := wantCode(t, st.Job.Error, job.CodeOriginStatus); e.Status != 404 {
		t.Errorf("the status is %d", e.Status)
	}
}

// TestFreshJoinsRevalidation has a fresh request come while the origin is asked for
// another one's sake: then the answer no longer counts.
func TestFreshJoinsRevalidation(t *testing.T) {
	t.Parallel()
	f := origintest.File{Size: 10, Seed: 1, ETag: `"v1"`}
	asking, answer := make(chan struct{}), make(chan struct{})
	s := &scripted{fetch: deliver(f), revalidate: func(context.Context, *job.Request, *job.Object) (bool, error) {
		close(asking)
		<-answer
		return true, nil
	}}
	w := newWorld(t, with(func(c *Config) { c.Fetcher = s }))
	first := w.bring(alice, get("http://origin/f"))
	second := w.submit(alice, get("http://origin/f")).Job
	wait(t, "the origin is asked", asking)
	third := w.submit(bob, job.Request{URL: "http://origin/f", Fresh: true}).Job
	close(answer)
	for owner, id := range map[string]job.ID{alice: second, bob: third} {
		if st := w.finish(owner, id, job.Ready); st.Object.ID == first.Object.ID {
			t.Errorf("%s got the old object", owner)
		}
	}
}

func TestRevalidationEndsWithTheJob(t *testing.T) {
	t.Parallel()
	asking := make(chan struct{})
	s := &scripted{fetch: deliver(origintest.File{Size: 10, ETag: `"v1"`}), revalidate: func(ctx context.Context, _ *job.Request, _ *job.Object) (bool, error) {
		close(asking)
		<-ctx.Done()
		return false, context.Cause(ctx)
	}}
	w := newWorld(t, with(func(c *Config) { c.Fetcher = s }))
	w.bring(alice, get("http://origin/f"))
	id := w.submit(alice, get("http://origin/f")).Job
	wait(t, "the origin is asked", asking)
	if err := w.Remove(w.ctx(), alice, id); err != nil {
		t.Fatal(err)
	}
	until(t, "the flight has landed", func() bool { return w.flying() == 0 })
	if s.fetches() != 1 {
		t.Errorf("%d fetches", s.fetches())
	}
}

func (w *world) flying() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.flights)
}

// TestCanonicalURL checks that a public request can be made again from what is
// kept of it, whatever way its URL was written.
func TestCanonicalURL(t *testing.T) {
	t.Parallel()
	f := origintest.File{Path: "/a b", Size: 10, ETag: `"v1"`}
	o := origintest.New(t, f)
	w := newWorld(t)
	st := w.bring(alice, get("HTTP://"+o.Addr()+"/a b"))
	req := get(st.Job.URL)
	if st.Job.Key != req.Key(alice) || st.Object.Name != "a b" {
		t.Errorf("the job is %+v", st.Job)
	}
}

func TestETagChangesMidFile(t *testing.T) {
	t.Parallel()
	now := origintest.File{Size: 3 * mib, Seed: 2, ETag: `"v2"`}
	f := origintest.File{Size: 3 * mib, Seed: 1, ETag: `"v1"`, Then: &now, ThenAt: 2}
	f.Faults = []origintest.Fault{origintest.Close(2*mib + 100)}
	o := origintest.New(t, f)
	h := hold(realFetcher(t), 2*mib)
	w := newWorld(t, with(func(c *Config) { c.Fetcher = h }))
	id := w.submit(alice, get(o.URL(""))).Job
	old := w.body(alice, id)
	read := make(chan error, 1)
	go func() {
		_, err := readAll(w.ctx(), old)
		read <- err
	}()
	s := new(seen)
	for e, err := range w.Watch(w.ctx(), alice, id, 1) {
		if err != nil {
			t.Fatal(err)
		}
		if s.add(e); len(s.sums[old.lv.id]) > 0 {
			h.free() // the first version's second chunk has been told
		}
	}
	wantSums(t, s.sums[old.lv.id], origintest.File{Data: content(f)[:2*mib]}, 1)
	if err := <-read; err == nil {
		t.Error("the reader of the old version got to an end")
	}
	st := s.last()
	if st.Object.ID == old.lv.id || st.Object.SHA256 != now.SHA256() || st.Object.ETag != now.ETag {
		t.Errorf("the object is %+v", st.Object)
	}
	wantSums(t, s.sums[st.Object.ID], now, 0) // those of a new version come from the start
	w.wantFile(alice, id, now)
	old.Close()
	until(t, "the old body is removed", func() bool { return len(w.files()) == 1 })
}

func TestMirror(t *testing.T) {
	t.Parallel()
	f := origintest.File{Size: mib + 1, Seed: 1}
	good := origintest.New(t, f)
	bad := origintest.New(t, origintest.File{Faults: []origintest.Fault{origintest.Status(http.StatusGone)}})
	w := newWorld(t)
	st := w.bring(alice, job.Request{URL: bad.URL(""), Mirrors: []string{good.URL("")}})
	w.wantFile(alice, st.Job.ID, f)
}
