package transport

import (
	"context"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jumpget/jumpget/internal/bulk"
)

// UDPClient is a client's UDP socket; it is a bulk.PacketConn. The runtime's
// poller is kept away from it: that would wake for each datagram that comes,
// which costs more than all else while the reader pauses between rounds. The
// reader polls the socket itself, on a thread of its own.
type UDPClient struct {
	fd     int
	bell   int // an eventfd that wakes the reader
	ipv6   bool
	local  netip.AddrPort
	reader reader

	deadline atomic.Int64 // of ReadBatch, nanoseconds since start; 0: none
	start    time.Time
	polling  atomic.Bool

	reading sync.Mutex   // held by ReadBatch
	open    sync.RWMutex // held for reading by whoever uses the descriptors
	closed  atomic.Bool
}

var _ bulk.PacketConn = (*UDPClient)(nil)

// DialUDP opens a client's socket for packets to a relay.
func DialUDP(ctx context.Context, relay netip.AddrPort) (*UDPClient, error) {
	u, raw, err := openUDP(ctx, familyOf(relay), ":0")
	if err != nil {
		return nil, err
	}
	defer func() { _ = u.Close() }() // the descriptor that is kept is another
	c := &UDPClient{ipv6: u.ipv6, local: u.LocalAddr(), start: time.Now()}
	var dupErr error
	err = raw.Control(func(fd uintptr) {
		u.options(int(fd))
		c.fd, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err == nil {
		err = dupErr
	}
	if err != nil {
		return nil, err
	}
	if c.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		_ = unix.Close(c.fd) // the other error tells more
		return nil, err
	}
	size := maxDatagram
	if unix.SetsockoptInt(c.fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) == nil {
		size = groSlot
	}
	c.reader.init(size)
	return c, nil
}

// LocalAddr is the address that the socket is bound to.
func (c *UDPClient) LocalAddr() netip.AddrPort { return c.local }

// ReadBatch is that of a bulk.PacketConn.
func (c *UDPClient) ReadBatch(into []bulk.Datagram) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	r := &c.reader
	for r.empty() {
		if c.closed.Load() {
			return 0, net.ErrClosed
		}
		r.reset()
		if !r.recv(uintptr(c.fd)) {
			if err := c.poll(); err != nil {
				return 0, err
			}
			continue
		}
		if r.errno != 0 {
			return 0, r.errno
		}
	}
	return r.take(into), nil
}

// poll waits for the socket, the deadline or the bell. Whoever moves the deadline
// looks at polling after that, and polling is set before the deadline is read:
// so either it is seen here or the bell rings.
func (c *UDPClient) poll() error {
	c.polling.Store(true)
	defer c.polling.Store(false)
	var timeout *unix.Timespec
	if d := c.deadline.Load(); d != 0 {
		left := d - int64(time.Since(c.start))
		if left <= 0 {
			return os.ErrDeadlineExceeded
		}
		ts := unix.NsecToTimespec(left)
		timeout = &ts
	}
	fds := [2]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}, {Fd: int32(c.bell), Events: unix.POLLIN}}
	if _, err := unix.Ppoll(fds[:], timeout, nil); err != nil && err != unix.EINTR {
		return err
	}
	if fds[1].Revents != 0 {
		var count [8]byte
		_, _ = unix.Read(c.bell, count[:]) // somebody else may have been faster
	}
	return nil
}

// SetReadDeadline is that of a net.PacketConn.
func (c *UDPClient) SetReadDeadline(t time.Time) error {
	d := int64(0)
	if !t.IsZero() {
		if d = int64(t.Sub(c.start)); d == 0 {
			d = 1
		}
	}
	c.deadline.Store(d)
	c.ring()
	return nil
}

// ring wakes the reader if it waits.
func (c *UDPClient) ring() {
	if !c.polling.Load() {
		return
	}
	c.open.RLock()
	defer c.open.RUnlock()
	if !c.closed.Load() {
		one := [8]byte{1: 1} // any number but zero, whatever the byte order
		_, _ = unix.Write(c.bell, one[:])
	}
}

// Send is that of a bulk.PacketConn. A full buffer is a loss.
func (c *UDPClient) Send(p []byte, size int, to bulk.Path) error {
	c.open.RLock()
	defer c.open.RUnlock()
	if c.closed.Load() {
		return net.ErrClosed
	}
	sa := c.sockaddr(to.Remote)
	for len(p) > 0 {
		n := min(size, len(p))
		switch err := unix.Sendto(c.fd, p[:n], unix.MSG_DONTWAIT, sa); err {
		case nil:
		case unix.EMSGSIZE:
			return bulk.ErrTooBig
		default:
			return err
		}
		p = p[n:]
	}
	return nil
}

func (c *UDPClient) sockaddr(a netip.AddrPort) unix.Sockaddr {
	if !c.ipv6 {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().Unmap().As4()}
	}
	sa := &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	if zone := a.Addr().Zone(); zone != "" {
		sa.ZoneId = zoneIndex(zone)
	}
	return sa
}

// zoneIndex is the number of an interface.
func zoneIndex(zone string) uint32 {
	if i, err := net.InterfaceByName(zone); err == nil {
		return uint32(i.Index)
	}
	return 0
}

// Close closes the socket and ends a ReadBatch.
func (c *UDPClient) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	c.deadline.Store(1)
	c.open.Lock()
	one := [8]byte{1: 1}
	_, _ = unix.Write(c.bell, one[:])
	c.open.Unlock()
	c.reading.Lock() // the reader has left the descriptors
	defer c.reading.Unlock()
	c.open.Lock()
	defer c.open.Unlock()
	_ = unix.Close(c.bell)
	return unix.Close(c.fd)
}
