package bulk

import (
	"time"
)

// look does what time alone brings about.
func (p *peer) look(now time.Duration) {
	if p.state == closing {
		return
	}
	if now-p.checked >= recheckEvery {
		p.revalidate(now)
	}
	p.load.look(now)
	if p.state == closing {
		return
	}
	if p.pressed() && now >= p.deadline() {
		p.timeout(now)
	}
	p.detectAt = p.led.detect(now, p.gaveUp)
	p.reportLost(now)
	if p.sizer.hole() {
		p.fallBack(now)
	}
}

// revalidate looks whether the key and the address still count.
func (p *peer) revalidate(now time.Duration) {
	p.checked = now
	until, ok := p.load.valid()
	if !ok || !time.Now().Before(until) {
		p.fail(CodeGone)
		return
	}
	p.at.permit(p.load)
}

// Timeouts (section 4).
const (
	firstTimeout = 400 * time.Millisecond
	leastTimeout = 50 * time.Millisecond
	maxBackoff   = 4 // doublings
	probesEach   = 8
	deadAfter    = 5 // timeouts in a row, from which on there are only
	probesDead   = 2 // probes, of this number
	probeRounds  = 2 // times that one timeout sends the same
)

// pressed tells whether something has to be heard in time: packets are in
// flight, or have all been given up in a silence that goes on.
func (p *peer) pressed() bool {
	return p.led.flying > 0 || p.timeouts > 0 && (len(p.box.lost) > 0 || p.box.nextNew() != nil)
}

// deadline is when a timeout passes.
func (p *peer) deadline() time.Duration {
	t := firstTimeout
	if p.led.srtt > 0 {
		t = max(leastTimeout, 2*p.led.srtt+p.led.delay)
	}
	return p.news + t<<min(p.timeouts, maxBackoff)
}

// timeout deals with silence: it sends a few packets whatever the window says,
// and gives up what should have been acknowledged long ago.
func (p *peer) timeout(now time.Duration) {
	p.news = now
	p.timeouts++
	p.probed, p.probeEnd, p.rounds = 0, p.led.next, 0
	if p.probes = probesEach; p.timeouts >= deadAfter {
		p.probes = probesDead
	}
	p.cc.OnTimeout(now)
	if p.led.srtt > 0 {
		p.led.expire(now-max(p.led.srtt*3/2, 100*time.Millisecond), p.gaveUp)
	}
	if p.sizer.timeout(p.led.next) {
		p.small = p.probes / 2
	}
}

// next is when run has to look again: at data, at timers, or at what ends a
// connection.
func (p *peer) next(now, data time.Duration) time.Duration {
	at := data
	sooner := func(t time.Duration) {
		if t > 0 {
			at = min(at, t)
		}
	}
	switch p.state {
	case closing:
		sooner(p.closed + closingTime)
		sooner(p.nextWord())
		return at
	case answering:
		sooner(p.created + answerTimeout)
	default:
		sooner(p.heardAt + idleTimeout)
	}
	if p.pressed() {
		sooner(p.deadline())
	}
	sooner(p.checked + recheckEvery)
	sooner(p.detectAt)
	sooner(p.tailAt)
	sooner(p.load.due())
	if p.held && p.box.limit > 0 {
		sooner(p.limit.due(now, p.box.limit))
	}
	if p.other.due {
		sooner(p.other.told + challengeEvery)
	}
	return at
}

// words are when an ERROR that ends the connection is said, after its cause.
var words = [...]time.Duration{0, 100 * time.Millisecond, 300 * time.Millisecond}

func (p *peer) nextWord() time.Duration {
	if p.told >= len(words) || p.left {
		return 0
	}
	return p.closed + words[p.told]
}

// speak sends what is no data and is due: answers, challenges, errors.
func (p *peer) speak(now time.Duration) {
	if p.state == closing {
		if t := p.nextWord(); t > 0 && now >= t {
			p.told++
			p.tell = true
		}
		if p.tell && !p.left {
			p.sendError(now, p.code)
		}
		p.tell = false
		return
	}
	for _, token := range p.pongs {
		if p.at.granted { // who is not gets a notice
			p.pong(token, now)
		}
	}
	p.pongs = p.pongs[:0]
	p.challenge(now)
	if p.notice {
		p.notice = false
		p.sendError(now, CodeAddress)
	}
}

func (p *peer) pong(token uint64, now time.Duration) {
	waiting := p.load.waiting()
	p.sendTo(&p.at, now, func(b []byte) []byte {
		b = appendToken(b, framePong, token)
		if waiting {
			return append(b, 1)
		}
		return append(b, 0)
	})
}

func (p *peer) sendError(now time.Duration, c Code) {
	e := errorFrame{code: c}
	if c == CodeAddress {
		e.addr = p.at.path.Remote.Addr().Unmap()
	}
	p.sendTo(&p.at, now, e.append)
}

// spill sends pending control frames on their own, because no data will take
// them along soon.
func (p *peer) spill(now time.Duration) {
	if p.ctl.pending == 0 || p.state == closing || !p.at.granted || p.led.flying > 0 && !p.hungry {
		return
	}
	p.sendTo(&p.at, now, func(b []byte) []byte { return b })
}

// sendTo sends one packet without data, if the place's budget allows. Pending
// control frames go along to where the client is.
func (p *peer) sendTo(to *place, now time.Duration, frames func([]byte) []byte) {
	buf := p.s.bufs.Get().(*[]byte)
	defer p.s.bufs.Put(buf)
	pending := p.ctl.pending
	if to != &p.at || !to.granted {
		p.ctl.pending = 0
	}
	pkt, which := p.head((*buf)[:0])
	if to != &p.at || !to.granted {
		p.ctl.pending = pending
	}
	pkt = frames(pkt)
	if len(pkt) == p.headLen() || !to.affords(len(pkt)+tagLen) || !p.led.room() {
		p.ctl.pending = pending
		return
	}
	pkt = p.out.seal(pkt, p.headLen())
	p.led.add(record{sent: now, size: int32(len(pkt)), ctl: which})
	p.write(pkt, len(pkt), to, now)
}
