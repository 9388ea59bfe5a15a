package bulk

import (
	"errors"
	"time"

	"github.com/jumpget/jumpget/internal/congestion"
)

// send sends what is due, and returns when to call again even if nothing
// happens.
func (p *peer) send(now time.Duration) time.Duration {
	p.speak(now)
	if p.state == closing || !p.at.granted || !p.load.ready() {
		p.spill(now)
		return p.next(now, congestion.Never)
	}
	buf := p.s.bufs.Get().(*[]byte)
	b := burst{buf: (*buf)[:0]}
	p.hungry, p.held, p.tailAt = false, false, 0
	probes := true
	for p.allowed(len(b.buf), now) {
		size, probe := p.packetSize(now, probes)
		size = min(size, p.at.left()-len(b.buf))
		room := b.room(size)
		if room == nil {
			p.flush(&b, now)
			room = b.room(size)
		}
		switch ok := p.data(&b, room, size, probe, now); {
		case ok:
			continue
		case probe && p.state != closing:
			probes = false // nothing fills a larger packet; an ordinary one may do
			continue
		}
		p.hungry = true
		break
	}
	p.flush(&b, now)
	p.s.bufs.Put(buf)
	p.spill(now)
	switch {
	case p.hungry:
		p.probes = 0
		if p.led.flying == 0 && p.box.rescue() {
			p.s.log.Warn("bytes that a client wants had been forgotten")
			return now
		}
		p.cc.OnAppLimited(now)
		return p.next(now, congestion.Never)
	case p.held:
		p.cc.OnAppLimited(now)
		return p.next(now, congestion.Never)
	}
	return p.next(now, p.cc.NextSend(now))
}

// leastWorth is below what no packet of data is sent with the rest of a budget.
const leastWorth = 300

// allowed tells whether one more packet may be sent now, after so many bytes that
// are about to be. What holds the sender back beside the controller sets held.
func (p *peer) allowed(before int, now time.Duration) bool {
	if p.hungry {
		return false
	}
	if p.held = !p.led.room() || !p.at.affords(before+leastWorth); p.held || p.probes > 0 {
		return !p.held
	}
	if p.held = p.timeouts >= deadAfter; p.held {
		return false
	}
	if p.box.limit > 0 {
		p.limit.fill(now, p.box.limit)
		p.held = p.limit.tokens < maxPacket
	}
	p.held = p.held || p.window >= 0 && int64(p.cc.InFlight()) >= max(p.window, maxPacket)
	return !p.held && p.cc.Allowance(now) >= p.sizer.size+wireOverhead
}

// packetSize chooses the size of the next packet.
func (p *peer) packetSize(now time.Duration, probes bool) (size int, probe bool) {
	if p.small > 0 {
		return basePacket, false
	}
	if probes && p.led.next > p.ccFrom && p.probes == 0 {
		if n := p.sizer.nextProbe(now); n > 0 {
			return n, true
		}
	}
	if p.ending() {
		return p.sizer.size - endSpare, false
	}
	return p.sizer.size, false
}

// head appends a packet's head and the control frames that are due, and
// returns which.
func (p *peer) head(b []byte) ([]byte, control) {
	b = appendAnswer(b, p.client, p.msg2, p.out.next)
	which := p.ctl.pending
	b, which = p.load.head(b, which, p.msg2 != nil)
	if which&ctlPace != 0 {
		b = p.pace.append(b)
	}
	p.ctl.pending = 0
	return b, which
}

// headLen is the length of a packet's clear head.
func (p *peer) headLen() int {
	if p.msg2 != nil {
		return answerHead
	}
	return dataHead
}

// data writes one packet of data into the burst. It reports whether there was
// anything to send.
func (p *peer) data(b *burst, room []byte, size int, probe bool, now time.Duration) bool {
	pending := p.ctl.pending
	pkt, which := p.head(room)
	undo := func() bool {
		p.ctl.pending = pending
		return false
	}
	space := size - len(pkt) - tagLen - 1 // for offset and data
	ch, ok := p.pick(now, space, probe)
	switch {
	case !ok:
		return undo()
	case ch.from == fromCode:
		undo()
		return p.addRepair(b, room, now)
	}
	s := ch.segment
	s.n = min(s.n, int32(size-tagLen-len(p.load.frame(pkt, s.off, 0))))
	pkt = p.load.frame(pkt, s.off, int(s.n))
	at := len(pkt)
	pkt = pkt[:at+int(s.n)]
	n := p.load.fetch(s, ch.from, pkt[at:])
	if n == 0 {
		return undo()
	}
	s.n = int32(n)
	p.commit(s, &ch)
	pkt = p.out.seal(pkt[:at+n], p.headLen())
	b.add(pkt)
	p.record(s, len(pkt), which, probe, now)
	return true
}

// record enters a packet of data into the books.
func (p *peer) record(s segment, size int, which control, probe bool, now time.Duration) {
	if probe {
		p.sizer.sent(p.led.next)
	}
	if p.led.flying == 0 {
		p.news = now
	}
	if p.probes > 0 {
		p.probes--
	}
	if p.small > 0 {
		p.small--
	}
	p.limit.tokens -= float64(s.n)
	p.enter(record{rng: s.rng, off: s.off, n: s.n, size: int32(size), ctl: which}, now)
}

