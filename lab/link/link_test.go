package link_test

import (
	"math"
	"testing"
	"time"

	"github.com/jumpget/jumpget/lab/link"
)

const packet = 1500

// flood offers packets at twice the link's rate for d and returns their fates.
func flood(l *link.Link, rate float64, d time.Duration) []link.Fate {
	gap := time.Duration(packet * 8e9 / (2 * rate))
	var fates []link.Fate
	for at := time.Duration(0); at < d; at += gap {
		fates = append(fates, l.Send(at, packet, false))
	}
	return fates
}

// trickle offers n packets far below the link's rate.
func trickle(l *link.Link, n int, udp bool) []link.Fate {
	fates := make([]link.Fate, n)
	for i := range fates {
		fates[i] = l.Send(time.Duration(i)*time.Millisecond, packet, udp)
	}
	return fates
}

func count(fates []link.Fate, v link.Verdict) int {
	n := 0
	for _, f := range fates {
		if f.Verdict == v {
			n++
		}
	}
	return n
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.Abs(got-want) > tolerance {
		t.Errorf("%s: got %.6g, want %.6g ± %.3g", what, got, want, tolerance)
	}
}

func TestRate(t *testing.T) {
	const rate = 100e6
	l := link.New(link.Config{Rate: rate, Queue: 100_000, Delay: 10 * time.Millisecond}, 1)
	fates := flood(l, rate, time.Second)
	var last time.Duration
	for _, f := range fates {
		last = max(last, f.At)
	}
	got := float64(count(fates, link.Delivered)) * packet * 8 / (last - 10*time.Millisecond).Seconds()
	near(t, "rate", got, rate, rate*.001)
}

func TestDelay(t *testing.T) {
	l := link.New(link.Config{Rate: 12e6, Delay: 50 * time.Millisecond}, 1)
	f := l.Send(time.Second, packet, false)
	// 1500 bytes at 12 Mbit/s are one millisecond on the wire.
	if want := time.Second + 51*time.Millisecond; f.At != want {
		t.Errorf("leaves at %v, want %v", f.At, want)
	}
}

func TestQueueHoldsItsBytesAndNoMore(t *testing.T) {
	l := link.New(link.Config{Rate: 12e6, Queue: 10 * packet}, 1)
	var fates []link.Fate
	for range 30 {
		fates = append(fates, l.Send(0, packet, false))
	}
	// The first goes straight to the wire but counts until it has left.
	if got := count(fates, link.Delivered); got != 10 {
		t.Errorf("%d packets fit in a queue of 10", got)
	}
	if f := fates[9]; f.Waited != 9*time.Millisecond {
		t.Errorf("the tenth waited %v, want 9ms", f.Waited)
	}
	if f := l.Send(time.Millisecond, packet, false); f.Verdict != link.Delivered {
		t.Errorf("after one packet's time there is room for one again, got %v", f.Verdict)
	}
}

func TestLossWithinItsBinomialInterval(t *testing.T) {
	for _, p := range []float64{.001, .01, .05, .3} {
		const n = 200_000
		// One seed in a hundred falls outside by the interval's own meaning; 1 does not.
		l := link.New(link.Config{Loss: p}, 1)
		got := float64(count(trickle(l, n, false), link.DropLoss))
		near(t, "losses", got, n*p, 2.576*math.Sqrt(n*p*(1-p)))
	}
}

func TestBurstLengths(t *testing.T) {
	b := link.Burst{Enter: .00658, Leave: .125, Lose: 1}
	const n = 400_000
	fates := trickle(link.New(link.Config{Burst: b}, 3), n, false)
	lost, bursts := 0, 0
	for i, f := range fates {
		if f.Verdict != link.DropLoss {
			continue
		}
		lost++
		if i == 0 || fates[i-1].Verdict != link.DropLoss {
			bursts++
		}
	}
	near(t, "mean burst", float64(lost)/float64(bursts), 1/b.Leave, .5)
	near(t, "share lost", float64(lost)/n, b.Mean(), .003)
	near(t, "mean loss", b.Mean(), .05, .0005)
}

