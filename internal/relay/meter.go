package relay

import (
	"sync"
	"time"
)

// meter measures the rate of arriving bytes over the last seconds.
type meter struct {
	mu      sync.Mutex
	start   time.Time // of the first bytes
	buckets [meterSpan]struct {
		second int64
		bytes  int64
	}
}

const meterSpan = 5 // seconds

func (m *meter) add(now time.Time, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.start.IsZero() {
		m.start = now
	}
	s := now.Unix()
	b := &m.buckets[uint64(s)%meterSpan] // a clock that is far off may be before 1970
	if b.second != s {
		b.second, b.bytes = s, 0
	}
	b.bytes += int64(n)
}

// rate returns bytes a second.
func (m *meter) rate(now time.Time) float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	var sum int64
	for _, b := range m.buckets {
		if age := now.Unix() - b.second; age >= 0 && age < meterSpan {
			sum += b.bytes
		}
	}
	// The current second has only begun, so the window is 4 to 5 seconds long.
	window := time.Duration(meterSpan-1)*time.Second + time.Duration(now.Nanosecond())
	if since := now.Sub(m.start); since < window {
		window = max(since, 100*time.Millisecond)
	}
	return float64(sum) / window.Seconds()
}
