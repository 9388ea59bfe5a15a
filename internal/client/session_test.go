package client

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/bulk"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/reach"
	"github.com/jumpget/jumpget/internal/schedule"
	"github.com/jumpget/jumpget/internal/session"
	"github.com/jumpget/jumpget/internal/wire"
)

// fakeSession is a session of a fake relay: its streams lead to the relay's API.
type fakeSession struct {
	secret  session.Secret
	key     bulk.Key
	streams atomic.Int64
	conns   chan net.Conn
}

func (s *fakeSession) LookupSession(id bulk.KeyID) (bulk.Session, bool) { return s, id == s.key.ID }
func (s *fakeSession) Key() (bulk.Key, time.Time)                       { return s.key, time.Now().Add(time.Hour) }
func (s *fakeSession) Known(netip.Addr) bool                            { return true }

func (s *fakeSession) Serve(st *bulk.Stream) {
	s.streams.Add(1)
	s.conns <- st
	<-st.Done()
}

// Accept, Close and Addr make it a listener.
func (s *fakeSession) Accept() (net.Conn, error) {
	c, ok := <-s.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (s *fakeSession) Close() error   { return nil }
func (s *fakeSession) Addr() net.Addr { return &net.UDPAddr{} }

// inSession gives a relay a UDP port and a session, and a client that session. ssh
// is dead unless the test brings it to life.
func inSession(t *testing.T, r *fakeRelay, faults func(*fakeUDP)) (*fakeUDP, *Client) {
	t.Helper()
	s := &fakeSession{secret: session.New(), conns: make(chan net.Conn, 16)}
	hash := s.secret.Hash()
	s.key = bulk.NewSessionKey(hash)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: r.api(), Protocols: protocols}
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(s) })
	t.Cleanup(func() { // after the UDP server has ended, which writes to conns
		close(s.conns)
		_ = server.Close()
		wg.Wait()
	})
	u := serveUDP(t, r, func(u *fakeUDP) {
		u.session = s
		if faults != nil {
			faults(u)
		}
	})
	r.set(func() {
		r.onSubmit = func(sub wire.Submit) error { // and nothing is answered before the data was asked for
			r.set(func() { r.token, u.met = hash.Ticket(string(sub.Submission)), 0 })
			giveUp := time.AfterFunc(10*time.Second, func() { r.set(func() { u.met++ }) })
			defer giveUp.Stop()
			r.mu.Lock()
			defer r.mu.Unlock()
			for u.met == 0 {
				r.cond.Wait()
			}
			return nil
		}
		r.dial = func() (net.Conn, error) { return nil, errors.New("ssh was not to be used") }
	})
	dir := t.TempDir()
	c := newTestClient(t, r, func(cfg *Config) { cfg.StateDir, cfg.Paths = dir, []Path{PathUDP, PathTCP} })
	kept := reach.Session{
		ID: job.NewID(), Secret: s.secret, Expires: time.Now().Add(time.Hour * 2), Until: time.Now().Add(time.Hour * 3),
		Endpoints: endpointsOf(t, r, u),
	}
	if err := c.sessions.opener.Keep(kept); err != nil {
		t.Fatal(err)
	}
	return u, far(c)
}

