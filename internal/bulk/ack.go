package bulk

import "encoding/binary"

// Limits of an ACK (section 5).
const (
	maxSamples  = 40
	maxCoverage = 16384 // packet numbers
)

// arrival is when a packet came, in us of the client's clock.
type arrival struct {
	number uint64
	at     int64
}

// numbers is a run of packet numbers, both ends included.
type numbers struct{ low, high uint64 }

// ackFrame is an ACK as the relay reads it.
type ackFrame struct {
	newest   uint64
	now      int64
	window   int64 // bytes; negative: no limit
	samples  []arrival
	received []numbers // from the newest down
}

func (a *ackFrame) parse(c *cursor) {
	a.newest = c.uvBelow(maxOffset)
	a.now = int64(c.uvBelow(maxOffset))
	a.window = (int64(c.uvBelow(maxOffset>>10)) - 1) << 10
	a.parseSamples(c)
	if c.bad {
		return
	}
	a.received = a.received[:0]
	switch mode := c.u8(); mode {
	case 0:
		a.parseRuns(c)
	case 1:
		a.parseBitmap(c)
	default:
		c.bad = true
	}
}

func (a *ackFrame) parseSamples(c *cursor) {
	a.samples = a.samples[:0]
	k := int(c.u8())
	if k > maxSamples {
		c.bad = true
		return
	}
	s := arrival{number: a.newest, at: a.now}
	for i := range k {
		back := c.uv()
		if back > s.number || i > 0 && back == 0 {
			c.bad = true
		}
		s.number -= back
		if i == 0 {
			s.at -= int64(c.uvBelow(maxOffset))
		} else {
			s.at -= c.sv()
		}
		if c.bad {
			return
		}
		a.samples = append(a.samples, s)
	}
}

func (a *ackFrame) parseRuns(c *cursor) {
	n := c.uvBelow(maxCoverage + 1)
	left := min(a.newest+1, maxCoverage)
	at := a.newest // the highest number of the next run
	for i := range n {
		run := c.uv()
		if run == 0 || run > left {
			c.bad = true
			return
		}
		if i%2 == 0 {
			a.received = append(a.received, numbers{at - run + 1, at})
		}
		at -= run
		left -= run
	}
}

func (a *ackFrame) parseBitmap(c *cursor) {
	n := c.uvBelow(maxCoverage/8 + 1)
	bits := c.bytes(int(n))
	for i := uint64(0); i < n*8; i++ {
		if bits == nil || bits[i/8]&(1<<(i%8)) == 0 {
			continue
		}
		if i > a.newest {
			c.bad = true
			return
		}
		if k := len(a.received) - 1; k >= 0 && a.received[k].low == a.newest-i+1 {
			a.received[k].low--
		} else {
			a.received = append(a.received, numbers{a.newest - i, a.newest - i})
		}
	}
}

// Sizes of the receiver's memory, in packets.
const (
	seenBits    = 2 * maxCoverage
	samplesKept = 64
	ackMemory   = 8  // acknowledgements that each new one covers
	ackSlack    = 64 // packets further back, for reordering
	perInterval = 8  // samples an acknowledgement interval

	// sampleMemory is how many acknowledgements carry each sample.
	sampleMemory = 3
)

// receiver remembers which packets came and when, and makes acknowledgements
// of it.
type receiver struct {
	seen    [seenBits / 64]uint64 // by number modulo seenBits
	newest  uint64
	any     bool
	heads   [ackMemory]uint64 // newest at the last acknowledgements
	acks    int
	samples [samplesKept]arrival
	sampled int               // samples taken so far
	before  [sampleMemory]int // sampled at the last acknowledgements
	skipped int               // packets since the last sample
	stride  int
	fresh   int // packets since the last acknowledgement
	runs    []byte
}

// add notes a packet that opened, and when it arrived, in us.
func (r *receiver) add(number uint64, at int64) {
	if r.any && number+seenBits/2 < r.newest {
		return
	}
	r.fresh++
	r.skipped++
	if !r.any || number > r.newest {
		r.forget(number)
		r.newest, r.any = number, true
		if r.skipped >= r.stride {
			r.samples[r.sampled%samplesKept] = arrival{number, at}
			r.sampled++
			r.skipped = 0
		}
	}
	r.seen[number%seenBits/64] |= 1 << (number % 64)
}

