package bulk

import "encoding/binary"

// kept is a packet whose symbol may be in a REPAIR.
type kept struct {
	number uint64
	known  bool
	symbol []byte // without the zeros at its end; empty for a packet without data
}

// restorer works out lost packets from REPAIRs. The zero value is ready.
type restorer struct {
	ring   []kept // by number modulo codeMost; nil while nothing is kept
	first  uint64 // the packets that the equations are about
	count  int
	length int
	queue  []equation // not looked at yet
	rows   []equation // reduced; no pivot of one is in another
	pivot  []int      // by member, index in rows; -1: none
}

// equation says that the sum of the symbols of some packets is sum.
type equation struct {
	of   subset
	sum  []byte
	told bool // by the packet itself, which has come
}

// keepFrom is how many bytes may still be owed when packets begin to be kept.
const keepFrom = codeMost * basePacket

// keep notes a packet that came.
func (r *restorer) keep(number uint64, off int64, data []byte) {
	k := r.put(number, off, data)
	if len(r.rows) == 0 || number < r.first || number-r.first >= uint64(r.count) {
		return
	}
	i := int(number - r.first)
	e := equation{of: make(subset, (r.count+63)/64), sum: make([]byte, r.length), told: true}
	e.of[i/64] = 1 << (i % 64)
	copy(e.sum, r.symbol(k))
	r.queue = append(r.queue, e)
}

func (r *restorer) put(number uint64, off int64, data []byte) *kept {
	if r.ring == nil {
		r.ring = make([]kept, codeMost)
	}
	k := &r.ring[number%codeMost]
	k.number, k.known, k.symbol = number, true, k.symbol[:0]
	if len(data) > 0 {
		k.symbol = binary.BigEndian.AppendUint64(k.symbol, uint64(off))
		k.symbol = binary.BigEndian.AppendUint16(k.symbol, uint16(len(data)))
		k.symbol = append(k.symbol, data...)
	}
	return k
}

// symbol is what a kept packet counts as: too long a one is left out of all sums.
func (r *restorer) symbol(k *kept) []byte {
	if len(k.symbol) > r.length {
		return nil
	}
	return k.symbol
}

// find returns a member if it is known.
func (r *restorer) find(i int) *kept {
	n := r.first + uint64(i)
	if k := &r.ring[n%codeMost]; k.known && k.number == n {
		return k
	}
	return nil
}

// take takes in a REPAIR and calls f with each packet that is known by it now.
func (r *restorer) take(number uint64, f *repairFrame, found func(number uint64, off int64, data []byte)) {
	if r.ring == nil || f.back > number {
		return
	}
	if first := number - f.back; r.count != f.count || r.first != first || r.length != len(f.sum) {
		r.begin(first, f.count, len(f.sum))
	}
	missing := r.missing()
	if missing == 0 {
		return
	}
	e := equation{of: chosen(nil, number, f.count, f.thin), sum: append([]byte(nil), f.sum...)}
	r.queue = append(r.queue, e)
	if len(r.queue)+len(r.rows) < missing {
		return
	}
	for _, e := range r.queue {
		r.solve(e)
	}
	r.queue = r.queue[:0]
	r.deliver(found)
}

// begin forgets the equations about other packets.
func (r *restorer) begin(first uint64, count, length int) {
	*r = restorer{ring: r.ring, first: first, count: count, length: length, pivot: make([]int, count)}
	for i := range r.pivot {
		r.pivot[i] = -1
	}
}

// missing counts the members that are not known.
func (r *restorer) missing() (n int) {
	for i := range r.count {
		if r.find(i) == nil {
			n++
		}
	}
	return n
}

// solve adds an equation to the reduced ones (Gauss and Jordan).
func (r *restorer) solve(e equation) {
	if !e.told {
		e.of.each(func(i int) {
			if k := r.find(i); k != nil {
				addTo(e.sum, r.symbol(k))
				e.of.remove(i)
			}
		})
	}
	e.of.each(func(i int) {
		if at := r.pivot[i]; at >= 0 {
			e.of.add(r.rows[at].of)
			addTo(e.sum, r.rows[at].sum)
		}
	})
	i := e.of.first()
	if i < 0 {
		return
	}
	for at := range r.rows {
		if row := &r.rows[at]; row.of.has(i) {
			row.of.add(e.of)
			addTo(row.sum, e.sum)
		}
	}
	r.pivot[i] = len(r.rows)
	r.rows = append(r.rows, e)
}

// deliver hands over the packets that stand alone in an equation.
func (r *restorer) deliver(found func(number uint64, off int64, data []byte)) {
	for at := range r.rows {
		row := &r.rows[at]
		i := row.of.first()
		if i < 0 || row.of.size() != 1 || r.find(i) != nil {
			continue
		}
		off := binary.BigEndian.Uint64(row.sum)
		n := int(binary.BigEndian.Uint16(row.sum[8:]))
		if n == 0 || symbolHead+n > len(row.sum) || off >= maxOffset {
			continue // it had no data, or too much
		}
		number, data := r.first+uint64(i), row.sum[symbolHead:][:n]
		r.put(number, int64(off), data)
		found(number, int64(off), data)
	}
}

// restored marks a packet as received that was worked out.
func (r *receiver) restored(number uint64) {
	if number+seenBits/2 < r.newest {
		return
	}
	if number > r.newest {
		r.forget(number)
		r.newest = number
	}
	r.fresh++
	r.seen[number%seenBits/64] |= 1 << (number % 64)
}

// takeRepair keeps a packet that a REPAIR may be about, once the end is near,
// and works out what a REPAIR tells.
func (c *Conn) takeRepair(f *fromRelay) {
	if owed := c.wants.owed(); !c.wants.last || owed <= 0 || owed > keepFrom {
		return
	}
	if !f.has.has(frameData) {
		f.off, f.data = 0, nil
	}
	c.mended.keep(f.number, f.off, f.data)
	if !f.has.has(frameRepair) {
		return
	}
	c.mended.take(f.number, &f.repair, func(number uint64, off int64, data []byte) {
		c.link.rx.restored(number)
		c.data(off, data)
	})
}
