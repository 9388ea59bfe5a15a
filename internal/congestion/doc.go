// Package congestion decides how fast a sender may send over a path that it
// knows nothing about. It is pure arithmetic over packet events: it owns no
// socket, no goroutine and no clock. Every time is a [time.Duration] since an
// epoch that the caller chooses; sizes are wire bytes (IP and UDP headers
// included), rates are wire bytes per second.
//
// # How a sender uses it
//
//	c := congestion.New(congestion.Config{})
//	for {
//		for n := c.Allowance(now); n >= size; n = c.Allowance(now) {
//			if nothing is left to send { c.OnAppLimited(now); break }
//			send a packet; c.OnSent(now, number, size)
//		}
//		wait until c.NextSend(now), an acknowledgement, or the sender's timeout
//		acknowledgement: c.OnAck(ack); then c.OnLost(now, numbers of packets given up)
//		timeout, nothing heard for long: c.OnTimeout(now)
//	}
//
// The receiver acknowledges about every [Controller.AckInterval] and says when
// packets arrived by its own clock; the two clocks need not agree.
package congestion
