package relay

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origintest"
	"github.com/jumpget/jumpget/internal/store"
)

func truncate(t *testing.T, path string, n int64) {
	t.Helper()
	if err := os.Truncate(path, n); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// flip inverts a bit of the byte at off.
func flip(t *testing.T, path string, off int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	_, err = f.ReadAt(b[:], off)
	b[0] ^= 0x10
	if err == nil {
		_, err = f.WriteAt(b[:], off)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// inStore changes the database of a relay that is not running.
func (w *world) inStore(f func(store.Store) error) {
	w.t.Helper()
	db, err := store.Open(w.ctx(), filepath.Join(w.dir, "jumpget.db"), w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := errors.Join(f(db), db.Close()); err != nil {
		w.t.Fatal(err)
	}
}

// TestDamagedParts damages what a killed relay has left of a file, in every way
// that a disk or a power loss may, and expects the whole file all the same.
func TestDamagedParts(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
