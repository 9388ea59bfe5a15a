package httpd

import (
	"net"
	"net/netip"
	"sync"
)

// limiter bounds the connections of a listener: all of them, and those of one
// peer that has shown no good token yet.
type limiter struct {
	all, each int
	exempt    func(netip.Addr) bool

	mu    sync.Mutex
	total int
	peers map[netip.Prefix]*peer
}

type peer struct {
	conns   int
	trusted bool // for as long as it has a connection
}

func newLimiter(all, each int, exempt func(netip.Addr) bool) *limiter {
	return &limiter{all: all, each: each, exempt: exempt, peers: make(map[netip.Prefix]*peer)}
}

// network is what counts as one peer: an IPv4 address, or an IPv6 /64, which
// is what one customer has at least.
func network(addr net.Addr) (netip.Addr, netip.Prefix) {
	ap, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return netip.Addr{}, netip.Prefix{} // all that have no address share one limit
	}
	return prefix(ap.Addr())
}

func prefix(a netip.Addr) (netip.Addr, netip.Prefix) {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return a, p
}

// enter counts a connection in, unless it is one too many.
func (l *limiter) enter(addr net.Addr) (netip.Prefix, bool) {
	a, key := network(addr)
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.peers[key]
	if l.total >= l.all || p != nil && p.conns >= l.each && !p.trusted && !l.exempt(a) {
		return key, false
	}
	if p == nil {
		p = new(peer)
		l.peers[key] = p
	}
	p.conns++
	l.total++
	return key, true
}

func (l *limiter) leave(key netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if p := l.peers[key]; p != nil {
		if p.conns--; p.conns == 0 {
			delete(l.peers, key)
		}
	}
}

// trust lifts the limit of the peer at "host:port".
func (l *limiter) trust(remote string) {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return
	}
	_, key := prefix(ap.Addr())
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.peers[key]; p != nil {
		p.trusted = true
	}
}

// wrap returns a listener that closes connections over the limit.
func (l *limiter) wrap(inner net.Listener) net.Listener {
	return &limited{Listener: inner, limit: l}
}

type limited struct {
	net.Listener
	limit *limiter
}

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		key, ok := l.limit.enter(c.RemoteAddr())
		if ok {
			return &limitedConn{Conn: c, leave: sync.OnceFunc(func() { l.limit.leave(key) })}, nil
		}
		_ = c.Close()
	}
}

type limitedConn struct {
	net.Conn
	leave func()
}

func (c *limitedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// NetConn returns the connection beneath.
func (c *limitedConn) NetConn() net.Conn { return c.Conn }
