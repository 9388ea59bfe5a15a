package progress

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// clock is a time that moves only when told to.
type clock struct{ t time.Time }

func newClock() *clock                 { return &clock{time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)} }
func (c *clock) now() time.Time        { return c.t }
func (c *clock) pass(d time.Duration)  { c.t = c.t.Add(d) }
func near(got, want, tol float64) bool { return math.Abs(got-want) <= tol*want }

func TestSteadyRate(t *testing.T) {
	for _, step := range []time.Duration{10 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond} {
		c := newClock()
		m := NewMeter(c.now)
		for i := range int(20 * time.Second / step) {
			c.pass(step)
			m.Add(int64(10e6 * step.Seconds()))
			if i > int(time.Second/step) && !near(m.Rate(), 10e6, 0.4) {
				t.Fatalf("step %v: rate %.0f at step %d", step, m.Rate(), i)
			}
		}
		if !near(m.Rate(), 10e6, 0.07) || !near(m.Mean(), 10e6, 0.001) || m.Total() != 200e6 {
			t.Errorf("step %v: rate %.0f, mean %.0f, total %d", step, m.Rate(), m.Mean(), m.Total())
		}
	}
}

func TestAFirstBurstIsNoEndlessRate(t *testing.T) {
	c := newClock()
	m := NewMeter(c.now)
	if m.Rate() != 0 || m.Mean() != 0 {
		t.Error("a rate out of nothing")
	}
	m.Add(64 << 10)
	c.pass(time.Millisecond)
	if r := m.Rate(); r > 300e3 {
		t.Errorf("rate %.0f after 64 KiB in 1 ms", r)
	}
}

func TestAStallShows(t *testing.T) {
	c := newClock()
	m := NewMeter(c.now)
	for range 100 {
		c.pass(100 * time.Millisecond)
		m.Add(1e6)
	}
	c.pass(5 * time.Second)
	if r := m.Rate(); r > 4e6 {
		t.Errorf("rate %.0f after 5 s of nothing", r)
	}
	c.pass(time.Minute)
	if r := m.Rate(); r > 1000 {
		t.Errorf("rate %.0f after 65 s of nothing", r)
	}
	c.pass(20 * time.Minute)
	if eta := m.ETA(1 << 30); eta >= 0 {
		t.Errorf("a time left of %v while nothing comes", eta)
	}
}

func TestETA(t *testing.T) {
	c := newClock()
	m := NewMeter(c.now)
	left := int64(100e6)
	if eta := m.ETA(left); eta >= 0 {
		t.Errorf("a time left of %v before anything came", eta)
	}
	for left > 0 {
		c.pass(100 * time.Millisecond)
		m.Add(1e6)
		left -= 1e6
		eta := m.ETA(left)
		want := time.Duration(float64(left) / 10e6 * 1e9)
		if m.Total() > 30e6 && left > 10e6 && (eta < want*85/100 || eta > want*115/100) {
			t.Fatalf("%d left: %v, want about %v", left, eta, want)
		}
	}
	if eta := m.ETA(0); eta != 0 {
		t.Errorf("%v left at the end", eta)
	}
	if eta := m.ETA(Unknown); eta >= 0 {
		t.Errorf("%v left of an unknown size", eta)
	}
}

// With a rate that jumps between a fifth and the whole each second, what is told
// never jumps by more than a few seconds from one moment to the next.
func TestETADoesNotJump(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		m := NewMeter(c.now)
		left := int64(2e9)
		last := time.Duration(-1)
		for range 60 {
			perTick := rapid.Int64Range(0.2e6, 1e6).Draw(t, "bytes")
			for range 10 {
				c.pass(100 * time.Millisecond)
				m.Add(perTick)
				left -= perTick
				eta := m.ETA(left)
				if last >= 0 && (eta > last+last/25+time.Second || eta < last-last/25-time.Second) {
					t.Fatalf("from %v to %v in 100 ms", last, eta)
				}
				last = eta
			}
		}
	})
}

// After a slow start the time left must not still tell of it when the end is near.
func TestETAForgetsASlowStart(t *testing.T) {
	c := newClock()
	m := NewMeter(c.now)
	left := int64(30e6)
	for range 15 {
		c.pass(100 * time.Millisecond)
		m.Add(20e3)
		left -= 20e3
		m.ETA(left)
	}
	for left > 3e6 {
		c.pass(100 * time.Millisecond)
		m.Add(500e3)
		left -= 500e3
		m.ETA(left)
	}
	if eta := m.ETA(left); eta > 2*time.Second {
		t.Errorf("%v for %d bytes at 5 MB/s", eta, left)
	}
}

// The rate does not depend on how the bytes are cut into calls.
func TestRateDoesNotDependOnCalls(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		whole, pieces := NewMeter(c.now), NewMeter(c.now)
		for range 30 {
			c.pass(time.Duration(rapid.IntRange(1, 2000).Draw(t, "ms")) * time.Millisecond)
			a, b := rapid.Int64Range(0, 1e9).Draw(t, "a"), rapid.Int64Range(0, 1e9).Draw(t, "b")
			whole.Add(a + b)
			pieces.Add(a)
			pieces.Add(b)
		}
		if d := math.Abs(whole.Rate() - pieces.Rate()); d > 1 {
			t.Fatalf("rates differ by %f", d)
		}
	})
}

func TestAClockThatGoesBackDoesNoHarm(t *testing.T) {
	c := newClock()
	m := NewMeter(c.now)
	c.pass(10 * time.Second)
	m.Add(1e6)
	c.pass(-time.Hour)
	m.Add(1e6)
	if r := m.Rate(); r < 0 || math.IsNaN(r) || math.IsInf(r, 0) || m.Mean() < 0 {
		t.Errorf("rate %f, mean %f", r, m.Mean())
	}
	_ = m.ETA(1e9)
}
