package bulk

import (
	"crypto/rand"
	"encoding/binary"
	"math"
	"math/bits"
	"time"
)

// place is an address, and what may be sent to it (section 6).
type place struct {
	path     Path
	granted  bool // what is carried may go there
	free     bool // without a budget
	proven   bool // somebody with the keys receives there
	received int64
	sent     int64
}

// budgetFactor is how many times what came from an address may be sent to it
// before it is proven and granted.
const budgetFactor = 3

// left is how many bytes may be sent.
func (p *place) left() int {
	if p.free {
		return math.MaxInt
	}
	return int(max(0, budgetFactor*p.received-p.sent))
}

// affords tells whether n bytes may be sent.
func (p *place) affords(n int) bool { return p.left() >= n }

// permit looks what may be sent there.
func (p *place) permit(load freight) {
	p.granted, p.free = load.allows(p.path.Remote.Addr())
	p.free = p.free || p.granted && p.proven
}

// prove notes that the client receives what is sent to it.
func (p *peer) prove() {
	if p.at.proven {
		return
	}
	p.at.proven = true
	p.at.free = p.at.free || p.at.granted
	p.load.met(p.at.path, true)
}

// candidate is an address from which the client may have come, and that has not
// answered its challenge yet.
type candidate struct {
	place
	token uint64
	until time.Duration
	told  time.Duration // when it was last challenged, or told that it is not granted
	due   bool          // it is to be told again
}

const (
	challengeLife  = 5 * time.Second
	challengeEvery = 50 * time.Millisecond
)

// elsewhere deals with a packet that opened and came from another address.
func (p *peer) elsewhere(r *received, number uint64, now time.Duration) {
	c := &p.other
	if c.path.Remote != r.path.Remote || now >= c.until {
		if number != p.in.newest {
			return // an old packet on a detour
		}
		*c = candidate{place: place{path: r.path}, token: random(), until: now + challengeLife, told: now - challengeEvery}
		c.permit(p.load)
	}
	c.received += int64(r.n)
	c.due = true
}

func random() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:])
}

// challenge sends what a candidate is due.
func (p *peer) challenge(now time.Duration) {
	c := &p.other
	c.due = c.due && now < c.until
	if !c.due || now-c.told < challengeEvery {
		return
	}
	if !c.granted {
		c.permit(p.load)
	}
	c.due, c.told = false, now
	if c.granted {
		p.sendTo(&c.place, now, func(b []byte) []byte { return appendToken(b, frameChallenge, c.token) })
		return
	}
	e := errorFrame{code: CodeAddress, addr: c.path.Remote.Addr().Unmap()}
	p.sendTo(&c.place, now, e.append)
}

// response follows the client to where it has answered a challenge. What is in
// flight was sent to where it is no more. Of the path behind a new port only
// the rate is believed at first; of a new host's, nothing.
func (p *peer) response(token uint64, r *received, now time.Duration) {
	c := &p.other
	if c.path.Remote != r.path.Remote || token != c.token || now >= c.until || !c.granted {
		return
	}
	sameHost := c.path.Remote.Addr() == p.at.path.Remote.Addr()
	known := p.cc.Path()
	p.at, p.other = c.place, candidate{}
	p.prove()
	p.led.expire(now+1, p.gaveUp)
	_ = p.led.takeLost()
	p.timeouts, p.news = 0, now
	if sameHost {
		p.control(known)
		return
	}
	p.meet()
}

// controls keeps track of control frames that are sent until one is
// acknowledged.
type controls struct {
	pending control
	said    control   // has been true at some time
	done    control   // and was acknowledged
	since   [4]uint64 // packets from these on carry what is true now
}

// set makes a frame pending, because what it tells has changed.
func (c *controls) set(which control, next uint64) {
	c.pending |= which
	c.said |= which
	c.done &^= which
	c.since[bits.TrailingZeros8(uint8(which))] = next
}

// current returns those of which that a packet with this number told truly.
func (c *controls) current(which control, number uint64) control {
	for i := range c.since {
		if number < c.since[i] {
			which &^= 1 << i
		}
	}
	return which
}

// repeat makes all pending that was not acknowledged. Packets of control frames
// alone may be lost without anybody's noticing.
func (c *controls) repeat() { c.pending |= c.said &^ c.done }

func (c *controls) acked(which control, number uint64) {
	which = c.current(which, number)
	c.done |= which
	c.pending &^= which
}

func (c *controls) lost(which control, number uint64) {
	c.pending |= c.current(which, number) &^ c.done
}

// bucket holds a client's rate limit, in bytes of data.
type bucket struct {
	tokens float64
	at     time.Duration
}

// fill brings the tokens up to now at a rate in bytes a second.
func (b *bucket) fill(now time.Duration, rate float64) {
	if now > b.at {
		b.tokens = min(b.tokens+rate*(now-b.at).Seconds(), max(rate/20, 2*maxPacket))
		b.at = now
	}
}

// due is when a full packet may be sent.
func (b *bucket) due(now time.Duration, rate float64) time.Duration {
	return now + time.Duration(max(0, maxPacket-b.tokens)/rate*float64(time.Second)) + 1
}
