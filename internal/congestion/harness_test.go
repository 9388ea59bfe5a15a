package congestion

import (
	"fmt"
	"math"
	"os"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/linksim"
	"github.com/jumpget/jumpget/lab/link"
	"github.com/jumpget/jumpget/lab/profile"
)

// report is what a flow did on a link, as shares of what the link can carry.
type report struct {
	start  float64 // share in the first 20 round trips, at least 3 s
	steady float64 // share in the 20 s after
	queue  float64 // mean wait for the wire in the 20 s, in round trips
	drops  float64 // share of packets that a queue or a policer dropped
	acks   float64 // upstream bytes for each downstream byte
}

func (r report) String() string {
	return fmt.Sprintf("start %5.1f %%, steady %5.1f %%, queue %.3f RTT, dropped %4.1f %%, acks %.2f %%",
		100*r.start, 100*r.steady, r.queue, 100*r.drops, 100*r.acks)
}

const steadyTime = 20 * time.Second

// measure runs one flow on a link.
func measure(p profile.Profile, seed uint64, opt flowOptions) report {
	path := linksim.NewPath(p, seed)
	f := newFlow(path, opt)
	warm := max(3*time.Second, 20*p.RTT)
	path.Sim.Run(warm)
	r := report{start: f.share(0, warm, p)}
	before, acksBefore := f.Bytes, f.ackBytes
	path.Down.ResetStats()
	path.Sim.Run(warm + steadyTime)
	stats := path.Down.Stats()
	r.steady = f.share(before, steadyTime, p)
	r.queue = inRTT(stats.MeanQueue(), p)
	r.drops = dropped(stats)
	r.acks = float64(f.ackBytes-acksBefore) / float64(max(f.Bytes-before, 1))
	return r
}

// share is what has arrived since so many bytes had, as a share of the limit.
func (f *flow) share(since int, d time.Duration, p profile.Profile) float64 {
	return float64(f.Bytes-since) * 8 / d.Seconds() / limit(p)
}

// limit is the most bit/s that can arrive by UDP.
func limit(p profile.Profile) float64 {
	if udp := p.Down.UDP.Rate; udp > 0 {
		return udp * (1 - p.Down.MeanLoss())
	}
	return p.Limit()
}

func inRTT(d time.Duration, p profile.Profile) float64 { return d.Seconds() / p.RTT.Seconds() }

// dropped is the share of packets that did not get as far as the wire.
func dropped(s linksim.Stats) float64 {
	return float64(s.Drops[link.DropQueue]+s.Drops[link.DropPolice]+s.Drops[link.DropUDP]) / float64(max(s.Offered, 1))
}

func parse(t *testing.T, line string) profile.Profile {
	t.Helper()
	p, err := profile.ParseLine(line)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// tracer prints what the controller thinks if JUMPGET_SIM_TRACE is set, for the
// curious: go test -v -run 'TestProfiles/seed' with JUMPGET_SIM_TRACE=1.
func tracer(t *testing.T) func(Round) {
	if os.Getenv("JUMPGET_SIM_TRACE") == "" {
		return nil
	}
	return func(r Round) {
		mbps := func(rate float64) float64 { return rate * 8e-6 }
		ms := func(d time.Duration) float64 { return d.Seconds() * 1e3 }
		t.Logf("%9.1f ms %-7v > %-7v sent %6.1f arrived %6.1f lost %5.3f own %5.3f queue %6.1f noise %4.1f RTT %6.1f base %6.1f rate %6.1f pace %6.1f flying %4.0f of %4.0f kB limited %-5v crowded %v",
			ms(r.At), r.State, r.Now, mbps(r.Sent), mbps(r.Arrived), r.Loss, r.PathLoss, ms(r.Queue), ms(r.Noise),
			ms(r.RTT), ms(r.BaseRTT), mbps(r.Capacity), mbps(r.Pace), float64(r.InFlight)/1e3, float64(r.Window)/1e3, r.Limited, r.Crowded)
	}
}

// rates samples how fast a flow's bytes arrive, in steps, as shares of a rate
// in bit/s.
func rates(path *linksim.Path, f *flow, step time.Duration, steps int, rate float64) []float64 {
	out := make([]float64, steps)
	for i := range out {
		before := f.Bytes
		path.Sim.Run(path.Sim.Now() + step)
		out[i] = float64(f.Bytes-before) * 8 / step.Seconds() / rate
	}
	return out
}

func mean(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / math.Max(float64(len(x)), 1)
}
