package bulk

import (
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/jumpget/jumpget/internal/congestion"
	"github.com/jumpget/jumpget/internal/span"
)

func hexOf(b []byte) string { return hex.EncodeToString(b) }

const keyIDOfA = "8fe96bd2691b154979121145756b86fd"

const sessionKeyIDOfA = "aecda563245776d5f91b64450fbf997e"

// pair returns both ends of a direction under one key.
func pair(s suite) (*sealer, *opener) {
	var key [32]byte
	key[0] = byte(s)
	return newSealer(s, key), newOpener(s, key)
}

// sealed seals the sealer's next packet.
func sealed(s *sealer, text string) (pkt []byte, low uint32) {
	low = uint32(s.next)
	pkt = append(make([]byte, 0, 200), "head"...)
	pkt = append(pkt, text...)
	return s.seal(pkt, 4), low
}

func TestSealing(t *testing.T) {
	for _, s := range []suite{suiteAES, suiteChaCha} {
		out, in := pair(s)
		for i := range 100 {
			pkt, low := sealed(out, "text")
			for _, bad := range [][]byte{pkt[:len(pkt)-1], pkt[:5], append(slices.Clone(pkt), 0)} {
				if _, _, ok := in.open(slices.Clone(bad), 4, low); ok {
					t.Fatalf("a packet of another length opens")
				}
			}
			for range 5 {
				bad := slices.Clone(pkt)
				bad[rand.IntN(len(bad))] ^= 1
				if _, _, ok := in.open(bad, 4, low); ok {
					t.Fatal("a changed packet opens")
				}
			}
			if _, _, ok := in.open(slices.Clone(pkt), 4, low+1); ok {
				t.Fatal("a packet opens under another number")
			}
			plain, n, ok := in.open(slices.Clone(pkt), 4, low)
			if !ok || string(plain) != "text" || n != uint64(i) {
				t.Fatalf("packet %d gives %q, %d, %v", i, plain, n, ok)
			}
			if _, _, ok := in.open(slices.Clone(pkt), 4, low); ok {
				t.Fatal("a packet opens twice")
			}
		}
	}
}

// Keys change on the way, packets around the change come in any order, and
// numbers go on beyond what fits the wire.
func TestRekeying(t *testing.T) {
	for _, s := range []suite{suiteAES, suiteChaCha} {
		out, in := pair(s)
		const each = 1 << generationBits
		for _, next := range []uint64{each - 10, 2*each - 10, 3*each - 10} {
			out.next = next
			type packet struct {
				pkt []byte
				low uint32
			}
			var pkts []packet
			for range 20 {
				pkt, low := sealed(out, "text")
				pkts = append(pkts, packet{pkt, low})
			}
			if _, _, ok := in.open(slices.Clone(pkts[0].pkt), 4, pkts[0].low); !ok {
				t.Fatalf("a gap of a whole generation but one ends it")
			}
			rand.Shuffle(19, func(i, j int) { pkts[i+1], pkts[j+1] = pkts[j+1], pkts[i+1] })
			for _, p := range pkts[1:] {
				if _, _, ok := in.open(p.pkt, 4, p.low); !ok {
					t.Fatalf("packet %d does not open", p.low)
				}
			}
		}
		if out.gen.number != 3 || in.newest != 3*each+9 {
			t.Errorf("generation %d, newest %d", out.gen.number, in.newest)
		}
		out.next = 7 * each
		pkt, low := sealed(out, "text")
		if _, _, ok := in.open(pkt, 4, low); ok {
			t.Error("a packet from a far generation opens")
		}
	}
}

func TestPacketNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := &opener{newest: rapid.Uint64Range(0, 1<<40).Draw(t, "newest")}
		n := int64(o.newest) + rapid.Int64Range(-1<<30, 1<<30).Draw(t, "offset")
		if n < 0 {
			return
		}
		if got := o.number(uint32(n)); got != uint64(n) {
			t.Fatalf("after %d, %d is read as %d", o.newest, n, got)
		}
	})
}

