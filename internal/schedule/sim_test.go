package schedule

import (
	"time"

	"github.com/jumpget/jumpget/internal/span"
)

// simulation runs a scheduler in virtual time over pipes whose rates may differ
// and change. One step is a millisecond.
type simulation struct {
	s     *Scheduler
	pipes []*pipe
	now   time.Duration
	size  int64
	got   span.Set // independent of the scheduler's own idea
	wire  int64    // all bytes that pipes carried
}

// pipe is one connection: requests reach the other end after half a round
// trip, bytes flow at rate, and take half a round trip back.
type pipe struct {
	w     *Worker
	rtt   time.Duration
	rate  func(now time.Duration) float64 // bytes a second
	queue []asked
	carry float64
	dead  bool
}

type asked struct {
	span  span.Span
	ready time.Duration // when the first byte may arrive
}

func newSimulation(size int64) *simulation {
	m := &simulation{size: size}
	m.s = New(size, func(sp span.Span) []span.Span { return []span.Span{sp} })
	m.s.Grow(size, size, nil)
	return m
}

func (m *simulation) add(rtt time.Duration, rate func(time.Duration) float64) *pipe {
	p := &pipe{w: m.s.Join(m.now, TCP, rtt), rtt: rtt, rate: rate}
	m.pipes = append(m.pipes, p)
	return p
}

func steady(rate float64) func(time.Duration) float64 {
	return func(time.Duration) float64 { return rate }
}

// step lets one millisecond pass.
func (m *simulation) step() {
	m.now += time.Millisecond
	for _, p := range m.pipes {
		if !p.dead {
			m.ask(p)
			m.flow(p)
		}
	}
}

func (m *simulation) ask(p *pipe) {
	for {
		piece := m.s.Assign(m.now, p.w)
		if piece == nil {
			return
		}
		p.queue = append(p.queue, asked{piece.Span, m.now + p.rtt})
	}
}

func (m *simulation) flow(p *pipe) {
	if len(p.queue) == 0 || m.now < p.queue[0].ready {
		p.carry = 0
		return
	}
	p.carry += p.rate(m.now) / 1000
	for n := int64(p.carry); n > 0 && len(p.queue) > 0; {
		r := &p.queue[0]
		k := min(n, r.span.Len())
		got := span.Span{Start: r.span.Start, End: r.span.Start + k}
		want := m.s.Arrived(m.now, p.w, got.Start, int(k))
		m.got.Add(got)
		m.wire += k
		n -= k
		p.carry -= float64(k)
		r.span.Start += k
		if r.span.Len() == 0 || want <= got.End {
			m.s.Finished(p.w)
			p.queue = p.queue[1:]
			if len(p.queue) > 0 {
				p.queue[0].ready = max(p.queue[0].ready, m.now)
			}
		}
	}
}

// kill breaks a connection, and a fresh one takes its place.
func (m *simulation) kill(p *pipe) {
	m.s.Leave(p.w)
	p.queue, p.carry = nil, 0
	p.w = m.s.Join(m.now, TCP, p.rtt)
}

// run lets time pass until everything is here; it fails after limit.
func (m *simulation) run(t interface{ Fatalf(string, ...any) }, limit time.Duration, each func()) time.Duration {
	for m.got.Len() < m.size {
		if m.now > limit {
			t.Fatalf("after %v %d of %d bytes are here; free are %v", m.now, m.got.Len(), m.size, m.s.free.Spans())
		}
		if each != nil {
			each()
		}
		m.step()
	}
	if m.s.missing() != 0 {
		t.Fatalf("all is here, but the scheduler misses %d bytes", m.s.missing())
	}
	return m.now
}

// checkBytes holds the invariant: every byte is here, free, or asked for.
func (m *simulation) checkBytes(t interface{ Fatalf(string, ...any) }) {
	all := m.s.have.Clone()
	for _, sp := range m.s.free.Spans() {
		if left := missingLen(m.s.have.Missing(sp)); left != sp.Len() {
			t.Fatalf("%v is free and here", sp)
		}
		all.Add(sp)
	}
	for _, w := range m.s.workers {
		for _, p := range w.pieces {
			all.Add(p.Span)
		}
	}
	if lost := all.Missing(span.Span{End: m.size}); len(lost) > 0 {
		t.Fatalf("lost: %v", lost)
	}
}
