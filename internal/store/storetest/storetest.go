// Package storetest holds the tests that every implementation of store.Store
// has to pass.
package storetest

import (
	"context"
	"errors"
	"fmt"
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

func jobs(t *testing.T, f *fixture) {
	ctx := t.Context()
	j := Job()
	_, err := f.Job(ctx, j.ID)
	missing(t, err)
	missing(t, f.DeleteJob(ctx, j.ID))
	must(t, f.AddJob(ctx, j, job.Request{URL: j.URL}))
	if err := f.AddJob(ctx, j, job.Request{}); !errors.Is(err, store.ErrExists) {
		t.Errorf("added twice: %v", err)
	}
	got, err := f.Job(ctx, j.ID)
	must(t, err)
	same(t, got, j)
	j.State, j.Object, j.Owner, j.Expires = job.Fetching, job.NewID(), "bob", j.Expires.Add(time.Hour)
	must(t, f.PutJob(ctx, j))
	got, err = f.Job(ctx, j.ID)
	must(t, err)
	same(t, got, j)
	must(t, f.DeleteJob(ctx, j.ID))
	_, err = f.Job(ctx, j.ID)
	missing(t, err)
}

func jobsInOrder(t *testing.T, f *fixture) {
	object := job.NewID()
	late := f.addJob(t, func(j *job.Job) { j.Created = Start.Add(time.Minute); j.Object = object })
	bobs := f.addJob(t, func(j *job.Job) { j.Owner = "bob"; j.Object = object })
	early := f.addJob(t, func(j *job.Job) { j.Created = Start.Add(-time.Minute) })
	all, err := f.AllJobs(t.Context())
	must(t, err)
	same(t, all, []job.Job{early, bobs, late})
	all, err = f.JobsByOwner(t.Context(), "alice")
	must(t, err)
	same(t, all, []job.Job{early, late})
	all, err = f.JobsByObject(t.Context(), object)
	must(t, err)
	same(t, all, []job.Job{bobs, late})
	all, err = f.JobsByOwner(t.Context(), "carol' OR 1=1 --")
	must(t, err)
	same(t, len(all), 0)
}

func jobErrors(t *testing.T, f *fixture) {
	failed := job.Errorf(job.CodeOriginStatus, "the origin says %w", errors.New("503")).WithHint("later")
	failed.Status = 503
	j := f.addJob(t, func(j *job.Job) { j.State = job.Failed; j.Error = failed })
	got, err := f.Job(t.Context(), j.ID)
	must(t, err)
	same(t, *got.Error, job.Error{Code: job.CodeOriginStatus, Message: "the origin says 503", Hint: "later", Status: 503})
}

// An origin may claim any date, and a zero time stays one.
func oddTimes(t *testing.T, f *fixture) {
	for _, at := range []time.Time{{}, time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC), time.Unix(0, 0).UTC()} {
		o := Object()
		o.ModTime = at
		must(t, f.PutObject(t.Context(), o))
		got, err := f.Object(t.Context(), o.ID)
		must(t, err)
		same(t, got, o)
	}
}

func objects(t *testing.T, f *fixture) {
	ctx := t.Context()
	o := Object()
	_, err := f.Object(ctx, o.ID)
	missing(t, err)
	missing(t, f.Touch(ctx, o.ID))
	missing(t, f.DeleteObject(ctx, o.ID))
	must(t, f.PutObject(ctx, o))
	got, err := f.Object(ctx, o.ID)
	must(t, err)
	same(t, got, o)
	o = job.Object{ID: o.ID, Size: job.UnknownSize, Used: Start}
	must(t, f.PutObject(ctx, o))
	got, err = f.Object(ctx, o.ID)
	must(t, err)
	same(t, got, o)
	must(t, f.DeleteObject(ctx, o.ID))
	_, err = f.Object(ctx, o.ID)
	missing(t, err)
}

func objectsByUse(t *testing.T, f *fixture) {
	ctx := t.Context()
	a, b := Object(), Object()
	b.Used = Start.Add(time.Second)
	must(t, f.PutObject(ctx, b))
	must(t, f.PutObject(ctx, a))
	all, err := f.Objects(ctx)
	must(t, err)
	same(t, all, []job.Object{a, b})
	f.clock.Add(time.Minute)
	must(t, f.Touch(ctx, a.ID))
	a.SHA256 = "changed by one who has not seen the touch"
	must(t, f.PutObject(ctx, a))
	a.Used = f.clock.Now()
	all, err = f.Objects(ctx)
	must(t, err)
	same(t, all, []job.Object{b, a})
}

func reusable(t *testing.T, f *fixture) {
	ctx := t.Context()
	_, _, err := f.FindReusable(ctx, "key")
	missing(t, err)
	old, latest, other := Object(), Object(), Object()
	latest.Created = Start.Add(time.Second)
	other.Key, other.Created = "other", Start.Add(time.Hour)
	for _, o := range []job.Object{latest, old, other} {
		must(t, f.PutObject(ctx, o))
	}
	second := f.addJob(t, func(j *job.Job) { j.Object = latest.ID; j.Created = Start.Add(time.Hour) })
	first := f.addJob(t, func(j *job.Job) { j.Object = latest.ID })
	f.addJob(t, func(j *job.Job) { j.Object = old.ID })
	o, jobs, err := f.FindReusable(ctx, "key")
	must(t, err)
	same(t, o, latest)
	same(t, jobs, []job.Job{first, second})
}

// Secret is in every secret field of the request that Request returns.
const Secret = "s3cret-of-the-origin"