func TestPolicer(t *testing.T) {
	cfg := link.Config{Rate: 200e6, Queue: 1 << 20, Police: link.Bucket{Rate: 50e6, Depth: 64_000}}
	fates := flood(link.New(cfg, 1), 200e6, time.Second)
	got := float64(count(fates, link.Delivered)) * packet * 8
	near(t, "policed bits in a second", got, 50e6+64_000*8, 50e6*.01)
	first := 0
	for fates[first].Verdict == link.Delivered {
		first++
	}
	if first < 64_000/packet {
		t.Errorf("the bucket let %d packets through at once, want at least %d", first, 64_000/packet)
	}
}

func TestUDPBlockedOrThrottled(t *testing.T) {
	blocked := link.New(link.Config{NoUDP: true}, 1)
	if got := count(trickle(blocked, 100, true), link.DropUDP); got != 100 {
		t.Errorf("%d of 100 UDP packets dropped", got)
	}
	if got := count(trickle(blocked, 100, false), link.Delivered); got != 100 {
		t.Errorf("%d of 100 other packets delivered", got)
	}
	throttled := link.New(link.Config{UDP: link.Bucket{Rate: 2e6}}, 1)
	// 12 Mbit/s of UDP are offered for ten seconds.
	got := float64(count(trickle(throttled, 10_000, true), link.Delivered)) * packet * 8 / 10
	near(t, "UDP rate", got, 2e6, 2e6*.05)
}

func TestSameSeedSameLosses(t *testing.T) {
	cfg := link.Config{Rate: 10e6, Loss: .1, Burst: link.Burst{Enter: .01, Leave: .2, Lose: .9}, Jitter: time.Millisecond, Reorder: .01}
	a, b, c := trickle(link.New(cfg, 5), 1000, false), trickle(link.New(cfg, 5), 1000, false), trickle(link.New(cfg, 6), 1000, false)
	differ := 0
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("packet %d: %+v and %+v with one seed", i, a[i], b[i])
		}
		if a[i].Verdict != c[i].Verdict {
			differ++
		}
	}
	if differ == 0 {
		t.Error("another seed gives the same losses")
	}
}

func TestJitterNeverOvertakes(t *testing.T) {
	l := link.New(link.Config{Delay: 20 * time.Millisecond, Jitter: 15 * time.Millisecond}, 2)
	var last time.Duration
	for i, f := range trickle(l, 5000, false) {
		sent := time.Duration(i) * time.Millisecond
		if f.At < last || f.At < sent+20*time.Millisecond || f.At > sent+35*time.Millisecond && f.At != last {
			t.Fatalf("packet %d, sent at %v, leaves at %v after %v", i, sent, f.At, last)
		}
		last = f.At
	}
}

func TestChangeInMidRun(t *testing.T) {
	l := link.New(link.Config{Rate: 100e6}, 1)
	l.Send(0, packet, false)
	l.Change(link.Config{Rate: 1e6})
	f := l.Send(time.Second, packet, false)
	if want := time.Second + 12*time.Millisecond; f.At != want {
		t.Errorf("leaves at %v, want %v", f.At, want)
	}
	l.Change(link.Config{Down: true})
	if f := l.Send(2*time.Second, packet, false); f.Verdict != link.DropDown {
		t.Errorf("got %v while the link is gone", f.Verdict)
	}
}

func TestMTUBlackHole(t *testing.T) {
	l := link.New(link.Config{MTU: 1280}, 1)
	if f := l.Send(0, 1281, true); f.Verdict != link.DropMTU {
		t.Errorf("1281 bytes: %v", f.Verdict)
	}
	if f := l.Send(0, 1280, true); f.Verdict != link.Delivered {
		t.Errorf("1280 bytes: %v", f.Verdict)
	}
}

func TestLimit(t *testing.T) {
	c := link.Config{Rate: 200e6, Police: link.Bucket{Rate: 50e6}, Loss: .1, Burst: link.Burst{Enter: .1, Leave: .4, Lose: .5}}
	near(t, "limit", c.Limit(), 50e6*.9*.9, 1)
}

func BenchmarkSend(b *testing.B) {
	l := link.New(link.Config{Rate: 1e9, Queue: 1 << 20, Delay: time.Millisecond, Loss: .01, Jitter: time.Microsecond}, 1)
	b.ReportAllocs()
	for i := range b.N {
		l.Send(time.Duration(i)*12*time.Microsecond, packet, true)
	}
}
