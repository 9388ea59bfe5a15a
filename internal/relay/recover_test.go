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
	"github.com/jumpget/jumpget/internal/store"
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

// TestDamagedParts damages what a killed relay has left of a file, in every way
// that a disk or a power loss may, and expects the whole file all the same.
func TestDamagedParts(t *testing.T) {
	for name, tt := range map[string]struct {
		damage func(t *testing.T, w *world, body string)
		from   int64 // the first byte that has to be fetched again
	}{
		"nothing":        {func(*testing.T, *world, string) {}, 2 * mib},
		"truncated":      {func(t *testing.T, _ *world, body string) { truncate(t, body, mib+5) }, mib},
		"empty":          {func(t *testing.T, _ *world, body string) { truncate(t, body, 0) }, 0},
		"flipped bit":    {func(t *testing.T, _ *world, body string) { flip(t, body, mib+7) }, mib},
		"at the start":   {func(t *testing.T, _ *world, body string) { flip(t, body, 0) }, 0},
		"no sums":        {func(t *testing.T, _ *world, body string) { remove(t, body+".sums") }, 0},
		"sums cut":       {func(t *testing.T, _ *world, body string) { truncate(t, body+".sums", 64+32+1) }, mib},
		"sums flipped":   {func(t *testing.T, _ *world, body string) { flip(t, body+".sums", 64+5) }, 0},
		"header flipped": {func(t *testing.T, _ *world, body string) { flip(t, body+".sums", 10) }, 2 * mib},
		"no body":        {func(t *testing.T, _ *world, body string) { remove(t, body); remove(t, body+".sums") }, 0},
		"sums alone":     {func(t *testing.T, _ *world, body string) { remove(t, body) }, 0},
		"no record": {func(t *testing.T, w *world, body string) {
			w.inStore(func(s store.Store) error { return s.DeleteObject(w.ctx(), job.ID(filepath.Base(body))) })
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, h, o, id := midFetch(t, fourChunks)
			next := w.killed()
			w.close()
			tt.damage(t, next, next.files()[0])
			h.free()
			asked := o.Count()
			next.open()
			st := next.finish(alice, id, job.Ready)
			next.wantFile(alice, id, fourChunks)
			from := fourChunks.Size
			for _, r := range o.Requests()[asked:] {
				from = min(from, r.Sent.Start)
			}
			if from != tt.from {
				t.Errorf("fetched again from %d, want %d", from, tt.from)
			}
			if len(next.files()) != 1 || len(next.objects()) != 1 || next.objects()[0].ID != st.Object.ID {
				t.Errorf("%d bodies and %d records", len(next.files()), len(next.objects()))
			}
		})
	}
}

// TestDamagedWhole does the same to a file that was complete.
func TestDamagedWhole(t *testing.T) {
	for name, tt := range map[string]struct {
		damage func(t *testing.T, w *world, body string)
		weak   bool // the origin can't prove that its file is the same
	}{
		"truncated":    {damage: func(t *testing.T, _ *world, body string) { truncate(t, body, 2*mib+5) }},
		"flipped bit":  {damage: func(t *testing.T, _ *world, body string) { flip(t, body, 3*mib+7) }},
		"sums flipped": {damage: func(t *testing.T, _ *world, body string) { flip(t, body+".sums", 64+33) }},
		"no sums":      {damage: func(t *testing.T, _ *world, body string) { remove(t, body+".sums") }},
		"no body":      {damage: func(t *testing.T, _ *world, body string) { remove(t, body); remove(t, body+".sums") }},
		"sums alone":   {damage: func(t *testing.T, _ *world, body string) { remove(t, body) }},
		"unprovable":   {damage: func(t *testing.T, _ *world, body string) { flip(t, body, 3*mib+7) }, weak: true},
		"no record": {damage: func(t *testing.T, w *world, body string) {
			w.inStore(func(s store.Store) error { return s.DeleteObject(w.ctx(), job.ID(filepath.Base(body))) })
		}},
	} {
		for how, find := range map[string]func(w *world, o *origintest.Server, id job.ID){
			"watched":         func(w *world, _ *origintest.Server, id job.ID) { w.finish(alice, id, job.Ready) },
			"read":            func(w *world, _ *origintest.Server, id job.ID) { w.readPatiently(alice, id) },
			"scrubbed":        func(w *world, _ *origintest.Server, _ job.ID) { w.scrub(w.ctx()) },
			"submitted again": func(w *world, o *origintest.Server, _ job.ID) { w.bring(bob, get(o.URL(""))) },
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				t.Parallel()
				f := fourChunks
				if tt.weak {
					f.ETag = `W/"v1"`
				}
				o := origintest.New(t, f)
				w := newWorld(t)
				id := w.bring(alice, get(o.URL(""))).Job.ID
				w.close()
				tt.damage(t, w, w.files()[0])
				w.open()
				find(w, o, id)
				s := w.watch(alice, id, 0)
				if s.err != nil || s.last().Job.State != job.Ready {
					t.Fatalf("in the end %+v, %v", s.last().Job, s.err)
				}
				if obj := s.last().Object; !obj.Complete || obj.SHA256 != f.SHA256() {
					t.Errorf("the object is %+v", obj)
				}
				wantSums(t, s.sums[s.last().Object.ID], f, 0)
				w.wantFile(alice, id, f)
				w.restart()
				w.wantFile(alice, id, f)
				if len(w.files()) != 1 || len(w.objects()) != 1 {
					t.Errorf("%d bodies and %d records", len(w.files()), len(w.objects()))
				}
			})
		}
	}
}

