package contest

import (
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/schedule"
)

const ms = time.Millisecond

// duel runs a governor in virtual time over two paths with rates of their own,
// in bytes a second, behind one bottleneck.
type duel struct {
	g          Governor
	udp, tcp   func(now time.Duration) float64 // what each could do alone
	link       func(now time.Duration) float64 // what both have together
	rtt        time.Duration
	answers    time.Duration // when UDP answers; 0: never
	brought    Bytes
	size       int64
	sized      time.Duration // when the size is told; before, left is not known
	history    []State
	lastUDP    time.Duration
	overlapped time.Duration // for how long TCP was let work fully beside an answering UDP
}

func forever(rate float64) func(time.Duration) float64 {
	return func(time.Duration) float64 { return rate }
}

// run returns how long the file took.
func (d *duel) run(t *testing.T) time.Duration {
	t.Helper()
	d.g.udp, d.g.tcp = true, true
	const step = 10 * time.Millisecond
	for now := step; now < 10*time.Minute; now += step {
		up := d.answers > 0 && now >= d.answers
		s := Sight{Bytes: d.brought, Ticket: step, RTT: d.rtt, Up: up, Left: d.size - d.brought.UDP - d.brought.TCP}
		if now < d.sized {
			s.Left = -1
		}
		if up && d.lastUDP > 0 {
			s.Silent = now - d.lastUDP - step
		}
		udp, tcp := d.g.Look(now, s)
		if n := len(d.history); n == 0 || d.history[n-1] != d.g.state {
			d.history = append(d.history, d.g.state)
		}
		var u, c float64
		if up && udp != schedule.None {
			u = d.udp(now)
		}
		switch {
		case now < 2*d.rtt || tcp == schedule.None:
		case tcp == schedule.Cautious: // one small piece for each connection, and no more
			if d.brought.TCP < 512e3 {
				c = min(d.tcp(now), 512e3/(3*d.rtt.Seconds()))
			}
		default:
			c = d.tcp(now)
		}
		if up && tcp == schedule.Full && udp == schedule.Full {
			d.overlapped += step
		}
		if both := u + c; both > d.link(now) {
			u, c = u*d.link(now)/both, c*d.link(now)/both
		}
		if u > 0 {
			d.lastUDP = now
		}
		d.brought.UDP += int64(u * step.Seconds())
		d.brought.TCP += int64(c * step.Seconds())
		if d.brought.UDP+d.brought.TCP >= d.size {
			return now
		}
	}
	t.Fatalf("it never ends: %+v, %v", d.brought, d.history)
	return 0
}

func mbit(n float64) float64 { return n * 1e6 / 8 }

func TestUDPWorksAlone(t *testing.T) {
	for name, rate := range map[string]float64{"fast": mbit(100), "ordinary": mbit(20), "slow": mbit(2)} {
		t.Run(name, func(t *testing.T) {
			d := &duel{
				udp: forever(rate), tcp: forever(rate * 0.8), link: forever(rate), rtt: 200 * time.Millisecond,
				answers: 220 * time.Millisecond, size: int64(rate * 30),
			}
			took := d.run(t)
			if took > 32*time.Second {
				t.Errorf("took %v for 30 s of work: %v", took, d.history)
			}
			if d.g.state != Alone || !d.g.served() {
				t.Errorf("ended in state %d: %v", d.g.state, d.history)
			}
			if d.overlapped > 4*time.Second {
				t.Errorf("both worked for %v", d.overlapped)
			}
		})
	}
}

// Whether a comparison pays depends on how much is left, and that is often known a
// moment later; but the contest does not wait without end.
func TestSizeThatIsToldLater(t *testing.T) {
	rate := mbit(100)
	for name, c := range map[string]struct {
		sized   time.Duration
		seconds float64
		overlap bool
	}{"soon": {time.Second, 5, false}, "never": {time.Hour, 30, true}} {
		d := &duel{
			udp: forever(rate), tcp: forever(rate * 0.8), link: forever(rate), rtt: 50 * time.Millisecond,
			answers: 60 * time.Millisecond, size: int64(rate * c.seconds), sized: c.sized,
		}
		d.run(t)
		if (d.overlapped > 0) != c.overlap {
			t.Errorf("told %s: both worked for %v: %v", name, d.overlapped, d.history)
		}
	}
}

