package congestion

import (
	"math"
	"time"
)

// Config describes a new controller. The zero value is ready for use.
type Config struct {
	// MaxPacket is the wire size of a full packet; 0 means 1500 bytes.
	// [Controller.SetMaxPacket] changes it when the path's MTU is known.
	MaxPacket int
	// Remembered is what an earlier connection over the same path came to;
	// the zero value means that nothing is known.
	Remembered Path
	// Trace, if set, is called whenever a quarter of a round was measured.
	Trace func(Round)
}

// Path is what is worth remembering about a path between connections.
type Path struct {
	Rate float64       // bytes/s of capacity; 0: unknown
	RTT  time.Duration // without queues
}

// Sample is a packet that an acknowledgement reports for the first time.
type Sample struct {
	Number  uint64        // as given to OnSent
	Arrived time.Duration // by the receiver's clock, whatever its epoch
	Timed   bool          // whether Arrived is known; some untimed samples do no harm
}

// Ack is an acknowledgement as the controller sees it.
type Ack struct {
	Now     time.Duration // when it came, by the sender's clock
	Left    time.Duration // when the receiver sent it, by the clock of Sample.Arrived
	Samples []Sample      // newly reported packets, in any order; those given up before included
}

// Controller is the state of one path. It is not safe for concurrent use.
type Controller struct {
	cfg   Config
	ring  ring
	pacer pacer
	delay delays

	state  State
	rate   float64 // bytes/s, the capacity as far as it is ours: X in the package comment
	steady float64 // bytes/s, the mean pace of the latest Cruise
	share  float64 // of the path's capacity, as far as the latest Ups could tell

	open    []block // oldest first; the last is being filled
	closed  []block // the latest, oldest first
	scratch []block
	seq     uint64
	highest uint64 // number acknowledged

	own   tally // losses below capacity: the path's own
	phase phase
	train train
}

// New returns a controller for a path on which nothing was sent yet.
func New(cfg Config) *Controller {
	if cfg.MaxPacket == 0 {
		cfg.MaxPacket = 1500
	}
	c := &Controller{cfg: cfg, delay: newDelays(), share: 1}
	c.pacer.rate = c.firstPace()
	c.pacer.tokens = float64(trainLength * cfg.MaxPacket)
	return c
}

// SetMaxPacket tells the wire size of a full packet when it has changed.
func (c *Controller) SetMaxPacket(size int) { c.cfg.MaxPacket = size }

// OnSent records that packet number of size wire bytes was sent. Numbers rise;
// those of packets that are not acknowledged, such as acknowledgements
// themselves, are left out.
func (c *Controller) OnSent(now time.Duration, number uint64, size int) {
	at := c.pacer.spend(now, size, c.Burst())
	if len(c.open) == 0 || c.blockIsFull(at) {
		c.turn()
	}
	b := &c.open[len(c.open)-1]
	if b.empty() {
		b.first, b.start = number, at
	}
	b.last = number
	b.end = at + seconds(float64(size)/c.pacer.rate)
	b.bytes += size
	b.loss.packets++
	c.ring.keep = c.open[0].first
	c.ring.add(record{number: number, sent: now, scheduled: at, size: int32(size), state: flying, block: b.seq})
}

// OnAck takes in an acknowledgement. Samples of unknown packets, and of packets
// that were acknowledged before, are ignored.
func (c *Controller) OnAck(a Ack) {
	news := false
	for _, s := range a.Samples {
		r := c.ring.get(s.Number)
		if r == nil || !c.ring.settle(r, acked) {
			continue
		}
		news = true
		c.highest = max(c.highest, s.Number)
		if b := c.blockOf(r); b != nil {
			c.count(b, r, s, a)
		}
	}
	if !news {
		return
	}
	c.delay.settle()
	c.pacer.late = min(lateShare*c.delay.base(), lateMost)
	if c.phase.lossLimited > 0 {
		c.pacer.late = 0 // a policer's bucket and a tiny queue are shorter
	}
	if c.state == Stalled {
		c.recover()
	}
	c.phase.timeouts = 0
	c.closeBlocks(a.Now)
	switch c.state {
	case Init:
		c.endTrain(a.Now)
	case Drain:
		c.drained()
	}
}

// count enters an acknowledged packet into its block.
func (c *Controller) count(b *block, r *record, s Sample, a Ack) {
	b.ackedBytes += int(r.size)
	if !s.Timed {
		return
	}
	delay, rtt, ok := c.delay.sample(r.scheduled, r.sent, s.Arrived, a.Left, a.Now)
	if !ok {
		return
	}
	b.timed.add(r.scheduled.Seconds(), delay)
	b.rtt += (rtt - b.rtt) / b.timed.n
	if c.state == Init {
		c.train.arrived(r, s.Arrived)
	}
}

