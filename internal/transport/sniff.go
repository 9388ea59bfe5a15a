package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// tlsRecord is the first byte of every TLS handshake.
const tlsRecord = 0x16

// SniffOptions bound what strangers can do before they have said anything, and
// how long a peer may take nothing of what is sent to it.
type SniffOptions struct {
	TLS *tls.Config // required

	// AllowPlain says whose plaintext is handed on; everybody else's connection
	// is closed without an answer. nil: nobody's.
	AllowPlain func(peer netip.Addr) bool

	FirstByte time.Duration // longest wait for it; 0: 10 s
	// Handshake is the longest time for the rest of it. A client that connects
	// while its ssh is still under way leaves it open until it knows the pin.
	// 0: 2 min.
	Handshake time.Duration
	Stall     time.Duration // longest time without progress of a write; 0: 60 s
	Pending   int           // connections that may be in the handshake at once; 0: 512
}

func (o SniffOptions) withDefaults() SniffOptions {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&o.FirstByte, 10*time.Second)
	set(&o.Handshake, 2*time.Minute)
	set(&o.Stall, time.Minute)
	if o.Pending <= 0 {
		o.Pending = 512
	}
	if o.AllowPlain == nil {
		o.AllowPlain = func(netip.Addr) bool { return false }
	}
	return o
}

// Sniff returns a listener that tells TLS from plaintext by each connection's
// first byte and accepts connections whose handshake is done. The waiting
// happens aside, so that a silent connection never holds up another; when too
// many are silent, new ones are closed at once. Closing it closes l and the
// connections that are still in the handshake.
func Sniff(l net.Listener, o SniffOptions) net.Listener {
	o = o.withDefaults()
	s := &sniffer{
		Listener: l, opts: o,
		ready: make(chan net.Conn), done: make(chan struct{}),
		slots: make(chan struct{}, o.Pending), open: make(map[net.Conn]struct{}),
	}
	s.wg.Go(s.acceptLoop)
	return s
}

type sniffer struct {
	net.Listener
	opts  SniffOptions
	ready chan net.Conn
	slots chan struct{}

	wg       sync.WaitGroup
	stopOnce sync.Once
	closeErr error
	done     chan struct{}

	mu   sync.Mutex
	err  error                 // why acceptLoop ended
	open map[net.Conn]struct{} // connections in the handshake; nil once stopped
}

func (s *sniffer) Accept() (net.Conn, error) {
	select {
	case c := <-s.ready:
		return c, nil
	case <-s.done:
		s.mu.Lock()
		defer s.mu.Unlock()
		return nil, s.err
	}
}

// Close closes the listener and every connection still in its handshake, and
// waits for their goroutines.
func (s *sniffer) Close() error {
	s.stop(net.ErrClosed)
	s.wg.Wait()
	return s.closeErr
}

func (s *sniffer) stop(err error) {
	s.stopOnce.Do(func() {
		s.mu.Lock()
		s.err = err
		for c := range s.open {
			_ = c.Close() // nothing was said on it yet
		}
		s.open = nil
		close(s.done)
		s.mu.Unlock()
		s.closeErr = s.Listener.Close()
	})
}

func (s *sniffer) acceptLoop() {
	for {
		c, err := s.Listener.Accept()
		switch {
		case err == nil:
			s.spawn(c)
		case !s.passing(err):
			s.stop(err)
			return
		}
	}
}

// passing reports whether Accept may be tried again after an error, such as
// too many open files, and waits a little for it to pass.
func (s *sniffer) passing(err error) bool {
	var ne net.Error
	//nolint:staticcheck // Temporary is what net/http itself asks here
	if errors.Is(err, net.ErrClosed) || !errors.As(err, &ne) || !ne.Temporary() {
		return false
	}
	select {
	case <-time.After(50 * time.Millisecond):
		return true
	case <-s.done:
		return false
	}
}

func (s *sniffer) spawn(c net.Conn) {
	select {
	case s.slots <- struct{}{}:
		s.wg.Go(func() {
			defer func() { <-s.slots }()
			s.handle(c)
		})
	default:
		_ = c.Close() // a flood of silent connections: shed the newest
	}
}

func (s *sniffer) handle(c net.Conn) {
	if !s.track(c) {
		_ = c.Close()
		return
	}
	ready, err := s.greet(c)
	s.untrack(c)
	if err != nil {
		_ = c.Close() // whoever it was gets no answer
		return
	}
	select {
	case s.ready <- ready:
	case <-s.done:
		_ = c.Close()
	}
}

var errPlain = errors.New("plaintext on a TLS door")

// greet reads the first byte and, for TLS, does the handshake.
func (s *sniffer) greet(c net.Conn) (net.Conn, error) {
	if err := c.SetReadDeadline(time.Now().Add(s.opts.FirstByte)); err != nil {
		return nil, err
	}
	p := &sniffed{Conn: c, stall: s.opts.Stall}
	if _, err := c.Read(p.first[:]); err != nil {
		return nil, err
	}
	p.has = true
	if p.first[0] != tlsRecord {
		peer, _ := netip.ParseAddrPort(c.RemoteAddr().String())
		if !s.opts.AllowPlain(peer.Addr().Unmap()) {
			return nil, errPlain
		}
		return p, c.SetReadDeadline(time.Time{})
	}
	if err := c.SetReadDeadline(time.Now().Add(s.opts.Handshake)); err != nil {
		return nil, err
	}
	t := tls.Server(p, s.opts.TLS)
	if err := t.HandshakeContext(context.Background()); err != nil { // the deadline ends it, or Close
		return nil, err
	}
	return &tlsConn{Conn: t, out: p}, c.SetReadDeadline(time.Time{})
}

func (s *sniffer) track(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		return false
	}
	s.open[c] = struct{}{}
	return true
}

func (s *sniffer) untrack(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}
