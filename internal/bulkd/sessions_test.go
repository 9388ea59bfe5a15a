package bulkd

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/access"
	"github.com/jumpget/jumpget/internal/blob"
	"github.com/jumpget/jumpget/internal/bulk"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origin"
	"github.com/jumpget/jumpget/internal/relay"
	"github.com/jumpget/jumpget/internal/store"
)

// nothing is an origin that has nothing.
type nothing struct{}

func (nothing) Fetch(context.Context, *job.Request, *origin.Prior, origin.Sink) (origin.Result, error) {
	return origin.Result{}, errors.New("nothing here")
}

func (nothing) Revalidate(context.Context, *job.Request, *job.Object) (bool, error) {
	return false, nil
}

func tokenKey(token string) bulk.KeyID { return bulk.NewKey(access.Hash(token)).ID }

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSessionKeysLeadToSessions(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "db"), clock)
	check(t, err)
	defer db.Close()
	bodies, err := blob.NewDisk(t.TempDir())
	check(t, err)
	defer bodies.Close()
	var d *Door
	r, err := relay.New(t.Context(), relay.Config{
		Store: db, Blobs: bodies, Fetcher: nothing{}, Clock: clock,
		Issued:        func(t relay.Token) { d.Issued(t) },
		SessionIssued: func(s *relay.Session) { d.SessionIssued(s) },
		SessionEnded:  func(id job.ID) { d.SessionEnded(id) },
	})
	check(t, err)
	defer r.Close()
	d = New(Config{Jobs: r, Clock: clock, Serve: func(*bulk.Stream, *relay.Session) {}})

	home := netip.MustParseAddr("192.0.2.1")
	made, secret, err := r.IssueSession(t.Context(), job.Session{Owner: "ann", Addr: home})
	check(t, err)
	key := bulk.NewSessionKey(secret.Hash())
	s, ok := d.LookupSession(key.ID)
	if !ok {
		t.Fatal("a session's key is not known")
	}
	if got, until := s.Key(); got != key || !until.Equal(made.Until) || !s.Known(home) || s.Known(netip.IPv6Loopback()) {
		t.Errorf("another key, until %v", until)
	}
	if _, ok := d.Lookup(key.ID); ok {
		t.Error("a session's key is taken for a token's")
	}
	held, _ := r.SessionByBearer(secret.Hash().Bearer())
	sub := relay.Submission{Owner: "ann", ID: job.NewID(), Session: held, Allow: []netip.Addr{home}}
	ticket, err := r.Submit(t.Context(), sub, job.Request{URL: "http://origin.example/f"})
	check(t, err)
	over, err := r.Renew(t.Context(), "ann", ticket.Job)
	check(t, err)
	in, ssh := tokenKey(ticket.Token), tokenKey(over.Token)
	for _, id := range []bulk.KeyID{in, ssh} {
		if k, ok := d.Lookup(id); !ok || !k.Allowed(home) {
			t.Error("a token's key is not good")
		}
	}
	now = now.Add(13 * time.Hour)
	if _, ok := d.LookupSession(key.ID); ok {
		t.Error("an expired session's key is good")
	}
	now = now.Add(-13 * time.Hour)
	check(t, r.RevokeSession(t.Context(), "ann", made.ID))
	if _, ok := d.LookupSession(key.ID); ok {
		t.Error("a revoked session's key is good")
	}
	if _, ok := d.Lookup(in); ok {
		t.Error("a token of a revoked session is good")
	}
	if k, ok := d.Lookup(ssh); !ok || !k.Allowed(home) {
		t.Error("a token that was given out over ssh is not good any more")
	}
}
