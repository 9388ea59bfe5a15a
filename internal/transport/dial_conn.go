package transport

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"time"
)

// socketRead is how much one read takes from a socket beneath TLS, whose own
// reads are of one record at most.
const socketRead = 128 << 10

// bufferedConn reads from its socket in large pieces. It also knows whether
// more bytes are here, so a reader above can tell whether it is about to wait.
type bufferedConn struct {
	net.Conn
	buf  []byte
	r, w int
}

func (c *bufferedConn) Read(p []byte) (int, error) {
	if c.r == c.w {
		n, err := c.Conn.Read(c.buf)
		if n == 0 {
			return 0, err
		}
		c.r, c.w = 0, n // an error that came with bytes will come again
	}
	n := copy(p, c.buf[c.r:c.w])
	c.r += n
	return n, nil
}

// buffered returns how many bytes can be read without waiting.
func (c *bufferedConn) buffered() int { return c.w - c.r }

// NetConn returns the connection beneath.
func (c *bufferedConn) NetConn() net.Conn { return c.Conn }

// pending returns how many bytes of conn are known to be here already, not yet
// decrypted; 0 if that can't be told.
func pending(conn net.Conn) int {
	if t, ok := conn.(*tls.Conn); ok {
		if b, ok := t.NetConn().(*bufferedConn); ok {
			return b.buffered()
		}
	}
	return 0
}

// Socket is what the kernel knows of a connection.
type Socket struct {
	RTT        time.Duration // 0: not known
	Now        time.Duration // the round trip as of late, with the queue on its way; 0: not known
	Segments   int64         // received with data; 0: not known
	Disordered int64         // of these, out of order, which is what loss looks like from here
}

// Inspect asks the kernel about a connection that Dial made. Where it does not
// tell, the fields say so.
func Inspect(conn net.Conn) Socket {
	for {
		inner, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		conn = inner.NetConn()
	}
	if sc, ok := conn.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			return inspect(raw)
		}
	}
	return Socket{}
}

// broken reports whether err is the other side or the network ending a
// connection.
func broken(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.As(err, new(syscall.Errno))
}
