package reach

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// Way names a way to the local API.
type Way string

// The ways.
const (
	UDP Way = "udp" // a stream of the bulk protocol
	TLS Way = "tls" // the public door's TLS
	SSH Way = "ssh"
)

// maxKept is how many bytes may be written before an answer; a Write beyond
// waits for one.
const maxKept = 256 << 10

// Stream is a connection to the local API over whichever way answers first. See
// the package comment.
type Stream struct {
	start    time.Time
	patience time.Duration // before the last resort starts
	over     func(Outcome)
	unhook   func() bool // from the context
	wg       sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond // any field below has changed
	kept    []byte     // written, and not surely on its way
	direct  bool       // kept is given away: Write goes to the winner
	first   []byte     // what the winner has answered, and was not read yet
	runners []*runner
	winner  *runner
	failed  map[Way]error
	hurry   chan struct{} // closed when the last resort is waited for no longer
	err     error
	done    bool // over was called
	readBy  time.Time
	writeBy time.Time
}

var _ net.Conn = (*Stream)(nil)

// Way tells which way carries the stream; "" until one has answered.
func (s *Stream) Way() Way {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.winner == nil {
		return ""
	}
	return s.winner.way
}

// Read fails with what ended the way that carries the stream, or if none did
// with ssh's error.
func (s *Stream) Read(b []byte) (int, error) {
	s.mu.Lock()
	for s.winner == nil && s.err == nil && !passed(s.readBy) {
		s.changed.Wait()
	}
	switch {
	case s.err != nil:
		defer s.mu.Unlock()
		return 0, s.err
	case s.winner == nil:
		defer s.mu.Unlock()
		return 0, os.ErrDeadlineExceeded
	case len(s.first) > 0:
		defer s.mu.Unlock()
		n := copy(b, s.first)
		s.first = s.first[n:]
		return n, nil
	}
	r := s.winner
	s.mu.Unlock()
	n, err := r.conn.Read(b)
	return n, s.lost(r, err)
}

// Write returns as soon as the winner has the bytes, or they are kept.
func (s *Stream) Write(b []byte) (int, error) {
	s.mu.Lock()
	for !s.direct && s.err == nil && len(s.kept) >= maxKept && !passed(s.writeBy) {
		s.changed.Wait()
	}
	switch {
	case s.err != nil:
		defer s.mu.Unlock()
		return 0, s.err
	case !s.direct && passed(s.writeBy):
		defer s.mu.Unlock()
		return 0, os.ErrDeadlineExceeded
	case !s.direct:
		defer s.mu.Unlock()
		s.kept = append(s.kept, b...)
		s.changed.Broadcast()
		return len(b), nil
	}
	r := s.winner
	s.mu.Unlock()
	n, err := r.conn.Write(b)
	return n, s.lost(r, err)
}

// lost is the error of a stream that stood, unless it was ended at this end.
func (s *Stream) lost(r *runner, err error) error {
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	if r.way == SSH {
		return err
	}
	return &LostError{Way: r.way, Err: err}
}

// Close ends the stream and waits until every way is closed.
func (s *Stream) Close() error {
	s.fail(net.ErrClosed)
	s.unhook()
	s.wg.Wait()
	return nil
}

// LocalAddr names this end.
func (s *Stream) LocalAddr() net.Addr { return address("local") }

// RemoteAddr names the local API.
func (s *Stream) RemoteAddr() net.Addr { return address("relay") }

type address string

func (address) Network() string  { return "jumpget" }
func (a address) String() string { return string(a) }

// SetDeadline sets both deadlines.
func (s *Stream) SetDeadline(d time.Time) error {
	return errors.Join(s.SetReadDeadline(d), s.SetWriteDeadline(d))
}

// SetReadDeadline ends waiting Reads at d; zero is never.
func (s *Stream) SetReadDeadline(d time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readBy = d
	if s.winner != nil {
		return s.winner.conn.SetReadDeadline(d)
	}
	s.wakeAt(d)
	return nil
}

// SetWriteDeadline ends waiting Writes at d; zero is never.
func (s *Stream) SetWriteDeadline(d time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writeBy = d
	if s.direct {
		return s.winner.conn.SetWriteDeadline(d)
	}
	s.wakeAt(d)
	return nil
}

// wakeAt lets those who wait for an answer look at the clock at d.
func (s *Stream) wakeAt(d time.Time) {
	s.changed.Broadcast()
	if wait := time.Until(d); !d.IsZero() && wait > 0 {
		time.AfterFunc(wait, s.changed.Broadcast)
	}
}

func passed(d time.Time) bool { return !d.IsZero() && !time.Now().Before(d) }
