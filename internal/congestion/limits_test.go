package congestion

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/linksim"
)

// A relay that passes on what a slow origin gives it must neither forget what
// the path can carry nor believe in more.
func TestSlowSource(t *testing.T) {
	p := parse(t, "mild rate=100M rtt=100ms loss=0.01")
	sources := map[string]func(now time.Duration) int{
		"steady": func(now time.Duration) int { return int(10e6 / 8 * now.Seconds()) },
		"gusty":  func(now time.Duration) int { return 1_000_000 * int(1+now/time.Second) },
		"late": func(now time.Duration) int {
			if now < 5*time.Second {
				return 200_000
			}
			return 1 << 40
		},
	}
	for name, source := range sources {
		t.Run(name, func(t *testing.T) {
			const free = 12 * time.Second // from here on there is plenty
			path := linksim.NewPath(p, 1)
			f := newFlow(path, flowOptions{trace: tracer(t), supply: func(now time.Duration) int {
				if now >= free {
					return 1 << 40
				}
				return source(now)
			}})
			path.Sim.Run(free)
			if f.c.rate > 1.3*p.Down.Rate/8 {
				t.Errorf("it believes in %.0f Mbit/s", f.c.rate*8e-6)
			}
			if name != "late" {
				if got, want := f.Bytes, source(free-p.RTT); float64(got) < 0.97*float64(want) {
					t.Errorf("%d bytes arrived of %d", got, want)
				}
			}
			share := rates(path, f, p.RTT, 25, limit(p))
			t.Logf("%.2f", share)
			if mean(share[15:]) < 0.9 {
				t.Errorf("with plenty to send it comes to %.2f", share)
			}
		})
	}
}

func TestMemoryHelpsAndDoesNoHarm(t *testing.T) {
	p := parse(t, "wide rate=900M rtt=150ms")
	early := func(before Path) (share, drops float64) {
		path := linksim.NewPath(p, 1)
		f := newFlow(path, flowOptions{known: before})
		path.Sim.Run(10 * p.RTT)
		return f.share(0, 10*p.RTT, p), dropped(path.Down.Stats())
	}
	none, _ := early(Path{})
	for name, before := range map[string]Path{
		"right":        {Rate: 900e6 / 8, RTT: p.RTT},
		"another path": {Rate: 5e9 / 8, RTT: 20 * time.Millisecond},
		"far too much": {Rate: 9e9 / 8, RTT: p.RTT},
		"too little":   {Rate: 1e6 / 8, RTT: p.RTT},
	} {
		share, drops := early(before)
		t.Logf("%s: %.3f of the first ten round trips, without %.3f", name, share, none)
		if share < none-0.15 || drops > 0.7 {
			t.Errorf("%s: %.3f instead of %.3f, dropped %.2f", name, share, none, drops)
		}
		if name == "right" && share < none+0.05 {
			t.Errorf("a right memory brings %.3f instead of %.3f", share, none)
		}
	}
	// Where the first train shows the bottleneck, nobody need remember it.
	p = parse(t, "bad rate=100M rtt=200ms loss=0.05")
	if _, drops := early(Path{Rate: 2e9 / 8, RTT: p.RTT}); drops > 0.02 {
		t.Errorf("a wrong memory drops %.2f", drops)
	}
}

// A path that is now ten times slower than what is remembered takes little more
// harm than from a flow that remembers nothing, and the deep queue of a home
// router does not fill.
func TestRememberedPathIsTenTimesSlower(t *testing.T) {
	for _, line := range []string{
		"deep   rate=10M rtt=60ms loss=0.005 queue=10",
		"usual  rate=10M rtt=100ms loss=0.02 queue=2",
		"tight  rate=10M rtt=100ms loss=0.02 queue=0.5",
		"thin   rate=2M rtt=60ms queue=10",
	} {
		p := parse(t, line)
		before := Path{Rate: 10 * p.Down.Rate / 8, RTT: p.RTT}
		early := func(known Path) (share float64, s linksim.Stats) {
			path := linksim.NewPath(p, 1)
			f := newFlow(path, flowOptions{known: known, trace: tracer(t)})
			path.Sim.Run(20 * p.RTT)
			return f.share(0, 20*p.RTT, p), path.Down.Stats()
		}
		none, without := early(Path{})
		share, with := early(before)
		full := time.Duration(float64(p.Down.Queue) * 8 / p.Down.Rate * float64(time.Second))
		t.Logf("%s: %.2f of 20 round trips, %.2f without; queue at most %v of %v, %v without; dropped %.3f, %.3f without", p.Name,
			share, none, with.MaxWait, full, without.MaxWait, dropped(with), dropped(without))
		if share < none-0.05 {
			t.Errorf("%s: a memory that is wrong costs %.3f", p.Name, none-share)
		}
		if p.Name == "deep" && with.MaxWait > full*3/4 {
			t.Errorf("%s: the first flight fills the queue", p.Name)
		}
		if more := dropped(with) - dropped(without); more > 0.12 {
			t.Errorf("%s: a wrong memory drops %.3f more", p.Name, more)
		}
	}
}

