package congestion

import (
	"testing"
	"time"
)

// drive sends bursts of 15 kB through a pacer whose caller wakes up a little
// late, for a second, and returns the bytes and the scheduled times.
func drive(p *pacer, late time.Duration) (int, []time.Duration) {
	const burst = 15_000
	sent := 0
	var at []time.Duration
	for now := time.Duration(0); now < time.Second; now = p.due(now, burst) + late {
		for p.available(now, burst) >= 1500 {
			at = append(at, p.spend(now, 1500, burst))
			sent += 1500
		}
	}
	return sent, at
}

func TestPacerKeepsTheRate(t *testing.T) {
	for _, late := range []time.Duration{0, time.Millisecond, 3 * time.Millisecond} {
		p := pacer{rate: 10e6}
		sent, _ := drive(&p, late)
		if sent < 9_900_000 || sent > 10_100_000 {
			t.Errorf("%v late, it sent %d bytes in a second at 10 MB/s", late, sent)
		}
	}
}

// Measured from their scheduled times, bursts are an even flow.
func TestScheduleIsEven(t *testing.T) {
	p := pacer{rate: 10e6}
	_, at := drive(&p, 200*time.Microsecond)
	for i := 100; i < len(at)-1; i++ {
		if gap := at[i+1] - at[i]; gap < 100*time.Microsecond || gap > 400*time.Microsecond {
			t.Fatalf("packets %d and %d are %v apart instead of 150 µs", i, i+1, gap)
		}
	}
}

func TestPacerSavesLittleUp(t *testing.T) {
	p := pacer{rate: 10e6}
	if n := p.available(time.Minute, 15_000); n != catchUp*15_000 {
		t.Errorf("after a minute %d bytes may go at once", n)
	}
	p.idle(time.Minute, 15_000)
	if n := p.available(time.Minute, 15_000); n != 15_000 {
		t.Errorf("after an idle minute %d bytes may go at once", n)
	}
	// A rate that falls takes nothing back from the first train.
	train := pacer{rate: 10e6, tokens: 96_000}
	if n := train.available(time.Millisecond, 15_000); n < 96_000 {
		t.Errorf("%d bytes of the train are left", n)
	}
}

func TestRingKeepsWhatItMust(t *testing.T) {
	var r ring
	for n := range uint64(5000) {
		r.keep = n - min(n, 3000)
		r.add(record{number: n, size: 1500, state: flying})
		if n >= 2000 {
			r.settle(r.get(n-2000), acked)
		}
	}
	for n := uint64(2000); n < 5000; n++ {
		if rec := r.get(n); rec == nil || rec.number != n {
			t.Fatalf("packet %d is forgotten", n)
		}
	}
	if r.get(5000) != nil || (&ring{}).get(0) != nil {
		t.Error("it knows of a packet that was never sent")
	}
	if r.flying != 2000*1500 {
		t.Errorf("%d bytes are flying", r.flying)
	}
	if len(r.slots) > 8192 {
		t.Errorf("it grew to %d records", len(r.slots))
	}
	if rec := r.get(2500); r.settle(rec, lost) {
		t.Error("an acknowledged packet was given up")
	}
	if rec := r.get(4999); !r.settle(rec, lost) || !r.settle(rec, acked) || r.flying != 1999*1500 {
		t.Error("a packet that was given up can't be acknowledged")
	}
}

// points makes a train of n packets sent at once that arrive at a rate in bytes/s.
func points(n int, rate float64) train {
	var t train
	for i := range uint64(n) {
		t.points = append(t.points, point{number: i, arrived: time.Second + seconds(float64(i)*1500/rate)})
	}
	return t
}

func TestTrain(t *testing.T) {
	for _, rate := range []float64{250e3, 1e6, 20e6} {
		tr := points(64, rate)
		if got := tr.rate(1500); got < 0.97*rate || got > 1.03*rate {
			t.Errorf("%.0f bytes/s are taken for %.0f", rate, got)
		}
	}
	// A third of it comes in one clump after a stall of the link.
	stalled := points(64, 5e6)
	for i := 20; i < 40; i++ {
		stalled.points[i].arrived = stalled.points[39].arrived
	}
	if got := stalled.rate(1500); got < 3e6 || got > 10e6 {
		t.Errorf("with a stall 5 MB/s are taken for %.0f bytes/s", got)
	}
	// Sent no faster than it arrived, it shows only that the path is at least so fast.
	slow := points(64, 2e6)
	for i := range slow.points {
		slow.points[i].sent = slow.points[i].arrived - time.Second
	}
	if got, plain := slow.rate(1500), slow.plain(1500); got != 0 || plain < 1.9e6 || plain > 2.1e6 {
		t.Errorf("without dispersion it gives %.0f, plainly %.0f bytes/s", got, plain)
	}
	if got := (&train{}).rate(1500); got != 0 {
		t.Errorf("no train gives %.0f bytes/s", got)
	}
}
