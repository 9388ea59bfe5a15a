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
	hello  []byte
	hs     *handshake
	asked  int // how often the first packet was sent
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
	owed     time.Duration // since when the relay has owed us bytes
	wanted   time.Duration // when WANT was sent
	wantSeq  uint64        // and which
	pinged   time.Duration // when PING was sent
	patience time.Duration // until the next PING, in silence
	waiting  bool          // the relay waits for its origin
	unknown  bool          // the relay does not know our address
	told     netip.Addr    // which NotGranted was called with
	response uint64
	respond  bool
	urgent   bool // acknowledge at once
}

// Times of a client (sections 5 and 6).
const (
	firstInterval = 4 * time.Millisecond
	leastPatience = 200 * time.Millisecond
	mostPatience  = time.Second
	keepAlive     = 15 * time.Second
	wantAgain     = 100 * time.Millisecond
)

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

// init makes the first packet.
func (l *link) init(c *Conn) error {
	var b [clientIDLen]byte
	_, _ = rand.Read(b[:]) // never fails
	l.client = binary.BigEndian.Uint32(b[:])
	l.interval, l.longest, l.packets = firstInterval, firstInterval, 1
	l.patience = leastPatience
	l.rx.stride = 1
	l.buf = make([]byte, 0, basePacket)
	s := bestSuite()
	head := helloStart(s, c.cfg.Key.ID, l.client)
	var err error
	if l.hs, err = newHandshake(&c.cfg.Key, s, head, true); err != nil {
		return err
	}
	open := openFrame{largest: maxPacket, object: []byte(c.cfg.Object)}
	payload := open.append(nil)
	payload = c.wants.wire().append(payload)
	if n := minHello - helloHead - ephemeralLen - tagLen - 2*macLen - len(payload); n > 0 {
		payload = append(payload, make([]byte, n)...)
	}
	if l.hello, err = l.hs.ask(slices.Clone(head), payload); err != nil {
		return err
	}
	l.hello = append(l.hello, shortMAC(c.cfg.Key.hello[:], l.hello)...)
	l.hello = append(l.hello, make([]byte, macLen)...)
	if len(l.hello) > basePacket || len(open.object) > maxObjectID {
		return errTooMany
	}
	return nil
}

// established tells whether the relay has answered.
func (l *link) established() bool { return l.in != nil }

// send sends a packet to the relay. What it could not send is as good as lost.
func (c *Conn) sendPacket(p []byte, now time.Duration) {
	_ = c.pc.Send(p, len(p), Path{Remote: c.remote})
	c.link.spoke = now
	c.stats.Sent += int64(len(p) + wireOverhead)
}

// ask sends the first packet.
func (c *Conn) ask(now time.Duration) {
	c.link.asked++
	c.sendPacket(c.link.hello, now)
}

// say sends one packet: an acknowledgement if anything came, what is wanted if
// the relay does not know it yet, and the frames that extra appends.
func (c *Conn) say(now time.Duration, extra func([]byte) []byte) {
	l := &c.link
	b := appendClient(l.buf[:0], l.relay, l.out.next)
	if extra != nil {
		b = extra(b)
	}
	if !c.wants.told() {
		b = c.wants.wire().append(b)
		l.wanted, l.wantSeq = now, c.wants.seq
	}
	if l.rx.any {
		b = l.rx.appendAck(b, now.Microseconds(), c.writing.window(), basePacket-tagLen-len(b))
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

// wantDue is when what is wanted has to be sent on its own.
func (c *Conn) wantDue() time.Duration {
	switch l := &c.link; {
	case c.wants.told():
		return 0
	case l.wantSeq != c.wants.seq:
		return 1
	default:
		return l.wanted + max(wantAgain, l.rtt*3/2)
	}
}

// pingDue is when silence has lasted long enough to ask.
func (c *Conn) pingDue() time.Duration {
	l := &c.link
	if c.wants.owed() == 0 {
		return l.spoke + keepAlive
	}
	wait := l.patience
	if l.waiting {
		wait = mostPatience
	}
	return max(l.heard, l.pinged, l.owed) + max(wait, 2*l.rtt+l.longest)
}

// silentAt is when the relay has been silent for too long.
func (c *Conn) silentAt() time.Duration {
	if c.wants.owed() == 0 && c.link.established() {
		return c.link.heard + keepAlive + c.cfg.Silence
	}
	return max(c.link.heard, c.link.owed) + c.cfg.Silence
}

// tick does what is due, and returns when to call again.
func (c *Conn) tick(now time.Duration) time.Duration {
	l := &c.link
	if now >= c.silentAt() {
		c.failLocked(&SilentError{After: c.cfg.Silence, Answered: l.established()})
		return 0
	}
	if !l.established() {
		if now >= askAt(l.asked) {
			c.ask(now)
		}
		return min(askAt(l.asked), c.silentAt())
	}
	if l.respond {
		l.respond = false
		c.say(now, func(b []byte) []byte { return appendToken(b, frameResponse, l.response) })
	}
	if t := c.pingDue(); now >= t {
		l.pinged = now
		l.patience = min(l.patience*3/2, mostPatience)
		c.say(now, func(b []byte) []byte { return appendToken(b, framePing, uint64(now)) })
	}
	if reached(l.ackDue(), now) || reached(c.wantDue(), now) {
		c.say(now, nil)
	}
	next := min(c.silentAt(), c.pingDue())
	if c.writing.due(now) {
		c.writing.flush()
	}
	if c.writing.now != nil {
		next = min(next, c.writing.since+flushAfter)
	}
	for _, t := range [...]time.Duration{l.ackDue(), c.wantDue()} {
		if t != 0 {
			next = min(next, t)
		}
	}
	return next
}

func reached(t, now time.Duration) bool { return t != 0 && now >= t }
