package relay

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/access"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origintest"
)

var (
	home  = netip.MustParseAddr("192.0.2.7")
	other = netip.MustParseAddr("198.51.100.9")
	six   = netip.MustParseAddr("2001:db8::1")
)

func small(t *testing.T) (origintest.File, *origintest.Server) {
	f := origintest.File{Size: 1000, Seed: 1, ETag: `"v1"`}
	return f, origintest.New(t, f)
}

func (w *world) allow(g job.Grant) {
	w.t.Helper()
	if err := w.Allow(w.ctx(), g); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) wantVerdict(want Verdict, id job.ID, token string, addr netip.Addr) {
	w.t.Helper()
	for range 2 { // the second answer may be remembered
		if got := w.Authorize(w.ctx(), id, token, addr); got != want {
			w.t.Errorf("the verdict is %d, want %d", got, want)
		}
	}
}

func TestAuthorize(t *testing.T) {
	t.Parallel()
	_, o := small(t)
	w := newWorld(t)
	mine := w.submit(alice, get(o.URL("")), home)
	theirs := w.submit(bob, get(o.URL("")), other)
	w.finish(alice, mine.Job, job.Ready)
	for name, tt := range map[string]struct {
		id    job.ID
		token string
		addr  netip.Addr
		want  Verdict
	}{
		"both good":             {mine.Job, mine.Token, home, Granted},
		"IPv4 written as IPv6":  {mine.Job, mine.Token, netip.AddrFrom16(home.As16()), Granted},
		"another address":       {mine.Job, mine.Token, other, UnknownAddress},
		"no address":            {mine.Job, mine.Token, netip.Addr{}, UnknownAddress},
		"another job's token":   {mine.Job, theirs.Token, home, Refused},
		"that from its address": {mine.Job, theirs.Token, other, Refused},
		"another job":           {theirs.Job, mine.Token, home, Refused},
		"no token":              {mine.Job, "", home, Refused},
		"a guess":               {mine.Job, access.NewToken(), home, Refused},
		"part of the token":     {mine.Job, mine.Token[:42], home, Refused},
		"no job":                {job.NewID(), mine.Token, home, Refused},
		"not a job":             {"../../etc", mine.Token, home, Refused},
		"nothing":               {"", "", netip.Addr{}, Refused},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			w.wantVerdict(tt.want, tt.id, tt.token, tt.addr)
		})
	}
}

// TestAuthorizeCostsTheSame counts the look-ups of each kind of refusal.
func TestAuthorizeCostsTheSame(t *testing.T) {
	t.Parallel()
	_, o := small(t)
	c := new(countingStore)
	w := newWorld(t, withStore(c.wrap))
	good := w.submit(alice, get(o.URL("")), home)
	gone := w.submit(alice, get(o.URL("")))
	w.finish(alice, good.Job, job.Ready)
	w.finish(alice, gone.Job, job.Ready)
	if err := w.Remove(w.ctx(), alice, gone.Job); err != nil {
		t.Fatal(err)
	}
	cost := func(id job.ID, token string, addr netip.Addr) string {
		c.reset()
		w.Authorize(w.ctx(), id, token, addr)
		return c.reset()
	}
	want := cost(good.Job, good.Token, home)
	if want == "" {
		t.Fatal("nothing is looked up")
	}
	for name, got := range map[string]string{
		"wrong token":   cost(good.Job, access.NewToken(), home),
		"malformed":     cost(good.Job, "x", home),
		"wrong address": cost(good.Job, good.Token, other),
		"no such job":   cost(job.NewID(), access.NewToken(), home),
		"removed":       cost(gone.Job, gone.Token, home),
	} {
		if got != want {
			t.Errorf("%s: looks up %s, not %s", name, got, want)
		}
	}
	if again := cost(good.Job, good.Token, home); again != "" {
		t.Errorf("what was granted is looked up again: %s", again)
	}
}

