package storetest

import (
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/job"
)

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
