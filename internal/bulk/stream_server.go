package bulk

import (
	"io"
	"net/netip"
	"time"
)

// Sessions is where a server finds whose streams it may take.
type Sessions interface {
	// LookupSession returns the session whose key has this id, or false. It is
	// called for each first packet, a stranger's too, and must not block.
	LookupSession(id KeyID) (Session, bool)
}

// Session is what a server needs of one. All methods may be called at the same
// time.
type Session interface {
	// Key is the key whose id was looked up, and the time until which it counts.
	Key() (Key, time.Time)

	// Known tells whether the session's holder has proved before that he receives
	// what is sent to an address. To others little is sent until they have.
	Known(addr netip.Addr) bool

	// Serve gets each new stream, on a goroutine of its own. When it returns, the
	// stream is closed; it has to return soon after the stream has ended.
	Serve(s *Stream)
}

// Times of a stream at a relay.
const (
	drainTime = 10 * time.Second // for what was written before Close
	leastHold = 200 * time.Millisecond
	mostHold  = 3 * time.Second
)

// streamFreight carries a session's stream. What the relay sends is one range
// that grows: as far as it was written, and as the client takes it.
type streamFreight struct {
	p        *peer
	session  Session
	stream   *Stream
	out      *wanted
	serving  bool
	limit    int64         // nothing from here on is taken by the client
	hold     time.Duration // when the client is asked whether it takes more; 0: it takes all
	patience time.Duration // until it is asked again
	closed   time.Duration // when Serve closed the stream; 0: not yet
	heard    streamAck
}

func newStreamFreight(p *peer, session Session) *streamFreight {
	s := &streamFreight{p: p, session: session, out: &wanted{wireRange: wireRange{id: 1}}}
	s.stream = newStream(relayBacklog, relayWindow, p.poke)
	s.stream.reserve = func(bytes int) bool { return p.s.take(int64(bytes)) }
	p.largest = basePacket // it is not for large packets, and its first ones should pass
	p.box.ranges, p.box.last = []*wanted{s.out}, true
	return s
}

func (s *streamFreight) valid() (time.Time, bool) {
	session, ok := s.p.s.cfg.Sessions.LookupSession(s.p.key.ID)
	if !ok {
		return time.Time{}, false
	}
	_, until := session.Key()
	return until, true
}

func (s *streamFreight) allows(addr netip.Addr) (granted, free bool) {
	return true, s.session.Known(addr)
}

func (s *streamFreight) open() {
	if s.serving {
		return
	}
	s.serving = true
	s.p.ctl.set(ctlStream, s.p.led.next)
	s.p.tasks.Go(func() {
		s.session.Serve(s.stream)
		_ = s.stream.Close() // never fails
	})
}

func (s *streamFreight) met(at Path, proven bool) {
	s.stream.moved(at)
	if proven {
		s.stream.hear()
	}
}

// take takes bytes of the client's, and how far it is with ours.
func (s *streamFreight) take(f *fromClient) {
	if f.has.has(frameStreamAck) && f.heard.limit > s.limit {
		s.limit = f.heard.limit
		s.hold = 0
	}
	if f.has.has(frameStream) && s.stream.receive(&f.stream) {
		s.p.ctl.set(ctlStream, s.p.led.next)
	}
}

func (s *streamFreight) look(now time.Duration) {
	p := s.p
	left, closed, risen := s.stream.acknowledged(s.out.acked.From(s.out.off))
	if risen {
		p.ctl.set(ctlStream, p.led.next)
	}
	if closed && s.closed == 0 {
		s.closed = now
	}
	switch {
	case closed && !left:
		p.fail(CodeDone)
		return
	case closed && now-s.closed >= drainTime:
		p.fail(CodeIdle)
		return
	}
	s.ask(now)
}

// ask lets a client that takes no more say so again: that it takes more may have
// been lost.
func (s *streamFreight) ask(now time.Duration) {
	p := s.p
	switch written, _ := s.stream.backlog(); {
	case written <= s.limit || s.out.next < s.limit || p.led.flying > 0 || len(p.box.lost) > 0:
		s.hold = 0
	case s.hold == 0:
		s.patience = max(leastHold, 2*p.led.srtt)
		s.hold = now + s.patience
	case now >= s.hold:
		p.ctl.set(ctlStream, p.led.next)
		s.patience = min(2*s.patience, mostHold)
		s.hold = now + s.patience
	}
}

func (s *streamFreight) due() time.Duration {
	switch {
	case s.closed == 0:
		return s.hold
	case s.hold == 0:
		return s.closed + drainTime
	}
	return min(s.hold, s.closed+drainTime)
}

func (s *streamFreight) ready() bool {
	s.out.off = s.out.acked.From(s.out.off)
	written, more := s.stream.backlog()
	s.out.n = max(s.out.next, min(written, s.limit)) - s.out.off
	s.p.box.last = !more
	return true
}

func (s *streamFreight) available(*wanted) bool { return true }

func (s *streamFreight) fetch(g segment, _ source, into []byte) int {
	return s.stream.again(into, g.off)
}

func (s *streamFreight) repairs() bool { return false }

func (s *streamFreight) frame(b []byte, off int64, n int) []byte { return streamHead(b, off, n) }

// head appends STREAM-ACK. The client must learn of its first bytes' arrival
// from whichever packet comes first.
func (s *streamFreight) head(b []byte, which control, first bool) ([]byte, control) {
	if first {
		which |= ctlStream
	}
	if which&ctlStream != 0 {
		s.stream.tell(&s.heard)
		b = s.heard.append(b)
	}
	return b, which
}

func (s *streamFreight) waiting() bool { return false }

func (s *streamFreight) failed(c Code) {
	switch {
	case s.p.left:
		s.stream.end(io.EOF)
	case c == CodeGone:
		s.stream.end(ErrGone)
	case c == CodeIdle:
		s.stream.end(&SilentError{After: idleTimeout, Answered: s.p.heard})
	default:
		s.stream.end(ErrClosed)
	}
}

func (s *streamFreight) close() { s.p.s.memory.Add(int64(s.stream.memory)) }