// Behind a deep queue TCP crowds UDP out. That makes it no better: both together
// bring what UDP brought alone.
func TestTCPThatCrowdsUDPOut(t *testing.T) {
	rate := mbit(10)
	d := &duel{
		udp: forever(rate), tcp: forever(20 * rate), link: forever(rate), rtt: 60 * time.Millisecond,
		answers: 70 * time.Millisecond, size: int64(rate * 30),
	}
	d.run(t)
	if d.g.state != Alone || d.overlapped == 0 {
		t.Errorf("ended in state %d after %v of both: %v", d.g.state, d.overlapped, d.history)
	}
}

func TestBlockedUDPCostsNothing(t *testing.T) {
	rate := mbit(50)
	d := &duel{udp: forever(0), tcp: forever(rate), link: forever(rate), rtt: 200 * time.Millisecond, size: int64(rate * 20)}
	if took := d.run(t); took > 21100*time.Millisecond {
		t.Errorf("took %v for 20 s of work", took)
	}
	if d.g.served() {
		t.Error("UDP is trusted the next time")
	}
}

// The operator throttles UDP to 2 Mbit/s; TCP would have 50.
func TestThrottledUDPIsBeaten(t *testing.T) {
	rate := mbit(50)
	d := &duel{
		udp: forever(mbit(2)), tcp: forever(rate * 0.9), link: forever(rate), rtt: 200 * time.Millisecond,
		answers: 220 * time.Millisecond, size: int64(rate * 20),
	}
	took := d.run(t)
	if took > 26*time.Second || d.g.state != Beaten {
		t.Errorf("took %v for 22 s of TCP's work, ended in state %d: %v", took, d.g.state, d.history)
	}
}

// What failed the last time is not waited for the next time, but gets its chance
// again after some runs, or where it works after all.
func TestFailuresAreRemembered(t *testing.T) {
	rate := mbit(50)
	none, slow := time.Duration(0), 220*time.Millisecond
	tests := []struct {
		name    string
		answers time.Duration
		udp     float64
		known   float64 // before
		after   float64 // 1: a rate
		took    time.Duration
	}{
		{"blocked", none, 0, 0, -1, 21100 * time.Millisecond},
		{"blocked again", none, 0, -1, -2, 20450 * time.Millisecond},
		{"blocked many times", none, 0, -failedBefore, 0, 20450 * time.Millisecond},
		{"blocked now", none, 0, rate, -1, 21200 * time.Millisecond},
		{"throttled", slow, mbit(2), 0, -1, 26 * time.Second},
		{"throttled again", slow, mbit(2), -1, -2, 22 * time.Second},
		{"better again", slow, rate, -1, 1, 23 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := &duel{
				g: Governor{known: tt.known}, udp: forever(tt.udp), tcp: forever(rate), link: forever(rate),
				rtt: 200 * time.Millisecond, answers: tt.answers, size: int64(rate * 20),
			}
			took := d.run(t)
			after := d.g.Learned(took, Sight{Bytes: d.brought, Ticket: ms, RTT: d.rtt}, tt.known, 1)
			if after > 0 {
				after = 1
			}
			if took > tt.took || after != tt.after {
				t.Errorf("took %v, then %.0f is known: %v", took, after, d.history)
			}
		})
	}
}

func TestUDPThatIsThrottledLater(t *testing.T) {
	rate := mbit(50)
	d := &duel{
		udp: func(now time.Duration) float64 {
			if now > 10*time.Second {
				return mbit(2)
			}
			return rate
		},
		tcp: forever(rate * 0.9), link: forever(rate), rtt: 100 * time.Millisecond,
		answers: 110 * time.Millisecond, size: int64(rate * 60),
	}
	if took := d.run(t); took > 80*time.Second || d.g.state != Beaten {
		t.Errorf("took %v for about 66 s of work, ended in state %d: %v", took, d.g.state, d.history)
	}
}

func TestBlackholedUDP(t *testing.T) {
	rate := mbit(50)
	d := &duel{
		udp: func(now time.Duration) float64 {
			if now > 5*time.Second {
				return 0
			}
			return rate
		},
		tcp: forever(rate), link: forever(rate), rtt: 200 * time.Millisecond,
		answers: 220 * time.Millisecond, size: int64(rate * 20),
	}
	if took := d.run(t); took > 22*time.Second {
		t.Errorf("took %v for 20 s of work: %v", took, d.history)
	}
}

