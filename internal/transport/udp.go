package transport

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/jumpget/jumpget/internal/bulk"
)

// UDP is a relay's UDP socket, made for bulk transfer; it is a bulk.PacketConn. On
// Linux it sends bursts with one call (UDP_SEGMENT), reads many datagrams with one
// call (recvmmsg), tells when the kernel got them and from which of our
// addresses answers have to leave. Elsewhere it does without.
type UDP struct {
	conn   *net.UDPConn
	ipv6   bool // the socket's family; IPv4 may be mapped into it
	reader reader
	sender sender
}

var _ bulk.PacketConn = (*UDP)(nil)

// udpBuffer is what we ask the kernel for in each direction, in bytes. The
// usual limit for programs without privileges is 208 KiB, which does not hold
// what comes in 2 ms at 800 Mbps.
const udpBuffer = 7 << 20

// ListenUDP opens a relay's socket at an address such as ":3100".
func ListenUDP(ctx context.Context, addr string) (*UDP, error) {
	u, raw, err := openUDP(ctx, "udp", addr)
	if err != nil {
		return nil, err
	}
	u.prepare(raw)
	return u, nil
}

// familyOf is the network for a socket that reaches a relay. Its address is
// the wildcard, and it is not connected, so that it goes on from another
// address when the machine gets one.
func familyOf(relay netip.AddrPort) string {
	if relay.Addr().Unmap().Is4() {
		return "udp4"
	}
	return "udp6"
}

func openUDP(ctx context.Context, network, addr string) (*UDP, syscall.RawConn, error) {
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(ctx, network, addr)
	if err != nil {
		return nil, nil, err
	}
	u := &UDP{conn: pc.(*net.UDPConn)}
	u.ipv6 = !u.LocalAddr().Addr().Is4()
	raw, err := u.conn.SyscallConn()
	if err != nil {
		return nil, nil, errors.Join(err, u.conn.Close())
	}
	_ = u.conn.SetReadBuffer(udpBuffer) // as much as the system allows
	_ = u.conn.SetWriteBuffer(udpBuffer)
	return u, raw, nil
}

// LocalAddr is the address that the socket is bound to.
func (u *UDP) LocalAddr() netip.AddrPort {
	return u.conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// Port is the port that the socket is bound to.
func (u *UDP) Port() uint16 { return u.LocalAddr().Port() }

// SetReadDeadline is that of a net.PacketConn.
func (u *UDP) SetReadDeadline(t time.Time) error { return u.conn.SetReadDeadline(t) }

// Close closes the socket and ends a ReadBatch.
func (u *UDP) Close() error { return u.conn.Close() }

// each sends p one datagram at a time.
func (u *UDP) each(p []byte, size int, oob []byte, to netip.AddrPort) error {
	for len(p) > 0 {
		n := min(size, len(p))
		_, _, err := u.conn.WriteMsgUDPAddrPort(p[:n], oob, to)
		if errors.Is(err, syscall.EMSGSIZE) {
			return bulk.ErrTooBig
		}
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// maxDatagram holds more than the protocol's largest packet; what is longer is
// cut, and then does not open.
const maxDatagram = 2048
