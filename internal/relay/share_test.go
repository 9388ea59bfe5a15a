package relay

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origin"
	"github.com/jumpget/jumpget/internal/origintest"
)

func TestTwoClientsShareAFetch(t *testing.T) {
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
	until(t, "the flight has landed", func() bool { return w.inFlight() == 0 })
	if s.fetches() != 1 {
		t.Errorf("%d fetches", s.fetches())
	}
}

func (w *world) inFlight() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.flights)
}

// TestPrivateIsNeverShared has users ask for one URL with and without
// credentials: nobody gets what was fetched with another's.
func TestPrivateIsNeverShared(t *testing.T) {
	f := origintest.File{Size: 100, Seed: 1, ETag: `"v1"`, User: "u", Password: "p"}
	o := origintest.New(t, f)
	w := newWorld(t)
	basic := job.Request{URL: o.URL(""), Username: "u", Password: "p"}
	inURL := get("http://u:p@" + o.Addr() + origintest.DefaultPath)
	header := job.Request{URL: o.URL(""), Header: []job.Field{{Name: "Authorization", Value: "Basic dTpw"}}}

	objects := map[job.ID]bool{}
	for name, who := range map[string]struct {
		owner string
		req   job.Request
	}{
		"alice": {alice, basic}, "bob": {bob, basic}, "alice, in the URL": {alice, inURL}, "bob, in a header": {bob, header},
	} {
		st := w.bring(who.owner, who.req)
		if objects[st.Object.ID] {
			t.Errorf("%s got somebody else's object", name)
		}
		objects[st.Object.ID] = true
		if st.Job.URL != o.URL("") || st.Object.URL != o.URL("") {
			t.Errorf("%s: the password is kept in %q", name, st.Job.URL)
		}
	}
	st := w.finish(bob, w.submit(bob, get(o.URL(""))).Job, job.Failed)
	if e := wantCode(t, st.Job.Error, job.CodeOriginLogin); e.Status != 401 {
		t.Errorf("without credentials the status is %d", e.Status)
	}
	if again := w.bring(alice, basic); !objects[again.Object.ID] {
		t.Error("alice's own object is not reused for her")
	}
}

// TestCredentialsEndWithTheJob looks for them in the store once a job is final.
func TestCredentialsEndWithTheJob(t *testing.T) {
	f := origintest.File{Size: 2 * mib, User: "u", Password: "p"}
	o := origintest.New(t, f, origintest.File{Path: "/bad", Faults: []origintest.Fault{origintest.Status(404)}})
	h := hold(realFetcher(t), mib)
	w := newWorld(t, with(func(c *Config) { c.Fetcher = h }))
	id := w.submit(alice, job.Request{URL: o.URL(""), Username: "u", Password: "p"}).Job
	wait(t, "the first chunk", h.reached)
	if req, err := w.db.Request(w.ctx(), id); err != nil || req.Password != "p" {
		t.Errorf("while it is fetched the request is %+v, %v", req, err)
	}
	h.free()
	w.finish(alice, id, job.Ready)
	bad := w.submit(alice, job.Request{URL: o.URL("/bad"), Username: "u", Password: "p"}).Job
	w.finish(alice, bad, job.Failed)
	for _, id := range []job.ID{id, bad} {
		until(t, "the request is wiped", func() bool { _, err := w.db.Request(w.ctx(), id); return err != nil })
	}
}

// TestNothingSecretIsLogged searches the log of a job's whole life for what
// would let its reader act as somebody else.
func TestNothingSecretIsLogged(t *testing.T) {
	f := origintest.File{Path: "/f", Size: 10, ETag: `"v1"`, User: "u", Password: "hunter2"}
	o := origintest.New(t, f)
	var out logged
	w := newWorld(t, with(func(c *Config) {
		c.Log = slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}))
	ticket := w.submit(alice, job.Request{
		URL: "http://u:hunter2@" + o.Addr() + "/f?signature=s3cret", Header: []job.Field{{Name: "X-Key", Value: "k3y"}},
	}, home)
	w.finish(alice, ticket.Job, job.Ready)
	w.Authorize(w.ctx(), ticket.Job, ticket.Token, home)
	again, err := w.Renew(w.ctx(), alice, ticket.Job)
	if err != nil {
		t.Fatal(err)
	}
	bad := w.submit(alice, get("http://u:wr0ng@"+o.Addr()+"/f?signature=s3cret"))
	w.finish(alice, bad.Job, job.Failed)
	w.restart()
	if err := w.Remove(w.ctx(), alice, ticket.Job); err != nil {
		t.Fatal(err)
	}
	w.close()
	log := out.String()
	for _, secret := range []string{"hunter2", "wr0ng", "s3cret", "k3y", ticket.Token, again.Token, bad.Token} {
		if strings.Contains(log, secret) {
			t.Errorf("%q is in the log:\n%s", secret, log)
		}
	}
	for _, event := range []string{"submit", "fetched", "serve", "renew", "fetch failed", "remove"} {
		if !strings.Contains(log, `"msg":"`+event+`"`) {
			t.Errorf("the log does not tell of %q:\n%s", event, log)
		}
	}
}

// TestCanonicalURL checks that a public request can be made again from what is
// kept of it, whatever way its URL was written.
func TestCanonicalURL(t *testing.T) {
	f := origintest.File{Path: "/a b", Size: 10, ETag: `"v1"`}
	o := origintest.New(t, f)
	w := newWorld(t)
	st := w.bring(alice, get("HTTP://"+o.Addr()+"/a b"))
	req := get(st.Job.URL)
	if st.Job.Key != req.Key(alice) || st.Object.Name != "a b" {
		t.Errorf("the job is %+v", st.Job)
	}
}

func TestRemoveOneOfTwo(t *testing.T) {
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
	until(t, "the flight has landed", func() bool { return w.inFlight() == 0 })
	release()
	w.wantFile(alice, first.Job.ID, f)
	if o.Count() != 2 { // the fetch, and the question whether it still stands
		t.Errorf("%d requests", o.Count())
	}
}

// TestGivenUpPartIsKept removes the only job of a fetch that goes on from what
// another user's failed job has left: that is not taken away.
func TestGivenUpPartIsKept(t *testing.T) {
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
	until(t, "the flight has landed", func() bool { return w.inFlight() == 0 })
	h.free()
	st := w.bring(alice, get(o.URL("")))
	w.wantFile(alice, st.Job.ID, f)
	if got := lastAnswer(o); got.Start < 2*mib {
		t.Errorf("fetched again from %d", got.Start)
	}
}

func TestETagChangesMidFile(t *testing.T) {
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
	f := origintest.File{Size: mib + 1, Seed: 1}
	good := origintest.New(t, f)
	bad := origintest.New(t, origintest.File{Faults: []origintest.Fault{origintest.Status(http.StatusGone)}})
	w := newWorld(t)
	st := w.bring(alice, job.Request{URL: bad.URL(""), Mirrors: []string{good.URL("")}})
	w.wantFile(alice, st.Job.ID, f)
}
