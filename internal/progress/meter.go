package progress

import (
	"math"
	"time"
)

const (
	// rateMemory is the time constant of a meter's moving average: long enough
	// to even out one round trip's bursts, short enough to show a stall.
	rateMemory = 4 * time.Second
	// etaMemory is how slowly the time left follows a changed rate, at most; near
	// the end a quarter of what is left, so that the end does not come as a surprise.
	etaMemory = 5 * time.Second
	etaLeast  = 200 * time.Millisecond
	// warmUp is how long a meter listens before it tells a time left.
	warmUp = time.Second
	// longest is the most that a time left may be before it says nothing.
	longest = 99 * 24 * time.Hour
)

// Meter measures the rate of one stream of bytes and tells the time left. The
// rate is an exponentially weighted mean over real time, so it does not depend on
// how the bytes are cut into calls of Add, and at the start it is the plain mean. A Meter
// is not safe for concurrent use; make one with [NewMeter].
type Meter struct {
	now   func() time.Time
	start time.Time

	total  int64
	weight float64   // bytes, each weighted by its age
	at     time.Time // when weight was true

	eta   time.Duration // the time left told last
	etaAt time.Time     // zero: none told yet
}

// NewMeter returns a meter that starts now. A nil clock means time.Now.
func NewMeter(now func() time.Time) *Meter {
	if now == nil {
		now = time.Now
	}
	t := now()
	return &Meter{now: now, start: t, at: t}
}

// Add counts n bytes as of now.
func (m *Meter) Add(n int64) {
	m.decay(m.now())
	m.weight += float64(n)
	m.total += n
}

// decay lets the counted bytes grow old until t.
func (m *Meter) decay(t time.Time) {
	if dt := t.Sub(m.at); dt > 0 {
		m.weight *= math.Exp(-dt.Seconds() / rateMemory.Seconds())
		m.at = t
	}
}

// Total returns the bytes counted so far.
func (m *Meter) Total() int64 { return m.total }

// Rate returns the rate lately, in bytes a second. It falls while nothing arrives.
func (m *Meter) Rate() float64 {
	t := m.now()
	m.decay(t)
	tau := rateMemory.Seconds()
	// The weights of all moments since the start add up to this many seconds. A
	// floor keeps the first burst from looking like an endless rate.
	seconds := tau * (1 - math.Exp(-t.Sub(m.start).Seconds()/tau))
	return m.weight / max(seconds, 0.25)
}

// Mean returns the rate since the start, in bytes a second.
func (m *Meter) Mean() float64 {
	d := m.now().Sub(m.start).Seconds()
	if d <= 0 {
		return 0
	}
	return float64(m.total) / d
}

// ETA returns the time that the given bytes will take, or a negative duration
// if that is not known. Call it often: what it returns counts down, and only
// bends slowly towards what the rate says, so that it does not jump.
func (m *Meter) ETA(left int64) time.Duration {
	t := m.now()
	if left == 0 {
		return 0
	}
	rate := m.Rate()
	raw := float64(left) / rate * float64(time.Second)
	if left < 0 || t.Sub(m.start) < warmUp || rate <= 0 || raw > float64(longest) {
		m.etaAt = time.Time{}
		return -1
	}
	if m.etaAt.IsZero() {
		m.eta, m.etaAt = time.Duration(raw), t
		return m.eta
	}
	dt := t.Sub(m.etaAt)
	expected := float64(m.eta - dt)
	memory := max(min(raw/4, float64(etaMemory)), float64(etaLeast))
	follow := 1 - math.Exp(-float64(dt)/memory)
	m.eta, m.etaAt = time.Duration(max(0, expected+follow*(raw-expected))), t
	return m.eta
}
