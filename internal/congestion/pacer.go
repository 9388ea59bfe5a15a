package congestion

import "time"

// pacer is a token bucket in bytes, filled at the pace.
type pacer struct {
	rate   float64 // bytes/s
	tokens float64
	at     time.Duration
	last   time.Duration // scheduled time of the latest packet
	late   float64       // seconds of which a sender that woke late may send what it missed
}

// catchUp is how many bursts a sender that woke late may send at once, however
// short they are.
const catchUp = 4

// On a busy machine senders wake some milliseconds late. What they missed then
// fits a queue of an eighth of a round trip.
const (
	lateShare = 1.0 / 8
	lateMost  = 10e-3
)

func (p *pacer) fill(now time.Duration, burst int) {
	if now > p.at {
		p.tokens = max(p.tokens, min(p.tokens+p.rate*(now-p.at).Seconds(), max(float64(catchUp*burst), p.rate*p.late)))
		p.at = now
	}
}

func (p *pacer) available(now time.Duration, burst int) int {
	p.fill(now, burst)
	return int(p.tokens)
}

// idle forgets what was saved up: the sender had nothing to send.
func (p *pacer) idle(now time.Duration, burst int) {
	p.fill(now, burst)
	p.tokens = min(p.tokens, float64(burst))
}

// spend takes a packet's bytes and returns when the pace alone would have sent
// it. Packets go out in bursts; measured from these times they are an even flow.
func (p *pacer) spend(now time.Duration, size, burst int) time.Duration {
	p.fill(now, burst)
	spare := min(p.tokens-float64(size), float64(burst))
	p.tokens -= float64(size)
	at := now
	if spare > 0 {
		at -= time.Duration(spare / p.rate * float64(time.Second))
	}
	p.last = max(p.last, at)
	return p.last
}

// due returns when a whole burst may be sent.
func (p *pacer) due(now time.Duration, burst int) time.Duration {
	p.fill(now, burst)
	missing := float64(burst) - p.tokens
	if missing <= 0 {
		return now
	}
	return now + time.Duration(missing/p.rate*float64(time.Second)) + 1
}
