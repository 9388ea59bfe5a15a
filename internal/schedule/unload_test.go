package schedule

import (
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/span"
)

// everything is what is missing of a file of which nothing is here.
func everything(sp span.Span) []span.Span { return []span.Span{sp} }

// UDP asks for much at once, since that costs nothing while it works alone. When
// TCP is let in beside a UDP that has turned out slow, most of that must be TCP's
// to take: what UDP owes would otherwise be what everybody waits for.
func TestASlowUDPGivesUpWhatTCPCanBring(t *testing.T) {
	const size = 10 << 20
	s := New(size, everything)
	s.Grow(size, size, everything)
	s.allow[TCP] = None
	udp, tcp := s.Join(0, UDP, 100*time.Millisecond), s.Join(0, TCP, 100*time.Millisecond)
	for s.Assign(0, udp) != nil {
		continue
	}
	now, off := time.Duration(0), int64(0)
	for ; off < 400e3; off += 1000 { // at 200 kB/s
		now += 5 * time.Millisecond
		s.Arrived(now, udp, off, 1000)
	}
	s.allow[TCP] = Full
	s.unload(now)
	if got := s.backlog(udp); got < 100e3 || got > 512<<10 {
		t.Errorf("UDP keeps %d bytes, at 200 kB/s", got)
	}
	if p := s.Assign(now, tcp); p == nil || p.shared {
		t.Errorf("TCP gets %+v", p)
	}
	// No byte is lost by it: what nobody owes is free.
	owed := span.Set{}
	for _, w := range s.workers {
		for _, p := range w.pieces {
			owed.Add(p.Span)
		}
	}
	for _, sp := range s.free.Spans() {
		owed.Add(sp)
	}
	for _, sp := range s.have.Spans() {
		owed.Add(sp)
	}
	if missing := owed.Missing(span.Span{End: size}); len(missing) > 0 {
		t.Errorf("nobody asks for %v", missing)
	}
	// And the first bytes that UDP was asked for are still its own.
	if first := udp.pieces[0]; first.Start > off || first.End <= off {
		t.Errorf("UDP's first piece is %v, and it has brought %d", first.Span, off)
	}
	// It does not take it all back.
	for s.Assign(now, udp) != nil {
		continue
	}
	if got := s.backlog(udp); got > 1<<20 {
		t.Errorf("UDP has taken %d bytes", got)
	}
}