// What a receiver has got must be what the reader of its acknowledgements
// learns, each number, as long as one ACK in eight arrives.
func TestAcknowledgements(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &receiver{stride: 1}
		loss := rapid.Float64Range(0, 0.9).Draw(t, "loss")
		each := rapid.IntRange(1, 400).Draw(t, "packets between acknowledgements")
		room := rapid.IntRange(600, 1150).Draw(t, "room")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		got, told := map[uint64]int64{}, map[uint64]bool{}
		next := uint64(0)
		for i := range 40 {
			order := make([]uint64, each)
			for k := range order {
				order[k] = next
				next++
			}
			rng.Shuffle(min(10, each), func(a, b int) { order[a], order[b] = order[b], order[a] })
			for k, n := range order {
				if rng.Float64() >= loss {
					at := int64(i*10000 + k)
					got[n] = at
					r.add(n, at)
				}
			}
			if !r.any {
				continue
			}
			now := int64(i*10000 + 9999)
			b := r.appendAck(nil, now, int64(rng.IntN(3)-1)<<12, room)
			if len(b) > room {
				t.Fatalf("an ACK of %d bytes, room is %d", len(b), room)
			}
			if i%7 != 0 && i < 35 {
				continue // lost
			}
			var f fromClient
			if err := f.parse(b); err != nil {
				t.Fatal(err)
			}
			checkAck(t, r, &f.ack, got, told, now)
		}
		if each*9 < room*4 { // all of eight intervals fits
			for n := range got {
				if !told[n] {
					t.Fatalf("%d of %d was never acknowledged", n, next)
				}
			}
		}
	})
}

func checkAck(t *rapid.T, r *receiver, a *ackFrame, got map[uint64]int64, told map[uint64]bool, now int64) {
	if a.newest != r.newest || a.now != now {
		t.Fatalf("newest %d, now %d", a.newest, a.now)
	}
	before := a.newest + 1
	for _, run := range a.received {
		if run.high >= before || run.low > run.high {
			t.Fatalf("runs %v", a.received)
		}
		for n := run.low; n <= run.high; n++ {
			if _, ok := got[n]; !ok {
				t.Fatalf("%d has not come and is acknowledged", n)
			}
			told[n] = true
		}
		before = run.low
	}
	for _, s := range a.samples {
		if at, ok := got[s.number]; !ok || at != s.at {
			t.Fatalf("sample %+v, it came at %d, %v", s, at, ok)
		}
	}
}

// What reorders is not lost, once that is known, and what is lost is found
// within the time that the protocol allows.
func TestLossByTime(t *testing.T) {
	l := newLedger(nil)
	l.srtt = 80 * time.Millisecond
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	for i := range 100 {
		l.add(record{n: 1, sent: ms(i), off: int64(i)})
	}
	var lost []uint64
	note := func(r *record) { lost = append(lost, r.number) }
	l.ack(9)
	l.detect(ms(89), note)
	if len(lost) != 0 {
		t.Fatalf("%v are given up 9 ms after", lost)
	}
	l.ack(12)
	l.detect(ms(92), note)
	if !slices.Equal(lost, []uint64{0, 1, 2}) {
		t.Fatalf("%v are given up, want those sent 10 ms or more before", lost)
	}
	l.ack(0) // it was late by 12 ms and not lost
	lost = nil
	l.ack(17)
	if again := l.detect(ms(97), note); len(lost) != 0 && again == 0 {
		t.Fatalf("%v are given up although packets are known to be 12 ms late", lost)
	}
	l.ack(18)
	if l.detect(ms(98), note); !slices.Equal(lost, []uint64{3}) {
		t.Fatalf("%v are given up, want what is more than 15 ms late", lost)
	}
	lost = nil
	again := l.detect(ms(98), note)
	if l.detect(again, note); len(lost) == 0 || slices.Max(lost) >= 18 {
		t.Fatalf("with time alone %v are given up", lost)
	}
}

func TestLedgerGrowsWithinMemory(t *testing.T) {
	left := 3 * firstSlots
	l := newLedger(func(n int) bool {
		if n > left {
			return false
		}
		left -= n
		return true
	})
	n := 0
	for ; l.room(); n++ {
		l.add(record{n: 1})
	}
	if n != 4*firstSlots {
		t.Errorf("%d packets are in flight", n)
	}
	for i := range uint64(n) {
		if r := l.get(i); r == nil || r.number != i {
			t.Fatalf("packet %d is gone", i)
		}
	}
	l.ack(0)
	l.ack(1)
	l.expire(1, func(*record) {})
	if l.flying != 0 || !l.room() {
		t.Errorf("%d in flight, room %v", l.flying, l.room())
	}
}

func TestRunsAgainstBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r runs
		var model [64]bool
		for range rapid.IntRange(1, 30).Draw(t, "n") {
			a, b := rapid.Int64Range(0, 63).Draw(t, "a"), rapid.Int64Range(0, 64).Draw(t, "b")
			sp := span.Span{Start: a, End: max(a, b)}
			var fresh int64
			got := r.add(sp, func(sp span.Span) {
				for i := sp.Start; i < sp.End; i++ {
					if model[i] {
						t.Fatalf("byte %d is told as new twice", i)
					}
					model[i] = true
					fresh++
				}
			})
			if got != fresh {
				t.Fatalf("%d new bytes, told as %d", fresh, got)
			}
			for i := sp.Start; i < sp.End; i++ {
				if !model[i] {
					t.Fatalf("byte %d is missing", i)
				}
			}
		}
		for i := 1; i < len(r.list); i++ {
			if r.list[i].Start <= r.list[i-1].End {
				t.Fatalf("the list is %v", r.list)
			}
		}
		within := span.Span{Start: 3, End: 60}
		missing := r.missing(within)
		for i := within.Start; i < within.End; i++ {
			gone := slices.ContainsFunc(missing, func(sp span.Span) bool { return i >= sp.Start && i < sp.End })
			if gone == model[i] {
				t.Fatalf("byte %d: missing %v, there %v", i, gone, model[i])
			}
		}
	})
}

func TestSegmentHeap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		offs := rapid.SliceOfN(rapid.Int64Range(0, 1000), 1, 50).Draw(t, "offsets")
		var h segmentHeap
		for _, o := range offs {
			h.push(segment{off: o, n: 1})
		}
		slices.Sort(offs)
		for _, want := range offs {
			if got := h.pop().off; got != want {
				t.Fatalf("got %d, want %d", got, want)
			}
		}
	})
}

// Every packet of the hot paths is made and read without an allocation.
func TestNoAllocations(t *testing.T) {
	out, in := pair(suiteAES)
	var relay fromRelay
	buf := make([]byte, 0, maxPacket)
	if n := testing.AllocsPerRun(1000, func() {
		number := out.next
		pkt := appendAnswer(buf, 7, nil, number)
		pkt = append(pkt, frameData, 5)
		pkt = out.seal(append(pkt, pattern[:1400]...), dataHead)
		a, _ := parseAnswer(pkt, 7)
		plain, _, ok := in.open(pkt, a.head, a.low)
		if !ok || relay.parse(plain) != nil {
			t.Fatal("it does not open")
		}
	}); n > 0 {
		t.Errorf("%v allocations for a packet of data", n)
	}
	r := &receiver{stride: 1}
	var client fromClient
	next := uint64(0)
	if n := testing.AllocsPerRun(1000, func() {
		for range 50 {
			if next++; next%10 > 0 {
				r.add(next, int64(next))
			}
		}
		if b := r.appendAck(buf, int64(next), -1, 1000); client.parse(b) != nil {
			t.Fatal("it can't be read")
		}
	}); n > 0 {
		t.Errorf("%v allocations for an acknowledgement", n)
	}
}

func TestPathMemory(t *testing.T) {
	synctest.Test(t, func(*testing.T) {
		var m pathMemory
		addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }
		known := congestion.Path{Rate: 1e6, RTT: time.Second}
		m.put(addr(0), congestion.Path{RTT: time.Second}, 1472)
		if m.get(addr(0)) != (remembered{}) {
			t.Error("a path without a rate is remembered")
		}
		for i := range pathsKept + 10 {
			m.put(addr(i), known, 1400)
			time.Sleep(time.Millisecond)
		}
		if n := len(m.paths); n != pathsKept {
			t.Errorf("%d paths are kept", n)
		}
		if m.get(addr(9)) != (remembered{}) || m.get(addr(10)).path != known || m.get(addr(pathsKept+9)).size != 1400 {
			t.Error("it is not the oldest that are forgotten")
		}
		time.Sleep(pathLife)
		if m.get(addr(pathsKept+8)) != (remembered{}) {
			t.Error("an old path is still believed")
		}
	})
}

// On a lossy link one acknowledgement gives up many large packets, and small ones
// come through among them. That is no black hole: later large ones came, too.
func TestLossIsNoBlackHole(t *testing.T) {
	s := newSizer(maxPacket)
	s.acked(maxPacket, 1)
	for n := uint64(2); n < 1000; n += 100 {
		for i := range uint64(100) {
			switch {
			case i%3 == 0 && i < 90: // lost
			case i%10 == 1:
				s.acked(basePacket, n+i)
			default:
				s.acked(maxPacket, n+i)
			}
		}
		for i := uint64(0); i < 90; i += 3 {
			s.lost(maxPacket, n+i, 0)
			if s.hole() {
				t.Fatalf("a black hole is seen at %d", n+i)
			}
		}
	}
	for n := uint64(2000); n < 2020; n++ { // and here there is one
		s.lost(maxPacket, n, 0)
		s.acked(basePacket, n+1000)
	}
	if !s.hole() {
		t.Error("a black hole is not seen")
	}
}