func endpointsOf(t *testing.T, r *fakeRelay, u *fakeUDP) []job.Endpoint {
	t.Helper()
	_, port, err := net.SplitHostPort(r.doorAddr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return []job.Endpoint{
		{Scheme: "https", Host: "127.0.0.1", Port: n, Pin: r.pin},
		{Scheme: job.SchemeUDP, Host: "127.0.0.1", Port: u.port},
	}
}

// asked is what connections over UDP have asked for.
func (u *fakeUDP) asked() []string {
	u.r.mu.Lock()
	defer u.r.mu.Unlock()
	return slices.Clone(u.opened)
}

// In a session the data is asked for with the submission, and the connection
// that brings it goes on with the file.
func TestDataComesAheadOfTheTicket(t *testing.T) {
	for name, size := range map[string]int{"a byte": 1, "small": 100 << 10, "more than was asked for ahead": schedule.FirstBacklog + 3<<20} {
		t.Run(name, func(t *testing.T) {
			r := newFakeRelay(t, size)
			u, c := inSession(t, r, nil)
			res := mustGet(t, c, r, request(t.TempDir()))
			if got := u.asked(); len(got) != 1 || got[0] != "" {
				t.Errorf("connections asked for the objects %q", got)
			}
			if res.Paths[PathUDP] < min(int64(size), schedule.FirstBacklog) || u.session.streams.Load() != 1 || r.tunnels.Load() != 0 {
				t.Errorf("%v; %d streams; %d tunnels", res.Paths, u.session.streams.Load(), r.tunnels.Load())
			}
		})
	}
}

// The origin is slow: what was asked for ahead waits for it at the relay.
func TestAheadOfASlowOrigin(t *testing.T) {
	const size = 2 << 20
	r := newFakeRelay(t, size)
	r.received, r.sizeTold = 0, false
	u, c := inSession(t, r, nil)
	time.AfterFunc(200*time.Millisecond, func() { r.set(func() { r.received = size / 2 }) })
	time.AfterFunc(400*time.Millisecond, func() { r.set(func() { r.received = size }) })
	mustGet(t, c, r, request(t.TempDir()))
	if got := u.asked(); got[0] != "" {
		t.Errorf("connections asked for the objects %q", got)
	}
}

// An earlier run left a part: only what is missing is asked for.
func TestAheadWithAPartOfTheFile(t *testing.T) {
	const size = 6 << 20
	r := newFakeRelay(t, size)
	_, c := inSession(t, r, nil)
	dir := t.TempDir()
	req := request(dir)
	req.Output.File = filepath.Join(dir, "f.bin")
	ctx, cancel := context.WithCancel(t.Context())
	r.set(func() { r.received = size / 2 })
	done := make(chan error, 1)
	go func() {
		_, err := c.Get(ctx, req)
		done <- err
	}()
	waitFor(t, func() bool { return verifiedPart(dir) >= size/2 })
	cancel()
	<-done
	r.set(func() { r.received, r.lowest = size, size })
	res := mustGet(t, c, r, req)
	if res.Fetched > size/2+64<<10 {
		t.Errorf("fetched %d of %d that were missing", res.Fetched, size/2)
	}
	r.set(func() { // how often the end was sent is not what this is about
		if r.lowest < size/2 || r.lowest == size {
			t.Errorf("the relay was asked for what stands at %d", r.lowest)
		}
	})
}

// verifiedPart is the length of the checkpoint that stands in dir.
func verifiedPart(dir string) int64 {
	names, _ := filepath.Glob(filepath.Join(dir, "*.jumpget-part"))
	if len(names) != 1 {
		return 0
	}
	b, err := os.ReadFile(names[0])
	if err != nil {
		return 0
	}
	return int64(len(strings.TrimRight(string(b), "\x00")))
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatal("it does not come to that")
		}
		time.Sleep(5 * time.Millisecond) // the file is written by another package
	}
}

// ssh was first, so the job has another token than was expected: what was asked for
// ahead comes to nothing, and does no harm.
func TestAheadWithTheWrongToken(t *testing.T) {
	const size = 3 << 20
	r := newFakeRelay(t, size)
	u, c := inSession(t, r, nil)
	r.set(func() { r.onSubmit = nil })
	res := mustGet(t, c, r, request(t.TempDir()))
	if slices.Contains(u.asked(), "") || res.Fetched < size {
		t.Errorf("connections asked for the objects %q", u.asked())
	}
}

// The address is not granted yet: it is, as soon as there is a ticket.
func TestAheadFromAnAddressWithoutGrant(t *testing.T) {
	r := newFakeRelay(t, 2<<20)
	u, c := inSession(t, r, func(u *fakeUDP) {
		u.known = func(addr netip.Addr) bool {
			u.r.mu.Lock()
			defer u.r.mu.Unlock()
			return u.r.granted[addr]
		}
	})
	mustGet(t, c, r, request(t.TempDir()))
	if got := u.asked(); got[0] != "" || r.grants.Load() == 0 {
		t.Errorf("%q; %d grants", got, r.grants.Load())
	}
}

