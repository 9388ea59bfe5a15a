package bulk

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"

	"github.com/jumpget/jumpget/internal/span"
)

// StreamConfig is what DialStream needs. Key is required.
type StreamConfig struct {
	Key Key // of a session, see NewSessionKey

	// Silence is how long the relay may be silent while it owes an answer. 0: 10 s.
	Silence time.Duration
}

// Times of a stream before its first packet.
const (
	gatherTime = 2 * time.Millisecond  // after a write
	gatherMost = 50 * time.Millisecond // if nothing is written
)

// lingerTime is how long a closed stream is open to what was written before.
const lingerTime = 2 * time.Second

// streamHello is how many bytes of a stream its first packet takes: what OPEN,
// STREAM-ACK and STREAM's own head leave.
const streamHello = basePacket - helloCost - 24

// streamCaller is a client's end of a stream's connection.

type streamCaller struct {
	caller
	stream     *Stream
	up         upstream
	answeredAt time.Duration
	begun      int64         // bytes in the first packet
	linger     time.Duration // how long what was written before Close may take; 0: it is open
	urged      int           // how often the relay was asked to take note of us
	urgeAt     time.Duration // when it is again
	heard      streamAck
}

// DialStream opens a stream over pc, which it owns from then on, to a relay's UDP
// port. It returns at once. What is written until nothing more was for 2 ms, up
// to about 1 KB, goes in the first packet, without forward secrecy; and if
// somebody replays that to the relay, the relay may read it a second time. When
// ctx ends, the stream fails with its cause.
func DialStream(ctx context.Context, pc PacketConn, remote netip.AddrPort, cfg StreamConfig) *Stream {
	c := &streamCaller{}
	c.init(pc, remote, cfg.Key, cfg.Silence, c)
	c.stream = newStream(clientBacklog, clientWindow, c.wake)
	c.stream.moved(Path{Remote: remote})
	unwatch := context.AfterFunc(ctx, func() { c.fail(context.Cause(ctx)) })
	go func() {
		defer unwatch()
		c.run()
	}()
	return c.stream
}

// wake has the loop see what the stream's user has done.
func (c *streamCaller) wake() {
	closed := c.stream.isClosed()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case closed && !c.link.established():
		c.failLocked(ErrClosed)
	case closed && c.linger == 0:
		c.linger = c.now() + lingerTime
	}
	c.rouse()
}

func (c *streamCaller) run() {
	c.loop()
	c.mu.Lock()
	c.bye()
	err := c.err
	c.mu.Unlock()
	_ = c.pc.Close() // nothing more is to be read or sent
	var refused *RefusedError
	if errors.As(err, &refused) && refused.Code == CodeDone {
		err = io.EOF
	}
	close(c.ended)
	c.stream.end(err)
}

// first is OPEN, and what was written until now.
func (c *streamCaller) first(b []byte) []byte {
	open := openFrame{largest: basePacket}
	b = open.append(b)
	c.stream.tell(&c.heard)
	b = c.heard.append(b)
	n := int(min(c.stream.written(), int64(streamHello)))
	if c.begun = int64(n); n == 0 {
		return b
	}
	b = streamHead(b, 0, n)
	at := len(b)
	b = append(b, make([]byte, n)...)
	c.stream.again(b[at:], 0)
	return b
}

// firstAt gathers what is written in short order. The packet is as large as it
// may be, so that the relay may answer with much before it knows us.
func (c *streamCaller) firstAt() (time.Duration, int) {
	n, last := c.stream.pending()
	switch {
	case n >= int64(streamHello):
		return 0, basePacket
	case n > 0:
		return last.Sub(c.start) + gatherTime, basePacket
	}
	return gatherMost, basePacket
}

func (c *streamCaller) answered() {
	c.answeredAt = c.now()
	c.up.begin(c.answeredAt, c.begun)
	c.learn()
	c.stream.acknowledged(c.begun)
}

// learn tells the upstream what is known of the path otherwise. What the relay
// has not measured yet lies between what the first and the last copy of the first
// packet took: a little more than the latter is a start.
func (c *streamCaller) learn() {
	l := &c.link
	rtt := l.rtt
	if rtt == 0 {
		rtt = max(c.answeredAt-l.began-askAt(l.asked-1), min((c.answeredAt-l.began)/4, 100*time.Millisecond))
	}
	c.up.learn(rtt, float64(c.lost()+4)/float64(c.stats.Packets+20))
}

// take takes in what a packet brings.
func (c *streamCaller) take(f *fromRelay) bool {
	const foreign = set(1<<frameData | 1<<frameMeta | 1<<frameTaken | 1<<frameRepair)
	if f.has&foreign != 0 {
		return false
	}
	if f.has.has(frameStream) && !c.stream.receive(&f.stream) {
		return false
	}
	if f.has.has(frameStreamAck) {
		c.up.acknowledge(&f.heard, c.now())
		c.stream.acknowledged(c.up.base)
	}
	if f.has.has(framePong) {
		if now := c.now(); f.pong <= uint64(now) {
			c.up.pong(time.Duration(f.pong), now)
		}
	}
	if !f.has.has(frameError) {
		c.stream.hear()
	}
	return true
}

// say tells in each packet how much of the stream may come.
func (c *streamCaller) say(b []byte, _ time.Duration) []byte {
	c.stream.tell(&c.heard)
	c.heard.runs = c.heard.runs[:0] // acknowledgements tell of packets
	return c.heard.append(b)
}

// send sends what was written and has not come, and tells a limit that has risen.
func (c *streamCaller) send(now time.Duration) time.Duration {
	if c.linger > 0 && (now >= c.linger || c.up.base == c.stream.written()) {
		c.failLocked(ErrClosed)
		return 0
	}
	_, _, risen := c.stream.acknowledged(0)
	c.learn()
	urge := c.urge(now)
	for {
		sp, again := c.up.next(now, c.stream.written())
		if sp.Len() == 0 {
			if risen {
				c.caller.say(now, nil)
			}
			return sooner(sooner(again, urge), c.linger)
		}
		c.up.sent(sp, now)
		c.caller.say(now, func(b []byte) []byte { return c.append(b, sp) })
		risen = false
	}
}

// urge sees to it that the relay hears from us. Before it has, it may have more to
// say than it sends to an address that is not proved.
func (c *streamCaller) urge(now time.Duration) (again time.Duration) {
	switch {
	case c.link.known:
		return 0
	case c.urgeAt == 0: // an acknowledgement is about to go
	case now < c.urgeAt:
		return c.urgeAt
	default:
		c.caller.say(now, func(b []byte) []byte { return appendToken(b, framePing, uint64(now)) })
	}
	c.urgeAt = now + c.up.pause(c.urged)
	c.urged++
	return c.urgeAt
}

// sooner returns the earlier of two times, of which 0 is never.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// append appends a part of the stream.
func (c *streamCaller) append(b []byte, sp span.Span) []byte {
	b = streamHead(b, sp.Start, int(sp.Len()))
	at := len(b)
	b = b[:at+int(sp.Len())]
	c.stream.again(b[at:], sp.Start)
	return b
}

func (c *streamCaller) owed() bool { return !c.link.known || c.up.base < c.stream.written() }

func (c *streamCaller) window() int64 { return -1 }

func (c *streamCaller) brought(time.Duration) {}

func (c *streamCaller) refused(*errorFrame) {}
