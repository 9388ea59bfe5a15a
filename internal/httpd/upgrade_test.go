package httpd

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/jumpget/jumpget/internal/access"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/relay"
	"github.com/jumpget/jumpget/internal/wire"
)

// streaming opens the local API on a connection to the public door.
func streaming(bearer string, more ...string) string {
	return "GET /v1/stream HTTP/1.1\r\nHost: relay\r\nAuthorization: Bearer " + bearer + "\r\nConnection: Upgrade\r\nUpgrade: jumpget/1\r\n" +
		strings.Join(more, "\r\n") + "\r\n"
}

// eager sends the request for the stream with the first bytes of what follows.
type eager struct {
	net.Conn
	request string
	r       *bufio.Reader
	t       testing.TB
}

func (e *eager) Write(p []byte) (int, error) {
	b := append([]byte(e.request), p...)
	n, err := e.Conn.Write(b)
	n -= len(e.request)
	e.request = ""
	return max(n, 0), err
}

func (e *eager) Read(p []byte) (int, error) {
	if e.r == nil {
		e.r = bufio.NewReader(e.Conn)
		resp := head(e.t, e.r, "GET")
		if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Upgrade") != wire.UpgradeProtocol {
			return 0, fmt.Errorf("answered %s", resp.Status)
		}
	}
	return e.r.Read(p)
}

func withAPI(a *api) func(*PublicConfig) { return func(c *PublicConfig) { c.API = a.srv } }

// With a session's bearer the public door leads to the local API, in as many
// round trips as the connection itself takes.
func TestTheDoorOpensTheLocalAPI(t *testing.T) {
	w := newWorld(t)
	a := newAPI(t, w.relay)
	d := newDoor(t, w, withAPI(a))
	s, _, hash := w.issue(a, "ann")
	c := over(t, 2, func() (net.Conn, error) { return &eager{Conn: d.dial(), request: streaming(hash.Bearer()), t: t}, nil })
	sub := job.NewID()
	url := w.url()
	ticket := c.submit(wire.Submit{URL: url, Submission: sub})
	if ticket.Token != hash.Ticket(string(sub)) {
		t.Errorf("%+v", ticket)
	}
	f := &file{t: t, url: url, steps: w.src.files[url].steps, meta: w.src.files[url].meta, relay: w.relay, owner: "ann", job: ticket.Job}
	f.begin()
	f.write("x")
	f.end()
	if got := d.get(job.Ticket{Job: ticket.Job, Token: ticket.Token}); got.StatusCode != 200 || got.body != "x" {
		t.Errorf("the data: %s %q", got.Status, got.body)
	}
	if !s.Known(loopback) || s.Info().Addr != loopback {
		t.Error("the address is not noted")
	}
	check(t, w.relay.RevokeSession(t.Context(), "ann", s.ID()))
	if got := d.get(job.Ticket{Job: ticket.Job, Token: ticket.Token}); got.StatusCode != 404 {
		t.Errorf("the derived token after the end: %s", got.Status)
	}
	eventually(t, "the stream has ended", func() bool {
		resp, err := c.start(t.Context(), "GET", "/v1/status", nil)
		if err == nil {
			_ = resp.Body.Close()
		}
		return err != nil
	})
	// One is left, which asked for the data and was served.
	eventually(t, "the connections are counted out", func() bool { return d.conns() == 1 })
}

// A body that is under way with a derived token ends with the session.
func TestBodiesEndWithTheirSession(t *testing.T) {
	w := newWorld(t)
	a := newAPI(t, w.relay)
	d := newDoor(t, w, withAPI(a))
	s, _, _ := w.issue(a, "ann")
	f, first := w.file("ann", 10)
	f.begin()
	f.write("12345")
	sub := relay.Submission{Owner: "ann", ID: job.NewID(), Session: s, Allow: []netip.Addr{loopback}}
	ticket, err := w.relay.Submit(t.Context(), sub, job.Request{URL: f.url})
	check(t, err)
	derived, ssh := d.dial(), d.dial()
	sendRequest(t, derived, "GET", ticket)
	cut := head(t, bufio.NewReader(derived), "GET")
	read(t, cut.Body, 5)
	sendRequest(t, ssh, "GET", first)
	whole := head(t, bufio.NewReader(ssh), "GET")
	read(t, whole.Body, 5)
	check(t, w.relay.RevokeSession(t.Context(), "ann", s.ID()))
	if b, err := io.ReadAll(cut.Body); err == nil || len(b) > 0 {
		t.Errorf("with the derived token: %q, %v", b, err)
	}
	f.write("67890")
	if got := read(t, whole.Body, 5); got != "67890" {
		t.Errorf("with the other: %q", got)
	}
	f.end()
}

