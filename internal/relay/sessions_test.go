package relay

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/session"
	"github.com/jumpget/jumpget/internal/store"
)

var cafe = netip.MustParseAddr("2001:db8::7")

// issue issues a session and returns it as the doors find it.
func (w *world) issue(owner string) (*Session, session.Secret) {
	w.t.Helper()
	_, secret, err := w.IssueSession(w.ctx(), job.Session{Owner: owner, Source: job.SourceSystem, Name: "laptop"})
	if err != nil {
		w.t.Fatal(err)
	}
	s, ok := w.SessionByBearer(secret.Hash().Bearer())
	if !ok {
		w.t.Fatal("a session that was just issued is not known")
	}
	return s, secret
}

func ended(s *Session) bool {
	select {
	case <-s.Ended():
		return true
	default:
		return false
	}
}

// events are what the UDP door hears.
type events struct {
	mu     sync.Mutex
	issued []*Session
	ended  []job.ID
	tokens []Token
}

func (e *events) hook(c *Config) {
	c.SessionIssued = func(s *Session) { e.mu.Lock(); defer e.mu.Unlock(); e.issued = append(e.issued, s) }
	c.SessionEnded = func(id job.ID) { e.mu.Lock(); defer e.mu.Unlock(); e.ended = append(e.ended, id) }
	c.Issued = func(t Token) { e.mu.Lock(); defer e.mu.Unlock(); e.tokens = append(e.tokens, t) }
}

func TestSessionIsIssued(t *testing.T) {
	t.Parallel()
	e := new(events)
	w := newWorld(t, with(e.hook))
	now := w.clock.Now()
	made, secret, err := w.IssueSession(w.ctx(), job.Session{
		Owner: alice, Source: job.SourceKeys, Name: " lap\x1b[31mtop\u202e\n" + strings.Repeat("é", 300), Addr: home,
	})
	if err != nil {
		t.Fatal(err)
	}
	if !made.ID.Valid() || made.Owner != alice || made.Source != job.SourceKeys || !made.Created.Equal(now) ||
		!made.Expires.Equal(now.Add(12*time.Hour)) || !made.Until.Equal(now.Add(MaxSession)) || made.Addr.IsValid() {
		t.Errorf("%+v", made)
	}
	if !strings.HasPrefix(made.Name, "lap[31mtopé") || len(made.Name) > maxMachine {
		t.Errorf("the name is %q", made.Name)
	}
	s, ok := w.SessionByBearer(secret.Hash().Bearer())
	if !ok || s.Hash() != secret.Hash() || s.ID() != made.ID || s.Owner() != alice || !s.Known(home) || s.Known(cafe) {
		t.Errorf("found %v, %+v", ok, s)
	}
	if len(e.issued) != 1 || e.issued[0] != s {
		t.Error("the door has not heard of it")
	}
	for _, bad := range []string{"", secret.Reveal(), secret.Hash().Ticket(""), session.New().Hash().Bearer(), secret.Hash().Bearer() + "A"} {
		if _, ok := w.SessionByBearer(bad); ok {
			t.Errorf("%q is taken for a bearer", bad)
		}
	}
}

// Where a user's files may be sent to, he receives.
func TestGrantedAddressesAreKnown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.Allow(w.ctx(), job.Grant{Owner: alice, Addr: cafe}); err != nil {
		t.Fatal(err)
	}
	if err := w.Allow(w.ctx(), job.Grant{Owner: bob, Addr: home}); err != nil {
		t.Fatal(err)
	}
	if s, _ := w.issue(alice); !s.Known(cafe) || s.Known(home) {
		t.Error("the wrong addresses are known")
	}
}

func TestSessionsExpireAndAreProlonged(t *testing.T) {
	t.Parallel()
	e := new(events)
	w := newWorld(t, with(e.hook))
	s, secret := w.issue(alice)
	idle, _ := w.issue(alice)
	start := w.clock.Now()
	w.clock.advance(11 * time.Hour)
	s.Use(w.ctx(), home)
	if got := s.Info(); !got.Expires.Equal(start.Add(23*time.Hour)) || !got.Used.Equal(w.clock.Now()) || got.Addr != home {
		t.Errorf("after its use: %+v", got)
	}
	w.clock.advance(time.Hour)
	if idle.Counts() || !s.Counts() {
		t.Error("the wrong one has expired")
	}
	w.sweep(w.ctx())
	if !ended(idle) || ended(s) || !slices.Equal(e.ended, []job.ID{idle.ID()}) {
		t.Error("the wrong one has ended")
	}
	for w.clock.Now().Before(start.Add(MaxSession - 6*time.Hour)) {
		w.clock.advance(6 * time.Hour)
		s.Use(w.ctx(), home)
	}
	if got := s.Info(); !got.Expires.Equal(got.Until) || !got.Until.Equal(start.Add(MaxSession)) {
		t.Errorf("in use for a week: %+v", got)
	}
	w.clock.advance(6 * time.Hour)
	s.Use(w.ctx(), home)
	w.sweep(w.ctx())
	if _, ok := w.SessionByBearer(secret.Hash().Bearer()); ok || !ended(s) {
		t.Error("it lives beyond its time")
	}
	all, err := w.db.Sessions(w.ctx())
	if err != nil || len(all) != 0 {
		t.Errorf("%d are kept, %v", len(all), err)
	}
}

