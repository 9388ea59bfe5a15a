package schedule

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jumpget/jumpget/internal/span"
)

func TestNoByteIsEverLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(1, 8<<20).Draw(t, "size")
		m := newSimulation(size)
		for range rapid.IntRange(1, 12).Draw(t, "pipes") {
			rtt := time.Duration(rapid.IntRange(1, 300).Draw(t, "rtt")) * time.Millisecond
			m.add(rtt, steady(float64(rapid.IntRange(200<<10, 8<<20).Draw(t, "rate"))))
		}
		seed := rapid.Uint64().Draw(t, "seed")
		rnd := rand.New(rand.NewPCG(seed, 0))
		faults := rapid.IntRange(0, 12).Draw(t, "faults")
		m.run(t, 5*time.Minute, func() {
			switch n := rnd.IntN(800); {
			case faults == 0 || n > 1:
			case n == 0:
				faults--
				m.kill(m.pipes[rnd.IntN(len(m.pipes))])
			default: // a chunk was found to be wrong
				faults--
				at := rnd.Int64N(size)
				sp := span.Span{Start: at, End: min(size, at+1<<18)}
				m.s.Need(sp)
				m.got.Remove(sp)
			}
			if rnd.IntN(100) == 0 {
				m.checkBytes(t)
			}
		})
	})
}

func TestEqualPipesEndTogether(t *testing.T) {
	m := newSimulation(30 << 20)
	for range 8 {
		m.add(100*time.Millisecond, steady(1<<20))
	}
	took := m.run(t, time.Minute, nil)
	ideal := 30.0 / 8
	if got := took.Seconds(); got > ideal+0.1+0.25 {
		t.Errorf("took %.2f s, with nothing wasted it is %.2f s and a round trip", got, ideal)
	}
	if m.wire > m.size+m.size/50 {
		t.Errorf("carried %d bytes for %d", m.wire, m.size)
	}
}

func TestUnequalPipesLoseLittle(t *testing.T) {
	m := newSimulation(32 << 20)
	total := 0.0
	for i := range 16 {
		rate := float64(int(64<<10) << (i % 5)) // 64 KiB/s to 1 MiB/s
		total += rate
		m.add(200*time.Millisecond, steady(rate))
	}
	took := m.run(t, 5*time.Minute, nil).Seconds()
	if ideal := float64(m.size) / total; took > 1.08*ideal+0.4 {
		t.Errorf("took %.2f s where %.2f s would be ideal", took, ideal)
	}
	if m.wire > m.size+m.size/20 {
		t.Errorf("carried %d bytes for %d", m.wire, m.size)
	}
}

func TestAStalledPipeIsRobbed(t *testing.T) {
	m := newSimulation(8 << 20)
	for range 3 {
		m.add(50*time.Millisecond, steady(1<<20))
	}
	m.add(50*time.Millisecond, func(now time.Duration) float64 {
		if now > 500*time.Millisecond {
			return 0 // and never closed
		}
		return 1 << 20
	})
	took := m.run(t, time.Minute, nil).Seconds()
	if took > 3.6 { // three pipes carry it in 2.7 s
		t.Errorf("took %.2f s", took)
	}
}

func TestRobbingIsBounded(t *testing.T) {
	m := newSimulation(64 << 20)
	seed := rand.New(rand.NewPCG(1, 2))
	for range 16 { // pipes that die and live again make every estimate wrong
		phase := time.Duration(seed.IntN(2000)) * time.Millisecond
		m.add(100*time.Millisecond, func(now time.Duration) float64 {
			return 2 << 20 * math.Max(0, math.Sin(float64(now+phase)/3e8))
		})
	}
	m.run(t, 5*time.Minute, nil)
	if extra := m.wire - m.size; extra > max(8<<20, m.size/8) {
		t.Errorf("%d bytes came twice", extra)
	}
}

func TestUnknownSizeAsksForWhatTheRelayHas(t *testing.T) {
	everything := func(sp span.Span) []span.Span { return []span.Span{sp} }
	s := New(UnknownSize, everything)
	w := s.Join(0, TCP, time.Millisecond)
	if p := s.Assign(0, w); p != nil {
		t.Fatalf("asked for %v of nothing", p.Span)
	}
	s.Grow(100_000, UnknownSize, everything)
	p := s.Assign(0, w)
	if p == nil || p.Start != 0 || p.End > 100_000 {
		t.Fatalf("got %v", p)
	}
	s.Arrived(time.Second, w, 0, int(p.Len()))
	s.Finished(w)
	s.Grow(150_000, 150_000, everything)
	for p = s.Assign(time.Second, w); p != nil; p = s.Assign(time.Second, w) {
		s.Arrived(time.Second, w, p.Start, int(p.Len()))
		s.Finished(w)
	}
	if s.missing() != 0 || s.end() != 150_000 {
		t.Fatalf("%d left of %d", s.missing(), s.end())
	}
}

