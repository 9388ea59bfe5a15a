package congestion

import "math"

// Startup goes up in steps: each is a pace, kept until its own packets have
// shown what becomes of them.
const (
	stepGain  = 2.0
	trainGain = 1.25 // after a train
	hintMost  = 4.0  // towards what a train has shown and one step has proved in part
	stepErr   = 0.15 // standard error of the growth that is good enough
	stepWait  = 3    // rounds after which it has to be
	stepFull  = 0.1  // growth of the queue of a full path
	stepMaybe = 0.05 // that may become one
	stepLossy = 4    // standard errors of the loss
)

// A Drain.
const (
	drainPace   = 0.5  // of the capacity
	throughPace = 0.95 // of what has arrived, which is surely below capacity
	drainMost   = 3    // rounds: a queue that lasts longer is not ours
	knownErr    = 0.06 // standard error at which the path's own loss is known
	knownMost   = 8    // rounds that measuring it may take
)

// startup begins a step at gain times what is known.
func (c *Controller) startup(gain float64) {
	c.phase.gain = gain
	c.phase.judge = 0
	c.phase.length = endless
	c.enter(Startup, gain*c.rate)
}

// climb judges the current step by the blocks that have closed.
func (c *Controller) climb() {
	r := c.read(c.since(c.phase.first))
	rounds := r.span / c.round()
	if r.err > stepErr && rounds < stepWait {
		return
	}
	// A full window is three times what the path should hold: the rest queues.
	full := r.growth > max(stepFull, 3*r.err) || r.window > blocksPerRound
	loss := r.loss.compare(c.baseline(r.queue))
	lossy := loss.z > stepLossy
	if full || lossy {
		c.rate = r.arrived() * (1 - min(loss.excess, 0.9))
		if lossy && !full {
			c.phase.lossLimited++
		}
		c.settle(r, lossy && !full)
		return
	}
	if (r.growth > stepMaybe || loss.z > 1) && rounds < 1 {
		return // not clear yet
	}
	if r.sent < 0.8*c.pacer.rate {
		return // the application or the window held it back
	}
	c.rate = max(c.rate, r.arrived())
	c.startup(c.nextStep())
}

// nextStep is the gain of a step after one that was not too much: towards what
// the train has shown, if that is near enough to be believed by now.
func (c *Controller) nextStep() float64 {
	switch hint := c.phase.hint; {
	case c.rate < hint/trainGain:
		return min(hint/c.rate, hintMost)
	case c.rate < hint*trainGain:
		return trainGain
	}
	return stepGain
}

// baseline is what losses are compared with. Before any were seen below
// capacity it is what a link that can still be used may lose; but where the
// queue is long, it may well overflow.
func (c *Controller) baseline(queue float64) *tally {
	switch {
	case c.own.packets >= 16:
		return &c.own
	case c.short(queue):
		return &presumed
	}
	return &tally{packets: presumed.packets}
}

var presumed = tally{packets: 100, lost: 35, capped: 35, squares: 75, clumps: 75}

// settle drains what was sent too much, at a pace that surely gets through, and
// measures the path's own loss at it.
func (c *Controller) settle(r reading, byLoss bool) {
	c.phase.drain = drain{byLoss: byLoss, from: c.phase.first}
	c.phase.length = endless
	c.phase.judge = 0
	c.enter(Drain, c.slowerThan(r))
	c.phase.downFirst = c.phase.first
}

// slowerThan is the pace of a Drain after r was too fast: slow enough to empty the queue and, if the
// path's own loss is to be measured, no more than what has arrived.
func (c *Controller) slowerThan(r reading) float64 {
	if !c.phase.drain.byLoss {
		return drainPace * c.rate
	}
	lost := r.loss.trimmed()
	return min(0.9*c.rate, throughPace*r.arrived()*(1-lost.share()))
}

// reconsider follows what is still heard of the packets before a Drain that
// calibrates: if far less or more of them arrived than it seemed, it starts again.
func (c *Controller) reconsider() {
	r, ok := c.overload()
	if !c.phase.drain.byLoss || !ok {
		return
	}
	c.rate = r.arrived() * (1 - min(r.loss.compare(c.baseline(r.queue)).excess, 0.9))
	pace := c.slowerThan(r)
	if math.Abs(pace-c.pacer.rate) > 0.1*c.pacer.rate {
		c.enter(Drain, pace)
	}
}

// overload reads the blocks that led to a Drain.
func (c *Controller) overload() (reading, bool) {
	blocks := c.since(c.phase.drain.from)
	for len(blocks) > 0 && blocks[len(blocks)-1].state == Drain {
		blocks = blocks[:len(blocks)-1]
	}
	r := c.read(blocks[max(0, len(blocks)-4*blocksPerRound):])
	return r, r.blocks > 0
}

// drained ends a Drain when what is in flight fits the path, or when it has
// lasted so long that the queue can't be ours; if the path's own loss is to be
// measured, when that is known well enough.
func (c *Controller) drained() {
	blocks := c.since(c.phase.first)
	// Just after an acknowledgement what is in flight is what the path and its
	// queue hold.
	fits := float64(c.ring.flying) <= c.rate*(c.delay.base()+3*c.delay.noise())+float64(4*c.cfg.MaxPacket)
	if !fits && len(blocks) < drainMost*blocksPerRound {
		return
	}
	r := c.read(blocks)
	known := len(blocks) >= blocksPerRound && r.loss.err() < knownErr
	if c.phase.drain.byLoss && !known && len(blocks) < knownMost*blocksPerRound {
		return
	}
	// With a long queue the losses may be others'.
	last := c.read(c.latest(blocksPerRound, c.phase.first))
	if c.short(last.queue) || c.own.compare(&last.loss).z > 3 {
		c.own.replace(r.loss)
	}
	if c.phase.drain.byLoss {
		c.calibrate()
	}
	c.cruise()
}

// calibrate takes the capacity from what arrived while too much was sent, with
// the path's own loss taken out.
func (c *Controller) calibrate() {
	if r, ok := c.overload(); ok {
		c.rate = r.arrived() * (1 - min(r.loss.compare(c.baseline(r.queue)).excess, 0.9))
	}
}
