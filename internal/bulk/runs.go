package bulk

import (
	"slices"
	"sort"

	"github.com/jumpget/jumpget/internal/span"
)

// runs is a set of bytes that tells, as it grows, which bytes are new. It is
// what span.Set is, without an allocation for each packet.
type runs struct{ list []span.Span }

// add puts sp into the set and calls f, if there is one, with each part of it
// that was not in there. It returns how many bytes those are.
func (r *runs) add(sp span.Span, f func(span.Span)) (fresh int64) {
	if sp.Len() == 0 {
		return 0
	}
	i := sort.Search(len(r.list), func(k int) bool { return r.list[k].End >= sp.Start })
	j, at, whole := i, sp.Start, sp
	gap := func(end int64) {
		if end > at {
			fresh += end - at
			if f != nil {
				f(span.Span{Start: at, End: end})
			}
		}
	}
	for ; j < len(r.list) && r.list[j].Start <= sp.End; j++ {
		gap(r.list[j].Start)
		at = max(at, r.list[j].End)
		whole.Start = min(whole.Start, r.list[j].Start)
		whole.End = max(whole.End, r.list[j].End)
	}
	gap(sp.End)
	if i == j {
		r.list = slices.Insert(r.list, i, whole)
		return fresh
	}
	r.list[i] = whole
	r.list = slices.Delete(r.list, i+1, j)
	return fresh
}

// missing returns, in order, the parts of within that are not in the set.
func (r *runs) missing(within span.Span) []span.Span {
	var out []span.Span
	at := within.Start
	for _, sp := range r.list {
		if sp.Start > at && at < within.End {
			out = append(out, span.Span{Start: at, End: min(sp.Start, within.End)})
		}
		at = max(at, sp.End)
	}
	if at < within.End {
		out = append(out, span.Span{Start: at, End: within.End})
	}
	return out
}
