package httpd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/transport"
	"github.com/jumpget/jumpget/internal/wire"
)

// door is a public door on loopback.
type door struct {
	t    testing.TB
	pub  *Public
	addr string
}

// on lets a subtest fail for itself.
func (d *door) on(t testing.TB) *door { return &door{t: t, pub: d.pub, addr: d.addr} }

// certificate is made once: the tests need many doors, but no more than one key.
var certificate = sync.OnceValues(func() (tls.Certificate, error) {
	dir, err := os.MkdirTemp("", "jumpget-door-")
	if err != nil {
		return tls.Certificate{}, err
	}
	cert, _, err := transport.LoadOrCreateCert(dir)
	return cert, errors.Join(err, os.RemoveAll(dir))
})

func newDoor(t testing.TB, w *world, change ...func(*PublicConfig)) *door {
	t.Helper()
	l, err := transport.Listen(t.Context(), "127.0.0.1:0", transport.Options{})
	check(t, err)
	d := serveDoor(t, w, l, change...)
	d.addr = l.Addr().String()
	return d
}

// serveDoor opens the door on any listener.
func serveDoor(t testing.TB, w *world, l net.Listener, change ...func(*PublicConfig)) *door {
	t.Helper()
	cert, err := certificate()
	check(t, err)
	cfg := PublicConfig{Bodies: w.relay, TLS: transport.ServerTLS(cert)}
	for _, c := range change {
		c(&cfg)
	}
	pub := NewPublic(cfg)
	ended := make(chan error, 1)
	go func() { ended <- pub.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // what is still under way at the end of a test is to be cut
		_ = pub.Shutdown(ctx)
		check(t, <-ended)
	})
	return &door{t: t, pub: pub}
}

// conns is how many connections the door counts.
func (d *door) conns() int {
	d.pub.conns.mu.Lock()
	defer d.pub.conns.mu.Unlock()
	return d.pub.conns.total
}

// dial makes a TLS connection whose every step has to be done within seconds.
func (d *door) dial() net.Conn {
	d.t.Helper()
	return d.dialFrom("127.0.0.1")
}

func (d *door) dialFrom(local string) net.Conn {
	d.t.Helper()
	return tls.Client(d.plain(local), &tls.Config{InsecureSkipVerify: true})
}

func (d *door) plain(local string) net.Conn {
	d.t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}
	c, err := dialer.Dial("tcp", d.addr)
	if err != nil && local != "127.0.0.1" && runtime.GOOS != "linux" {
		d.t.Skip("this system has one loopback address only: ", err)
	}
	check(d.t, err)
	d.t.Cleanup(func() { _ = c.Close() })
	check(d.t, c.SetDeadline(time.Now().Add(10*time.Second)))
	return c
}

// raw sends bytes over a new connection and returns all that comes until it ends.
func (d *door) raw(request string) string {
	d.t.Helper()
	c := d.dial()
	_, err := io.WriteString(c, request)
	check(d.t, err)
	b, err := io.ReadAll(c)
	if err != nil {
		d.t.Fatalf("%q: after %q: %v", clip(request), b, err)
	}
	return string(b)
}

func clip(s string) string { return s[:min(len(s), 100)] }

// answer is a response with its body, and how the body ended.
type answer struct {
	*http.Response
	body string
	err  error
}

// get asks for a job's file with its token; header is of names and values.
func (d *door) get(t job.Ticket, header ...string) answer {
	d.t.Helper()
	return d.ask(http.MethodGet, t, header...)
}

func (d *door) ask(method string, t job.Ticket, header ...string) answer {
	d.t.Helper()
	c := d.dial()
	sendRequest(d.t, c, method, t, header...)
	return receive(d.t, bufio.NewReader(c), method)
}

func sendRequest(t testing.TB, c io.Writer, method string, ticket job.Ticket, header ...string) {
	t.Helper()
	var b bytes.Buffer
	b.WriteString(method + " " + wire.PublicPath(ticket.Job, "f") + " HTTP/1.1\r\nHost: relay\r\nAuthorization: Bearer " + ticket.Token + "\r\n")
	for i := 0; i < len(header); i += 2 {
		b.WriteString(header[i] + ": " + header[i+1] + "\r\n")
	}
	b.WriteString("\r\n")
	_, err := c.Write(b.Bytes())
	check(t, err)
}

// receive reads an answer whole. That its body ends badly is for the caller to judge.
func receive(t testing.TB, r *bufio.Reader, method string) answer {
	t.Helper()
	resp := head(t, r, method)
	body, err := io.ReadAll(resp.Body)
	return answer{resp, string(body), err}
}

func head(t testing.TB, r *bufio.Reader, method string) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	check(t, err)
	return resp
}

// read takes exactly n bytes.
func read(t testing.TB, r io.Reader, n int) string {
	t.Helper()
	b := make([]byte, n)
	if m, err := io.ReadFull(r, b); err != nil {
		t.Fatalf("%q, then %v", b[:m], err)
	}
	return string(b)
}

// withoutDate drops the one header that may differ between two equal answers.
func withoutDate(answer string) string {
	var lines []string
	for line := range strings.SplitSeq(answer, "\r\n") {
		if !strings.HasPrefix(line, "Date: ") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\r\n")
}

// pipes is a listener of connections in memory, for tests in virtual time.
type pipes struct {
	*queue
	remote netip.AddrPort
}

func newPipes(remote string) *pipes {
	return &pipes{queue: newQueue(), remote: netip.MustParseAddrPort(remote)}
}

func (p *pipes) dial(t testing.TB) net.Conn {
	t.Helper()
	mine, theirs := net.Pipe()
	if !p.put(addressed{theirs, p.remote}) {
		t.Fatal("the listener is closed")
	}
	t.Cleanup(func() { _ = mine.Close() })
	return mine
}

// addressed is a connection that says it comes from somewhere.
type addressed struct {
	net.Conn
	remote netip.AddrPort
}

func (a addressed) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(a.remote) }
func (a addressed) LocalAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:3100"))
}
