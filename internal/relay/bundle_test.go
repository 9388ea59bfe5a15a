package relay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/bundle"
	"github.com/jumpget/jumpget/internal/gather"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origintest"
)

const partSize = 50_000

// bundleOf returns a request for n small files of a new origin.
func bundleOf(t *testing.T, n int) (job.Request, []origintest.File, *origintest.Server) {
	var files []origintest.File
	for i := range n {
		files = append(files, origintest.File{Path: fmt.Sprintf("/%d", i), Size: partSize, Seed: uint64(i)})
	}
	o := origintest.New(t, files...)
	var r job.Request
	for _, f := range files {
		r.Files = append(r.Files, job.File{URL: o.URL(f.Path)})
	}
	return r, files, o
}

func withBundles(t *testing.T) option {
	return with(func(c *Config) {
		c.Fetcher = realFetcher(t)
		c.Bundles = gather.New(gather.Config{Origin: c.Fetcher})
	})
}

// wantBundle checks that a job's body holds each of the files once.
func (w *world) wantBundle(owner string, id job.ID, files []origintest.File) {
	w.t.Helper()
	b := w.body(owner, id)
	defer b.Close()
	size, _ := b.Size()
	all := make([]byte, size)
	if _, err := (bodyReader{w.ctx(), b.lv.body}).ReadAt(all, 0); err != nil {
		w.t.Fatal(err)
	}
	seen := map[int]bool{}
	in := bundle.NewReader(bytes.NewReader(all))
	for {
		f, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			w.t.Fatal(err)
		}
		if seen[f.Index] || f.SHA256 != files[f.Index].SHA256() {
			w.t.Errorf("file %d is there twice, or another", f.Index)
		}
		seen[f.Index] = true
	}
	if len(seen) != len(files) {
		w.t.Errorf("%d files of %d", len(seen), len(files))
	}
}

func TestBundle(t *testing.T) {
	t.Parallel()
	log := &logged{}
	w := newWorld(t, withBundles(t), with(func(c *Config) { c.MaxFile = 2 * partSize; c.Log = slog.New(slog.NewTextHandler(log, nil)) }))
	r, files, o := bundleOf(t, 60)
	st := w.bring(alice, r)
	w.wantBundle(alice, st.Job.ID, files)
	if n := job.FilesOf(st.Job.Key); n != 60 || st.Job.URL != o.URL("/0")+"#and-59-more" || st.Object.Name != "60 files from 127.0.0.1" || !st.Object.LengthVerified {
		t.Errorf("%d files: %+v, %+v", n, st.Job, st.Object)
	}
	for _, f := range files {
		if !bytes.Contains([]byte(log.String()), []byte(o.URL(f.Path)+"\n")) {
			t.Fatalf("the log does not tell that %s was submitted", f.Path)
		}
	}

	// It is one user's alone, used again when that is wanted, and only then.
	again := w.bring(alice, r)
	r.Fresh = true
	fresh := w.bring(alice, r)
	r.Fresh = false
	others := w.bring(bob, r)
	switch {
	case again.Object.ID != st.Object.ID:
		t.Error("the same bundle was fetched again")
	case fresh.Object.ID == st.Object.ID:
		t.Error("a fresh one was wanted")
	case others.Object.ID == st.Object.ID || others.Object.ID == fresh.Object.ID:
		t.Error("two users share a bundle")
	case o.Count() != 3*len(files):
		t.Errorf("%d requests", o.Count())
	}
}

func TestBundlesMayBeOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.Submit(w.ctx(), Submission{Owner: alice}, job.Request{Files: []job.File{{URL: "http://h/"}}})
	wantCode(t, err, job.CodeForbidden)
}

// A relay that dies within a bundle goes on with it: only what was not durable is
// fetched again. But it comes in another order, so that it is another object,
// which begins with the same chunks.
func TestKilledInMidBundle(t *testing.T) {
	t.Parallel()
	r, files, o := bundleOf(t, 60)
	h := hold(nil, 2*mib+mib/2)
	w := newWorld(t, withBundles(t), with(func(c *Config) { h.Fetcher, c.Bundles = c.Bundles, h }))
	id := w.submit(alice, r).Job
	wait(t, "most of the files", h.reached)
	b := w.body(alice, id)
	until(t, "two chunks are hashed", func() bool { n := w.hashedOf(b.lv); return n.Len() == 2 })
	if err := b.lv.body.Sync(w.ctx()); err != nil {
		t.Fatal(err)
	}
	before, sums := b.Object().ID, b.lv.body.Sums(0, 2)
	b.Close()
	until(t, "all that it is going to ask for before it is killed", func() bool { return o.Count() == 60 })
	next := w.killed()
	h.free()
	w.finish(alice, id, job.Ready)
	asked := o.Count()
	next.open()
	if st := next.finish(alice, id, job.Ready); st.Object.ID == before {
		t.Error("the object's bytes have changed")
	}
	next.wantBundle(alice, id, files)
	after := next.body(alice, id)
	if !slices.Equal(after.lv.body.Sums(0, 2), sums) {
		t.Error("it does not begin with what was there")
	}
	if len(next.files()) != 1 {
		t.Errorf("%d bodies", len(next.files()))
	}
	if n := o.Count() - asked; n < 60-2*mib/partSize || n > 60-2*mib/partSize+2 {
		t.Errorf("%d files were fetched again", n)
	}
}

// A complete bundle that is damaged is fetched anew, as another object.
func TestDamagedBundle(t *testing.T) {
	t.Parallel()
	r, files, _ := bundleOf(t, 60)
	w := newWorld(t, withBundles(t))
	st := w.bring(alice, r)
	w.close()
	data, err := os.OpenFile(w.file(st.Object.ID), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := data.WriteAt([]byte("damage"), mib+5); err != nil {
		t.Fatal(err)
	}
	_ = data.Close()
	w.open()
	again := w.bring(alice, r)
	w.wantBundle(alice, again.Job.ID, files)
	if again.Object.ID == st.Object.ID {
		t.Error("what was damaged is still used")
	}
}

// While its end is not known, growth is told soon: nobody can ask for more than
// they were told of.
func TestGrowthIsToldSoon(t *testing.T) {
	t.Parallel()
	w := &watcher{last: &job.Status{Object: &job.Object{}}, told: time.Now().Add(-growthPeriod)}
	if w.due(job.Status{Object: &job.Object{}, Received: 1}) {
		t.Error("progress of a body whose size is known is told at once")
	}
	h := hold(realFetcher(t), mib/2)
	world := newWorld(t, with(func(c *Config) { c.Fetcher = h }))
	o := origintest.New(t, origintest.File{Size: mib, Faults: []origintest.Fault{origintest.NoLength()}})
	id := world.submit(alice, get(o.URL(""))).Job
	wait(t, "half of the file", h.reached)
	w.body = world.body(alice, id)
	if !w.due(job.Status{Object: &job.Object{}, Received: 1}) {
		t.Error("growth is not told")
	}
	h.free()
	world.finish(alice, id, job.Ready)
	w.told = time.Now().Add(-growthPeriod)
	if w.due(job.Status{Object: &job.Object{}, Received: 1}) {
		t.Error("the size is known by now")
	}
}
