package bulk

import (
	"time"

	"github.com/jumpget/jumpget/internal/span"
)

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

// first is what a HELLO asks for.
func (c *Conn) first(b []byte) []byte {
	open := openFrame{largest: maxPacket, object: []byte(c.cfg.Object)}
	return c.wants.wire().append(open.append(b))
}

func (c *Conn) firstAt() (time.Duration, int) { return 0, minHello }

func (c *Conn) answered() {}

func (c *Conn) owed() bool { return c.wants.owed() != 0 }

func (c *Conn) window() int64 { return c.writing.window() }

// take takes in what a packet brings.
func (c *Conn) take(f *fromRelay) bool {
	if f.has.has(frameStream) || f.has.has(frameStreamAck) {
		return false
	}
	if f.has.has(frameMeta) {
		c.takeMeta(&f.meta)
	}
	if f.has.has(frameData) || f.has.has(frameRepair) {
		if !c.meta || c.writing.waiting() > bufferMost {
			return false
		}
		c.link.waiting, c.link.unknown = false, false
	}
	if f.has.has(frameData) {
		c.data(f.off, f.data)
	}
	c.takeRepair(f)
	if f.has.has(frameTaken) && f.taken <= c.wants.seq {
		c.wants.taken = max(c.wants.taken, f.taken)
	}
	return true
}

// refused has our address granted, if the relay does not know it.
func (c *Conn) refused(e *errorFrame) {
	l := &c.link
	if c.cfg.NotGranted != nil && e.addr.IsValid() && e.addr != l.told {
		l.told = e.addr
		c.cfg.NotGranted(e.addr)
	}
}

// brought hands what came to the Sink, if it is worth it.
func (c *Conn) brought(now time.Duration) {
	if c.writing.due(now) {
		c.writing.flush()
	}
}

// say tells what is wanted, if the relay does not know it yet.
func (c *Conn) say(b []byte, now time.Duration) []byte {
	if c.wants.told() {
		return b
	}
	c.wanted, c.wantSeq = now, c.wants.seq
	return c.wants.wire().append(b)
}

// send tells the relay what is wanted, and the Sink what came.
func (c *Conn) send(now time.Duration) (next time.Duration) {
	if reached(c.wantDue(), now) {
		c.caller.say(now, nil)
	}
	c.brought(now)
	if next = c.wantDue(); c.writing.now != nil && (next == 0 || c.writing.since+flushAfter < next) {
		next = c.writing.since + flushAfter
	}
	return next
}

// wantDue is when what is wanted has to be sent on its own.
func (c *Conn) wantDue() time.Duration {
	switch {
	case c.wants.told():
		return 0
	case c.wantSeq != c.wants.seq:
		return 1
	default:
		return c.wanted + max(wantAgain, c.link.rtt*3/2)
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
