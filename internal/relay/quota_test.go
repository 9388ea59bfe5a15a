package relay

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origin"
	"github.com/jumpget/jumpget/internal/origintest"
)

// many returns an origin with files /0, /1 ... of size bytes each.
func many(t *testing.T, n int, size int64) ([]origintest.File, *origintest.Server) {
	var files []origintest.File
	for i := range n {
		files = append(files, origintest.File{Path: fmt.Sprintf("/%d", i), Size: size, Seed: uint64(i), ETag: fmt.Sprintf(`"%d"`, i)})
	}
	return files, origintest.New(t, files...)
}

// slack is what file systems add to a few bodies' sizes.
const slack = 256 << 10

func quota(n int64) option { return with(func(c *Config) { c.Quota = n }) }

func (w *world) wantUsed(most int64) {
	w.t.Helper()
	info, err := w.Info(w.ctx(), alice)
	if err != nil {
		w.t.Fatal(err)
	}
	if info.Used > most {
		w.t.Errorf("%d bytes are used of %d", info.Used, most)
	}
}

func TestQuotaEvictsTheLeastRecentlyUsed(t *testing.T) {
	t.Parallel()
	files, o := many(t, 5, mib)
	w := newWorld(t, quota(3*mib+slack))
	var ids []job.ID
	for i := range 3 {
		ids = append(ids, w.bring(alice, get(o.URL(files[i].Path))).Job.ID)
		w.clock.advance(time.Minute)
	}
	w.wantFile(alice, ids[0], files[0]) // now 1 is the one used longest ago
	w.clock.advance(time.Minute)
	ids = append(ids, w.bring(bob, get(o.URL(files[3].Path))).Job.ID)
	if got := w.state(alice, ids[1]); got != job.Expired {
		t.Errorf("the job used longest ago is %s", got)
	}
	w.clock.advance(time.Minute)
	w.bring(bob, get(o.URL(files[2].Path))) // asking again is a use as well
	w.clock.advance(time.Minute)
	ids = append(ids, w.bring(bob, get(o.URL(files[4].Path))).Job.ID)
	if got := w.state(alice, ids[0]); got != job.Expired {
		t.Errorf("then that is %s", got)
	}
	w.wantFile(alice, ids[2], files[2])
	w.wantFile(bob, ids[3], files[3])
	w.wantFile(bob, ids[4], files[4])
	w.wantUsed(3*mib + slack)
}

func TestQuotaSparesWhatIsRead(t *testing.T) {
	t.Parallel()
	files, o := many(t, 3, mib)
	w := newWorld(t, quota(2*mib+slack))
	a := w.bring(alice, get(o.URL("/0"))).Job.ID
	b := w.body(alice, a)
	w.clock.advance(time.Minute)
	second := w.bring(alice, get(o.URL("/1"))).Job.ID
	w.clock.advance(time.Minute)
	third := w.bring(alice, get(o.URL("/2"))).Job.ID
	if got := w.state(alice, second); got != job.Expired {
		t.Errorf("the one that nobody reads is %s", got)
	}
	for _, tt := range []job.ID{a, third} {
		if got := w.state(alice, tt); got != job.Ready {
			t.Errorf("one of the others is %s", got)
		}
	}
	if got, err := readAll(w.ctx(), b); err != nil || got != files[0].SHA256() {
		t.Errorf("read %s, %v", got, err)
	}
}

func TestLargerThanTheQuota(t *testing.T) {
	t.Parallel()
	files, o := many(t, 1, mib)
	big := origintest.File{Path: "/big", Size: 5 * mib}
	o.Add(big)
	w := newWorld(t, quota(4*mib))
	id := w.bring(alice, get(o.URL("/0"))).Job.ID
	st := w.finish(alice, w.submit(alice, get(o.URL("/big"))).Job, job.Failed)
	e := wantCode(t, st.Job.Error, job.CodeQuota)
	if !strings.Contains(e.Message, "5242880") || !strings.Contains(e.Message, "4194304") {
		t.Errorf("told %q", e.Message)
	}
	w.wantFile(alice, id, files[0]) // not evicted: it would not have helped
	if len(w.files()) != 1 {
		t.Errorf("%d bodies", len(w.files()))
	}
}

