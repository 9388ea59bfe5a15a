// Package congestion decides how fast a sender may send over a path that it
// knows nothing about, and that may lose a third of its packets whatever is
// sent. It is pure arithmetic over packet events: it owns no socket, no
// goroutine and no clock. Every time is a [time.Duration] since an epoch that
// the caller chooses; sizes are wire bytes (IP and UDP headers included), rates
// are wire bytes per second. docs/transport.md explains it at more length, with
// what it was measured to do.
//
// # How a sender uses it
//
//	c := congestion.New(congestion.Config{})
//	for {
//		for c.Allowance(now) >= size {
//			if nothing is left to send { c.OnAppLimited(now); break }
//			send a packet; c.OnSent(now, number, size)
//		}
//		wait until c.NextSend(now), an acknowledgement, or the sender's timeout
//		acknowledgement: c.OnAck(ack); then c.OnLost(now, numbers of packets given up)
//		timeout, nothing heard for long: c.OnTimeout(now), and a few probes
//	}
//
// The receiver acknowledges every [Controller.AckInterval], but not before
// about eight packets have come or the first of them is 40 ms old: a thin
// uplink carries no more. It says when packets arrived by its own clock, which
// may be off, drift, and be set.
//
// # What is measured
//
// Sending is cut into blocks, a quarter of a round each and at least 8 packets;
// a round is R = base RTT + AckInterval. Packets leave in bursts, but count as
// sent when the pace alone would have sent them, so a burst is an even flow.
// Over some blocks together, with s the rate of sending, a reading has
//
//	g = d(one-way delay)/d(sending time), by least squares     growth of the queue
//	c = s / (1 + g)                                            what the bottleneck passed
//	q = mean one-way delay - its floor, at most RTT - base RTT the queue
//	e = sqrt(12/n) noise / span                                standard error of g, n blocks
//
// Losses after the bottleneck do not enter c. The noise of a block's mean delay
// comes from the second differences of neighbouring blocks, which a queue that
// grows evenly leaves alone; so jitter is known as such. Floors are minima of
// blocks' means over a sliding window; one that was not seen for 5 s or 25 rounds
// is looked for in Refresh.
//
// Losses are counted twice, with runs and with runs cut at three, and compared
// with p0, the path's own loss, which is measured only below capacity (Down,
// Drain, Refresh). The longest run of a sample is left out and the variance is
// taken from the runs (Gilbert-Elliott), so a burst is not congestion; an
// overflowing queue and a policer make many short runs. See tally.compare.
//
// X is the rate of the path as far as it is ours, and a the share of the
// path's capacity C that X is. Sending s on a full path, of which others use b,
// s + b = C (1 + g), so an Up with gain G shows a = g / (G - 1): the line of
// TOPP (Melander et al. 2000).
//
// # The states
//
//	state    pace                        ends with
//	Init     64 packets at once, then    40 packets acknowledged: X = the median
//	         20 Mbit/s                   rate of stretches that came slower than
//	                                     they were sent, at most 200 Mbit/s
//	Startup  1.25 X after such a train,  g > max(0.1, 3 e): X = c, then Drain; or
//	         else 2 X, in steps, each    excess loss; or a window full of queue
//	         judged by its own packets;
//	         up to 4 X if a train has
//	         shown so much
//	Drain    0.5 X; 0.95 of what has     what is in flight fits X x base RTT; if
//	         arrived if loss ended       loss was the reason, when p0 is known:
//	         Startup; 0.3 X if the       X = what had arrived / (1 - p0)
//	         capacity fell
//	Cruise   X (1 - y)                   6 rounds +-35 %; up to 24 where an Up
//	                                     does harm; two rounds without a queue
//	Up       1.2 of Cruise's mean, up    one round, or until e < 0.04
//	         to 1.35 for a small share
//	Down     less by what Up and Cruise  as long as Up; the verdict on Up comes
//	         have queued, x 1.5          meanwhile
//	Refresh  0.5 of what arrives         two rounds or 200 ms, longer while the
//	                                     queue shrinks
//	Stalled  X/16, halved by each        an acknowledgement: Cruise after one
//	         timeout                     timeout, else Startup from X/2
//
// Cruise yields to the queue and to what is lost beyond p0:
//
//	z = (q - q*) / R,  q* = 0.04 R + 3 noise
//	y = clamp(0.5 z + 1.5 z^2, -0.03, 0.3) + 1.5 max(0, excess - 2 its error)
//
// The verdict on an Up: room if g is below half of what a full path would show
// and nothing more is lost; then X = c and Up again, and after two (with others
// on the path, four) in a row Startup. Otherwise X = c (1 - excess), weighted
// down by the errors. Each cycle so adds about 0.2 a (1-a) C to every flow and
// takes the same share y from each: additive increase, multiplicative decrease
// by a signal that all flows see (Chiu and Jain 1989), which makes them equal.
//
// In every state: two blocks with g > 0.35 and a queue of R/4 mean that the
// capacity fell, and Drain follows at once. Excess loss of 8 % or more, sure to
// four standard errors, leads to Drain with a new measurement of p0. A queue
// that was never short in a whole cycle and at times long is held by others
// (crowded): y is then at most 0.07, which against a flow that fills any queue
// ends near equal shares, instead of nothing (the mode switch of Copa).
//
// The window is 3 X R in Startup and 2 X R else, and 64 packets; in a crowd R is
// the smoothed RTT.
//
// # Where it comes from
//
// BBR (draft-ietf-ccwg-bbr) for pacing by a model, the probing cycle and its
// randomness, and for looking for the base RTT together; Copa (NSDI 2018) and
// Swift (SIGCOMM 2020) for a target queue and for competing; PCC (NSDI 2015,
// 2018) for judging a rate by the packets that were sent at it; RFC 9002 for
// what a sender owes; RFC 9743 for what to test; Flach et al. (SIGCOMM 2016) for
// policers; draft-ietf-tsvwg-careful-resume for [Config.Remembered].
package congestion
