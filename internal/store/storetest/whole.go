package storetest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/store"
)

func cascade(t *testing.T, f *fixture) {
	ctx := t.Context()
	j := Job()
	must(t, f.AddJob(ctx, store.New{Job: j, Request: Request()}))
	must(t, f.AddToken(ctx, store.Token{Job: j.ID, Hash: [32]byte{1}, Expires: Start.Add(time.Hour)}))
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
	must(t, f.AddJob(ctx, store.New{Job: j, Request: r}))
	must(t, f.PutObject(ctx, o))
	must(t, f.AddToken(ctx, store.Token{Job: j.ID, Hash: [32]byte{1}, Expires: Start.Add(time.Hour)}))
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
		func() error { return f.AddJob(ctx, store.New{Job: j, Request: Request()}) },
		func() error {
			return f.AddToken(ctx, store.Token{Job: j.ID, Hash: hash, Expires: Start.Add(time.Hour)})
		},
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
