package congestion

import (
	"math"
	"time"
)

// fit is the least-squares line of one-way delay over sending time, kept as
// running means and centred sums (Welford's method), so that the fits of
// several blocks can be merged.
type fit struct {
	n             float64
	v, d          float64 // means: sending time, delay; seconds
	svv, svd, sdd float64 // centred sums
}

func (f *fit) add(v, d float64) {
	f.n++
	dv, dd := v-f.v, d-f.d
	f.v += dv / f.n
	f.d += dd / f.n
	f.svv += dv * (v - f.v)
	f.svd += dv * (d - f.d)
	f.sdd += dd * (d - f.d)
}

func (f *fit) merge(o fit) {
	if o.n == 0 {
		return
	}
	n := f.n + o.n
	w := f.n * o.n / n
	dv, dd := o.v-f.v, o.d-f.d
	f.svv += o.svv + w*dv*dv
	f.svd += o.svd + w*dv*dd
	f.sdd += o.sdd + w*dd*dd
	f.v += dv * o.n / n
	f.d += dd * o.n / n
	f.n = n
}

// slope is how fast the delay grows: seconds per second, 0 if it can't be told.
func (f *fit) slope() float64 {
	if f.n < 3 || f.svv <= 0 {
		return 0
	}
	return f.svd / f.svv
}

// residual is the standard deviation around the line.
func (f *fit) residual() float64 {
	if f.n < 3 || f.svv <= 0 {
		return 0
	}
	return math.Sqrt(max(f.sdd-f.svd*f.svd/f.svv, 0) / (f.n - 2))
}

// block is the unit of measurement: packets sent one after the other in one
// state. Its length is a quarter of a round.
type block struct {
	seq         uint64
	state       State
	first, last uint64 // packet numbers
	start, end  time.Duration
	bytes       int
	ackedBytes  int
	limited     bool // something other than the pace set the rate
	window      bool // the window did
	timed       fit
	rtt         float64 // mean, seconds
	loss        tally
	queue       float64 // seconds, set when the block closes
}

func (b *block) empty() bool { return b.bytes == 0 }

func (b *block) span() float64 { return (b.end - b.start).Seconds() }

// reading is what several blocks say together.
type reading struct {
	blocks int
	window int     // blocks that the window limited
	sent   float64 // bytes/s at which the packets were sent
	growth float64 // of the queue, seconds per second: bottleneck rate = sent / (1 + growth)
	err    float64 // standard error of growth
	queue  float64 // seconds
	loss   tally
	span   float64 // seconds of sending
	fit    fit
}

// read merges blocks. noise is the standard deviation of the mean delay of a
// block with the usual number of samples.
func read(blocks []block, noise, usual float64) reading {
	var r reading
	var bytes int
	for i := range blocks {
		b := &blocks[i]
		r.blocks++
		if b.window {
			r.window++
		}
		r.fit.merge(b.timed)
		r.loss.join(b.loss)
		r.queue += b.queue
		r.span += b.span()
		bytes += b.bytes
	}
	if r.blocks == 0 || r.span <= 0 {
		return reading{}
	}
	r.queue /= float64(r.blocks)
	r.growth = max(r.fit.slope(), -0.9)
	few := max(1, usual*float64(r.blocks)/max(r.fit.n, 1))
	r.err = math.Sqrt(12*few/float64(r.blocks)) * noise / r.span
	r.sent = float64(bytes) / r.span
	return r
}

// arrived is the rate at which the bottleneck passed what was sent, lost
// packets included: a loss after the bottleneck has used its slot there.
func (r *reading) arrived() float64 { return r.sent / (1 + max(r.growth, -0.05)) }
