package congestion

import "time"

// State is what the controller is doing.
type State uint8

// The states; the package comment explains each.
const (
	Init State = iota
	Startup
	Drain
	Cruise
	Up
	Down
	Refresh
	Stalled
)

func (s State) String() string {
	return [...]string{"init", "startup", "drain", "cruise", "up", "down", "refresh", "stalled"}[s]
}

// Round is a quarter of a round of measurement, for a trace.
type Round struct {
	At       time.Duration // when it closed
	State    State         // in which its packets were sent
	Now      State         // after it closed
	Sent     float64       // bytes/s at which they were sent
	Arrived  float64       // bytes/s at which the bottleneck passed them
	Loss     float64       // share of them that was lost
	Queue    time.Duration // mean one-way delay above the floor
	Noise    time.Duration // standard deviation of Queue where there is no queue
	RTT      time.Duration // smoothed
	BaseRTT  time.Duration
	PathLoss float64 // the estimate of what the path loses whatever is sent
	Capacity float64 // bytes/s, the estimate after this round
	Pace     float64 // bytes/s, the pace after this round
	Window   int     // bytes
	InFlight int     // bytes
	Limited  bool    // the application or the window, not the pace, set the rate
	Crowded  bool    // others keep a queue that we can't drain
}

// phase is where in its state the controller stands.
type phase struct {
	first  uint64 // the state's first block
	sent   int    // its blocks that were sent whole
	length int    // how many it will have
	left   int    // how many a Cruise still has after a Refresh

	gain   float64 // of Startup or Up
	hint   float64 // bytes/s at which the first train came, for Startup
	judge  uint64  // the last block of an Up that waits for its verdict; 0: none
	origin uint64  // its first block
	drain  drain
	since  uint64 // the first block after the latest Startup or Drain

	downFirst uint64 // the first block of the latest Down
	down      tally  // its losses so far

	lowest      float64 // seconds, the shortest queue in this cycle
	highest     float64 // the longest
	crowded     bool
	roomy       int     // cycles in a row in which it was not
	lossLimited int     // how many Ups in a row ended in loss
	rooms       int     // how many Ups in a row found room
	standing    float64 // seconds, the queue that the latest Cruise kept
	spilling    bool    // more is lost than below capacity
	queued      bool    // Cruise has kept a queue lately
	calm        int     // blocks of Cruise in a row without a queue
	timeouts    int     // in a row
}

type drain struct {
	byLoss bool   // loss, not a queue, has shown the capacity
	from   uint64 // the first block in which it showed
}

// endless is the length of a state that an event ends.
const endless = 1 << 30

// enter begins a state at a pace.
func (c *Controller) enter(s State, pace float64) {
	c.state = s
	c.setPace(pace)
	c.begin()
	c.phase.first = c.open[len(c.open)-1].seq
	c.phase.sent = 0
}

func (c *Controller) setPace(pace float64) {
	c.pacer.rate = min(max(pace, c.slowest()), fastest)
}

// fastest bounds what may be believed of any path: 20 Gbit/s.
const fastest = 20e9 / 8

// slowest is the pace below which nothing can be learned in time: 16 packets a second.
func (c *Controller) slowest() float64 { return float64(16 * c.cfg.MaxPacket) }

// blockSent moves the states that last a number of blocks.
func (c *Controller) blockSent(b *block) {
	if b.limited && c.state == Up {
		c.phase.judge = 0
		c.cruise()
		return
	}
	if b.limited {
		return
	}
	c.phase.sent++
	if c.phase.sent < c.phase.length {
		return
	}
	switch c.state {
	case Cruise:
		c.up()
	case Up:
		c.phase.judge = b.seq
		c.down()
	case Down:
		c.cruise()
	case Refresh:
		if c.phase.sent >= refreshMost*c.phase.length || !c.emptying() {
			left := c.phase.left
			c.cruise() // a usual one at least, for others drain now, too
			c.phase.length = min(c.phase.length, max(left, cruiseRounds*blocksPerRound))
		}
	}
}

// blockClosed lets what a block has shown take effect.
func (c *Controller) blockClosed(b *block, now time.Duration) {
	c.age(now)
	c.phase.lowest = min(c.phase.lowest, b.queue)
	c.phase.highest = max(c.phase.highest, b.queue)
	if b.state == Down || b.state == Refresh || b.state == Drain && c.state != Drain {
		c.learnLoss(b)
	}
	if c.state == Drain && b.seq < c.phase.first {
		c.reconsider()
	}
	if c.fell() {
		return
	}
	if c.phase.judge != 0 && b.seq >= c.phase.judge {
		c.judged()
	}
	if b.state != c.state || b.seq < c.phase.first {
		return
	}
	switch c.state {
	case Startup:
		if b.limited && !b.window {
			c.phase.first = b.seq + 1 // it says nothing of the path: begin the step again
			return
		}
		c.climb()
	case Cruise:
		c.steer(b.limited)
	}
}

// ownMemory is how many packets the estimate of the path's own loss remembers.
const ownMemory = 3000

// short tells whether a queue is so short that losses are the path's own:
// a longer one might overflow.
func (c *Controller) short(queue float64) bool {
	return queue < c.target()+0.2*c.round()
}

// learnLoss takes a Down as a sample of the path's own loss. If it lost
// clearly less than was thought, what was thought was too much.
func (c *Controller) learnLoss(b *block) {
	if b.seq != c.phase.downFirst {
		c.phase.down.add(b.loss)
	} else {
		c.phase.down = b.loss
	}
	switch {
	case c.own.compare(&c.phase.down).z > 3:
		c.own = c.phase.down
	case c.short(b.queue):
		// Other flows' excess may be in it, so less counts for more than more.
		if c.phase.down.share() < c.own.share() {
			c.own.forget(ownMemory / 4)
		}
		c.own.add(b.loss)
		c.own.forget(ownMemory)
	}
}

// A floor of the delay that was not seen for this long is looked for; it is
// forgotten after two to four times as long, and where others hold a queue, so
// that it can't be seen, after twice that.
const (
	floorTime   = 5 * time.Second
	floorRounds = 25
)

// age lets the floors of the delays expire.
func (c *Controller) age(now time.Duration) {
	patience := max(floorTime, seconds(floorRounds*c.round()))
	if c.state == Cruise && now-c.delay.seen > patience {
		c.delay.seen = now
		c.refresh()
	}
	half := 2 * patience
	switch {
	case c.phase.spilling:
		half *= 3 // a queue that overflows is a queue
	case c.phase.crowded:
		half *= 2
	}
	c.delay.oneWay.rotate(now, half)
	c.delay.rtt.rotate(now, half)
}