// TestNothingIsEvictedInVain asks for room that can't be made because most of
// the bodies are read.
func TestNothingIsEvictedInVain(t *testing.T) {
	t.Parallel()
	files, o := many(t, 2, mib)
	o.Add(origintest.File{Path: "/big", Size: 3 * mib})
	w := newWorld(t, quota(3*mib+slack))
	idle := w.bring(alice, get(o.URL("/0"))).Job.ID
	b := w.body(alice, w.bring(alice, get(o.URL("/1"))).Job.ID)
	defer b.Close()
	st := w.finish(bob, w.submit(bob, get(o.URL("/big"))).Job, job.Failed)
	wantCode(t, st.Job.Error, job.CodeQuota)
	w.wantFile(alice, idle, files[0])
}

// TestUnknownLengthMeetsTheQuota fetches bodies that do not say how long they
// will be: they evict what they need, end at the quota and leave nothing.
func TestUnknownLengthMeetsTheQuota(t *testing.T) {
	t.Parallel()
	files, o := many(t, 2, mib)
	o.Add(
		origintest.File{Path: "/fits", Size: 3 * mib, Faults: []origintest.Fault{origintest.NoLength()}},
		origintest.File{Path: "/endless", Size: 1, Faults: []origintest.Fault{origintest.Endless()}},
	)
	w := newWorld(t, quota(4*mib+slack))
	old := w.bring(alice, get(o.URL("/0"))).Job.ID
	w.clock.advance(time.Minute)
	kept := w.body(alice, w.bring(alice, get(o.URL("/1"))).Job.ID)
	st := w.bring(bob, get(o.URL("/fits")))
	if st.Object.Size != 3*mib || w.state(alice, old) != job.Expired {
		t.Errorf("the object is %+v, the old job %s", st.Object, w.state(alice, old))
	}
	w.wantUsed(4*mib + slack)
	st = w.finish(bob, w.submit(bob, get(o.URL("/endless"))).Job, job.Failed)
	wantCode(t, st.Job.Error, job.CodeQuota)
	if got, err := readAll(w.ctx(), kept); err != nil || got != files[1].SHA256() {
		t.Errorf("read %s, %v", got, err)
	}
	if len(w.files()) != 1 {
		t.Errorf("%d bodies", len(w.files()))
	}
}

// TestTinyQuota has a body of unknown length that is smaller than the steps in
// which room is made.
func TestTinyQuota(t *testing.T) {
	t.Parallel()
	o := origintest.New(t, origintest.File{Size: 20_000, Faults: []origintest.Fault{origintest.NoLength()}})
	w := newWorld(t, quota(100_000))
	w.bring(alice, get(o.URL("")))
}

// TestRoomIsGivenOnce starts fetches that together do not fit, and holds them
// before they have written what was promised to them.
func TestRoomIsGivenOnce(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{}, 8)
	end := make(chan struct{})
	s := &scripted{fetch: func(ctx context.Context, _ *job.Request, _ *origin.Prior, sink origin.Sink) (origin.Result, error) {
		_, err := sink.Begin(ctx, origin.Meta{Name: "f", Size: job.UnknownSize})
		if err == nil {
			_, err = sink.WriteAt([]byte("x"), 2*mib)
		}
		if err == nil {
			begun <- struct{}{}
			<-end
			_, err = sink.WriteAt(make([]byte, 2*mib), 0)
		}
		if err == nil {
			err = sink.SetSize(2*mib + 1)
		}
		return origin.Result{LengthVerified: true}, err
	}}
	w := newWorld(t, quota(5*mib), with(func(c *Config) { c.Fetcher = s }))
	first := w.submit(alice, get("http://origin/1")).Job
	<-begun
	second := w.submit(alice, get("http://origin/2")).Job
	<-begun
	third := w.submit(alice, get("http://origin/3")).Job
	st := w.finish(alice, third, job.Failed)
	wantCode(t, st.Job.Error, job.CodeQuota)
	close(end)
	w.finish(alice, first, job.Ready)
	w.finish(alice, second, job.Ready)
	w.wantUsed(5 * mib)
}

