package congestion

import "time"

// stalledGain is what goes on being sent into a path that does not answer, less
// with each timeout: it may be a burst of loss that only more packets end.
const stalledGain = 1.0 / 16

// OnTimeout records that the sender's probe timeout passed with packets in
// flight and nothing acknowledged. It is called again for each further timeout
// until an acknowledgement brings news. The sender's probes are its own
// affair; beside them a trickle is all that may be sent then.
func (c *Controller) OnTimeout(time.Duration) {
	if len(c.open) > 0 {
		c.open[len(c.open)-1].limited = true
	}
	c.phase.timeouts++
	if c.state == Init {
		c.setPace(c.pacer.rate / 4)
		return
	}
	if c.state == Stalled {
		c.setPace(c.pacer.rate / 2)
	} else {
		c.phase.judge = 0
		c.phase.length = endless
		c.enter(Stalled, stalledGain*c.rate)
	}
}

// recover goes on after a stall: as before after a short one, at half the rate
// and up from there after a long one, when the path may be another.
func (c *Controller) recover() {
	if c.phase.timeouts < 2 {
		c.cruise()
		return
	}
	c.rate = max(c.rate/2, c.slowest())
	c.startup(1)
}
