package bulk

import (
	"encoding/binary"
	"math"
	"slices"
	"time"
)

// repairs makes REPAIRs of the packets that were in flight when all had been
// sent.
type repairs struct {
	first, end uint64 // numbers of these packets
	length     int    // of a symbol
	symbols    []byte // one after the other; zeros for a packet without one
	thin       uint8
	most       int // how many go out at the full rate
	sent       int
	made       time.Duration
	next       time.Duration // when the next may go, after these
	chosen     subset
}

const (
	// repairDegree is how many of the packets in a sum should be missing: that
	// many make the equations independent.
	repairDegree = 16
	// repairSpare are sums beyond those that are expected to be needed, and
	// repairErrors how many standard errors of that number.
	repairSpare  = 4
	repairErrors = 2.5
	// repairSlower is how much slower further ones go.
	repairSlower = 8
	// repairRounds is how many round trips it takes to hear what came of them.
	repairRounds = 1.25
)

// ending tells whether what is sent now may still be in flight when all has
// been sent.
func (p *peer) ending() bool {
	left := p.box.unsent()
	if !p.box.last || !p.load.repairs() || left == 0 && len(p.box.lost) == 0 {
		return false
	}
	return left <= int64(p.cc.InFlight())*5/4+codeLeast*maxPacket || p.led.next < firstSlots/2 && left < codeMost*basePacket/8
}

// hears is how long it takes to hear what came of what is sent now.
func (l *ledger) hears() time.Duration {
	if l.srtt == 0 {
		return firstTimeout
	}
	return time.Duration(repairRounds*float64(l.srtt)) + l.delay
}

// symbolRoom is how long symbols may be.
func (p *peer) symbolRoom() int {
	pending := p.ctl.pending
	p.ctl.pending = 0
	var room [maxPacket]byte
	head, _ := p.head(room[:0])
	p.ctl.pending = pending
	return p.sizer.size - len(head) - tagLen - repairHead
}

// encode takes in what is in flight. It returns nil if that is too little, there
// is no memory, or a byte can't be read.
func (p *peer) encode(now time.Duration) *repairs {
	l := p.led
	if !p.load.repairs() || l.next-l.oldest < codeLeast {
		return nil
	}
	r := &repairs{first: l.oldest, end: l.next, made: now, length: p.symbolRoom()}
	if r.end-r.first > codeMost {
		r.first = r.end - codeMost
	}
	size := int(r.end-r.first) * r.length
	if !p.s.take(int64(size)) {
		return nil
	}
	p.memory += int64(size)
	r.symbols = make([]byte, size)
	flying, gone, ok := p.symbols(r)
	if !ok {
		p.giveBack(r)
		return nil
	}
	r.plan(float64(flying), float64(gone), l)
	return r
}

// giveBack gives the memory of symbols back.
func (p *peer) giveBack(r *repairs) {
	n := int64(len(r.symbols))
	p.memory -= n
	p.s.memory.Add(n)
}

// symbols writes all symbols, and counts the packets that nothing is known of
// yet and those which a client probably misses.
func (p *peer) symbols(r *repairs) (inFlight, gone int, ok bool) {
	for i := range int(r.end - r.first) {
		rec := p.led.get(r.first + uint64(i))
		if rec == nil || !p.symbol(r.symbols[i*r.length:][:r.length], rec) {
			return 0, 0, false
		}
		switch {
		case rec.n == 0:
		case rec.fate == lost, rec.fate == flying && p.led.overdue(rec):
			gone++
		case rec.fate == flying:
			inFlight++
		}
	}
	return inFlight, gone, true
}

// symbol writes a packet's symbol.
func (p *peer) symbol(into []byte, rec *record) bool {
	if rec.n == 0 || symbolHead+int(rec.n) > len(into) {
		return true
	}
	binary.BigEndian.PutUint64(into, uint64(rec.off))
	binary.BigEndian.PutUint16(into[8:], uint16(rec.n))
	return p.load.fetch(rec.segment(), fromRepeat, into[symbolHead:][:rec.n]) == int(rec.n)
}

// plan settles how many sums are made, and of how many packets each.
func (r *repairs) plan(flying, gone float64, l *ledger) {
	p := min(max(l.missing(), 0.001), 0.6)
	lost := p * flying
	needed := lost + repairErrors*math.Sqrt(lost*l.clumping()) + repairSpare
	r.most = int(math.Ceil((min(needed, flying) + gone) / (1 - p)))
	for degree := float64(r.end-r.first) / 4; degree > repairDegree/p && r.thin < thinMost; degree /= 2 {
		r.thin++
	}
}

// append appends the sum that a packet with this number carries.
func (r *repairs) append(b []byte, number uint64) []byte {
	count := int(r.end - r.first)
	f := repairFrame{back: number - r.first, count: count, thin: r.thin}
	b = f.appendHead(b)
	at := len(b)
	b = slices.Grow(b, r.length)[:at+r.length]
	clear(b[at:])
	r.chosen = chosen(r.chosen, number, count, r.thin)
	r.chosen.each(func(i int) { addTo(b[at:], r.symbols[i*r.length:][:r.length]) })
	return b
}

// covers tells whether the code makes up for a packet's loss.
func (r *repairs) covers(rec *record) bool {
	return r != nil && rec.number >= r.first && rec.number < r.end && rec.n > 0 && symbolHead+int(rec.n) <= r.length
}

// repair tells whether a REPAIR is due now.
func (p *peer) repair(now time.Duration) bool {
	if p.uncoded || !p.ended() || !p.idle(now) {
		return false
	}
	if p.sums == nil {
		if p.sums = p.encode(now); p.sums == nil {
			p.uncoded = true
			return false
		}
		p.led.coded = p.sums
	}
	switch r := p.sums; {
	case now > r.made+p.led.hears():
		p.uncode(true)
		return false
	case r.sent < r.most:
		return true
	case now < r.next:
		p.lookAgain(r.next)
		return false
	default:
		slowly := time.Duration(repairSlower * maxPacket / p.repeatRate() * float64(time.Second))
		r.next = max(r.next, now-time.Millisecond) + slowly
		return true
	}
}

// addRepair writes a REPAIR into the burst.
func (p *peer) addRepair(b *burst, room []byte, now time.Duration) bool {
	pending := p.ctl.pending
	p.ctl.pending = 0
	pkt, which := p.head(room)
	p.ctl.pending = pending
	if len(pkt)+repairHead+p.sums.length+tagLen > cap(room) {
		p.uncode(true) // packets have become smaller
		return false
	}
	p.sums.sent++
	p.repeats.tokens -= float64(p.sums.length)
	pkt = p.out.seal(p.sums.append(pkt, p.out.next), p.headLen())
	b.add(pkt)
	p.enter(record{size: int32(len(pkt)), ctl: which, repair: true}, now)
	return true
}

// uncode forgets the code; for good, or until all has been sent once more.
func (p *peer) uncode(forGood bool) {
	p.uncoded = forGood
	if p.sums == nil {
		return
	}
	p.giveBack(p.sums)
	p.sums, p.led.coded = nil, nil
}
