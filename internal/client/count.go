package client

import "time"

// The bounds of the number of connections that counter chooses.
const (
	firstConns = 8
	mostConns  = 32

	worthwhile = 1.10             // doubling the connections has to bring this much
	holdFor    = 20 * time.Second // before a higher number is tried again
	lossyShare = 0.004            // of packets out of order: the link loses some
)

// counter finds how many connections carry the most: it doubles them as long
// as that brings throughput, and goes back by the step that brought nothing. It
// has no clock of its own.
type counter struct {
	fixed int     // the user's choice; 0: none
	n     int     // wanted now
	base  float64 // rate before the last step; 0: not measured
	held  bool    // n is as good as any: no step for holdFor
	state measuring
	since time.Duration // when the state began
	bytes int64         // that had come when measuring began
}

// measuring is where a counter's measurement stands.
type measuring int

const (
	idle     measuring = iota
	settling           // new connections get two round trips to get going
	counting
)

func newCounter(fixed int) *counter {
	c := &counter{fixed: fixed, n: firstConns}
	if fixed > 0 {
		c.n = fixed
	}
	return c
}

// observe takes the bytes that all connections together have brought by now,
// and the round trip time, and returns how many connections there should be.
// Call it a few times a second while all of them have work.
func (c *counter) observe(now time.Duration, bytes int64, rtt time.Duration) int {
	switch {
	case c.fixed > 0:
	case c.state == idle:
		c.state, c.since = settling, now
	case c.state == settling && now-c.since >= 2*rtt:
		c.state, c.since, c.bytes = counting, now, bytes
	case c.state == counting && now-c.since >= c.window(rtt):
		c.judge(float64(bytes-c.bytes) / (now - c.since).Seconds())
		c.state, c.since = settling, now
	}
	return c.n
}

func (c *counter) window(rtt time.Duration) time.Duration {
	if c.held {
		return holdFor
	}
	return max(time.Second, 4*rtt)
}

// judge takes the next step, by what the last one brought.
func (c *counter) judge(rate float64) {
	switch {
	case c.held:
		c.held, c.base = false, rate
		c.n = min(2*c.n, mostConns)
	case c.base > 0 && rate < c.base*worthwhile:
		c.n = max(c.n/2, firstConns)
		c.held = true
	case c.n == mostConns:
		c.held = true
	default:
		c.base = rate
		c.n = min(2*c.n, mostConns)
	}
}

// lossy tells what share of packets comes out of order, which is what loss
// looks like at the receiver. More connections are what helps TCP then, and
// measuring first would cost most of a small file's time.
func (c *counter) lossy(share float64) {
	if c.fixed == 0 && share > lossyShare && c.n < mostConns && !c.held {
		c.n, c.base, c.state = mostConns, 0, idle
	}
}

// rest tells that the connections have too little work to be measured.
func (c *counter) rest() { c.state = idle }