// enter tells the controller and the ledger of a packet.
func (p *peer) enter(r record, now time.Duration) {
	p.cc.OnSent(now, p.led.next, int(r.size)+wireOverhead)
	r.sent = now
	p.led.add(r)
}

// flush sends a burst.
func (p *peer) flush(b *burst, now time.Duration) {
	if len(b.buf) == 0 {
		return
	}
	p.write(b.buf, b.size, &p.at, now)
	*b = burst{buf: b.buf[:0]}
}

// write sends packets of one size to a place.
func (p *peer) write(buf []byte, size int, to *place, now time.Duration) {
	to.sent += int64(len(buf))
	err := p.s.pc.Send(buf, size, to.path)
	if errors.Is(err, ErrTooBig) && size > basePacket {
		p.sizer.refused(size, now)
		p.cc.SetMaxPacket(p.sizer.size + wireOverhead)
	}
}

// source is where the data of a packet comes from.
type source uint8

const (
	fromLost source = iota
	fromNew
	fromRepeat
	fromCode
)

// choice is what to send next. Of what is sent anew only the part counts from
// the first byte on that is not acknowledged.
type choice struct {
	segment
	whole segment // as it was sent before
	from  source
}

// pick chooses what to send next, of at most space bytes. A probe takes only
// what fills it.
func (p *peer) pick(now time.Duration, space int, probe bool) (choice, bool) {
	if s, ok := p.box.nextLost(); ok && (!probe || int(s.n) >= space) {
		rest, _ := p.box.rest(s)
		return choice{rest, s, fromLost}, true
	}
	for w := p.box.nextNew(); w != nil; w = p.box.nextNew() {
		left := p.box.end(w) - w.next
		if probe && left < int64(space) {
			return choice{}, false
		}
		if p.load.available(w) {
			s := segment{w.id, w.next, int32(min(left, int64(space)))}
			return choice{s, s, fromNew}, true
		}
		if p.state == closing {
			return choice{}, false
		}
	}
	if probe {
		return choice{}, false
	}
	if p.probes == 0 && p.repair(now) {
		return choice{from: fromCode}, true
	}
	for s, ok := p.again(now); ok; s, ok = p.again(now) {
		if rest, ok := p.box.rest(s); ok {
			return choice{rest, s, fromRepeat}, true
		}
	}
	return choice{}, false
}

// again chooses what is sent once more although it may still arrive: for a
// timeout, and when that has had its packets, of the tail.
func (p *peer) again(now time.Duration) (segment, bool) {
	if p.probes > 0 {
		if s, ok := p.oldest(); ok || p.timeouts >= deadAfter {
			return s, ok
		}
		p.probes = 0
	}
	return p.repeat(now)
}

// ended tells whether all has been sent and not all is acknowledged.
func (p *peer) ended() bool {
	all, _ := p.box.sent()
	return all && p.box.last && p.led.flying > 0
}

// idle tells whether the path has room for what may be in vain.
func (p *peer) idle(now time.Duration) bool {
	rate := p.repeatRate()
	if p.repeats.fill(now, rate); p.repeats.tokens < maxPacket {
		p.lookAgain(p.repeats.due(now, rate))
		return false
	}
	return true
}

// lookAgain has the tail be asked at a time.
func (p *peer) lookAgain(at time.Duration) {
	if at > 0 && (p.tailAt == 0 || at < p.tailAt) {
		p.tailAt = at
	}
}

// repeat chooses a repeat of the tail.
func (p *peer) repeat(now time.Duration) (segment, bool) {
	if !p.ended() || !p.idle(now) {
		return segment{}, false
	}
	s, ok, again := p.tail.next(now, p.led, p.box)
	if !ok {
		p.lookAgain(again)
	}
	return s, ok
}

// repeatRate is how fast repeats may go, in bytes a second: below what the path
// carries, because a queue of them would hold up those that are needed. While
// the controller is still looking for that, its pace may be twice as much.
func (p *peer) repeatRate() float64 {
	pace := p.cc.PacingRate()
	switch rate := p.cc.Path().Rate; {
	case rate > 0:
		return min(pace, 0.9*rate)
	case p.cc.State() == congestion.Startup:
		return pace / 2
	}
	return pace
}

// oldest is the segment that was sent first of those still in flight, that this
// timeout has not repeated yet. When all are, it begins anew, once: a single
// packet at the end of a file may be lost a second time.
func (p *peer) oldest() (segment, bool) {
	for p.rounds < probeRounds {
		for n := max(p.probed, p.led.oldest); n < p.probeEnd; n++ {
			p.probed = n + 1
			if r := p.led.get(n); r != nil && r.fate == flying && p.box.wants(r) {
				return r.segment(), true
			}
		}
		p.rounds++
		p.probed = 0
	}
	return segment{}, false
}

// commit takes what was sent of a choice out of where that came from.
func (p *peer) commit(s segment, ch *choice) {
	rest := segment{s.rng, s.end(), int32(ch.whole.end() - s.end())}
	switch ch.from {
	case fromLost:
		p.box.lost.pop()
		if rest.n > 0 {
			p.box.lost.push(rest)
		}
	case fromNew:
		if w := p.box.find(s.rng); w != nil {
			w.next = s.end()
		}
		p.uncode(false)
	case fromRepeat:
		p.repeats.tokens -= float64(s.n)
		switch {
		case s == ch.whole:
			p.box.repeat(s)
		case rest.n > 0: // it was sent when packets were larger
			p.tail.rest = rest
		}
	}
}
