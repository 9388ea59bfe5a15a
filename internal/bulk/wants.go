package bulk

import (
	"cmp"
	"slices"

	"github.com/jumpget/jumpget/internal/span"
)

// asked is a range that a client has asked for.
type asked struct {
	id   uint64
	at   span.Span // within the object, as far as its size is known
	got  runs      // what has come of it
	left int64     // bytes that have not come
}

// shrink cuts the range.
func (a *asked) shrink(sp span.Span) {
	a.at = a.at.Intersect(sp)
	a.recount()
}

func (a *asked) recount() {
	a.left = 0
	for _, gap := range a.got.missing(a.at) {
		a.left += gap.Len()
	}
}

// wants is what a client wants at present, as it stands in WANT.
type wants struct {
	seq    uint64
	taken  uint64 // the highest sequence that the relay has
	last   bool
	limit  uint64
	nextID uint64
	ranges []*asked
	frame  wantFrame
}

// change makes the relay be told.
func (w *wants) change() { w.seq++ }

// told tells whether the relay knows all.
func (w *wants) told() bool { return w.taken == w.seq }

func (w *wants) find(id uint64) *asked {
	for _, a := range w.ranges {
		if a.id == id {
			return a
		}
	}
	return nil
}

// add adds ranges, cut at the object's size if it is known.
func (w *wants) add(ranges []span.Span, size int64) (first RangeID, err error) {
	if len(w.ranges)+len(ranges) > maxRanges {
		return 0, errTooMany
	}
	for i, sp := range ranges {
		if sp.Start < 0 || sp.End < sp.Start || sp.End >= maxOffset || w.overlaps(sp) || overlaps(ranges[:i], sp) {
			return 0, errRange
		}
	}
	first = RangeID(w.nextID + 1)
	for _, sp := range ranges {
		w.nextID++
		a := &asked{id: w.nextID, at: sp}
		if size >= 0 {
			a.at = sp.Intersect(span.Span{End: max(size, sp.Start)})
		}
		a.recount()
		w.ranges = append(w.ranges, a)
	}
	w.change()
	return first, nil
}

func (w *wants) overlaps(sp span.Span) bool {
	return slices.ContainsFunc(w.ranges, func(a *asked) bool { return a.at.Intersect(sp).Len() > 0 })
}

func overlaps(in []span.Span, sp span.Span) bool {
	return slices.ContainsFunc(in, func(o span.Span) bool { return o.Intersect(sp).Len() > 0 })
}

// remove gives a range up.
func (w *wants) remove(id uint64) bool {
	n := len(w.ranges)
	w.ranges = slices.DeleteFunc(w.ranges, func(a *asked) bool { return a.id == id })
	if len(w.ranges) == n {
		return false
	}
	w.change()
	return true
}

// end cuts all ranges at the object's size.
func (w *wants) end(size int64) {
	for _, a := range w.ranges {
		a.shrink(span.Span{Start: min(a.at.Start, size), End: size})
	}
}

// holds returns the range that the byte at off is wanted for, nil if none.
func (w *wants) holds(off int64) *asked {
	for i, a := range w.ranges {
		if off >= a.at.Start && off < a.at.End {
			if i > 0 { // the next packet is mostly of the same
				w.ranges[0], w.ranges[i] = w.ranges[i], w.ranges[0]
			}
			return a
		}
	}
	return nil
}

// after returns where the next wanted byte from off on is; -1 if there is none.
func (w *wants) after(off int64) int64 {
	next := int64(-1)
	for _, a := range w.ranges {
		if a.at.Len() > 0 && a.at.End > off && (next < 0 || a.at.Start < next) {
			next = max(off, a.at.Start)
		}
	}
	return next
}

// owed is how many bytes have not come; -1 if that depends on a size that is
// not known.
func (w *wants) owed() int64 {
	var n int64
	for _, a := range w.ranges {
		if n += a.left; n < 0 || a.left > 1<<60 {
			return -1
		}
	}
	return n
}

// wire returns the frame to be sent.
func (w *wants) wire() *wantFrame {
	f := &w.frame
	f.seq, f.last, f.limit = w.seq, w.last, w.limit
	f.ranges = f.ranges[:0]
	for _, a := range w.ranges {
		f.ranges = append(f.ranges, wireRange{id: a.id, off: a.at.Start, n: a.at.Len()})
	}
	slices.SortFunc(f.ranges, func(a, b wireRange) int { return cmp.Compare(a.id, b.id) })
	return f
}
