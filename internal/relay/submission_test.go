package relay

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jumpget/jumpget/internal/access"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/store"
)

func (w *world) jobs(owner string) int {
	w.t.Helper()
	js, err := w.db.JobsByOwner(w.ctx(), owner)
	if err != nil {
		w.t.Fatal(err)
	}
	return len(js)
}

// The same submission is the same job, over whatever way it comes, and after a
// restart; it may even have been changed.
func TestASubmissionIsMadeOnce(t *testing.T) {
	t.Parallel()
	f, o := small(t)
	w := newWorld(t)
	s, secret := w.issue(alice)
	sub := Submission{Owner: alice, ID: job.NewID(), Session: s}
	first, err := w.Submit(w.ctx(), sub, get(o.URL("")))
	if err != nil {
		t.Fatal(err)
	}
	w.wantFile(alice, first.Job, f)
	replay := func(sub Submission, req job.Request) job.Ticket {
		t.Helper()
		again, err := w.Submit(w.ctx(), sub, req)
		if err != nil || again.Job != first.Job {
			t.Errorf("again: %+v, %v", again, err)
		}
		return again
	}
	if again := replay(sub, get(o.URL(""))); again.Token != first.Token {
		t.Error("another token")
	}
	replay(sub, job.Request{URL: "gopher://nonsense"})
	ssh := replay(Submission{Owner: alice, ID: sub.ID, Allow: []netip.Addr{home}}, get(o.URL("")))
	if ssh.Token == first.Token || w.Authorize(w.ctx(), first.Job, ssh.Token, home) != Granted {
		t.Error("over ssh the token is not one of its own")
	}
	if w.Authorize(w.ctx(), first.Job, first.Token, home) != Granted {
		t.Error("the first token is lost")
	}
	w.restart()
	s, ok := w.SessionByBearer(secret.Hash().Bearer())
	if !ok {
		t.Fatal("the session is lost")
	}
	sub.Session = s
	if again := replay(sub, get(o.URL(""))); again.Token != first.Token {
		t.Error("another token after a restart")
	}
	if n := w.jobs(alice); n != 1 {
		t.Errorf("%d jobs", n)
	}
	other, err := w.Submit(w.ctx(), Submission{Owner: bob, ID: sub.ID}, get(o.URL("")))
	if err != nil || other.Job == first.Job {
		t.Errorf("bob's of the same id: %+v, %v", other, err)
	}
	w.wantFile(bob, other.Job, f)
	until(t, "all flights have landed", func() bool { return w.flying() == 0 })
	if err := w.Remove(w.ctx(), alice, first.Job); err != nil {
		t.Fatal(err)
	}
	_, err = w.Submit(w.ctx(), sub, get(o.URL("")))
	wantCode(t, err, job.CodeRemoved)
	w.clock.advance(13 * time.Hour)
	w.sweep(w.ctx())
	_, err = w.Submit(w.ctx(), Submission{Owner: bob, ID: sub.ID}, get(o.URL("")))
	wantCode(t, err, job.CodeExpired)
	w.clock.advance(MaxSession - 14*time.Hour) // no session can live longer
	w.sweep(w.ctx())
	_, err = w.Submit(w.ctx(), Submission{Owner: alice, ID: sub.ID}, get(o.URL("")))
	wantCode(t, err, job.CodeRemoved)
	if n := w.jobs(alice); n != 0 {
		t.Errorf("a replay has made %d jobs", n)
	}
}

func TestSubmissionIDs(t *testing.T) {
	t.Parallel()
	_, o := small(t)
	w := newWorld(t)
	for _, id := range []job.ID{"x", "AAAAAAAAAAAAAAAAAAAAAAAAAA", "../../../../../../../../../a", job.NewID() + "a"} {
		_, err := w.Submit(w.ctx(), Submission{Owner: alice, ID: id}, get(o.URL("")))
		wantCode(t, err, job.CodeBadRequest)
	}
	if n := w.jobs(alice); n != 0 {
		t.Errorf("%d jobs", n)
	}
}

// Two ways bring the same submission at the same time, in a session and not.
func TestSubmissionsRace(t *testing.T) {
	t.Parallel()
	_, o := small(t)
	w := newWorld(t)
	s, _ := w.issue(alice)
	for range 10 {
		id := job.NewID()
		var wg sync.WaitGroup
		got := make(chan job.Ticket, 6)
		for i := range cap(got) {
			sub := Submission{Owner: alice, ID: id, Session: s}
			if i%3 == 2 {
				sub.Session = nil
			}
			wg.Go(func() {
				ticket, err := w.Submit(w.ctx(), sub, get(o.URL("")))
				if err != nil {
					t.Error(err)
				}
				got <- ticket
			})
		}
		wg.Wait()
		first := <-got
		for range cap(got) - 1 {
			if next := <-got; next.Job != first.Job {
				t.Errorf("jobs %s and %s", first.Job, next.Job)
			}
		}
	}
	if n := w.jobs(alice); n != 10 {
		t.Errorf("%d jobs of 10 submissions", n)
	}
}

// slowStore takes its time for jobs.
type slowStore struct {
	store.Store
	began, goOn chan struct{}
}

func (s *slowStore) AddJob(ctx context.Context, n store.New) error {
	close(s.began)
	<-s.goOn
	return s.Store.AddJob(ctx, n)
}

