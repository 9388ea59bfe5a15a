package bulk

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"time"
)

// bodyFreight carries ranges of a job's object.
type bodyFreight struct {
	p      *peer
	job    Job
	object string
	body   Body // nobody while it is being opened
	cache  cache

	waiters int
	poll    time.Duration // when to look for bytes nobody waits for; 0: not at all

	// The peer's lock guards these.
	opened *opened
	found  []uint64 // ranges whose next byte is there
}

func (b *bodyFreight) valid() (time.Time, bool) {
	job, ok := b.p.s.cfg.Jobs.Lookup(b.p.key.ID)
	if !ok {
		return time.Time{}, false
	}
	_, until := job.Key()
	return until, true
}

func (b *bodyFreight) allows(addr netip.Addr) (granted, free bool) {
	ok := b.job.Allowed(addr)
	return ok, ok
}

func (b *bodyFreight) met(Path, bool) {}
func (b *bodyFreight) failed(Code)    {}

// opened is what Job.Open gave.
type opened struct {
	body Body
	err  error
}

// take puts a WANT into force. That one comes a second time may mean that TAKEN
// was lost.
func (b *bodyFreight) take(f *fromClient) {
	p := b.p
	switch {
	case !f.has.has(frameWant):
	case p.box.take(&f.want):
		p.ctl.set(ctlTaken, p.led.next)
		p.tail.changed()
	case f.want.seq == p.box.seq:
		p.ctl.repeat()
	}
}

// look takes in what the goroutines that open the body and wait for it have
// found.
func (b *bodyFreight) look(now time.Duration) {
	p := b.p
	p.mu.Lock()
	o, found := b.opened, b.found
	b.opened, b.found = nil, nil
	p.mu.Unlock()
	for _, id := range found {
		b.waiters--
		if w := p.box.find(id); w != nil {
			w.wait = false
		}
	}
	if o != nil {
		b.takeBody(o)
	}
	if b.poll != 0 && now >= b.poll {
		b.poll = 0
		for _, w := range p.box.ranges {
			w.wait = false // whoever still waits for it does no harm
		}
	}
}

func (b *bodyFreight) due() time.Duration { return b.poll }

func (b *bodyFreight) ready() bool {
	if !b.hasBody() {
		return false
	}
	b.learnSize()
	return true
}

func (b *bodyFreight) waiting() bool {
	_, waiting := b.p.box.sent()
	return waiting && len(b.p.box.lost) == 0 && b.p.box.nextNew() == nil || !b.hasBody()
}

func (b *bodyFreight) repairs() bool { return true }

func (b *bodyFreight) frame(pkt []byte, off int64, _ int) []byte {
	return binary.AppendUvarint(append(pkt, frameData), uint64(off))
}

// head appends META and TAKEN. Whichever packet is the first to arrive has to
// tell which object it is of.
func (b *bodyFreight) head(pkt []byte, which control, first bool) ([]byte, control) {
	if first && b.object != "" && b.hasBody() {
		which |= ctlMeta
	}
	if which&ctlMeta != 0 {
		m := metaFrame{size: b.p.box.size, object: []byte(b.object)}
		pkt = m.append(pkt)
	}
	if which&ctlTaken != 0 {
		pkt = binary.AppendUvarint(append(pkt, frameTaken), b.p.box.seq)
	}
	return pkt, which
}

// close closes the body, also one that was opened and not taken in.
func (b *bodyFreight) close() {
	if o := b.opened; o != nil && o.body != nil && !b.hasBody() {
		b.body = o.body
	}
	if b.body == nil {
		return
	}
	if err := b.body.Close(); err != nil {
		b.p.s.log.Debug("a body did not close", "err", err)
	}
}

// open asks for the body on a goroutine of its own, since the origin may take
// its time.
func (b *bodyFreight) open() {
	if b.body != nil {
		return
	}
	b.p.tasks.Go(func() {
		body, err := b.job.Open(b.p.ctx, b.object)
		b.p.mu.Lock()
		b.opened = &opened{body, err}
		b.p.mu.Unlock()
		b.p.poke()
	})
	b.body = nobody{}
}

// nobody stands for a body that is being opened.
type nobody struct{}

