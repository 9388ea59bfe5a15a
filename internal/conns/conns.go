// Package conns finds how many parallel TCP connections carry the most over a link.
// It does no I/O and has no clock: whoever uses it says what time it is and what the
// connections have done.
package conns

import "time"

// The bounds of the number of connections.
const (
	First = 8  // enough to show what TCP can do
	Most  = 32 // on any link
)

// The counter's judgements.
const (
	fewest = 4

	// perConn of round trip is worth one connection at the start: each begins with
	// the same few packets, and the longer the link, the longer it takes them to
	// become many.
	perConn = 6 * time.Millisecond

	worthwhile  = 1.10             // doubling the connections has to bring this much
	dispensable = 0.97             // half of them have to carry this much
	holdFor     = 20 * time.Second // before another number is tried

	// Below room bytes in flight for each, a lost packet is not followed by enough
	// others to tell of it, and connections sit in timeouts.
	room = 8 * 1448

	// A link is full when the round trip is so much longer than without a queue.
	fullRTT = 1.25
	fullMin = 5 * time.Millisecond

	// A link is taken for lossy if in lossyWindows intervals in a row more than
	// lossyShare of the packets came out of order while it was not full. One loss
	// disorders a whole flight, so the share is far above the loss itself; a clean
	// link's queue that overflows at the start does the same, but only once.
	lossyShare   = 0.01
	lossyWindows = 2
	lossySample  = 100                    // packets, at least
	lossyTime    = 100 * time.Millisecond // of an interval, at least
)

// Counter finds how many connections carry the most. It begins with more on a
// long link, and goes to the most at once on one that loses packets, where each
// of them is slow. Otherwise it doubles them as long as that brings throughput,
// and goes back by the step that brought nothing. On a link that is full more
// would only make the queue longer: there it tries now and then whether half of them
// carry as much. It is not safe for concurrent use.
type Counter struct {
	fixed int     // the user's choice; 0: none
	last  Served  // what served well the last time
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

// Flow is what all connections together tell.
type Flow struct {
	Bytes      int64         // brought by now
	RTT        time.Duration // without a queue; 0: not known
	Now        time.Duration // with the queue of late; 0: not known
	Segments   int64         // received
	Disordered int64         // of these, out of order
}

// full tells whether a queue shows that more senders can bring nothing.
func (f Flow) full() bool {
	return f.RTT > 0 && f.Now > max(time.Duration(fullRTT*float64(f.RTT)), f.RTT+fullMin)
}

// measuring is where a counter's measurement stands.
type measuring int

const (
	idle     measuring = iota
	settling           // new connections get two round trips to get going
	counting
)

// Served is a number of connections that did well, and where.
type Served struct {
	N   int           // 0: not known
	RTT time.Duration // 0: not known
}

// at tells whether that was on a link as long as this one.
func (s Served) at(rtt time.Duration) bool { return rtt < s.RTT*3/2 && s.RTT < rtt*3/2 }

// New starts with what served well the last time, until it is clear whether this is
// the same link. fixed is the user's choice, from which nothing departs; 0: none.
func New(fixed int, last Served) *Counter {
	c := &Counter{fixed: fixed, last: last, n: First}
	if last.N > 0 {
		c.n = min(max(last.N, fewest), Most)
	}
	if fixed > 0 {
		c.n = fixed
	}
	return c
}

// Wanted is how many connections there should be.
func (c *Counter) Wanted() int { return c.n }

// AsBefore tells whether a link with this round trip time may be the one on which
// the remembered number served.
func (c *Counter) AsBefore(rtt time.Duration) bool { return c.last.at(rtt) }

// Reach takes the round trip time before anything has been measured.
func (c *Counter) Reach(rtt time.Duration) {
	if c.fixed == 0 && rtt > 0 && (c.last.N == 0 || !c.last.at(rtt)) {
		c.n = min(max(First, int(rtt/perConn)), Most)
	}
}

// Observe takes what all connections together have done by now, which is since any
// start, and returns how many there should be. Call it a few times a second while all of them have work.
func (c *Counter) Observe(now time.Duration, f Flow) int {
	if c.fixed > 0 {
		return c.n
	}
	c.disorder(now, f)
	switch {
	case c.state == idle:
		c.state, c.since = settling, now
	case c.state == settling && now-c.since >= 2*f.RTT:
		c.state, c.since, c.bytes = counting, now, f.Bytes
	case c.state == counting && now-c.since >= c.window(f.RTT):
		c.judge(float64(f.Bytes-c.bytes)/(now-c.since).Seconds(), f)
		c.state, c.since = settling, now
	}
	return c.n
}

func (c *Counter) window(rtt time.Duration) time.Duration {
	if c.held {
		return holdFor
	}
	return max(time.Second, 4*rtt)
}

// judge takes the next step, by what the last one brought.
func (c *Counter) judge(rate float64, f Flow) {
	before, rested := c.tried, c.held
	c.tried, c.held = 0, false
	switch most := c.most(rate, f); {
	case c.n > most:
		c.n, c.held = most, true
	case before > c.n && rate < c.base*dispensable, before > 0 && before < c.n && rate < c.base*worthwhile:
		c.n, c.held = before, true
	case f.full() && (rested || before > c.n) && c.n > fewest:
		c.try(c.n/2, rate)
	case f.full(), c.n == Most:
		c.held = true
	default:
		c.try(2*c.n, rate)
	}
}

// most is how many connections find room in what is under way on a full link.
func (c *Counter) most(rate float64, f Flow) int {
	if !f.full() {
		return Most
	}
	return max(int(rate*f.RTT.Seconds()/room), fewest)
}

// try goes on with n connections; what they were before brought rate.
func (c *Counter) try(n int, rate float64) {
	c.base, c.tried = rate, c.n
	c.n = min(max(n, fewest), Most)
}

// Proven is what a next run should start with: not a number that is only being
// tried, or else short runs would drive it up without a reason.
func (c *Counter) Proven() int {
	if c.tried > 0 {
		return c.tried
	}
	return c.n
}

// disorder looks for losses, which make more connections worthwhile before the
// rate can show it: measuring first would cost most of a small file's time.
func (c *Counter) disorder(now time.Duration, f Flow) {
	n := f.Segments - c.segments
	if n >= 0 && (n < lossySample || now-c.checked < max(2*f.RTT, lossyTime)) {
		return
	}
	share := float64(f.Disordered-c.disordered) / float64(n)
	if c.windows++; n < 0 || share < lossyShare || f.full() { // n falls when a connection is closed
		c.windows = 0
	}
	c.checked, c.segments, c.disordered = now, f.Segments, f.Disordered
	if c.windows >= lossyWindows && c.n < Most && !c.held {
		c.n, c.base, c.tried, c.state = Most, 0, 0, idle
	}
}

// Rest tells that the connections have too little work to be measured.
func (c *Counter) Rest() { c.state = idle }
