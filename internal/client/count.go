package client

import "time"

// The bounds of the number of connections that counter chooses.
const (
	firstConns = 8
	mostConns  = 32

	worthwhile = 1.10             // doubling the connections has to bring this much
	holdFor    = 20 * time.Second // before a higher number is tried again

	// A link is taken for lossy if in lossyWindows intervals in a row more than
	// lossyShare of the packets came out of order. One loss disorders a whole
	// flight, so the share is far above the loss itself; a clean link's queue that
	// overflows at the start does the same, but only once.
	lossyShare   = 0.01
	lossyWindows = 2
	lossySample  = 100 // packets, at least
)

// counter finds how many connections carry the most: it doubles them as long
// as that brings throughput, and goes back by the step that brought nothing. It
// has no clock of its own.
type counter struct {
	fixed int     // the user's choice; 0: none
	n     int     // wanted now
	base  float64 // rate before the last step; 0: not measured
	tried int     // n is on trial, and this is what it was before; 0: no trial
	held  bool    // n is as good as any: no step for holdFor
	state measuring
	since time.Duration // when the state began
	bytes int64         // that had come when measuring began

	checked    time.Duration // when the last interval of disorder began
	segments   int64         // that had come by then
	disordered int64
	windows    int // lossy ones in a row
}

// measuring is where a counter's measurement stands.
type measuring int

const (
	idle     measuring = iota
	settling           // new connections get two round trips to get going
	counting
)

// newCounter starts with what served well the last time; 0: not known.
func newCounter(fixed, last int) *counter {
	c := &counter{fixed: fixed, n: min(max(last, firstConns), mostConns)}
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
	c.tried = 0
	switch {
	case c.held:
		c.held = false
		c.try(rate)
	case c.base > 0 && rate < c.base*worthwhile:
		c.n = max(c.n/2, firstConns)
		c.held = true
	case c.n == mostConns:
		c.held = true
	default:
		c.try(rate)
	}
}

// try doubles the connections, which brought rate until now.
func (c *counter) try(rate float64) {
	c.base, c.tried = rate, c.n
	c.n = min(2*c.n, mostConns)
}

// proven is what a next run should start with: not a number that is only being
// tried, or else short runs would drive it up without a reason.
func (c *counter) proven() int {
	if c.tried > 0 {
		return c.tried
	}
	return c.n
}

// disorder takes the packets that all connections have received, and those
// that came out of order. On a lossy link more connections are what helps TCP,
// and measuring first would cost most of a small file's time.
func (c *counter) disorder(now time.Duration, segments, disordered int64, rtt time.Duration) {
	n := segments - c.segments
	if n >= 0 && (n < lossySample || now-c.checked < max(2*rtt, tick)) {
		return
	}
	share := float64(disordered-c.disordered) / float64(n)
	if c.windows++; n < 0 || share < lossyShare { // n falls when a connection is closed
		c.windows = 0
	}
	c.checked, c.segments, c.disordered = now, segments, disordered
	if c.windows >= lossyWindows && c.fixed == 0 && c.n < mostConns && !c.held {
		c.n, c.base, c.tried, c.state = mostConns, 0, 0, idle
	}
}

// rest tells that the connections have too little work to be measured.
func (c *counter) rest() { c.state = idle }
