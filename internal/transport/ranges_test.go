package transport

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/span"
)

// scripted answers the n-th request on a connection with answers[n], as it
// stands, and then closes. It checks what every request must have.
func scripted(t *testing.T, opts RangeOptions, answers ...string) *RangeConn {
	t.Helper()
	client, server := net.Pipe()
	done := make(chan struct{})
	requests := make(chan *http.Request, len(answers)+1)
	go func() { // requests are taken at once, as a socket's buffer would
		defer close(requests)
		br := bufio.NewReader(server)
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			requests <- req
		}
	}()
	go func() {
		defer close(done)
		defer server.Close()
		for _, a := range answers {
			req, ok := <-requests
			if !ok {
				return
			}
			if req.Header.Get("Authorization") != "Bearer tok" || req.Header.Get("If-Match") != `"obj"` || req.Header.Get("Range") == "" {
				t.Errorf("the request has the header %v", req.Header)
			}
			if _, err := io.WriteString(server, a); err != nil {
				return
			}
		}
	}()
	c := NewRangeConn(client, opts)
	t.Cleanup(func() { _ = c.Close(); <-done })
	return c
}

func get(a, b int64) Get {
	return Get{Host: "relay:3100", Path: "/d/job/name", Token: "tok", ETag: `"obj"`, Span: span.Span{Start: a, End: b}}
}

func answer206(a, b, size int64, body string) string {
	return fmt.Sprintf("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %d-%d/%d\r\nContent-Length: %d\r\nETag: \"obj\"\r\n\r\n%s", a, b-1, size, b-a, body)
}

// collect returns a sink that wants everything and what it got.
func collect(t *testing.T, start int64) (Sink, *bytes.Buffer) {
	var buf bytes.Buffer
	return func(off int64, p []byte) (int64, error) {
		if off != start+int64(buf.Len()) {
			t.Errorf("bytes at %d, want them at %d", off, start+int64(buf.Len()))
		}
		buf.Write(p)
		return 1 << 60, nil
	}, &buf
}

func TestPipelinedAnswersComeInOrder(t *testing.T) {
	big := strings.Repeat("x", 100_000)
	c := scripted(t, RangeOptions{Buffer: make([]byte, minBuffer)},
		"HTTP/1.1 100 Continue\r\n\r\n"+answer206(0, 3, 100_008, "abc"), answer206(3, 100_003, 100_008, big), answer206(100_003, 100_008, 100_008, "defgh"))
	for _, g := range []Get{get(0, 3), get(3, 100_003), get(100_003, 100_008)} {
		if err := c.Request(g); err != nil {
			t.Fatal(err)
		}
	}
	if c.Pending() != 3 {
		t.Fatalf("%d pending", c.Pending())
	}
	for i, want := range []string{"abc", big, "defgh"} {
		start := []int64{0, 3, 100_003}[i]
		sink, got := collect(t, start)
		a, err := c.Receive(sink)
		if err != nil || got.String() != want || a.Size != 100_008 || a.Span.Start != start {
			t.Fatalf("answer %d: %v, %v, %d bytes", i, a, err, got.Len())
		}
	}
	if !c.Alive() || c.Pending() != 0 {
		t.Fatal("the connection should be good for more")
	}
}

