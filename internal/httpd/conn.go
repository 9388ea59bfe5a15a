package httpd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/jumpget/jumpget/internal/access"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/wire"
)

// Identity is who speaks on a connection to the local API.
type Identity struct {
	User     string     // the owner of the jobs submitted on it
	Source   job.Source // how the name is known
	Addr     netip.Addr // the client's network address as ssh tells it; may be invalid
	Operator bool       // he may see and end everybody's sessions
}

const (
	// unnamed is the owner on TCP connections whose peer the system does not
	// name: outside Linux, or from another machine or container.
	unnamed = "local"

	prefaceTimeout = 30 * time.Second // for the first byte on a Unix socket
	maxPreface     = 128              // bytes of the bridge's line
	maxIdentifying = 1024             // connections that are being identified at once
)

// apiConn is a connection to the local API whose user is known.
type apiConn struct {
	net.Conn
	r      *bufio.Reader // nil: nothing was read ahead
	id     Identity
	held   *sessionConn // nil: it came over ssh
	secret bool         // requests must carry the secret
	leave  func()       // gives back its place among its user's connections; may be nil
	once   sync.Once
	closed chan struct{}
}

func newAPIConn(c net.Conn, id Identity) *apiConn {
	return &apiConn{Conn: c, id: id, closed: make(chan struct{})}
}

func (c *apiConn) Read(b []byte) (int, error) {
	if c.r != nil {
		return c.r.Read(b)
	}
	return c.Conn.Read(b)
}

func (c *apiConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		if c.leave != nil {
			c.leave()
		}
		close(c.closed)
	})
	return err
}

// CloseWrite is what net/http asks for, so that an answer to somebody who still
// sends is not lost in a reset.
func (c *apiConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

type connKey struct{}

// withConn puts a connection where its requests find it.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

func connOf(ctx context.Context) *apiConn {
	c, _ := ctx.Value(connKey{}).(*apiConn)
	return c
}

// identify finds out who is at the other end, without waiting for a word.
func identify(c net.Conn) (*apiConn, error) {
	if u, ok := c.(*net.UnixConn); ok {
		user, err := access.UserOfUnix(u)
		if err != nil {
			return nil, fmt.Errorf("the peer of the Unix socket has no name: %w", err)
		}
		ac := newAPIConn(u, Identity{User: user, Source: job.SourceSystem, Operator: access.IsOperator(u)})
		ac.r = bufio.NewReaderSize(u, 4<<10)
		return ac, nil
	}
	ac := newAPIConn(c, Identity{User: unnamed})
	ac.secret = true
	local, err1 := netip.ParseAddrPort(c.LocalAddr().String())
	remote, err2 := netip.ParseAddrPort(c.RemoteAddr().String())
	if err1 == nil && err2 == nil {
		if user, err := access.UserOfTCP(local, remote); err == nil {
			ac.id.User, ac.id.Source = user, job.SourceSystem
		}
	}
	return ac, nil
}

// greet reads what a connection to the Unix socket may begin with, and has
// stop end the waiting.
func (c *apiConn) greet(stop context.Context) (err error) {
	if c.r == nil {
		return nil
	}
	if err := c.SetReadDeadline(time.Now().Add(prefaceTimeout)); err != nil {
		return err
	}
	defer context.AfterFunc(stop, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })()
	if c.id.Addr, err = readPreface(c.r); err != nil {
		return err
	}
	return c.SetReadDeadline(time.Time{})
}

var errPreface = errors.New("a malformed bridge preface")

// readPreface takes the bridge's line, if there is one, and returns the address
// in it. No HTTP method begins like the preface, so one byte tells.
func readPreface(r *bufio.Reader) (netip.Addr, error) {
	first, err := r.Peek(1)
	if err != nil || first[0] != wire.BridgePreface[0] {
		return netip.Addr{}, err
	}
	var line []byte
	for len(line) == 0 || line[len(line)-1] != '\n' {
		if len(line) >= maxPreface {
			return netip.Addr{}, errPreface
		}
		b, err := r.ReadByte()
		if err != nil {
			return netip.Addr{}, err
		}
		line = append(line, b)
	}
	rest, ok := strings.CutPrefix(strings.TrimSuffix(string(line), "\n"), wire.BridgePreface)
	if !ok {
		return netip.Addr{}, errPreface
	}
	if rest == "-" {
		return netip.Addr{}, nil
	}
	addr, err := netip.ParseAddr(rest)
	if err != nil {
		return netip.Addr{}, errPreface
	}
	return addr.Unmap().WithZone(""), nil
}

// queue is a listener whose connections come from elsewhere.
type queue struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newQueue() *queue {
	return &queue{conns: make(chan net.Conn), done: make(chan struct{})}
}

// put hands a connection over; false if the queue is closed.
func (q *queue) put(c net.Conn) bool {
	select {
	case q.conns <- c:
		return true
	case <-q.done:
		return false
	}
}

func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

func (q *queue) Close() error {
	q.once.Do(func() { close(q.done) })
	return nil
}

func (q *queue) Addr() net.Addr { return queueAddr{} }

type queueAddr struct{}

func (queueAddr) Network() string { return "jumpget" }
func (queueAddr) String() string  { return "local API" }
