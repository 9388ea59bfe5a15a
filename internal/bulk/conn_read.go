package bulk

import (
	"errors"
	"net"
	"os"
	"time"

	"github.com/jumpget/jumpget/internal/span"
)

// Pauses between rounds of reading, while much is coming: the kernel collects
// packets meanwhile and says when each came. To wake up is what costs most on a
// link of some 100 Mbps.
const (
	longPause  = 5 * time.Millisecond
	pause      = 2 * time.Millisecond
	shortPause = 200 * time.Microsecond
	roundSize  = 128 // packets that a round should bring; more shorten the pause
	pauseFrom  = 8   // packets that make a pause worthwhile
)

// pauses chooses how long to pause after each round.
type pauses struct{ last time.Duration }

// next returns the pause after a round of n packets; acknowledgements go at
// this interval.
func (p *pauses) next(n int, interval time.Duration) time.Duration {
	most := min(max(pause, interval/3), longPause)
	if p.last == 0 {
		p.last = pause
	}
	p.last = min(most, max(shortPause, p.last*roundSize/time.Duration(n)))
	return p.last
}

// run reads packets until the connection ends.
func (c *Conn) run() {
	written := make(chan struct{})
	go func() {
		defer close(written)
		c.writing.run(c.fail)
	}()
	c.loop()
	c.mu.Lock()
	c.bye()
	c.writing.close()
	c.mu.Unlock()
	_ = c.pc.Close() // nothing more is to be read or sent
	<-written
	close(c.ended)
}

func (c *Conn) loop() {
	batch := make([]Datagram, readBatch)
	var rest pauses
	round := 0
	for {
		c.mu.Lock()
		now := c.now()
		next := c.tick(now)
		if c.err != nil {
			c.mu.Unlock()
			return
		}
		err := c.arm(now, next)
		interval := c.link.interval
		c.mu.Unlock()
		n := 0
		if err == nil {
			n, err = c.pc.ReadBatch(batch)
		}
		c.takeBatch(batch[:n])
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			if errors.Is(err, net.ErrClosed) {
				err = ErrClosed
			}
			c.fail(err)
			return
		}
		if round += n; n == len(batch) || n == 0 && round == 0 {
			continue
		}
		if round >= pauseFrom {
			time.Sleep(rest.next(round, interval))
		}
		round = 0
	}
}

// arm sets the deadline of the next read. One that is set already and a little
// too early will do: to change it costs more than to wake once in vain.
func (c *Conn) arm(now, next time.Duration) error {
	if c.armed > now+armSlack && c.armed <= next {
		return nil
	}
	c.armed = next
	return c.pc.SetReadDeadline(c.start.Add(next))
}

const armSlack = 200 * time.Microsecond

// bye tells the relay that the connection ends.
func (c *Conn) bye() {
	var refused *RefusedError
	if !c.link.established() || errors.As(c.err, &refused) {
		return
	}
	for range 3 {
		c.say(c.now(), func(b []byte) []byte { return append(b, frameBye, byte(CodeDone)) })
	}
}

// takeBatch takes in what one read brought.
func (c *Conn) takeBatch(batch []Datagram) {
	if len(batch) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range batch {
		c.receive(&batch[i])
	}
	if now := c.now(); c.writing.due(now) {
		c.writing.flush()
	}
}

// receive takes in one datagram; the lock is held.
func (c *Conn) receive(d *Datagram) {
	l := &c.link
	a, ok := parseAnswer(d.Data, l.client)
	if !ok {
		c.receiveCookie(d)
		return
	}
	if !l.established() && !c.establish(&a) {
		return
	}
	plain, number, ok := l.in.open(d.Data, a.head, a.low)
	if !ok || l.frames.parse(plain) != nil {
		return
	}
	f := &l.frames
	if f.has.has(frameMeta) {
		c.takeMeta(&f.meta)
	}
	if f.has.has(frameData) && (!c.meta || c.writing.waiting() > bufferMost) {
		return // as if it had been lost: what is acknowledged does not come again
	}
	now := c.now()
	l.heard, l.patience = now, leastPatience
	c.stats.Packets++
	c.stats.Received += int64(len(d.Data) + wireOverhead)
	c.stats.Datagram = max(c.stats.Datagram, len(d.Data))
	l.urgent = l.urgent || !l.rx.any
	l.rx.add(number, d.At.Sub(c.start).Microseconds())
	if f.has.has(frameData) {
		l.waiting, l.unknown = false, false
		c.data(f.off, f.data)
	}
	c.takeControl(f)
}

