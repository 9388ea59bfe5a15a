package bulk

import (
	"math"
	"time"

	"github.com/jumpget/jumpget/internal/span"
)

// Bounds of how a client sends its bytes (section 4).
const (
	upPacket  = 1100 // bytes of the stream in one packet at most
	upFirst   = 8 * upPacket
	upLeast   = 4 * upPacket
	upMost    = 96 << 10
	upBurst   = 4 // packets at once
	upCopies  = 4
	upRound   = 4                     // round trips, to judge losses by
	upTimeout = 50 * time.Millisecond // at least
	upBackoff = 5                     // doublings
	upForget  = 10 * time.Second      // the least round trip
)

// flight is one packet of bytes on their way.
type flight struct {
	span.Span
	sent  time.Duration
	clear bool // its acknowledgement can be of no other packet
}

// upstream decides which of its bytes a client sends when. It is arithmetic
// alone: packets go through its owner, which also keeps the bytes. What is lost
// is found by time, as at the relay; there is a window, which grows until a queue
// shows in the round trip, and does not mind loss.
type upstream struct {
	base    int64 // all before is acknowledged
	sack    runs  // and this
	limit   int64 // nothing from here on is taken
	high    int64 // nothing from here on was sent
	flights []flight
	cover   runs // of flights and sack, made anew for each choice

	window   int
	rtt      time.Duration // smoothed
	taken    bool          // it was measured here
	other    float64       // share of packets that are lost the other way
	least    time.Duration
	leastAt  time.Duration
	shrunk   time.Duration // when the window was made smaller
	paced    time.Duration // the next packet's time, if there were no bursts
	timeouts int
	lost     int // bytes, in this round
	came     int
	round    time.Duration // when it began
	gone     float64       // packets that were lost of late
	landed   float64       // and that were not
}

// begin is told when the relay has answered; it has the first bytes.
func (u *upstream) begin(now time.Duration, first int64) {
	u.base, u.high, u.limit = first, max(u.high, first), max(u.limit, first)
	u.window, u.round = upFirst, now
}

// learn takes in what others know of the path, as long as nothing was measured
// here: the round trip, and the share of packets that are lost the other way.
func (u *upstream) learn(rtt time.Duration, missing float64) {
	if !u.taken {
		u.rtt = max(rtt, time.Millisecond)
	}
	u.other = missing
}

// missing is the share of packets that get lost.
func (u *upstream) missing() float64 {
	const doubt = 8
	return min(max(u.other, u.gone/(u.gone+u.landed+doubt), 0.01), 0.6)
}

// count notes what became of a packet; what was long ago counts less.
func (u *upstream) count(arrived bool, bytes int) {
	const memory = 200
	if u.gone+u.landed > memory {
		u.gone, u.landed = u.gone/2, u.landed/2
	}
	if arrived {
		u.landed++
		return
	}
	u.gone++
	u.lost += bytes
}

// flying is how many bytes are on their way.
func (u *upstream) flying() (n int) {
	for i := range u.flights {
		n += int(u.flights[i].Len())
	}
	return n
}

// timeout is how long a packet may take before it counts as lost even if nothing
// that was sent later has come.
func (u *upstream) timeout() time.Duration {
	t := max(upTimeout, u.rtt+max(u.rtt/2, 20*time.Millisecond))
	return min(t<<min(u.timeouts, upBackoff), max(t, 2*time.Second))
}

// next returns what is to be sent now of a stream that ends at end, nothing if
// the span is empty: then it says when to ask again, 0 for when something has
// changed.
func (u *upstream) next(now time.Duration, end int64) (sp span.Span, again time.Duration) {
	u.expire(now)
	if sp = u.gap(min(end, u.limit)); sp.Len() == 0 {
		return u.tail(now)
	}
	switch {
	case len(u.flights) > 0 && u.flying()+int(sp.Len()) > u.window:
		return span.Span{}, u.flights[0].sent + u.timeout()
	case u.paced > now:
		return span.Span{}, u.paced
	}
	every := u.rtt * time.Duration(upPacket) * 2 / 3 / time.Duration(u.window)
	u.paced = max(u.paced, now-upBurst*every) + every
	return sp, 0
}

// expire gives up what has been on its way for too long.
func (u *upstream) expire(now time.Duration) {
	n := 0
	for timeout := u.timeout(); n < len(u.flights) && now >= u.flights[n].sent+timeout; n++ {
		u.count(false, int(u.flights[n].Len()))
	}
	if n > 0 {
		u.timeouts++
		u.flights = append(u.flights[:0], u.flights[n:]...)
	}
}

// gap returns the first bytes before end that neither have come nor are on their
// way, one packet of them.
func (u *upstream) gap(end int64) span.Span {
	at := u.base
	u.cover.list = append(u.cover.list[:0], u.sack.list...)
	for i := range u.flights {
		u.cover.add(u.flights[i].Span, nil)
	}
	for _, r := range u.cover.list {
		switch {
		case r.End <= at:
		case r.Start <= at:
			at = r.End
		default:
			return span.Span{Start: at, End: min(end, r.Start, at+upPacket)}
		}
	}
	return span.Span{Start: at, End: max(at, min(end, at+upPacket))}
}

// tail repeats what is in flight, if that is little and there is nothing else to
// send: first what has the fewest copies.
func (u *upstream) tail(now time.Duration) (sp span.Span, again time.Duration) {
	if len(u.flights) == 0 {
		return span.Span{}, 0
	}
	again = u.flights[0].sent + u.timeout()
	fewest := u.copies()
	if u.high-u.base > upLeast {
		return span.Span{}, again
	}
	for i := range u.flights {
		copies, last := u.copiesOf(u.flights[i].Span)
		switch due := last + u.pause(copies); {
		case copies >= fewest:
		case now < due:
			again = min(again, due)
		default:
			sp, fewest = u.flights[i].Span, copies
		}
	}
	return sp, again
}

