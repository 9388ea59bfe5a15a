package origin

import (
	"time"

	"github.com/jumpget/jumpget/internal/span"
)

// segments bounds what a worker takes at a time, in bytes. Small ones keep the
// front of the file growing in order; each costs one round trip on its connection.
type segments struct {
	least, most int64
	time        time.Duration // how long a segment should take
}

var defaultSegments = segments{least: 1 << 20, most: 8 << 20, time: 2 * time.Second}

// nearby is how many bytes are rather read and thrown away than asked anew.
const nearby = 16 << 10

// claim is the bytes that one worker fetches; Start moves on as they are written.
type claim struct{ span.Span }

// plan knows which bytes nobody fetches yet and how many workers there should
// be. It is not safe for concurrent use; the transfer's lock guards it.
type plan struct {
	segments segments
	todo     span.Set // neither there nor claimed
	active   int      // workers
	want     int      // workers wanted
	ceiling  int      // workers that the origin has been seen to bear
	stream   *answer  // the long answer of a single worker, while it is open
	reserved int64    // bytes below are left to that answer
	rate     float64  // bytes a second of one connection; 0: not known
}

func newPlan(all span.Span, have span.Set, r *run) plan {
	p := plan{segments: r.segments, want: 1, ceiling: r.f.cfg.MaxConns}
	p.todo.Add(all)
	for _, sp := range have.Spans() {
		p.todo.Remove(sp)
	}
	return p
}

// lowest returns the first free byte.
func (p *plan) lowest() (int64, bool) {
	spans := p.todo.Spans()
	if len(spans) == 0 {
		return 0, false
	}
	return spans[0].Start, true
}

// claim takes the lowest free segment; nil if there is none, or if there are
// more workers than wanted and this one has no open answer to lose.
func (p *plan) claim(a *answer) *claim {
	spans := p.todo.Spans()
	if len(spans) == 0 || a == nil && p.active > p.want {
		return nil
	}
	pick := spans[0]
	if a == nil {
		pick = p.beyond(spans)
	}
	pick.End = p.cut(pick)
	p.todo.Remove(pick)
	return &claim{pick}
}

// beyond returns the lowest free bytes that the open answer will not soon
// reach by itself, or else the lowest.
func (p *plan) beyond(spans []span.Span) span.Span {
	for _, sp := range spans {
		if rest := sp.Intersect(span.Span{Start: p.reserved, End: noEnd}); rest.Len() > 0 {
			return rest
		}
	}
	return spans[0]
}

// drop forgets an answer that is going to be closed.
func (p *plan) drop(a *answer) {
	if a == p.stream {
		p.stream, p.reserved = nil, 0
	}
}

// extend adds the bytes right behind the claim to it, if they are free.
func (p *plan) extend(c *claim) {
	free := span.Span{Start: c.End, End: p.todo.From(c.End)}
	if free.Len() == 0 {
		return
	}
	free.End = p.cut(free)
	p.todo.Remove(free)
	c.End = free.End
}

// cut returns the end of a segment at the start of sp. A small rest goes with it.
func (p *plan) cut(sp span.Span) int64 {
	n := int64(p.rate * p.segments.time.Seconds())
	n = max(p.segments.least, min(n, p.segments.most))
	if sp.Len() <= n+n/2 {
		return sp.End
	}
	return sp.Start + n
}