// establish makes the keys of the relay's answer.
func (c *Conn) establish(a *answer) bool {
	l := &c.link
	if a.msg2 == nil {
		return false
	}
	id, in, out, err := l.hs.finish(a.msg2)
	if err != nil {
		return false // somebody else's
	}
	l.relay, l.in, l.out, l.hs = id, in, out, nil
	c.stats.Handshake = c.now()
	close(c.answer)
	return true
}

// receiveCookie asks again with the cookie that a busy relay has sent.
func (c *Conn) receiveCookie(d *Datagram) {
	l := &c.link
	if l.established() {
		return
	}
	ephemeral := l.hello[helloHead : helloHead+ephemeralLen]
	cookie, ok := openCookie(d.Data, &c.cfg.Key, l.client, ephemeral)
	if !ok {
		return
	}
	before := [macLen]byte(l.hello[len(l.hello)-macLen:])
	signHello(l.hello, cookie)
	if before != [macLen]byte(l.hello[len(l.hello)-macLen:]) {
		c.sendPacket(l.hello, c.now())
	}
}

// takeMeta learns which object it is, and its size.
func (c *Conn) takeMeta(m *metaFrame) {
	id := string(m.object)
	if c.cfg.Object != "" && id != c.cfg.Object || c.meta && id != c.object {
		c.failLocked(&RefusedError{CodeChanged})
		return
	}
	first := !c.meta
	c.object, c.meta = id, true
	if m.size >= 0 && c.size < 0 {
		c.size = m.size
		c.wants.end(c.size)
		first = true
	}
	if first {
		c.finishEmpty()
	}
}

// takeControl does what the other frames of a packet say.
func (c *Conn) takeControl(f *fromRelay) {
	l := &c.link
	if f.has.has(frameTaken) && f.taken <= c.wants.seq {
		c.wants.taken = max(c.wants.taken, f.taken)
	}
	if f.has.has(framePace) {
		l.interval = time.Duration(f.pace.interval) * time.Microsecond
		l.longest = max(l.interval, time.Duration(f.pace.longest)*time.Microsecond)
		l.packets = int(f.pace.packets)
		l.rtt = time.Duration(f.pace.rtt) * time.Microsecond
	}
	if f.has.has(framePong) {
		l.waiting, l.unknown = f.waiting, false
	}
	if f.has.has(frameChallenge) {
		l.response, l.respond = f.challenge, true
	}
	if f.has.has(frameError) {
		c.takeError(&f.err)
	}
}

func (c *Conn) takeError(e *errorFrame) {
	l := &c.link
	if e.code != CodeAddress {
		c.failLocked(&RefusedError{e.code})
		return
	}
	l.unknown = true
	if c.cfg.NotGranted != nil && e.addr.IsValid() && e.addr != l.told {
		l.told = e.addr
		c.cfg.NotGranted(e.addr)
	}
}

// data takes bytes in, those that are wanted and new.
func (c *Conn) data(off int64, p []byte) {
	for len(p) > 0 {
		a := c.wants.holds(off)
		if a == nil {
			next := c.wants.after(off)
			skip := int64(len(p))
			if next >= 0 {
				skip = min(skip, next-off)
			}
			c.stats.Repeated += skip
			off, p = off+skip, p[skip:]
			continue
		}
		n := min(int64(len(p)), a.at.End-off)
		c.store(a, off, p[:n])
		off, p = off+n, p[n:]
	}
}

// store takes bytes of one range.
func (c *Conn) store(a *asked, off int64, p []byte) {
	fresh := a.got.add(span.Span{Start: off, End: off + int64(len(p))}, func(sp span.Span) {
		c.writing.put(sp.Start, p[sp.Start-off:sp.End-off], c.now())
	})
	c.stats.Bytes += fresh
	c.stats.Repeated += int64(len(p)) - fresh
	c.meter.add(c.now(), int(fresh))
	if a.left -= fresh; a.left == 0 {
		c.finish(a)
	}
}

// finish tells that a range is complete.
func (c *Conn) finish(a *asked) {
	c.writing.finish(RangeID(a.id), a.at)
	c.wants.remove(a.id)
	c.link.urgent = true
}

// finishEmpty finishes ranges of which nothing is missing, because the object
// or a shrunk range has ended. While the size is not known even an empty range
// waits: whoever asks for it mostly wants to know the size.
func (c *Conn) finishEmpty() {
	if !c.meta {
		return
	}
	for i := len(c.wants.ranges) - 1; i >= 0; i-- {
		if a := c.wants.ranges[i]; a.left == 0 {
			c.finish(a)
		}
	}
	c.writing.flush()
}
