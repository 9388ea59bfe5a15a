package congestion

import "math"

// The gains of Up, Down and Refresh.
const (
	upGain      = 1.2
	upExtra     = 0.15 // more of it for a flow that has next to nothing
	downLeast   = 0.5
	downDrain   = 1.5 // of the standing queue: a little more than all of it
	refreshGain = 0.5
	refreshTime = 0.2 // seconds, the least that a Refresh lasts
	refreshMost = 6   // times its length that it lasts while it shortens the queue
	crowdMemory = 4   // cycles in a row that it takes to believe that a crowd has gone
)

// Shares of the path's capacity, as Ups show them.
const (
	sharedShare = 0.9  // with less there are others
	aloneShare  = 0.8  // with more there is no other flow of our kind
	manyShare   = 0.65 // with less, loss comes from sharing and not from a policer
	smallShare  = 0.15 // with less, Up is the stronger the less it is
	fairShare   = 0.1  // with less it is for us to come forward
)

// What an Up is judged by.
const (
	lossySure = 2.5  // standard errors of the loss
	growthErr = 0.04 // standard error of the growth at which a verdict has half its weight
	lossErr   = 0.08 // the same of the loss
	reopen    = 1.5  // gain of the first step of a Startup that Ups have led to
)

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
	surplus := (c.phase.gain-1)*c.share*float64(sent)/float64(c.phase.length) + downDrain*standing/length
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
	c.phase.left = max(c.phase.length-c.phase.sent, 1)
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
	gain := r.sent/c.steady - 1
	loss := r.loss.compare(c.baseline(r.queue))
	switch lossy := loss.z > lossySure; {
	case r.growth > 2*gain:
		// That was not our doing.
	case !c.short(r.queue) && r.growth < 0.5*gain && r.loss.share() > excessFloor:
		// A full queue can't grow.
	case !lossy && r.growth+min(2*r.err, 0.25*gain) < 0.5*gain:
		c.goOn(r, gain)
	case lossy:
		c.learnShare(r, gain, loss)
	default:
		c.learnShare(r, gain, verdict{})
	}
}

// goOn takes what an Up has found, and after a few in a row goes up in leaps.
func (c *Controller) goOn(r reading, gain float64) {
	c.rate = max(c.rate, r.arrived())
	if c.phase.lossLimited > 0 {
		c.phase.lossLimited-- // a policer's bucket may just have been full
		return
	}
	// Other flows may just have been draining: then the next Up finds no room.
	enough := 2
	if c.share < aloneShare {
		enough = 4
	}
	// A flow with a small share finds room wherever it looks.
	c.share += (min(max(r.growth/gain, 0), 1) - c.share) / 8
	if c.phase.rooms++; c.phase.rooms >= enough {
		c.startup(reopen)
		return
	}
	c.steady = c.rate
	c.up()
}

// learnShare takes what came of an Up on a full path as what we can have. loss
// is what it lost beyond the path's own loss, if that is sure.
func (c *Controller) learnShare(r reading, gain float64, loss verdict) {
	c.phase.rooms = 0
	ours := r.arrived() * (1 - min(loss.excess, 0.5))
	g, l := r.err/growthErr, loss.err/lossErr
	weight := 1 / (1 + g*g + l*l)
	share := min(max((r.sent/ours-1)/gain, 0), 1)
	c.share += weight / 2 * (share - c.share)
	c.rate += weight * (ours - c.rate)
	switch {
	case loss.z == 0:
		c.phase.lossLimited = 0
	case share < manyShare:
		c.phase.lossLimited = 1 // others share the path: take part in sharing it
	default:
		c.phase.lossLimited++
	}
}