// Nothing tells a scanner that there are sessions: whatever he asks for, he gets
// the bytes that a relay without sessions gives, and the one 404.
func TestTheStreamIsHidden(t *testing.T) {
	w := newWorld(t)
	a := newAPI(t, w.relay)
	s, _, hash := w.issue(a, "ann")
	over, _, ended := w.issue(a, "ann")
	check(t, w.relay.RevokeSession(t.Context(), "ann", over.ID()))
	with, without := newDoor(t, w, withAPI(a)), newDoor(t, w)
	want := withoutDate(without.raw("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	good := hash.Bearer()
	auth := "Authorization: Bearer " + good
	upgrade := "\r\nConnection: Upgrade\r\nUpgrade: jumpget/1\r\n"
	for name, request := range map[string]string{
		"no bearer":             "GET /v1/stream HTTP/1.1\r\nHost: x" + upgrade,
		"a wrong bearer":        streaming(access.NewToken()),
		"a revoked one":         streaming(ended.Bearer()),
		"the hash's ticket":     streaming(hash.Ticket("")),
		"a short one":           streaming(good[:42]),
		"one with a tail":       streaming(good + "A"),
		"a huge one":            streaming(strings.Repeat("A", 10_000)),
		"a wrong one, streamed": streaming(access.NewToken()) + "\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"in the link":           "GET /v1/stream?token=" + good + " HTTP/1.1\r\nHost: x" + upgrade,
		"another protocol":      "GET /v1/stream HTTP/1.1\r\nHost: x\r\n" + auth + "\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n",
		"another version":       "GET /v1/stream HTTP/1.1\r\nHost: x\r\n" + auth + "\r\nConnection: Upgrade\r\nUpgrade: jumpget/2\r\n",
		"no upgrade":            "GET /v1/stream HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n",
		"no connection":         "GET /v1/stream HTTP/1.1\r\nHost: x\r\n" + auth + "\r\nUpgrade: jumpget/1\r\n",
		"POST":                  "POST /v1/stream HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n" + auth + upgrade,
		"a body":                "GET /v1/stream HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n" + auth + upgrade + "\r\nx",
		"another path":          "GET /v1/streams HTTP/1.1\r\nHost: x\r\n" + auth + upgrade,
		"a longer path":         "GET /v1/stream/ HTTP/1.1\r\nHost: x\r\n" + auth + upgrade,
		"the API itself":        "GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\n" + auth + "\r\n",
		"its sessions":          "POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n" + auth + "\r\n\r\n{}",
		"a web socket":          "GET /v1/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			for which, d := range map[string]*door{"with sessions": with, "without": without} {
				if got := withoutDate(d.on(t).raw(request + "\r\n")); got != want {
					t.Errorf("%s: got  %q\nwant %q", which, got, want)
				}
			}
		})
	}
	t.Run("HTTP/1.0", func(t *testing.T) {
		got := withoutDate(with.on(t).raw(strings.Replace(streaming(good), "HTTP/1.1", "HTTP/1.0", 1) + "\r\n"))
		if got != strings.Replace(want, "HTTP/1.1", "HTTP/1.0", 1) {
			t.Errorf("got %q", got)
		}
	})
	t.Run("without sessions, a good bearer", func(t *testing.T) {
		if got := withoutDate(without.on(t).raw(streaming(good) + "\r\n")); got != want {
			t.Errorf("got %q", got)
		}
	})
	if s.Known(loopback) {
		t.Error("a refused request counts as a use")
	}
}

// A bearer in plaintext is refused, but for a proxy that says whose it is.
func TestTheStreamNeedsTLS(t *testing.T) {
	w := newWorld(t)
	a := newAPI(t, w.relay)
	s, _, hash := w.issue(a, "ann")
	ask := func(d *door, header ...string) *http.Response {
		t.Helper()
		c := d.on(t).plain("127.0.0.1")
		_, err := io.WriteString(c, streaming(hash.Bearer(), append(header, "")...))
		check(t, err)
		return head(t, bufio.NewReader(c), "GET")
	}
	plain := newDoor(t, w, withAPI(a), func(c *PublicConfig) { c.Plain = true })
	if got := ask(plain); got.StatusCode != 404 {
		t.Errorf("in plaintext: %s", got.Status)
	}
	both := newDoor(t, w, withAPI(a), func(c *PublicConfig) { c.Plain, c.Proxies = true, proxies("127.0.0.0/8") })
	if got := ask(both, "X-Forwarded-For: "+elsewhere.String()); got.StatusCode != 404 {
		t.Errorf("from a proxy whose clients speak plaintext: %s", got.Status)
	}
	proxied := newDoor(t, w, withAPI(a), func(c *PublicConfig) { c.Proxies = proxies("127.0.0.0/8") })
	if got := ask(proxied, "X-Forwarded-For: "+elsewhere.String()); got.StatusCode != 101 {
		t.Errorf("from a proxy: %s", got.Status)
	}
	eventually(t, "the address is the client's", func() bool { return s.Known(elsewhere) })
	if s.Known(loopback) {
		t.Error("the proxy's address is taken for the client's")
	}
}
