package congestion

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// count makes the tally of a stretch of packets, true for lost ones.
func count(lost []bool) tally {
	t := tally{packets: float64(len(lost))}
	run, seen := 0.0, false
	for _, l := range lost {
		if l {
			run++
			continue
		}
		if !seen {
			t.lead = run
		}
		seen = true
		t.run(run)
		run = 0
	}
	t.run(run)
	t.trail = run
	if !seen {
		t.lead = run
	}
	return t
}

// chain loses packets as a Gilbert-Elliott link does, and a share of the rest.
func chain(rnd *rand.Rand, n int, mean, burst, extra float64) []bool {
	lost := make([]bool, n)
	bad := false
	for i := range lost {
		if bad {
			bad = rnd.Float64() >= 1/burst
		} else {
			bad = rnd.Float64() < mean/(1-mean)/burst
		}
		lost[i] = bad || rnd.Float64() < extra
	}
	return lost
}

// However a stretch is cut, joining the pieces gives what counting it gives.
func TestJoinedTalliesAreTheWhole(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 500 {
		lost := chain(rnd, 1+rnd.IntN(120), 0.4*rnd.Float64(), 1+9*rnd.Float64(), 0)
		var joined tally
		for rest := lost; len(rest) > 0; {
			n := 1 + rnd.IntN(len(rest))
			joined.join(count(rest[:n]))
			rest = rest[n:]
		}
		if diff := cmp.Diff(count(lost), joined, cmp.AllowUnexported(tally{}), cmpopts.EquateApprox(0, 1e-9)); diff != "" {
			t.Fatalf("%v: whole against joined:\n%s", lost, diff)
		}
	}
}

// A link compared with itself is rarely found to be in excess, however it loses.
func TestOwnLossIsNoExcess(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 2))
	for _, link := range []struct{ mean, burst float64 }{{0, 1}, {0.01, 1}, {0.15, 1}, {0.3, 1.4}, {0.05, 8}, {0.04, 30}, {0.3, 40}} {
		wrong := 0
		for range 2000 {
			base := count(chain(rnd, 2000, link.mean, link.burst, 0))
			sample := count(chain(rnd, 60+rnd.IntN(600), link.mean, link.burst, 0))
			if sample.compare(&base).z > 4 {
				wrong++
			}
		}
		if wrong > 10 {
			t.Errorf("%.0f %% in bursts of %.0f: found in excess %d times of 2000", 100*link.mean, link.burst, wrong)
		}
	}
}

// A policer that takes a sixth is found, the sooner the fewer the link's own bursts.
func TestExcessIsFound(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 3))
	for _, link := range []struct {
		mean, burst float64
		packets     int
	}{{0, 1, 150}, {0.05, 1, 300}, {0.3, 1.4, 2500}, {0.05, 8, 800}, {0.3, 40, 1500}} {
		found, excess := 0, 0.0
		for range 500 {
			base := count(chain(rnd, 3000, link.mean, link.burst, 0))
			sample := count(chain(rnd, link.packets, link.mean, link.burst, 1.0/6))
			v := sample.compare(&base)
			excess += v.excess / 500
			if v.z > 2.5 {
				found++
			}
		}
		if found < 400 {
			t.Errorf("%.0f %% in bursts of %.0f: found %d times of 500", 100*link.mean, link.burst, found)
		}
		if math.Abs(excess-1.0/6) > 0.07 {
			t.Errorf("%.0f %% in bursts of %.0f: a sixth is taken for %.3f", 100*link.mean, link.burst, excess)
		}
	}
}

func TestOneBurstIsNoCongestion(t *testing.T) {
	base := count(make([]bool, 3000))
	sample := make([]bool, 120)
	for i := 20; i < 100; i++ {
		sample[i] = true
	}
	burst := count(sample)
	if v := burst.compare(&base); v.z > 0 || v.excess > 0 {
		t.Errorf("a burst of 80 packets of 120 is %+v", v)
	}
	for i := range sample {
		sample[i] = i%5 != 0
	}
	thinned := count(sample)
	if v := thinned.compare(&base); !math.IsInf(v.z, 1) {
		t.Errorf("four of five packets lost are %+v", v)
	}
}

func TestTalliesForgetAndReplace(t *testing.T) {
	rnd := rand.New(rand.NewPCG(4, 4))
	own := count(chain(rnd, 5000, 0.1, 1, 0))
	share := own.share()
	own.forget(1000)
	if own.packets != 1000 || math.Abs(own.share()-share) > 1e-9 {
		t.Errorf("forgetting left %.0f packets and %.3f instead of %.3f", own.packets, own.share(), share)
	}
	same := own
	same.replace(count(chain(rnd, 500, 0.1, 1, 0)))
	if same.packets != 1500 {
		t.Errorf("an agreeing sample leaves %.0f packets", same.packets)
	}
	own.replace(count(chain(rnd, 500, 0.3, 1, 0)))
	if own.packets != 500 || own.share() < 0.25 {
		t.Errorf("a clearly different sample leaves %.0f packets and %.3f", own.packets, own.share())
	}
}
