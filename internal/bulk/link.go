package bulk

import (
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
)

// link is the packet side of a client: keys, what came, what is to be said.
type link struct {
	client uint32
	hello  []byte // nil until it is to be sent
	hs     *handshake
	began  time.Duration // when the first packet was first sent
	asked  int           // how often it was
	in     *opener
	out    *sealer
	relay  uint64 // the relay's connection id
	frames fromRelay
	buf    []byte

	rx       receiver
	interval time.Duration // of acknowledgements, and so on: see PACE
	longest  time.Duration
	packets  int
	rtt      time.Duration
	acked    time.Duration // when the last acknowledgement was sent

	heard    time.Duration // when anything came
	spoke    time.Duration // when anything was sent
	owes     bool          // the relay owes us something
	owed     time.Duration // and since when
	pinged   time.Duration // when PING was sent
	patience time.Duration // until the next PING, in silence
	waiting  bool          // the relay waits for its origin
	unknown  bool          // the relay does not know our address
	told     netip.Addr    // which NotGranted was called with
	response uint64
	respond  bool
	urgent   bool // acknowledge at once
	known    bool // the relay knows that we hear it
}

// Times of a client (sections 5 and 6).
const (
	firstInterval = 4 * time.Millisecond
	leastPatience = 200 * time.Millisecond
	mostPatience  = time.Second
	keepAlive     = 15 * time.Second
	wantAgain     = 100 * time.Millisecond
)

// leastAck is the room that an acknowledgement needs in a packet.
const leastAck = 400

// asks are when the first packet is sent; after the last, every two seconds.
var asks = [...]time.Duration{
	0, 15 * time.Millisecond, 40 * time.Millisecond, 150 * time.Millisecond, 300 * time.Millisecond,
	500 * time.Millisecond, 800 * time.Millisecond, 1200 * time.Millisecond, 1800 * time.Millisecond,
	2600 * time.Millisecond, 4000 * time.Millisecond,
}

// askAt is when the first packet is to be sent for the n-th time.
func askAt(n int) time.Duration {
	if n < len(asks) {
		return asks[n]
	}
	return asks[len(asks)-1] + time.Duration(n-len(asks)+1)*2*time.Second
}

func (l *link) init() {
	var b [clientIDLen]byte
	_, _ = rand.Read(b[:]) // never fails
	l.client = binary.BigEndian.Uint32(b[:])
	l.interval, l.longest, l.packets = firstInterval, firstInterval, 1
	l.patience = leastPatience
	l.rx.stride = 1
	l.buf = make([]byte, 0, basePacket)
}

// makeHello makes the first packet, of at least a length.
func (c *caller) makeHello(least int) error {
	l := &c.link
	s := bestSuite()
	head := helloStart(s, c.key.ID, l.client)
	hs, err := newHandshake(&c.key, s, head, true)
	if err != nil {
		return err
	}
	payload := c.cargo.first(nil)
	if n := least - helloCost - len(payload); n > 0 {
		payload = append(payload, make([]byte, n)...)
	}
	if helloCost+len(payload) > basePacket {
		return errTooMany
	}
	hello, err := hs.ask(slices.Clone(head), payload)
	if err != nil {
		return err
	}
	hello = append(hello, shortMAC(c.key.hello[:], hello)...)
	l.hello, l.hs = append(hello, make([]byte, macLen)...), hs
	return nil
}

// established tells whether the relay has answered.
func (l *link) established() bool { return l.in != nil }

// send sends a packet to the relay. What it could not send is as good as lost.
func (c *caller) sendPacket(p []byte, now time.Duration) {
	_ = c.pc.Send(p, len(p), Path{Remote: c.remote})
	c.link.spoke = now
	c.stats.Sent += int64(len(p) + wireOverhead)
}

// ask sends the first packet as often as is due, and returns when it is next.
func (c *caller) ask(now time.Duration) time.Duration {
	l := &c.link
	if l.hello == nil {
		at, least := c.cargo.firstAt()
		if now < at {
			return at
		}
		if err := c.makeHello(least); err != nil {
			c.failLocked(err)
			return now
		}
		l.began = now
	}
	if now >= l.began+askAt(l.asked) {
		l.asked++
		c.sendPacket(l.hello, now)
	}
	return l.began + askAt(l.asked)
}

// say sends one packet: the frames that extra appends, what else is to be told,
// and, as far as there is room, an acknowledgement if anything came.
func (c *caller) say(now time.Duration, extra func([]byte) []byte) {
	l := &c.link
	b := appendClient(l.buf[:0], l.relay, l.out.next)
	if extra != nil {
		b = extra(b)
	}
	b = c.cargo.say(b, now)
	if room := basePacket - tagLen - len(b); l.rx.any && room >= leastAck {
		b = l.rx.appendAck(b, now.Microseconds(), c.cargo.window(), room)
		l.acked, l.urgent = now, false
	}
	c.sendPacket(l.out.seal(b, clientHead), now)
}

// ackDue is when the next acknowledgement has to go.
func (l *link) ackDue() time.Duration {
	switch {
	case l.rx.fresh == 0:
		return 0
	case l.urgent:
		return 1
	case l.rx.fresh >= l.packets:
		return l.acked + l.interval
	}
	return l.acked + l.longest
}

// look notes since when the relay has owed us something. It does as well when it
// has not answered a PING that was sent to keep a NAT open.
func (c *caller) look(now time.Duration) {
	l := &c.link
	owes := !l.established() || c.cargo.owed() || l.pinged > l.heard
	if owes && !l.owes {
		l.owed = now
	}
	l.owes = owes
}

// pingDue is when silence has lasted long enough to ask.
func (l *link) pingDue() time.Duration {
	if !l.owes {
		return l.spoke + keepAlive
	}
	wait := l.patience
	if l.waiting {
		wait = mostPatience
	}
	return max(l.heard, l.pinged, l.owed) + max(wait, 2*l.rtt+l.longest)
}

// silentAt is when the relay has been silent for too long.
func (c *caller) silentAt() time.Duration {
	if !c.link.owes {
		return c.link.heard + keepAlive + c.silence
	}
	return max(c.link.heard, c.link.owed) + c.silence
}

// tick does what is due, and returns when to call again.
func (c *caller) tick(now time.Duration) time.Duration {
	l := &c.link
	c.look(now)
	if now >= c.silentAt() {
		c.failLocked(&SilentError{After: c.silence, Answered: l.established()})
		return 0
	}
	if !l.established() {
		return min(c.ask(now), c.silentAt())
	}
	if l.respond {
		l.respond = false
		c.say(now, func(b []byte) []byte { return appendToken(b, frameResponse, l.response) })
	}
	if t := l.pingDue(); now >= t {
		l.pinged = now
		l.patience = min(l.patience*3/2, mostPatience)
		c.say(now, func(b []byte) []byte { return appendToken(b, framePing, uint64(now)) })
		c.look(now)
	}
	again := c.cargo.send(now)
	if reached(l.ackDue(), now) {
		c.say(now, nil)
	}
	next := min(c.silentAt(), l.pingDue())
	for _, t := range [...]time.Duration{l.ackDue(), again} {
		if t != 0 {
			next = min(next, t)
		}
	}
	return next
}

func reached(t, now time.Duration) bool { return t != 0 && now >= t }
