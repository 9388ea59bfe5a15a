package bulk

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// Sizes of a stream's buffers at either end, in bytes.
const (
	clientBacklog = 256 << 10
	clientWindow  = 1 << 20
	relayBacklog  = 64 << 10 // at first
	relayWindow   = 64 << 10
	backlogMost   = 1 << 20 // if there is memory
	windowMost    = 256 << 10
)

// Stream is one end of a reliable, ordered stream of bytes over a connection of
// its own. It is a [net.Conn]; its methods may be called from many goroutines. A
// client makes one with [DialStream], on a relay a [Session] gets one.
//
// After the other end has closed the stream, Read gives what came and then
// io.EOF. A connection that ends otherwise gives *SilentError or *RefusedError,
// or ErrClosed when the relay itself goes down.
type Stream struct {
	poke    func()               // has the connection look again
	reserve func(bytes int) bool // gets memory for larger buffers, or gives it back; nil: they don't grow
	memory  int                  // that was reserved
	ended   chan struct{}        // closed when nothing will come or go any more
	heard   chan struct{}        // closed when the other end has shown that it hears us
	mu      sync.Mutex
	change  *sync.Cond // something below has changed
	in      assembly
	out     backlog
	wrote   time.Time // when Write last took something
	err     error     // why it has ended
	closed  bool      // at this end
	remote  netip.AddrPort
	local   netip.Addr
	reading deadline
	writing deadline
}

var _ net.Conn = (*Stream)(nil)

func newStream(backlogLen, window int, poke func()) *Stream {
	s := &Stream{poke: poke, ended: make(chan struct{}), heard: make(chan struct{})}
	s.change = sync.NewCond(&s.mu)
	s.out.most, s.in.window = backlogLen, window
	return s
}

// Answered is closed when the relay has answered. It stays open if the relay
// refuses.
func (s *Stream) Answered() <-chan struct{} { return s.heard }

// Confirmed is closed when the client has shown that it receives what is sent to
// it. Until then what was read may be a copy of a first packet that was sent
// long ago, from an address that is not its sender's.
func (s *Stream) Confirmed() <-chan struct{} { return s.heard }

// Done is closed when the connection has ended.
func (s *Stream) Done() <-chan struct{} { return s.ended }

// Err returns why the connection has ended; nil while it has not.
func (s *Stream) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Read reads what has come, and waits for the first byte of it.
func (s *Stream) Read(p []byte) (int, error) {
	s.mu.Lock()
	for {
		switch {
		case s.closed:
			s.mu.Unlock()
			return 0, net.ErrClosed
		case s.reading.passed:
			s.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case s.in.readable() > 0 || len(p) == 0:
			n := s.in.take(p)
			risen := s.in.risen()
			s.mu.Unlock()
			if risen {
				s.poke()
			}
			return n, nil
		case s.err != nil:
			err := s.err
			s.mu.Unlock()
			return 0, err
		}
		s.change.Wait()
	}
}

// Write takes p into the send buffer, and waits for room there. What it took
// will reach the other end unless the connection fails.
func (s *Stream) Write(p []byte) (int, error) {
	n := 0
	for {
		k, err := s.write(p[n:])
		n += k
		if k > 0 {
			s.poke()
		}
		if n == len(p) || err != nil {
			return n, err
		}
	}
}

// write takes at least one byte of p, if there is any.
func (s *Stream) write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.closed:
			return 0, net.ErrClosed
		case errors.Is(s.err, io.EOF):
			return 0, io.ErrClosedPipe
		case s.err != nil:
			return 0, s.err
		case s.writing.passed:
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		}
		s.widenBacklog(len(p))
		if n := s.out.put(p); n > 0 {
			s.wrote = time.Now()
			return n, nil
		}
		s.change.Wait()
	}
}

// widenBacklog makes room for n bytes, as far as there is memory.
func (s *Stream) widenBacklog(n int) {
	for s.reserve != nil && s.out.room() < n && s.out.most < backlogMost && s.reserve(s.out.most) {
		s.memory += s.out.most
		s.out.most *= 2
	}
}