// forget clears the ring between the newest packet and the next one.
func (r *receiver) forget(next uint64) {
	if !r.any {
		return
	}
	if next-r.newest >= seenBits {
		clear(r.seen[:])
		return
	}
	for n := r.newest + 1; n < next; n++ {
		r.seen[n%seenBits/64] &^= 1 << (n % 64)
	}
	r.seen[next%seenBits/64] &^= 1 << (next % 64)
}

func (r *receiver) has(number uint64) bool {
	return r.seen[number%seenBits/64]&(1<<(number%64)) != 0
}

// appendAck appends an ACK of at most room bytes.
func (r *receiver) appendAck(b []byte, now, window int64, room int) []byte {
	start := len(b)
	b = append(b, frameAck)
	b = binary.AppendUvarint(b, r.newest)
	b = binary.AppendUvarint(b, uint64(now))
	if window < 0 {
		b = append(b, 0)
	} else {
		b = binary.AppendUvarint(b, uint64(window>>10)+1)
	}
	b = r.appendSamples(b, now)
	b = r.appendReceived(b, room-(len(b)-start))
	r.heads[r.acks%ackMemory] = r.newest
	r.acks++
	r.stride = max(1, r.fresh/perInterval)
	r.fresh = 0
	return b
}

func (r *receiver) appendSamples(b []byte, now int64) []byte {
	k := r.sampled
	if r.acks >= sampleMemory {
		k -= r.before[r.acks%sampleMemory]
	}
	k = min(k, maxSamples)
	r.before[r.acks%sampleMemory] = r.sampled
	b = append(b, byte(k))
	last := arrival{r.newest, now}
	for i := range k {
		s := r.samples[(r.sampled-1-i)%samplesKept]
		b = binary.AppendUvarint(b, last.number-s.number)
		if i == 0 {
			b = binary.AppendUvarint(b, uint64(max(0, last.at-s.at)))
			last = arrival{s.number, min(s.at, now)}
			continue
		}
		b = binary.AppendVarint(b, last.at-s.at)
		last = s
	}
	return b
}

// lowest is how far down an acknowledgement reaches.
func (r *receiver) lowest() uint64 {
	low := uint64(0)
	if r.acks >= ackMemory {
		low = r.heads[r.acks%ackMemory] // eight acknowledgements ago
	}
	low -= min(low, ackSlack)
	if r.newest >= maxCoverage {
		low = max(low, r.newest-maxCoverage+1)
	}
	return low
}

func (r *receiver) appendReceived(b []byte, room int) []byte {
	const fixed = 1 + 3 // mode and the number of runs or bytes
	low := r.lowest()
	bytes := int((r.newest-low)/8) + 1
	most := min(bytes, room-fixed)
	r.runs = r.runs[:0]
	runs := 0
	got, at := true, r.newest
	for {
		n := r.run(at, low, got)
		if len(r.runs)+3 > most {
			return r.appendBitmap(b, min(bytes, room-fixed))
		}
		r.runs = binary.AppendUvarint(r.runs, n)
		runs++
		if at-low+1 == n {
			break
		}
		at -= n
		got = !got
	}
	b = append(b, 0)
	b = binary.AppendUvarint(b, uint64(runs))
	return append(b, r.runs...)
}

// run counts how many numbers from at down to low have come, or have not.
func (r *receiver) run(at, low uint64, got bool) uint64 {
	n := uint64(0)
	for at-n >= low && r.has(at-n) == got {
		n++
		if n > at {
			break
		}
	}
	return n
}

func (r *receiver) appendBitmap(b []byte, bytes int) []byte {
	b = append(b, 1)
	b = binary.AppendUvarint(b, uint64(bytes))
	for i := range uint64(bytes) {
		var v byte
		for bit := range uint64(8) {
			if n := i*8 + bit; n <= r.newest && r.has(r.newest-n) {
				v |= 1 << bit
			}
		}
		b = append(b, v)
	}
	return b
}
