package congestion

import (
	"slices"
	"time"
)

// A block is at least this many packets, so that its loss and its delay mean
// something.
const blockPackets = 8

// blocksPerRound is how many blocks a round is measured in.
const blocksPerRound = 4

// closeAfter is how many later packets have to be sent before an
// acknowledgement closes a block: reordering moves packets by a few places.
const closeAfter = 8

// history is how many closed blocks are kept.
const history = 64

func (c *Controller) blockIsFull(at time.Duration) bool {
	b := &c.open[len(c.open)-1]
	if c.state == Init || b.loss.packets < blockPackets {
		return false
	}
	return (at - b.start).Seconds() >= c.round()/blocksPerRound
}

// turn ends the block that is being filled, lets the state go on if its time
// has come, and begins the next block.
func (c *Controller) turn() {
	if len(c.open) > 0 {
		c.blockSent(&c.open[len(c.open)-1])
	}
	c.begin()
}

// begin opens a new block in the current state. An empty one is reused.
func (c *Controller) begin() {
	if n := len(c.open); n > 0 && c.open[n-1].empty() {
		c.open[n-1].state = c.state
		return
	}
	c.seq++
	c.open = append(c.open, block{seq: c.seq, state: c.state})
}

// blockOf returns the open block of a packet, or nil if it has closed.
func (c *Controller) blockOf(r *record) *block {
	if len(c.open) == 0 || r.block < c.open[0].seq {
		return nil
	}
	return &c.open[r.block-c.open[0].seq]
}

// closeBlocks closes every block that the acknowledgements have passed.
func (c *Controller) closeBlocks(now time.Duration) {
	for len(c.open) > 1 && c.highest >= c.open[0].last+closeAfter {
		b := c.open[0]
		c.open = append(c.open[:0], c.open[1:]...)
		c.countLosses(&b)
		c.delay.close(&b, now)
		if len(c.closed) == history {
			c.closed = append(c.closed[:0], c.closed[1:]...)
		}
		c.closed = append(c.closed, b)
		c.blockClosed(&c.closed[len(c.closed)-1], now)
		c.report(&b, now)
	}
}

// countLosses counts what of a block has not been acknowledged, and its runs.
func (c *Controller) countLosses(b *block) {
	run, seen := 0.0, 0.0
	for n := b.first; n <= b.last; n++ {
		r := c.ring.get(n)
		if r == nil {
			continue
		}
		if r.state != acked {
			run++
			continue
		}
		if b.loss.lost == 0 && seen == 0 {
			b.loss.lead = run
		}
		seen++
		b.loss.run(run)
		run = 0
	}
	b.loss.run(run)
	b.loss.trail = run
	if seen == 0 {
		b.loss.lead = run
	}
}

// since returns the closed blocks from number seq on that fit a condition.
func (c *Controller) since(seq uint64) []block {
	i := len(c.closed)
	for i > 0 && c.closed[i-1].seq >= seq {
		i--
	}
	return c.closed[i:]
}

// latest returns the last n closed blocks, but none before number seq.
func (c *Controller) latest(n int, seq uint64) []block {
	b := c.since(seq)
	return b[max(0, len(b)-n):]
}

// cruising returns the last n closed blocks of Cruise since the latest Drain.
func (c *Controller) cruising(n int) []block {
	all := c.since(c.phase.since)
	c.scratch = c.scratch[:0]
	for i := len(all) - 1; i >= 0 && len(c.scratch) < n; i-- {
		if all[i].state == Cruise {
			c.scratch = append(c.scratch, all[i])
		}
	}
	slices.Reverse(c.scratch)
	return c.scratch
}

func (c *Controller) read(blocks []block) reading {
	return read(blocks, c.delay.noise(), c.delay.usual)
}

func (c *Controller) report(b *block, now time.Duration) {
	if c.cfg.Trace == nil {
		return
	}
	r := c.read([]block{*b})
	c.cfg.Trace(Round{
		At: now, State: b.state, Sent: r.sent, Arrived: r.arrived(), Loss: b.loss.share(),
		Queue: seconds(b.queue), RTT: c.RTT(), BaseRTT: c.BaseRTT(), Noise: seconds(c.delay.noise()),
		PathLoss: c.own.share(), Capacity: c.rate, Pace: c.pacer.rate, Now: c.state,
		Window: c.Window(), InFlight: c.ring.flying, Limited: b.limited, Crowded: c.phase.crowded,
	})
}
