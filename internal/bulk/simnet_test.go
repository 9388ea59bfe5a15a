package bulk

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	model "github.com/jumpget/jumpget/lab/link"
)

// lane is one direction of a link in virtual time.
type lane struct {
	rate    float64       // bytes a second; 0: no limit
	delay   time.Duration // one way
	queue   int           // bytes; 0: no limit
	loss    float64
	dup     float64
	corrupt float64
	late    float64 // share of packets that come lateBy later
	lateBy  time.Duration
	jitter  time.Duration
	mtu     int // larger UDP payloads vanish; 0: none does
	dead    bool
	link    *model.Link // does all but dead itself; nil: the fields above

	free    time.Time // when the last byte leaves the queue
	passed  int
	dropped int

	overflow int // of them where link has no room
	bytes    int
}

// network joins sockets in virtual time.
type network struct {
	mu    sync.Mutex
	rng   *rand.Rand
	conns map[netip.AddrPort]*simConn
	up    lane // to the relay
	down  lane
	nat   map[netip.AddrPort]netip.AddrPort // the client's address as others see it
	tap   func(from, to netip.AddrPort, p []byte)
	start time.Time
}

func newNetwork(seed uint64) *network {
	return &network{
		rng:   rand.New(rand.NewPCG(seed, 1)),
		conns: map[netip.AddrPort]*simConn{},
		nat:   map[netip.AddrPort]netip.AddrPort{},
		start: time.Now(),
	}
}

// change changes the network while it works.
func (n *network) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

// lanes returns both directions as they are now.
func (n *network) lanes() (down, up lane) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.down, n.up
}

func (n *network) listen(addr netip.AddrPort) *simConn {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := &simConn{net: n, addr: addr, wake: make(chan struct{}, 1)}
	n.conns[addr] = c
	return c
}

// inside finds who receives for an address behind the NAT.
func (n *network) inside(addr netip.AddrPort) netip.AddrPort {
	for in, out := range n.nat {
		if out == addr {
			return in
		}
	}
	if _, hidden := n.nat[addr]; hidden {
		return netip.AddrPort{} // the NAT has forgotten this mapping
	}
	return addr
}

func (n *network) carry(l *lane, from, to netip.AddrPort, p []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.tap != nil {
		n.tap(from, to, p)
	}
	if l.dead || l.mtu > 0 && len(p) > l.mtu {
		l.dropped++
		return
	}
	now := time.Now()
	size := len(p) + wireOverhead
	if l.link != nil {
		n.carryOver(l, now, from, to, p)
		return
	}
	if l.free.Before(now) {
		l.free = now
	}
	if l.queue > 0 && l.free.Sub(now).Seconds()*l.rate > float64(l.queue) {
		l.dropped++
		return
	}
	if l.rate > 0 {
		l.free = l.free.Add(time.Duration(float64(size) / l.rate * 1e9))
	}
	if n.rng.Float64() < l.loss {
		l.dropped++
		return
	}
	copies := 1
	if n.rng.Float64() < l.dup {
		copies = 2
	}
	for range copies {
		d := Datagram{Data: append([]byte(nil), p...), Path: Path{Remote: from}}
		if n.rng.Float64() < l.corrupt {
			d.Data[n.rng.IntN(len(d.Data))] ^= 1 << n.rng.IntN(8)
		}
		wait := l.free.Sub(now) + l.delay
		if l.jitter > 0 {
			wait += time.Duration(n.rng.Int64N(int64(l.jitter)))
		}
		if n.rng.Float64() < l.late {
			wait += l.lateBy
		}
		l.passed++
		l.bytes += size
		time.AfterFunc(wait, func() { n.arrive(to, d) })
	}
}

// carryOver has the lab's model of a link decide; packets stay in order.
func (n *network) carryOver(l *lane, now time.Time, from, to netip.AddrPort, p []byte) {
	size := len(p) + wireOverhead
	fate := l.link.Send(now.Sub(n.start), size, true)
	if fate.Verdict != model.Delivered {
		l.dropped++
		if fate.Verdict != model.DropLoss {
			l.overflow++
		}
		return
	}
	l.passed++
	l.bytes += size
	d := Datagram{Data: append([]byte(nil), p...), Path: Path{Remote: from}}
	time.AfterFunc(n.start.Add(fate.At).Sub(now), func() { n.arrive(to, d) })
}

func (n *network) arrive(to netip.AddrPort, d Datagram) {
	n.mu.Lock()
	c := n.conns[n.inside(to)]
	n.mu.Unlock()
	if c != nil {
		d.At = time.Now()
		c.push(d)
	}
}

// simConn is a PacketConn on a network.
type simConn struct {
	net    *network
	addr   netip.AddrPort
	wake   chan struct{}
	tooBig int // larger packets are refused; 0: none is

	mu       sync.Mutex
	queue    []Datagram
	deadline time.Time
	closed   bool
}

func (c *simConn) push(d Datagram) {
	c.mu.Lock()
	if len(c.queue) < 4096 {
		c.queue = append(c.queue, d)
	}
	c.mu.Unlock()
	c.poke()
}

func (c *simConn) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *simConn) ReadBatch(into []Datagram) (int, error) {
	for {
		c.mu.Lock()
		n := copy(into, c.queue)
		c.queue = append(c.queue[:0], c.queue[n:]...)
		closed, deadline := c.closed, c.deadline
		c.mu.Unlock()
		switch {
		case n > 0:
			return n, nil
		case closed:
			return 0, net.ErrClosed
		case !deadline.IsZero() && !time.Now().Before(deadline):
			return 0, os.ErrDeadlineExceeded
		case deadline.IsZero():
			<-c.wake
			continue
		}
		t := time.NewTimer(time.Until(deadline))
		select {
		case <-c.wake:
		case <-t.C:
		}
		t.Stop()
	}
}

func (c *simConn) Send(p []byte, size int, to Path) error {
	if c.tooBig > 0 && size > c.tooBig {
		return ErrTooBig
	}
	n := c.net
	l, from := &n.down, c.addr
	if c.addr != relayAddr {
		l = &n.up
		n.mu.Lock()
		if out, ok := n.nat[c.addr]; ok {
			from = out
		}
		n.mu.Unlock()
	}
	for len(p) > 0 {
		k := min(size, len(p))
		n.carry(l, from, to.Remote, p[:k])
		p = p[k:]
	}
	return nil
}

func (c *simConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	c.poke()
	return nil
}

func (c *simConn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.net.mu.Lock()
	if c.net.conns[c.addr] == c {
		delete(c.net.conns, c.addr)
	}
	c.net.mu.Unlock()
	c.poke()
	return nil
}
