package reach

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/transport"
	"github.com/jumpget/jumpget/internal/wire"
)

// door is a public door with real TLS that gives streams which echo.
type door struct {
	endpoint job.Endpoint
	bearer   string
	proxy    atomic.Bool // answers like a proxy that knows no upgrades
	streams  atomic.Int64
	silent   atomic.Bool // takes the request and says nothing
	cut      atomic.Bool // ends each stream after its first answer
}

func newDoor(t *testing.T, bearer string) *door {
	t.Helper()
	cert, pin, err := transport.LoadOrCreateCert(t.TempDir())
	must(t, err)
	l, err := tls.Listen("tcp", "127.0.0.1:0", transport.ServerTLS(cert))
	must(t, err)
	d := &door{bearer: bearer, endpoint: job.Endpoint{Scheme: "https", Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, Pin: pin}}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer context.AfterFunc(ctx, func() { _ = c.Close() })()
				d.serve(c)
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		cancel()
		wg.Wait()
	})
	return d
}

func (d *door) serve(c net.Conn) {
	r := bufio.NewReader(c)
	q, err := http.ReadRequest(r)
	if err != nil {
		return
	}
	path := strings.TrimPrefix(wire.RouteStream, "GET ")
	switch {
	case d.silent.Load():
		_, _ = io.Copy(io.Discard, r)
		return
	case d.proxy.Load():
		_, _ = io.WriteString(c, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
		return
	case q.Method != http.MethodGet || q.URL.Path != path || q.Header.Get("Authorization") != "Bearer "+d.bearer ||
		q.Header.Get("Upgrade") != wire.UpgradeProtocol || !strings.EqualFold(q.Header.Get("Connection"), "upgrade"):
		_, _ = io.WriteString(c, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
		return
	}
	d.streams.Add(1)
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+wire.UpgradeProtocol+"\r\n\r\n")
	buf := make([]byte, 1024)
	for {
		n, err := r.Read(buf)
		if err != nil {
			return
		}
		if _, err := c.Write(buf[:n]); err != nil || d.cut.Load() {
			return
		}
	}
}

// world is an opener with a session, and an ssh that echoes.
type world struct {
	*Opener
	store   *Store
	session Session
	ssh     atomic.Int64 // how often it was started
	notices []string
}

func newWorld(t *testing.T, s Session) *world {
	t.Helper()
	w := &world{store: NewStore(t.TempDir(), "me@relay"), session: s}
	must(t, w.store.Save(s))
	w.reopen()
	return w
}

// reopen is another run of the program.
func (w *world) reopen() {
	w.Opener = New(Config{
		Store: w.store, Ways: []Way{UDP, TLS}, Notice: func(text string) { w.notices = append(w.notices, text) },
		SSH: func(context.Context) (net.Conn, error) {
			w.ssh.Add(1)
			ours, theirs := net.Pipe()
			go func() { _, _ = io.Copy(theirs, theirs) }()
			return ours, nil
		},
	})
}

// talk opens a stream, says something, and returns the way by which the answer came.
func (w *world) talk(t *testing.T) Way {
	t.Helper()
	c, err := w.Open(t.Context())
	must(t, err)
	defer c.Close()
	for range 2 {
		_, err = c.Write([]byte("hello"))
		must(t, err)
		b := make([]byte, 5)
		if _, err = io.ReadFull(c, b); err != nil || string(b) != "hello" {
			t.Fatalf("%q, %v", b, err)
		}
	}
	return WayOf(c)
}

func (w *world) kept(t *testing.T) Session {
	t.Helper()
	s, err := w.store.Load()
	if err != nil && !errors.Is(err, ErrNone) {
		t.Fatal(err)
	}
	return s
}

// closedPort is one that nobody listens on.
func closedPort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, l.Close())
	return l.Addr().(*net.TCPAddr).Port
}

func TestSessionOverTLS(t *testing.T) {
	s := testSession()
	d := newDoor(t, s.Secret.Hash().Bearer())
	s.Endpoints = []job.Endpoint{d.endpoint}
	w := newWorld(t, s)
	if way := w.talk(t); way != TLS || w.ssh.Load() != 0 {
		t.Errorf("over %v, %d ssh", way, w.ssh.Load())
	}
	if d.streams.Load() != 1 {
		t.Errorf("%d streams", d.streams.Load())
	}
}

