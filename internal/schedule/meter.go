package schedule

import (
	"math"
	"time"
)

// meter estimates a rate in bytes a second over about the last second. Time is
// what its caller says it is. The zero value has seen nothing.
type meter struct {
	rate    float64       // weighted mean so far, biased towards 0 while young
	weight  float64       // how much of the mean has been seen, 0 to 1
	pending float64       // bytes not in rate yet
	last    time.Duration // up to which rate accounts
	started bool
}

const (
	meterMemory = time.Second
	meterStep   = 10 * time.Millisecond // shorter intervals tell of bursts, not of rates
)

// start begins or, after a time without work, goes on: the time in between
// does not count.
func (m *meter) start(now time.Duration) {
	if now > m.last || !m.started {
		m.last, m.started = now, true
	}
}

// add counts n bytes that arrived by now.
func (m *meter) add(now time.Duration, n int) {
	m.pending += float64(n)
	if now-m.last >= meterStep {
		m.rate, m.weight = m.mix(now)
		m.pending, m.last = 0, now
	}
}

func (m *meter) mix(now time.Duration) (rate, weight float64) {
	dt := (now - m.last).Seconds()
	if dt <= 0 {
		return m.rate, m.weight
	}
	keep := math.Exp(-dt / meterMemory.Seconds())
	return m.rate*keep + m.pending/dt*(1-keep), m.weight*keep + 1 - keep
}

// at returns the rate as of now; it falls while nothing arrives. 0: not known.
func (m *meter) at(now time.Duration) float64 {
	rate, weight := m.mix(now)
	if weight < 0.01 {
		return 0
	}
	return rate / weight
}