func TestPathIsRemembered(t *testing.T) {
	p := parse(t, "seed rate=20M rtt=250ms loss=0.08")
	path := linksim.NewPath(p, 1)
	f := newFlow(path, flowOptions{})
	if got := f.c.Path(); got != (Path{}) {
		t.Errorf("before the first packet it remembers %+v", got)
	}
	path.Sim.Run(10 * time.Second)
	got := f.c.Path()
	if got.Rate < 18e6/8 || got.Rate > 22e6/8 || got.RTT < 245*time.Millisecond || got.RTT > 275*time.Millisecond {
		t.Errorf("it remembers %.1f Mbit/s and %v", got.Rate*8e-6, got.RTT)
	}
	if loss := f.c.Loss(); loss < 0.05 || loss > 0.11 {
		t.Errorf("the path's own loss is taken for %.3f", loss)
	}
}

// Whatever order events come in, the bytes in flight are those of packets that
// were neither acknowledged nor given up.
func TestInFlight(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	c := New(Config{})
	state := map[uint64]fate{}
	now := time.Duration(0)
	next := uint64(0)
	for range 20_000 {
		now += time.Duration(rnd.IntN(2000)) * time.Microsecond
		switch rnd.IntN(4) {
		case 0, 1:
			next += uint64(1 + rnd.IntN(3)) // numbers may be left out
			c.OnSent(now, next, 1500)
			state[next] = flying
		case 2:
			n := next - uint64(rnd.IntN(300))
			c.OnAck(Ack{Now: now, Left: now - 10*time.Millisecond, Samples: []Sample{{Number: n, Arrived: now - 12*time.Millisecond, Timed: rnd.IntN(2) == 0}}})
			if _, sent := state[n]; sent {
				state[n] = acked
			}
		case 3:
			n := next - uint64(rnd.IntN(300))
			c.OnLost(now, []uint64{n})
			if state[n] == flying {
				state[n] = lost
			}
		}
	}
	want := 0
	for _, s := range state {
		if s == flying {
			want += 1500
		}
	}
	if got := c.InFlight(); got != want {
		t.Errorf("%d bytes in flight, want %d", got, want)
	}
}

// Packets given up too early and acknowledged after all are no loss.
func TestSpuriousLoss(t *testing.T) {
	p := parse(t, "mild rate=50M rtt=80ms")
	path := linksim.NewPath(p, 1)
	f := newFlow(path, flowOptions{trace: tracer(t)})
	f.hasty = true
	path.Sim.Run(4 * time.Second)
	before := f.Bytes
	path.Sim.Run(14 * time.Second)
	if share := f.share(before, 10*time.Second, p); share < 0.93 {
		t.Errorf("it carries %.1f %%", 100*share)
	}
	if loss := f.c.Loss(); loss > 0.01 {
		t.Errorf("the path's own loss is taken for %.3f", loss)
	}
}

func TestTraceTellsWhatHappens(t *testing.T) {
	p := parse(t, "mild rate=100M rtt=100ms loss=0.01")
	seen := map[State]int{}
	last := time.Duration(-1)
	measure(p, 1, flowOptions{trace: func(r Round) {
		seen[r.State]++
		if r.At < last || r.Sent <= 0 || r.Loss < 0 || r.Loss > 1 || r.Queue < 0 || r.InFlight < 0 || r.Pace <= 0 {
			t.Fatalf("%+v after %v", r, last)
		}
		last = r.At
	}})
	for _, s := range []State{Init, Startup, Drain, Cruise, Up, Down} {
		if seen[s] == 0 {
			t.Errorf("no round of %v", s)
		}
	}
	if s := Stalled.String(); s != "stalled" {
		t.Errorf("the last state is called %q", s)
	}
}

func TestSmallPackets(t *testing.T) {
	p := parse(t, "mild rate=40M rtt=100ms loss=0.01")
	r := measure(p, 1, flowOptions{perPack: 1228})
	if r.steady < 0.93 || r.queue > 0.2 {
		t.Errorf("with packets of 1228 bytes: %v", r)
	}
	c := New(Config{})
	c.SetMaxPacket(9000)
	if c.Burst() < 9000 || c.Window() < 9000 {
		t.Errorf("a burst of %d and a window of %d do not hold a packet", c.Burst(), c.Window())
	}
}
