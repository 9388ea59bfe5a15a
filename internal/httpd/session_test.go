package httpd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origin"
	"github.com/jumpget/jumpget/internal/relay"
	"github.com/jumpget/jumpget/internal/session"
	"github.com/jumpget/jumpget/internal/wire"
)

var elsewhere = netip.MustParseAddr("198.51.100.7")

// issue makes a session over the local API and returns both ends of it.
func (w *world) issue(a *api, user string) (*relay.Session, wire.Session, session.Hash) {
	w.t.Helper()
	var made wire.Session
	over(w.t, 2, func() (net.Conn, error) {
		return a.channel(Identity{User: user, Source: job.SourceKeys}), nil
	}).into(&made, "POST", "/v1/sessions", wire.NewSession{Name: "laptop"})
	secret, err := session.Parse(made.Secret)
	check(w.t, err)
	s, ok := w.relay.SessionByBearer(secret.Hash().Bearer())
	if !ok {
		w.t.Fatal("the relay does not know its session")
	}
	return s, made, secret.Hash()
}

// held returns a client on a session's stream whose holder is at addr, and has
// proved it once confirmed is closed.
func (a *api) held(s *relay.Session, addr netip.Addr, confirmed <-chan struct{}) *client {
	return over(a.t, 2, func() (net.Conn, error) {
		mine, theirs := net.Pipe()
		a.t.Cleanup(func() { _ = mine.Close() })
		go func() {
			_ = a.srv.ServeSession(SessionStream{Conn: theirs, Session: s, Confirmed: confirmed, Addr: func() netip.Addr { return addr }})
		}()
		return mine, nil
	})
}

// url gives the origin a file and returns where it is.
func (w *world) url() string {
	url := fmt.Sprintf("http://origin.example/%d.bin", w.files.Add(1))
	w.src.add(w.t, url, origin.Meta{Name: "f", Size: 1})
	return url
}

// submit submits on a session's stream and returns the ticket.
func (c *client) submit(in wire.Submit) wire.Ticket {
	c.t.Helper()
	in.Detach = true
	a := c.do("POST", "/v1/jobs", in)
	if a.StatusCode != 200 {
		c.t.Fatalf("%s %s", a.Status, a.body)
	}
	m := messages(c.t, a.body)
	if len(m) == 0 || m[0].Ticket == nil {
		c.t.Fatalf("no ticket: %s", a.body)
	}
	return *m[0].Ticket
}

func TestSessionRoutes(t *testing.T) {
	w := newWorld(t)
	a := newAPI(t, w.relay)
	_, made, _ := w.issue(a, "ann")
	_, other, _ := w.issue(a, "ann")
	_, bobs, _ := w.issue(a, "bob")
	if made.User != "ann" || made.Name != "laptop" || len(made.Endpoints) != 1 || !made.ID.Valid() || made.Until.Sub(made.Created) != relay.MaxSession {
		t.Errorf("%+v", made)
	}
	ann := a.as("ann", 1)
	list := func(c *client, path string, want ...job.ID) {
		t.Helper()
		var got wire.Sessions
		c.into(&got, "GET", path, nil)
		if len(got.Sessions) != len(want) {
			t.Fatalf("%d sessions, want %d", len(got.Sessions), len(want))
		}
		for i, s := range got.Sessions {
			if s.ID != want[i] || s.Secret != "" || len(s.Endpoints) != 0 {
				t.Errorf("session %d is %+v", i, s)
			}
		}
	}
	list(ann, "/v1/sessions", made.ID, other.ID)
	for _, r := range [][2]string{{"DELETE", wire.SessionPath(bobs.ID)}, {"DELETE", "/v1/sessions/nonsense"}} {
		if e := ann.do(r[0], r[1], nil).code(t); e.Code != job.CodeNotFound || e.Hint == "" {
			t.Errorf("%v: %+v", r, e)
		}
	}
	for _, r := range [][2]string{{"GET", "/v1/sessions"}, {"DELETE", "/v1/sessions"}, {"DELETE", wire.SessionPath(bobs.ID)}} {
		if e := ann.do(r[0], r[1]+"?all=1", nil).code(t); e.Code != job.CodeForbidden || e.Hint == "" {
			t.Errorf("%v for all: %+v", r, e)
		}
	}
	if got := ann.do("DELETE", wire.SessionPath(other.ID), nil); got.StatusCode != 204 {
		t.Errorf("revoked: %s", got.Status)
	}
	list(ann, "/v1/sessions", made.ID)
	// Whoever runs the relay may see and end everybody's.
	operator := over(t, 1, func() (net.Conn, error) { return net.Dial("unix", a.unix()) })
	list(operator, "/v1/sessions?all=1", made.ID, bobs.ID)
	list(operator, "/v1/sessions")
	if got := operator.do("DELETE", wire.SessionPath(bobs.ID)+"?all=1", nil); got.StatusCode != 204 {
		t.Errorf("revoked by the operator: %s", got.Status)
	}
	if got := operator.do("DELETE", "/v1/sessions?all=1", nil); got.StatusCode != 204 {
		t.Errorf("all revoked by the operator: %s", got.Status)
	}
	list(ann, "/v1/sessions")
}

