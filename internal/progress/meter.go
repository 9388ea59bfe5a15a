package progress

import "time"

// Meter measures the rate of one stream of bytes and tells the time left. It is
// not safe for concurrent use. Its zero value is not usable.
type Meter struct {
	now func() time.Time
}

// NewMeter returns a meter that starts now. A nil clock means time.Now.
func NewMeter(now func() time.Time) *Meter { return &Meter{now: now} }

// Add counts n bytes as of now.
func (m *Meter) Add(n int64) {}

// Total returns the bytes counted so far.
func (m *Meter) Total() int64 { return 0 }

// Rate returns the rate lately, in bytes a second. It falls while nothing arrives.
func (m *Meter) Rate() float64 { return 0 }

// Mean returns the rate since the start, in bytes a second.
func (m *Meter) Mean() float64 { return 0 }

// ETA returns the time that the given bytes will take, or a negative duration
// if that is not known. Call it often: what it returns counts down, and only
// bends slowly towards what the rate says, so that it does not jump.
func (m *Meter) ETA(left int64) time.Duration { return -1 }
