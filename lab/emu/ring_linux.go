package emu

import "time"

// slot is a packet on its way.
type slot struct {
	at   time.Duration
	size int
	data []byte // a fixed window of the ring's slab
}

// ring holds the packets of one direction in the order of their departure. Its
// memory is allocated once.
type ring struct {
	slots []slot
	head  int
	n     int
}

// maxPacket is the largest packet carried: an MTU of 1500 and room to spare.
const maxPacket = 2048

func newRing(packets int) *ring {
	r := &ring{slots: make([]slot, packets)}
	slab := make([]byte, packets*maxPacket)
	for i := range r.slots {
		r.slots[i].data = slab[i*maxPacket : (i+1)*maxPacket]
	}
	return r
}

// next returns the free slot behind the last packet, or nil if there is none.
func (r *ring) next() *slot {
	if r.n == len(r.slots) {
		return nil
	}
	return &r.slots[(r.head+r.n)%len(r.slots)]
}

func (r *ring) push() { r.n++ }

func (r *ring) first() *slot {
	if r.n == 0 {
		return nil
	}
	return &r.slots[r.head]
}

func (r *ring) pop() {
	r.head = (r.head + 1) % len(r.slots)
	r.n--
}

// swapBack makes the last packet change places with the one back before it;
// the departures stay, the contents move.
func (r *ring) swapBack(back int) {
	if r.n <= back {
		return
	}
	a := &r.slots[(r.head+r.n-1)%len(r.slots)]
	b := &r.slots[(r.head+r.n-1-back)%len(r.slots)]
	a.data, b.data = b.data, a.data
	a.size, b.size = b.size, a.size
}
