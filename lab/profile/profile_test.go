package profile

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestBuiltinProfiles(t *testing.T) {
	// Limits in Mbit/s, worked out by hand: rate x (1 - loss).
	want := map[string]float64{
		"clean": 100, "mild": 99, "bad": 95, "awful": 42.5, "extreme": 14, "seed": 18.4, "bursty": 95,
		"policed": 49.5, "noudp": 47.5, "udpslow": 47.5, "bloated": 9.95, "shallow": 98, "giga": 799.2,
	}
	all := All()
	if len(all) != len(want) {
		t.Errorf("%d profiles, want %d", len(all), len(want))
	}
	for _, p := range all {
		if got := p.Limit() / 1e6; math.Abs(got-want[p.Name]) > .01 {
			t.Errorf("%s: limit %.3f Mbit/s, want %.3f", p.Name, got, want[p.Name])
		}
		if p.About == "" {
			t.Errorf("%s does not say what it stands for", p.Name)
		}
	}
}

func TestWhatALineMeans(t *testing.T) {
	p, err := ParseLine("x rate=10M rtt=60ms loss=0.02 queue=10 up-rate=1M jitter=5ms udp=none | why")
	if err != nil {
		t.Fatal(err)
	}
	if p.Down.Rate != 10e6 || p.Up.Rate != 1e6 || p.Down.Delay != 30*time.Millisecond || p.Up.Delay != 30*time.Millisecond {
		t.Errorf("rates and delays: %+v", p)
	}
	if p.Down.Loss != .02 || p.Up.Loss != .01 {
		t.Errorf("loss %v down, %v up; upstream gets half", p.Down.Loss, p.Up.Loss)
	}
	if p.Down.Queue != 750_000 {
		t.Errorf("queue %d, want ten BDP of 75 kB", p.Down.Queue)
	}
	if !p.Up.NoUDP || !p.Down.NoUDP || p.Up.Jitter != 5*time.Millisecond || p.About != "why" {
		t.Errorf("%+v", p)
	}
}

func TestBadLines(t *testing.T) {
	for line, part := range map[string]string{
		"x rtt=10ms":                 "needs a rate",
		"x rate=10M rtt=10":          "missing unit",
		"x rate=fast rtt=10ms":       "not a rate",
		"x rate=1M rtt=1ms loss=2":   "not a share",
		"x rate=1M rtt=1ms colour=1": "unknown key",
		"x rate=1M rtt=1ms burst=1":  "3 numbers",
		"|":                          "a name",
	} {
		if _, err := ParseLine(line); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q: got %v, want an error with %q", line, err, part)
		}
	}
}

func TestUnknownNameListsTheKnown(t *testing.T) {
	_, err := Find("clean", "cleen")
	if err == nil || !strings.Contains(err.Error(), "cleen") || !strings.Contains(err.Error(), "giga") {
		t.Errorf("got %v", err)
	}
}

func TestRandomLinksAreRepeatableAndWithinBounds(t *testing.T) {
	var jitter, reorder, police, bursts int
	for seed := range uint64(400) {
		p := Random(seed)
		if again := Random(seed); again != p {
			t.Fatalf("seed %d gave two links", seed)
		}
		d := p.Down
		ratio := d.Rate / p.Up.Rate
		if d.Rate < 2e6 || d.Rate > 300e6 || p.RTT < 10*time.Millisecond || p.RTT > 600*time.Millisecond ||
			d.MeanLoss() > 0.3001 || d.Jitter > 20*time.Millisecond || d.Reorder > 0.05 ||
			d.Queue < 15_000 || ratio < 1 || ratio > 40 {
			t.Errorf("seed %d: %s", seed, p.About)
		}
		jitter += btoi(d.Jitter > 0)
		reorder += btoi(d.Reorder > 0)
		police += btoi(d.Police.Rate > 0)
		bursts += btoi(d.Burst.Enter > 0)
	}
	if jitter < 150 || reorder < 150 || police < 60 || bursts < 150 {
		t.Errorf("of 400 links %d jitter, %d reorder, %d police, %d lose in bursts", jitter, reorder, police, bursts)
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
