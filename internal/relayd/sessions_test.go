package relayd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/jumpget/jumpget/internal/access"
	"github.com/jumpget/jumpget/internal/bulk"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origintest"
	"github.com/jumpget/jumpget/internal/session"
	"github.com/jumpget/jumpget/internal/span"
	"github.com/jumpget/jumpget/internal/transport"
	"github.com/jumpget/jumpget/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a whole relay with an origin, both on loopback.
type world struct {
	t      *testing.T
	origin *origintest.Server
	opts   Options
	at     Addresses
	stop   func()
}

func newWorld(t *testing.T, change func(*Options)) *world {
	t.Helper()
	w := &world{t: t, origin: origintest.New(t)}
	w.opts = Options{
		DataDir: t.TempDir(), LocalAddr: Off, PublicAddr: "127.0.0.1:0",
		AllowPrivateOrigins: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	}
	if change != nil {
		change(&w.opts)
	}
	w.start()
	t.Cleanup(func() { w.stop() })
	return w
}

func (w *world) start() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan Addresses, 1), make(chan error, 1)
	w.opts.Ready = func(a Addresses) { ready <- a }
	go func() { ended <- Run(ctx, w.opts) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		check(w.t, <-ended)
	})
	select {
	case w.at = <-ready:
	case err := <-ended:
		w.t.Fatal(err)
	}
	w.opts.PublicAddr = w.at.Public.String() // the next start takes the same
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	w.t.Cleanup(cancel)
	return ctx
}

// over returns a client whose API is at the end of what dial gives.
func (w *world) over(dial func() (net.Conn, error)) *http.Client {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return dial() }, Protocols: p}
	w.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func (w *world) local() *http.Client {
	return w.over(func() (net.Conn, error) { return net.Dial("unix", w.at.Socket) })
}

func (w *world) udp(h session.Hash) *http.Client {
	return w.over(func() (net.Conn, error) {
		pc, err := transport.DialUDP(w.t.Context(), w.at.Public)
		if err != nil {
			return nil, err
		}
		return bulk.DialStream(w.t.Context(), pc, w.at.Public, bulk.StreamConfig{Key: bulk.NewSessionKey(h), Silence: time.Second}), nil
	})
}

func (w *world) tls() (net.Conn, error) {
	return tls.Dial("tcp", w.at.Public.String(), &tls.Config{InsecureSkipVerify: true})
}

// stream is the local API behind the public door's answer.
type stream struct {
	net.Conn
	r *bufio.Reader
}

func (s stream) Read(p []byte) (int, error) { return s.r.Read(p) }

func (w *world) tcp(h session.Hash) *http.Client {
	return w.over(func() (net.Conn, error) {
		c, err := w.tls()
		if err != nil {
			return nil, err
		}
		s := stream{c, bufio.NewReader(c)}
		_, err = fmt.Fprintf(c, "GET /v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: jumpget/1\r\n\r\n", h.Bearer())
		if err != nil {
			return nil, err
		}
		resp, err := http.ReadResponse(s.r, nil)
		if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
			err = errors.Join(errors.New(resp.Status), c.Close())
		}
		return s, err
	})
}

