package httpd

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/wire"
)

// A name that a web page could have brought here by DNS is refused.
func TestHosts(t *testing.T) {
	a := newAPI(t, &fake{})
	for version := 1; version <= 2; version++ {
		c := a.as("ann", version)
		for host, ok := range map[string]bool{
			"localhost": true, "localhost:4100": true, "LocalHost.": true, "127.0.0.1": true, "127.0.0.1:4100": true, "192.0.2.1:80": true,
			"[::1]": true, "[::1]:4100": true,
			"evil.example": false, "evil.example:4100": false, "localhost.evil.example": false, "127.0.0.1.evil.example": false,
			"jumpget": false, "127.0.0.1.nip.io:4100": false, "evil.example.": false, "127.1": false, "2130706433": false, "0x7f.1": false,
		} {
			c.host = host
			got := c.do("GET", "/healthz", nil)
			if (got.StatusCode == 200) != ok {
				t.Errorf("HTTP/%d: %q gets %s %s", version, host, got.Status, got.body)
			}
			if !ok {
				if e := got.code(t); e.Code != job.CodeForbidden || e.Hint == "" {
					t.Errorf("%q: %+v", host, e)
				}
			}
		}
	}
	for _, host := range []string{"localhost@evil.example", "localhost/evil.example", "localhost#", "localhost evil.example", "[localhost]", "localhost..", ".localhost"} {
		if localHost(host) {
			t.Errorf("%q passes for a local host", host)
		}
	}
	// HTTP/1.0 knows no host, and no browser speaks it.
	conn := a.channel(Identity{User: "ann"})
	_, err := io.WriteString(conn, "GET /healthz HTTP/1.0\r\n\r\n")
	check(t, err)
	if b, err := io.ReadAll(conn); err != nil || !strings.HasSuffix(string(b), "ok\n") {
		t.Errorf("%q, %v", b, err)
	}
}

// Nothing that a web page can make a browser send gets through: neither a form
// nor a request by script, from whatever site.
func TestWebPagesAreRefused(t *testing.T) {
	w := newWorld(t)
	_, ticket := w.ready("ann", "data")
	c := newAPI(t, w.relay).as("ann", 1)
	submit := wire.Submit{URL: "http://origin.example/x"}
	for name, r := range map[string]struct {
		method, path string
		body         any
		header       []string
		code         job.Code
	}{
		"a form":                {"POST", "/v1/jobs", submit, []string{"Content-Type", "application/x-www-form-urlencoded"}, job.CodeBadRequest},
		"a multipart form":      {"POST", "/v1/jobs", submit, []string{"Content-Type", "multipart/form-data; boundary=x"}, job.CodeBadRequest},
		"a form in plain text":  {"POST", "/v1/jobs", submit, []string{"Content-Type", "text/plain"}, job.CodeBadRequest},
		"no type":               {"POST", "/v1/jobs", submit, []string{"Content-Type", ""}, job.CodeBadRequest},
		"a type that ends so":   {"POST", "/v1/jobs", submit, []string{"Content-Type", "text/plain; x=application/json"}, job.CodeBadRequest},
		"DELETE without a type": {"DELETE", wire.JobPath(ticket.Job, ""), nil, []string{"Content-Type", ""}, job.CodeBadRequest},
		"a preflight":           {"OPTIONS", "/v1/jobs", nil, []string{"Origin", "https://evil.example", "Access-Control-Request-Method", "POST"}, job.CodeForbidden},
		"a script elsewhere":    {"POST", "/v1/jobs", submit, []string{"Origin", "https://evil.example"}, job.CodeForbidden},
		"a script from a file":  {"POST", "/v1/jobs", submit, []string{"Origin", "null"}, job.CodeForbidden},
		"a page next door":      {"GET", "/v1/jobs", nil, []string{"Origin", "http://localhost:3000"}, job.CodeForbidden},
		"an image":              {"GET", wire.JobPath(ticket.Job, "/data"), nil, []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, job.CodeForbidden},
		"another port":          {"GET", "/v1/jobs", nil, []string{"Sec-Fetch-Site", "same-site"}, job.CodeForbidden},
		"a link":                {"GET", wire.JobPath(ticket.Job, "/data"), nil, []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, job.CodeForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			c.t = t
			got := c.do(r.method, r.path, r.body, r.header...)
			if e := got.code(t); e.Code != r.code {
				t.Errorf("%s %+v", got.Status, e)
			}
			for h := range got.Header {
				if strings.HasPrefix(h, "Access-Control-") {
					t.Errorf("%s: %s", h, got.Header.Get(h))
				}
			}
			if got.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%v", got.Header)
			}
		})
	}
	c.t = t
	for _, site := range []string{"none", "same-origin"} { // typed by hand; a page of the relay's own
		if got := c.do("GET", "/v1/jobs", nil, "Sec-Fetch-Site", site); got.StatusCode != 200 {
			t.Errorf("%s: %s", site, got.Status)
		}
	}
	for _, kind := range []string{"application/json; charset=utf-8", "Application/JSON"} {
		if got := c.do("POST", "/v1/grants", wire.Grant{Addr: loopback}, "Content-Type", kind); got.StatusCode != 204 {
			t.Errorf("%s: %s %s", kind, got.Status, got.body)
		}
	}
	var all wire.Jobs
	if c.into(&all, "GET", "/v1/jobs", nil); len(all.Jobs) != 1 {
		t.Errorf("%d jobs; one was there before", len(all.Jobs))
	}
}

