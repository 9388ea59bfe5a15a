package transport

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/jumpget/jumpget/internal/bulk"
)

const (
	readSlots = 64
	groSlot   = 64 << 10 // bytes that the kernel may join into one message
	oobSize   = 128
)

// mmsghdr is the kernel's struct mmsghdr.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// reader reads with recvmmsg. Its buffers live as long as it does, because the
// message headers point to them.
type reader struct {
	size  int // of a slot's buffer
	msgs  [readSlots]mmsghdr
	iovs  [readSlots]unix.Iovec
	names [readSlots]unix.RawSockaddrInet6
	oobs  [readSlots][oobSize]byte
	bufs  []byte

	n, i  int           // msgs[i:n] are not handed out yet
	rest  bulk.Datagram // what is left of the message before, joined datagrams
	step  int           // of this size each
	errno syscall.Errno

	raw    syscall.RawConn // of a relay's socket; see UDPClient for the other
	recvFD func(fd uintptr) bool
}

// oobPool holds buffers for control messages.
var oobPool = sync.Pool{New: func() any { b := make([]byte, 0, oobSize); return &b }}

// sender remembers what the kernel does not do for us.
type sender struct {
	segment atomic.Bool // UDP_SEGMENT works
}

// prepare sets the socket's options. What this kernel does not know we do
// without.
func (u *UDP) prepare(raw syscall.RawConn) {
	_ = raw.Control(func(fd uintptr) { // fails only if the socket is closed
		u.options(int(fd))
		u.askLocal(int(fd))
		_, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT)
		u.sender.segment.Store(err == nil)
	})
	u.reader.raw = raw
	u.reader.recvFD = u.reader.recv
	u.reader.init(maxDatagram)
}

// options sets what relays and clients have in common.
func (u *UDP) options(fd int) {
	for _, o := range []int{unix.SO_RCVBUFFORCE, unix.SO_SNDBUFFORCE} {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, o, udpBuffer) // for root alone
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
	if u.ipv6 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
	}
}

// askLocal has the kernel tell which of our addresses a datagram came to.
func (u *UDP) askLocal(fd int) {
	if u.ipv6 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		return
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
}

// ReadBatch is that of a bulk.PacketConn.
func (u *UDP) ReadBatch(into []bulk.Datagram) (int, error) {
	r := &u.reader
	if r.empty() {
		r.reset()
		if err := r.raw.Read(r.recvFD); err != nil {
			return 0, err
		}
		if r.errno != 0 {
			return 0, r.errno
		}
	}
	return r.take(into), nil
}

// init makes the buffers, for messages of at most size bytes.
func (r *reader) init(size int) {
	r.size = size
	r.bufs = make([]byte, readSlots*size)
}

// empty tells whether all that was read has been handed out.
func (r *reader) empty() bool { return r.i == r.n && len(r.rest.Data) == 0 }

// take hands out datagrams that were read.
func (r *reader) take(into []bulk.Datagram) int {
	n := 0
	for n < len(into) {
		if len(r.rest.Data) == 0 {
			if r.i == r.n {
				break
			}
			r.open(r.i, time.Now())
			r.i++
			if len(r.rest.Data) == 0 {
				continue // an empty datagram is nobody's
			}
		}
		k := min(r.step, len(r.rest.Data))
		into[n] = r.rest
		into[n].Data = r.rest.Data[:k:k]
		r.rest.Data = r.rest.Data[k:]
		n++
	}
	return n
}

// reset prepares for the next recv.
func (r *reader) reset() {
	r.n, r.i, r.errno = 0, 0, 0
	for i := range r.msgs {
		r.iovs[i].Base = &r.bufs[i*r.size]
		r.iovs[i].SetLen(r.size)
		h := &r.msgs[i].hdr
		h.Iov = &r.iovs[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&r.names[i])) //nolint:gosec // the kernel fills it in
		h.Namelen = unix.SizeofSockaddrInet6
		h.Control = &r.oobs[i][0]
		h.SetControllen(oobSize)
	}
}

// recv is one recvmmsg; false waits for the socket to become readable.
func (r *reader) recv(fd uintptr) bool {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.msgs[0])), readSlots, unix.MSG_DONTWAIT, 0, 0) //nolint:gosec // there is no wrapper for it
		switch errno {
		case 0:
			r.n = int(n)
			return true
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		}
		r.errno = errno
		return true
	}
}

