package relay

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origintest"
)

func (w *world) state(owner string, id job.ID) job.State {
	w.t.Helper()
	st, err := w.Status(w.ctx(), owner, id)
	if err != nil {
		w.t.Fatal(err)
	}
	return st.Job.State
}

func (w *world) objects() []job.Object {
	w.t.Helper()
	all, err := w.db.Objects(w.ctx())
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

func TestRetention(t *testing.T) {
	t.Parallel()
	f, o := small(t)
	w := newWorld(t)
	ticket := w.submit(alice, job.Request{URL: o.URL(""), Retain: 100})
	w.finish(alice, ticket.Job, job.Ready)
	w.clock.advance(99 * time.Second)
	if next := w.sweep(w.ctx()); next != time.Second {
		t.Errorf("the next sweep is in %v", next)
	}
	w.wantFile(alice, ticket.Job, f)

	w.clock.advance(time.Second)
	w.sweep(w.ctx())
	if got := w.state(alice, ticket.Job); got != job.Expired {
		t.Errorf("the job is %s", got)
	}
	_, err := w.OpenOwned(w.ctx(), alice, ticket.Job)
	wantCode(t, err, job.CodeExpired)
	if len(w.files()) != 0 || len(w.objects()) != 0 {
		t.Errorf("%d bodies and %d records are left", len(w.files()), len(w.objects()))
	}

	// The list shows it for a day, then it is forgotten.
	w.clock.advance(keepExpired + time.Second)
	w.sweep(w.ctx())
	_, err = w.Status(w.ctx(), alice, ticket.Job)
	wantCode(t, err, job.CodeNotFound)
}

func TestExtend(t *testing.T) {
	t.Parallel()
	f, o := small(t)
	w := newWorld(t)
	id := w.submit(alice, job.Request{URL: o.URL(""), Retain: 100}).Job
	w.finish(alice, id, job.Ready)
	start := w.clock.Now()
	for _, tt := range []struct {
		seconds int64
		want    time.Duration
	}{{50, 100 * time.Second}, {200, 200 * time.Second}, {0, 12 * time.Hour}, {10, 12 * time.Hour}} {
		st, err := w.Extend(w.ctx(), alice, id, tt.seconds)
		if err != nil || st.Job.Expires.Sub(start) != tt.want {
			t.Errorf("extended by %d s: %v, %v", tt.seconds, st.Job.Expires.Sub(start), err)
		}
	}
	_, err := w.Extend(w.ctx(), alice, id, -1)
	wantCode(t, err, job.CodeBadRequest)
	w.clock.advance(11 * time.Hour)
	w.sweep(w.ctx())
	w.wantFile(alice, id, f)
	w.clock.advance(time.Hour)
	w.sweep(w.ctx())
	_, err = w.Extend(w.ctx(), alice, id, 100)
	wantCode(t, err, job.CodeExpired)
}

// TestCleanerSparesWhatIsRead lets a job's time run out while it is read.
func TestCleanerSparesWhatIsRead(t *testing.T) {
	t.Parallel()
	f, o := small(t)
	w := newWorld(t)
	id := w.submit(alice, job.Request{URL: o.URL(""), Retain: 100}).Job
	w.finish(alice, id, job.Ready)
	b := w.body(alice, id)
	for range 5 {
		w.clock.advance(postpone)
		w.sweep(w.ctx())
	}
	if got := w.state(alice, id); got != job.Ready || len(w.files()) != 1 {
		t.Fatalf("the job is %s, %d bodies", got, len(w.files()))
	}
	if got, err := readAll(w.ctx(), b); err != nil || got != f.SHA256() {
		t.Errorf("read %s, %v", got, err)
	}
	b.Close()
	b.Close() // once more does no harm
	w.clock.advance(postpone)
	w.sweep(w.ctx())
	if got := w.state(alice, id); got != job.Expired || len(w.files()) != 0 {
		t.Errorf("the job is %s, %d bodies", got, len(w.files()))
	}
}

func TestCleanerSparesWhatIsFetched(t *testing.T) {
	t.Parallel()
	f := origintest.File{Size: 2 * mib, Seed: 1}
	o := origintest.New(t, f)
	h := hold(realFetcher(t), mib)
	w := newWorld(t, with(func(c *Config) { c.Fetcher = h }))
	id := w.submit(alice, job.Request{URL: o.URL(""), Retain: 1}).Job
	wait(t, "the first chunk", h.reached)
	for range 3 {
		w.clock.advance(postpone)
		w.sweep(w.ctx())
	}
	h.free()
	w.finish(alice, id, job.Ready)
	w.wantFile(alice, id, f)
}

// TestCleanerSparesNewObjects sweeps between the moment at which an object is
// recorded and that at which the first job points at it.
func TestCleanerSparesNewObjects(t *testing.T) {
	t.Parallel()
	f := origintest.File{Size: mib + 1, Seed: 1}
	o := origintest.New(t, f)
	var w *world
	s := &hookedStore{afterPutObject: func(obj job.Object) {
		if !obj.Complete {
			w.dropAllUnwanted(context.Background())
		}
	}}
	w = newWorld(t, withStore(s.wrap))
	st := w.bring(alice, get(o.URL("")))
	if len(w.files()) != 1 || len(w.objects()) != 1 {
		t.Fatalf("%d bodies and %d records are left", len(w.files()), len(w.objects()))
	}
	w.restart()
	w.wantFile(alice, st.Job.ID, f)
}

func TestSharedObjectLastsAsLongAsTheLongest(t *testing.T) {
	t.Parallel()
	f, o := small(t)
	w := newWorld(t)
	first := w.submit(alice, job.Request{URL: o.URL(""), Retain: 10}).Job
	w.finish(alice, first, job.Ready)
	second := w.submit(bob, job.Request{URL: o.URL(""), Retain: 100}).Job
	w.finish(bob, second, job.Ready)
	w.clock.advance(11 * time.Second)
	w.sweep(w.ctx())
	if got := w.state(alice, first); got != job.Expired {
		t.Errorf("the first job is %s", got)
	}
	w.wantFile(bob, second, f)
}

// TestRemoveWhileRead removes a finished job: who reads it goes on, nobody else
// can begin, and its room comes back in the end.
func TestRemoveWhileRead(t *testing.T) {
	t.Parallel()
	f, o := small(t)
	w := newWorld(t)
	id := w.bring(alice, get(o.URL(""))).Job.ID
	b := w.body(alice, id)
	if err := w.Remove(w.ctx(), alice, id); err != nil {
		t.Fatal(err)
	}
	w.sweep(w.ctx())
	_, err := w.Open(w.ctx(), id)
	wantCode(t, err, job.CodeNotFound)
	if got, err := readAll(w.ctx(), b); err != nil || got != f.SHA256() {
		t.Errorf("read %s, %v", got, err)
	}
	if len(w.files()) != 1 {
		t.Error("the file is gone while it is read")
	}
	b.Close()
	w.sweep(w.ctx())
	if len(w.files()) != 0 || len(w.objects()) != 0 {
		t.Errorf("%d bodies and %d records are left", len(w.files()), len(w.objects()))
	}
	wantCode(t, w.Remove(w.ctx(), alice, id), job.CodeNotFound)
}

func TestIdleBodiesAreClosed(t *testing.T) {
	t.Parallel()
	f, o := small(t)
	w := newWorld(t)
	id := w.bring(alice, get(o.URL(""))).Job.ID
	open := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.lives)
	}
	if open() != 1 {
		t.Fatalf("%d bodies are open", open())
	}
	b := w.body(alice, id)
	w.clock.advance(idleClose + time.Second)
	w.sweep(w.ctx())
	if open() != 1 {
		t.Error("a body was closed while it was read")
	}
	b.Close()
	w.clock.advance(idleClose + time.Second)
	w.sweep(w.ctx())
	if open() != 0 {
		t.Errorf("%d bodies are open", open())
	}
	// What this process has verified is not hashed again.
	w.wantFile(alice, id, f)
	s := w.watch(alice, id, 0)
	if s.err != nil {
		t.Fatal(s.err)
	}
	wantSums(t, s.sums[s.last().Object.ID], f, 0)
}

