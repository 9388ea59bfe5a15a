package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origintest"
	"github.com/jumpget/jumpget/internal/span"
)

// TestManyReadersAndWatchers has a crowd follow one growing file, each reading
// in an order of its own.
func TestManyReadersAndWatchers(t *testing.T) {
	t.Parallel()
	f := origintest.File{Size: 4*mib + 321, Seed: 1, ETag: `"v1"`, Faults: []origintest.Fault{origintest.Slow(16 << 20)}}
	o := origintest.New(t, f)
	w := newWorld(t)
	want := content(f)
	id := w.submit(alice, get(o.URL(""))).Job
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			s := w.watch(alice, id, i%3)
			if s.err != nil || s.last().Job.State != job.Ready {
				t.Errorf("a watcher was told %v", s.err)
				return
			}
			wantSums(t, s.sums[s.last().Object.ID], f, i%3)
		})
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			b, err := w.OpenOwned(w.ctx(), alice, id)
			if err != nil {
				t.Error(err)
				return
			}
			defer b.Close()
			for range 20 {
				at := rng.Int64N(f.Size)
				sp := span.Span{Start: at, End: min(f.Size, at+rng.Int64N(mib))}
				p := make([]byte, sp.Len())
				if err := b.Wait(w.ctx(), sp); err != nil {
					t.Error(err)
					return
				}
				if n, err := b.ReadAt(w.ctx(), p, at); err != nil && !errors.Is(err, io.EOF) || string(p[:n]) != string(want[at:at+int64(n)]) {
					t.Errorf("wrong bytes at %d, %v", at, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestStress lets users do everything at once, with the cleaner running, little
// room and an origin whose files change and whose connections break. Whatever
// a reader gets to the end of must be a file that the origin has had.
func TestStress(t *testing.T) {
	t.Parallel()
	const files, users, steps = 4, 6, 40
	good := map[string]bool{}
	var all []origintest.File
	for i := range files {
		f := origintest.File{Path: fmt.Sprintf("/%d", i), Size: mib + int64(i)*100_000, Seed: uint64(i), ETag: fmt.Sprintf(`"%d"`, i)}
		next := f
		next.Seed, next.ETag = uint64(100+i), fmt.Sprintf(`"n%d"`, i)
		good[f.SHA256()], good[next.SHA256()] = true, true
		f.Then, f.ThenAt = &next, 5
		f.Faults = []origintest.Fault{origintest.First(2, origintest.Close(700_000))}
		all = append(all, f)
	}
	o := origintest.New(t, all...)
	w := newWorld(t, quota(4*mib), with(func(c *Config) { c.Fetches = 3 }))
	ctx, cancel := context.WithCancel(w.ctx())
	var cleaner, crowd sync.WaitGroup
	cleaner.Go(func() {
		for ctx.Err() == nil {
			w.clock.advance(20 * time.Second)
			w.sweep(context.WithoutCancel(ctx))
		}
	})
	for u := range users {
		crowd.Go(func() {
			s := &stresser{w: w, t: t, owner: fmt.Sprint("user", u/2), rng: rand.New(rand.NewPCG(7, uint64(u))), good: good}
			for range steps {
				s.step(o.URL(fmt.Sprintf("/%d", s.rng.IntN(files))))
			}
		})
	}
	crowd.Wait()
	cancel()
	cleaner.Wait()
	w.checkLeftovers()
	w.restart()
	w.checkLeftovers()
}

type stresser struct {
	w     *world
	t     *testing.T
	owner string
	rng   *rand.Rand
	good  map[string]bool
	ids   []job.ID
}

func (s *stresser) step(url string) {
	if len(s.ids) == 0 || s.rng.IntN(3) == 0 {
		req := job.Request{URL: url, Retain: 60 + s.rng.Int64N(600), Fresh: s.rng.IntN(4) == 0}
		if t, err := s.w.Submit(s.w.ctx(), Submission{Owner: s.owner}, req); s.fine(err) {
			s.ids = append(s.ids, t.Job)
		}
		return
	}
	id := s.ids[s.rng.IntN(len(s.ids))]
	switch s.rng.IntN(6) {
	case 0:
		s.fine(s.w.Remove(s.w.ctx(), s.owner, id))
	case 1:
		_, err := s.w.Extend(s.w.ctx(), s.owner, id, 100)
		s.fine(err)
	case 2:
		_, err := s.w.Status(s.w.ctx(), s.owner, id)
		s.fine(err)
	case 3:
		s.fine(s.w.watch(s.owner, id, 0).err)
	default:
		b, err := s.w.OpenOwned(s.w.ctx(), s.owner, id)
		if !s.fine(err) {
			return
		}
		defer b.Close()
		sum, err := readAll(s.w.ctx(), b)
		if s.fine(err) && !s.good[sum] {
			s.t.Error("a reader got to the end of bytes that no file of the origin has had")
		}
	}
}

// fine reports whether err is nil, and fails the test if it is one that must
// not happen.
func (s *stresser) fine(err error) bool {
	var e *job.Error
	switch {
	case err == nil:
		return true
	case errors.As(err, &e) && e.Code != job.CodeInternal && e.Code != job.CodeUnavailable:
	default:
		s.t.Errorf("unexpected: %v", err)
	}
	return false
}

// checkLeftovers compares jobs, records and bodies when nothing is under way.
func (w *world) checkLeftovers() {
	w.t.Helper()
	until(w.t, "all flights have landed", func() bool { return w.flying() == 0 })
	w.sweep(w.ctx())
	records := map[job.ID]job.Object{}
	for _, o := range w.objects() {
		records[o.ID] = o
	}
	if len(w.files()) != len(records) {
		w.t.Errorf("%d bodies, %d records", len(w.files()), len(records))
	}
	jobs, err := w.db.AllJobs(w.ctx())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, j := range jobs {
		switch {
		case !j.State.Final():
			w.t.Errorf("a job is left %s", j.State)
		case j.State == job.Ready && !records[j.Object].Complete:
			w.t.Errorf("a ready job has the object %+v", records[j.Object])
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, lv := range w.lives {
		if lv.leases != 0 || len(w.unsaved) != 0 {
			w.t.Errorf("%d leases are left, %d jobs unsaved", lv.leases, len(w.unsaved))
		}
	}
}
