package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origintest"
	"github.com/jumpget/jumpget/internal/store"
)

// failingStore fails one call.
type failingStore struct {
	store.Store
	mu     sync.Mutex
	method string
	left   int // calls of the method until one fails; 0: none does
	failed bool
}

func (s *failingStore) wrap(inner store.Store) store.Store {
	s.Store = inner
	return s
}

func (s *failingStore) call(method string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if method != s.method || s.left == 0 {
		return nil
	}
	if s.left--; s.left > 0 {
		return nil
	}
	s.failed = true
	return errBroken
}

// arm makes the n-th call of a method from now on fail. Disarmed with 0 it
// reports whether one has.
func (s *failingStore) arm(method string, n int) (failed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	failed = s.failed
	s.method, s.left, s.failed = method, n, false
	return failed
}

func (s *failingStore) AddJob(ctx context.Context, n store.New) error {
	if err := s.call("AddJob"); err != nil {
		return err
	}
	return s.Store.AddJob(ctx, n)
}

func (s *failingStore) PutJob(ctx context.Context, j job.Job) error {
	if err := s.call("PutJob"); err != nil {
		return err
	}
	return s.Store.PutJob(ctx, j)
}

func (s *failingStore) Job(ctx context.Context, id job.ID) (job.Job, error) {
	if err := s.call("Job"); err != nil {
		return job.Job{}, err
	}
	return s.Store.Job(ctx, id)
}

func (s *failingStore) JobsByObject(ctx context.Context, id job.ID) ([]job.Job, error) {
	if err := s.call("JobsByObject"); err != nil {
		return nil, err
	}
	return s.Store.JobsByObject(ctx, id)
}

func (s *failingStore) PutObject(ctx context.Context, o job.Object) error {
	if err := s.call("PutObject"); err != nil {
		return err
	}
	return s.Store.PutObject(ctx, o)
}

func (s *failingStore) Object(ctx context.Context, id job.ID) (job.Object, error) {
	if err := s.call("Object"); err != nil {
		return job.Object{}, err
	}
	return s.Store.Object(ctx, id)
}

func (s *failingStore) Objects(ctx context.Context) ([]job.Object, error) {
	if err := s.call("Objects"); err != nil {
		return nil, err
	}
	return s.Store.Objects(ctx)
}

func (s *failingStore) DeleteObject(ctx context.Context, id job.ID) error {
	if err := s.call("DeleteObject"); err != nil {
		return err
	}
	return s.Store.DeleteObject(ctx, id)
}

func (s *failingStore) DeleteJob(ctx context.Context, id job.ID) error {
	if err := s.call("DeleteJob"); err != nil {
		return err
	}
	return s.Store.DeleteJob(ctx, id)
}

func (s *failingStore) FindReusable(ctx context.Context, key string) (job.Object, []job.Job, error) {
	if err := s.call("FindReusable"); err != nil {
		return job.Object{}, nil, err
	}
	return s.Store.FindReusable(ctx, key)
}

func (s *failingStore) AddToken(ctx context.Context, t store.Token) error {
	if err := s.call("AddToken"); err != nil {
		return err
	}
	return s.Store.AddToken(ctx, t)
}

// TestEveryStoreCallFails lets the database fail once, at each call in turn,
// while files are brought, given out again, evicted and removed. Whatever
// fails: nobody waits for ever, no wrong byte is read, and afterwards the same
// commands work.
func TestEveryStoreCallFails(t *testing.T) {
	t.Parallel()
	const most = 8 // calls of a method; what is polled has no end
	f := origintest.File{Size: 40_000, Seed: 1, ETag: `"v1"`}
	s := new(failingStore)
	w := newWorld(t, withStore(s.wrap), quota(100_000), with(func(c *Config) { c.Fetcher = &scripted{fetch: deliver(f)} }))
	for _, method := range []string{
		"AddJob", "PutJob", "Job", "JobsByObject", "PutObject", "Object", "Objects", "DeleteObject", "DeleteJob", "FindReusable", "AddToken",
	} {
		for n := 1; n <= most; n++ {
			url := fmt.Sprintf("http://origin/%s%d", method, n)
			s.arm(method, n)
			w.rough(f, url)
			failed := s.arm("", 0)
			w.checkLeftovers()
			w.wantFile(bob, w.bring(bob, get(url)).Job.ID, f)
			if !failed {
				if n == 1 && method != "Object" { // bodies are mostly open already
					t.Errorf("%s was never called", method)
				}
				break
			}
		}
	}
	w.restart()
	w.checkLeftovers()
}

// rough does what users do, takes errors as they come, and checks bytes alone.
func (w *world) rough(f origintest.File, url string) {
	w.t.Helper()
	var ids []job.ID
	for _, u := range []string{url, url, url + "b"} {
		ticket, err := w.Submit(w.ctx(), Submission{Owner: alice}, get(u))
		if err != nil {
			wantCode(w.t, err, job.CodeInternal)
			continue
		}
		ids = append(ids, ticket.Job)
		if _, err := w.Renew(w.ctx(), alice, ticket.Job); err != nil {
			wantCode(w.t, err, job.CodeInternal)
		}
		until(w.t, "the job has ended", func() bool {
			w.sweep(w.ctx())
			ctx, cancel := context.WithTimeout(w.t.Context(), 100*time.Millisecond)
			defer cancel()
			seen := <-w.watchAside(ctx, alice, ticket.Job, 0)
			return seen.err == nil && seen.last().Job.State.Final()
		})
		if b, err := w.OpenOwned(w.ctx(), alice, ticket.Job); err == nil {
			if sum, err := readAll(w.ctx(), b); err == nil && sum != f.SHA256() {
				w.t.Error("wrong bytes")
			}
			b.Close()
		}
	}
	for _, id := range ids {
		if err := w.Remove(w.ctx(), alice, id); err != nil && !errors.Is(err, errNotFound()) {
			wantCode(w.t, err, job.CodeInternal)
		}
	}
}

// TestEvictionThatCantBeWrittenDown fails to expire the job of what is being
// evicted: then its body stays, or the job would be ready with nothing behind it.
func TestEvictionThatCantBeWrittenDown(t *testing.T) {
	t.Parallel()
	f, o := small(t)
	s := new(failingStore)
	w := newWorld(t, withStore(s.wrap))
	st := w.bring(alice, get(o.URL("")))
	s.arm("Job", 1)
	if w.evict(w.ctx(), *st.Object) || !s.arm("", 0) {
		t.Error("evicted, or nothing failed")
	}
	w.wantFile(alice, st.Job.ID, f)
}
