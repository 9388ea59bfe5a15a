package congestion

// Startup goes up in steps: each is a pace, kept until its own packets have
// shown what becomes of them.

// startup begins a step at gain times what is known.
func (c *Controller) startup(gain float64) {
	c.phase.gain = gain
	c.phase.judge = 0
	c.phase.length = 1 << 30
	c.enter(Startup, gain*c.rate)
}

// climb judges the current step by the blocks that have closed.
func (c *Controller) climb() {
	r := c.read(c.since(c.phase.first))
	rounds := r.span / c.round()
	if r.err > 0.15 && rounds < 3 {
		return
	}
	full := r.growth > max(0.1, 3*r.err)
	lossy := r.loss.above(c.baseline()) > 4
	if full || lossy {
		c.leaveStartup(r, lossy && !full)
		return
	}
	if r.growth > 0.05 && rounds < 1 {
		return
	}
	if r.sent < 0.8*c.pacer.rate {
		return // the application or the window held it back
	}
	c.rate = max(c.rate, r.arrived())
	c.startup(2)
}

// baseline is what losses are compared with: before any were seen below
// capacity, what a link that can still be used may lose.
func (c *Controller) baseline() *tally {
	if c.own.packets < 16 {
		return &presumed
	}
	return &c.own
}

var presumed = tally{packets: 100, lost: 35, capped: 35, squares: 75, clumps: 75}

// leaveStartup goes on with what the step has shown.
func (c *Controller) leaveStartup(r reading, byLoss bool) {
	c.rate = r.arrived()
	if byLoss {
		c.rate = r.acked
	}
	c.settle(r, byLoss)
}

// settle drains what was sent too much, at a pace that certainly gets through,
// and measures the path's own loss at it.
func (c *Controller) settle(r reading, byLoss bool) {
	c.phase.drain = drain{calibrate: r.loss.share() > 0.01, byLoss: byLoss, delivered: r.acked}
	pace := 0.5 * c.rate
	if c.phase.drain.calibrate {
		pace = min(0.75*c.rate, 0.95*r.acked)
	}
	if r.queue > 0.1*c.round() {
		pace = min(pace, 0.5*c.rate)
	}
	c.phase.length = 1 << 30
	c.phase.judge = 0
	c.enter(Drain, pace)
	c.phase.origin = c.phase.first
}

// drained ends a Drain when what is in flight fits the path, or when it has
// lasted so long that the queue can't be ours.
func (c *Controller) drained(*block) {
	blocks := c.since(c.phase.first)
	enough := 1
	if c.phase.drain.calibrate {
		enough = blocksPerRound
	}
	// Just after an acknowledgement what is in flight is what the path and its
	// queue hold.
	fits := float64(c.ring.flying) <= c.rate*(c.delay.base()+3*c.delay.noise())+float64(4*c.cfg.MaxPacket)
	if len(blocks) < enough || !fits && len(blocks) < 3*blocksPerRound {
		return
	}
	if c.phase.drain.calibrate {
		r := c.read(blocks)
		c.own = r.loss
		if c.phase.drain.byLoss {
			c.rate = c.phase.drain.delivered / (1 - min(c.own.share(), 0.9))
		}
	}
	c.cruise()
}
