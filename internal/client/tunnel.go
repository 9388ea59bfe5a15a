package client

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jumpget/jumpget/internal/reach"
	"github.com/jumpget/jumpget/internal/sshdial"
)

// tunnel opens the connection to the relay's local API whenever there is none,
// and remembers why the last one ended: HTTP/2 would tell only that it did.
type tunnel struct {
	reach *reach.Opener
	life  context.Context // of the client; a tunnel outlives the request that opened it

	answered atomic.Bool // the current connection has answered a request
	once     atomic.Bool // some connection has

	mu    sync.Mutex
	conn  *tunnelConn // the latest
	cause error
}

// dial is an http.Transport's DialContext.
func (t *tunnel) dial(context.Context, string, string) (net.Conn, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.life.Err(); err != nil {
		return nil, context.Cause(t.life)
	}
	t.cause = nil
	t.answered.Store(false)
	conn, err := t.reach.Open(t.life)
	if err != nil {
		t.cause = err
		return nil, err
	}
	t.conn = &tunnelConn{Conn: conn, tunnel: t}
	t.conn.touch()
	return t.conn, nil
}

// ended keeps the first reason why a connection ended.
func (t *tunnel) ended(c *tunnelConn, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conn != c {
		return
	}
	t.answered.Store(false)
	var known *sshdial.Error
	if t.cause == nil && (errors.As(err, &known) || !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed)) {
		t.cause = err
	}
}

// reason returns ssh's own words for the end of the tunnel, or else err.
func (t *tunnel) reason(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var known *sshdial.Error
	if t.cause != nil && !errors.As(err, &known) {
		return t.cause
	}
	return err
}

// works records that the relay has answered.
func (t *tunnel) works() {
	t.answered.Store(true)
	t.once.Store(true)
	t.reach.Works()
}

// way tells which way the current connection goes; "" if there is none, or no way
// has answered yet.
func (t *tunnel) way() reach.Way {
	t.mu.Lock()
	c := t.conn
	t.mu.Unlock()
	if c == nil {
		return ""
	}
	return reach.WayOf(c.Conn)
}

// inSession tells whether the current connection is a session's stream.
func (t *tunnel) inSession() bool {
	w := t.way()
	return w == reach.UDP || w == reach.TLS
}

// abandon closes the connection if nothing has come over it since then: a
// laptop that changed networks has a tunnel that is dead without knowing it.
func (t *tunnel) abandon(since time.Time) {
	t.mu.Lock()
	c := t.conn
	t.mu.Unlock()
	if c != nil && c.heard().Before(since) {
		_ = c.Close() // it is of no use, however it closes
	}
}

// close closes the current connection.
func (t *tunnel) close() error {
	t.mu.Lock()
	c := t.conn
	t.conn = nil
	t.mu.Unlock()
	if c == nil {
		return nil
	}
	return c.Conn.Close()
}

type tunnelConn struct {
	net.Conn
	tunnel *tunnel
	last   atomic.Int64 // when something came, Unix nanoseconds
}

func (c *tunnelConn) touch() { c.last.Store(time.Now().UnixNano()) }

func (c *tunnelConn) heard() time.Time { return time.Unix(0, c.last.Load()) }

func (c *tunnelConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.touch()
	}
	if err != nil {
		c.tunnel.ended(c, err)
	}
	return n, err
}

func (c *tunnelConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil {
		c.tunnel.ended(c, err)
	}
	return n, err
}

func (c *tunnelConn) Close() error {
	c.tunnel.ended(c, net.ErrClosed)
	return c.Conn.Close()
}
