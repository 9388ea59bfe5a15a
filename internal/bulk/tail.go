package bulk

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// repeated is a segment of the tail: sent, and not acknowledged.
type repeated struct {
	segment
	copies  int
	sent    time.Duration // the newest copy
	number  uint64
	overdue bool // later packets than the newest copy are acknowledged
	covered bool // a code makes up for its loss
}

// due tells whether a further copy may go out, if not now then later.
func (a *repeated) due(most int) bool { return a.copies < most && (a.overdue || !a.covered) }

// tail chooses repeats while there is nothing else to send (section 4).
type tail struct {
	queue []repeated
	at    int // index of the next in queue
	most  int // copies
	fresh bool
	rest  segment       // of what did not fit into one packet; n = 0: none
	seen  map[int64]int // by offset, index in queue
}

// shortRTT is below what acknowledgements take longer to be sent than to arrive.
const shortRTT = 20 * time.Millisecond

// overdueBy is how many packets later one must have been acknowledged.
const overdueBy = 3

// overdue tells whether a packet is probably lost.
func (l *ledger) overdue(r *record) bool {
	return l.any && r.number+overdueBy < l.newest && r.sent < l.newestSent
}

// goal is how many packets may be expected missing after all repeats.
const goal = 0.02

// changed says that acknowledgements or losses came, or what is wanted changed.
func (t *tail) changed() { t.fresh = false }

// next returns what is to be repeated now, or when to look again.
func (t *tail) next(now time.Duration, l *ledger, o *outbox) (s segment, ok bool, again time.Duration) {
	gap := max(4*time.Millisecond, l.srtt/16)
	if l.srtt < shortRTT {
		gap = max(gap, l.srtt+l.delay) // an acknowledgement is as soon here as a repeat
	}
	if s, t.rest = t.rest, s; s.n > 0 {
		return s, true, 0
	}
	for range 2 {
		for t.fresh && t.at < len(t.queue) {
			r := t.queue[t.at]
			t.at++
			if r.due(t.most) && now-r.sent >= gap {
				return r.segment, true, 0
			}
		}
		if !t.build(l, o) {
			return segment{}, false, 0
		}
		if !t.due(now, gap) {
			break
		}
	}
	return segment{}, false, now + gap/2
}

// due tells whether some segment may be repeated at once.
func (t *tail) due(now, gap time.Duration) bool {
	return slices.ContainsFunc(t.queue, func(r repeated) bool { return r.due(t.most) && now-r.sent >= gap })
}

// order puts first what is probably lost, in the order of the file; then what
// has the fewest copies in flight, and of those the newest: the oldest will be
// acknowledged or overdue before its turn comes.
func (a *repeated) order(b *repeated) int {
	switch {
	case a.overdue && b.overdue:
		return cmp.Compare(a.off, b.off)
	case a.overdue:
		return -1
	case b.overdue:
		return 1
	}
	return cmp.Or(cmp.Compare(a.copies, b.copies), cmp.Compare(b.number, a.number))
}

// build lists what is not acknowledged. It reports whether a further copy of any may be sent at some time.
func (t *tail) build(l *ledger, o *outbox) bool {
	t.queue, t.at = t.queue[:0], 0
	if t.seen == nil {
		t.seen = map[int64]int{}
	}
	clear(t.seen)
	for n := l.oldest; n < l.next; n++ {
		r := l.get(n)
		if r == nil || r.fate != flying || !o.wants(r) {
			continue
		}
		i, ok := t.seen[r.off]
		if !ok {
			i = len(t.queue)
			t.seen[r.off] = i
			t.queue = append(t.queue, repeated{segment: segment{r.rng, r.off, r.n}})
		}
		q := &t.queue[i]
		q.copies++
		q.sent, q.number = r.sent, r.number
		q.covered = q.covered || l.coded.covers(r)
		q.overdue = l.overdue(r)
	}
	p := min(max(l.missing(), 0.01), 0.6)
	t.most = max(2, int(math.Ceil(math.Log(float64(len(t.queue))/goal)/-math.Log(p))))
	slices.SortFunc(t.queue, func(a, b repeated) int { return a.order(&b) })
	t.fresh = true
	return slices.ContainsFunc(t.queue, func(r repeated) bool { return r.due(t.most) })
}