func TestRulesOfASession(t *testing.T) {
	w := newWorld(t)
	a := newAPI(t, w.relay)
	s, made, hash := w.issue(a, "ann")
	_, other, _ := w.issue(a, "ann")
	c := a.held(s, elsewhere, nil)
	var st wire.Status
	c.into(&st, "GET", "/v1/status", nil)
	if st.User != "ann" || st.Observed != elsewhere {
		t.Errorf("%+v", st)
	}
	for _, r := range [][2]string{
		{"POST", "/v1/sessions"},
		{"GET", "/v1/sessions"},
		{"DELETE", "/v1/sessions"},
		{"DELETE", wire.SessionPath(other.ID)},
		{"GET", "/v1/sessions?all=1"},
		{"DELETE", "/v1/sessions?all=1"},
	} {
		if e := c.do(r[0], r[1], wire.NewSession{}).code(t); e.Code != job.CodeForbidden || e.Hint == "" {
			t.Errorf("%v: %+v", r, e)
		}
	}
	sub := job.NewID()
	in := wire.Submit{URL: w.url(), Submission: sub}
	ticket := c.submit(in)
	if ticket.Token != hash.Ticket(string(sub)) || ticket.Observed != elsewhere {
		t.Errorf("%+v", ticket)
	}
	if v := w.relay.Authorize(t.Context(), ticket.Job, ticket.Token, elsewhere); v != relay.Granted {
		t.Errorf("the address of the stream is not granted: %v", v)
	}
	if again := a.as("ann", 2).submit(in); again.Job != ticket.Job || again.Token == ticket.Token {
		t.Errorf("over ssh: %+v", again)
	}
	// What is given out in a session ends with it.
	var fresh wire.Ticket
	c.into(&fresh, "POST", wire.JobPath(ticket.Job, "/ticket"), nil)
	loose := c.submit(wire.Submit{URL: w.url()})
	for _, one := range []wire.Ticket{ticket, fresh, loose} {
		defer func() {
			if v := w.relay.Authorize(t.Context(), one.Job, one.Token, elsewhere); v != relay.Refused {
				t.Errorf("after the end: %v", v)
			}
		}()
		if v := w.relay.Authorize(t.Context(), one.Job, one.Token, elsewhere); v != relay.Granted {
			t.Errorf("in the session: %v", v)
		}
	}
	// Each use prolongs, and every answer says until when.
	w.ahead.Add(int64(6 * time.Hour))
	got := c.do("GET", "/v1/jobs", nil)
	until, err := time.Parse(time.RFC3339, got.Header.Get(wire.HeaderSession))
	if err != nil || until.Sub(made.Expires) < 5*time.Hour {
		t.Errorf("the session counts until %q, %v", got.Header.Get(wire.HeaderSession), err)
	}
	if h := a.as("ann", 2).do("GET", "/v1/jobs", nil).Header.Get(wire.HeaderSession); h != "" {
		t.Errorf("over ssh there is a session until %q", h)
	}
	// It may end itself.
	if got := c.do("DELETE", wire.SessionPath(made.ID), nil); got.StatusCode != 204 {
		t.Errorf("revoked by itself: %s", got.Status)
	}
	<-s.Ended()
	if resp, err := c.start(t.Context(), "GET", "/v1/status", nil); err == nil {
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusGone {
			t.Errorf("after the end: %s", resp.Status)
		}
	}
}