// TestIdleBodyLosesItsSums has the list of sums cut short while the body is
// closed: nobody believes then that all of it is known to be good.
func TestIdleBodyLosesItsSums(t *testing.T) {
	t.Parallel()
	f := origintest.File{Size: 3 * mib, Seed: 1, ETag: `"v1"`}
	o := origintest.New(t, f)
	w := newWorld(t)
	st := w.bring(alice, get(o.URL("")))
	w.clock.advance(idleClose + time.Second)
	w.sweep(w.ctx())
	if err := os.Truncate(w.file(st.Object.ID)+".sums", 64+32); err != nil {
		t.Fatal(err)
	}
	s := w.watch(alice, st.Job.ID, 0)
	if s.err != nil || s.last().Job.State != job.Ready {
		t.Fatalf("%+v", s)
	}
	wantSums(t, s.sums[st.Object.ID], f, 0)
	w.wantFile(alice, st.Job.ID, f)
}

// TestStoreRefusesAState has the database fail at the worst moment: who waits
// is told the outcome all the same, and it is written down later.
func TestStoreRefusesAState(t *testing.T) {
	t.Parallel()
	f := origintest.File{Size: 2 * mib, Seed: 1, User: "u", Password: "p"}
	o := origintest.New(t, f)
	h := hold(realFetcher(t), mib)
	b := &brokenStore{}
	w := newWorld(t, with(func(c *Config) { c.Fetcher = h }), withStore(b.wrap))
	id := w.submit(alice, job.Request{URL: o.URL(""), Username: "u", Password: "p"}).Job
	wait(t, "the first chunk", h.reached)
	b.set(true)
	h.free()
	w.finish(alice, id, job.Ready)
	if j, err := w.db.Job(w.ctx(), id); err != nil || j.State != job.Fetching {
		t.Fatalf("the store has %+v, %v", j, err)
	}
	w.wantFile(alice, id, f)
	if all, err := w.List(w.ctx(), alice); err != nil || all[0].Job.State != job.Ready {
		t.Errorf("listed as %+v, %v", all, err)
	}
	w.sweep(w.ctx())
	b.set(false)
	w.sweep(w.ctx())
	if j, err := w.db.Job(w.ctx(), id); err != nil || j.State != job.Ready {
		t.Errorf("the store has %+v, %v", j, err)
	}
	if _, err := w.db.Request(w.ctx(), id); err == nil {
		t.Error("the credentials are still stored")
	}
}