// A stream that is open is a use, also if nothing is said on it.
func TestAHeldSessionLives(t *testing.T) {
	t.Parallel()
	w := newWorld(t, with(func(c *Config) { c.Sessions = time.Hour }))
	s, _ := w.issue(alice)
	release := s.Hold()
	for range 5 {
		w.clock.advance(40 * time.Minute)
		w.sweep(w.ctx())
	}
	if !s.Counts() {
		t.Fatal("it has expired")
	}
	release()
	release()
	for range 2 {
		w.clock.advance(40 * time.Minute)
		w.sweep(w.ctx())
	}
	if s.Counts() || !ended(s) {
		t.Error("it lives on")
	}
}

func TestSessionsSurviveARestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, secret := w.issue(alice)
	w.clock.advance(time.Hour)
	s.Use(w.ctx(), home)
	w.clock.advance(time.Minute)
	s.Use(w.ctx(), home) // stored with the end, since it is from nowhere new
	info := s.Info()
	revoked, gone := w.issue(alice)
	if err := w.RevokeSession(w.ctx(), alice, revoked.ID()); err != nil {
		t.Fatal(err)
	}
	w.restart()
	again, ok := w.SessionByBearer(secret.Hash().Bearer())
	if !ok || again.Info() != info || !again.Known(home) || again.Known(cafe) {
		t.Errorf("found %v\n%+v\nwant\n%+v", ok, again, info)
	}
	if _, ok := w.SessionByBearer(gone.Hash().Bearer()); ok {
		t.Error("a revoked one is back")
	}
}

func TestOffEndsSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, secret := w.issue(alice)
	w.config.Sessions = -1
	w.restart()
	wantNone := func() {
		t.Helper()
		if _, ok := w.SessionByBearer(secret.Hash().Bearer()); ok {
			t.Error("it counts")
		}
	}
	wantNone()
	_, _, err := w.IssueSession(w.ctx(), job.Session{Owner: alice})
	wantCode(t, err, job.CodeForbidden)
	_, err = w.Sessions(alice)
	wantCode(t, err, job.CodeForbidden)
	wantCode(t, w.RevokeSession(w.ctx(), alice, job.NewID()), job.CodeForbidden)
	wantCode(t, w.RevokeSessions(w.ctx(), alice), job.CodeForbidden)
	w.config.Sessions = 0
	w.restart()
	wantNone()
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	log := new(logged)
	w := newWorld(t, with(func(c *Config) { c.Log = slog.New(slog.NewTextHandler(log, nil)) }))
	a, secret := w.issue(alice)
	b, _ := w.issue(alice)
	c, _ := w.issue(bob)
	wantCode(t, w.RevokeSession(w.ctx(), bob, a.ID()), job.CodeNotFound)
	wantCode(t, w.RevokeSession(w.ctx(), alice, job.NewID()), job.CodeNotFound)
	list := func(owner string, want ...*Session) {
		t.Helper()
		got, err := w.Sessions(owner)
		if err != nil || len(got) != len(want) {
			t.Fatalf("%d sessions of %s, %v", len(got), owner, err)
		}
		for _, s := range want {
			if !slices.Contains(got, s.Info()) {
				t.Errorf("%s is missing", s.ID())
			}
		}
	}
	list(alice, a, b)
	if err := w.RevokeSession(w.ctx(), alice, a.ID()); err != nil {
		t.Fatal(err)
	}
	if _, ok := w.SessionByBearer(secret.Hash().Bearer()); ok || !ended(a) || a.Counts() {
		t.Error("a revoked session counts")
	}
	wantCode(t, w.RevokeSession(w.ctx(), alice, a.ID()), job.CodeNotFound)
	list(alice, b)
	if err := w.RevokeSessions(w.ctx(), alice); err != nil || !ended(b) || ended(c) {
		t.Errorf("after all of alice's: %v", err)
	}
	list(bob, c)
	d, _ := w.issue(alice)
	if err := w.RevokeAnySession(w.ctx(), c.ID()); err != nil || !ended(c) {
		t.Errorf("by the operator: %v", err)
	}
	if err := w.RevokeAllSessions(w.ctx()); err != nil || !ended(d) {
		t.Errorf("all by the operator: %v", err)
	}
	for _, leak := range []string{secret.Reveal(), secret.Hash().Bearer()} {
		if strings.Contains(log.String(), leak) {
			t.Error("the log holds a secret")
		}
	}
	for _, want := range []string{"session issued", "session ended", "revoked", string(a.ID())} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not tell %q", want)
		}
	}
}

