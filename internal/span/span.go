// Package span does arithmetic on half-open ranges of bytes and on sets of
// them. The relay's growing file and the client's partial file both use it to
// know which bytes they have.
package span

import (
	"slices"
	"sort"
)

// Span is the bytes from Start up to, not including, End.
type Span struct{ Start, End int64 }

// Len returns the number of bytes in s; 0 if it is empty or reversed.
func (s Span) Len() int64 { return max(0, s.End-s.Start) }

// Intersect returns the bytes that are in both spans; it may be empty.
func (s Span) Intersect(t Span) Span {
	r := Span{max(s.Start, t.Start), min(s.End, t.End)}
	if r.End < r.Start {
		r.End = r.Start
	}
	return r
}

// Set is a set of bytes, kept as sorted spans that neither touch nor overlap.
// The zero value is empty. It is not safe for concurrent use.
type Set struct{ spans []Span }

// Of returns the set of all bytes in the given spans.
func Of(spans ...Span) Set {
	var s Set
	for _, sp := range spans {
		s.Add(sp)
	}
	return s
}

// Add puts the bytes of sp into the set.
func (s *Set) Add(sp Span) {
	if sp.Len() == 0 {
		return
	}
	// Everything in [i, j) touches or overlaps sp and melts into it.
	i := sort.Search(len(s.spans), func(k int) bool { return s.spans[k].End >= sp.Start })
	j := i
	for j < len(s.spans) && s.spans[j].Start <= sp.End {
		sp.Start = min(sp.Start, s.spans[j].Start)
		sp.End = max(sp.End, s.spans[j].End)
		j++
	}
	s.spans = slices.Replace(s.spans, i, j, sp)
}

// Remove takes the bytes of sp out of the set.
func (s *Set) Remove(sp Span) {
	if sp.Len() == 0 {
		return
	}
	i := sort.Search(len(s.spans), func(k int) bool { return s.spans[k].End > sp.Start })
	j := i
	var rest []Span
	for j < len(s.spans) && s.spans[j].Start < sp.End {
		if left := (Span{s.spans[j].Start, sp.Start}); left.Len() > 0 {
			rest = append(rest, left)
		}
		if right := (Span{sp.End, s.spans[j].End}); right.Len() > 0 {
			rest = append(rest, right)
		}
		j++
	}
	s.spans = slices.Replace(s.spans, i, j, rest...)
}

// Contains reports whether every byte of sp is in the set. An empty span is.
func (s *Set) Contains(sp Span) bool {
	return sp.Len() == 0 || s.From(sp.Start) >= sp.End
}

// From returns the end of the run of present bytes that starts at off, or off
// itself if that byte is not in the set.
func (s *Set) From(off int64) int64 {
	i := sort.Search(len(s.spans), func(k int) bool { return s.spans[k].End > off })
	if i < len(s.spans) && s.spans[i].Start <= off {
		return s.spans[i].End
	}
	return off
}

// Missing returns, in order, the parts of within that are not in the set.
func (s *Set) Missing(within Span) []Span {
	var out []Span
	at := within.Start
	i := sort.Search(len(s.spans), func(k int) bool { return s.spans[k].End > at })
	for ; i < len(s.spans) && s.spans[i].Start < within.End; i++ {
		if s.spans[i].Start > at {
			out = append(out, Span{at, s.spans[i].Start})
		}
		at = s.spans[i].End
	}
	if at < within.End {
		out = append(out, Span{at, within.End})
	}
	return out
}

// Len returns the number of bytes in the set.
func (s *Set) Len() int64 {
	var n int64
	for _, sp := range s.spans {
		n += sp.Len()
	}
	return n
}

// Spans returns a copy of the set's spans in order.
func (s *Set) Spans() []Span { return slices.Clone(s.spans) }

// Clone returns an independent copy of the set.
func (s *Set) Clone() Set { return Set{spans: slices.Clone(s.spans)} }
