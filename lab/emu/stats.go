package emu

import (
	"math"
	"sync"
	"time"

	"github.com/jumpget/jumpget/lab/link"
)

// Stats is what one direction has done since it was last reset.
type Stats struct {
	Packets  uint64            `json:"packets"`   // offered
	Bytes    uint64            `json:"bytes"`     // offered, IP packets
	Out      uint64            `json:"out"`       // packets delivered
	OutBytes uint64            `json:"out_bytes"` // bytes delivered
	FirstMS  float64           `json:"first_ms"`  // when the firstFull-th full packet not the guest's was delivered; 0: never
	Drops    map[string]uint64 `json:"drops"`     // packets, by cause
	Queue    Delay             `json:"queue"`     // waiting for the wire
	Guest    uint64            `json:"guest"`     // bytes of OutBytes that were the guest's
	Late     Delay             `json:"late"`      // handed over later than the model says: the emulator's own error
	Series   []Step            `json:"series"`    // in steps of StepLength
}

// Delay sums up a distribution of delays in milliseconds.
type Delay struct {
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	Max  float64 `json:"max"`
}

// Step is what happened in one StepLength.
type Step struct {
	OutBytes uint32  `json:"out_bytes"`
	Guest    uint32  `json:"guest"`   // bytes of OutBytes that were the guest's
	Lost     uint32  `json:"lost"`    // packets lost on the wire
	Dropped  uint32  `json:"dropped"` // packets dropped before it
	QueueMS  float64 `json:"queue_ms"`
}

// StepLength is the length of one Step.
const StepLength = 100 * time.Millisecond

// A handshake brings a few full packets; the file has begun to arrive when
// firstFull of them have come.
const (
	fullSize  = 1200
	firstFull = 16
)

// maxSteps bounds the series: an hour.
const maxSteps = 36_000

// histogram counts delays in buckets of bucketWidth, so that a quantile is
// right to that width and counting allocates nothing.
type histogram struct {
	count [histogramSize]uint32
	n     uint64
	sum   time.Duration
	max   time.Duration
}

const (
	bucketWidth   = 100 * time.Microsecond
	histogramSize = 50_000 // 5 s
)

func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.count[min(int(d/bucketWidth), histogramSize-1)]++
	h.n++
	h.sum += d
	h.max = max(h.max, d)
}

func (h *histogram) quantile(q float64) time.Duration {
	rank := uint64(math.Ceil(q * float64(h.n)))
	var seen uint64
	for i, c := range h.count {
		if seen += uint64(c); seen >= rank && rank > 0 {
			return min(time.Duration(i+1)*bucketWidth, h.max)
		}
	}
	return h.max
}

func (h *histogram) delay() Delay {
	if h.n == 0 {
		return Delay{}
	}
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return Delay{Mean: ms(h.sum) / float64(h.n), P50: ms(h.quantile(.5)), P99: ms(h.quantile(.99)), Max: ms(h.max)}
}

// recorder gathers the statistics of one direction. Its pump writes, anybody
// may read; everything it needs is allocated beforehand.
type recorder struct {
	mu       sync.Mutex
	start    time.Duration
	packets  uint64
	bytes    uint64
	out      uint64
	outBytes uint64
	guest    uint64
	full     int           // packets of fullSize or more delivered
	first    time.Duration // when the firstFull-th of them was
	drops    [link.Verdicts]uint64
	queue    histogram
	late     histogram
	steps    []Step
	waits    []uint32 // packets whose queueing is summed in the step's QueueMS
}

func newRecorder() *recorder {
	return &recorder{steps: make([]Step, 0, maxSteps), waits: make([]uint32, 0, maxSteps)}
}

// step returns the index of the step that now falls into, or -1 past the bound.
func (r *recorder) step(now time.Duration) int {
	i := int((now - r.start) / StepLength)
	if i < 0 || i >= maxSteps {
		return -1
	}
	for len(r.steps) <= i {
		r.steps = append(r.steps, Step{})
		r.waits = append(r.waits, 0)
	}
	return i
}

func (r *recorder) offered(now time.Duration, size int, f link.Fate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.packets++
	r.bytes += uint64(size)
	r.drops[f.Verdict]++
	i := r.step(now)
	if f.Verdict == link.Delivered || f.Verdict == link.DropLoss {
		r.queue.add(f.Waited)
		if i >= 0 {
			r.steps[i].QueueMS += float64(f.Waited) / float64(time.Millisecond)
			r.waits[i]++
		}
	}
	switch {
	case i < 0 || f.Verdict == link.Delivered:
	case f.Verdict == link.DropLoss:
		r.steps[i].Lost++
	default:
		r.steps[i].Dropped++
	}
}

func (r *recorder) delivered(now, due time.Duration, size int, guest bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out++
	r.outBytes += uint64(size)
	i := r.step(now)
	if i >= 0 {
		r.steps[i].OutBytes += uint32(size)
	}
	r.late.add(now - due)
	if guest {
		r.guest += uint64(size)
		if i >= 0 {
			r.steps[i].Guest += uint32(size)
		}
		return
	}
	if size >= fullSize {
		if r.full++; r.full == firstFull {
			r.first = now - r.start
		}
	}
}

func (r *recorder) reset(now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.start = now
	r.packets, r.bytes, r.out, r.outBytes, r.guest = 0, 0, 0, 0, 0
	r.full, r.first = 0, 0
	r.drops = [link.Verdicts]uint64{}
	r.queue, r.late = histogram{}, histogram{}
	r.steps, r.waits = r.steps[:0], r.waits[:0]
}

func (r *recorder) stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Stats{
		Packets: r.packets, Bytes: r.bytes, Out: r.out, OutBytes: r.outBytes, Guest: r.guest,
		FirstMS: float64(r.first) / float64(time.Millisecond),
		Drops:   map[string]uint64{}, Queue: r.queue.delay(), Late: r.late.delay(),
		Series: make([]Step, len(r.steps)),
	}
	for v, n := range r.drops {
		if n > 0 && link.Verdict(v) != link.Delivered {
			s.Drops[link.Verdict(v).String()] = n
		}
	}
	copy(s.Series, r.steps)
	for i, n := range r.waits {
		if n > 0 {
			s.Series[i].QueueMS /= float64(n)
		}
	}
	return s
}
