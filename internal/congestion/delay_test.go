package congestion

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// The fits of pieces merged are the fit of the whole.
func TestMergedFitsAreTheWhole(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		slope := rnd.Float64() - 0.3
		var whole, merged, piece fit
		for i := range 5 + rnd.IntN(200) {
			v := 1000 + float64(i)*0.001
			d := 0.05 + slope*float64(i)*0.001 + 0.0001*rnd.NormFloat64()
			whole.add(v, d)
			if piece.add(v, d); rnd.IntN(7) == 0 {
				merged.merge(piece)
				piece = fit{}
			}
		}
		merged.merge(piece)
		if math.Abs(whole.slope()-merged.slope()) > 1e-6 || math.Abs(whole.residual()-merged.residual()) > 1e-7 || whole.n != merged.n {
			t.Fatalf("whole %+v, merged %+v", whole, merged)
		}
		if whole.n > 100 && math.Abs(whole.slope()-slope) > 0.05 {
			t.Fatalf("a slope of %.3f is taken for %.3f", slope, whole.slope())
		}
	}
	if s := (&fit{}).slope(); s != 0 {
		t.Errorf("nothing has a slope of %g", s)
	}
}

// block20 is a block of 20 samples from a delay that is a function of time.
func block20(seq uint64, at float64, delay func(at float64) float64) block {
	b := block{seq: seq, state: Cruise, start: seconds(at), end: seconds(at + 0.02), bytes: 30_000}
	b.loss.packets = 20
	for i := range 20 {
		v := at + float64(i)*0.001
		b.timed.add(v, delay(v))
		b.rtt += (0.1 + delay(v) - b.rtt) / b.timed.n
	}
	return b
}

// A queue that grows and shrinks evenly is no noise; jitter is.
func TestNoise(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 2))
	noise := func(delay func(at float64) float64) float64 {
		d := newDelays()
		for i := range uint64(60) {
			b := block20(i, 0.02*float64(i), delay)
			d.close(&b, seconds(0.02*float64(i)))
		}
		return d.noise()
	}
	if n := noise(func(at float64) float64 { return 0.3 * at }); n > 2*noiseFloor {
		t.Errorf("a ramp is taken for noise of %g s", n)
	}
	want := 0.01 / math.Sqrt(12) / math.Sqrt(20)
	if n := noise(func(float64) float64 { return 0.01 * rnd.Float64() }); n < 0.6*want || n > 1.6*want {
		t.Errorf("jitter with %g s left in a block's mean is taken for %g", want, n)
	}
}

func TestQueueIsMeasuredFromTheFloor(t *testing.T) {
	d := newDelays()
	at, seq := 0.0, uint64(0)
	for _, queue := range []float64{0, 0, 0.03, 0.01} {
		at += 0.02
		seq++
		b := block20(seq, at, func(float64) float64 { return queue })
		d.close(&b, seconds(at))
		if math.Abs(b.queue-queue) > 1e-6 {
			t.Errorf("a queue of %g s is taken for %g", queue, b.queue)
		}
	}
	if base := d.base(); math.Abs(base-0.1) > 1e-6 {
		t.Errorf("the base is taken for %g s", base)
	}
	// The receiver's clock runs away: the round trip does not follow.
	for range 50 {
		at += 0.02
		seq++
		b := block20(seq, at, func(at float64) float64 { return 0.01 * at })
		b.rtt = 0.1
		d.close(&b, seconds(at))
		if b.queue > clockSlack {
			t.Fatalf("a clock that runs away makes a queue of %g s", b.queue)
		}
	}
}

func TestReadingKnowsTheBottleneck(t *testing.T) {
	var blocks []block
	for i := range 4 {
		// Sent at 1.5 MB/s through 1.25 MB/s: the delay grows by 0.2 s per second.
		blocks = append(blocks, block20(uint64(i), 0.02*float64(i), func(at float64) float64 { return 0.2 * at }))
	}
	r := read(blocks, noiseFloor, 20)
	if math.Abs(r.sent-1.5e6) > 1e3 || math.Abs(r.arrived()-1.25e6) > 1e3 {
		t.Errorf("sent %.0f, arrived %.0f", r.sent, r.arrived())
	}
	if r.err <= 0 || r.err > 0.01 {
		t.Errorf("the standard error is %g", r.err)
	}
	if r := read(nil, 1, 1); r.blocks != 0 || r.arrived() != 0 {
		t.Errorf("nothing reads as %+v", r)
	}
}

func TestFloorForgets(t *testing.T) {
	f := newFloor()
	f.add(1)
	f.rotate(2*time.Second, time.Second)
	f.add(3)
	if f.value() != 1 {
		t.Errorf("after one half it is %g", f.value())
	}
	f.rotate(4*time.Second, time.Second)
	if f.value() != 3 {
		t.Errorf("after two it is %g", f.value())
	}
	f.rotate(9*time.Second, time.Second)
	if f.value() != 3 {
		t.Errorf("a half without a sample makes it %g", f.value())
	}
}

func TestSamplesThatMakeNoSense(t *testing.T) {
	d := newDelays()
	ms := time.Millisecond
	if _, _, ok := d.sample(0, 0, 50*ms, 40*ms, 100*ms); ok {
		t.Error("an acknowledgement that left before the packet came is taken")
	}
	if _, _, ok := d.sample(0, 0, 50*ms, 500*ms, 100*ms); ok {
		t.Error("a round trip that is negative is taken")
	}
	d.sample(0, 0, 50*ms, 52*ms, 102*ms)
	one, rtt, ok := d.sample(10*ms, 10*ms, time.Hour+61*ms, time.Hour+62*ms, 111*ms)
	if !ok || math.Abs(one) > 0.01 || math.Abs(rtt-0.1) > 0.001 {
		t.Errorf("after the clock was set: %g and %g s, %v", one, rtt, ok)
	}
}
