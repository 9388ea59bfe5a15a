// Package storetest holds the tests that every implementation of store.Store
// has to pass.
package storetest

import (
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/store"
)

// An Env is a storage and a clock for one test.
type Env struct {
	// Open opens the storage, as the next process would after the store
	// before was closed.
	Open func(clock func() time.Time) store.Store
}

// Clock is a clock that a test moves by hand.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now returns the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Add moves the clock.
func (c *Clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Start is the time that a test's clock starts with.
var Start = time.Date(2026, 11, 24, 5, 0, 0, 123456000, time.UTC)

// Run runs the suite. For each test, fresh gives an empty storage.
func Run(t *testing.T, fresh func(t *testing.T) Env) {
	for name, test := range map[string]func(*testing.T, *fixture){
		"jobs":                        jobs,
		"jobs in order":               jobsInOrder,
		"job errors":                  jobErrors,
		"odd times":                   oddTimes,
		"objects":                     objects,
		"objects by last use":         objectsByUse,
		"reusable":                    reusable,
		"requests":                    requests,
		"requests end with the job":   requestsEnd,
		"tokens":                      tokens,
		"a token given twice":         tokenTwice,
		"submissions":                 submissions,
		"submissions at once":         submissionsAtOnce,
		"a job with its access":       jobWithAccess,
		"sessions":                    sessions,
		"a session takes its tokens":  sessionTokens,
		"a session's addresses":       sessionAddresses,
		"grants":                      grants,
		"expired things are purged":   purge,
		"a deleted job takes its own": cascade,
		"settings":                    settings,
		"everything survives closing": survives,
		"many at once":                concurrent,
		"a cancelled context":         cancelled,
	} {
		t.Run(name, func(t *testing.T) {
			f := &fixture{env: fresh(t), clock: &Clock{now: Start}}
			f.Store = f.env.Open(f.clock.Now)
			t.Cleanup(func() { must(t, f.Close()) })
			test(t, f)
		})
	}
}

type fixture struct {
	store.Store
	env   Env
	clock *Clock
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func missing(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, store.ErrNotFound) {
		t.Errorf("error is %v, want ErrNotFound", err)
	}
}

func same[T any](t *testing.T, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// Job returns a queued job of alice.
func Job() job.Job {
	return job.Job{
		ID: job.NewID(), Owner: "alice", URL: "https://example.org/a b?x='\"&é", Key: "key",
		State: job.Queued, Created: Start, Expires: Start.Add(12 * time.Hour),
	}
}

// Object returns an object with every field set.
func Object() job.Object {
	return job.Object{
		ID: job.NewID(), URL: "https://example.org/a", Key: "key", Name: "ä.bin", Size: 5 << 30, ETag: `W/"1"`,
		LastModified: "Tue, 24 Nov 2026 05:00:00 GMT", ModTime: Start.Add(-time.Hour), ContentType: "text/plain",
		SHA256: "ab", Complete: true, LengthVerified: true, Created: Start, Used: Start,
	}
}

func (f *fixture) addJob(t *testing.T, change func(*job.Job)) job.Job {
	t.Helper()
	j := Job()
	if change != nil {
		change(&j)
	}
	must(t, f.PutJob(t.Context(), j))
	return j
}
