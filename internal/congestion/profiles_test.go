package congestion

import (
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/linksim"
	"github.com/jumpget/jumpget/lab/profile"
)

// Every link that JumpGet is measured on, told nothing about it.
func TestProfiles(t *testing.T) {
	for _, p := range profile.All() {
		if p.Down.NoUDP {
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			r := measure(p, 1, flowOptions{trace: tracer(t)})
			t.Log(r)
			if r.steady < 0.93 {
				t.Errorf("it carries %.1f %% of what it can", 100*r.steady)
			}
			if r.queue > 0.2 {
				t.Errorf("the mean queue is %.2f RTT", r.queue)
			}
			if r.start < 0.85 {
				t.Errorf("the first 20 round trips came to %.1f %%", 100*r.start)
			}
			if r.drops > 0.13 {
				t.Errorf("%.1f %% of the packets overflowed", 100*r.drops)
			}
		})
	}
}

// What the emulator has no row for.
func TestOtherLinks(t *testing.T) {
	for _, line := range []string{
		"jitter    rate=150M rtt=60ms loss=0.03 jitter=15ms             | where the first trial was weakest",
		"shaky     rate=20M rtt=20ms jitter=20ms                        | jitter as long as the round trip",
		"reordered rate=100M rtt=80ms loss=0.02 reorder=0.05            | neighbours change places",
		"uplink    rate=100M rtt=40ms loss=0.01 up-rate=2500k           | an uplink 40 times thinner",
		"far       rate=12M rtt=600ms loss=0.02                         | a satellite",
		"near      rate=300M rtt=10ms                                   | the next town",
		"thin      rate=2M rtt=40ms loss=0.02 queue=4                   | a village",
		"clumps    rate=60M rtt=120ms burst=0.00619,0.025,1             | bursts of 40, a fifth lost",
		"deaf      rate=50M rtt=100ms loss=0.02 up-loss=0.5             | every second acknowledgement lost",
		"tight     rate=80M rtt=50ms police=30M,16k                     | a policer with a small bucket",
		"loose     rate=80M rtt=50ms loss=0.1 police=60M,1M             | one with a large bucket, on a lossy link",
	} {
		p := parse(t, line)
		t.Run(p.Name, func(t *testing.T) {
			r := measure(p, 1, flowOptions{trace: tracer(t)})
			t.Log(r)
			if r.steady < 0.9 {
				t.Errorf("it carries %.1f %% of what it can", 100*r.steady)
			}
			if r.queue > 0.3 && p.RTT > 20*time.Millisecond {
				t.Errorf("the mean queue is %.2f RTT", r.queue)
			}
			if r.drops > 0.1 {
				t.Errorf("%.1f %% of the packets overflowed", 100*r.drops)
			}
		})
	}
}

// The receiver's clock may be far off, run fast or slow, or be set.
func TestReceiversClock(t *testing.T) {
	p := parse(t, "mild rate=100M rtt=100ms loss=0.01")
	for name, opt := range map[string]flowOptions{
		"fast":          {drift: 500e-6},
		"slow":          {drift: -500e-6},
		"set forwards":  {step: 24 * time.Hour, stepAt: 6 * time.Second},
		"set backwards": {step: -24 * time.Hour, stepAt: 6 * time.Second},
		"set a little":  {step: 30 * time.Millisecond, stepAt: 6 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			opt.trace = tracer(t)
			r := measure(p, 1, opt)
			t.Log(r)
			if r.steady < 0.93 || r.queue > 0.2 {
				t.Errorf("a clock that is %s takes it to %.1f %% with a queue of %.2f RTT", name, 100*r.steady, r.queue)
			}
		})
	}
}

// On a busy machine the sender wakes late again and again.
func TestBusySender(t *testing.T) {
	for _, line := range []string{
		"bad     rate=100M rtt=200ms loss=0.05",
		"bloated rate=10M rtt=60ms loss=0.005 queue=10",
		"bursty  rate=100M rtt=150ms burst=0.00658,0.125,1",
	} {
		p := parse(t, line)
		r := measure(p, 1, flowOptions{trace: tracer(t), stalls: 0.1})
		t.Log(p.Name, r)
		if r.steady < 0.95 || r.queue > 0.2 {
			t.Errorf("%s: it carries %.1f %% with a queue of %.2f RTT", p.Name, 100*r.steady, r.queue)
		}
	}
}

// A Wi-Fi receiver gets and acknowledges packets in clumps: the uplink holds
// acknowledgements back and lets them go together.
func TestAcknowledgementsInClumps(t *testing.T) {
	p := parse(t, "mild rate=100M rtt=100ms loss=0.01")
	path := linksim.NewPath(p, 1)
	var held []func()
	path.Up.Mangle = func(q linksim.Packet, pass func(linksim.Packet)) {
		if len(held) == 0 {
			path.Sim.At(path.Sim.Now()+30*time.Millisecond, func() {
				for _, release := range held {
					release()
				}
				held = held[:0]
			})
		}
		held = append(held, func() { pass(q) })
	}
	f := newFlow(path, flowOptions{trace: tracer(t)})
	path.Sim.Run(4 * time.Second)
	before := f.Bytes
	path.Down.ResetStats()
	path.Sim.Run(20 * time.Second)
	share, queue := f.share(before, 16*time.Second, p), inRTT(path.Down.Stats().MeanQueue(), p)
	t.Logf("steady %.1f %%, queue %.3f RTT", 100*share, queue)
	if share < 0.93 || queue > 0.25 {
		t.Errorf("it carries %.1f %% with a queue of %.2f RTT", 100*share, queue)
	}
}
