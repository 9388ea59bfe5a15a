package linksim

import (
	"slices"
	"testing"
	"time"

	"github.com/jumpget/jumpget/lab/link"
)

func TestTimersRunInOrder(t *testing.T) {
	sim := New()
	var got []string
	note := func(s string) func() { return func() { got = append(got, s) } }
	sim.At(2*time.Second, note("c"))
	sim.At(time.Second, note("a"))
	sim.At(time.Second, note("b"))
	stopped := sim.At(time.Second, note("stopped"))
	moved := sim.At(time.Millisecond, note("d"))
	stopped.Stop()
	moved.Set(3 * time.Second)
	sim.At(time.Minute, note("too late"))
	sim.Run(10 * time.Second)
	if want := []string{"a", "b", "c", "d"}; !slices.Equal(got, want) {
		t.Errorf("ran %v, want %v", got, want)
	}
	if sim.Now() != 10*time.Second {
		t.Errorf("the clock stands at %v", sim.Now())
	}
	if _, waits := moved.Waiting(); waits {
		t.Error("a timer that ran still waits")
	}
}

func TestTimerMaySetItselfAgain(t *testing.T) {
	sim := New()
	n := 0
	var timer *Timer
	timer = sim.NewTimer(func() {
		if n++; n < 5 {
			timer.Set(sim.Now() + time.Second)
		}
	})
	timer.Set(0)
	sim.Run(time.Minute)
	if n != 5 {
		t.Errorf("it ran %d times", n)
	}
}

// flood sends n packets at once and returns the numbers in order of arrival.
func flood(sim *Sim, p *Pipe, n int) []uint64 {
	var got []uint64
	for i := range n {
		p.Send(Packet{Size: 1500, Number: uint64(i), To: func(q Packet) { got = append(got, q.Number) }})
	}
	sim.Run(time.Minute)
	return got
}

func TestPipeKeepsRateQueueAndOrder(t *testing.T) {
	sim := New()
	p := sim.NewPipe(link.Config{Rate: 12e6, Queue: 30_000, Delay: 10 * time.Millisecond}, 1)
	got := flood(sim, p, 3000)
	// Twenty packets wait, and the one whose wire time has begun counts as waiting.
	if len(got) != 20 || !slices.IsSorted(got) {
		t.Errorf("%d packets arrived: %v", len(got), got)
	}
	if s := p.Stats(); s.Drops[link.DropQueue] != 2980 || s.MaxWait != 19*time.Millisecond {
		t.Errorf("stats are %+v", s)
	}
}

func TestPipeReorders(t *testing.T) {
	sim := New()
	p := sim.NewPipe(link.Config{Rate: 12e6, Reorder: 0.05}, 1)
	got := flood(sim, p, 4000)
	if len(got) != 4000 || slices.IsSorted(got) {
		t.Fatalf("%d packets arrived, in order: %v", len(got), slices.IsSorted(got))
	}
	slices.Sort(got)
	for i, n := range got {
		if n != uint64(i) {
			t.Fatalf("packet %d is missing", i)
		}
	}
}

func TestPipeMangles(t *testing.T) {
	sim := New()
	p := sim.NewPipe(link.Config{}, 1)
	p.Mangle = func(q Packet, pass func(Packet)) {
		switch q.Number % 3 {
		case 0:
			pass(q)
			pass(q)
		case 1:
			q.Number += 100
			pass(q)
		}
	}
	if got, want := flood(sim, p, 3), []uint64{0, 0, 101}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
