package storetest

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/store"
)

// Session returns a session of alice's that was never used.
func Session() store.Session {
	s := store.Session{Session: job.Session{
		ID: job.NewID(), Owner: "alice", Source: job.SourceSystem, Name: "laptop 'é\"", Created: Start, Used: Start,
		Expires: Start.Add(12 * time.Hour), Until: Start.Add(7 * 24 * time.Hour),
	}}
	copy(s.Hash[:], s.ID)
	return s
}

func submissions(t *testing.T, f *fixture) {
	ctx := t.Context()
	j, sub := Job(), job.NewID()
	_, err := f.Submission(ctx, "alice", sub)
	missing(t, err)
	first := store.New{Job: j, Submission: sub, Remember: Start.Add(time.Hour)}
	must(t, f.AddJob(ctx, first))
	again := Job()
	if err := f.AddJob(ctx, store.New{Job: again, Submission: sub, Remember: Start.Add(time.Hour)}); !errors.Is(err, store.ErrExists) {
		t.Errorf("submitted twice: %v", err)
	}
	_, err = f.Job(ctx, again.ID)
	missing(t, err) // nothing is left of what failed
	bobs := Job()
	bobs.Owner = "bob"
	must(t, f.AddJob(ctx, store.New{Job: bobs, Submission: sub, Remember: Start.Add(2 * time.Hour)}))
	must(t, f.DeleteJob(ctx, j.ID))
	must(t, f.Close())
	f.Store = f.env.Open(f.clock.Now)
	got, err := f.Submission(ctx, "alice", sub) // it outlives its job, and the process
	must(t, err)
	same(t, got, j.ID)
	f.clock.Add(time.Hour)
	_, err = f.Submission(ctx, "alice", sub)
	missing(t, err)
	must(t, f.AddJob(ctx, store.New{Job: again, Submission: sub, Remember: Start.Add(3 * time.Hour)}))
	must(t, f.PurgeExpired(ctx))
	got, err = f.Submission(ctx, "alice", sub)
	must(t, err)
	same(t, got, again.ID)
	got, err = f.Submission(ctx, "bob", sub)
	must(t, err)
	same(t, got, bobs.ID)
}