func TestGrantsExpire(t *testing.T) {
	t.Parallel()
	_, o := small(t)
	w := newWorld(t)
	ticket := w.submit(alice, job.Request{URL: o.URL(""), Retain: 3600})
	w.finish(alice, ticket.Job, job.Ready)
	later := w.submit(alice, job.Request{URL: o.URL(""), Retain: 7200})

	w.wantVerdict(UnknownAddress, ticket.Job, ticket.Token, home)
	w.allow(job.Grant{Owner: alice, Job: ticket.Job, Addr: home, Expires: w.clock.Now().Add(2 * time.Second)})
	w.allow(job.Grant{Owner: alice, Addr: six, Expires: w.clock.Now().Add(time.Minute)})
	w.wantVerdict(Granted, ticket.Job, ticket.Token, home)
	w.wantVerdict(UnknownAddress, later.Job, later.Token, home)
	w.wantVerdict(Granted, later.Job, later.Token, six)

	w.clock.advance(2 * time.Second) // less than a verdict is believed for
	w.wantVerdict(UnknownAddress, ticket.Job, ticket.Token, home)
	w.wantVerdict(Granted, ticket.Job, ticket.Token, six)
	w.clock.advance(time.Minute)
	w.wantVerdict(UnknownAddress, ticket.Job, ticket.Token, six)

	// Without an end a grant lasts as long as the job.
	w.allow(job.Grant{Owner: alice, Job: ticket.Job, Addr: home})
	w.clock.advance(time.Hour - 62*time.Second - time.Nanosecond*1000)
	w.wantVerdict(Granted, ticket.Job, ticket.Token, home)
	w.clock.advance(time.Microsecond)
	w.wantVerdict(Refused, ticket.Job, ticket.Token, home)
}

func TestExtendProlongsGrants(t *testing.T) {
	t.Parallel()
	_, o := small(t)
	w := newWorld(t)
	ticket := w.submit(alice, job.Request{URL: o.URL(""), Retain: 60}, home)
	w.finish(alice, ticket.Job, job.Ready)
	w.allow(job.Grant{Owner: alice, Job: ticket.Job, Addr: six, Expires: w.clock.Now().Add(30 * time.Second)})
	if _, err := w.Extend(w.ctx(), alice, ticket.Job, 600); err != nil {
		t.Fatal(err)
	}
	w.clock.advance(90 * time.Second)
	w.sweep(w.ctx())
	w.wantVerdict(Refused, ticket.Job, ticket.Token, home) // a token ends when it said it would
	again, err := w.Renew(w.ctx(), alice, ticket.Job)
	if err != nil || !again.Expires.Equal(ticket.Expires.Add(540*time.Second)) {
		t.Fatalf("renewed as %+v, %v", again, err)
	}
	w.wantVerdict(Granted, ticket.Job, again.Token, home)
	w.wantVerdict(UnknownAddress, ticket.Job, again.Token, six) // its own end stands
}

func TestRenew(t *testing.T) {
	t.Parallel()
	_, o := small(t)
	w := newWorld(t)
	ticket := w.submit(alice, get(o.URL("")), home)
	w.finish(alice, ticket.Job, job.Ready)
	again, err := w.Renew(w.ctx(), alice, ticket.Job)
	if err != nil || again.Token == ticket.Token || again.Job != ticket.Job || !again.Expires.Equal(ticket.Expires) {
		t.Fatalf("renewed as %+v, %v", again, err)
	}
	w.wantVerdict(Granted, ticket.Job, ticket.Token, home)
	w.wantVerdict(Granted, ticket.Job, again.Token, home)

	w.clock.advance(13 * time.Hour)
	_, err = w.Renew(w.ctx(), alice, ticket.Job) // before the cleaner has come
	wantCode(t, err, job.CodeExpired)
	st, err := w.Status(w.ctx(), alice, ticket.Job)
	if err != nil || st.Job.State != job.Expired {
		t.Errorf("the job is %+v, %v", st.Job, err)
	}
}

// TestRenewInUse renews the ticket of a job whose time is over while somebody
// still reads it, whether the cleaner has come by or not.
func TestRenewInUse(t *testing.T) {
	t.Parallel()
	_, o := small(t)
	for name, swept := range map[string]bool{"swept": true, "not yet swept": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ticket := w.submit(alice, get(o.URL("")), home)
			w.finish(alice, ticket.Job, job.Ready)
			b := w.body(alice, ticket.Job)
			defer b.Close()
			w.clock.advance(13 * time.Hour)
			if swept {
				w.sweep(w.ctx())
			}
			again, err := w.Renew(w.ctx(), alice, ticket.Job)
			if err != nil || !again.Expires.Equal(w.clock.Now().Add(postpone)) {
				t.Errorf("renewed as %+v, %v", again, err)
			}
		})
	}
}

