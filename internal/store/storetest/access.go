package storetest

import (
	"net/netip"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/store"
)

func tokens(t *testing.T, f *fixture) {
	ctx := t.Context()
	j, other := f.addJob(t, nil), f.addJob(t, nil)
	missing(t, f.AddToken(ctx, store.Token{Job: job.NewID(), Hash: [32]byte{9}, Expires: Start}))
	short := store.Token{Hash: [32]byte{1}, Job: j.ID, Expires: Start.Add(time.Minute)}
	long := store.Token{Hash: [32]byte{31: 1}, Job: j.ID, Expires: Start.Add(time.Hour)}
	for _, tok := range []store.Token{long, short, {Hash: [32]byte{3}, Job: other.ID, Expires: long.Expires}} {
		must(t, f.AddToken(ctx, tok))
	}
	got, err := f.TokenJob(ctx, short.Hash)
	must(t, err)
	same(t, got, short)
	_, err = f.TokenJob(ctx, [32]byte{1, 1})
	missing(t, err)
	all, err := f.TokensOf(ctx, j.ID)
	must(t, err)
	same(t, all, []store.Token{short, long})
	f.clock.Add(time.Minute)
	_, err = f.TokenJob(ctx, short.Hash)
	missing(t, err)
	all, err = f.TokensOf(ctx, j.ID)
	must(t, err)
	same(t, all, []store.Token{long})
	must(t, f.RevokeTokens(ctx, j.ID))
	must(t, f.RevokeTokens(ctx, j.ID))
	_, err = f.TokenJob(ctx, long.Hash)
	missing(t, err)
	_, err = f.TokenJob(ctx, [32]byte{3})
	must(t, err)
}

func grants(t *testing.T, f *fixture) {
	ctx := t.Context()
	j, other := f.addJob(t, nil), f.addJob(t, nil)
	one := job.Grant{Owner: "alice", Job: j.ID, Addr: netip.MustParseAddr("192.0.2.1"), Expires: Start.Add(time.Minute)}
	all := job.Grant{Owner: "alice", Addr: netip.MustParseAddr("2001:db8::1"), Expires: Start.Add(time.Hour)}
	for _, g := range []job.Grant{
		one, all,
		{Owner: "alice", Job: other.ID, Addr: one.Addr, Expires: all.Expires},
		{Owner: "bob", Addr: one.Addr, Expires: all.Expires},
	} {
		must(t, f.PutGrant(ctx, g))
	}
	if err := f.PutGrant(ctx, job.Grant{Owner: "alice", Expires: Start}); err == nil {
		t.Error("a grant without an address was stored")
	}
	missing(t, f.PutGrant(ctx, job.Grant{Owner: "alice", Job: job.NewID(), Addr: one.Addr, Expires: Start}))
	want := func(id job.ID, want ...job.Grant) {
		t.Helper()
		got, err := f.Grants(ctx, "alice", id)
		must(t, err)
		same(t, got, want)
	}
	want(j.ID, one, all)
	shorter, longer := one, one
	shorter.Expires = Start.Add(time.Second)
	longer.Expires = Start.Add(2 * time.Minute)
	longer.Addr = netip.MustParseAddr("::ffff:192.0.2.1") // the same, mapped
	must(t, f.PutGrant(ctx, shorter))
	want(j.ID, one, all)
	must(t, f.PutGrant(ctx, longer))
	longer.Addr = one.Addr
	want(j.ID, longer, all)
	f.clock.Add(2 * time.Minute)
	want(j.ID, all)
	got, err := f.Grants(ctx, "alice", "")
	must(t, err)
	same(t, len(got), 2)
}

func purge(t *testing.T, f *fixture) {
	ctx := t.Context()
	j := f.addJob(t, nil)
	must(t, f.AddToken(ctx, store.Token{Job: j.ID, Hash: [32]byte{1}, Expires: Start.Add(time.Minute)}))
	must(t, f.AddToken(ctx, store.Token{Job: j.ID, Hash: [32]byte{2}, Expires: Start.Add(time.Hour)}))
	addr := netip.MustParseAddr("192.0.2.1")
	must(t, f.PutGrant(ctx, job.Grant{Owner: "alice", Addr: addr, Expires: Start.Add(time.Minute)}))
	must(t, f.PutGrant(ctx, job.Grant{Owner: "alice", Job: j.ID, Addr: addr, Expires: Start.Add(time.Hour)}))
	f.clock.Add(30 * time.Minute)
	must(t, f.PurgeExpired(ctx))
	f.clock.Add(-30 * time.Minute) // what is gone does not come back
	toks, err := f.TokensOf(ctx, j.ID)
	must(t, err)
	same(t, len(toks), 1)
	gs, err := f.Grants(ctx, "alice", j.ID)
	must(t, err)
	same(t, len(gs), 1)
}
