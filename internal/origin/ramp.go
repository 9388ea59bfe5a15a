package origin

import (
	"context"
	"time"

	"github.com/jumpget/jumpget/internal/job"
)

// defaultGain is what more connections have to bring to be kept.
const defaultGain = 1.15

const (
	settle = 5  // the most intervals to wait for a steady rate
	rest   = 30 // intervals before growth is tried again
)

// ramp measures whether more connections bring more bytes, and keeps as many
// as do. One connection that is the bottleneck, by its window or by loss,
// shows in that two bring twice as much; where the link is full, they don't.
func (t *transfer) ramp(ctx context.Context) {
	v := t.version
	if !v.join || !v.meta.Ranges || v.meta.Size == job.UnknownSize || t.r.f.cfg.MaxConns < 2 {
		return
	}
	m := &meter{t: t, tick: time.NewTicker(t.r.f.cfg.RampInterval)}
	defer m.tick.Stop()
	for {
		rate, ok := m.steady(ctx)
		if !ok || !t.climb(ctx, m, rate) {
			return
		}
		for range rest {
			if _, ok := m.rate(ctx); !ok {
				return
			}
		}
	}
}

// climb doubles the number of workers while that pays. It reports false when
// the transfer is over.
func (t *transfer) climb(ctx context.Context, m *meter, rate float64) bool {
	t.mu.Lock()
	t.ceiling = t.r.f.cfg.MaxConns // what it could not bear before, it may bear now
	t.mu.Unlock()
	for {
		before, grown := t.grow(ctx, rate)
		if !grown {
			return true
		}
		if _, ok := m.rate(ctx); !ok { // new connections take a while to get going
			return false
		}
		now, ok := m.rate(ctx)
		if !ok {
			return false
		}
		if now < rate*t.r.gain {
			t.shrink(before, rate)
			return true
		}
		rate = now
	}
}

// grow doubles the workers if the origin bears it and enough is left to do.
// It returns how many there were.
func (t *transfer) grow(ctx context.Context, rate float64) (before int, grown bool) {
	interval := t.r.f.cfg.RampInterval.Seconds()
	t.mu.Lock()
	defer t.mu.Unlock()
	before = t.active
	want := min(2*before, t.ceiling)
	left := t.todo.Len()
	if before == 0 || want <= before || t.r.noRanges || left < 2*t.segments.least || float64(left) < 4*interval*rate {
		return before, false
	}
	t.rate = rate / float64(before)
	if at, ok := t.lowest(); ok && t.stream != nil {
		// Keep out of the open answer's way while it is measured.
		t.reserved = at + min(int64(3*interval*rate), left/2)
	}
	t.want = want
	for t.active < want {
		t.active++
		t.workers.Go(func() { t.work(ctx, nil) })
	}
	t.r.most = max(t.r.most, t.active)
	return before, true
}

// shrink goes back to fewer workers; those that are too many leave when their
// segment is done.
func (t *transfer) shrink(want int, rate float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.want = max(1, min(want, t.want))
	t.rate = rate / float64(t.want)
}

// meter measures the transfer's rate over the ticker's intervals.
type meter struct {
	t    *transfer
	tick *time.Ticker
}

// rate waits for one interval and returns the bytes a second within it; false
// if the transfer ended.
func (m *meter) rate(ctx context.Context) (float64, bool) {
	start, had := time.Now(), m.t.gained.Load()
	select {
	case <-m.tick.C:
	case <-ctx.Done():
		return 0, false
	}
	return float64(m.t.gained.Load()-had) / max(time.Since(start).Seconds(), 1e-3), true
}

// steady waits until the rate has stopped rising, as it does while TCP starts.
func (m *meter) steady(ctx context.Context) (float64, bool) {
	last, ok := m.rate(ctx)
	for i := 1; ok && i < settle; i++ {
		var now float64
		if now, ok = m.rate(ctx); ok && now > 0 && now < last*1.25 {
			return (last + now) / 2, true
		}
		last = now
	}
	return last, ok
}
