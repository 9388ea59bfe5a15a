package congestion

import "time"

// pacer is a token bucket in bytes, filled at the pace.
type pacer struct {
	rate   float64 // bytes/s
	tokens float64
	at     time.Duration
}

// fill brings the tokens up to now. A sender that woke late may catch up with
// a few bursts, but does not save up what it had no data for.
func (p *pacer) fill(now time.Duration, burst int) {
	if now > p.at {
		p.tokens = min(p.tokens+p.rate*(now-p.at).Seconds(), float64(4*burst))
		p.at = now
	}
}

func (p *pacer) available(now time.Duration, burst int) int {
	p.fill(now, burst)
	return int(p.tokens)
}

func (p *pacer) spend(size int) {
	p.tokens -= float64(size)
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