func TestResumeAsksOnlyForWhatIsMissing(t *testing.T) {
	gap := span.Span{Start: 3 << 20, End: 4 << 20}
	s := New(10<<20, func(span.Span) []span.Span { return []span.Span{gap} })
	w := s.Join(0, TCP, 0)
	p := s.Assign(0, w)
	if p == nil || p.Start != gap.Start || p.End > gap.End || s.missing() != gap.Len() {
		t.Fatalf("asked for %v, %d left", p, s.missing())
	}
}

func TestWrongBytesAreAskedForOverSSH(t *testing.T) {
	nothing := func(span.Span) []span.Span { return nil }
	s := New(1<<20, nothing)
	s.Grow(1<<20, 1<<20, nothing)
	tcp, ssh := s.Join(0, TCP, 0), s.Join(0, SSH, 0)
	s.Distrust(span.Span{Start: 1000, End: 2000})
	if p := s.Assign(0, tcp); p != nil {
		t.Fatalf("the door was asked for %v", p.Span)
	}
	if p := s.Assign(0, ssh); p == nil || p.Span != (span.Span{Start: 1000, End: 2000}) {
		t.Fatalf("ssh was asked for %v", p)
	}
}

func TestASlowConnectionIsReplacedFarFromTheEnd(t *testing.T) {
	m := newSimulation(512 << 20)
	for range 5 {
		m.add(50*time.Millisecond, steady(4<<20))
	}
	slow := m.add(50*time.Millisecond, steady(100<<10))
	var found time.Duration
	for m.now < 15*time.Second && found == 0 {
		m.step()
		switch w := m.s.Slowest(m.now, TCP); w {
		case nil:
		case slow.w:
			found = m.now
		default:
			t.Fatal("a fast one was chosen")
		}
	}
	if found < slowFor || found > 3*slowFor {
		t.Errorf("found after %v", found)
	}
}

func TestMeter(t *testing.T) {
	var m meter
	m.start(0)
	if m.at(time.Second) != 0 && m.at(0) != 0 {
		t.Error("a rate out of nothing")
	}
	for now := time.Duration(0); now < 3*time.Second; now += 5 * time.Millisecond {
		m.add(now, 5000)
	}
	if r := m.at(3 * time.Second); r < 0.95e6 || r > 1.05e6 {
		t.Errorf("measured %.0f, want about 1e6", r)
	}
	if r := m.at(8 * time.Second); r > 0.05e6 {
		t.Errorf("after silence %.0f", r)
	}
	m.start(8 * time.Second)
}

func TestAnAnswerThatIsShorterThanAsked(t *testing.T) {
	m := newSimulation(1 << 20)
	w := m.s.Join(0, TCP, 0)
	p := m.s.Assign(0, w)
	whole := p.Span
	m.s.Arrived(0, w, whole.Start, 1000)
	if rest := m.s.Finished(w); !rest {
		t.Error("nobody would be woken for the rest")
	}
	m.checkBytes(t)
	if p = m.s.Assign(0, w); p == nil || p.Start != whole.Start+1000 {
		t.Fatalf("next is %v", p)
	}
}

// Whatever the estimates say, only so many bytes are asked for twice.
func TestDuplicatesHaveABudget(t *testing.T) {
	const size = 32 << 20
	m := newSimulation(size)
	budget := m.s.dupBudget + m.s.stallBudget
	if budget > size/2 {
		t.Fatalf("a budget of %d bytes", budget)
	}
	for m.s.free.Len() > 0 { // all is asked for by workers that will never bring any
		w := m.s.Join(0, TCP, time.Millisecond)
		for m.s.Assign(0, w) != nil {
		}
	}
	var twice int64
	for i := range 1000 {
		now := time.Duration(i) * time.Second
		w := m.s.Join(now, TCP, time.Millisecond)
		w.meter.start(now - time.Second)
		w.meter.add(now, 1<<20) // it looks promising
		for p := m.s.Assign(now, w); p != nil; p = m.s.Assign(now, w) {
			twice += p.Len()
		}
		m.s.Leave(w)
	}
	if twice == 0 || twice > budget {
		t.Errorf("%d bytes were asked for again", twice)
	}
	m.checkBytes(t)
}