func TestVersions(t *testing.T) {
	c := newAPI(t, &fake{}).as("ann", 2)
	for sent, ok := range map[string]bool{"": true, "1": true, "2": false, "0": false, "1.0": false, "one": false} {
		got := c.do("GET", "/healthz", nil, wire.HeaderVersion, sent)
		if (got.StatusCode == 200) != ok {
			t.Errorf("%q gets %s", sent, got.Status)
		}
		if !ok {
			if e := got.code(t); e.Code != job.CodeVersion || e.Hint == "" {
				t.Errorf("%q: %+v", sent, e)
			}
		}
	}
}

// The secret is for the TCP port alone: the system vouches for the others.
func TestSecret(t *testing.T) {
	const secret = "a secret, with a space"
	for name, set := range map[string]string{"set": secret, "not set": ""} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t, &fake{}, func(c *LocalConfig) { c.Secret = set })
			for name, c := range transports(t, a) {
				asked := set != "" && strings.HasPrefix(name, "port")
				for sent, right := range map[string]bool{
					"": false, "Bearer " + secret: true, "bearer  " + secret: true, "Bearer wrong": false, "Bearer": false,
					"Basic " + secret: false, secret: false, "Bearer " + secret + "x": false, "Bearer " + secret[1:]: false,
				} {
					got := c.do("GET", "/healthz", nil, "Authorization", sent)
					if want := !asked || right; (got.StatusCode == 200) != want {
						t.Errorf("%s, %q: %s", name, sent, got.Status)
					}
					if got.StatusCode != 200 {
						if e := got.code(t); e.Code != job.CodeForbidden || e.Hint == "" || strings.Contains(got.body, secret) {
							t.Errorf("%s", got.body)
						}
					}
				}
			}
		})
	}
}

// An API without a connection of ours, as in a mistake of the relay's, serves nobody.
func TestNobodyIsServedWithoutAName(t *testing.T) {
	a := newAPI(t, &fake{})
	if e := a.as("", 1).do("GET", "/healthz", nil).code(t); e.Code != job.CodeForbidden {
		t.Errorf("%+v", e)
	}
}

