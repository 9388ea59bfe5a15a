package congestion

import "time"

// fate is what became of a packet.
type fate uint8

const (
	unknown fate = iota
	flying
	acked
	lost
)

// record is what is kept of a sent packet.
type record struct {
	number    uint64
	sent      time.Duration
	scheduled time.Duration // when the pace alone would have sent it
	block     uint64
	size      int32
	state     fate
}

// ring holds the records of the latest packets by number. It grows while it
// would have to forget packets that are in flight or still to be counted.
type ring struct {
	slots  []record
	flying int    // bytes in flight
	keep   uint64 // the lowest number that must not be forgotten
}

const firstRing = 1 << 10

// add stores a record whose number is above all before.
func (r *ring) add(rec record) {
	if r.slots == nil {
		r.slots = make([]record, firstRing)
	}
	slot := r.slot(rec.number)
	for slot.state == flying || slot.state != unknown && slot.number >= r.keep {
		r.grow()
		slot = r.slot(rec.number)
	}
	*slot = rec
	r.flying += int(rec.size)
}

func (r *ring) slot(number uint64) *record {
	return &r.slots[number&uint64(len(r.slots)-1)]
}

func (r *ring) grow() {
	old := r.slots
	r.slots = make([]record, 2*len(old))
	for _, rec := range old {
		if rec.state != unknown {
			*r.slot(rec.number) = rec
		}
	}
}

// get returns the record of a packet, or nil if it was never sent or is forgotten.
func (r *ring) get(number uint64) *record {
	if r.slots == nil {
		return nil
	}
	rec := r.slot(number)
	if rec.state == unknown || rec.number != number {
		return nil
	}
	return rec
}

// settle notes what became of a packet and reports whether that is news.
func (r *ring) settle(rec *record, state fate) bool {
	if rec.state == acked || rec.state == state {
		return false
	}
	if rec.state == flying {
		r.flying -= int(rec.size)
	}
	rec.state = state
	return true
}
