package congestion

import "time"

// OnTimeout records that the sender's probe timeout passed with packets in
// flight and nothing acknowledged. It is called again for each further timeout
// until an acknowledgement brings news. The sender's probes are its own affair:
// from the second timeout on, nothing else may be sent.
func (c *Controller) OnTimeout(time.Duration) {
	if len(c.open) > 0 {
		c.open[len(c.open)-1].limited = true
	}
	c.phase.timeouts++
	switch {
	case c.state == Init:
		c.setPace(c.pacer.rate / 4)
	case c.phase.timeouts >= 2 && c.state != Stalled:
		c.phase.judge = 0
		c.phase.length = 1 << 30
		c.enter(Stalled, c.slowest())
	}
}

// recover goes on after a stall: at half the rate, and up from there.
func (c *Controller) recover(time.Duration) {
	c.rate = max(c.rate/2, c.slowest())
	c.startup(1)
}
