package sshend

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// channelConn is an SSH channel as a net.Conn.
//
// A channel knows no deadlines. Reading ones work as they should: one goroutine
// reads ahead, at most one buffer, and Read waits for it only as long as it may.
// (What a client sends are requests; what it reads goes out without that detour.)
// A Write can't be taken back half-way, so a deadline that passes in the middle
// of one ends the client's whole connection.
type channelConn struct {
	ch     ssh.Channel
	conn   ssh.Conn
	finish func() // ends the channel for the client
	once   sync.Once

	mu      sync.Mutex
	changed *sync.Cond
	ahead   []byte // read and not yet handed out
	readErr error  // what ended the reading ahead
	closed  bool
	writing int
	expired bool // a writing deadline has passed in the middle of a Write
	readBy  deadline
	writeBy deadline
}

var _ net.Conn = (*channelConn)(nil)

func newChannelConn(ch ssh.Channel, conn ssh.Conn, finish func()) *channelConn {
	c := &channelConn{ch: ch, conn: conn, finish: finish}
	c.changed = sync.NewCond(&c.mu)
	go c.readAhead()
	return c
}

// readAhead ends with the channel, at the latest with the connection.
func (c *channelConn) readAhead() {
	buf := make([]byte, 32<<10)
	for {
		n, err := c.ch.Read(buf)
		c.mu.Lock()
		c.ahead, c.readErr = buf[:n], err
		c.changed.Broadcast()
		for len(c.ahead) > 0 && !c.closed {
			c.changed.Wait()
		}
		done := c.closed || err != nil
		c.mu.Unlock()
		if done {
			return
		}
	}
}

func (c *channelConn) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case c.readBy.passed():
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		case len(c.ahead) > 0:
			n := copy(b, c.ahead)
			c.ahead = c.ahead[n:]
			c.changed.Broadcast()
			return n, nil
		case c.readErr != nil:
			return 0, c.readErr
		}
		c.changed.Wait()
	}
}

func (c *channelConn) Write(b []byte) (int, error) {
	if err := c.startWrite(); err != nil {
		return 0, err
	}
	n, err := c.ch.Write(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writing--
	switch {
	case err == nil:
	case c.expired:
		err = os.ErrDeadlineExceeded
	case c.closed:
		err = net.ErrClosed
	case errors.Is(err, io.EOF): // of a channel that the client closed
		err = io.ErrClosedPipe
	}
	return n, err
}

func (c *channelConn) startWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return net.ErrClosed
	case c.writeBy.passed():
		return os.ErrDeadlineExceeded
	}
	c.writing++
	return nil
}

// CloseWrite tells the client that nothing more comes.
func (c *channelConn) CloseWrite() error { return c.ch.CloseWrite() }

// Close may be called more than once. A Write in flight ends when the client
// acknowledges the channel's end, or with the connection.
func (c *channelConn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.readBy.stop()
	c.writeBy.stop()
	c.changed.Broadcast()
	c.mu.Unlock()
	c.once.Do(c.finish)
	return nil
}

func (c *channelConn) LocalAddr() net.Addr  { return c.conn.LocalAddr() }
func (c *channelConn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

func (c *channelConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

func (c *channelConn) SetReadDeadline(t time.Time) error {
	return c.set(&c.readBy, t, c.changed.Broadcast)
}

func (c *channelConn) SetWriteDeadline(t time.Time) error {
	return c.set(&c.writeBy, t, c.endWrites)
}

func (c *channelConn) set(d *deadline, t time.Time, expire func()) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	d.set(t, expire)
	c.changed.Broadcast()
	return nil
}

// endWrites runs when a writing deadline is reached.
func (c *channelConn) endWrites() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writing > 0 && c.writeBy.passed() && !c.closed {
		c.expired = true
		_ = c.conn.Close()
	}
}

// deadline is a moment and a timer that runs a function then.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (d *deadline) set(t time.Time, expire func()) {
	d.stop()
	d.at = t
	if !t.IsZero() {
		d.timer = time.AfterFunc(time.Until(t), expire)
	}
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
}