// The relay does not know the session any more: ssh is taken at once, and nobody
// tries the session again.
func TestSessionRefused(t *testing.T) {
	s := testSession()
	d := newDoor(t, "another")
	s.Endpoints = []job.Endpoint{d.endpoint, {Scheme: job.SchemeUDP, Host: "127.0.0.1", Port: closedPort(t)}}
	w := newWorld(t, s)
	if way := w.talk(t); way != SSH || w.kept(t).ID != "" || !w.Wants() {
		t.Errorf("over %v, kept %q, wants another: %v", way, w.kept(t).ID, w.Wants())
	}
	if len(w.notices) > 0 {
		t.Errorf("a session that is over is worth no word: %q", w.notices)
	}
}

// Another certificate: whoever shows it gets nothing, and a person is told.
func TestSessionWithAnotherPin(t *testing.T) {
	s := testSession()
	d := newDoor(t, s.Secret.Hash().Bearer())
	s.Endpoints = []job.Endpoint{d.endpoint}
	s.Endpoints[0].Pin = strings.Repeat("0", 64)
	w := newWorld(t, s)
	if way := w.talk(t); way != SSH || w.kept(t).ID != "" || d.streams.Load() != 0 {
		t.Errorf("over %v, kept %q", way, w.kept(t).ID)
	}
	if len(w.notices) != 1 || !strings.Contains(w.notices[0], "certificate") {
		t.Errorf("%q", w.notices)
	}
}

// Both ways are blocked: ssh carries, the session is kept, and the next run
// loses no time.
func TestSessionThatNobodyAnswers(t *testing.T) {
	s := testSession()
	d := newDoor(t, s.Secret.Hash().Bearer())
	d.silent.Store(true)
	s.Endpoints = []job.Endpoint{d.endpoint, {Scheme: job.SchemeUDP, Host: "127.0.0.1", Port: closedPort(t)}}
	s.RTT = time.Millisecond
	w := newWorld(t, s)
	if w.patience(s) != leastPatience {
		t.Errorf("patience %v", w.patience(s))
	}
	if way := w.talk(t); way != SSH || w.kept(t).ID != s.ID || w.kept(t).Quiet.IsZero() {
		t.Errorf("over %v, kept %+v", way, w.kept(t))
	}
	w.reopen()
	if k, ok := w.Session(); !ok || w.patience(k) != 0 {
		t.Errorf("there is a session: %v, and patience %v", ok, w.patience(k))
	}
	// It answers again, and has its head start back.
	d.silent.Store(false)
	w.cfg.SSH = func(ctx context.Context) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	if way := w.talk(t); way != TLS || !w.kept(t).Quiet.IsZero() {
		t.Errorf("over %v, quiet since %v", way, w.kept(t).Quiet)
	}
}

// A proxy that lets no stream through says nothing about the session.
func TestProxyThatUpgradesNothing(t *testing.T) {
	s := testSession()
	d := newDoor(t, s.Secret.Hash().Bearer())
	d.proxy.Store(true)
	s.Endpoints = []job.Endpoint{d.endpoint}
	w := newWorld(t, s)
	if way := w.talk(t); way != SSH || w.kept(t).ID != s.ID {
		t.Errorf("over %v, kept %q", way, w.kept(t).ID)
	}
}

// Streams that break before any request was answered are not opened for ever.
func TestHollowStreams(t *testing.T) {
	s := testSession()
	d := newDoor(t, s.Secret.Hash().Bearer())
	d.cut.Store(true)
	s.Endpoints = []job.Endpoint{d.endpoint}
	w := newWorld(t, s)
	var ways []Way
	for range hollowStreams + 1 {
		c, err := w.Open(t.Context())
		must(t, err)
		_, err = c.Write([]byte("x"))
		must(t, err)
		_, err = c.Read(make([]byte, 1))
		must(t, err)
		ways = append(ways, WayOf(c))
		must(t, c.Close())
	}
	if ways[0] != TLS || ways[hollowStreams-1] != TLS || ways[hollowStreams] != SSH {
		t.Errorf("%v", ways)
	}
	w.Works()
	d.cut.Store(false)
	if way := w.talk(t); way != TLS {
		t.Errorf("after a request was answered: %v", way)
	}
}

