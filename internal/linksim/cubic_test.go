package linksim

import (
	"math"
	"testing"
	"time"

	"github.com/jumpget/jumpget/lab/profile"
)

func parse(t *testing.T, line string) profile.Profile {
	t.Helper()
	p, err := profile.ParseLine(line)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// share runs for a while after a warm-up and returns each flow's part of the rate.
func share(p *Path, rate float64, flows ...*Cubic) []float64 {
	p.Sim.Run(20 * time.Second)
	before := make([]int, len(flows))
	for i, f := range flows {
		before[i] = f.Bytes
	}
	p.Sim.Run(60 * time.Second)
	shares := make([]float64, len(flows))
	for i, f := range flows {
		shares[i] = float64(f.Bytes-before[i]) * 8 / 40 / rate
	}
	return shares
}

func TestCubicFillsACleanLink(t *testing.T) {
	path := NewPath(parse(t, "clean rate=100M rtt=50ms"), 1)
	got := share(path, 100e6, path.NewCubic(0))[0]
	if got < 0.95 || got > 1 {
		t.Errorf("alone it got %.2f of the rate", got)
	}
}

// The model of RFC 9438 section 5.2 and of Reno gives the rate under random loss.
func TestCubicUnderRandomLoss(t *testing.T) {
	for _, loss := range []float64{0.005, 0.02} {
		p := parse(t, "lossy rate=100M rtt=100ms")
		p.Down.Loss = loss
		path := NewPath(p, 1)
		got := share(path, 100e6, path.NewCubic(0))[0]
		window := math.Max(1.054*math.Pow(0.1/loss, 0.75), math.Sqrt(1.5/loss))
		want := window * 1500 * 8 / 0.1 / 100e6
		if got < 0.6*want || got > 1.6*want {
			t.Errorf("loss %g: %.4f of the rate, the model says %.4f", loss, got, want)
		}
	}
}

func TestTwoCubicsShare(t *testing.T) {
	path := NewPath(parse(t, "clean rate=50M rtt=50ms"), 1)
	got := share(path, 50e6, path.NewCubic(0), path.NewCubic(3*time.Second))
	if sum := got[0] + got[1]; sum < 0.93 || got[0] < 0.3 || got[1] < 0.3 {
		t.Errorf("the flows got %.2f and %.2f of the rate", got[0], got[1])
	}
}