// What may be a replay is served what does no harm, and nothing else.
func TestBeforeTheHolderHasProvedHimself(t *testing.T) {
	w := newWorld(t)
	a := newAPI(t, w.relay)
	s, made, _ := w.issue(a, "ann")
	_, old := w.file("ann", 1)
	expires := s.Info().Expires
	w.ahead.Add(int64(time.Hour))
	confirmed := make(chan struct{})
	c := a.held(s, elsewhere, confirmed)
	ticket := c.submit(wire.Submit{URL: w.url(), Submission: job.NewID()})
	if v := w.relay.Authorize(t.Context(), ticket.Job, ticket.Token, elsewhere); v != relay.UnknownAddress {
		t.Errorf("an address that is not proved: %v", v)
	}
	if got := c.do("GET", wire.JobPath(ticket.Job, ""), nil); got.StatusCode != 200 || got.Header.Get(wire.HeaderSession) != expires.Format(time.RFC3339) {
		t.Errorf("%s, until %s", got.Status, got.Header.Get(wire.HeaderSession))
	}
	if s.Info().Used.After(made.Created) || s.Known(elsewhere) {
		t.Error("what may be a replay counts as a use")
	}
	waiting := map[string]func() (*http.Response, error){
		"remove": func() (*http.Response, error) { return c.start(t.Context(), "DELETE", wire.JobPath(old.Job, ""), nil) },
		"grant": func() (*http.Response, error) {
			return c.start(t.Context(), "POST", "/v1/grants", wire.Grant{Job: ticket.Job, Addr: loopback})
		},
		"submit": func() (*http.Response, error) {
			return c.start(t.Context(), "POST", "/v1/jobs", wire.Submit{URL: w.url(), Detach: true})
		},
	}
	done := make(chan string, len(waiting))
	for name, do := range waiting {
		go func() {
			resp, err := do()
			if err != nil || resp.StatusCode/100 != 2 {
				t.Errorf("%s: %v, %v", name, resp, err)
			}
			if err == nil {
				_ = resp.Body.Close()
			}
			done <- name
		}()
	}
	for range 3 { // each answer shows that what was sent before it has come
		c.do("GET", "/v1/jobs", nil)
	}
	select {
	case name := <-done:
		t.Errorf("%s was done for what may be a replay", name)
	default:
	}
	if all, err := w.relay.List(t.Context(), "ann"); err != nil || len(all) != 2 {
		t.Errorf("%d jobs, %v", len(all), err)
	}
	close(confirmed)
	for range waiting {
		<-done
	}
	eventually(t, "the address is granted", func() bool {
		return w.relay.Authorize(t.Context(), ticket.Job, ticket.Token, elsewhere) == relay.Granted
	})
	if !s.Known(elsewhere) || !s.Info().Used.After(made.Created) {
		t.Error("the proof is not remembered")
	}
	// From now on the address is granted at once, also to what may be a replay.
	again := a.held(s, elsewhere, make(chan struct{})).submit(wire.Submit{URL: w.url(), Submission: job.NewID()})
	if v := w.relay.Authorize(t.Context(), again.Job, again.Token, elsewhere); v != relay.Granted {
		t.Errorf("a known address: %v", v)
	}
}

// The end of a session ends its streams, whatever they carry.
func TestStreamsEndWithTheirSession(t *testing.T) {
	for name, confirmed := range map[string]chan struct{}{"confirmed": nil, "not confirmed": make(chan struct{})} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a := newAPI(t, w.relay)
			s, _, _ := w.issue(a, "ann")
			f, ticket := w.file("ann", 1)
			f.begin()
			resp, err := a.held(s, elsewhere, confirmed).start(t.Context(), "GET", wire.JobPath(ticket.Job, "/events"), nil)
			check(t, err)
			defer resp.Body.Close()
			check(t, w.relay.RevokeSessions(t.Context(), "ann"))
			if _, err := io.ReadAll(resp.Body); err == nil {
				t.Error("the stream ends as if all was told")
			}
		})
	}
}

// The end of a session proves nothing about where its holder is.
func TestAnEndIsNoProof(t *testing.T) {
	w := newWorld(t)
	a := newAPI(t, w.relay)
	s, _, _ := w.issue(a, "ann")
	mine, theirs := net.Pipe()
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = a.srv.ServeSession(SessionStream{Conn: theirs, Session: s, Confirmed: make(chan struct{}), Addr: func() netip.Addr { return elsewhere }})
	}()
	ticket := over(t, 2, func() (net.Conn, error) { return mine, nil }).submit(wire.Submit{URL: w.url(), Submission: job.NewID()})
	check(t, w.relay.RevokeSessions(t.Context(), "ann"))
	<-served
	fresh, err := w.relay.Renew(t.Context(), "ann", ticket.Job)
	check(t, err)
	if v := w.relay.Authorize(t.Context(), ticket.Job, fresh.Token, elsewhere); v != relay.UnknownAddress {
		t.Errorf("an address that was not proved: %v", v)
	}
}

// A user's streams are limited as his connections are.
func TestAUserHasSoManyStreams(t *testing.T) {
	w := newWorld(t)
	a := newAPI(t, w.relay, func(c *LocalConfig) { c.MaxConns = 2 })
	s, _, _ := w.issue(a, "ann")
	for range 2 {
		c := a.held(s, elsewhere, nil)
		c.do("GET", "/v1/status", nil)
	}
	if _, err := a.held(s, elsewhere, nil).start(t.Context(), "GET", "/v1/status", nil); err == nil {
		t.Error("a third stream is served")
	}
}

// A stream that ends while the relay goes down leaves nothing behind.
func TestStreamsEndWithTheRelay(t *testing.T) {
	w := newWorld(t)
	a := newAPI(t, w.relay)
	s, _, _ := w.issue(a, "ann")
	mine, theirs := net.Pipe()
	defer mine.Close()
	ended := make(chan error, 1)
	go func() {
		ended <- a.srv.ServeSession(SessionStream{Conn: theirs, Session: s, Addr: func() netip.Addr { return elsewhere }})
	}()
	eventually(t, "the stream is used", func() bool { return s.Known(elsewhere) })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = a.srv.Shutdown(ctx)
	<-ended
	if _, err := io.Copy(&bytes.Buffer{}, mine); err != nil {
		t.Errorf("the end is %v", err)
	}
}
