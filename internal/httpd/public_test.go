package httpd

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/access"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/wire"
)

// proxies trusts some networks.
func proxies(nets ...string) access.Proxies {
	var p []netip.Prefix
	for _, n := range nets {
		p = append(p, netip.MustParsePrefix(n))
	}
	return access.NewProxies(p)
}

// A stranger gets one answer, whatever is asked for and whatever there is. So
// does somebody with a good token who asks for anything but the file.
func TestEveryRefusalIsTheSame(t *testing.T) {
	w := newWorld(t)
	d := newDoor(t, w)
	_, good := w.ready("ann", "data")
	_, other := w.ready("ann", "other data")
	failed, lost := w.file("ann", 10)
	failed.fail(errOrigin)
	_, gone := w.ready("ann", "gone")
	check(t, w.relay.Remove(t.Context(), "ann", gone.Job))
	path := wire.PublicPath(good.Job, "f")
	auth := "\r\nAuthorization: Bearer " + good.Token

	want := d.raw("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if !strings.HasPrefix(want, "HTTP/1.1 404 Not Found\r\n") || !strings.Contains(want, "\r\nConnection: close\r\n") || !strings.HasSuffix(want, refusal) {
		t.Fatalf("a stranger gets %q", want)
	}
	for name, request := range map[string]string{
		"no token":                  "GET " + path + " HTTP/1.1\r\nHost: x",
		"a wrong token":             "GET " + path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + access.NewToken(),
		"a short token":             "GET " + path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + good.Token[:42],
		"another job's token":       "GET " + path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + other.Token,
		"a wrong token in the link": "GET " + path + "?token=" + access.NewToken() + " HTTP/1.1\r\nHost: x",
		"a wrong bearer, a good link": "GET " + path + "?token=" + good.Token + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " +
			access.NewToken(),
		"basic auth":               "GET " + path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Basic " + good.Token,
		"a token with a tail":      "GET " + path + " HTTP/1.1\r\nHost: x" + auth + "x",
		"a huge token":             "GET " + path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + strings.Repeat("A", 10_000),
		"a job that never was":     "GET " + wire.PublicPath(job.NewID(), "f") + " HTTP/1.1\r\nHost: x" + auth,
		"a job that was removed":   "GET " + wire.PublicPath(gone.Job, "f") + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + gone.Token,
		"a job that failed":        "GET " + wire.PublicPath(lost.Job, "f") + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + lost.Token,
		"the root":                 "GET / HTTP/1.1\r\nHost: x" + auth,
		"no name":                  "GET /d/" + string(good.Job) + " HTTP/1.1\r\nHost: x" + auth,
		"an empty name":            "GET /d/" + string(good.Job) + "/ HTTP/1.1\r\nHost: x" + auth,
		"capitals":                 "GET /d/" + strings.ToUpper(string(good.Job)) + "/f HTTP/1.1\r\nHost: x" + auth,
		"another prefix":           "GET /D/" + string(good.Job) + "/f HTTP/1.1\r\nHost: x" + auth,
		"an unclean path":          "GET /x/../d/" + string(good.Job) + "/f HTTP/1.1\r\nHost: x" + auth,
		"double slashes":           "GET //d/" + string(good.Job) + "/f HTTP/1.1\r\nHost: x" + auth,
		"a quoted slash":           "GET /d/" + string(good.Job) + "/%2e%2e%2f%2e%2e%2fetc%2fpasswd HTTP/1.1\r\nHost: x",
		"a zero byte":              "GET /d/" + string(good.Job) + "%00/f HTTP/1.1\r\nHost: x" + auth,
		"an injection":             "GET /d/'%20OR%201=1--/f HTTP/1.1\r\nHost: x" + auth,
		"the local API":            "GET /v1/jobs HTTP/1.1\r\nHost: localhost" + auth,
		"health":                   "GET /healthz HTTP/1.1\r\nHost: localhost" + auth,
		"robots":                   "GET /robots.txt HTTP/1.1\r\nHost: x",
		"a long path":              "GET /" + strings.Repeat("x", 10_000) + " HTTP/1.1\r\nHost: x",
		"a foreign URL":            "GET http://other.example/ HTTP/1.1\r\nHost: other.example" + auth,
		"POST":                     "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 0" + auth,
		"PUT":                      "PUT " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 8" + auth + "\r\n\r\nbody",
		"DELETE":                   "DELETE " + path + " HTTP/1.1\r\nHost: x" + auth,
		"OPTIONS":                  "OPTIONS " + path + " HTTP/1.1\r\nHost: x" + auth,
		"OPTIONS of all":           "OPTIONS * HTTP/1.1\r\nHost: x" + auth,
		"TRACE":                    "TRACE " + path + " HTTP/1.1\r\nHost: x" + auth,
		"CONNECT":                  "CONNECT other.example:443 HTTP/1.1\r\nHost: other.example:443" + auth,
		"a method of one's own":    "GETTING " + path + " HTTP/1.1\r\nHost: x" + auth,
		"small letters":            "get " + path + " HTTP/1.1\r\nHost: x" + auth,
		"HTTP/2":                   "PRI * HTTP/2.0",
		"an upgrade":               "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
		"a web socket":             "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket",
		"a GET with a body":        "GET " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 8" + auth + "\r\n\r\nbody",
		"many ranges of nothing":   "GET " + path + " HTTP/1.1\r\nHost: x\r\nRange: bytes=" + strings.Repeat("0-0,", 2000) + "0-0",
		"a range of nothing":       "GET " + path + " HTTP/1.1\r\nHost: x\r\nRange: bytes=9-",
		"keep-alive":               "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: keep-alive",
		"another version, forged":  "GET " + path + " HTTP/1.1\r\nHost: x\r\nIf-Match: \"x\"",
		"an expectation":           "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue",
		"a spoofed address":        "GET " + path + " HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 127.0.0.1",
		"a foreign authentication": "GET " + path + " HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Bearer " + good.Token,
		"a cookie":                 "GET " + path + " HTTP/1.1\r\nHost: x\r\nCookie: token=" + good.Token,
	} {
		t.Run(name, func(t *testing.T) {
			if got := d.on(t).raw(request + "\r\n\r\n"); withoutDate(got) != withoutDate(want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
	t.Run("HEAD", func(t *testing.T) {
		got := d.on(t).raw("HEAD " + path + " HTTP/1.1\r\nHost: x\r\n\r\n")
		if withoutDate(got) != strings.TrimSuffix(withoutDate(want), refusal) {
			t.Errorf("got %q", got)
		}
	})
	t.Run("HTTP/1.0", func(t *testing.T) {
		got := d.on(t).raw("GET " + path + " HTTP/1.0\r\n\r\n")
		if withoutDate(got) != strings.Replace(withoutDate(want), "HTTP/1.1", "HTTP/1.0", 1) {
			t.Errorf("got %q", got)
		}
	})
	t.Run("an expired job", func(t *testing.T) {
		w.ahead.Add(int64(13 * time.Hour))
		if got := d.on(t).raw("GET " + path + " HTTP/1.1\r\nHost: x" + auth + "\r\n\r\n"); withoutDate(got) != withoutDate(want) {
			t.Errorf("got %q", got)
		}
	})
}

// What is no HTTP at all learns nothing either, and harms nobody.
func TestGarbageGetsNothing(t *testing.T) {
	w := newWorld(t)
	d := newDoor(t, w)
	_, ticket := w.ready("ann", "data")
	for _, garbage := range []string{
		"\x00\x01\x02\x03\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET / HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n",
	} {
		c := d.dial()
		_, _ = io.WriteString(c, garbage) // the door may have closed half-way
		b, _ := io.ReadAll(c)
		if status, _, _ := strings.Cut(string(b), "\r\n"); status != "" && !strings.HasPrefix(status, "HTTP/1.1 4") && !strings.HasPrefix(status, "HTTP/1.1 5") {
			t.Errorf("%q is answered %q", clip(garbage), b)
		}
		if strings.Contains(strings.ToLower(string(b)), "jumpget") {
			t.Errorf("%q is told who we are: %q", clip(garbage), b)
		}
	}
	if a := d.get(ticket); a.StatusCode != http.StatusOK || a.body != "data" {
		t.Errorf("afterwards: %s %q", a.Status, a.body)
	}
}

func TestTokenInHeaderOrLink(t *testing.T) {
	w := newWorld(t)
	d := newDoor(t, w)
	_, ticket := w.ready("ann", "data")
	path := wire.PublicPath(ticket.Job, "f")
	for name, request := range map[string]string{
		"header":               "GET " + path + " HTTP/1.1\r\nAuthorization: Bearer " + ticket.Token,
		"in small letters":     "GET " + path + " HTTP/1.1\r\nauthorization: bearer " + ticket.Token,
		"link":                 "GET " + path + "?token=" + ticket.Token + " HTTP/1.1",
		"link with more in it": "GET " + path + "?a=b&token=" + ticket.Token + "&c HTTP/1.1",
		"link behind a login":  "GET " + path + "?token=" + ticket.Token + " HTTP/1.1\r\nAuthorization: Basic eDp5",
		"any name":             "GET " + wire.PublicPath(ticket.Job, "a/b ü?.bin") + "?token=" + ticket.Token + " HTTP/1.1",
		"a full URL":           "GET https://x" + path + "?token=" + ticket.Token + " HTTP/1.1",
	} {
		t.Run(name, func(t *testing.T) {
			got := d.on(t).raw(request + "\r\nHost: x\r\nConnection: close\r\n\r\n")
			if !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") || !strings.HasSuffix(got, "\r\n\r\ndata") {
				t.Errorf("got %q", got)
			}
		})
	}
}

// A good token from a new address is told the address. Once that is allowed,
// the same connection serves.
func TestUnknownAddressIsToldAndThenServed(t *testing.T) {
	const elsewhere = "127.0.0.2"
	w := newWorld(t)
	d := newDoor(t, w)
	_, ticket := w.ready("ann", "data")
	c := d.dialFrom(elsewhere)
	r := bufio.NewReader(c)
	for range 2 {
		sendRequest(t, c, "GET", ticket)
		a := receive(t, r, "GET")
		if a.StatusCode != http.StatusNotFound || a.Header.Get(wire.HeaderAddress) != elsewhere || a.body != refusal || a.Close {
			t.Fatalf("%s, %v, %q, closing: %v", a.Status, a.Header, a.body, a.Close)
		}
	}
	check(t, w.relay.Allow(t.Context(), job.Grant{Owner: "ann", Job: ticket.Job, Addr: netip.MustParseAddr(elsewhere)}))
	sendRequest(t, c, "GET", ticket)
	if a := receive(t, r, "GET"); a.StatusCode != http.StatusOK || a.body != "data" {
		t.Errorf("once it is allowed: %s %q", a.Status, a.body)
	}
	// The address alone is nothing, also on a connection that was served before.
	ticket.Token = access.NewToken()
	sendRequest(t, c, "GET", ticket)
	if a := receive(t, r, "GET"); a.StatusCode != http.StatusNotFound || len(a.Header.Values(wire.HeaderAddress)) > 0 || !a.Close {
		t.Errorf("without the token: %s, %v, closing: %v", a.Status, a.Header, a.Close)
	}
}

// But for the address the answer is the same as any refusal.
func TestUnknownAddressDiffersByItsHeaderAlone(t *testing.T) {
	w := newWorld(t)
	d := newDoor(t, w)
	_, ticket := w.ready("ann", "data")
	c := d.dialFrom("127.0.0.2")
	sendRequest(t, c, "GET", ticket)
	sendRequest(t, c, "GET", job.Ticket{Job: ticket.Job, Token: "x"})
	b, err := io.ReadAll(c)
	check(t, err)
	first, second, found := strings.Cut(withoutDate(string(b)), refusal)
	if !found {
		t.Fatalf("got %q", b)
	}
	first = strings.Replace(first, wire.HeaderAddress+": 127.0.0.2\r\n", "", 1)
	if second = strings.Replace(second, "Connection: close\r\n", "", 1); first+refusal != second {
		t.Errorf("got  %q\nand  %q", first, second)
	}
}

func TestForwardedAddressCountsFromTrustedProxiesOnly(t *testing.T) {
	const client = "203.0.113.9"
	w := newWorld(t)
	_, ticket := w.ready("ann", "data")
	check(t, w.relay.Allow(t.Context(), job.Grant{Owner: "ann", Addr: netip.MustParseAddr(client)}))
	proxied := newDoor(t, w, func(c *PublicConfig) { c.Proxies = proxies("127.0.0.2/32") })
	ask := func(from, forwarded string) answer {
		c := proxied.dialFrom(from)
		sendRequest(t, c, "GET", ticket, "X-Forwarded-For", forwarded)
		return receive(t, bufio.NewReader(c), "GET")
	}
	for _, c := range []struct{ name, from, forwarded, told string }{
		{"a proxy's client", "127.0.0.2", client, ""},
		{"what the client said is not read", "127.0.0.2", client + ", 198.51.100.1", "198.51.100.1"},
		{"what the proxy saw is", "127.0.0.2", "198.51.100.1, " + client, ""},
		{"nobody trusts this one", "127.0.0.3", client, "127.0.0.3"},
		{"the proxy itself has no grant", "127.0.0.2", "nonsense", "127.0.0.2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := ask(c.from, c.forwarded)
			if got := a.Header.Get(wire.HeaderAddress); got != c.told || (a.StatusCode == http.StatusOK) != (c.told == "") {
				t.Errorf("%s, told %q, want %q", a.Status, got, c.told)
			}
		})
	}
}

func TestPlaintextIsForThoseWhoMay(t *testing.T) {
	w := newWorld(t)
	_, ticket := w.ready("ann", "data")
	request := fmt.Sprintf("GET %s?token=%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", wire.PublicPath(ticket.Job, "f"), ticket.Token)
	for name, c := range map[string]struct {
		from   string
		change func(*PublicConfig)
		served bool
	}{
		"nobody by default":        {"127.0.0.1", func(*PublicConfig) {}, false},
		"everybody":                {"127.0.0.1", func(c *PublicConfig) { c.Plain = true }, true},
		"a trusted proxy":          {"127.0.0.1", func(c *PublicConfig) { c.Proxies = proxies("127.0.0.1/32") }, true},
		"nobody else beside it":    {"127.0.0.2", func(c *PublicConfig) { c.Proxies = proxies("127.0.0.1/32") }, false},
		"everybody beside a proxy": {"127.0.0.1", func(c *PublicConfig) { c.Plain, c.Proxies = true, proxies("127.0.0.2/32") }, true},
	} {
		t.Run(name, func(t *testing.T) {
			conn := newDoor(t, w, c.change).plain(c.from)
			_, err := io.WriteString(conn, request)
			check(t, err)
			b, _ := io.ReadAll(conn) // a refused connection may be reset
			if got := strings.HasSuffix(string(b), "\r\n\r\ndata"); got != c.served || !c.served && len(b) > 0 {
				t.Errorf("got %q", b)
			}
		})
	}
}

// A door for plaintext still speaks TLS.
func TestPlaintextAndTLSOnOnePort(t *testing.T) {
	w := newWorld(t)
	d := newDoor(t, w, func(c *PublicConfig) { c.Plain = true })
	_, ticket := w.ready("ann", "data")
	if a := d.get(ticket); a.body != "data" {
		t.Errorf("TLS: %s %q", a.Status, a.body)
	}
	c := d.plain("127.0.0.1")
	sendRequest(t, c, "GET", ticket)
	if a := receive(t, bufio.NewReader(c), "GET"); a.body != "data" {
		t.Errorf("plaintext: %s %q", a.Status, a.body)
	}
}