// Who knows his token beforehand may ask before the relay has written it down: the
// request waits for that. Anybody else's does not.
func TestAskingAheadOfTheTicket(t *testing.T) {
	t.Parallel()
	_, o := small(t)
	slow := &slowStore{began: make(chan struct{}), goOn: make(chan struct{})}
	e := new(events)
	w := newWorld(t, withStore(func(s store.Store) store.Store { slow.Store = s; return slow }), with(e.hook))
	s, secret := w.issue(alice)
	id := job.NewID()
	token := secret.Hash().Ticket(string(id))
	ticket := make(chan job.Ticket, 1)
	go func() {
		got, err := w.Submit(w.ctx(), Submission{Owner: alice, ID: id, Session: s, Allow: []netip.Addr{home}}, get(o.URL("")))
		if err != nil {
			t.Error(err)
		}
		ticket <- got
	}()
	<-slow.began
	e.mu.Lock()
	known := len(e.tokens) == 1 && e.tokens[0].Hash == access.Hash(token)
	var id2 job.ID
	if known {
		id2 = e.tokens[0].Job
	}
	e.mu.Unlock()
	if !known {
		t.Fatal("the UDP door has not heard of the token")
	}
	verdict := make(chan Verdict, 1)
	go func() { verdict <- w.Admit(w.ctx(), id2, access.Hash(token), home) }()
	if v := w.Admit(w.ctx(), id2, access.Hash(access.NewToken()), home); v != Refused {
		t.Errorf("another token: %v", v)
	}
	select {
	case v := <-verdict:
		t.Fatalf("judged before it is stored: %v", v)
	default:
	}
	close(slow.goOn)
	if got := <-ticket; got.Token != token || got.Job != id2 {
		t.Errorf("%+v", got)
	}
	if v := <-verdict; v != Granted {
		t.Errorf("verdict %v", v)
	}
}

// Waiting for a token ends with the one who waits.
func TestAwaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &Relay{sess: newSessions()}
		r.cfg.Issued = func(Token) {}
		r.ctx = context.Background()
		tok := Token{Session: "s", Hash: [32]byte{1}}
		stored, first := r.announce(tok)
		if _, again := r.announce(tok); !first || again {
			t.Fatal("announced twice")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		r.Await(ctx, tok.Hash)
		if time.Since(start) != time.Second {
			t.Errorf("waited %v", time.Since(start))
		}
		go func() { time.Sleep(time.Minute); stored() }()
		r.Await(t.Context(), tok.Hash)
		if time.Since(start) != time.Minute+time.Second {
			t.Errorf("waited %v", time.Since(start))
		}
		r.Await(t.Context(), tok.Hash)
	})
}

// The token of a submission in a session is what both ends make of it, and ends
// with the session.
func TestDerivedTokensEndWithTheirSession(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(w *world, s *Session) error{
		"revoked": func(w *world, s *Session) error { return w.RevokeSession(w.ctx(), alice, s.ID()) },
		"expired": func(w *world, _ *Session) error { w.clock.advance(13 * time.Hour); return nil },
		"swept":   func(w *world, _ *Session) error { w.clock.advance(13 * time.Hour); w.sweep(w.ctx()); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := new(events)
			_, o := small(t)
			w := newWorld(t, with(e.hook))
			s, secret := w.issue(alice)
			sub := Submission{Owner: alice, ID: job.NewID(), Session: s, Allow: []netip.Addr{home}}
			req := get(o.URL(""))
			req.Retain = int64(100 * time.Hour / time.Second)
			ticket, err := w.Submit(w.ctx(), sub, req)
			if err != nil {
				t.Fatal(err)
			}
			token := secret.Hash().Ticket(string(sub.ID))
			if ticket.Token != token {
				t.Fatalf("the token is %s, want %s", ticket.Token, token)
			}
			if len(e.tokens) != 1 || e.tokens[0].Session != s.ID() || e.tokens[0].Hash != access.Hash(token) || e.tokens[0].Job != ticket.Job {
				t.Errorf("the door has heard of %+v", e.tokens)
			}
			for range 2 { // the second time from the cache
				if v := w.Authorize(w.ctx(), ticket.Job, token, home); v != Granted {
					t.Errorf("verdict %v", v)
				}
			}
			tied := w.Tied(token)
			if tied == nil || w.Tied(access.NewToken()) != nil {
				t.Fatal("the token is not tied to its session")
			}
			if err := end(w, s); err != nil {
				t.Fatal(err)
			}
			if v := w.Authorize(w.ctx(), ticket.Job, token, home); v != Refused {
				t.Errorf("after the end: verdict %v", v)
			}
			if name != "expired" && !ended(s) {
				t.Error("who reads with it does not hear of the end")
			}
			if now := w.Tied(token); now != tied {
				t.Error("who was let in just before does not hear of the end")
			}
			// Over ssh all goes on.
			fresh, err := w.Renew(w.ctx(), alice, ticket.Job)
			if err != nil || w.Authorize(w.ctx(), ticket.Job, fresh.Token, home) != Granted {
				t.Errorf("renewed: %v", err)
			}
			_, err = w.Submit(w.ctx(), Submission{Owner: alice, ID: job.NewID(), Session: s}, get(o.URL("")))
			if !errors.Is(err, errSessionOver) {
				t.Errorf("a submission in it: %v", err)
			}
		})
	}
}
