package congestion

import "math"

// The gains of a cycle, and how many rounds of Cruise lie between two Ups.
const (
	upGain       = 1.2
	manyShare    = 0.65 // a smaller share of the path's capacity means that there are others
	downLeast    = 0.5
	cruiseRounds = 6
	cruiseLong   = 24
	drainFast    = 0.3
	losingLeast  = 0.08 // what overflow can't deal with
)

// The controller of the queue in Cruise.
const (
	queueTarget = 0.04 // of a round
	queueGain   = 0.5  // of the pace, for a queue of one round above the target
	lossGain    = 1.5  // of the pace, for what is lost beyond the path's own loss
	fillGain    = 0.03 // most that the pace is raised where there is no queue
	yieldMost   = 0.2  // most that it is lowered
	yieldCrowd  = 0.09 // the same where others hold a queue that we can't drain
)

// cruise keeps the capacity with a short queue.
func (c *Controller) cruise() {
	c.phase.length = cruiseRounds * c.probeBlocks()
	if c.phase.lossLimited > 1 {
		c.phase.length = cruiseLong * blocksPerRound
	}
	c.phase.calm = 0
	before := c.state
	c.enter(Cruise, c.rate)
	c.steady = c.pacer.rate
	if before != Up && before != Down {
		c.phase.since = c.phase.first
	}
}

// probeBlocks is how many blocks of Up it takes to tell a full path from one
// with room: the standard error of the queue's growth has to be below a fifth
// of what a full path shows.
func (c *Controller) probeBlocks() int {
	length := max(c.round()/blocksPerRound, blockPackets*float64(c.cfg.MaxPacket)/max(c.rate, 1))
	n := math.Pow(math.Sqrt(12)*c.delay.noise()/(0.04*length), 2.0/3)
	return min(max(blocksPerRound, int(math.Ceil(n))), 4*blocksPerRound)
}

// target is the queue that Cruise aims at, in seconds: short, but long enough
// to be told from none.
func (c *Controller) target() float64 {
	return queueTarget*c.round() + 3*c.delay.noise()
}

// steer sets the pace of Cruise by the queue and by what is lost, and looks
// whether there is room.
func (c *Controller) steer() {
	b := c.latest(2, 0)
	queue := 0.0
	for i := range b {
		queue += b[i].queue / float64(len(b))
	}
	c.phase.standing = queue
	if c.losing() {
		return
	}
	limit, fill := yieldMost, fillGain
	if c.phase.crowded {
		limit = yieldCrowd
	}
	if c.phase.lossLimited > 0 {
		fill = 0
	}
	yield := queueGain*(queue-c.target())/c.round() + c.overflow()
	c.setPace(c.rate * (1 - min(max(yield, -fill), limit)))
	c.steady += (c.pacer.rate - c.steady) / blocksPerRound
	if !c.phase.crowded && c.pacer.rate < c.rate {
		c.rate += (c.pacer.rate - c.rate) / 32
	}
	c.watch(queue)
}

// overflow is how much the pace has to yield because a queue too short to
// steer by overflows, or a policer drops.
func (c *Controller) overflow() float64 {
	r := c.read(c.latest(2*blocksPerRound, c.phase.first))
	loss := r.loss.compare(&c.own)
	return lossGain * max(0, loss.excess-2*loss.err)
}

// watch notices that the queue that Cruise keeps has gone although the pace was
// not lowered: there is room. Where loss sets the limit there may never have
// been a queue; then its absence says nothing.
func (c *Controller) watch(queue float64) {
	if queue > c.target()/2 {
		c.phase.queued = true
	}
	if queue > c.target()/3 || c.pacer.rate < 0.98*c.rate || c.phase.lossLimited > 0 && !c.phase.queued {
		c.phase.calm = 0
		return
	}
	if c.phase.calm++; c.phase.calm < 2*blocksPerRound {
		return
	}
	c.phase.sent = c.phase.length
	c.phase.queued = false
	c.phase.lossLimited = 0
}