// open takes a message apart; the datagrams in it come from rest.
func (r *reader) open(i int, now time.Time) {
	m := &r.msgs[i]
	n := int(m.n)
	r.rest = bulk.Datagram{Data: r.bufs[i*r.size : i*r.size+n], At: now}
	r.rest.Path.Remote = addrOf(&r.names[i])
	r.step = n
	r.control(r.oobs[i][:m.hdr.Controllen], now)
}

func addrOf(sa *unix.RawSockaddrInet6) netip.AddrPort {
	port := (*[2]byte)(unsafe.Pointer(&sa.Port)) //nolint:gosec // it is in network order
	p := binary.BigEndian.Uint16(port[:])
	if sa.Family == unix.AF_INET {
		sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa)) //nolint:gosec // the family says that it is one
		return netip.AddrPortFrom(netip.AddrFrom4(sa4.Addr), p)
	}
	a := netip.AddrFrom16(sa.Addr).Unmap()
	if sa.Scope_id != 0 && a.IsLinkLocalUnicast() {
		a = a.WithZone(strconv.FormatUint(uint64(sa.Scope_id), 10)) // the index will do for an answer
	}
	return netip.AddrPortFrom(a, p)
}

// control reads the control messages of one message: when it came, to which
// address, and how it was joined.
func (r *reader) control(oob []byte, now time.Time) {
	for len(oob) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0])) //nolint:gosec // checked below
		n := int(h.Len)
		if n < unix.SizeofCmsghdr || n > len(oob) {
			return
		}
		data := oob[unix.CmsgLen(0):n]
		switch {
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SCM_TIMESTAMPNS && len(data) >= int(unsafe.Sizeof(unix.Timespec{})):
			ts := (*unix.Timespec)(unsafe.Pointer(&data[0])) //nolint:gosec // its length is checked
			// By the difference, since the clock of the wall may be set at any time.
			if age := now.UnixNano() - ts.Nano(); age > 0 && age < int64(time.Second) {
				r.rest.At = now.Add(-time.Duration(age))
			}
		case h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(data) >= 2:
			if step := int(binary.NativeEndian.Uint16(data)); step > 0 {
				r.step = step
			}
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			r.rest.Path.Local = netip.AddrFrom4([4]byte(data[4:8])) // ipi_spec_dst
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			r.rest.Path.Local = netip.AddrFrom16([16]byte(data[:16])).Unmap()
		}
		oob = oob[min(len(oob), unix.CmsgSpace(n-unix.CmsgLen(0))):]
	}
}

// Send is that of a bulk.PacketConn.
func (u *UDP) Send(p []byte, size int, to bulk.Path) error {
	buf := oobPool.Get().(*[]byte)
	defer oobPool.Put(buf)
	oob := u.appendLocal((*buf)[:0], to.Local)
	if len(p) > size && u.sender.segment.Load() {
		done, err := u.burst(p, appendSegment(oob, size), to.Remote)
		if done {
			return err
		}
	}
	return u.each(p, size, oob, to.Remote)
}

// burst sends with UDP_SEGMENT. It is not done if that is not possible.
func (u *UDP) burst(p, oob []byte, to netip.AddrPort) (done bool, err error) {
	_, _, err = u.conn.WriteMsgUDPAddrPort(p, oob, to)
	switch {
	case errors.Is(err, syscall.EIO):
		u.sender.segment.Store(false) // the device can't compute checksums for it
		return false, nil
	case errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.EMSGSIZE):
		return false, nil // too big for the device: one datagram alone tells
	}
	return true, err
}

func appendSegment(oob []byte, size int) []byte {
	oob, data := appendCmsg(oob, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 2)
	binary.NativeEndian.PutUint16(data, uint16(size))
	return oob
}

// appendLocal asks for a source address: a machine with several would otherwise
// answer from another than was asked, which a NAT does not let through.
func (u *UDP) appendLocal(oob []byte, local netip.Addr) []byte {
	if !local.IsValid() {
		return oob
	}
	if u.ipv6 {
		oob, data := appendCmsg(oob, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
		a := local.As16()
		copy(data, a[:])
		return oob
	}
	oob, data := appendCmsg(oob, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
	a := local.As4()
	copy(data[4:], a[:])
	return oob
}

// appendCmsg appends a control message with n zero bytes, and returns these.
func appendCmsg(oob []byte, level, typ int32, n int) (all, data []byte) {
	at := len(oob)
	oob = append(oob, make([]byte, unix.CmsgSpace(n))...)
	h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[at])) //nolint:gosec // there is room for it
	h.Level, h.Type = level, typ
	h.SetLen(unix.CmsgLen(n))
	return oob, oob[at+unix.CmsgLen(0):][:n]
}
