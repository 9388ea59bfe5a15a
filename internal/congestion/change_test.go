package congestion

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/linksim"
	"github.com/jumpget/jumpget/lab/link"
)

// changed runs a flow until it is steady, changes the link, and returns for
// each round trip after that the share of the new limit and the queue in round
// trips. phase moves the change within the controller's cycle.
func changed(t *testing.T, line string, phase int, change func(*link.Config)) (share, queue []float64) {
	p := parse(t, line)
	path := linksim.NewPath(p, uint64(1+phase))
	f := newFlow(path, flowOptions{trace: tracer(t)})
	path.Sim.Run(60*p.RTT + time.Duration(phase)*p.RTT*3/2)
	cfg := path.Down.Config()
	change(&cfg)
	path.Down.Change(cfg)
	for range 40 {
		path.Down.ResetStats()
		share = append(share, rates(path, f, p.RTT, 1, cfg.Limit())[0])
		queue = append(queue, inRTT(path.Down.Stats().MeanQueue(), p))
	}
	return share, queue
}

// first returns in which round trip a condition was first met, counting from 1.
func first(x []float64, met func(float64) bool) int {
	if i := slices.IndexFunc(x, met); i >= 0 {
		return i + 1
	}
	return len(x) + 1
}

var changing = []string{clean, bad, bloated, shallow, jittery, "seed rate=20M rtt=250ms loss=0.08"}

func TestRateHalves(t *testing.T) {
	for _, line := range changing {
		for phase := range 4 {
			t.Run(fmt.Sprintf("%.7s/%d", line, phase), func(t *testing.T) {
				share, queue := changed(t, line, phase, func(c *link.Config) { c.Rate /= 2 })
				longest := slices.Index(queue, slices.Max(queue[:12]))
				drained := longest + first(queue[longest:], func(q float64) bool { return q < 0.25 })
				t.Logf("longest queue %.1f RTT, drained after %d", queue[longest], drained)
				if drained > 10 {
					t.Errorf("the queue has drained after %d round trips: %.2f", drained, queue)
				}
				if got := mean(share[8:18]); got < 0.9 {
					t.Errorf("round trips 9 to 18 come to %.0f %%: %.2f", 100*got, share)
				}
			})
		}
	}
}

func TestRateDoubles(t *testing.T) {
	for _, line := range changing {
		for phase := range 4 {
			t.Run(fmt.Sprintf("%.7s/%d", line, phase), func(t *testing.T) {
				share, _ := changed(t, line, phase, func(c *link.Config) { c.Rate *= 2 })
				there := first(share, func(s float64) bool { return s >= 0.9 })
				t.Logf("90 %% of the new limit after %d round trips", there)
				if there > 20 {
					t.Errorf("90 %% of the new limit come after %d round trips: %.2f", there, share)
				}
			})
		}
	}
}

// Another route may be longer or shorter. A longer one looks like a queue that
// does not drain; it must cost little until the old base has expired.
func TestRouteChanges(t *testing.T) {
	p := parse(t, "mild rate=100M rtt=100ms loss=0.01")
	for _, delay := range []time.Duration{20 * time.Millisecond, 110 * time.Millisecond} {
		t.Run(fmt.Sprint(2*delay), func(t *testing.T) {
			path := linksim.NewPath(p, 1)
			f := newFlow(path, flowOptions{trace: tracer(t)})
			path.Sim.Run(8 * time.Second)
			cfg := path.Down.Config()
			cfg.Delay = 2*delay - p.RTT/2
			path.Down.Change(cfg)
			seconds := rates(path, f, time.Second, 30, p.Limit())
			path.Down.ResetStats()
			path.Sim.Run(path.Sim.Now() + 5*time.Second)
			queue := path.Down.Stats().MeanQueue()
			t.Logf("by second %.2f, base %v, queue %v", seconds, f.c.BaseRTT(), queue)
			if got := mean(seconds[1:]); got < 0.88 {
				t.Errorf("afterwards it carries %.0f %%: %.2f", 100*got, seconds)
			}
			if got := mean(seconds[20:]); got < 0.92 {
				t.Errorf("in the end it carries %.0f %%: %.2f", 100*got, seconds)
			}
			if base := f.c.BaseRTT(); base < 2*delay-5*time.Millisecond || base > 2*delay+15*time.Millisecond {
				t.Errorf("the base is taken for %v", base)
			}
			if queue > 30*time.Millisecond {
				t.Errorf("the queue is %v", queue)
			}
		})
	}
}

// The link's own loss may rise or fall: that is no congestion.
func TestLossChanges(t *testing.T) {
	for _, loss := range []float64{0.2, 0.005} {
		t.Run(fmt.Sprint(loss), func(t *testing.T) {
			share, _ := changed(t, bad, 0, func(c *link.Config) { c.Loss = loss })
			t.Logf("%.2f", share)
			if got := mean(share[2:]); got < 0.88 {
				t.Errorf("afterwards it carries %.0f %%: %.2f", 100*got, share)
			}
		})
	}
}

// The link is gone for a while and comes back.
func TestOutage(t *testing.T) {
	for _, long := range []time.Duration{500 * time.Millisecond, 3 * time.Second, 20 * time.Second} {
		t.Run(fmt.Sprint(long), func(t *testing.T) {
			p := parse(t, "mild rate=100M rtt=100ms loss=0.01")
			path := linksim.NewPath(p, 1)
			f := newFlow(path, flowOptions{trace: tracer(t)})
			path.Sim.Run(6 * time.Second)
			down, up := path.Down.Config(), path.Up.Config()
			gone := link.Config{Down: true}
			path.Down.Change(gone)
			path.Up.Change(gone)
			spent := f.spent
			path.Sim.Run(6*time.Second + long)
			if sent, most := f.spent-spent, 4*int(p.Down.Rate/8*p.RTT.Seconds()); sent > most {
				t.Errorf("%d bytes went into the void, the path holds %d", sent, most/4)
			}
			path.Down.Change(down)
			path.Up.Change(up)
			// Probes are up to sixteen times the patience apart.
			path.Sim.Run(path.Sim.Now() + min(2*long, 5*time.Second))
			seconds := rates(path, f, time.Second, 5, p.Limit())
			t.Logf("by second %.2f", seconds)
			if mean(seconds) < 0.85 {
				t.Errorf("afterwards it carries %.2f by second", seconds)
			}
		})
	}
}
