package relay

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/blob"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origintest"
	"github.com/jumpget/jumpget/internal/span"
)

// killed copies the directory as it is at this moment, which is what a relay
// leaves behind that is killed now, and opens it as another world.
func (w *world) killed(opts ...option) *world {
	w.t.Helper()
	next := &world{t: w.t, dir: w.t.TempDir(), clock: w.clock, now: w.now, config: w.config, disk: w.disk}
	if err := os.CopyFS(next.dir, os.DirFS(w.dir)); err != nil {
		w.t.Fatal(err)
	}
	next.bodies = filepath.Join(next.dir, "bodies")
	for _, o := range opts {
		o(next)
	}
	return next
}

// midFetch returns a world whose relay has fetched 2.5 of 4 chunks of f and
// has made them durable.
func midFetch(t *testing.T, f origintest.File) (*world, *held, *origintest.Server, job.ID) {
	t.Helper()
	o := origintest.New(t, f)
	h := hold(realFetcher(t), 2*mib+mib/2)
	w := newWorld(t, with(func(c *Config) { c.Fetcher = h }))
	id := w.submit(alice, get(o.URL("")), home).Job
	wait(t, "half of the file", h.reached)
	b := w.body(alice, id)
	until(t, "two chunks are hashed", func() bool { n := w.hashedOf(b.lv); return n.Len() == 2 })
	if err := b.lv.body.Sync(w.ctx()); err != nil {
		t.Fatal(err)
	}
	b.Close()
	return w, h, o, id
}

var fourChunks = origintest.File{Size: 4*mib - 100, Seed: 1, ETag: `"v1"`}

// lastAnswer returns which bytes the origin sent in its last answer.
func lastAnswer(o *origintest.Server) span.Span {
	all := o.Requests()
	return all[len(all)-1].Sent
}

func TestShutdownInMidFetch(t *testing.T) {
	t.Parallel()
	w, h, o, id := midFetch(t, fourChunks)
	w.close()
	h.free()
	w.open()
	st := w.finish(alice, id, job.Ready)
	w.wantFile(alice, id, fourChunks)
	if st.Object.SHA256 != fourChunks.SHA256() || len(w.files()) != 1 {
		t.Errorf("the object is %+v, %d bodies", st.Object, len(w.files()))
	}
	if got := lastAnswer(o); got != (span.Span{Start: 2 * mib, End: fourChunks.Size}) {
		t.Errorf("after the restart %v was fetched", got)
	}
}

func TestKilledInMidFetch(t *testing.T) {
	t.Parallel()
	w, h, o, id := midFetch(t, fourChunks)
	next := w.killed()
	h.free()
	w.finish(alice, id, job.Ready)
	next.open()
	s := next.watch(alice, id, 0)
	if s.err != nil || s.last().Job.State != job.Ready {
		t.Fatalf("%+v", s)
	}
	wantSums(t, s.sums[s.last().Object.ID], fourChunks, 0)
	next.wantFile(alice, id, fourChunks)
	if got := lastAnswer(o); got.Start != 2*mib {
		t.Errorf("after the restart %v was fetched", got)
	}
}

// TestKilledBeforeTheRecord is killed when all of the body is durable and the
// database does not say so yet.
func TestKilledBeforeTheRecord(t *testing.T) {
	t.Parallel()
	f := fourChunks
	o := origintest.New(t, f)
	var w *world
	var next *world
	s := &hookedStore{beforePutObject: func(obj job.Object) {
		if obj.Complete && next == nil {
			next = w.killed(withStore(nil))
		}
	}}
	w = newWorld(t, withStore(s.wrap))
	id := w.bring(alice, get(o.URL(""))).Job.ID
	sent := o.Sent()
	next.open()
	next.finish(alice, id, job.Ready)
	next.wantFile(alice, id, f)
	if n := o.Sent() - sent; n > mib {
		t.Errorf("%d bytes were fetched again", n)
	}
}

func TestStrayBodies(t *testing.T) {
	t.Parallel()
	f, o := small(t)
	w := newWorld(t)
	id := w.bring(alice, get(o.URL(""))).Job.ID
	w.close()
	bodies, err := blob.NewDisk(w.bodies)
	if err != nil {
		t.Fatal(err)
	}
	b, err := bodies.Create(w.ctx(), string(job.NewID()), 1000)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.Close(), bodies.Close()); err != nil {
		t.Fatal(err)
	}
	w.open()
	if n := len(w.files()); n != 1 {
		t.Errorf("%d bodies", n)
	}
	w.wantFile(alice, id, f)
}

// TestRecoveredTogether restarts a relay with two users' jobs on one fetch, and
// one whose time has run out while the relay was down.
func TestRecoveredTogether(t *testing.T) {
	t.Parallel()
	w, h, o, first := midFetch(t, fourChunks)
	second := w.submit(bob, get(o.URL(""))).Job
	short := w.submit(bob, job.Request{URL: o.URL(""), Retain: 60, Fresh: true}).Job
	w.close()
	w.clock.advance(time.Hour)
	asked := o.Count()
	h.free()
	w.open()
	a, b := w.finish(alice, first, job.Ready), w.finish(bob, second, job.Ready)
	if a.Object.ID != b.Object.ID || o.Count() != asked+1 {
		t.Errorf("%d requests", o.Count()-asked)
	}
	if got := w.state(bob, short); got != job.Expired {
		t.Errorf("the job whose time is over is %s", got)
	}
	if _, err := w.db.Request(w.ctx(), short); err == nil {
		t.Error("its request is still stored")
	}
}

// TestRecoverWithCredentials goes on with a private fetch after a restart, for
// which its request has been kept.
func TestRecoverWithCredentials(t *testing.T) {
	t.Parallel()
	f := fourChunks
	f.User, f.Password = "u", "p"
	o := origintest.New(t, f)
	h := hold(realFetcher(t), mib)
	w := newWorld(t, with(func(c *Config) { c.Fetcher = h }))
	id := w.submit(alice, job.Request{URL: o.URL(""), Username: "u", Password: "p"}).Job
	wait(t, "the first chunk", h.reached)
	w.close()
	h.free()
	w.open()
	w.finish(alice, id, job.Ready)
	w.wantFile(alice, id, f)
}

func TestTokensAndGrantsSurvive(t *testing.T) {
	t.Parallel()
	f, o := small(t)
	w := newWorld(t)
	ticket := w.submit(alice, get(o.URL("")), home)
	w.finish(alice, ticket.Job, job.Ready)
	w.restart()
	w.wantVerdict(Granted, ticket.Job, ticket.Token, home)
	w.wantVerdict(UnknownAddress, ticket.Job, ticket.Token, other)
	w.wantFile(alice, ticket.Job, f)
}

// TestUnknownLengthIsResumed kills a relay in the middle of a file whose length
// was not told; after the restart it is.
func TestUnknownLengthIsResumed(t *testing.T) {
	t.Parallel()
	f := fourChunks
	f.Faults = []origintest.Fault{origintest.First(1, origintest.NoLength())}
	w, h, o, id := midFetch(t, f)
	next := w.killed()
	w.close()
	h.free()
	next.open()
	st := next.finish(alice, id, job.Ready)
	if st.Object.Size != f.Size || !st.Object.LengthVerified {
		t.Errorf("the object is %+v", st.Object)
	}
	next.wantFile(alice, id, f)
	if got := lastAnswer(o); got.Start < mib {
		t.Errorf("fetched again from %d", got.Start)
	}
}
