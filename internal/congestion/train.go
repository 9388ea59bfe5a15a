package congestion

import (
	"slices"
	"time"
)

// The first flight: a train of packets at once, whose spacing at the receiver
// shows the bottleneck's rate, and then a cautious pace until it is known.
const (
	trainLength = 64       // packets
	firstPace   = 20e6 / 8 // bytes/s
	firstWindow = 256      // packets
	firstShare  = 0.4      // of what an earlier connection came to
	firstMost   = 2        // times the pace and the window of those of which nothing is known
	trainEnough = 40       // packets acknowledged
	trainWindow = 16       // packets, over which a rate is taken
	trainMost   = 200e6 / 8
)

// train measures the first flight.
type train struct {
	points []point
}

// point is a packet of the first flight that arrived.
type point struct {
	sent, arrived time.Duration
	number        uint64
}

func (t *train) arrived(r *record, at time.Duration) {
	sent := r.scheduled
	if r.number < trainLength {
		sent = r.sent
	}
	t.points = append(t.points, point{sent: sent, arrived: at, number: r.number})
}

// plain is the rate at which the train came, the sender's pauses included.
func (t *train) plain(size int) float64 {
	first, last := t.points[0], t.points[0]
	for _, p := range t.points {
		if p.number < first.number {
			first = p
		}
		if p.number > last.number {
			last = p
		}
	}
	took := max((last.arrived - first.arrived).Seconds(), 1e-4)
	return float64(int(last.number-first.number)*size) / took
}

// rate returns the median of the rates at which stretches of the train came
// through, over stretches that came slower than they were sent; 0 if none did.
// A stall of the link delivers many packets at once, which would give an
// absurd rate: the median bears it, and trainMost bounds what is left.
func (t *train) rate(size int) float64 {
	slices.SortFunc(t.points, func(a, b point) int { return int(a.number) - int(b.number) })
	var rates []float64
	p := t.points
	for i := range p {
		for j := i + 1; j < len(p); j++ {
			packets := p[j].number - p[i].number
			if packets < trainWindow {
				continue
			}
			took := (p[j].arrived - p[i].arrived).Seconds()
			if (p[j].sent - p[i].sent).Seconds() < took/1.3 {
				rates = append(rates, float64(int(packets)*size)/took)
			}
			break
		}
	}
	if len(rates) < 4 {
		return 0
	}
	slices.Sort(rates)
	return rates[len(rates)/2]
}

// firstPace is the pace of the first flight. What is remembered of the path may
// not hold any more, so it makes little of a difference before the first
// acknowledgements: on a path that has become ten times slower the flight is
// at most four times too fast, for one round trip.
func (c *Controller) firstPace() float64 {
	return min(max(firstPace, firstShare*c.cfg.Remembered.Rate), firstMost*firstPace)
}

// endTrain leaves Init once enough of the first flight has arrived.
func (c *Controller) endTrain(now time.Duration) {
	b := &c.open[0]
	acked := b.ackedBytes / c.cfg.MaxPacket
	waited := now - b.start
	if acked < trainEnough && waited < seconds(2.2*c.delay.base()) || len(c.train.points) < 2 {
		return
	}
	plain := c.train.plain(c.cfg.MaxPacket)
	dispersed := c.train.rate(c.cfg.MaxPacket)
	c.train = train{}
	gain := stepGain
	c.rate = min(max(plain, firstPace), trainMost)
	if dispersed > 0 {
		gain = trainGain
		c.rate = min(dispersed, trainMost)
		c.phase.hint = dispersed
	}
	// A train is too short to see a wide path, but it would have seen a thin one.
	thin := dispersed > 0 && dispersed < trainMost
	if known := c.remembered(); !thin && c.rate < known {
		gain, c.rate = trainGain, known
	}
	c.rate = max(c.rate, c.slowest())
	c.startup(gain)
}

// remembered is half of what an earlier connection came to, if the round trip
// shows that the path is the same: the jump of draft-ietf-tsvwg-careful-resume.
// The first step of Startup validates it or takes it back.
func (c *Controller) remembered() float64 {
	before := c.cfg.Remembered
	if before.Rate == 0 || before.RTT == 0 {
		return 0
	}
	if ratio := c.delay.base() / before.RTT.Seconds(); ratio < 0.7 || ratio > 1.5 {
		return 0
	}
	return min(before.Rate/2, fastest)
}