func TestAllowRefuses(t *testing.T) {
	t.Parallel()
	_, o := small(t)
	w := newWorld(t)
	id := w.submit(alice, job.Request{URL: o.URL(""), Retain: 10}).Job
	w.finish(alice, id, job.Ready)
	for name, addr := range map[string]string{
		"everybody": "0.0.0.0", "everybody in IPv6": "::", "everybody, mapped": "::ffff:0.0.0.0",
		"a group": "224.0.0.1", "a group in IPv6": "ff02::1", "a group, mapped": "::ffff:224.0.0.1",
	} {
		err := w.Allow(w.ctx(), job.Grant{Owner: alice, Job: id, Addr: netip.MustParseAddr(addr)})
		if e := wantCode(t, err, job.CodeBadRequest); !strings.Contains(e.Message, addr) {
			t.Errorf("%s: told %q", name, e.Message)
		}
	}
	wantCode(t, w.Allow(w.ctx(), job.Grant{Owner: alice, Job: id}), job.CodeBadRequest)
	wantCode(t, w.Allow(w.ctx(), job.Grant{Owner: bob, Job: id, Addr: home}), job.CodeNotFound)
	wantCode(t, w.Allow(w.ctx(), job.Grant{Owner: alice, Job: job.NewID(), Addr: home}), job.CodeNotFound)
	w.clock.advance(time.Minute)
	w.sweep(w.ctx())
	wantCode(t, w.Allow(w.ctx(), job.Grant{Owner: alice, Job: id, Addr: home}), job.CodeExpired)
}

// TestZones checks that an address means the same with and without a zone.
func TestZones(t *testing.T) {
	t.Parallel()
	_, o := small(t)
	w := newWorld(t)
	ticket := w.submit(alice, get(o.URL("")), netip.MustParseAddr("fe80::1%eth0"))
	w.finish(alice, ticket.Job, job.Ready)
	w.wantVerdict(Granted, ticket.Job, ticket.Token, netip.MustParseAddr("fe80::1"))
	w.wantVerdict(Granted, ticket.Job, ticket.Token, netip.MustParseAddr("fe80::1%wlan0"))
}

// TestRemovalShutsTheDoor checks that what was granted a moment ago is refused
// as soon as its job is removed, expired or evicted.
func TestRemovalShutsTheDoor(t *testing.T) {
	t.Parallel()
	_, o := small(t)
	for name, end := range map[string]func(w *world, id job.ID){
		"removed": func(w *world, id job.ID) { _ = w.Remove(w.ctx(), alice, id) },
		"expired": func(w *world, id job.ID) {
			w.clock.advance(11 * time.Second)
			w.sweep(w.ctx())
		},
		"evicted": func(w *world, id job.ID) {
			o, _ := w.db.Objects(w.ctx())
			w.evict(w.ctx(), o[0])
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ticket := w.submit(alice, job.Request{URL: o.URL(""), Retain: 10}, home)
			w.finish(alice, ticket.Job, job.Ready)
			w.wantVerdict(Granted, ticket.Job, ticket.Token, home)
			end(w, ticket.Job)
			w.wantVerdict(Refused, ticket.Job, ticket.Token, home)
			if _, err := w.Open(w.ctx(), ticket.Job); err == nil {
				t.Error("the body can still be opened")
			}
		})
	}
}

// TestClockSetBack checks that a verdict is not believed for longer than it
// should be when the clock is set back.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	_, o := small(t)
	w := newWorld(t)
	ticket := w.submit(alice, get(o.URL("")), home)
	w.finish(alice, ticket.Job, job.Ready)
	w.wantVerdict(Granted, ticket.Job, ticket.Token, home)
	w.clock.advance(-24 * time.Hour)
	if w.auth.knows(authAsk{hash: access.Hash(ticket.Token), job: ticket.Job, addr: home}, w.clock.Now()) {
		t.Error("still believed")
	}
	w.wantVerdict(Granted, ticket.Job, ticket.Token, home)
}

func TestAuthCacheIsBounded(t *testing.T) {
	t.Parallel()
	var c authCache
	now := time.Unix(0, 0)
	for i := range 3 * maxAuth {
		c.remember(authAsk{hash: access.Hash(string(rune(i)))}, now.Add(authTTL))
	}
	if len(c.until) > maxAuth {
		t.Errorf("%d entries", len(c.until))
	}
}

