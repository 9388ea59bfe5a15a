package emu

import (
	"net/netip"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/jumpget/jumpget/lab/link"
)

// pump carries one direction: it reads packets from one TUN device, asks the
// model for their fate and writes them to the other device when they are due.
// It runs on a thread of its own and allocates nothing.
type pump struct {
	in, out int // file descriptors of the two devices, not blocking
	link    *link.Link
	ring    *ring
	rec     *recorder
	clock   func() time.Duration
	guest   guest
	change  atomic.Pointer[link.Config] // a new description of the same link
	replace atomic.Pointer[link.Link]   // a new link, with random numbers of its own
	stop    atomic.Bool
}

// batch bounds how many packets are read before due ones are looked at again.
const batch = 32

// reorderDistance is how far back a reordered packet goes.
const reorderDistance = 4

// idle bounds a sleep, so that a change or a stop is seen soon.
const idle = 10 * time.Millisecond

func (p *pump) run() {
	runtime.LockOSThread()
	// The thread ends with the goroutine, since its priority must not leak.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // exact timers
	realtime(0, pumpPriority)
	for !p.stop.Load() {
		if l := p.replace.Swap(nil); l != nil {
			p.link = l
		}
		if cfg := p.change.Swap(nil); cfg != nil {
			p.link.Change(*cfg)
		}
		p.deliver()
		if p.collect() {
			continue
		}
		wait := idle
		if s := p.ring.first(); s != nil {
			wait = min(wait, s.at-p.clock())
		}
		if wait > 0 {
			poll(p.in, wait)
		}
	}
}

// collect reads what has come and reports whether there may be more.
func (p *pump) collect() bool {
	for range batch {
		s := p.ring.next()
		if s == nil {
			return false // the ring is sized so that the model drops first
		}
		n := read(p.in, s.data)
		if n <= 0 {
			return false
		}
		now := p.clock()
		fate := p.link.Send(now, n, isUDP(s.data[:n]))
		p.rec.offered(now, n, fate)
		if fate.Verdict != link.Delivered {
			continue
		}
		s.size, s.at = n, fate.At
		p.ring.push()
		if fate.Swap {
			p.ring.swapBack(reorderDistance)
		}
	}
	return true
}

// deliver hands over every packet that is due.
func (p *pump) deliver() {
	for s := p.ring.first(); s != nil; s = p.ring.first() {
		now := p.clock()
		if s.at > now {
			return
		}
		write(p.out, s.data[:s.size])
		p.rec.delivered(now, s.at, s.size, p.guest.owns(s.data[:s.size]))
		p.ring.pop()
	}
}

// guest tells the packets of one address from all others.
type guest struct {
	addr netip.Addr
	at   int // where the address stands in an IPv4 header
}

// Where the addresses stand in an IPv4 header.
const (
	source      = 12
	destination = 16
)

func (g guest) owns(b []byte) bool {
	return len(b) >= 20 && b[0]>>4 == 4 && g.addr == netip.AddrFrom4([4]byte(b[g.at:g.at+4]))
}

// isUDP reads the protocol from an IPv4 or IPv6 header. Extension headers are
// not followed: nothing in the lab sends them.
func isUDP(b []byte) bool {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		return b[9] == unix.IPPROTO_UDP
	case len(b) >= 40 && b[0]>>4 == 6:
		return b[6] == unix.IPPROTO_UDP
	}
	return false
}

// The system calls below go past Go's scheduler: handing the processor
// over at every packet costs more than the packet.

func read(fd int, b []byte) int {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		return -1
	}
	return int(n)
}

// write drops the packet if the device won't take it, as a network would.
func write(fd int, b []byte) {
	_, _, _ = syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
}

// poll waits until fd can be read or d has passed.
func poll(fd int, d time.Duration) {
	fds := unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	ts := unix.NsecToTimespec(int64(d))
	_, _, _ = syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fds)), 1, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
}
