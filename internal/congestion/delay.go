package congestion

import (
	"math"
	"slices"
	"time"
)

// floor is a minimum over a sliding window, kept as that of the current and
// the previous half.
type floor struct {
	now, before float64
	turn        time.Duration // when the current half began
}

func newFloor() floor { return floor{now: math.Inf(1), before: math.Inf(1)} }

func (f *floor) add(x float64) { f.now = min(f.now, x) }

func (f *floor) value() float64 { return min(f.now, f.before) }

// rotate begins a new half if the current one is old and has seen anything.
func (f *floor) rotate(at, half time.Duration) {
	if at-f.turn >= half && !math.IsInf(f.now, 1) {
		f.before, f.now = f.now, math.Inf(1)
		f.turn = at
	}
}

func (f *floor) shift(by float64) {
	f.now += by
	f.before += by
}

// delays is the model of the path's delay.
//
// The receiver's clock need not agree with ours: one-way delays are taken from
// the first one seen. A queue is a mean one-way delay above its floor, and never
// more than the round trip's excess over its own floor, so a clock that is set
// or runs away is not taken for a queue for long.
type delays struct {
	origin    time.Duration // the first one-way delay, whatever it meant
	known     bool
	oneWay    floor // of blocks' means, seconds
	rtt       floor // of samples, seconds
	smoothed  float64
	newest    float64 // round trip of the newest sample
	newestOne float64 // its one-way delay
	first     int     // samples that went into the next two
	firstRTT  [firstSamples]float64
	firstOne  [firstSamples]float64
	noise2    float64       // variance of a block's mean delay
	spread    float64       // the largest variance within a block
	usual     float64       // how many samples a block usually has
	seen      time.Duration // when a block was last near the floor
	diffs     int           // second differences that went into it
	last      [2]block
}

func newDelays() delays {
	return delays{oneWay: newFloor(), rtt: newFloor()}
}

// clockJump is how far one-way delay and round trip may part from one sample
// to the next before the receiver's clock must have been set.
const clockJump = 0.5

// sample takes in the times of one packet and returns its one-way delay and
// round trip in seconds, and whether they make sense.
func (d *delays) sample(scheduled, sent, arrived, left, now time.Duration) (oneWay, rtt float64, ok bool) {
	rtt = (now - sent - (left - arrived)).Seconds()
	if left < arrived || rtt <= 0 {
		return 0, 0, false // the clock was set while the receiver held it
	}
	if !d.known {
		d.known, d.origin, d.newest = true, arrived-scheduled, rtt
	}
	oneWay = (arrived - scheduled - d.origin).Seconds()
	if jump := oneWay - d.newestOne - (rtt - d.newest); math.Abs(jump) > clockJump {
		d.origin += seconds(jump)
		oneWay -= jump
	}
	d.newest, d.newestOne = rtt, oneWay
	if d.first < firstSamples {
		d.firstRTT[d.first], d.firstOne[d.first] = rtt, oneWay
		d.first++
	}
	return oneWay, rtt, true
}

// settle smooths the round trip, once for each acknowledgement.
func (d *delays) settle() {
	switch {
	case d.newest == 0:
	case d.smoothed == 0:
		d.smoothed = d.newest
	default:
		d.smoothed += (d.newest - d.smoothed) / 8
	}
}

func (d *delays) base() float64 {
	if v := d.rtt.value(); !math.IsInf(v, 1) {
		return v
	}
	return d.median(d.firstRTT)
}

// median of the first samples: no queue of our own yet, and neither a lucky
// packet nor one that reordering has moved counts.
func (d *delays) median(samples [firstSamples]float64) float64 {
	if d.first == 0 {
		return 0
	}
	slices.Sort(samples[:d.first])
	return samples[d.first/2]
}

// firstSamples is how many samples the first floors are taken from.
const firstSamples = 5

// floorSlack is how near to the base round trip the floor counts as seen.
const floorSlack = 0.03

// floorSamples is how many samples of a block make its mean worth a floor.
const floorSamples = 5

// clockSlack is how far the two delays may disagree before the receiver's
// clock is blamed.
const clockSlack = 0.004

// close takes in a block's mean delay and sets the block's queue.
func (d *delays) close(b *block, now time.Duration) {
	if b.timed.n < 1 {
		b.queue = d.last[1].queue
		return
	}
	d.usual += (b.timed.n - d.usual) / 16
	if b.state == Init {
		b.rtt, b.timed.d = d.median(d.firstRTT), d.median(d.firstOne) // the first train has a queue of its own
	} else {
		d.learnNoise(b)
	}
	if b.timed.n >= floorSamples || b.state == Init || math.IsInf(d.oneWay.value(), 1) {
		d.oneWay.add(b.timed.d)
		d.rtt.add(b.rtt) // not the shortest sample: a lucky one says little
	}
	queue := b.timed.d - d.oneWay.value()
	bound := max(b.rtt-d.base(), 0)
	if queue > bound+clockSlack+4*d.noise() {
		d.oneWay.shift(queue - bound)
		b.timed = fit{} // its line means nothing
	}
	b.queue = min(queue, bound)
	if b.queue < floorSlack*d.base()+3*d.noise() {
		d.seen = now
	}
	d.last[0], d.last[1] = d.last[1], *b
}

// learnNoise estimates the variance of a block's mean delay by the second
// difference of three neighbours: a queue that grows or shrinks steadily does
// not enter it.
func (d *delays) learnNoise(b *block) {
	if r := b.timed.residual(); !b.limited { // a pause in the middle is no noise
		d.spread = max(d.spread, r*r)
	}
	p, q := &d.last[0], &d.last[1]
	if min(p.timed.n, q.timed.n, b.timed.n) < floorSamples {
		return
	}
	if p.state != b.state || q.state != b.state || p.seq+2 != b.seq || q.seq+1 != b.seq {
		return
	}
	diff := b.timed.d - 2*q.timed.d + p.timed.d
	v := diff * diff / 6
	if d.diffs++; d.diffs > 8 {
		v = min(v, 4*max(d.noise2, noiseFloor*noiseFloor)) // the queue has corners, too
	}
	d.noise2 += (v - d.noise2) / min(float64(d.diffs), 16)
}

// noiseFloor is what timestamps and wake-ups are trusted to.
const noiseFloor = 100e-6

// noise is the standard deviation of a block's mean delay. Until there are
// enough differences the spread within a block stands in, which is more.
func (d *delays) noise() float64 {
	v := d.noise2
	if d.diffs < 4 {
		v = max(v, d.spread)
	}
	return max(math.Sqrt(v), noiseFloor)
}