// TestFailedPartsAreEvicted makes room by giving up what a failed fetch left.
func TestFailedPartsAreEvicted(t *testing.T) {
	t.Parallel()
	files, o := many(t, 1, 3*mib)
	o.Add(origintest.File{Path: "/half", Size: 3 * mib, Seed: 9, ETag: `"h"`, Faults: []origintest.Fault{
		origintest.Close(2 * mib), origintest.From(2, origintest.Status(404)),
	}})
	w := newWorld(t, quota(4*mib))
	failed := w.submit(alice, get(o.URL("/half"))).Job
	w.finish(alice, failed, job.Failed)
	if len(w.files()) != 1 {
		t.Fatal("the part is not kept")
	}
	st := w.bring(bob, get(o.URL("/0")))
	w.wantFile(bob, st.Job.ID, files[0])
	if got := w.state(alice, failed); got != job.Failed || len(w.files()) != 1 {
		t.Errorf("the failed job is %s, %d bodies", got, len(w.files()))
	}
}

func TestLargestFile(t *testing.T) {
	t.Parallel()
	o := origintest.New(t,
		origintest.File{Path: "/big", Size: 3 * mib},
		origintest.File{Path: "/endless", Size: 1, Faults: []origintest.Fault{origintest.Endless()}},
		origintest.File{Path: "/fits", Size: 2 * mib},
	)
	w := newWorld(t, with(func(c *Config) { c.MaxFile = 2 * mib }))
	for _, path := range []string{"/big", "/endless"} {
		st := w.finish(alice, w.submit(alice, get(o.URL(path))).Job, job.Failed)
		wantCode(t, st.Job.Error, job.CodeTooLarge)
	}
	w.bring(alice, get(o.URL("/fits")))
	if len(w.files()) != 1 {
		t.Errorf("%d bodies", len(w.files()))
	}
}

// TestDiskFails has the disk refuse to keep what was written: the job fails
// with a hint, nothing is left of it, and the next one is not touched.
func TestDiskFails(t *testing.T) {
	t.Parallel()
	files, o := many(t, 2, 2*mib)
	d := new(disk)
	w := newWorld(t, withDisk(d))
	d.set(func(d *disk) { d.onSync = func(string) error { return syscall.EIO } })
	st := w.finish(alice, w.submit(alice, get(o.URL("/0"))).Job, job.Failed)
	wantCode(t, st.Job.Error, job.CodeDisk)
	d.set(func(d *disk) { d.onSync = nil })
	if len(w.files()) != 0 || len(w.objects()) != 0 {
		t.Errorf("%d bodies and %d records are left", len(w.files()), len(w.objects()))
	}
	second := w.bring(alice, get(o.URL("/1"))).Job.ID
	w.wantFile(alice, second, files[1])
	again := w.bring(alice, get(o.URL("/0"))).Job.ID
	w.wantFile(alice, again, files[0])
}

// TestHasherCannotRead has the disk fail to give back what was just written.
func TestHasherCannotRead(t *testing.T) {
	t.Parallel()
	_, o := many(t, 1, 2*mib)
	d := new(disk)
	d.onRead = func(string, int64) error { return syscall.EIO }
	w := newWorld(t, withDisk(d))
	st := w.finish(alice, w.submit(alice, get(o.URL("/0"))).Job, job.Failed)
	wantCode(t, st.Job.Error, job.CodeDisk)
}

func TestEvictionRefuses(t *testing.T) {
	t.Parallel()
	_, o := many(t, 1, mib)
	h := hold(realFetcher(t), 100)
	w := newWorld(t, with(func(c *Config) { c.Fetcher = h }))
	id := w.submit(alice, get(o.URL("/0"))).Job
	wait(t, "the first bytes", h.reached)
	if w.evict(w.ctx(), w.objects()[0]) {
		t.Error("what is fetched was evicted")
	}
	h.free()
	w.finish(alice, id, job.Ready)
}