// do does a request, and gives the first JSON value of a good answer to into.
func (w *world) do(c *http.Client, method, path string, body, into any) (status int, err error) {
	w.t.Helper()
	b, err := json.Marshal(body)
	check(w.t, err)
	req, err := http.NewRequestWithContext(w.ctx(), method, "http://localhost"+path, bytes.NewReader(b))
	check(w.t, err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 == 2 && into != nil {
		check(w.t, json.NewDecoder(resp.Body).Decode(into))
	}
	return resp.StatusCode, nil
}

func (w *world) issue() (wire.Session, session.Hash) {
	w.t.Helper()
	var made wire.Session
	if status, err := w.do(w.local(), "POST", "/v1/sessions", wire.NewSession{Name: "laptop"}, &made); status != 200 {
		w.t.Fatal(status, err)
	}
	secret, err := session.Parse(made.Secret)
	check(w.t, err)
	return made, secret.Hash()
}

func (w *world) submit(c *http.Client, in wire.Submit) wire.Ticket {
	w.t.Helper()
	in.Detach = true
	var m wire.Message
	if status, err := w.do(c, "POST", "/v1/jobs", in, &m); status != 200 || m.Ticket == nil {
		w.t.Fatalf("%d, %v, %+v", status, err, m)
	}
	return *m.Ticket
}

// get asks the public door for a job's bytes.
func (w *world) get(t wire.Ticket) (status int, body string) {
	w.t.Helper()
	c, err := w.tls()
	check(w.t, err)
	defer c.Close()
	_, err = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", wire.PublicPath(t.Job, "f"), t.Token)
	check(w.t, err)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	check(w.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	check(w.t, err)
	return resp.StatusCode, string(b)
}

// sink keeps what comes.
type sink struct {
	mu   sync.Mutex
	data []byte
	done chan struct{}
}

func (s *sink) Data(off int64, p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data = append(s.data, make([]byte, max(0, int(off)+len(p)-len(s.data)))...)
	copy(s.data[off:], p)
	return nil
}

func (s *sink) Done(bulk.RangeID, span.Span) { close(s.done) }

// dial asks for a job's bytes over UDP.
func (w *world) dial(token string) (*bulk.Conn, *sink) {
	w.t.Helper()
	pc, err := transport.DialUDP(w.t.Context(), w.at.Public)
	check(w.t, err)
	s := &sink{done: make(chan struct{})}
	c, err := bulk.Dial(w.ctx(), pc, w.at.Public, bulk.Config{
		Key: bulk.NewKey(access.Hash(token)), Sink: s, First: []span.Span{{End: 1 << 20}}, Silence: 3 * time.Second,
	})
	check(w.t, err)
	w.t.Cleanup(func() { _ = c.Close() })
	return c, s
}

// The whole life of a session with a real relay: issued at the local API, used over
// UDP and TLS at once, revoked.
func TestLifeOfASession(t *testing.T) {
	w := newWorld(t, nil)
	const text = "what the origin has"
	w.origin.Add(origintest.File{Path: "/f", Data: []byte(text), ETag: `"1"`})
	made, hash := w.issue()
	if len(made.Endpoints) != 2 || made.Endpoints[0].Pin != w.at.Pin || made.Endpoints[1].Scheme != job.SchemeUDP {
		t.Errorf("%+v", made.Endpoints)
	}
	udp, tcp := w.udp(hash), w.tcp(hash)
	in := wire.Submit{URL: w.origin.URL("/f"), Submission: job.NewID()}
	var both sync.WaitGroup
	tickets := make([]wire.Ticket, 2)
	for i, c := range []*http.Client{udp, tcp} {
		both.Go(func() { tickets[i] = w.submit(c, in) })
	}
	both.Wait()
	if tickets[0].Job != tickets[1].Job || tickets[0].Token != hash.Ticket(string(in.Submission)) || tickets[1].Token != tickets[0].Token {
		t.Fatalf("%+v\n%+v", tickets[0], tickets[1])
	}
	if again := w.submit(w.local(), in); again.Job != tickets[0].Job || again.Token == tickets[0].Token {
		t.Errorf("at the local API: %+v", again)
	}
	if status, got := w.get(tickets[0]); status != 200 || got != text {
		t.Errorf("over TLS: %d %q", status, got)
	}
	data, got := w.dial(tickets[0].Token)
	<-got.done
	if string(got.data) != text {
		t.Errorf("over UDP: %q", got.data)
	}
	var all wire.Sessions
	if status, err := w.do(w.local(), "GET", "/v1/sessions", nil, &all); err != nil || len(all.Sessions) != 1 ||
		all.Sessions[0].Address != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("%d, %v, %+v", status, err, all)
	}
	if status, err := w.do(w.local(), "DELETE", wire.SessionPath(made.ID), nil, nil); status != 204 {
		t.Fatal(status, err)
	}
	<-data.Done()
	var refused *bulk.RefusedError
	if !errors.As(data.Err(), &refused) || refused.Code != bulk.CodeGone {
		t.Errorf("the data over UDP ends with %v", data.Err())
	}
	w.wantOver(hash, udp, tcp)
	if status, _ := w.get(tickets[0]); status != 404 {
		t.Errorf("the token after the end: %d", status)
	}
	// The job is the user's, and goes on over ssh.
	if status, err := w.do(w.local(), "GET", wire.JobPath(tickets[0].Job, ""), nil, nil); status != 200 {
		t.Error(status, err)
	}
}

// wantOver wants neither old streams nor new ones to lead anywhere.
func (w *world) wantOver(hash session.Hash, old ...*http.Client) {
	w.t.Helper()
	for i, c := range append(old, w.udp(hash), w.tcp(hash)) {
		if status, err := w.do(c, "GET", "/v1/status", nil, nil); err == nil && status != http.StatusGone {
			w.t.Errorf("way %d: %d", i, status)
		}
	}
}

// A restart ends no session, makes nothing twice of a replay, and knows the tokens
// again; switched off, there are no sessions.
func TestSessionsAcrossRestarts(t *testing.T) {
	w := newWorld(t, nil)
	w.origin.Add(origintest.File{Path: "/f", Data: []byte("x"), ETag: `"1"`})
	_, hash := w.issue()
	in := wire.Submit{URL: w.origin.URL("/f"), Submission: job.NewID()}
	first := w.submit(w.udp(hash), in)
	w.get(first) // waits until it is there
	w.stop()
	w.start()
	for name, c := range map[string]*http.Client{"UDP": w.udp(hash), "TCP": w.tcp(hash)} {
		if again := w.submit(c, in); again.Job != first.Job || again.Token != first.Token {
			t.Errorf("over %s: %+v, want %+v", name, again, first)
		}
	}
	data, got := w.dial(first.Token)
	<-got.done
	check(t, data.Close())
	w.stop()
	w.opts.Sessions = -1
	w.start()
	w.wantOver(hash)
	if status, _ := w.do(w.local(), "POST", "/v1/sessions", wire.NewSession{}, nil); status != http.StatusForbidden {
		t.Errorf("issued: %d", status)
	}
	if status, _ := w.get(first); status != 404 {
		t.Errorf("the token after the end: %d", status)
	}
}

// The user of a session is asked for where his name comes from.
func TestUserExists(t *testing.T) {
	d := &daemon{}
	for _, c := range []struct {
		s    job.Session
		want bool
	}{
		{job.Session{Owner: "local"}, true},
		{job.Session{Owner: "nobody-of-this-name-f3a9", Source: job.SourceSystem}, false},
		{job.Session{Owner: "1000", Source: job.SourceSystem}, true},
		{job.Session{Owner: "ann", Source: job.SourceKeys}, false}, // the endpoint is off
	} {
		if got := d.userExists(c.s); got != c.want {
			t.Errorf("%+v: %v", c.s, got)
		}
	}
}