// readPatiently reads a body as a client does, which opens it again if it is
// cut off.
func (w *world) readPatiently(owner string, id job.ID) {
	w.t.Helper()
	until(w.t, "the body is read to its end", func() bool {
		b, err := w.OpenOwned(w.ctx(), owner, id)
		if err != nil {
			return false
		}
		defer b.Close()
		_, err = readAll(w.ctx(), b)
		return err == nil
	})
}

// TestDamagedPrivate can't fetch again what took credentials: the job says so,
// and submitting it again mends the object.
func TestDamagedPrivate(t *testing.T) {
	f := fourChunks
	f.User, f.Password = "u", "p"
	o := origintest.New(t, f)
	w := newWorld(t)
	req := job.Request{URL: o.URL(""), Username: "u", Password: "p"}
	id := w.bring(alice, req).Job.ID
	w.close()
	flip(t, w.files()[0], mib)
	w.open()
	b := w.body(alice, id)
	if _, err := readAll(w.ctx(), b); !errors.Is(err, errLost()) {
		t.Errorf("the reader is told %v", err)
	}
	b.Close()
	st := w.finish(alice, id, job.Failed)
	wantCode(t, st.Job.Error, job.CodeExpired)
	again := w.bring(alice, req)
	w.wantFile(alice, again.Job.ID, f)
	if got := lastAnswer(o); got.Start != mib {
		t.Errorf("fetched again from %d", got.Start)
	}
}

// TestMendedIsOther has the origin's file change although its validators have
// not: the mended object would be a splice, so all of it is fetched anew.
func TestMendedIsOther(t *testing.T) {
	o := origintest.New(t, fourChunks)
	w := newWorld(t)
	id := w.bring(alice, get(o.URL(""))).Job.ID
	w.close()
	flip(t, w.files()[0], mib)
	other := fourChunks
	other.Seed = 99
	o.Add(other)
	w.open()
	w.finish(alice, id, job.Ready)
	w.wantFile(alice, id, other)
}

// TestDamageFoundDuringAFreshFetch has an object turn out damaged while a fresh
// one is on its way: its job waits for that one, and its reader is told.
func TestDamageFoundDuringAFreshFetch(t *testing.T) {
	o := origintest.New(t, fourChunks)
	h := hold(realFetcher(t), mib)
	h.free()
	d := new(disk)
	w := newWorld(t, withDisk(d), with(func(c *Config) { c.Fetcher = h }))
	first := w.bring(alice, get(o.URL("")))
	w.close()
	flip(t, w.files()[0], mib)
	slow := hold(realFetcher(t), mib)
	w.config.Fetcher = slow
	_, release := d.holdReads(t)
	w.open()
	b := w.body(alice, first.Job.ID)
	read := make(chan error, 1)
	go func() {
		_, err := readAll(w.ctx(), b)
		read <- err
	}()
	fresh := w.submit(bob, job.Request{URL: o.URL(""), Fresh: true}).Job
	wait(t, "the fresh fetch is under way", slow.reached)
	release()
	wantCode(t, <-read, job.CodeOriginProto)
	b.Close()
	slow.free()
	bobs, alices := w.finish(bob, fresh, job.Ready), w.finish(alice, first.Job.ID, job.Ready)
	if bobs.Object.ID != alices.Object.ID || alices.Object.ID == first.Object.ID {
		t.Error("the damaged object was not given up")
	}
	w.wantFile(alice, first.Job.ID, fourChunks)
}

// TestUnreadableBody has a disk that can't read a chunk any more: the object is
// not patched on that disk's bad place but fetched anew.
func TestUnreadableBody(t *testing.T) {
	o := origintest.New(t, fourChunks)
	d := new(disk)
	w := newWorld(t, withDisk(d))
	first := w.bring(alice, get(o.URL("")))
	d.set(func(d *disk) {
		d.onRead = func(id string, off int64) error {
			if id == string(first.Object.ID) && off == 2*mib {
				return errors.New("input/output error")
			}
			return nil
		}
	})
	w.restart()
	w.readPatiently(alice, first.Job.ID)
	st := w.finish(alice, first.Job.ID, job.Ready)
	if st.Object.ID == first.Object.ID || len(w.files()) != 1 {
		t.Errorf("the object is %+v, %d bodies", st.Object, len(w.files()))
	}
	w.wantFile(alice, first.Job.ID, fourChunks)
}

// TestKilledBeforeTheRecord is killed when all of the body is durable and the
// database does not say so yet.
func TestKilledBeforeTheRecord(t *testing.T) {
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
