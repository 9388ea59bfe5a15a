package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/store"
)

func jobs(t *testing.T, f *fixture) {
	ctx := t.Context()
	j := Job()
	_, err := f.Job(ctx, j.ID)
	missing(t, err)
	missing(t, f.DeleteJob(ctx, j.ID))
	must(t, f.AddJob(ctx, store.New{Job: j, Request: job.Request{URL: j.URL}}))
	if err := f.AddJob(ctx, store.New{Job: j, Request: job.Request{}}); !errors.Is(err, store.ErrExists) {
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
	must(t, f.AddJob(ctx, store.New{Job: j, Request: r}))
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
		must(t, f.AddJob(ctx, store.New{Job: j, Request: Request()}))
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
	must(t, f.AddJob(ctx, store.New{Job: done, Request: Request()}))
	_, err := f.Request(ctx, done.ID)
	missing(t, err)
}
