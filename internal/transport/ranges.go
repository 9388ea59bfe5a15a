package transport

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/jumpget/jumpget/internal/span"
)

// Get is one request for bytes of an object.
type Get struct {
	Host  string // of the Host header, with the port if it is not the scheme's own
	Path  string // escaped, with the proxy's prefix
	Token string // the job's; sent as bearer
	ETag  string // of the object, quotes included; empty: none is asked for
	Span  span.Span
}

// Sink takes the bytes of an answer in order, as they come. The slice is only
// valid during the call. It returns the end of what is still wanted of this
// answer: at or before off+len(p) stops the reader. An error ends the
// connection and is returned by Receive.
type Sink func(off int64, p []byte) (wantEnd int64, err error)

// RangeOptions tune a RangeConn.
type RangeOptions struct {
	// Stall is how long the other side may be silent. 0: 30 s.
	Stall time.Duration

	// Waiting tells, when Stall is over, whether the other side may have nothing
	// to send yet; silence is then no fault. nil: it always has.
	Waiting func() bool

	// Buffer is what bytes are read into, and so the largest piece a Sink gets.
	// nil: 128 KiB of its own.
	Buffer []byte

	// UserAgent is sent with each request. Empty: none.
	UserAgent string
}

const (
	defaultStall  = 30 * time.Second
	defaultBuffer = 128 << 10
	minBuffer     = 16 << 10

	// drainLimit is what is read and dropped to keep a connection whose range
	// was cut short; beyond it a new connection is cheaper.
	drainLimit = 64 << 10

	// requestTimeout bounds the writing of a request of a few hundred bytes.
	requestTimeout = 30 * time.Second
)

// RangeConn asks for ranges over one HTTP/1.1 connection and reads the answers
// in order. Requests are pipelined: send the next before the last answer is
// done and the connection never idles for a round trip. All methods but Close
// and Inspect are for one goroutine.
//
// A connection is used up by any error but *NotGrantedError; see Alive.
type RangeConn struct {
	conn  net.Conn
	opts  RangeOptions
	buf   []byte
	r, w  int // buf[r:w] has been read and not used yet
	queue []Get
	req   []byte // the next request, kept for its memory
	armed time.Time
	dead  bool
}

// NewRangeConn takes over a connection that Dialer.Dial made.
func NewRangeConn(conn net.Conn, opts RangeOptions) *RangeConn {
	if opts.Stall <= 0 {
		opts.Stall = defaultStall
	}
	if len(opts.Buffer) < minBuffer {
		opts.Buffer = make([]byte, defaultBuffer)
	}
	return &RangeConn{conn: conn, opts: opts, buf: opts.Buffer}
}

// Close closes the connection. It may be called at any time, also to stop a
// Receive that waits.
func (c *RangeConn) Close() error { return c.conn.Close() }

// Inspect asks the kernel about the connection. It may be called at any time.
func (c *RangeConn) Inspect() Socket { return Inspect(c.conn) }

// Alive reports whether the connection can be used further.
func (c *RangeConn) Alive() bool { return !c.dead }

// Pending returns the number of requests whose answers have not been received.
func (c *RangeConn) Pending() int { return len(c.queue) }

// Request sends a request. Its answer is read by a later Receive.
func (c *RangeConn) Request(g Get) error {
	if c.dead {
		return net.ErrClosed
	}
	if g.Span.Start < 0 || g.Span.Len() == 0 {
		return fmt.Errorf("transport: asked for the empty range %d-%d", g.Span.Start, g.Span.End)
	}
	c.req = appendRequest(c.req[:0], g, c.opts.UserAgent)
	err := c.conn.SetWriteDeadline(time.Now().Add(requestTimeout))
	if err == nil {
		_, err = c.conn.Write(c.req)
	}
	if err != nil {
		c.dead = true
		return fmt.Errorf("send a request: %w", err)
	}
	c.queue = append(c.queue, g)
	return nil
}

func appendRequest(b []byte, g Get, agent string) []byte {
	b = append(b, "GET "+g.Path+" HTTP/1.1\r\nHost: "+g.Host+"\r\nAuthorization: Bearer "+g.Token+"\r\nRange: bytes="...)
	b = strconv.AppendInt(b, g.Span.Start, 10)
	b = append(b, '-')
	b = strconv.AppendInt(b, g.Span.End-1, 10)
	if g.ETag != "" {
		b = append(b, "\r\nIf-Match: "+g.ETag...)
	}
	if agent != "" {
		b = append(b, "\r\nUser-Agent: "+agent...)
	}
	return append(b, "\r\nAccept-Encoding: identity\r\n\r\n"...)
}

