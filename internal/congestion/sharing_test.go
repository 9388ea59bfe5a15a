package congestion

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/linksim"
	"github.com/jumpget/jumpget/lab/profile"
)

const (
	clean    = "clean rate=100M rtt=50ms"
	bloated  = "bloated rate=10M rtt=60ms loss=0.005 queue=10"
	shallow  = "shallow rate=100M rtt=100ms loss=0.02 queue=0.1"
	bad      = "bad rate=100M rtt=200ms loss=0.05"
	extreme  = "extreme rate=20M rtt=300ms loss=0.3"
	policed  = "policed rate=200M rtt=100ms loss=0.01 police=50M,64k"
	deep     = "deep rate=10M rtt=60ms queue=10"
	lossless = "lossless rate=100M rtt=100ms queue=0.1"
	jittery  = "jittery rate=50M rtt=40ms jitter=10ms loss=0.02"
)

// A CUBIC flow keeps at least 30 % of what it would reach alone, whoever came
// first. On lossy links that is little: CUBIC's own fault.
func TestCubicKeepsItsShare(t *testing.T) {
	for _, line := range []string{clean, bloated, deep, shallow, "mild rate=100M rtt=100ms loss=0.01", "short rate=100M rtt=50ms queue=0.3"} {
		p := parse(t, line)
		alone := cubicAlone(p)
		for _, first := range []string{"ours", "cubic", "neither"} {
			t.Run(p.Name+"/"+first+" first", func(t *testing.T) {
				ours, cubic := besideCubic(t, p, first)
				t.Logf("ours %.1f %%, CUBIC %.1f %%, alone it has %.1f %%", 100*ours, 100*cubic, 100*alone)
				if cubic < 0.3*alone {
					t.Errorf("CUBIC keeps %.0f %% of what it has alone", 100*cubic/alone)
				}
				if ours+cubic < 0.9 {
					t.Errorf("together they use %.0f %%", 100*(ours+cubic))
				}
				if ours < 0.08 {
					t.Errorf("ours is starved: %.1f %%", 100*ours)
				}
			})
		}
	}
}

func cubicAlone(p profile.Profile) float64 {
	path := linksim.NewPath(p, 1)
	c := path.NewCubic(0)
	path.Sim.Run(10 * time.Second)
	before := c.Bytes
	path.Sim.Run(40 * time.Second)
	return float64(c.Bytes-before) * 8 / 30 / p.Limit()
}

// besideCubic returns both flows' shares from 10 to 40 s after the second began.
func besideCubic(t *testing.T, p profile.Profile, first string) (ours, cubic float64) {
	path := linksim.NewPath(p, 1)
	var late, cubicAt time.Duration
	switch first {
	case "ours":
		cubicAt = 5 * time.Second
	case "cubic":
		late = 5 * time.Second
	}
	f := newFlow(path, flowOptions{start: late, trace: tracer(t)})
	c := path.NewCubic(cubicAt)
	path.Sim.Run(15 * time.Second)
	before, cubicBefore := f.Bytes, c.Bytes
	path.Sim.Run(45 * time.Second)
	return f.share(before, 30*time.Second, p), float64(c.Bytes-cubicBefore) * 8 / 30 / p.Limit()
}

// together runs n flows, each starting so much after the one before, and
// returns their shares from 10 to 50 s after the last began, their mean queue
// in round trips, and the share of packets that did not fit the queue.
func together(t *testing.T, p profile.Profile, n int, apart time.Duration, seed uint64) (shares []float64, queue, drops float64) {
	path := linksim.NewPath(p, seed)
	all := make([]*flow, n)
	for i := range all {
		all[i] = newFlow(path, flowOptions{start: time.Duration(i) * apart, id: int(seed)*n + i})
	}
	all[0].c.cfg.Trace = tracer(t)
	path.Sim.Run(10*time.Second + time.Duration(n-1)*apart)
	before := make([]int, n)
	for i, f := range all {
		before[i] = f.Bytes
	}
	path.Down.ResetStats()
	path.Sim.Run(path.Sim.Now() + 40*time.Second)
	for i, f := range all {
		shares = append(shares, f.share(before[i], 40*time.Second, p))
	}
	stats := path.Down.Stats()
	return shares, inRTT(stats.MeanQueue(), p), dropped(stats)
}

// Which of two flows has more, and by how much, is partly chance: so several
// runs, and their mean has to be good.
func TestTwoFlowsShare(t *testing.T) {
	const runs = 3
	for _, line := range []string{clean, bloated, deep, shallow, lossless, bad, extreme, policed, jittery} {
		p := parse(t, line)
		for _, apart := range []time.Duration{0, 7 * time.Second} {
			t.Run(fmt.Sprintf("%s/%v apart", p.Name, apart), func(t *testing.T) {
				var least []float64
				for seed := range uint64(runs) {
					shares, queue, drops := together(t, p, 2, apart, seed+1)
					t.Logf("%.1f %% and %.1f %%, queue %.2f RTT, dropped %.1f %%", 100*shares[0], 100*shares[1], queue, 100*drops)
					least = append(least, slices.Min(shares))
					if shares[0]+shares[1] < 0.93 {
						t.Errorf("together they use %.1f %%", 100*(shares[0]+shares[1]))
					}
					if queue > 0.3 || drops > 0.07 {
						t.Errorf("the queue is %.2f RTT and %.1f %% do not fit it", queue, 100*drops)
					}
				}
				if mean(least) < 0.4 || slices.Min(least) < 0.33 {
					t.Errorf("the lesser has %.3f", least)
				}
			})
		}
	}
}

// Many flows may take long to share evenly, but they must not drown the link
// and none may starve.
func TestManyFlowsGetAlong(t *testing.T) {
	for _, line := range []string{clean, bad, deep} {
		p := parse(t, line)
		for _, n := range []int{4, 8} {
			t.Run(fmt.Sprintf("%s/%d", p.Name, n), func(t *testing.T) {
				shares, queue, drops := together(t, p, n, 3*time.Second, 1)
				fair := 1 / float64(n)
				t.Logf("%.3f of %.3f each, queue %.2f RTT, dropped %.1f %%", shares, fair, queue, 100*drops)
				if slices.Min(shares) < 0.1*fair {
					t.Errorf("one gets %.1f %%", 100*slices.Min(shares))
				}
				if sum := mean(shares) * float64(n); sum < 0.9 || drops > 0.1 {
					t.Errorf("together they use %.1f %% and lose %.1f %%", 100*sum, 100*drops)
				}
			})
		}
	}
}

// The longer way has the stronger hand, for its target queue is longer, but the
// shorter is not starved.
func TestDifferentRoundTripsShare(t *testing.T) {
	p := parse(t, "mild rate=100M rtt=40ms loss=0.01")
	path := linksim.NewPath(p, 1)
	near := newFlow(path, flowOptions{trace: tracer(t)})
	far := newFlow(path, flowOptions{further: 80 * time.Millisecond, id: 1})
	path.Sim.Run(10 * time.Second)
	nearBefore, farBefore := near.Bytes, far.Bytes
	path.Sim.Run(50 * time.Second)
	n, f := near.share(nearBefore, 40*time.Second, p), far.share(farBefore, 40*time.Second, p)
	t.Logf("40 ms: %.1f %%, 120 ms: %.1f %%", 100*n, 100*f)
	if min(n, f) < 0.15 || n+f < 0.93 {
		t.Errorf("40 ms gets %.1f %%, 120 ms %.1f %%", 100*n, 100*f)
	}
}