func TestAnswersThatAreNotWhatWasAsked(t *testing.T) {
	is := func(target any) func(error) bool { return func(err error) bool { return errors.As(err, target) } }
	rangeErr, protoErr := new(*RangeError), new(*ProtocolError)
	tests := []struct {
		name   string
		answer string
		want   func(error) bool
		alive  bool
	}{
		{"a range further on", answer206(5, 15, 100, "0123456789"), is(rangeErr), false},
		{"a longer range", answer206(0, 11, 100, "0123456789a"), is(rangeErr), false},
		{"a range and another length", "HTTP/1.1 206 P\r\nContent-Range: bytes 0-9/100\r\nContent-Length: 5\r\n\r\n01234", is(rangeErr), false},
		{"a 206 without a range", "HTTP/1.1 206 P\r\nContent-Length: 10\r\n\r\n0123456789", is(rangeErr), false},
		{"an end beyond the size", answer206(0, 10, 5, "0123456789"), is(rangeErr), false},
		{"a 200 that is longer", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", is(rangeErr), false},
		{"a chunked answer", "HTTP/1.1 206 P\r\nContent-Range: bytes 0-9/100\r\nTransfer-Encoding: chunked\r\n\r\n", is(protoErr), false},
		{"two lengths", "HTTP/1.1 206 P\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", is(protoErr), false},
		{"no HTTP", "SSH-2.0-OpenSSH_9.9\r\n", is(protoErr), false},
		{"an endless header", "HTTP/1.1 206 P\r\nA: " + strings.Repeat("a", 2*maxHead), is(protoErr), false},
		{"another version's bytes", strings.Replace(answer206(0, 10, 100, "0123456789"), `"obj"`, `"new"`, 1), is(new(*ChangedError)), false},
		{"412", "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n", is(new(*ChangedError)), false},
		{"416", "HTTP/1.1 416 R\r\nContent-Range: bytes */7\r\nContent-Length: 0\r\n\r\n", is(new(*BeyondEndError)), false},
		{"404", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", is(new(*RefusedError)), false},
		{"404 with a garbled address", "HTTP/1.1 404 Not Found\r\nJumpget-Address: nonsense\r\nContent-Length: 0\r\n\r\n", is(new(*RefusedError)), false},
		{"404 with our address", "HTTP/1.1 404 Not Found\r\nJumpget-Address: ::ffff:192.0.2.7\r\nContent-Length: 4\r\n\r\nnope", func(err error) bool {
			e, ok := errors.AsType[*NotGrantedError](err)
			return ok && e.Addr.String() == "192.0.2.7"
		}, true},
		{"503", "HTTP/1.1 503 S\r\nContent-Length: 0\r\n\r\n", is(new(*StatusError)), false},
		{"an end in the header", "HTTP/1.1 206 Par", func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }, false},
		{"no answer", "", func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := scripted(t, RangeOptions{}, tt.answer)
			if err := c.Request(get(0, 10)); err != nil {
				t.Fatal(err)
			}
			_, err := c.Receive(func(int64, []byte) (int64, error) {
				t.Error("bytes of a bad answer were passed on")
				return 0, nil
			})
			if !tt.want(err) {
				t.Errorf("got %v", err)
			}
			if c.Alive() != tt.alive {
				t.Errorf("alive is %v", c.Alive())
			}
		})
	}
}

func TestAcceptedAnswers(t *testing.T) {
	for name, answer := range map[string]string{
		"the first part":            answer206(0, 7, 7, "0123456"),
		"of unknown size":           "HTTP/1.1 206 P\r\nContent-Range: bytes 0-9/*\r\n\r\n0123456789",
		"the whole in answer to it": "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789",
	} {
		t.Run(name, func(t *testing.T) {
			c := scripted(t, RangeOptions{}, answer)
			if err := c.Request(get(0, 10)); err != nil {
				t.Fatal(err)
			}
			sink, got := collect(t, 0)
			a, err := c.Receive(sink)
			if err != nil || int64(got.Len()) != a.Span.Len() || !strings.HasPrefix("0123456789", got.String()) {
				t.Fatalf("%v, %v, %q", a, err, got)
			}
		})
	}
}

func TestBytesBeforeABreakAreKept(t *testing.T) {
	c := scripted(t, RangeOptions{}, answer206(0, 10, 100, "0123"))
	if err := c.Request(get(0, 10)); err != nil {
		t.Fatal(err)
	}
	sink, got := collect(t, 0)
	_, err := c.Receive(sink)
	if !errors.Is(err, io.ErrUnexpectedEOF) || got.String() != "0123" || c.Alive() {
		t.Fatalf("%v, %q", err, got)
	}
	if _, err := c.Receive(sink); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("a dead connection answered: %v", err)
	}
}