// Request returns a request full of secrets.
func Request() job.Request {
	return job.Request{
		URL: "https://u:" + Secret + "@example.org/a", Mirrors: []string{"https://example.net/a"},
		Header: []job.Field{{Name: "Cookie", Value: Secret}, {Name: "Cookie", Value: "é\"'"}}, Username: "u", Password: Secret,
		Retain: 60, Fresh: true,
	}
}

func requests(t *testing.T, f *fixture) {
	ctx := t.Context()
	j, r := Job(), Request()
	missing(t, f.PutRequest(ctx, j.ID, r))
	must(t, f.AddJob(ctx, j, r))
	got, err := f.Request(ctx, j.ID)
	must(t, err)
	same(t, got, r)
	j.State = job.Fetching
	must(t, f.PutJob(ctx, j))
	r.Header = nil
	must(t, f.PutRequest(ctx, j.ID, r))
	got, err = f.Request(ctx, j.ID)
	must(t, err)
	same(t, got, r)
}

func requestsEnd(t *testing.T, f *fixture) {
	ctx := t.Context()
	for _, state := range []job.State{job.Ready, job.Failed, job.Expired} {
		j := Job()
		must(t, f.AddJob(ctx, j, Request()))
		j.State = state
		must(t, f.PutJob(ctx, j))
		_, err := f.Request(ctx, j.ID)
		missing(t, err)
		missing(t, f.PutRequest(ctx, j.ID, Request()))
		j.State = job.Queued // fetched again
		must(t, f.PutJob(ctx, j))
		_, err = f.Request(ctx, j.ID)
		missing(t, err)
		must(t, f.PutRequest(ctx, j.ID, Request()))
	}
	done := Job()
	done.State = job.Ready
	must(t, f.AddJob(ctx, done, Request()))
	_, err := f.Request(ctx, done.ID)
	missing(t, err)
}

func cascade(t *testing.T, f *fixture) {
	ctx := t.Context()
	j := Job()
	must(t, f.AddJob(ctx, j, Request()))
	must(t, f.AddToken(ctx, j.ID, [32]byte{1}, Start.Add(time.Hour)))
	must(t, f.PutGrant(ctx, job.Grant{Owner: "alice", Job: j.ID, Addr: netip.MustParseAddr("192.0.2.1"), Expires: Start.Add(time.Hour)}))
	must(t, f.PutJob(ctx, j)) // a change must not take them
	_, err := f.TokenJob(ctx, [32]byte{1})
	must(t, err)
	must(t, f.DeleteJob(ctx, j.ID))
	_, err = f.TokenJob(ctx, [32]byte{1})
	missing(t, err)
	_, err = f.Request(ctx, j.ID)
	missing(t, err)
	gs, err := f.Grants(ctx, "alice", "")
	must(t, err)
	same(t, len(gs), 0)
}

func settings(t *testing.T, f *fixture) {
	_, err := f.Setting(t.Context(), "k")
	missing(t, err)
	for _, v := range []string{"", "one", "two"} {
		must(t, f.PutSetting(t.Context(), "k", v))
		got, err := f.Setting(t.Context(), "k")
		must(t, err)
		same(t, got, v)
	}
}

func survives(t *testing.T, f *fixture) {
	ctx := t.Context()
	j, r, o := Job(), Request(), Object()
	must(t, f.AddJob(ctx, j, r))
	must(t, f.PutObject(ctx, o))
	must(t, f.AddToken(ctx, j.ID, [32]byte{1}, Start.Add(time.Hour)))
	must(t, f.PutSetting(ctx, "k", "v"))
	must(t, f.Close())
	f.Store = f.env.Open(f.clock.Now)
	gotJob, err := f.Job(ctx, j.ID)
	must(t, err)
	same(t, gotJob, j)
	gotRequest, err := f.Request(ctx, j.ID)
	must(t, err)
	same(t, gotRequest, r)
	gotObject, err := f.Object(ctx, o.ID)
	must(t, err)
	same(t, gotObject, o)
	_, err = f.TokenJob(ctx, [32]byte{1})
	must(t, err)
}

func concurrent(t *testing.T, f *fixture) {
	ctx := t.Context()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 5 {
				if err := oneLife(ctx, f, byte(w), byte(i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	all, err := f.AllJobs(ctx)
	must(t, err)
	same(t, len(all), 40)
}

// oneLife takes a job through its life.
func oneLife(ctx context.Context, f *fixture, w, i byte) error {
	j, o, hash := Job(), Object(), [32]byte{w, i}
	j.Object = o.ID
	for _, step := range []func() error{
		func() error { return f.AddJob(ctx, j, Request()) },
		func() error { return f.AddToken(ctx, j.ID, hash, Start.Add(time.Hour)) },
		func() error { return f.PutObject(ctx, o) },
		func() error { j.State = job.Ready; return f.PutJob(ctx, j) },
		func() error { return f.Touch(ctx, o.ID) },
		func() error { return f.PurgeExpired(ctx) },
		func() error { _, _, err := f.FindReusable(ctx, "key"); return err },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	tok, err := f.TokenJob(ctx, hash)
	if err == nil && tok.Job != j.ID {
		err = fmt.Errorf("the token is of job %s", tok.Job)
	}
	return err
}

func cancelled(t *testing.T, f *fixture) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.PutJob(ctx, Job()); !errors.Is(err, context.Canceled) {
		t.Errorf("PutJob gives %v", err)
	}
	if _, err := f.AllJobs(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("AllJobs gives %v", err)
	}
	all, err := f.AllJobs(t.Context())
	must(t, err)
	same(t, len(all), 0)
}
