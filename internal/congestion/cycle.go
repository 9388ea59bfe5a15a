package congestion

import "math"

// How long a Cruise lasts, in rounds unless said otherwise.
const (
	cruiseRounds = 6
	cruiseSpread = 0.35 // the share by which it may be shorter or longer, so that flows don't move in step
	cruiseLong   = 24   // most, where an Up only does harm
	lossyTime    = 3.0  // seconds to which it is drawn out where the last Ups only caused loss
	sharedTime   = 2.0  // the same where others share the path: an Up is hard on them
)

// The controller of the queue in Cruise.
const (
	queueTarget = 0.04 // of a round
	queueGain   = 0.5  // of the pace, for a queue of one round above the target
	queueCurve  = 1.5  // the same for its square: many flows make a long queue
	lossGain    = 1.5  // of the pace, for what is lost beyond the path's own loss
	fillGain    = 0.03 // most that the pace is raised where there is no queue
	yieldMost   = 0.3  // most that it is lowered
	yieldCrowd  = 0.07 // the same where others hold a queue that we can't drain
	followGain  = 1.0 / 32
)

// When something has changed.
const (
	fellLeast   = 0.35 // growth of the queue that is more than a neighbour's Up
	fellQueue   = 0.25 // of a round, the queue that has to be there then
	fellDrain   = 0.3  // of the capacity, the pace of the Drain
	losingSure  = 4    // standard errors of the loss
	losingLeast = 0.08 // share of packets: less is for the overflow term
)

// cruise keeps the capacity with a short queue.
func (c *Controller) cruise() {
	c.phase.length = c.cruiseBlocks()
	c.phase.calm = 0
	before := c.state
	c.enter(Cruise, c.rate)
	c.steady = c.pacer.rate
	if before != Up && before != Down && before != Refresh {
		c.phase.since = c.phase.first
	}
}

// cruiseBlocks is how many blocks the next Cruise lasts.
func (c *Controller) cruiseBlocks() int {
	usual := cruiseRounds * float64(c.probeBlocks()) * (1 - cruiseSpread + 2*cruiseSpread*c.random())
	longest := 0.0
	switch {
	case c.phase.lossLimited > 1:
		longest = lossyTime
	case c.share > fairShare && c.share < sharedShare && !c.phase.crowded:
		longest = sharedTime
	}
	return max(int(usual), min(cruiseLong*blocksPerRound, int(longest/c.blockTime())))
}

// blockTime is how long a block takes, in seconds.
func (c *Controller) blockTime() float64 {
	return max(c.round()/blocksPerRound, blockPackets*float64(c.cfg.MaxPacket)/max(c.rate, 1))
}

// random returns a number from 0 to 1. What makes it up is how the path's
// timing happens to come out, so that two flows get different ones.
func (c *Controller) random() float64 {
	x := uint64(c.delay.origin) ^ c.highest<<32 ^ math.Float64bits(c.delay.newest)
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return float64(x>>11) / (1 << 53)
}

// probeBlocks is how many blocks of Up it takes to tell a full path from one
// with room: the standard error of the queue's growth has to be below a fifth
// of what a full path shows.
func (c *Controller) probeBlocks() int {
	n := math.Pow(math.Sqrt(12)*c.delay.noise()/(0.04*c.blockTime()), 2.0/3)
	return min(max(blocksPerRound, int(math.Ceil(n))), 4*blocksPerRound)
}

// target is the queue that Cruise aims at, in seconds: short, but long enough
// to be told from none.
func (c *Controller) target() float64 {
	return queueTarget*c.round() + 3*c.delay.noise()
}

// steer sets the pace of Cruise by the queue and by what is lost, and looks
// whether there is room.
func (c *Controller) steer(limited bool) {
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
	over := (queue - c.target()) / c.round()
	yield := queueGain * over
	if over > 0 {
		yield += queueCurve * over * over
	}
	spill := c.overflow()
	c.phase.spilling = spill > 0
	yield = min(max(yield, -fill), limit) + min(spill, yieldMost)
	c.setPace(c.rate * (1 - yield))
	c.steady += (c.pacer.rate - c.steady) / blocksPerRound
	if !c.phase.crowded && !limited && c.pacer.rate < c.rate {
		c.rate += followGain * (c.pacer.rate - c.rate)
	}
	c.watch(queue)
}

// overflow is how much the pace has to yield because a queue too short to
// steer by overflows, or a policer drops. A little of it takes many packets to
// be told from the path's own loss.
func (c *Controller) overflow() float64 {
	most := 0.0
	for _, rounds := range []int{2, 8} {
		r := c.read(c.cruising(rounds * blocksPerRound))
		loss := r.loss.compare(c.baseline(r.queue))
		most = max(most, loss.excess-2*loss.err)
	}
	return lossGain * most
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
	if r.growth < max(fellLeast, 4*r.err) || b[1].queue < fellQueue*c.round()+4*c.delay.noise() {
		return false
	}
	if min(b[0].timed.slope(), b[1].timed.slope()) < fellLeast/2 {
		return false // a step, such as a longer route makes, is no ramp
	}
	// What arrives is what we can have if the path is ours alone; of what others
	// take part in, more is to be had the more we send.
	more := (1 - c.share) * max(c.rate/r.sent-1, 0)
	c.rate = min(c.rate, max(r.arrived()*(1+more), c.rate/2))
	c.phase.drain = drain{}
	c.phase.length = endless
	c.phase.judge = 0
	c.enter(Drain, fellDrain*c.rate)
	return true
}

// losing notices that much more is lost than below capacity, lately or all
// through this Cruise, and looks what becomes of the loss below capacity.
func (c *Controller) losing() bool {
	for _, rounds := range []int{1, 2, cruiseRounds} {
		b := c.latest(rounds*blocksPerRound, c.phase.first)
		if len(b) < blocksPerRound {
			return false
		}
		r := c.read(b)
		loss := r.loss.compare(c.baseline(r.queue))
		if loss.z < losingSure || loss.excess-2*loss.err < losingLeast {
			continue
		}
		c.rate = r.arrived() * (1 - min(loss.excess, 0.5))
		c.phase.lossLimited = max(c.phase.lossLimited, 1)
		c.settle(r, true)
		return true
	}
	return false
}
