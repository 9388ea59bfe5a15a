package linksim

import (
	"math"
	"time"
)

// Cubic is a TCP flow with data for ever: CUBIC after RFC 9438 with selective
// acknowledgements. It sends as its window allows, without pacing, as most
// servers still do; the receiver acknowledges every second packet.
type Cubic struct {
	path *Path

	// Sender, in packets.
	next      uint64
	inFlight  int
	cwnd      float64
	threshold float64 // where slow start ends
	wMax      float64
	wEstimate float64 // what Reno would have (section 4.3)
	k         float64 // seconds from the epoch until wMax is reached again
	epoch     time.Duration
	recover   uint64 // losses below this number belong to a decrease already made
	srtt      time.Duration
	base      time.Duration
	sent      map[uint64]time.Duration
	lowest    uint64 // no packet below this number is in flight
	timer     *Timer
	backoff   int

	// Receiver.
	history []uint64 // the numbers received, in order of arrival
	unsaid  int      // how many of them no acknowledgement has carried yet
	Bytes   int      // delivered
}

// The constants of RFC 9438, and a full packet's wire size.
const (
	cubicC    = 0.4
	cubicBeta = 0.7
	tcpPacket = 1500
	tcpAck    = 60
)

// NewCubic starts a flow at the time at.
func (p *Path) NewCubic(at time.Duration) *Cubic {
	c := &Cubic{path: p, cwnd: 10, threshold: math.Inf(1), sent: map[uint64]time.Duration{}}
	c.timer = p.Sim.NewTimer(c.timeout)
	p.Sim.At(at, c.fill)
	return c
}

func (c *Cubic) fill() {
	now := c.path.Sim.Now()
	for float64(c.inFlight) < math.Floor(c.cwnd) {
		c.sent[c.next] = now
		c.inFlight++
		c.path.Down.Send(Packet{Size: tcpPacket, Number: c.next, To: c.receive})
		c.next++
	}
	c.arm()
}

func (c *Cubic) arm() {
	rto := time.Second
	if c.srtt > 0 {
		rto = max(200*time.Millisecond, 2*c.srtt)
	}
	c.timer.Set(c.path.Sim.Now() + rto<<min(c.backoff, 6))
}

// receive is the receiver's end. A gap makes it acknowledge at once.
func (c *Cubic) receive(p Packet) {
	c.Bytes += p.Size
	gap := len(c.history) > 0 && p.Number != c.history[len(c.history)-1]+1
	c.history = append(c.history, p.Number)
	c.unsaid++
	if c.unsaid < 2 && !gap {
		c.path.Sim.At(c.path.Sim.Now()+40*time.Millisecond, c.acknowledge) // delayed ACK
		return
	}
	c.acknowledge()
}

// ackMemory is how many packets an acknowledgement names: a lost one is made
// good by the next, as TCP's cumulative ones are.
const ackMemory = 128

func (c *Cubic) acknowledge() {
	if c.unsaid == 0 {
		return
	}
	c.unsaid = 0
	// The array behind the slice is only ever appended to, so it can be shared.
	numbers := c.history[max(0, len(c.history)-ackMemory):]
	c.path.Up.Send(Packet{Size: tcpAck, Body: numbers, To: c.acked})
}

func (c *Cubic) acked(p Packet) {
	now := c.path.Sim.Now()
	newest := uint64(0)
	for _, n := range p.Body.([]uint64) {
		at, ok := c.sent[n]
		if !ok {
			continue
		}
		delete(c.sent, n)
		c.inFlight--
		c.backoff = 0
		c.sample(now - at)
		newest = max(newest, n)
		c.grow(now)
	}
	c.lose(newest)
	c.fill()
}

func (c *Cubic) sample(rtt time.Duration) {
	if c.srtt == 0 {
		c.srtt, c.base = rtt, rtt
	}
	c.srtt += (rtt - c.srtt) / 8
	c.base = min(c.base, rtt)
}

// grow is what one acknowledged packet adds to the window (sections 4.2 to 4.5).
func (c *Cubic) grow(now time.Duration) {
	if c.cwnd < c.threshold {
		c.cwnd++
		return
	}
	if c.epoch == 0 {
		c.epoch = now
		c.wMax = max(c.wMax, c.cwnd)
		c.k = math.Cbrt((c.wMax - c.cwnd) / cubicC)
		c.wEstimate = c.cwnd
	}
	alpha := 3 * (1 - cubicBeta) / (1 + cubicBeta)
	if c.wEstimate >= c.wMax {
		alpha = 1
	}
	c.wEstimate += alpha / c.cwnd
	t := (now - c.epoch + c.srtt).Seconds()
	d := t - c.k
	target := cubicC*d*d*d + c.wMax
	target = min(max(target, c.cwnd), 1.5*c.cwnd)
	c.cwnd += (target - c.cwnd) / c.cwnd
	c.cwnd = max(c.cwnd, c.wEstimate)
}

// lose gives up what was sent three packets or more before the newest acknowledged.
func (c *Cubic) lose(newest uint64) {
	for ; c.lowest+3 <= newest; c.lowest++ {
		if _, ok := c.sent[c.lowest]; !ok {
			continue
		}
		delete(c.sent, c.lowest)
		c.inFlight--
		if c.lowest >= c.recover {
			c.reduce()
		}
	}
}

// reduce is the multiplicative decrease with fast convergence (sections 4.6, 4.7).
func (c *Cubic) reduce() {
	if c.cwnd < c.wMax {
		c.wMax = c.cwnd * (1 + cubicBeta) / 2
	} else {
		c.wMax = c.cwnd
	}
	c.cwnd = max(2, c.cwnd*cubicBeta)
	c.threshold = c.cwnd
	c.epoch = 0
	c.recover = c.next
}

// timeout is a retransmission timeout: everything in flight is given up.
func (c *Cubic) timeout() {
	c.threshold = max(2, c.cwnd*cubicBeta)
	c.wMax = c.cwnd
	c.cwnd = 1
	c.epoch = 0
	c.recover = c.next
	c.lowest = c.next
	clear(c.sent)
	c.inFlight = 0
	c.backoff++
	c.fill()
}