// Where something limits each path for itself, both together are the best.
func TestPathsThatAddUp(t *testing.T) {
	d := &duel{
		udp: forever(mbit(4)), tcp: forever(mbit(8)), link: forever(mbit(100)), rtt: 100 * time.Millisecond,
		answers: 110 * time.Millisecond, size: int64(mbit(12) * 60),
	}
	if took := d.run(t); took > 70*time.Second || d.g.state != Shared {
		t.Errorf("took %v for 60 s of work, ended in state %d: %v", took, d.g.state, d.history)
	}
}

func TestOnePathAllowed(t *testing.T) {
	g := Governor{udp: true}
	if udp, tcp := g.Look(time.Second, Sight{}); udp != schedule.Full || tcp != schedule.None {
		t.Errorf("UDP only: %d, %d", udp, tcp)
	}
	g = Governor{tcp: true}
	if udp, tcp := g.Look(time.Second, Sight{}); udp != schedule.None || tcp != schedule.Full {
		t.Errorf("TCP only: %d, %d", udp, tcp)
	}
}

// A relay that waits for a slow origin tells nothing about its paths.
func TestWaitingForTheOriginProvesNothing(t *testing.T) {
	g := Governor{udp: true, tcp: true}
	var s Sight
	s.Ticket, s.RTT, s.Up, s.Left = 1, 100*time.Millisecond, true, 1<<30
	s.TCP = 1 << 20
	for now := time.Duration(0); now < 20*time.Second; now += 50 * time.Millisecond {
		s.UDP += 1000
		s.Waiting = true
		if _, tcp := g.Look(now, s); now > time.Second && tcp == schedule.Full {
			t.Fatalf("after %v TCP is let in fully", now)
		}
	}
}

// TCP is preferred nearby, but not when it dies.
func TestNearbyTCPThatDies(t *testing.T) {
	g := Governor{udp: true, tcp: true, near: Nearby}
	var s Sight
	s.Ticket, s.RTT, s.Up, s.Left = 1, time.Millisecond/2, true, 1<<30
	s.TCP = 1 << 20
	if udp, tcp := g.Look(100*time.Millisecond, s); udp != schedule.None || tcp != schedule.Full {
		t.Fatalf("nearby: %d, %d", udp, tcp)
	}
	for now := 200 * time.Millisecond; now < 5*time.Second; now += 100 * time.Millisecond {
		g.Look(now, s)
	}
	if udp, _ := g.Look(5*time.Second, s); udp != schedule.Full {
		t.Errorf("TCP is dead, and UDP may not: %v", g.state)
	}
}

// A small file over a throttled UDP must not make the next run believe that so
// little is all that the link can do.
func TestWhatASmallFileTeaches(t *testing.T) {
	slow := func(known float64, size int64) *duel {
		d := &duel{
			udp: forever(mbit(2)), tcp: forever(mbit(40)), link: forever(mbit(50)), rtt: 200 * time.Millisecond,
			answers: 210 * time.Millisecond, size: size,
		}
		d.g.known = known
		return d
	}
	first := slow(0, 20e3)
	took := first.run(t)
	known := first.g.Learned(took, Sight{Bytes: first.brought, Ticket: 1}, 0, 20e3/took.Seconds())
	if known != 0 {
		t.Errorf("a file of 20 kB taught %v bytes a second", known)
	}
	next := slow(known, 10e6)
	if took := next.run(t); took > 10*time.Second {
		t.Errorf("10 MB took %v, TCP alone needs 2 s: %v", took, next.history)
	}
}

