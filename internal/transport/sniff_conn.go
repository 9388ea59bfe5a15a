package transport

import (
	"crypto/tls"
	"net"
	"sync"
	"time"
)

const (
	// gatherRoom holds the records of one large write: 16 of 16 KiB and what
	// TLS adds to each.
	gatherRoom = 256<<10 + 16*64
	// writePiece is how much has to be taken within the stall time: so much
	// that system calls don't count, so little that a link of 1 KB/s is no stall.
	writePiece = 64 << 10
)

// gatherPool lends the buffers of tlsConn: they are needed only while a
// write is under way.
var gatherPool = sync.Pool{New: func() any { b := make([]byte, 0, gatherRoom); return &b }}

// sniffed is a connection whose first byte has been looked at. It gives that
// byte back, it has a rolling deadline for writes, and it can gather small
// writes into large ones.
type sniffed struct {
	net.Conn
	first [1]byte
	has   bool // read by one goroutine only
	stall time.Duration

	mu       sync.Mutex
	deadline time.Time // as set by the user of the connection
	held     *[]byte   // gathered writes; nil: written at once
}

func (c *sniffed) Read(b []byte) (int, error) {
	if c.has && len(b) > 0 {
		b[0], c.has = c.first[0], false
		return 1, nil
	}
	return c.Conn.Read(b)
}

// Write writes piece by piece, each with a deadline of its own.
func (c *sniffed) Write(b []byte) (int, error) {
	c.mu.Lock()
	if c.held != nil {
		*c.held = append(*c.held, b...)
		c.mu.Unlock()
		return len(b), nil
	}
	c.mu.Unlock()
	return c.writePieces(b)
}

func (c *sniffed) writePieces(b []byte) (n int, err error) {
	for n < len(b) {
		if err := c.roll(); err != nil {
			return n, err
		}
		m, err := c.Conn.Write(b[n:min(len(b), n+writePiece)])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// roll sets the next piece's deadline, which is never beyond the user's own.
func (c *sniffed) roll() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := time.Now().Add(c.stall)
	if !c.deadline.IsZero() && c.deadline.Before(at) {
		at = c.deadline
	}
	return c.Conn.SetWriteDeadline(at)
}

func (c *sniffed) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	return c.Conn.SetWriteDeadline(t)
}

func (c *sniffed) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// hold gathers what is written from now on.
func (c *sniffed) hold() {
	buf := gatherPool.Get().(*[]byte)
	c.mu.Lock()
	c.held = buf
	c.mu.Unlock()
}

// flush writes what was gathered.
func (c *sniffed) flush() error {
	c.mu.Lock()
	buf := c.held
	c.held = nil
	c.mu.Unlock()
	_, err := c.writePieces(*buf)
	*buf = (*buf)[:0]
	gatherPool.Put(buf)
	return err
}

// NetConn returns the connection beneath.
func (c *sniffed) NetConn() net.Conn { return c.Conn }

// tlsConn writes the records of one Write with few system calls; crypto/tls
// takes one for each record of 16 KiB.
type tlsConn struct {
	*tls.Conn
	out *sniffed
}

func (c *tlsConn) Write(b []byte) (int, error) {
	if len(b) <= 16<<10 {
		return c.Conn.Write(b)
	}
	c.out.hold()
	n, err := c.Conn.Write(b)
	if ferr := c.out.flush(); err == nil && ferr != nil {
		return 0, ferr
	}
	return n, err
}