// Credentials never go into the first packet, which has no forward secrecy and may
// be repeated: something harmless opens the stream.
func TestCredentialsWaitForTheStream(t *testing.T) {
	if harmless(http.MethodPost, submit(job.Request{URL: "https://u:p@h/"}, job.NewID())) ||
		harmless(http.MethodPost, submit(job.Request{URL: "https://h/", Header: []job.Field{{Name: "Cookie", Value: "a"}}}, job.NewID())) ||
		harmless(http.MethodPost, submit(job.Request{URL: "https://h/"}, "")) || harmless(http.MethodDelete, nil) ||
		!harmless(http.MethodPost, submit(job.Request{URL: "https://h/"}, job.NewID())) || !harmless(http.MethodGet, nil) {
		t.Error("wrong about what is harmless")
	}
	r := newFakeRelay(t, 1<<20)
	u, c := inSession(t, r, nil)
	var early atomic.Bool
	c.sessions.opener.Works()
	r.set(func() {
		hear := r.onSubmit
		r.onSubmit = func(s wire.Submit) error {
			early.Store(!c.api.tunnel.answered.Load())
			return hear(s)
		}
	})
	req := request(t.TempDir())
	req.Username, req.Password = "me", "secret"
	mustGet(t, c, r, req)
	if early.Load() || u.session.streams.Load() != 1 {
		t.Errorf("sent before the relay had answered: %v; %d streams", early.Load(), u.session.streams.Load())
	}
}

// The local API's secret goes over ssh alone: a session's first packet has no
// forward secrecy, and who has stolen a session must not learn more.
func TestSecretStaysOutOfSessions(t *testing.T) {
	r := newFakeRelay(t, 1)
	u, c := inSession(t, r, nil)
	c.api.secret = "s3cret"
	for range 2 {
		if _, err := c.Jobs(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.vouched.Load(); n != 0 || u.session.streams.Load() != 1 {
		t.Errorf("the secret went over the session's stream %d times; %d streams", n, u.session.streams.Load())
	}
	r.set(func() { r.dial = nil })
	other := newTestClient(t, r, func(cfg *Config) { cfg.Secret = "s3cret" })
	if _, err := other.Jobs(t.Context()); err != nil || r.vouched.Load() != 1 {
		t.Errorf("over ssh: %d times, %v", r.vouched.Load(), err)
	}
}

// A submission that is sent twice has one id; one that the relay has lost gets
// another.
func TestSubmissionIDs(t *testing.T) {
	r := newFakeRelay(t, 1<<20)
	r.received = 1000
	_, c := inSession(t, r, nil)
	var mu sync.Mutex
	var ids []job.ID
	hear := r.onSubmit
	r.set(func() {
		r.onSubmit = func(s wire.Submit) error {
			mu.Lock()
			defer mu.Unlock()
			if ids = append(ids, s.Submission); len(ids) == 1 {
				_ = hear(s)                                   // it takes all
				time.AfterFunc(100*time.Millisecond, func() { // the relay forgets the job
					r.set(func() { r.id, r.failed = job.NewID(), nil })
					_ = c.api.tunnel.close()
					r.set(func() { r.received = len(r.body) })
				})
			}
			return nil
		}
	})
	mustGet(t, c, r, request(t.TempDir()))
	mu.Lock()
	defer mu.Unlock()
	if len(ids) != 2 || ids[0] == ids[1] || !ids[0].Valid() {
		t.Errorf("%v", ids)
	}
}

// The session ends just as the submission arrives: what is over is not the job.
func TestSessionEndsUnderASubmission(t *testing.T) {
	r := newFakeRelay(t, 1<<20)
	u, c := inSession(t, r, nil)
	refused := false
	r.set(func() {
		r.onSubmit = func(wire.Submit) error {
			if refused {
				return nil
			}
			refused = true
			return job.Errorf(job.CodeExpired, "the session has ended")
		}
	})
	mustGet(t, c, r, request(t.TempDir()))
	if r.submits.Load() != 2 || u.session.streams.Load() != 2 {
		t.Errorf("%d submissions on %d streams", r.submits.Load(), u.session.streams.Load())
	}
}