// OnLost records that the sender gave packets up. One that is acknowledged
// after all is put right by OnAck.
func (c *Controller) OnLost(_ time.Duration, numbers []uint64) {
	for _, n := range numbers {
		if r := c.ring.get(n); r != nil {
			c.ring.settle(r, lost)
		}
	}
}

// OnAppLimited records that the sender was allowed to send and had nothing, so
// what is measured now says little about the path.
func (c *Controller) OnAppLimited(now time.Duration) {
	c.pacer.idle(now, c.Burst())
	if len(c.open) > 0 {
		c.open[len(c.open)-1].limited = true
	}
}

// Allowance returns how many bytes may be sent now.
func (c *Controller) Allowance(now time.Duration) int {
	return min(c.pacer.available(now, c.Burst()), c.Window()-c.ring.flying)
}

// NextSend returns when Allowance will next reach a whole burst. It is
// [Never] while the window is full: only an acknowledgement can open it.
func (c *Controller) NextSend(now time.Duration) time.Duration {
	if c.Window()-c.ring.flying < c.cfg.MaxPacket {
		if len(c.open) > 0 {
			b := &c.open[len(c.open)-1]
			b.limited, b.window = true, true
		}
		return Never
	}
	return c.pacer.due(now, c.Burst())
}

// Never is the time of what only an event can bring about.
const Never = time.Duration(1<<63 - 1)

// Burst returns how many bytes are best sent at once: enough to be cheap, few
// enough to fit a short queue or a policer's bucket.
func (c *Controller) Burst() int {
	length := 2e-3
	if c.pacer.rate < 5e6 {
		length = 4e-3
	}
	if base := c.delay.base(); base > 0 {
		length = min(length, base/50)
	}
	if c.phase.lossLimited > 0 || c.state == Startup {
		length /= 4
	}
	return max(c.cfg.MaxPacket, int(c.pacer.rate*max(length, 250e-6)))
}

// PacingRate returns the rate of sending in bytes/s.
func (c *Controller) PacingRate() float64 { return c.pacer.rate }

// Window returns how many bytes may be in flight.
func (c *Controller) Window() int {
	packets := c.cfg.MaxPacket
	switch {
	case c.rate == 0:
		return int(firstWindow * float64(packets) * c.firstPace() / firstPace)
	case c.state == Startup:
		return int(3*c.rate*c.round()) + 64*packets
	case c.phase.crowded:
		return int(2*c.rate*(c.delay.smoothed+c.ackInterval())) + 64*packets
	}
	return int(2*c.rate*c.round()) + 64*packets
}

// InFlight returns how many bytes were sent and neither acknowledged nor given up.
func (c *Controller) InFlight() int { return c.ring.flying }

// RTT returns the smoothed round trip time, 0 before the first sample.
func (c *Controller) RTT() time.Duration { return seconds(c.delay.smoothed) }

// BaseRTT returns the round trip time without queues, 0 before the first sample.
func (c *Controller) BaseRTT() time.Duration { return seconds(c.delay.base()) }

// Loss returns the share of packets that the path loses whatever is sent.
func (c *Controller) Loss() float64 { return c.own.share() }

// AckInterval returns how often the receiver should acknowledge. Feedback every
// sixteenth of a round trip is enough to steer by; a thin link gets less of it,
// so that acknowledgements stay below half a per cent of the data.
func (c *Controller) AckInterval() time.Duration { return seconds(c.ackInterval()) }

func (c *Controller) ackInterval() float64 {
	packet := float64(c.cfg.MaxPacket) / max(c.pacer.rate, c.rate)
	if c.state == Init || c.state == Startup {
		return max(4e-3, c.delay.base()/32, min(8*packet, 0.05))
	}
	return max(5e-3, c.delay.base()/16, min(25*packet, max(0.1, c.delay.base()/4)))
}

// Path returns what is worth remembering about the path, the zero value if
// nothing is known yet.
func (c *Controller) Path() Path {
	if c.state == Init || c.state == Startup {
		return Path{}
	}
	return Path{Rate: c.rate, RTT: c.BaseRTT()}
}

// State returns what the controller is doing.
func (c *Controller) State() State { return c.state }

// round is the time from a decision until its effect can be seen, in seconds.
func (c *Controller) round() float64 { return c.delay.base() + c.ackInterval() }

func seconds(s float64) time.Duration {
	return time.Duration(math.Round(s * float64(time.Second)))
}