// Receive reads the answer to the oldest request that has none yet. It returns
// what the answer covers: what was asked for, or the first part of it, with the
// object's size if it was told. The sink has got the bytes of that span, up to
// where it stopped or an error struck.
func (c *RangeConn) Receive(sink Sink) (Answer, error) {
	if c.dead || len(c.queue) == 0 {
		return Answer{}, net.ErrClosed
	}
	g := c.queue[0]
	c.queue = c.queue[1:]
	h, err := c.head()
	if err != nil {
		return Answer{}, c.fail(err)
	}
	a, err := h.check(g)
	if err != nil {
		if !isNotGranted(err) || c.drain(h.length) != nil || h.close {
			c.dead = true
		}
		return a, err
	}
	err = c.body(a.Span, sink)
	if h.close {
		c.dead = true
	}
	return a, err
}

// head reads a header, skipping interim answers.
func (c *RangeConn) head() (head, error) {
	for {
		h, n, err := parseHead(c.buf[c.r:c.w])
		if err != nil {
			return h, err
		}
		c.r += n
		if n > 0 && h.status >= 200 {
			return h, nil
		}
		if n > 0 {
			continue
		}
		if c.w-c.r >= maxHead {
			return h, &ProtocolError{"its header is longer than any of ours"}
		}
		if err := c.fill(); err != nil {
			return h, err
		}
	}
}

// body passes the bytes of sp on. Pieces are as large as the buffer while bytes
// come faster than they are used, and small when the link is slow, so that
// nothing that is here waits for what is not.
func (c *RangeConn) body(sp span.Span, sink Sink) error {
	at := sp.Start
	for at < sp.End {
		ready := int64(c.w - c.r)
		full := c.w == len(c.buf) || ready >= sp.End-at
		if ready == 0 || !full && pending(c.conn) > 0 {
			err := c.fill()
			if err == nil {
				continue
			}
			if ready == 0 {
				return c.fail(err)
			}
			// Bytes are here: the error will come again.
		}
		n := min(int64(c.w-c.r), sp.End-at)
		want, err := sink(at, c.buf[c.r:c.r+int(n)])
		c.r += int(n)
		at += n
		if err != nil {
			c.dead = true
			return err
		}
		if want <= at && at < sp.End {
			return c.cut(sp.End - at)
		}
	}
	return nil
}

// cut ends an answer of which left bytes are not wanted any more.
func (c *RangeConn) cut(left int64) error {
	if c.drain(left) != nil {
		c.dead = true
	}
	return nil
}

var errTooMuch = errors.New("more to drain than a new connection costs")

// drain drops the next n bytes if that is cheaper than a new connection.
func (c *RangeConn) drain(n int64) error {
	if n < 0 || n > drainLimit+int64(c.w-c.r) {
		return errTooMuch
	}
	for n > 0 {
		if c.r == c.w {
			if err := c.fill(); err != nil {
				return err
			}
		}
		k := min(n, int64(c.w-c.r))
		c.r += int(k)
		n -= k
	}
	return nil
}

// fill reads at least one byte into the buffer, waiting for it as long as Stall
// and Waiting allow.
func (c *RangeConn) fill() error {
	if c.r > 0 && (c.r == c.w || c.w == len(c.buf)) {
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	for {
		if err := c.arm(); err != nil {
			return err
		}
		n, err := c.conn.Read(c.buf[c.w:])
		c.w += n
		switch {
		case n > 0:
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			c.armed = time.Time{}
			if c.opts.Waiting == nil || !c.opts.Waiting() {
				return &StallError{After: c.opts.Stall}
			}
		case err != nil:
			return err
		}
	}
}

// arm moves the read deadline, but not for each read: an eighth of Stall more
// or less does no harm, and fast connections read often.
func (c *RangeConn) arm() error {
	now := time.Now()
	if now.Sub(c.armed) < c.opts.Stall/8 {
		return nil
	}
	c.armed = now
	return c.conn.SetReadDeadline(now.Add(c.opts.Stall))
}

// fail marks the connection as used up and makes its end an error, since every
// answer was owed.
func (c *RangeConn) fail(err error) error {
	c.dead = true
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