// Close ends the stream. It does not wait: what was written goes to the other end
// first if that is possible within a few seconds, and Done is closed after that.
func (s *Stream) Close() error {
	s.mu.Lock()
	s.closed = true
	s.change.Broadcast()
	s.mu.Unlock()
	s.poke()
	return nil
}

// LocalAddr is where the other end's packets arrive, as far as that is known.
func (s *Stream) LocalAddr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(s.local, 0))
}

// RemoteAddr is where the other end is. At a relay it follows the client to new
// addresses, once it is proved that the client receives there; after Confirmed
// that goes for the first one as well.
func (s *Stream) RemoteAddr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return net.UDPAddrFromAddrPort(s.remote)
}

// SetDeadline sets both deadlines.
func (s *Stream) SetDeadline(t time.Time) error {
	_ = s.SetReadDeadline(t) // both can't fail
	return s.SetWriteDeadline(t)
}

// SetReadDeadline lets Read fail with os.ErrDeadlineExceeded from t on.
func (s *Stream) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading.set(s, t)
	return nil
}

// SetWriteDeadline lets Write fail with os.ErrDeadlineExceeded from t on.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing.set(s, t)
	return nil
}

// deadline is one of a stream's.
type deadline struct {
	passed bool
	timer  *time.Timer
}

// set is called with the stream's lock held.
func (d *deadline) set(s *Stream, t time.Time) {
	if d.timer != nil {
		d.timer.Stop()
	}
	d.timer = nil
	if d.passed = !t.IsZero() && !time.Now().Before(t); d.passed {
		s.change.Broadcast()
		return
	}
	if t.IsZero() {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(time.Until(t), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if d.timer == timer {
			d.passed = true
			s.change.Broadcast()
		}
	})
	d.timer = timer
}

// The methods below are the connection's.

// moved tells where the other end is.
func (s *Stream) moved(to Path) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remote, s.local = to.Remote, to.Local
}

// receive takes bytes that came, and tells whether it did.
func (s *Stream) receive(f *streamFrame) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.in.next
	if !s.in.put(f.off, f.data) {
		return false
	}
	if s.closed {
		s.in.drop()
	}
	for s.reserve != nil && s.in.crowded() && s.in.window < windowMost && s.reserve(s.in.window) {
		s.memory += s.in.window
		s.in.window *= 2
	}
	if s.in.next > before {
		s.change.Broadcast()
	}
	return true
}

// acknowledged tells that the other end has all before an offset. It returns
// whether something is left, whether this end has closed the stream, and whether
// the other one should be told a higher limit.
func (s *Stream) acknowledged(to int64) (left, closed, risen bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if to > s.out.base {
		s.out.free(to)
		s.change.Broadcast()
	}
	if s.reserve != nil && len(s.out.buf) == 0 && s.out.most > relayBacklog {
		s.reserve(relayBacklog - s.out.most)
		s.memory -= s.out.most - relayBacklog
		s.out.most = relayBacklog
	}
	return s.out.base < s.out.end(), s.closed, s.in.risen()
}

// backlog is how many bytes were written, and whether more would be if there
// were room.
func (s *Stream) backlog() (written int64, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.end(), s.out.room() == 0
}

// written is how many bytes were.
func (s *Stream) written() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.end()
}

// pending is how many bytes were written, and when the last ones were.
func (s *Stream) pending() (n int64, last time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.end(), s.wrote
}

func (s *Stream) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// again reads what was written.
func (s *Stream) again(into []byte, off int64) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.read(into, off)
}

// tell fills in what has come, as it is about to be told.
func (s *Stream) tell(a *streamAck) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.next, a.limit = s.in.next, s.in.tell()
	a.runs = append(a.runs[:0], s.in.got.list[:min(len(s.in.got.list), mostRuns)]...)
}

// end tells the stream that its connection has ended.
func (s *Stream) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	s.err = err
	s.reading.set(s, time.Time{})
	s.writing.set(s, time.Time{})
	s.change.Broadcast()
	close(s.ended)
}

// hear notes that the other end hears us.
func (s *Stream) hear() {
	select {
	case <-s.heard:
	default:
		close(s.heard)
	}
}
