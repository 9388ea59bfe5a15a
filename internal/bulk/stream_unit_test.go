package bulk

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jumpget/jumpget/internal/span"
)

func TestBacklog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := backlog{most: 100}
		var all []byte
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "put") {
				p := rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "p")
				n := b.put(p)
				if want := min(len(p), 100-int(int64(len(all))-b.base)); n != want {
					t.Fatalf("%d bytes are taken, want %d", n, want)
				}
				all = append(all, p[:n]...)
				continue
			}
			b.free(rapid.Int64Range(0, 200).Draw(t, "free"))
			if b.end() != int64(len(all)) {
				t.Fatalf("%d bytes were written, it says %d", len(all), b.end())
			}
			off := rapid.Int64Range(0, 200).Draw(t, "off")
			got := make([]byte, 30)
			n := b.read(got, off)
			if off < b.base || off >= b.end() {
				if n > 0 {
					t.Fatalf("%d bytes are read that are not there", n)
				}
				continue
			}
			if want := all[off:min(off+30, b.end())]; !bytes.Equal(got[:n], want) {
				t.Fatalf("at %d it reads %v, want %v", off, got[:n], want)
			}
		}
	})
}

// Whatever comes in whatever order, what is read is the stream, and no more is
// kept than was promised.
func TestAssembly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stream := bytesOf(2000)
		a := assembly{window: 100}
		var got []byte
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if rapid.IntRange(0, 3).Draw(t, "read") == 0 {
				p := make([]byte, rapid.IntRange(0, 150).Draw(t, "n"))
				n := a.take(p)
				got = append(got, p[:n]...)
				continue
			}
			limit := a.limit()
			off := max(0, min(1900, a.next+rapid.Int64Range(-50, 120).Draw(t, "off")))
			n := rapid.Int64Range(1, 100).Draw(t, "n")
			if ok := a.put(off, stream[off:off+n]); ok != (off+n <= limit) {
				t.Fatalf("[%d, %d) is taken: %v, the limit is %d", off, off+n, ok, limit)
			}
			if len(a.buf) > a.window || a.limit() < limit {
				t.Fatalf("%d bytes are kept, the limit is %d after %d", len(a.buf), a.limit(), limit)
			}
			for i, r := range a.got.list {
				if r.Start <= a.next || i > 0 && r.Start <= a.got.list[i-1].End {
					t.Fatalf("beyond %d it has %v", a.next, a.got.list)
				}
			}
		}
		if !bytes.Equal(got, stream[:len(got)]) {
			t.Fatal("other bytes are read")
		}
	})
}

// Bytes that come one here and one there must not take memory without bound.
func TestAssemblyOfManyGaps(t *testing.T) {
	a := assembly{window: 1 << 20}
	for i := int64(0); i < 1<<20; i += 2 {
		a.put(i+1, []byte{1})
	}
	if n := len(a.got.list); n > mostGaps {
		t.Errorf("%d gaps are kept", n)
	}
	if !a.put(0, []byte{1}) || a.next != 2 {
		t.Error("the first byte is refused, which closes a gap")
	}
}