func (nobody) Object() string                    { return "" }
func (nobody) Size() (int64, bool)               { return 0, false }
func (nobody) ReadAt([]byte, int64) (int, error) { return 0, nil }
func (nobody) Wait(context.Context, int64) error { return nil }
func (nobody) Close() error                      { return nil }

// hasBody tells whether there is an open body.
func (b *bodyFreight) hasBody() bool {
	_, none := b.body.(nobody)
	return b.body != nil && !none
}

// takeBody takes in what open brought.
func (b *bodyFreight) takeBody(o *opened) {
	if o.err != nil {
		b.p.fail(codeOf(o.err))
		if b.p.code == CodeFailed && b.p.ctx.Err() == nil {
			b.p.s.log.Warn("a body can't be served over UDP", "err", o.err)
		}
		return
	}
	b.body = o.body
	if b.object != "" && o.body.Object() != b.object {
		b.p.fail(CodeChanged)
		return
	}
	b.object = o.body.Object()
	b.learnSize()
	b.p.ctl.set(ctlMeta, b.p.led.next)
}

// learnSize looks whether the object's size is known by now.
func (b *bodyFreight) learnSize() {
	if b.p.box.size >= 0 || !b.hasBody() {
		return
	}
	if n, known := b.body.Size(); known {
		b.p.box.size = n
		b.p.ctl.set(ctlMeta, b.p.led.next)
	}
}

func codeOf(err error) Code {
	switch {
	case errors.Is(err, ErrChanged):
		return CodeChanged
	case errors.Is(err, ErrGone):
		return CodeGone
	}
	return CodeFailed
}

// cache holds the part of the body that is read ahead.
type cache struct {
	buf []byte
	off int64
	n   int
}

// available looks whether the body has a range's next byte, and has somebody
// wait for it if not.
func (b *bodyFreight) available(w *wanted) bool {
	c := &b.cache
	if w.next >= c.off && w.next < c.off+int64(c.n) {
		return true
	}
	n, err := b.readAhead(w.next)
	switch {
	case n > 0:
		return true
	case errors.Is(err, io.EOF):
		if b.learnSize(); b.p.box.size < 0 || w.next < b.p.box.end(w) {
			b.p.fail(CodeFailed) // an end that is none
		}
	case err != nil:
		b.p.fail(codeOf(err))
		b.p.s.log.Debug("a body can't be read", "err", err)
	default:
		b.await(w)
	}
	return false
}

// readAhead fills the cache from off on.
func (b *bodyFreight) readAhead(off int64) (int, error) {
	c := &b.cache
	if c.buf == nil {
		c.buf = make([]byte, aheadLen)
	}
	n, err := b.body.ReadAt(c.buf, off)
	c.off, c.n = off, n
	return n, err
}

// maxWaiters bounds the goroutines that wait for one connection's bytes.
const maxWaiters = 16

// await has the range skipped until its next byte is there.
func (b *bodyFreight) await(w *wanted) {
	w.wait = true
	if b.waiters >= maxWaiters {
		b.poll = b.p.now() + 100*time.Millisecond
		return
	}
	b.waiters++
	id, off, body := w.id, w.next, b.body
	b.p.tasks.Go(func() {
		_ = body.Wait(b.p.ctx, off) // ReadAt tells what is wrong
		b.p.mu.Lock()
		b.found = append(b.found, id)
		b.p.mu.Unlock()
		b.p.poke()
	})
}

// fetch reads a segment's data, of which at least one byte is there. It may be
// cut short where the body ends for now.
func (b *bodyFreight) fetch(s segment, from source, into []byte) int {
	c := &b.cache
	if from == fromNew && s.end() > c.off+int64(c.n) {
		_, _ = b.readAhead(s.off) // the last bytes of the cache would make a short packet
	}
	if s.off >= c.off && s.end() <= c.off+int64(c.n) || from == fromNew && c.n > 0 {
		return copy(into, c.buf[s.off-c.off:c.n])
	}
	n, err := b.body.ReadAt(into, s.off)
	if n == 0 {
		b.p.fail(codeOf(err))
		b.p.s.log.Debug("bytes that were there can't be read again", "err", err)
	}
	return n
}