// While a session is in use, that is written down now and then, and not at each
// request or sweep.
func TestUseIsNotedNowAndThen(t *testing.T) {
	t.Parallel()
	n := new(noting)
	w := newWorld(t, withStore(func(s store.Store) store.Store { n.Store = s; return n }))
	s, _ := w.issue(alice)
	s.Use(w.ctx(), home)
	defer s.Hold()()
	for range 60 {
		w.clock.advance(time.Second)
		s.Use(w.ctx(), home)
		w.sweep(w.ctx())
	}
	if got := n.n.Load(); got < 2 || got > 4 {
		t.Errorf("noted %d times in a minute", got)
	}
	all, err := w.db.Sessions(w.ctx())
	if err != nil || len(all) != 1 || w.clock.Now().Sub(all[0].Used) > sweepEvery {
		t.Errorf("%+v, %v", all, err)
	}
}

// noting counts the notes of uses.
type noting struct {
	store.Store
	n atomic.Int64
}

func (n *noting) UseSession(ctx context.Context, s job.Session) error {
	n.n.Add(1)
	return n.Store.UseSession(ctx, s)
}

// However full the disk is, a revoked session is over; and it stays over when
// the store can be written again.
func TestRevokeWithABrokenStore(t *testing.T) {
	t.Parallel()
	broken := &deaf{}
	w := newWorld(t, withStore(func(s store.Store) store.Store { broken.Store = s; return broken }))
	s, secret := w.issue(alice)
	broken.set(true)
	wantCode(t, w.RevokeSession(w.ctx(), alice, s.ID()), job.CodeInternal)
	if _, ok := w.SessionByBearer(secret.Hash().Bearer()); ok || !ended(s) {
		t.Error("it counts")
	}
	broken.set(false)
	w.sweep(w.ctx())
	if all, err := w.db.Sessions(w.ctx()); err != nil || len(all) != 0 {
		t.Errorf("%d are kept, %v", len(all), err)
	}
}

// deaf is a store that can't delete sessions.
type deaf struct {
	store.Store
	mu sync.Mutex
	on bool
}

func (d *deaf) set(on bool) { d.mu.Lock(); defer d.mu.Unlock(); d.on = on }

func (d *deaf) DeleteSession(ctx context.Context, id job.ID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.on {
		return errBroken
	}
	return d.Store.DeleteSession(ctx, id)
}

func TestARemovedUsersSessionsEnd(t *testing.T) {
	t.Parallel()
	var gone sync.Map
	asked := 0
	w := newWorld(t, with(func(c *Config) {
		c.UserExists = func(s job.Session) bool { asked++; _, no := gone.Load(s.Owner); return !no }
	}))
	a, _ := w.issue(alice)
	b, _ := w.issue(bob)
	again, _ := w.issue(bob)
	for range 10 { // one after the other: nobody needs to be asked for so often
		w.sweep(w.ctx())
	}
	if asked != 2 {
		t.Errorf("asked for two users %d times", asked)
	}
	gone.Store(bob, true)
	if b.StillUser() || !ended(b) || !a.StillUser() {
		t.Error("a stream of a removed user's begins")
	}
	w.clock.advance(sweepEvery)
	w.sweep(w.ctx())
	if !ended(again) || ended(a) {
		t.Error("the wrong sessions have ended")
	}
}

func TestAUserHasSoManySessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bobs, _ := w.issue(bob)
	var all []*Session
	for range maxSessions {
		w.clock.advance(time.Second)
		s, _ := w.issue(alice)
		all = append(all, s)
	}
	w.clock.advance(time.Second)
	all[0].Use(w.ctx(), home)
	w.issue(alice)
	if ended(all[0]) || !ended(all[1]) || ended(all[2]) || ended(bobs) {
		t.Error("the wrong one has made room")
	}
	if n, err := w.Sessions(alice); err != nil || len(n) != maxSessions {
		t.Errorf("%d sessions, %v", len(n), err)
	}
}
