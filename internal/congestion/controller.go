package congestion

import "time"

// Config describes a new controller. The zero value is ready for use.
type Config struct {
	// MaxPacket is the wire size of a full packet; 0 means 1500 bytes.
	// [Controller.SetMaxPacket] changes it when the path's MTU is known.
	MaxPacket int
	// Remembered is what an earlier connection over the same path came to;
	// the zero value means that nothing is known.
	Remembered Path
	// Trace, if set, is called whenever a round of measurement has closed.
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
	srtt  time.Duration
	base  time.Duration
}

// New returns a controller for a path on which nothing was sent yet.
func New(cfg Config) *Controller {
	if cfg.MaxPacket == 0 {
		cfg.MaxPacket = 1500
	}
	return &Controller{cfg: cfg, pacer: pacer{rate: firstPace}}
}

// firstPace is the pace after the first burst, before anything is known.
const firstPace = 20e6 / 8

// firstWindow is how much may be in flight before anything is known.
const firstWindow = 256 * 1500

// SetMaxPacket tells the wire size of a full packet when it has changed.
func (c *Controller) SetMaxPacket(size int) { c.cfg.MaxPacket = size }

// OnSent records that packet number of size wire bytes was sent. Numbers rise;
// those of packets that are not acknowledged, such as acknowledgements
// themselves, are left out.
func (c *Controller) OnSent(now time.Duration, number uint64, size int) {
	c.pacer.spend(size)
	c.ring.add(record{number: number, sent: now, size: int32(size), state: flying})
}

// OnAck takes in an acknowledgement. Samples of unknown packets, and of packets
// that were acknowledged before, are ignored.
func (c *Controller) OnAck(a Ack) {
	for _, s := range a.Samples {
		r := c.ring.get(s.Number)
		if r == nil || !c.ring.settle(r, acked) || !s.Timed {
			continue
		}
		rtt := a.Now - r.sent - (a.Left - s.Arrived)
		if rtt <= 0 {
			continue
		}
		if c.srtt == 0 {
			c.srtt, c.base = rtt, rtt
		}
		c.srtt += (rtt - c.srtt) / 16
		c.base = min(c.base, rtt)
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

// OnTimeout records that the sender's probe timeout passed with packets in
// flight and nothing acknowledged. It is called again for each further timeout
// until an acknowledgement brings news.
func (c *Controller) OnTimeout(time.Duration) {}

// OnAppLimited records that the sender was allowed to send and had nothing, so
// what is measured now says little about the path.
func (c *Controller) OnAppLimited(time.Duration) {}

// Allowance returns how many bytes may be sent now.
func (c *Controller) Allowance(now time.Duration) int {
	return min(c.pacer.available(now, c.Burst()), c.Window()-c.ring.flying)
}

// NextSend returns when Allowance will next reach a whole burst. It is
// [Never] while the window is full: only an acknowledgement can open it.
func (c *Controller) NextSend(now time.Duration) time.Duration {
	if c.Window()-c.ring.flying < c.cfg.MaxPacket {
		return Never
	}
	return c.pacer.due(now, c.Burst())
}

// Never is the time of what only an event can bring about.
const Never = time.Duration(1<<63 - 1)

// Burst returns how many bytes are best sent at once: enough to be cheap, few
// enough to fit a short queue.
func (c *Controller) Burst() int { return max(c.cfg.MaxPacket, int(c.PacingRate()*0.002)) }

// PacingRate returns the rate of sending in bytes/s.
func (c *Controller) PacingRate() float64 { return c.pacer.rate }

// Window returns how many bytes may be in flight.
func (c *Controller) Window() int { return firstWindow }

// InFlight returns how many bytes were sent and neither acknowledged nor given up.
func (c *Controller) InFlight() int { return c.ring.flying }

// RTT returns the smoothed round trip time, 0 before the first sample.
func (c *Controller) RTT() time.Duration { return c.srtt }

// BaseRTT returns the round trip time without queues, 0 before the first sample.
func (c *Controller) BaseRTT() time.Duration { return c.base }

// Loss returns the share of packets that the path loses whatever is sent.
func (c *Controller) Loss() float64 { return 0 }

// AckInterval returns how often the receiver should acknowledge.
func (c *Controller) AckInterval() time.Duration { return max(5*time.Millisecond, c.base/16) }

// Path returns what is worth remembering about the path, the zero value if
// nothing is known yet.
func (c *Controller) Path() Path { return Path{} }

// State returns what the controller is doing.
func (c *Controller) State() State { return Init }
