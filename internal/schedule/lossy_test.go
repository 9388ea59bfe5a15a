package schedule

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/span"
)

// bottleneck runs a scheduler in virtual time over TCP connections that share one
// lossy link. Bytes behind a lost packet wait for its retransmission, so each
// connection delivers in fits; each has a share of the link that changes now and
// then, and takes some time to use what others leave.
type bottleneck struct {
	s    *Scheduler
	size int64
	rate float64 // bytes a second
	rtt  time.Duration
	loss float64
	rnd  *rand.Rand

	flows []*tcpFlow
	now   time.Duration
	room  float64 // bytes that the link may still carry in this step
	got   span.Set
	wire  int64 // bytes that were delivered
}

// tcpFlow is one connection.
type tcpFlow struct {
	w        *Worker // nil while it connects
	up       time.Duration
	asked    []*answer
	packets  []packet
	released time.Duration // when the last packet sent will be
	weight   float64
	pace     float64 // bytes a second
	credit   float64
	polled   time.Duration
}

type answer struct {
	span    span.Span // what has not been sent
	begins  time.Duration
	unread  int64
	dropped bool
}

type packet struct {
	answer  *answer
	span    span.Span
	release time.Duration
}

const segment = 1448

func newBottleneck(size int64, rate float64, rtt time.Duration, loss float64, flows int, seed uint64) *bottleneck {
	b := &bottleneck{size: size, rate: rate, rtt: rtt, loss: loss, rnd: rand.New(rand.NewPCG(seed, 1))}
	b.s = New(size, func(sp span.Span) []span.Span { return []span.Span{sp} })
	b.s.Grow(size, size, nil)
	for range flows {
		b.flows = append(b.flows, &tcpFlow{})
	}
	return b
}

// run returns how long the whole took.
func (b *bottleneck) run(t *testing.T) time.Duration {
	t.Helper()
	for b.got.Len() < b.size {
		if b.now > 10*time.Minute {
			t.Fatalf("%d of %d bytes after %v", b.got.Len(), b.size, b.now)
		}
		b.step()
	}
	return b.now
}

func (b *bottleneck) step() {
	b.now += time.Millisecond
	b.room = min(b.room, 0) + b.rate/1000
	redraw := b.now%(2*time.Second) == time.Millisecond
	for _, i := range b.rnd.Perm(len(b.flows)) {
		f := b.flows[i]
		if redraw || f.weight == 0 {
			f.weight = math.Exp(b.rnd.NormFloat64())
		}
		switch {
		case f.w == nil && b.now >= f.up:
			f.w = b.s.Join(b.now, TCP, b.rtt)
			f.pace = 10 * segment / b.rtt.Seconds()
			fallthrough
		case f.w != nil:
			b.deliver(f)
			b.ask(f)
			b.send(f)
		}
	}
}

func (b *bottleneck) ask(f *tcpFlow) {
	if f.w == nil || len(f.asked) > 0 && b.now < f.polled || b.now < f.polled {
		return
	}
	for p := b.s.Assign(b.now, f.w); p != nil; p = b.s.Assign(b.now, f.w) {
		f.asked = append(f.asked, &answer{span: p.Span, begins: b.now + b.rtt/2, unread: p.Len()})
	}
	f.polled = b.now + IdleTick
	if len(f.asked) > 0 {
		f.polled = math.MaxInt64 // until an answer has been read
	}
}

