//go:build !linux

package transport

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/jumpget/jumpget/internal/bulk"
)

// reader reads one datagram at a time.
type reader struct{ buf []byte }

// maxReadErrors is how many errors in a row are taken for news of packets that
// we sent, which some systems report by the next read.
const maxReadErrors = 100

func (r *reader) read(conn *net.UDPConn, into []bulk.Datagram) (int, error) {
	if r.buf == nil {
		r.buf = make([]byte, maxDatagram)
	}
	for tries := 0; ; tries++ {
		n, from, err := conn.ReadFromUDPAddrPort(r.buf)
		if err == nil {
			from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
			into[0] = bulk.Datagram{Data: r.buf[:n], Path: bulk.Path{Remote: from}, At: time.Now()}
			return 1, nil
		}
		if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) || tries >= maxReadErrors {
			return 0, err
		}
	}
}

type sender struct{}

// UDPClient is a client's UDP socket.
type UDPClient = UDP

// DialUDP opens a client's socket for packets to a relay.
func DialUDP(ctx context.Context, relay netip.AddrPort) (*UDPClient, error) {
	u, _, err := openUDP(ctx, familyOf(relay), ":0")
	return u, err
}

func (u *UDP) prepare(raw syscall.RawConn) {
	_ = raw.Control(func(fd uintptr) { dontFragment(fd, u.ipv6) }) // fails only if the socket is closed
}

// ReadBatch is that of a bulk.PacketConn.
func (u *UDP) ReadBatch(into []bulk.Datagram) (int, error) { return u.reader.read(u.conn, into) }

// Send is that of a bulk.PacketConn.
func (u *UDP) Send(p []byte, size int, to bulk.Path) error { return u.each(p, size, nil, to.Remote) }