func submissionsAtOnce(t *testing.T, f *fixture) {
	sub := job.NewID()
	var wg sync.WaitGroup
	var made atomic.Int64
	for range 8 {
		wg.Go(func() {
			err := f.AddJob(t.Context(), store.New{Job: Job(), Submission: sub, Remember: Start.Add(time.Hour)})
			switch {
			case err == nil:
				made.Add(1)
			case !errors.Is(err, store.ErrExists):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	all, err := f.AllJobs(t.Context())
	must(t, err)
	same(t, [2]int{int(made.Load()), len(all)}, [2]int{1, 1})
}

func jobWithAccess(t *testing.T, f *fixture) {
	ctx := t.Context()
	j := Job()
	tok := store.Token{Hash: [32]byte{1}, Expires: Start.Add(time.Hour)}
	g := job.Grant{Addr: netip.MustParseAddr("192.0.2.1"), Expires: Start.Add(time.Hour)}
	must(t, f.AddJob(ctx, store.New{Job: j, Request: Request(), Tokens: []store.Token{tok}, Grants: []job.Grant{g}}))
	tok.Job, g.Job, g.Owner = j.ID, j.ID, j.Owner
	got, err := f.TokenJob(ctx, tok.Hash)
	must(t, err)
	same(t, got, tok)
	gs, err := f.Grants(ctx, j.Owner, j.ID)
	must(t, err)
	same(t, gs, []job.Grant{g})
	bad := Job()
	if err := f.AddJob(ctx, store.New{Job: bad, Grants: []job.Grant{{Expires: Start}}}); err == nil {
		t.Error("a grant without an address was stored")
	}
	_, err = f.Job(ctx, bad.ID)
	missing(t, err)
}

// The token of a submission that is repeated is the same one.
func tokenTwice(t *testing.T, f *fixture) {
	ctx := t.Context()
	j := f.addJob(t, nil)
	tok := store.Token{Hash: [32]byte{1}, Job: j.ID, Expires: Start.Add(time.Hour)}
	for _, hours := range []time.Duration{1, 3, 2} {
		tok.Expires = Start.Add(hours * time.Hour)
		must(t, f.AddToken(ctx, tok))
	}
	tok.Expires = Start.Add(3 * time.Hour)
	all, err := f.TokensOf(ctx, j.ID)
	must(t, err)
	same(t, all, []store.Token{tok})
}

func sessions(t *testing.T, f *fixture) {
	ctx := t.Context()
	late, early := Session(), Session()
	late.Created = Start.Add(time.Minute)
	late.Owner, late.Source, late.Addr = "bob", "", netip.MustParseAddr("2001:db8::1")
	must(t, f.AddSession(ctx, late))
	must(t, f.AddSession(ctx, early))
	if err := f.AddSession(ctx, early); !errors.Is(err, store.ErrExists) {
		t.Errorf("added twice: %v", err)
	}
	f.clock.Add(24 * time.Hour) // they are the relay's to end
	must(t, f.PurgeExpired(ctx))
	must(t, f.Close())
	f.Store = f.env.Open(f.clock.Now)
	all, err := f.Sessions(ctx)
	must(t, err)
	same(t, all, []store.Session{early, late})
	must(t, f.DeleteSession(ctx, early.ID))
	missing(t, f.DeleteSession(ctx, early.ID))
	all, err = f.Sessions(ctx)
	must(t, err)
	same(t, all, []store.Session{late})
}

func sessionTokens(t *testing.T, f *fixture) {
	ctx := t.Context()
	one, other, j := Session(), Session(), f.addJob(t, nil)
	must(t, f.AddSession(ctx, one))
	must(t, f.AddSession(ctx, other))
	in := store.Token{Hash: [32]byte{1}, Job: j.ID, Session: one.ID, Expires: Start.Add(time.Hour)}
	missing(t, f.AddToken(ctx, store.Token{Hash: [32]byte{9}, Job: j.ID, Session: job.NewID(), Expires: in.Expires}))
	rest := []store.Token{
		{Hash: [32]byte{2}, Job: j.ID, Session: other.ID, Expires: in.Expires},
		{Hash: [32]byte{3}, Job: j.ID, Expires: in.Expires},
	}
	for _, tok := range append(rest, in) {
		must(t, f.AddToken(ctx, tok))
	}
	got, err := f.TokenJob(ctx, in.Hash)
	must(t, err)
	same(t, got, in)
	must(t, f.DeleteSession(ctx, one.ID))
	all, err := f.TokensOf(ctx, j.ID)
	must(t, err)
	same(t, all, rest)
}

func sessionAddresses(t *testing.T, f *fixture) {
	ctx := t.Context()
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	s := Session()
	s.Known = []netip.Addr{a}
	must(t, f.AddSession(ctx, s))
	use := func(addr netip.Addr, after time.Duration) {
		t.Helper()
		s.Used, s.Expires, s.Addr = Start.Add(after), Start.Add(after+12*time.Hour), addr
		must(t, f.UseSession(ctx, s.Session))
	}
	want := func(known ...netip.Addr) {
		t.Helper()
		s.Known = known
		all, err := f.Sessions(ctx)
		must(t, err)
		same(t, all, []store.Session{s})
	}
	want(a)
	use(netip.Addr{}, time.Second)
	want(a)
	use(b, time.Minute)
	want(b, a)
	use(netip.MustParseAddr("::ffff:192.0.2.1"), time.Hour)
	s.Addr = a
	want(a, b)
	for i := range 40 {
		use(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), 2*time.Hour+time.Duration(i)*time.Second)
	}
	all, err := f.Sessions(ctx)
	must(t, err)
	if known := all[0].Known; len(known) < 4 || len(known) > 32 || known[0] != s.Addr {
		t.Errorf("%d addresses are known, the latest is %v", len(known), known[0])
	}
	missing(t, f.UseSession(ctx, Session().Session))
}