// What a comparison has shown is told, and what was known stays where there
// was none.
func TestWhatIsLearned(t *testing.T) {
	d := &duel{
		udp: forever(mbit(20)), tcp: forever(mbit(10)), link: forever(mbit(20)), rtt: 100 * time.Millisecond,
		answers: 110 * time.Millisecond, size: int64(mbit(20) * 60),
	}
	took := d.run(t)
	s := Sight{Bytes: d.brought, Ticket: 1}
	if got := d.g.Learned(took, s, 0, mbit(15)); d.g.tested == 0 || got < mbit(15) {
		t.Errorf("after a comparison that UDP won: %v bytes a second", got)
	}
	short := &duel{udp: d.udp, tcp: d.tcp, link: d.link, rtt: d.rtt, answers: d.answers, size: 1e6}
	took = short.run(t)
	if got := short.g.Learned(took, Sight{Bytes: short.brought, Ticket: 1}, mbit(18), mbit(5)); got != mbit(18) {
		t.Errorf("a short run made %v of what was known", got)
	}
}

// A comparison costs up to 2 s of the link. A UDP that nothing speaks against is
// spared it unless much more is left; one beside which TCP's first bytes come as
// fast is not.
func TestWhoIsCompared(t *testing.T) {
	d := &duel{
		udp: forever(mbit(95)), tcp: forever(mbit(50)), link: forever(mbit(95)), rtt: 100 * time.Millisecond,
		answers: 110 * time.Millisecond, size: 200e6,
	}
	if d.run(t); d.overlapped > 0 {
		t.Errorf("17 s of work, and TCP worked beside UDP for %v: %v", d.overlapped, d.history)
	}
	d = &duel{
		udp: forever(mbit(4)), tcp: forever(mbit(40)), link: forever(mbit(50)), rtt: 100 * time.Millisecond,
		answers: 110 * time.Millisecond, size: 10e6, // 20 s at UDP's rate
	}
	if took := d.run(t); took > 8*time.Second {
		t.Errorf("10 MB took %v beside a throttled UDP: %v", took, d.history)
	}
}

// A sender over UDP that TCP has squeezed finds its old rate again only after
// several round trips. It must not be taken for slow before that.
func TestUDPThatRecoversSlowly(t *testing.T) {
	var free, rate float64 // since when TCP lets it be, and what it does
	d := &duel{
		tcp: forever(mbit(40)), link: forever(mbit(20)), rtt: 250 * time.Millisecond,
		answers: 260 * time.Millisecond, size: int64(mbit(20) * 120),
	}
	rate = mbit(15) // it is still growing when the comparison begins
	d.udp = func(now time.Duration) float64 {
		switch d.g.state {
		case Comparing:
			rate, free = mbit(8), 0
		case Checking:
			if free++; free > 150 { // of 10 ms
				rate = mbit(20)
			}
		}
		return rate
	}
	took := d.run(t)
	if d.g.state != Alone || took > 130*time.Second {
		t.Errorf("took %v, and ended as %v: %v", took, d.g.state, d.history)
	}
}

// A policer for everything drops most of what UDP tries at its start. That makes
// it no throttled UDP: TCP would only take its room.
func TestLossesOfThePolicedStart(t *testing.T) {
	g := Governor{udp: true, tcp: true}
	s := Sight{Ticket: 1, RTT: 100 * time.Millisecond, Up: true, Loss: 0.8, Left: 60e6}
	for now := 10 * time.Millisecond; now < 2*time.Second; now += 10 * time.Millisecond {
		s.UDP += 60e3 // 6 MB/s
		s.TCP = 128 << 10
		s.Left -= 60e3
		if _, tcp := g.Look(now, s); tcp == schedule.Full {
			t.Fatalf("after %v TCP is let in: %v", now, g.state)
		}
	}
	if g.state != Alone {
		t.Errorf("it ends as %v", g.state)
	}
}

// A small file that TCP brings before UDP has answered says nothing about UDP.
func TestAFileTooSmallToJudge(t *testing.T) {
	for _, last := range []float64{0, -2, mbit(10)} {
		g := Governor{udp: true, tcp: true, known: last}
		s := Sight{Ticket: 300 * time.Millisecond, Left: 1000}
		for now := 310 * time.Millisecond; now < 900*time.Millisecond; now += 10 * time.Millisecond {
			g.Look(now, s)
		}
		s.TCP, s.Left = 1000, 0
		if got := g.Learned(900*time.Millisecond, s, last, 0); got != last {
			t.Errorf("%v became %v", last, got)
		}
		if got := g.Learned(3*time.Second, s, last, 0); got >= 0 {
			t.Errorf("after 2.7 s without an answer: %v", got)
		}
	}
}
