package bulk

import "time"

// fate is what became of a sent packet.
type fate uint8

const (
	forgotten fate = iota
	flying
	acked
	lost
)

// control is a set of control frames that are sent until one is acknowledged.
type control uint8

const (
	ctlMeta control = 1 << iota
	ctlTaken
	ctlPace
	ctlStream
)

// record is what the relay keeps of a sent packet.
type record struct {
	number uint64
	rng    uint64 // the range that its data is of
	off    int64
	sent   time.Duration
	n      int32 // bytes of data; 0: control frames alone
	size   int32 // UDP payload
	fate   fate
	ctl    control
	repair bool // it is a REPAIR; n is 0
}

// paced tells whether the controller knows the packet.
func (r *record) paced() bool { return r.n > 0 || r.repair }

func (r *record) end() int64 { return r.off + int64(r.n) }

func (r *record) segment() segment { return segment{r.rng, r.off, r.n} }

// ledger keeps the records of packets in flight, by number, and judges which
// are lost (section 4). Times are since the connection's start.
type ledger struct {
	slots  []record
	grow   func(slots int) bool // asks for room for so many more; nil: always there
	next   uint64               // number of the next packet
	oldest uint64               // none before it is in flight
	flying int                  // data packets in flight

	any        bool // something was acknowledged
	newest     uint64
	newestSent time.Duration

	srtt  time.Duration // as told by the controller
	delay time.Duration // longest that an acknowledgement may wait
	late  time.Duration // what reordering asks for beyond RTT/8
	eased time.Duration // when late fell the last time

	lost []uint64 // data packets given up since the last take

	arrived, missed float64 // data packets of late, for missing
	runs            float64 // that the missed ones were in
	lastLost        uint64

	coded *repairs // nil: none
}

const (
	firstSlots = 512
	mostSlots  = 1 << 17
	leastReo   = 2 * time.Millisecond
)

func newLedger(grow func(int) bool) *ledger {
	return &ledger{slots: make([]record, firstSlots), grow: grow}
}

func (l *ledger) slot(n uint64) *record { return &l.slots[n&uint64(len(l.slots)-1)] }

func (l *ledger) get(n uint64) *record {
	r := l.slot(n)
	if r.fate == forgotten || r.number != n {
		return nil
	}
	return r
}

// room tells whether one more packet can be kept track of.
func (l *ledger) room() bool {
	if l.next-l.oldest < uint64(len(l.slots)) {
		return true
	}
	n := len(l.slots)
	if n >= mostSlots || l.grow != nil && !l.grow(n) {
		return false
	}
	old := l.slots
	l.slots = make([]record, 2*n)
	for _, r := range old {
		if r.fate != forgotten {
			*l.slot(r.number) = r
		}
	}
	return true
}

// add records the next packet; there must be room.
func (l *ledger) add(r record) {
	r.number, r.fate = l.next, flying
	*l.slot(l.next) = r
	l.next++
	if r.paced() {
		l.flying++
	}
}

// ack marks a packet as acknowledged and returns its record, or nil if that is
// no news.
func (l *ledger) ack(n uint64) *record {
	r := l.get(n)
	if r == nil || r.fate == acked {
		return nil
	}
	if r.fate == flying && r.paced() {
		l.flying--
	}
	if r.paced() {
		l.count(true)
	}
	if r.fate == lost && !l.coded.covers(r) {
		l.missed = max(0, l.missed-1)
		l.late = max(l.late, (l.newestSent-r.sent)*5/4)
	}
	r.fate = acked
	if !l.any || n > l.newest {
		l.newest, l.newestSent, l.any = n, r.sent, true
	}
	return r
}

// reo is how much later a packet must have been sent whose acknowledgement
// makes an earlier one count as lost.
func (l *ledger) reo() time.Duration {
	return max(leastReo, l.srtt/8, min(l.late, l.srtt))
}

// ease lets the tolerance for reordering fall, a sixteenth each RTT.
func (l *ledger) ease(now time.Duration) {
	if l.srtt == 0 || now-l.eased < l.srtt {
		return
	}
	l.eased = now
	l.late -= l.late / 16
}

// detect gives up packets and calls f with each. It returns when it should be
// called next even if no acknowledgement comes; 0: no need.
func (l *ledger) detect(now time.Duration, f func(*record)) (again time.Duration) {
	l.ease(now)
	reo := l.reo()
	wait := l.srtt + reo + l.delay
	for ; l.oldest < l.next; l.oldest++ {
		r := l.get(l.oldest)
		if r == nil || r.fate != flying {
			continue
		}
		if !l.any || r.number > l.newest {
			return 0
		}
		if r.sent+reo > l.newestSent && now < r.sent+wait {
			return r.sent + wait
		}
		l.lose(r, f)
	}
	return 0
}

// expire gives up what was sent before t.
func (l *ledger) expire(t time.Duration, f func(*record)) {
	for ; l.oldest < l.next; l.oldest++ {
		r := l.get(l.oldest)
		if r == nil || r.fate != flying {
			continue
		}
		if r.sent >= t {
			return
		}
		l.lose(r, f)
	}
}

func (l *ledger) lose(r *record, f func(*record)) {
	r.fate = lost
	if r.paced() {
		l.count(false)
		if r.number != l.lastLost+1 {
			l.runs++
		}
		l.lastLost = r.number
		l.flying--
		l.lost = append(l.lost, r.number)
	}
	f(r)
}

// count counts what became of a packet; what was long ago counts less.
func (l *ledger) count(arrived bool) {
	const memory = 4000
	if l.arrived+l.missed > memory {
		l.arrived, l.missed, l.runs = l.arrived/2, l.missed/2, l.runs/2
	}
	if arrived {
		l.arrived++
	} else {
		l.missed++
	}
}

// missing is the share of packets that gets lost, for whatever reason; a fifth
// while nothing is known.
func (l *ledger) missing() float64 { return (l.missed + 4) / (l.arrived + l.missed + 20) }

// clumping is how much larger the variance of the number of losses is than
// that of independent ones: twice their mean run less one.
func (l *ledger) clumping() float64 { return max(1, 2*(l.missed+1)/(l.runs+1)-1) }

// takeLost returns the numbers of the data packets given up since the last call.
func (l *ledger) takeLost() []uint64 {
	n := l.lost
	l.lost = l.lost[:0]
	return n
}