// copiesOf is how many copies of a span are in flight, and when the last was sent.
func (u *upstream) copiesOf(sp span.Span) (n int, last time.Duration) {
	for i := range u.flights {
		if f := &u.flights[i]; f.Start <= sp.Start && f.End >= sp.End {
			n, last = n+1, f.sent
		}
	}
	return n, last
}

// copies is how often something small is sent before its acknowledgement can
// come, so that it gets through at the first attempt.
func (u *upstream) copies() int {
	return min(upCopies, int(math.Ceil(math.Log(goal)/math.Log(u.missing()))))
}

// pause is how long to wait after so many copies of something small.
func (u *upstream) pause(sent int) time.Duration {
	gap := max(4*time.Millisecond, u.rtt/16)
	switch {
	case sent >= u.copies():
		return u.timeout()
	case u.rtt < shortRTT:
		return max(gap, u.rtt+firstInterval) // an acknowledgement is as soon here as a copy
	}
	return gap
}

// sent notes that a span was sent.
func (u *upstream) sent(sp span.Span, now time.Duration) {
	f := flight{Span: sp, sent: now, clear: sp.Start >= u.high}
	for i := range u.flights {
		if g := &u.flights[i]; g.Intersect(sp).Len() > 0 {
			g.clear = false
		}
	}
	u.high = max(u.high, sp.End)
	u.flights = append(u.flights, f)
}

// acknowledge takes in what the relay says has come, of what was sent.
func (u *upstream) acknowledge(a *streamAck, now time.Duration) {
	if a.next > u.high || len(a.runs) > 0 && a.runs[len(a.runs)-1].End > u.high {
		return // of bytes that were never sent
	}
	u.limit = max(u.limit, a.limit)
	news := max(0, a.next-u.base)
	u.base = max(u.base, a.next)
	for _, r := range a.runs {
		news += u.sack.add(r.Intersect(span.Span{Start: u.base, End: math.MaxInt64}), nil)
	}
	for len(u.sack.list) > 0 && u.sack.list[0].Start <= u.base {
		u.base = max(u.base, u.sack.list[0].End)
		u.sack.list = append(u.sack.list[:0], u.sack.list[1:]...)
	}
	if news == 0 {
		return
	}
	if u.taken { // else the timeout itself may be too short (Karn's rule)
		u.timeouts = 0
	}
	u.came += int(news)
	u.lose(u.land(now))
	u.turn(now)
}

// has tells whether all of a span has come.
func (u *upstream) has(sp span.Span) bool {
	sp.Start = max(sp.Start, u.base)
	return len(u.sack.missing(sp)) == 0
}

// land takes flights away whose bytes have come, and returns when the newest of
// them was sent that is certain to have come itself.
func (u *upstream) land(now time.Duration) (newest time.Duration) {
	newest = -1
	kept := u.flights[:0]
	var landed runs
	for _, f := range u.flights {
		if !u.has(f.Span) {
			kept = append(kept, f)
			continue
		}
		if landed.add(f.Span, nil) > 0 { // else it is a copy of one before
			newest = max(newest, f.sent)
			u.count(true, 0)
		}
		if f.clear {
			u.measure(now-f.sent, int(f.Len()), now)
		}
	}
	u.flights = kept
	return newest
}

// lose gives up what was sent well before something that has come.
func (u *upstream) lose(newest time.Duration) {
	reo := max(2*leastReo, u.rtt/4) // several packets go at once, and nobody tells of late ones
	kept := u.flights[:0]
	for _, f := range u.flights {
		if f.sent+reo < newest {
			u.count(false, int(f.Len()))
			continue
		}
		kept = append(kept, f)
	}
	u.flights = kept
}

// measure takes in a round trip of n bytes, and lets the window grow unless
// there is a queue.
func (u *upstream) measure(took time.Duration, n int, now time.Duration) {
	u.time(took, now)
	switch queue := took - u.least; {
	case queue < max(15*time.Millisecond, u.least/4):
		u.window = min(upMost, u.window+n)
	case queue > max(50*time.Millisecond, u.least/2):
		u.shrink(now, 3)
	}
}

// pong is told that something which was sent at a time has come, and been
// answered with all that the relay had to say.
func (u *upstream) pong(sent, now time.Duration) {
	u.time(now-sent, now)
	u.timeouts = 0
	u.lose(sent)
}

// time takes in a round trip.
func (u *upstream) time(took, now time.Duration) {
	took = max(took, time.Microsecond)
	if u.least == 0 || took < u.least || now-u.leastAt > upForget {
		u.least, u.leastAt = took, now
	}
	if u.taken {
		u.rtt += (took - u.rtt) / 8
	} else {
		u.rtt, u.taken = took, true
	}
}

// shrink leaves so many quarters of the window, once a round trip.
func (u *upstream) shrink(now time.Duration, quarters int) {
	if now-u.shrunk < u.rtt {
		return
	}
	u.shrunk = now
	u.window = max(upLeast, u.window/4*quarters)
}

// turn looks every few round trips at how much was lost. Half of it is more than
// a path loses that is worth its name: there is a policer.
func (u *upstream) turn(now time.Duration) {
	if now-u.round < upRound*u.rtt {
		return
	}
	if u.lost > u.came {
		u.shrink(now, 2)
	}
	u.lost, u.came, u.round = 0, 0, now
}
