package bulk

import (
	"container/heap"

	"github.com/jumpget/jumpget/internal/span"
)

// segment is the data of one packet.
type segment struct {
	rng uint64
	off int64
	n   int32
}

func (s segment) end() int64 { return s.off + int64(s.n) }

// wanted is one range that the client wants, and how far the relay is with it.
type wanted struct {
	wireRange
	next  int64    // nothing from here on was sent
	acked span.Set // within the range
	wait  bool     // the body has nothing at next; somebody waits for it
}

// outbox decides which bytes go next (section 4): lost ones, then new ones.
type outbox struct {
	seq    uint64 // of the WANT in force
	last   bool
	limit  float64 // bytes of data a second; 0: none
	size   int64   // of the object; negative: not known
	ranges []*wanted
	lost   segmentHeap
	copies map[segment]int32 // in flight, of what has been repeated
}

func newOutbox() *outbox { return &outbox{size: -1, copies: map[segment]int32{}} }

// segmentHeap is a heap by offset.
type segmentHeap []segment

func (h segmentHeap) Len() int           { return len(h) }
func (h segmentHeap) Less(i, j int) bool { return h[i].off < h[j].off }
func (h segmentHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *segmentHeap) Push(any)          {} // see push
func (h *segmentHeap) Pop() any          { return nil }

// push adds a segment without boxing it into an interface.
func (h *segmentHeap) push(s segment) {
	*h = append(*h, s)
	heap.Fix(h, len(*h)-1)
}

func (h *segmentHeap) pop() segment {
	old := *h
	s, n := old[0], len(old)-1
	old[0] = old[n]
	*h = old[:n]
	if n > 0 {
		heap.Fix(h, 0)
	}
	return s
}

// find returns the range with this id, or nil.
func (o *outbox) find(id uint64) *wanted {
	for _, w := range o.ranges {
		if w.id == id {
			return w
		}
	}
	return nil
}

// end is where a range ends, as far as is known.
func (o *outbox) end(w *wanted) int64 {
	if o.size >= 0 {
		return min(w.end(), o.size)
	}
	return w.end()
}

// take puts a newer WANT into force and reports whether it was one.
func (o *outbox) take(f *wantFrame) bool {
	if f.seq <= o.seq {
		return false
	}
	o.seq, o.last, o.limit = f.seq, f.last, float64(f.limit)
	ranges := make([]*wanted, 0, len(f.ranges))
	for _, r := range f.ranges {
		w := o.find(r.id)
		if w == nil {
			w = &wanted{wireRange: r, next: r.off}
		} else {
			w.shrink(r)
		}
		ranges = append(ranges, w)
	}
	o.ranges = ranges
	return true
}

// shrink cuts a range to what is still wanted of it.
func (w *wanted) shrink(r wireRange) {
	start, end := max(w.off, r.off), min(w.end(), r.end())
	w.off, w.n = start, max(0, end-start)
	if w.next < start {
		w.next, w.wait = start, false
	}
}

// give tells that a record's data was given up.
func (o *outbox) give(r *record) {
	if r.n == 0 || o.copy(r, -1) > 0 {
		return
	}
	if w := o.find(r.rng); w != nil && !w.acked.Contains(span.Span{Start: r.off, End: r.end()}) {
		o.lost.push(segment{r.rng, r.off, r.n})
	}
}

// copy counts the copies in flight of a segment that is repeated, and returns
// how many others there are.
func (o *outbox) copy(r *record, by int32) int32 {
	if len(o.copies) == 0 && by < 0 {
		return 0
	}
	n, repeated := o.copies[r.segment()]
	if !repeated {
		return 0
	}
	if n += by; n <= 0 {
		delete(o.copies, r.segment())
		return 0
	}
	o.copies[r.segment()] = n
	return n
}

// repeat counts one more copy of what is in flight already.
func (o *outbox) repeat(s segment) {
	if o.copies[s] == 0 {
		o.copies[s] = 1
	}
	o.copies[s]++
}

// nextLost returns the lost segment with the lowest offset, without taking it.
func (o *outbox) nextLost() (segment, bool) {
	for len(o.lost) > 0 {
		s := o.lost[0]
		if w := o.find(s.rng); w != nil && s.off < o.end(w) && s.end() > w.off {
			if from := w.acked.From(s.off); from < s.end() {
				return s, true
			}
		}
		o.lost.pop()
	}
	return segment{}, false
}

// rest cuts off what is acknowledged at a segment's start. It returns false if
// that is all.
func (o *outbox) rest(s segment) (segment, bool) {
	w := o.find(s.rng)
	if w == nil {
		return s, true
	}
	from := min(w.acked.From(s.off), s.end())
	return segment{s.rng, from, int32(s.end() - from)}, from < s.end()
}

// nextNew returns the first range that has bytes never sent and not known to be
// missing at the relay.
func (o *outbox) nextNew() *wanted {
	for _, w := range o.ranges {
		if !w.wait && w.next < o.end(w) {
			return w
		}
	}
	return nil
}

// sent tells whether all that is wanted has been sent once, and whether some of
// it waits for the body.
func (o *outbox) sent() (all, waiting bool) {
	all = len(o.lost) == 0
	for _, w := range o.ranges {
		if w.next < o.end(w) {
			all = false
			waiting = waiting || w.wait
		}
	}
	return all, waiting
}

// unsent is how many bytes were never sent, as far as the size is known.
func (o *outbox) unsent() (n int64) {
	for _, w := range o.ranges {
		n += max(0, o.end(w)-w.next)
	}
	return n
}

// rescue finds bytes that were sent, are not acknowledged and are nowhere else,
// when nothing is in flight any more. There should be none: it is here so that
// a mistake in the books above costs time and not the transfer.
func (o *outbox) rescue() bool {
	if len(o.lost) > 0 {
		return false
	}
	clear(o.copies)
	for _, w := range o.ranges {
		for _, gap := range w.acked.Missing(span.Span{Start: w.off, End: min(w.next, o.end(w))}) {
			for ; gap.Len() > 0; gap.Start += basePacket {
				o.lost.push(segment{w.id, gap.Start, int32(min(gap.Len(), basePacket))})
			}
		}
	}
	return len(o.lost) > 0
}

// wants tells whether a record's data is still of use.
func (o *outbox) wants(r *record) bool {
	w := o.find(r.rng)
	return w != nil && r.n > 0 && r.off < o.end(w) && r.end() > w.off &&
		!w.acked.Contains(span.Span{Start: r.off, End: r.end()})
}

// acker merges the data of acknowledged packets before it goes into a set,
// since neighbours mostly come together.
type acker struct {
	o   *outbox
	w   *wanted
	run span.Span
}

func (a *acker) add(r *record) {
	if r.n == 0 {
		return
	}
	a.o.copy(r, -1)
	if a.w != nil && a.w.id == r.rng {
		switch {
		case r.end() == a.run.Start:
			a.run.Start = r.off
			return
		case r.off == a.run.End:
			a.run.End = r.end()
			return
		}
	}
	a.flush()
	if a.w == nil || a.w.id != r.rng {
		a.w = a.o.find(r.rng)
	}
	a.run = span.Span{Start: r.off, End: r.end()}
}

func (a *acker) flush() {
	if a.w != nil {
		a.w.acked.Add(a.run)
	}
	a.run = span.Span{}
}