func TestStreamFrames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := streamAck{next: rapid.Int64Range(0, 1<<40).Draw(t, "next")}
		at := a.next
		for range rapid.IntRange(0, mostRuns+3).Draw(t, "runs") {
			start := at + rapid.Int64Range(1, 1<<20).Draw(t, "gap")
			at = start + rapid.Int64Range(1, 1<<20).Draw(t, "length")
			a.runs = append(a.runs, span.Span{Start: start, End: at})
		}
		a.limit = at + rapid.Int64Range(0, 1<<20).Draw(t, "room")
		data := rapid.SliceOfN(rapid.Byte(), 1, 1000).Draw(t, "data")
		off := rapid.Int64Range(0, 1<<50).Draw(t, "off")
		b := append(streamHead(a.append(nil), off, len(data)), data...)
		var c fromClient
		var r fromRelay
		if c.parse(b) != nil || r.parse(b) != nil {
			t.Fatal("it can't be read")
		}
		for _, got := range []*streamAck{&c.heard, &r.heard} {
			if got.next != a.next || got.limit != a.limit || len(got.runs) != min(len(a.runs), mostRuns) {
				t.Fatalf("%+v is read as %+v", a, got)
			}
			for i, run := range got.runs {
				if run != a.runs[i] {
					t.Fatalf("%+v is read as %+v", a, got)
				}
			}
		}
		if c.stream.off != off || !bytes.Equal(c.stream.data, data) || r.stream.off != off || !bytes.Equal(r.stream.data, data) {
			t.Fatalf("%d bytes at %d are read as %d at %d", len(data), off, len(c.stream.data), c.stream.off)
		}
	})
}

// upLink is a link for an upstream without sockets.
type upLink struct {
	u       upstream
	rng     *rand.Rand
	a       assembly
	now     time.Duration
	rtt     time.Duration
	rate    float64 // bytes a second
	loss    float64
	free    time.Duration
	packets []flight    // to arrive
	acks    []streamAck // to arrive
	ackAt   []time.Duration
	sent    int
	queue   time.Duration // the longest
}

// run carries n bytes and returns how long that took.
func (l *upLink) run(t *testing.T, n int64) time.Duration {
	data := make([]byte, n)
	l.a.window = int(n)
	l.u.begin(0, 0)
	l.u.learn(l.rtt, l.loss)
	l.u.limit = n
	for ; l.u.base < n; l.now += time.Millisecond / 4 {
		if l.now > 5*time.Minute {
			t.Fatalf("after %v %d bytes have come", l.now, l.u.base)
		}
		l.deliver(data)
		for sp, _ := l.u.next(l.now, n); sp.Len() > 0; sp, _ = l.u.next(l.now, n) {
			if sp.Len() > upPacket || sp.Start < l.u.base || sp.End > n {
				t.Fatalf("it sends %v", sp)
			}
			l.u.sent(sp, l.now)
			l.sent += int(sp.Len())
			l.free = max(l.free, l.now) + time.Duration(float64(sp.Len())/l.rate*1e9)
			l.queue = max(l.queue, l.free-l.now)
			if l.rng.Float64() >= l.loss {
				l.packets = append(l.packets, flight{Span: sp, sent: l.free + l.rtt/2})
			}
		}
	}
	return l.now
}

func (l *upLink) deliver(data []byte) {
	for len(l.packets) > 0 && l.packets[0].sent <= l.now {
		p := l.packets[0]
		l.packets = l.packets[1:]
		l.a.put(p.Start, data[p.Start:p.End])
		if l.rng.Float64() < l.loss {
			continue
		}
		a := streamAck{next: l.a.next, limit: int64(len(data))}
		a.runs = append(a.runs, l.a.got.list[:min(mostRuns, len(l.a.got.list))]...)
		l.acks, l.ackAt = append(l.acks, a), append(l.ackAt, l.now+l.rtt/2)
	}
	for len(l.acks) > 0 && l.ackAt[0] <= l.now {
		l.u.acknowledge(&l.acks[0], l.now)
		l.acks, l.ackAt = l.acks[1:], l.ackAt[1:]
	}
}