// What the relay has is asked for at once, though others wait for the origin.
func TestNothingWaitsBehindTheOrigin(t *testing.T) {
	const has = 2 << 20
	s := New(4<<20, func(sp span.Span) []span.Span { return []span.Span{sp} })
	s.Grow(has, 4<<20, nil)
	var workers []*Worker
	for range 4 {
		workers = append(workers, s.Join(0, TCP, time.Millisecond))
	}
	lost := s.Assign(0, workers[0])
	for busy := true; busy; { // everybody takes what there is
		busy = false
		for _, w := range workers[1:] {
			busy = s.Assign(0, w) != nil || busy
		}
	}
	for _, w := range workers[1:] { // the relay has answered what it could
		for len(w.pieces) > 0 && w.pieces[0].Start < has {
			p := w.pieces[0]
			s.Arrived(0, w, p.Start, int(p.Len()))
			s.Finished(w)
		}
		for s.Assign(0, w) != nil {
		}
	}
	s.Leave(workers[0]) // its connection broke, and what it was asked for is free again
	for _, w := range workers[1:] {
		if p := s.Assign(0, w); p != nil && p.Start == lost.Start {
			if w.pieces[0].Start >= has {
				t.Errorf("it stands behind %v, for which the relay waits", w.pieces[0].Span)
			}
			return
		}
	}
	t.Error("nobody asks for what the relay has")
}

// What was asked for ahead becomes a piece as if it had been assigned.
func TestAdopt(t *testing.T) {
	const size = 20 << 20
	all := func(sp span.Span) []span.Span { return []span.Span{sp} }
	first := span.Span{End: FirstBacklog}
	t.Run("all of it is wanted", func(t *testing.T) {
		s := New(size, all)
		w := s.Join(0, UDP, 0)
		p := s.Adopt(0, w, first)
		if p == nil || p.Span != first || s.free.Contains(span.Span{End: 1}) {
			t.Fatalf("%v; free %v", p, s.free.Spans())
		}
		if next := s.Assign(0, w); next != nil && next.Start < first.End {
			t.Errorf("%v was given as well", next.Span)
		}
		s.Arrived(0, w, 0, int(first.End/2))
		s.Leave(w)
		if free := s.free.Spans(); len(free) != 1 || free[0] != (span.Span{Start: first.End / 2, End: size}) {
			t.Errorf("after it left, free is %v", free)
		}
	})
	t.Run("a small object", func(t *testing.T) {
		s := New(100, all)
		w := s.Join(0, UDP, 0)
		if p := s.Adopt(0, w, first); p == nil || p.End != 100 || !s.Exhausted() {
			t.Errorf("%v", p)
		}
	})
	t.Run("a size that is told later", func(t *testing.T) {
		s := New(UnknownSize, all)
		w := s.Join(0, UDP, 0)
		p := s.Adopt(0, w, first)
		if p == nil {
			t.Fatal("not taken")
		}
		s.Grow(1<<20, UnknownSize, all)
		if s.free.Len() > 0 {
			t.Errorf("free %v", s.free.Spans())
		}
		s.Arrived(0, w, 0, 2<<20)
		s.Grow(2<<20, 2<<20, func(span.Span) []span.Span { return nil }) // as the file says
		if s.Done(w, p); s.missing() != 0 || s.free.Len() != 0 {
			t.Errorf("left %d, free %v", s.missing(), s.free.Spans())
		}
	})
	t.Run("some of it is here", func(t *testing.T) {
		s := New(size, func(sp span.Span) []span.Span {
			here := span.Of(span.Span{Start: 100, End: 200})
			return here.Missing(sp)
		})
		w := s.Join(0, UDP, 0)
		if p := s.Adopt(0, w, first); p != nil {
			t.Errorf("%v", p.Span)
		}
		s.Arrived(0, w, 0, 50) // and yet it counts
		if s.missing() != size-150 {
			t.Errorf("left %d", s.missing())
		}
	})
	t.Run("UDP may not work", func(t *testing.T) {
		s := New(size, all)
		s.allow[UDP] = None
		if p := s.Adopt(0, s.Join(0, UDP, 0), first); p != nil {
			t.Errorf("%v", p.Span)
		}
	})
	t.Run("beyond the end", func(t *testing.T) {
		s := New(100, all)
		if p := s.Adopt(0, s.Join(0, UDP, 0), span.Span{Start: 200, End: 300}); p != nil {
			t.Errorf("%v", p.Span)
		}
	})
}