func TestARangeCutShort(t *testing.T) {
	stop := func(off int64, p []byte) (int64, error) { return off, nil }
	small, big := strings.Repeat("s", 20_000), strings.Repeat("b", drainLimit*4)

	c := scripted(t, RangeOptions{}, answer206(0, 20_000, 1<<30, small), answer206(20_000, 20_003, 1<<30, "end"))
	for _, g := range []Get{get(0, 20_000), get(20_000, 20_003)} {
		if err := c.Request(g); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Receive(stop); err != nil || !c.Alive() {
		t.Fatalf("a short rest is drained: %v", err)
	}
	sink, got := collect(t, 20_000)
	if _, err := c.Receive(sink); err != nil || got.String() != "end" {
		t.Fatalf("the next answer: %v, %q", err, got)
	}

	c = scripted(t, RangeOptions{Buffer: make([]byte, minBuffer)}, answer206(0, int64(len(big)), 1<<30, big))
	if err := c.Request(get(0, int64(len(big)))); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Receive(stop); err != nil || c.Alive() {
		t.Fatalf("a long rest costs the connection: %v", err)
	}
}

func TestASinkThatFailsEndsTheConnection(t *testing.T) {
	full := errors.New("disk full")
	c := scripted(t, RangeOptions{}, answer206(0, 3, 9, "abc"))
	if err := c.Request(get(0, 3)); err != nil {
		t.Fatal(err)
	}
	_, err := c.Receive(func(int64, []byte) (int64, error) { return 0, full })
	if !errors.Is(err, full) || c.Alive() {
		t.Fatalf("got %v", err)
	}
}

func TestAStallIsOneOnlyWhenSomethingIsOwed(t *testing.T) {
	client, server := net.Pipe()
	defer server.Close()
	waited := 0
	c := NewRangeConn(client, RangeOptions{Stall: 20 * time.Millisecond, Waiting: func() bool {
		waited++
		return waited < 3 // at first the relay itself still waits for the origin
	}})
	defer c.Close()
	go func() { _, _ = io.Copy(io.Discard, server) }()
	if err := c.Request(get(0, 3)); err != nil {
		t.Fatal(err)
	}
	_, err := c.Receive(func(int64, []byte) (int64, error) { return 0, nil })
	if _, ok := errors.AsType[*StallError](err); !ok || waited != 3 {
		t.Fatalf("got %v after %d waits", err, waited)
	}
}

func TestRequestIsReadableHTTP(t *testing.T) {
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(appendRequest(nil, get(5, 8), "jumpget/1"))))
	if err != nil {
		t.Fatal(err)
	}
	if req.URL.Path != "/d/job/name" || req.Host != "relay:3100" || req.Header.Get("Range") != "bytes=5-7" || req.UserAgent() != "jumpget/1" {
		t.Fatalf("%v %v", req.URL, req.Header)
	}
}

// FuzzParseHead holds the parser to net/http's: what ours accepts, net/http must
// read in the same way.
func FuzzParseHead(f *testing.F) {
	f.Add([]byte(answer206(0, 10, 100, "0123456789")))
	f.Add([]byte("HTTP/1.1 404 Not Found\r\nJumpget-Address: 2001:db8::1\r\nContent-Length: 0\r\n\r\n"))
	f.Add([]byte("HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 206 \r\nContent-Range:bytes 0-0/*\r\n\r\n"))
	f.Add([]byte("HTTP/1.0 206 \nContent-Range:000\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := parseHead(b)
		if err != nil || n == 0 {
			return
		}
		if n > len(b) || h.status < 100 || h.status > 999 || h.length < -1 {
			t.Fatalf("%+v, %d of %d bytes", h, n, len(b))
		}
		if a, err := h.check(get(3, 9)); err == nil && (a.Span.Start != 3 || a.Span.End > 9 || a.Span.Len() == 0) {
			t.Fatalf("accepted %+v for 3-8", a)
		}
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil)
		if err != nil {
			return // net/http refuses more, such as odd names
		}
		_ = resp.Body.Close()
		if resp.StatusCode != h.status {
			t.Fatalf("status %d, net/http says %d", h.status, resp.StatusCode)
		}
		if cr := resp.Header.Get("Content-Range"); len(resp.Header["Content-Range"]) == 1 && cr != h.contentRange {
			t.Fatalf("range %q, net/http says %q", h.contentRange, cr)
		}
	})
}

func FuzzContentRange(f *testing.F) {
	f.Add("bytes 0-9/100")
	f.Add("bytes 5-5/*")
	f.Add("bytes 9223372036854775807-9223372036854775807/*")
	f.Fuzz(func(t *testing.T, s string) {
		sp, size, ok := parseContentRange(s)
		if ok && (sp.Start < 0 || sp.Len() <= 0 || size != -1 && size < sp.End) {
			t.Fatalf("%q is %v of %d", s, sp, size)
		}
	})
}