// fell notices that the path passes far less than is sent: its capacity fell,
// or somebody came who takes a part at once. What is in the queue then is
// drained at once.
func (c *Controller) fell() bool {
	if c.state != Cruise && c.state != Up && c.state != Down {
		return false
	}
	b := c.latest(2, c.phase.since)
	if len(b) < 2 {
		return false
	}
	r := c.read(b)
	if r.growth < max(0.35, 4*r.err) || b[1].queue < 0.25*c.round()+4*c.delay.noise() {
		return false
	}
	c.rate = min(c.rate, r.arrived())
	c.phase.drain = drain{}
	c.phase.length = 1 << 30
	c.phase.judge = 0
	c.enter(Drain, drainFast*c.rate)
	return true
}

// losing notices that much more is lost than below capacity.
func (c *Controller) losing() bool {
	b := c.latest(cruiseRounds*blocksPerRound, c.phase.first)
	if len(b) < blocksPerRound {
		return false
	}
	r := c.read(b)
	loss := r.loss.compare(&c.own)
	if loss.z < 4 || loss.excess-2*loss.err < losingLeast {
		return false
	}
	c.rate = r.arrived() * (1 - min(loss.excess, 0.5))
	c.phase.lossLimited = max(c.phase.lossLimited+1, 2)
	c.settle(r, true)
	return true
}

// up probes for more.
func (c *Controller) up() {
	c.crowd()
	c.phase.length = c.probeBlocks()
	c.phase.lowest = math.Inf(1)
	c.enter(Up, upGain*c.steady)
	c.phase.origin = c.phase.first
}

// crowd tells whether others hold a queue: it was never short in a whole cycle,
// Down included.
func (c *Controller) crowd() {
	if math.IsInf(c.phase.lowest, 1) {
		return
	}
	limit := 0.35
	if c.phase.crowded {
		limit = 0.2
	}
	c.phase.crowded = c.phase.lowest > limit*c.round()+3*c.delay.noise()
}

// down takes back what Up has queued, and what Cruise keeps queued, while the
// verdict is on the way: once in a cycle the queue is empty, which shows the
// path's delay to every flow on it.
func (c *Controller) down() {
	sent := c.phase.sent
	c.phase.length = min(sent, 2*blocksPerRound)
	length := c.round() / blocksPerRound * float64(c.phase.length)
	standing := max(c.target(), c.phase.standing)
	if c.phase.crowded {
		standing = 0
	}
	surplus := (upGain-1)*float64(sent)/float64(c.phase.length) + 1.5*standing/length
	c.enter(Down, max(1-surplus, downLeast)*c.steady)
	c.phase.downFirst = c.phase.first
}

// judged draws the conclusion from an Up.
func (c *Controller) judged() {
	blocks := c.since(c.phase.origin)
	for len(blocks) > 0 && blocks[len(blocks)-1].seq > c.phase.judge {
		blocks = blocks[:len(blocks)-1]
	}
	c.phase.judge = 0
	r := c.read(blocks)
	if r.blocks == 0 {
		return
	}
	loss := r.loss.compare(&c.own)
	lossy := loss.z > 2.5
	gain := r.sent/c.steady - 1
	if !lossy && r.growth+min(2*r.err, 0.25*gain) < 0.5*gain {
		c.rate = max(c.rate, r.arrived())
		if c.phase.lossLimited > 0 {
			c.phase.lossLimited-- // a policer's bucket may just have been full
			return
		}
		if c.phase.rooms++; c.phase.rooms > 1 {
			c.startup(1.5)
			return
		}
		c.steady = c.rate // the other flows may just have been draining: ask again
		c.up()
		return
	}
	c.phase.rooms = 0
	share := r.arrived()
	if lossy {
		share *= 1 - min(loss.excess, 0.5)
		c.phase.lossLimited++
		if r.sent/share-1 < manyShare*gain {
			c.phase.lossLimited = 1 // others share the path: take part in sharing it
		}
	} else {
		c.phase.lossLimited = 0
	}
	if !lossy {
		loss.err = 0
	}
	weight := 1 / (1 + (r.err/0.04)*(r.err/0.04) + (loss.err/0.08)*(loss.err/0.08))
	c.rate += weight * (share - c.rate)
}