// Without a session, or with one that is over, there is only ssh.
func TestNoSession(t *testing.T) {
	over := testSession()
	over.Expires = time.Now().Add(-time.Minute)
	ending := testSession()
	ending.Until = time.Now().Add(soonOver / 2)
	for name, c := range map[string]struct {
		s     Session
		lives bool
	}{"over": {over, false}, "soon over": {ending, true}} {
		w := newWorld(t, c.s)
		if _, ok := w.Session(); ok != c.lives || !w.Wants() {
			t.Errorf("%s: it counts: %v; wants another: %v", name, ok, w.Wants())
		}
		if !c.lives && w.talk(t) != SSH {
			t.Errorf("%s: not over ssh", name)
		}
	}
	w := newWorld(t, testSession())
	if w.Wants() {
		t.Error("a session that lives is enough")
	}
	must(t, w.store.Forget(w.session.ID))
	must(t, w.store.Decline())
	w.reopen()
	if w.Wants() {
		t.Error("the relay gives none, and is asked again")
	}
	if o := New(Config{SSH: w.cfg.SSH}); o.Wants() {
		t.Error("without a store a session is asked for")
	}
}

func TestRenewedAndMeasured(t *testing.T) {
	w := newWorld(t, testSession())
	later := w.session.Expires.Add(time.Hour)
	w.Renewed(w.session.Expires.Add(time.Minute)) // not worth a write
	if got := w.kept(t).Expires; !got.Equal(w.session.Expires) {
		t.Errorf("expires %v", got)
	}
	w.Renewed(later)
	w.Measured(300 * time.Millisecond)
	if k := w.kept(t); !k.Expires.Equal(later) || k.RTT != 300*time.Millisecond {
		t.Errorf("%+v", k)
	}
	if s, _ := w.Session(); w.patience(s) != 1200*time.Millisecond {
		t.Errorf("patience %v", w.patience(s))
	}
	next := testSession()
	must(t, w.Keep(next))
	if k, ok := w.Session(); !ok || k.ID != next.ID || w.kept(t).ID != next.ID {
		t.Errorf("a fresh session is not kept")
	}
}

// Before a proxy nothing follows the request until it is answered.
func TestRequestBeforeAProxy(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		wrong  bool
		final  bool
	}{
		"taken":            {answer: "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: jumpget/1\r\n\r\nfirst"},
		"refused":          {answer: "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", wrong: true, final: true},
		"not understood":   {answer: "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", wrong: true},
		"another protocol": {answer: "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", wrong: true},
		"no HTTP":          {answer: "SSH-2.0-x\r\n", wrong: true},
		"an endless head":  {answer: "HTTP/1.1 101 X\r\nA: " + strings.Repeat("b", 2*maxHead), wrong: true},
		"nothing":          {wrong: true},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			var wg sync.WaitGroup
			defer wg.Wait()
			defer ours.Close()
			wg.Go(func() {
				defer theirs.Close()
				q, err := http.ReadRequest(bufio.NewReader(theirs))
				if err != nil || q.URL.Path != "/prefix/v1/stream" || q.Host != "relay.test:443" {
					t.Errorf("%v, %v", q, err)
				}
				_, _ = io.WriteString(theirs, c.answer)
			})
			u := &upgraded{Conn: ours, head: upgrade(job.Endpoint{Host: "relay.test", Port: 443, Path: "/prefix"}, "b")}
			err := u.settle(t.Context())
			if (err != nil) != c.wrong || isType[*RefusedError](err) != c.final {
				t.Fatalf("%v", err)
			}
			if err == nil {
				b := make([]byte, 5)
				if _, err := io.ReadFull(u, b); err != nil || string(b) != "first" {
					t.Errorf("%q, %v", b, err)
				}
			}
		})
	}
}
