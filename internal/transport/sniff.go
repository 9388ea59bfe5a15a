package transport

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"
)

// tlsRecord is the first byte of every TLS handshake.
const tlsRecord = 0x16

// SniffOptions bound what strangers can do before they have said anything.
type SniffOptions struct {
	TLS        *tls.Config   // required
	AllowPlain bool          // hand plaintext on; else it is closed without an answer
	Timeout    time.Duration // for the first byte and the whole handshake; 0: 10 s
	Pending    int           // connections that may be in that phase at once; 0: 512
}

// Sniff returns a listener that tells TLS from plaintext by each connection's
// first byte and accepts connections whose handshake is done. The waiting
// happens aside, so that a silent connection never holds up another; when too
// many are silent, new ones are closed at once. Accepted connections are
// *tls.Conn, or, where plaintext is allowed, one that gives the byte back.
func Sniff(l net.Listener, o SniffOptions) net.Listener {
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Pending <= 0 {
		o.Pending = 512
	}
	s := &sniffer{
		Listener: l, opts: o,
		ready: make(chan net.Conn), done: make(chan struct{}),
		slots: make(chan struct{}, o.Pending),
	}
	s.wg.Go(s.acceptLoop)
	return s
}

type sniffer struct {
	net.Listener
	opts  SniffOptions
	ready chan net.Conn
	slots chan struct{}

	wg        sync.WaitGroup
	closeOnce sync.Once
	closeErr  error
	done      chan struct{}

	mu   sync.Mutex
	err  error                 // why acceptLoop ended
	open map[net.Conn]struct{} // connections in the handshake, closed with the listener
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
	s.closeOnce.Do(func() {
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
		if err != nil {
			if wait := retryAccept(err); wait > 0 {
				select {
				case <-time.After(wait):
					continue
				case <-s.done:
				}
			}
			s.stop(err)
			return
		}
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
}

// retryAccept tells how long to wait before the next Accept after a passing
// error, such as too many open files; 0 if the error is final.
func retryAccept(err error) time.Duration {
	if errors.Is(err, net.ErrClosed) {
		return 0
	}
	var ne net.Error
	//nolint:staticcheck // Temporary is what net/http itself asks here
	if errors.As(err, &ne) && ne.Temporary() {
		return 50 * time.Millisecond
	}
	return 0
}

func (s *sniffer) handle(c net.Conn) {
	if !s.track(c) {
		_ = c.Close()
		return
	}
	ready, err := s.greet(c)
	s.untrack(c)
	if err != nil {
		_ = c.Close()
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
	if err := c.SetDeadline(time.Now().Add(s.opts.Timeout)); err != nil {
		return nil, err
	}
	p := &peeked{Conn: c}
	if _, err := c.Read(p.first[:]); err != nil {
		return nil, err
	}
	p.has = true
	var ready net.Conn = p
	switch {
	case p.first[0] == tlsRecord:
		t := tls.Server(p, s.opts.TLS)
		if err := t.Handshake(); err != nil {
			return nil, err
		}
		ready = t
	case !s.opts.AllowPlain:
		return nil, errPlain
	}
	return ready, c.SetDeadline(time.Time{})
}

func (s *sniffer) track(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.done:
		return false
	default:
	}
	if s.open == nil {
		s.open = make(map[net.Conn]struct{})
	}
	s.open[c] = struct{}{}
	return true
}

func (s *sniffer) untrack(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// peeked gives one byte back before it reads on.
type peeked struct {
	net.Conn
	first [1]byte
	has   bool
}

func (p *peeked) Read(b []byte) (int, error) {
	if p.has && len(b) > 0 {
		b[0], p.has = p.first[0], false
		return 1, nil
	}
	return p.Conn.Read(b)
}

// NetConn returns the connection beneath, for those who ask for its socket.
func (p *peeked) NetConn() net.Conn { return p.Conn }
