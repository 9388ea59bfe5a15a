package bulk

import (
	"crypto/subtle"
	"encoding/binary"
	"math/bits"
)

// A REPAIR is the sum (exclusive or) of the data of many packets (section 4).
// With as many as it misses packets a client works these out, whichever they
// are: a random linear code over GF(2), as in LT codes (Luby 2002) and RFC 5170.
// At the end of a file, where nobody knows yet what was lost, that takes a
// fraction of what repeating each packet would.

const (
	codeMost  = 4096 // packets that a sum may be chosen from
	codeLeast = 16   // packets below which repeating them is as good
	thinMost  = 12

	// symbolHead is what stands before a packet's data in its symbol: offset
	// and length.
	symbolHead = 8 + 2

	// repairHead is what stands before the sum in a REPAIR.
	repairHead = 1 + 4 + 2 + 1

	// endSpare is how much smaller packets are made whose symbols have to fit.
	endSpare = symbolHead + repairHead - 2
)

// repairFrame is a REPAIR: the sum of those of count packets from number first
// on that its own number chooses.
type repairFrame struct {
	back  uint64 // first is so far before the REPAIR's own number
	count int
	thin  uint8
	sum   []byte // points into the packet
}

// appendHead appends all but the sum.
func (r *repairFrame) appendHead(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(append(b, frameRepair), uint32(r.back))
	b = binary.BigEndian.AppendUint16(b, uint16(r.count))
	return append(b, r.thin)
}

func (r *repairFrame) parse(c *cursor) {
	head := c.bytes(repairHead - 1)
	if head == nil {
		return
	}
	r.back = uint64(binary.BigEndian.Uint32(head))
	r.count = int(binary.BigEndian.Uint16(head[4:]))
	r.thin = head[6]
	r.sum, c.b = c.b, nil
	if r.count == 0 || r.count > codeMost || uint64(r.count) > r.back || r.thin > thinMost || len(r.sum) <= symbolHead {
		c.bad = true
	}
}

// subset is a set of packets, by how many numbers they come after the first.
type subset []uint64

// chosen returns what a REPAIR with this number sums up: each packet with
// probability 2^-(thin+1), by SplitMix64; all if that comes to none.
func chosen(into subset, number uint64, count int, thin uint8) subset {
	into = into[:0]
	some := false
	for i := 0; i < count; i += 64 {
		word := ^uint64(0)
		for j := range uint64(thin) + 1 {
			word &= splitMix(number<<32 + uint64(i)<<8 + j)
		}
		if left := count - i; left < 64 {
			word &= 1<<left - 1
		}
		some = some || word != 0
		into = append(into, word)
	}
	if some {
		return into
	}
	for i := range into {
		into[i] = ^uint64(0)
		if left := count - 64*i; left < 64 {
			into[i] = 1<<left - 1
		}
	}
	return into
}

// splitMix is the n-th output of SplitMix64 (Steele, Lea, Flood 2014).
func splitMix(n uint64) uint64 {
	z := n * 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// each calls f with each member.
func (s subset) each(f func(i int)) {
	for w, word := range s {
		for ; word != 0; word &= word - 1 {
			f(64*w + bits.TrailingZeros64(word))
		}
	}
}

func (s subset) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }

func (s subset) remove(i int) { s[i/64] &^= 1 << (i % 64) }

// first returns the lowest member; negative: there is none.
func (s subset) first() int {
	for w, word := range s {
		if word != 0 {
			return 64*w + bits.TrailingZeros64(word)
		}
	}
	return -1
}

// add takes the symmetric difference.
func (s subset) add(o subset) {
	for i := range s {
		s[i] ^= o[i]
	}
}

// size is how many members there are.
func (s subset) size() int {
	n := 0
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	return n
}

// addTo adds bytes to a sum that is at least as long.
func addTo(sum, p []byte) { subtle.XORBytes(sum, sum, p) }