// Connections from other machines, and from where the system can't tell, share one name.
func TestTCPPeersAreNamedByTheSystem(t *testing.T) {
	a := newAPI(t, &fake{})
	far := newPipes("198.51.100.7:4711")
	a.serve(far)
	var st wire.Status
	over(t, 1, func() (net.Conn, error) { return far.dial(t), nil }).into(&st, "GET", "/v1/status", nil)
	if st.User != unnamed || st.Observed.IsValid() {
		t.Errorf("from afar: %q, %v", st.User, st.Observed)
	}
	if runtime.GOOS != "linux" {
		return
	}
	port := a.tcp()
	over(t, 1, func() (net.Conn, error) { return net.Dial("tcp", port) }).into(&st, "GET", "/v1/status", nil)
	if st.User != me(t) {
		t.Errorf("from here: %q", st.User)
	}
}

func TestBridgePreface(t *testing.T) {
	a := newAPI(t, &fake{})
	socket := a.unix()
	for preface, want := range map[string]string{
		"":                                   "invalid IP",
		wire.BridgePreface + "-\n":           "invalid IP",
		wire.BridgePreface + "192.0.2.7\n":   "192.0.2.7",
		wire.BridgePreface + "2001:db8::1\n": "2001:db8::1",
		wire.BridgePreface + "::ffff:192.0.2.7\n":        "192.0.2.7",
		wire.BridgePreface + "fe80::1%eth0\n":            "fe80::1",
		wire.BridgePreface + "\n":                        "closed",
		wire.BridgePreface + "home\n":                    "closed",
		wire.BridgePreface + "192.0.2.7 \n":              "closed",
		wire.BridgePreface + "192.0.2.7\r\n":             "closed",
		wire.BridgePreface + "192.0.2.7:22\n":            "closed",
		wire.BridgePreface + strings.Repeat("1", 10_000): "closed",
		"JUMPGET-BRIDGE 2 192.0.2.7\n":                   "closed",
		"JUMPGET\n":                                      "closed",
		"J":                                              "closed",
	} {
		c := over(t, 1, func() (net.Conn, error) {
			c, err := net.Dial("unix", socket)
			if err == nil && preface != "" {
				_, err = io.WriteString(c, preface)
			}
			return c, err
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		resp, err := c.start(ctx, "GET", "/v1/status", nil)
		if err == nil {
			_ = resp.Body.Close()
		}
		cancel()
		if (err != nil) != (want == "closed") || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%q: %v", clip(preface), err)
		}
		if err != nil {
			continue
		}
		var st wire.Status
		if c.into(&st, "GET", "/v1/status", nil); st.Observed.String() != want {
			t.Errorf("%q: observed %v, want %s", clip(preface), st.Observed, want)
		}
	}
}

// A preface that never ends is not read for ever.
func TestAnEndlessPrefaceIsCutShort(t *testing.T) {
	r := strings.NewReader(wire.BridgePreface + strings.Repeat("1", 1<<20))
	if _, err := readPreface(bufio.NewReaderSize(r, 16)); !errors.Is(err, errPreface) || r.Len() < 1<<20-maxPreface {
		t.Errorf("%v, and %d bytes are left", err, r.Len())
	}
}

// The preface may come in pieces, and what follows it is HTTP from its first byte.
func TestBridgePrefaceInPieces(t *testing.T) {
	a := newAPI(t, &fake{})
	c, err := net.Dial("unix", a.unix())
	check(t, err)
	defer c.Close()
	check(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	for _, b := range []byte(wire.BridgePreface + "192.0.2.7\nGET /v1/status HTTP/1.0\r\n\r\n") {
		_, err := c.Write([]byte{b})
		check(t, err)
	}
	b, err := io.ReadAll(c)
	if err != nil || !strings.Contains(string(b), `"observed":"192.0.2.7"`) {
		t.Errorf("%q, %v", b, err)
	}
}

func FuzzReadPreface(f *testing.F) {
	for _, s := range []string{"", "J", "GET / HTTP/1.1\r\n", wire.BridgePreface + "192.0.2.7\nGET", wire.BridgePreface + "-\n", wire.BridgePreface + "x", "JUMPGET-BRIDGE 2 -\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r := bufio.NewReaderSize(strings.NewReader(s), 4<<10)
		addr, err := readPreface(r)
		rest, _ := io.ReadAll(r)
		switch {
		case err != nil:
			return
		case addr.IsValid() && (addr.Zone() != "" || addr.Is4In6()):
			t.Errorf("%q gives %v", s, addr)
		case !strings.HasPrefix(s, "J") && string(rest) != s:
			t.Errorf("%q is eaten up to %q", s, rest)
		case strings.HasPrefix(s, "J") && (!strings.HasPrefix(s, wire.BridgePreface) || s[strings.IndexByte(s, '\n')+1:] != string(rest)):
			t.Errorf("%q leaves %q", s, rest)
		}
	})
}

// One user's connections, silent ones above all, leave room for the others'.
func TestAUserGetsSoManyConnections(t *testing.T) {
	a := newAPI(t, &fake{}, func(c *LocalConfig) { c.MaxConns = 3 })
	socket, port := a.unix(), a.tcp()
	dial := func(network, address string) net.Conn {
		t.Helper()
		c, err := net.Dial(network, address)
		check(t, err)
		t.Cleanup(func() { _ = c.Close() })
		check(t, c.SetDeadline(time.Now().Add(10*time.Second)))
		return c
	}
	silent := dial("unix", socket)
	dial("tcp", port)
	dial("tcp", port)
	counted := func() int {
		a.srv.mu.Lock()
		defer a.srv.mu.Unlock()
		return a.srv.users[me(t)]
	}
	eventually(t, "all are counted", func() bool { return counted() == 3 })
	for network, address := range map[string]string{"unix": socket, "tcp": port} {
		if n, err := dial(network, address).Read(make([]byte, 1)); n != 0 || errors.Is(err, syscall.ETIMEDOUT) || isTimeout(err) {
			t.Errorf("one too many over %s: %d, %v", network, n, err)
		}
	}
	a.as("bob", 1).do("GET", "/healthz", nil)
	a.as(me(t), 1).do("GET", "/healthz", nil) // the ssh endpoint has limits of its own
	_ = silent.Close()
	eventually(t, "there is room again", func() bool { return counted() == 2 })
	over(t, 1, func() (net.Conn, error) { return net.Dial("unix", socket) }).do("GET", "/healthz", nil)
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// flaky is a listener that fails now and then, as when there are too many open files.
type flaky struct {
	net.Listener
	fails atomic.Int64
	err   error
}

func (l *flaky) Accept() (net.Conn, error) {
	if l.fails.Add(-1) >= 0 {
		return nil, l.err
	}
	return l.Listener.Accept()
}

func TestServeOutlivesWhatPasses(t *testing.T) {
	a := newAPI(t, &fake{})
	far := newPipes("198.51.100.7:1")
	l := &flaky{Listener: far, err: &net.OpError{Op: "accept", Err: syscall.EMFILE}}
	l.fails.Store(2)
	a.serve(l)
	over(t, 1, func() (net.Conn, error) { return far.dial(t), nil }).do("GET", "/healthz", nil)

	broken := &flaky{Listener: newPipes("198.51.100.7:1"), err: errors.New("broken")}
	broken.fails.Store(1)
	if err := a.srv.Serve(broken); err == nil || err.Error() != "broken" {
		t.Errorf("%v", err)
	}
	if _, err := broken.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the broken listener is left open: %v", err)
	}
}

// Identities of the ssh endpoint count as they are.
func TestServeConnKnowsWhoAsks(t *testing.T) {
	a := newAPI(t, &fake{})
	addr := netip.MustParseAddr("192.0.2.9")
	for version := 1; version <= 2; version++ {
		var st wire.Status
		over(t, version, func() (net.Conn, error) { return a.channel(Identity{User: "ann", Addr: addr}), nil }).into(&st, "GET", "/v1/status", nil)
		if st.User != "ann" || st.Observed != addr {
			t.Errorf("HTTP/%d: %+v", version, st)
		}
	}
	// It returns when the client has gone.
	mine, theirs := net.Pipe()
	ended := make(chan error)
	go func() { ended <- a.srv.ServeConn(theirs, Identity{User: "ann"}) }()
	_ = mine.Close()
	check(t, <-ended)
}