func TestUpstream(t *testing.T) {
	const ms = time.Millisecond
	for name, tt := range map[string]struct {
		rtt   time.Duration
		mbps  float64
		loss  float64
		most  time.Duration // for 500 kB
		queue time.Duration
		extra float64 // share of bytes beyond those that the losses make necessary
	}{
		"clean":       {50 * ms, 20, 0, 600 * ms, 30 * ms, 0.05},
		"far":         {300 * ms, 20, 0, 3500 * ms, 30 * ms, 0.05},
		"loss 5 %":    {100 * ms, 20, 0.05, 1500 * ms, 30 * ms, 0.05},
		"loss 30 %":   {100 * ms, 20, 0.3, 3000 * ms, 30 * ms, 0.1},
		"thin uplink": {50 * ms, 1, 0, 4800 * ms, 100 * ms, 0.05},
		"near":        {time.Millisecond, 100, 0, 100 * ms, 30 * ms, 0.05},
	} {
		t.Run(name, func(t *testing.T) {
			const runs = 20
			var took, queue time.Duration
			var extra float64
			for seed := range uint64(runs) {
				l := upLink{rng: rand.New(rand.NewPCG(seed, 1)), rtt: tt.rtt, rate: tt.mbps * 1e6 / 8, loss: tt.loss}
				took += l.run(t, 500e3) / runs
				extra += (float64(l.sent)*(1-tt.loss)/500e3 - 1) / runs
				queue = max(queue, l.queue)
			}
			t.Logf("%v, queue %v, %.0f %% extra", took, queue, 100*extra)
			if took > tt.most || queue > tt.queue || extra > tt.extra {
				t.Errorf("it took %v, with a queue of %v and %.0f %% of bytes in vain", took, queue, 100*extra)
			}
		})
	}
}

// What is small and last is sent more than once where packets get lost, and once
// where none does.
func TestUpstreamTail(t *testing.T) {
	for _, tt := range []struct {
		missing float64
		want    int
	}{{0.001, 1}, {0.1, 2}, {0.2, 3}, {0.5, 4}} {
		var u upstream
		u.begin(0, 0)
		u.learn(100*time.Millisecond, tt.missing)
		u.limit = 1000
		sent := 0
		for now := time.Duration(0); now < 90*time.Millisecond; now += time.Millisecond {
			if sp, _ := u.next(now, 300); sp.Len() > 0 {
				if (sp != span.Span{End: 300}) {
					t.Fatalf("it sends %v", sp)
				}
				u.sent(sp, now)
				sent++
			}
		}
		if sent != tt.want {
			t.Errorf("at a loss of %v it is sent %d times", tt.missing, sent)
		}
		u.acknowledge(&streamAck{next: 300, limit: 1000}, 100*time.Millisecond)
		if sp, again := u.next(time.Second, 300); sp.Len() > 0 || again != 0 || len(u.flights) > 0 {
			t.Errorf("after its end it sends %v", sp)
		}
	}
}

// An answered PING tells that what was sent well before it is lost.
func TestUpstreamPong(t *testing.T) {
	const ms = time.Millisecond
	var u upstream
	u.begin(0, 0)
	u.learn(100*ms, 0)
	u.limit = 1000
	sp, _ := u.next(0, 300)
	u.sent(sp, 0)
	u.pong(20*ms, 120*ms)
	if sp, again := u.next(120*ms, 300); sp.Len() > 0 || again == 0 {
		t.Errorf("what was sent 20 ms before counts as lost, with a round trip of 100 ms")
	}
	u.pong(40*ms, 140*ms)
	if sp, _ := u.next(140*ms, 300); (sp != span.Span{End: 300}) {
		t.Errorf("then it sends %v", sp)
	}
}

// A relay that tells of bytes which were never sent is not believed.
func TestUpstreamLies(t *testing.T) {
	var u upstream
	u.begin(0, 100)
	u.learn(time.Millisecond, 0.2)
	u.limit = 1000
	sp, _ := u.next(0, 300)
	u.sent(sp, 0)
	u.acknowledge(&streamAck{next: 301, limit: 5000}, time.Millisecond)
	u.acknowledge(&streamAck{next: 100, limit: 5000, runs: []span.Span{{Start: 200, End: 301}}}, time.Millisecond)
	if u.base != 100 || u.limit != 1000 || len(u.sack.list) > 0 {
		t.Errorf("it believes base %d, limit %d, %v", u.base, u.limit, u.sack.list)
	}
}