// send gives the tcpFlow's share of the link to what it was asked for.
func (b *bottleneck) send(f *tcpFlow) {
	most := 1.3 * f.weight * b.rate / float64(len(b.flows))
	f.pace = min(f.pace*(1+0.7e-3/b.rtt.Seconds()), most)
	f.credit = min(f.credit+f.pace/1000, 10*segment)
	for _, a := range f.asked {
		for a.span.Len() > 0 { // also what is not wanted any more
			if b.now < a.begins || f.credit < segment || b.room <= 0 {
				return
			}
			n := min(a.span.Len(), segment)
			sp := span.Span{Start: a.span.Start, End: a.span.Start + n}
			a.span.Start += n
			at := b.now + b.rtt/2
			for lost := b.rnd.Float64() < b.loss; lost; lost = b.rnd.Float64() < b.loss {
				at += b.rtt + b.rtt/10
				b.room -= segment
			}
			b.room -= segment
			f.credit -= segment
			f.released = max(f.released, at)
			f.packets = append(f.packets, packet{a, sp, f.released})
		}
	}
}

func (b *bottleneck) deliver(f *tcpFlow) {
	for len(f.packets) > 0 && f.packets[0].release <= b.now {
		p := f.packets[0]
		f.packets = f.packets[1:]
		b.wire += p.span.Len()
		p.answer.unread -= p.span.Len()
		if !p.answer.dropped {
			want := b.s.Arrived(b.now, f.w, p.span.Start, int(p.span.Len()))
			b.got.Add(p.span)
			if p.answer.unread > 0 && want <= p.span.End {
				if p.answer.unread > 64<<10 {
					b.reconnect(f)
					return
				}
				p.answer.dropped = true
			}
		}
		if p.answer.unread == 0 {
			b.s.Finished(f.w)
			f.asked = f.asked[1:]
			f.polled = b.now
		}
	}
}

// reconnect replaces a connection that has more under way than is wanted.
func (b *bottleneck) reconnect(f *tcpFlow) {
	b.s.Leave(f.w)
	*f = tcpFlow{up: b.now + 3*b.rtt, weight: f.weight}
}

// TestTailOfLossyConnections compares how long a file takes with how long the
// same connections need for as many bytes of a larger one, which has no end to
// wait for.
func TestTailOfLossyConnections(t *testing.T) {
	const (
		runs    = 10
		mostRTT = 5.5  // more, on average; a lost packet costs one or two, and some are lost again
		twice   = 0.04 // of the file
	)
	for _, tt := range []struct {
		name  string
		mb    int64
		rate  float64
		rtt   time.Duration
		loss  float64
		flows int
	}{
		{"few on a clean link", 30, 12e6, 50 * time.Millisecond, 0, 8},
		{"few on a mild one", 30, 12e6, 100 * time.Millisecond, 0.01, 8},
		{"many on a mild one", 30, 12e6, 100 * time.Millisecond, 0.01, 32},
		{"a bad link", 30, 12e6, 200 * time.Millisecond, 0.05, 32},
		{"a bad and thinner one", 30, 6e6, 200 * time.Millisecond, 0.05, 32},
		{"an awful one", 30, 6e6, 250 * time.Millisecond, 0.15, 32},
		{"an extreme one", 30, 2.5e6, 300 * time.Millisecond, 0.30, 32},
		{"a policer", 30, 6e6, 100 * time.Millisecond, 0.10, 32},
		{"a thin one", 30, 2.5e6, 250 * time.Millisecond, 0.08, 32},
		{"fibre", 150, 96e6, 20 * time.Millisecond, 0.001, 8},
		{"a very thin one", 10, 0.25e6, 100 * time.Millisecond, 0.01, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var more, again float64
			for seed := range uint64(runs) {
				b := newBottleneck(tt.mb*1e6, tt.rate, tt.rtt, tt.loss, tt.flows, seed)
				took := b.run(t)
				endless := newBottleneck(4*tt.mb*1e6, tt.rate, tt.rtt, tt.loss, tt.flows, seed)
				for endless.wire < b.size {
					endless.step()
				}
				more += (took - endless.now).Seconds() / tt.rtt.Seconds() / runs
				again += float64(b.wire-b.size) / float64(b.size) / runs
			}
			if more > mostRTT || again > twice {
				t.Errorf("%.1f RTT more than without an end, %.1f %% came twice", more, 100*again)
			}
		})
	}
}
