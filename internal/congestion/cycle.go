package congestion

import "math"

// The gains of a cycle, and how many rounds of Cruise lie between two Ups.
const (
	upGain       = 1.2
	upExtra      = 0.15 // more of it for a flow that has almost nothing
	smallShare   = 0.6  // from this share of the path's capacity down
	manyShare    = 0.65 // a smaller share of the path's capacity means that there are others
	crowdMemory  = 4    // cycles in a row that it takes to believe that a crowd has gone
	downLeast    = 0.5
	cruiseRounds = 6
	cruiseSpread = 0.35 // the share by which a Cruise may be shorter or longer, so that flows don't move in step
	cruiseLong   = 24   // where the last Ups only caused loss
	refreshGain  = 0.5
	refreshMost  = 6   // times its length that it lasts while it shortens the queue
	refreshTime  = 0.2 // seconds, the least that a Refresh lasts
	lossyTime    = 3.0 // seconds to which a Cruise is drawn out there
	sharedTime   = 2.0 // the same where others share the path: an Up is hard on them
	sharedShare  = 0.9 // of the path's capacity; with less there are others
	fairShare    = 0.4 // with less than this it is for us to come forward
	drainFast    = 0.3
	fellLeast    = 0.35 // growth of the queue that is more than a neighbour's Up
	losingLeast  = 0.08 // what overflow can't deal with
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
)

// cruise keeps the capacity with a short queue.
func (c *Controller) cruise() {
	c.phase.length = int(cruiseRounds * float64(c.probeBlocks()) * (1 - cruiseSpread + 2*cruiseSpread*c.random()))
	longest := 0.0
	switch {
	case c.phase.lossLimited > 1:
		longest = lossyTime
	case c.share > fairShare && c.share < sharedShare && !c.phase.crowded:
		longest = sharedTime
	}
	if long := int(min(cruiseLong, longest/c.round()) * blocksPerRound); long > c.phase.length {
		c.phase.length = long
	}
	c.phase.calm = 0
	before := c.state
	c.enter(Cruise, c.rate)
	c.steady = c.pacer.rate
	if before != Up && before != Down && before != Refresh {
		c.phase.since = c.phase.first
	}
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
		c.rate += (c.pacer.rate - c.rate) / 32
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
	if r.growth < max(fellLeast, 4*r.err) || b[1].queue < 0.25*c.round()+4*c.delay.noise() {
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
	c.phase.length = 1 << 30
	c.phase.judge = 0
	c.enter(Drain, drainFast*c.rate)
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
		if loss.z < 4 || loss.excess-2*loss.err < losingLeast {
			continue
		}
		c.rate = r.arrived() * (1 - min(loss.excess, 0.5))
		c.phase.lossLimited = max(c.phase.lossLimited, 1)
		c.settle(r, true)
		return true
	}
	return false
}

// up probes for more.
func (c *Controller) up() {
	c.crowd()
	c.phase.length = c.probeBlocks()
	c.phase.lowest, c.phase.highest = math.Inf(1), 0
	c.phase.gain = upGain + upExtra*max(0, 1-c.share/smallShare)
	c.enter(Up, c.phase.gain*c.steady)
	c.phase.origin = c.phase.first
}

// crowd tells whether others fill the queue whatever we do: in a whole cycle,
// Down included, it was never short and at times long. Flows of our own kind
// keep it at an even length.
func (c *Controller) crowd() {
	if math.IsInf(c.phase.lowest, 1) {
		return
	}
	round, slack := c.round(), 3*c.delay.noise()
	long := func(lowest, highest float64) bool {
		return c.phase.lowest > lowest*round+slack && c.phase.highest > highest*round+slack
	}
	switch {
	case long(0.15, 0.45):
		c.phase.crowded, c.phase.roomy = true, 0
	case long(0.08, 0.3):
		c.phase.roomy = 0
	default:
		// One that fills queues leaves room for a while after each loss.
		if c.phase.roomy++; c.phase.roomy >= crowdMemory {
			c.phase.crowded = false
		}
	}
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
	surplus := (c.phase.gain-1)*c.share*float64(sent)/float64(c.phase.length) + 1.5*standing/length
	c.enter(Down, min(max(1-surplus, downLeast), c.through())*c.steady)
	c.phase.downFirst = c.phase.first
}

// through is the share of what is sent that has lately arrived. A pace below
// it is below capacity, whatever causes the loss.
func (c *Controller) through() float64 {
	r := c.read(c.latest(2*blocksPerRound, c.phase.since))
	lost := r.loss.trimmed()
	return max(1-lost.share(), 0.1)
}

// refresh halves the pace for long enough that the queue empties if every flow
// does the same: they all saw the floor at the same time, so they all miss it
// at the same time.
func (c *Controller) refresh() {
	blocks := 2 * blocksPerRound
	if length := c.round() / blocksPerRound; length > 0 {
		blocks = max(blocks, int(refreshTime/length))
	}
	c.phase.length = blocks
	c.enter(Refresh, refreshGain*c.through()*c.rate)
	c.phase.downFirst = c.phase.first
}

// emptying tells whether a Refresh is still shortening the queue.
func (c *Controller) emptying() bool {
	r := c.read(c.latest(blocksPerRound, c.phase.first))
	return r.blocks > 1 && r.growth < -0.04-2*r.err
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
	loss := r.loss.compare(c.baseline(r.queue))
	lossy := loss.z > 2.5
	gain := r.sent/c.steady - 1
	if r.growth > 2*gain {
		return // that was not our doing
	}
	if !c.short(r.queue) && r.growth < 0.5*gain && r.loss.share() > excessFloor {
		return // a full queue can't grow
	}
	if !lossy && r.growth+min(2*r.err, 0.25*gain) < 0.5*gain {
		c.rate = max(c.rate, r.arrived())
		if c.phase.lossLimited > 0 {
			c.phase.lossLimited-- // a policer's bucket may just have been full
			return
		}
		enough := 2
		if c.share < aloneShare {
			enough = 4
		}
		if c.phase.rooms++; c.phase.rooms >= enough {
			c.startup(1.5)
			return
		}
		c.steady = c.rate // the other flows may just have been draining: ask again
		c.up()
		return
	}
	c.phase.rooms = 0
	ours := r.arrived()
	if lossy {
		ours *= 1 - min(loss.excess, 0.5)
	}
	if !lossy {
		loss.err = 0
	}
	weight := 1 / (1 + (r.err/0.04)*(r.err/0.04) + (loss.err/0.08)*(loss.err/0.08))
	share := min(max((r.sent/ours-1)/gain, 0), 1)
	c.share += weight / 2 * (share - c.share)
	c.rate += weight * (ours - c.rate)
	switch {
	case !lossy:
		c.phase.lossLimited = 0
	case share < manyShare:
		c.phase.lossLimited = 1 // others share the path: take part in sharing it
	default:
		c.phase.lossLimited++
	}
}
