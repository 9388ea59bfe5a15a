package conns

import (
	"testing"
	"time"
)

const (
	ms   = time.Millisecond
	tick = 100 * ms // between two calls of Observe
)

// TestConnectionCount runs the counter on links where the rate depends on the
// number of connections in known ways.
func TestConnectionCount(t *testing.T) {
	each := func(n int) float64 { return float64(n) }
	tests := []struct {
		name  string
		fixed int
		last  int
		queue bool // the link shows one when it is full
		full  int  // so many connections fill it
		lasts time.Duration
		rate  func(n int) float64
		want  int
	}{
		{"each brings its own", 0, 0, false, 99, 15 * time.Second, each, 32},
		{"eight fill the link", 0, 0, false, 8, 15 * time.Second, func(int) float64 { return 8 }, 8},
		{"sixteen fill the link", 0, 0, false, 16, 15 * time.Second, func(n int) float64 { return float64(min(n, 16)) }, 16},
		{"sixteen fill it, with a queue", 0, 0, true, 16, 15 * time.Second, func(n int) float64 { return float64(min(n, 16)) }, 16},
		{"eight fill it, with a queue, for long", 0, 0, true, 8, 100 * time.Second, func(n int) float64 { return float64(min(n, 8)) }, 8},
		{"another network needed more", 0, 32, true, 5, 100 * time.Second, func(n int) float64 { return float64(min(n, 5)) }, 8},
		{"a thin link holds few", 0, 32, true, 1, 15 * time.Second, func(int) float64 { return 0.5 }, fewest},
		{"the user knows better", 3, 0, false, 99, 15 * time.Second, each, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := New(tt.fixed, Served{tt.last, 100 * ms})
			bytes, n := 0.0, c.n
			for now := time.Duration(0); now < tt.lasts; now += tick {
				bytes += tt.rate(n) * 1e6 * tick.Seconds()
				f := Flow{Bytes: int64(bytes), RTT: 100 * ms, Now: 100 * ms}
				if tt.queue && n >= tt.full {
					f.Now = 180 * ms
				}
				n = c.Observe(now, f)
			}
			if c.Proven() != tt.want {
				t.Errorf("ended with %d, want %d", c.Proven(), tt.want)
			}
		})
	}
}

// TestConnectionsOnTrialAreNotRemembered runs short downloads one after the
// other, each starting with what the one before has left.
func TestConnectionsOnTrialAreNotRemembered(t *testing.T) {
	last := 0
	for run := range 10 {
		c := New(0, Served{last, 20 * ms})
		tried := false
		for now := time.Duration(0); now < 1500*time.Millisecond; now += tick {
			n := c.Observe(now, Flow{Bytes: int64(8e6 * now.Seconds()), RTT: 20 * ms})
			tried = tried || n > First
		}
		if !tried {
			t.Fatal("more connections were never tried")
		}
		if last = c.Proven(); last != First {
			t.Fatalf("run %d left %d connections where %d fill the link", run, last, First)
		}
	}
}

// TestLossesGetAllConnectionsAtOnce shows four windows of which the last two or
// more are lossy.
func TestLossesGetAllConnectionsAtOnce(t *testing.T) {
	windows := func(now time.Duration) int {
		c := New(0, Served{})
		for i, disordered := range []int64{300, 300, 500, 700} {
			c.Observe(time.Duration(i+1)*200*ms, Flow{Segments: int64(1000 + 2000*i), Disordered: disordered, RTT: 50 * ms, Now: now})
			if i == 1 && c.n != First {
				t.Errorf("%d connections after one burst of losses", c.n)
			}
		}
		return c.n
	}
	if n := windows(52 * ms); n != Most {
		t.Errorf("%d connections on a lossy link", n)
	}
	if n := windows(90 * ms); n != First {
		t.Errorf("%d connections where it is the queue that overflows", n)
	}
}

func TestConnectionsToBeginWith(t *testing.T) {
	tests := []struct {
		fixed int
		last  Served
		rtt   time.Duration
		want  int
	}{
		{0, Served{}, 0, First},
		{0, Served{}, 20 * ms, First},
		{0, Served{}, 100 * ms, 16},
		{0, Served{}, 200 * ms, Most},
		{0, Served{}, 10 * time.Second, Most},
		{0, Served{27, 25 * ms}, 20 * ms, 27},
		{0, Served{5, 180 * ms}, 200 * ms, 5},
		{0, Served{5, 180 * ms}, 0, 5},
		{0, Served{8, 50 * ms}, 200 * ms, Most}, // another link
		{0, Served{32, 200 * ms}, 20 * ms, First},
		{0, Served{1 << 30, 0}, 0, Most}, // a garbled memory
		{3, Served{27, 200 * ms}, 200 * ms, 3},
	}
	for _, tt := range tests {
		c := New(tt.fixed, tt.last)
		if c.Reach(tt.rtt); c.n != tt.want {
			t.Errorf("%+v: %d connections", tt, c.n)
		}
	}
}