func TestOwnersAreApart(t *testing.T) {
	t.Parallel()
	_, o := small(t)
	w := newWorld(t)
	ticket := w.submit(alice, get(o.URL("")))
	id := ticket.Job
	w.finish(alice, id, job.Ready)
	for name, f := range map[string]func(owner string, id job.ID) error{
		"status": func(owner string, id job.ID) error { _, err := w.Status(w.ctx(), owner, id); return err },
		"watch":  func(owner string, id job.ID) error { return w.watch(owner, id, 0).err },
		"open":   func(owner string, id job.ID) error { _, err := w.OpenOwned(w.ctx(), owner, id); return err },
		"renew":  func(owner string, id job.ID) error { _, err := w.Renew(w.ctx(), owner, id); return err },
		"extend": func(owner string, id job.ID) error { _, err := w.Extend(w.ctx(), owner, id, 10); return err },
		"remove": func(owner string, id job.ID) error { return w.Remove(w.ctx(), owner, id) },
		"allow": func(owner string, id job.ID) error {
			return w.Allow(w.ctx(), job.Grant{Owner: owner, Job: id, Addr: home})
		},
	} {
		// Somebody else's job is not told apart from none.
		theirs := wantCode(t, f(bob, id), job.CodeNotFound)
		none := wantCode(t, f(bob, job.NewID()), job.CodeNotFound)
		invalid := wantCode(t, f(bob, "../x"), job.CodeNotFound)
		if theirs.Message != none.Message || none.Message != invalid.Message {
			t.Errorf("%s: %q, %q and %q", name, theirs.Message, none.Message, invalid.Message)
		}
	}
	if all, err := w.List(w.ctx(), bob); err != nil || len(all) != 0 {
		t.Errorf("bob sees %d jobs, %v", len(all), err)
	}
	if _, err := w.Status(w.ctx(), alice, id); err != nil {
		t.Error(err)
	}
}

// TestAdmit judges somebody who has shown only that a token's hash is known.
func TestAdmit(t *testing.T) {
	t.Parallel()
	_, o := small(t)
	var given []Token
	w := newWorld(t, with(func(c *Config) { c.Issued = func(k Token) { given = append(given, k) } }))
	mine := w.submit(alice, get(o.URL("")), home)
	theirs := w.submit(bob, get(o.URL("")), home)
	w.finish(alice, mine.Job, job.Ready)
	if _, err := w.Renew(w.ctx(), alice, mine.Job); err != nil {
		t.Fatal(err)
	}
	if len(given) != 3 || given[0] != (Token{Job: mine.Job, Hash: access.Hash(mine.Token), Expires: mine.Expires}) {
		t.Fatalf("told of %+v", given)
	}
	all, err := w.Tokens(w.ctx())
	if err != nil || len(all) != 3 {
		t.Fatalf("%d tokens count, %v", len(all), err)
	}
	for _, k := range given {
		if !slices.Contains(all, k) {
			t.Errorf("%+v does not count", k)
		}
	}
	for name, tt := range map[string]struct {
		id   job.ID
		hash [32]byte
		addr netip.Addr
		want Verdict
	}{
		"both good":           {mine.Job, access.Hash(mine.Token), home, Granted},
		"another address":     {mine.Job, access.Hash(mine.Token), other, UnknownAddress},
		"another job's token": {mine.Job, access.Hash(theirs.Token), home, Refused},
		"no token's hash":     {mine.Job, access.Hash("x"), home, Refused},
		"zeros":               {mine.Job, [32]byte{}, home, Refused},
		"zeros, no job":       {"", [32]byte{}, home, Refused},
	} {
		if got := w.Admit(w.ctx(), tt.id, tt.hash, tt.addr); got != tt.want {
			t.Errorf("%s: the verdict is %d, want %d", name, got, tt.want)
		}
	}
	if err := w.Remove(w.ctx(), alice, mine.Job); err != nil {
		t.Fatal(err)
	}
	if got := w.Admit(w.ctx(), mine.Job, given[0].Hash, home); got != Refused {
		t.Errorf("after its job is removed the verdict is %d", got)
	}
	if all, err := w.Tokens(w.ctx()); err != nil || len(all) != 1 || all[0].Job != theirs.Job {
		t.Errorf("then %+v count, %v", all, err)
	}
}
