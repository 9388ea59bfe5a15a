package bulk

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jumpget/jumpget/internal/span"
)

func TestBadLinks(t *testing.T) {
	for name, change := range map[string]func(n *network){
		"loss 5 %":        func(n *network) { n.down.loss, n.up.loss = 0.05, 0.025 },
		"loss 30 %":       func(n *network) { n.down.loss, n.up.loss = 0.3, 0.3 },
		"reordering":      func(n *network) { n.down.late, n.down.lateBy = 0.05, 8*time.Millisecond },
		"jitter":          func(n *network) { n.down.jitter, n.up.jitter = 15*time.Millisecond, 15*time.Millisecond },
		"duplication":     func(n *network) { n.down.dup, n.up.dup = 0.2, 0.2 },
		"corruption":      func(n *network) { n.down.corrupt, n.up.corrupt = 0.05, 0.05 },
		"thin uplink":     func(n *network) { n.up.rate = n.down.rate / 40 },
		"no acks for 90%": func(n *network) { n.up.loss = 0.9 },
		"tiny queue":      func(n *network) { n.down.queue = 20e3 },
		"all of it": func(n *network) {
			n.down = lane{
				rate: 20e6 / 8, delay: 50 * time.Millisecond, queue: 100e3, loss: 0.1, dup: 0.05, corrupt: 0.02,
				late: 0.05, lateBy: 10 * time.Millisecond, jitter: 5 * time.Millisecond,
			}
			n.up = n.down
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2<<20, ServerConfig{})
				defer w.stop()
				link50(w.net)
				change(w.net)
				took, s := w.fetch(2 * time.Minute)
				t.Logf("%v, %d packets, %d repeated bytes", took, s.Packets, s.Repeated)
			})
		})
	}
}

// A tail that is known to be one must not wait for timeouts.
func TestTailIsRepeated(t *testing.T) {
	var took [2]time.Duration
	for i, last := range []bool{false, true} {
		for seed := range uint64(20) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 20e3, ServerConfig{})
				defer w.stop()
				link50(w.net)
				w.net.rng = rand.New(rand.NewPCG(seed, 1))
				w.net.down.loss = 0.3
				start := time.Now()
				cfg := w.config(span.Span{End: w.body.size})
				cfg.Last = last
				c := w.mustDial(cfg)
				defer c.Close()
				w.until("it is here", time.Minute, func() bool { _, ok := w.sink.finished(1); return ok })
				took[i] += time.Since(start) / 20
			})
		}
	}
	t.Log(took)
	if took[1] > took[0]*3/4 {
		t.Errorf("20 kB at 30 %% loss and 40 ms took %v in the mean, with the tail marked %v", took[0], took[1])
	}
}

func TestBlackhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 50<<20, ServerConfig{})
		defer w.stop()
		link50(w.net)
		cfg := w.config(span.Span{End: w.body.size})
		cfg.Silence = 4 * time.Second
		c := w.mustDial(cfg)
		defer c.Close()
		time.Sleep(time.Second)
		w.net.change(func() { w.net.up.dead, w.net.down.dead = true, true })
		start := time.Now()
		time.Sleep(1500 * time.Millisecond)
		if s := c.Stats(); s.Silent < 1200*time.Millisecond {
			t.Errorf("after 1.5 s of silence the connection tells of %v", s.Silent)
		}
		<-c.Done()
		var silent *SilentError
		if took := time.Since(start); !errors.As(c.Err(), &silent) || !silent.Answered || took > 5*time.Second {
			t.Errorf("after %v: %v", took, c.Err())
		}
		before, _ := w.net.lanes()
		time.Sleep(30 * time.Second)
		if after, _ := w.net.lanes(); after.dropped-before.dropped > 300 {
			t.Errorf("the relay sent %d packets into the void in 30 s", after.dropped-before.dropped)
		}
		time.Sleep(30 * time.Second)
		if l := w.server.Load(); l.Conns != 0 {
			t.Errorf("the relay still has %d connections", l.Conns)
		}
	})
}

// An interruption is survived without a new connection, soon after it ends.
func TestInterruption(t *testing.T) {
	for _, lasts := range []time.Duration{300 * time.Millisecond, 3 * time.Second, 9 * time.Second} {
		for name, dead := range map[string]func(n *network, dead bool){
			"both ways": func(n *network, dead bool) { n.up.dead, n.down.dead = dead, dead },
			"downwards": func(n *network, dead bool) { n.down.dead = dead },
			"upwards":   func(n *network, dead bool) { n.up.dead = dead },
		} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 3<<20, ServerConfig{})
				defer w.stop()
				link50(w.net)
				time.AfterFunc(300*time.Millisecond, func() { w.net.change(func() { dead(w.net, true) }) })
				time.AfterFunc(300*time.Millisecond+lasts, func() { w.net.change(func() { dead(w.net, false) }) })
				if took, _ := w.fetch(time.Minute); took > lasts+3*time.Second {
					t.Errorf("an interruption %s for %v made it take %v", name, lasts, took)
				}
			})
		}
	}
}

func TestRelayDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 20<<20, ServerConfig{})
		link50(w.net)
		cfg := w.config(span.Span{End: w.body.size})
		cfg.Silence = 2 * time.Second
		c := w.mustDial(cfg)
		time.Sleep(500 * time.Millisecond)
		w.net.change(func() { w.net.down.dead = true }) // its last words are not heard
		w.stop()
		<-c.Done()
		w.net.change(func() { w.net.down.dead = false })
		w.server = NewServer(w.server.cfg)
		w.serve()
		defer w.stop()
		missing := c.Missing(1)
		cfg.First, cfg.Last = missing[:min(len(missing), maxRanges)], true
		w.sink.done = map[RangeID]span.Span{}
		c = w.mustDial(cfg)
		defer c.Close()
		w.until("the rest is here", time.Minute, func() bool { return c.Stats().Owed == 0 })
	})
}

func TestClientDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 20<<20, ServerConfig{})
		defer w.stop()
		link50(w.net)
		c := w.mustDial(w.config(span.Span{End: w.body.size}))
		w.net.change(func() { w.net.up.dead = true })
		c.Close()
		time.Sleep(50 * time.Second)
		if l := w.server.Load(); l.Conns != 0 || l.Memory != 0 {
			t.Errorf("the relay still holds %+v", l)
		}
		if w.body.closed != 1 {
			t.Errorf("the body was closed %d times", w.body.closed)
		}
	})
}

func TestPathMTU(t *testing.T) {
	for _, tt := range []struct {
		name         string
		path, local  int
		least, limit int // what the largest packet has to be
	}{
		{"Ethernet", 1472, 0, 1472, 1472},
		{"PPPoE", 1464, 0, 1464, 1464},
		{"WireGuard", 1392, 0, 1392, 1392},
		{"IPv6 minimum", 1232, 0, 1232, 1232},
		{"nothing but the base", 1200, 0, 1000, 1200},
		{"between two candidates", 1300, 0, 1280, 1300},
		{"a small local link", 1472, 1400, 1392, 1400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 5<<20, ServerConfig{})
				defer w.stop()
				link50(w.net)
				w.net.down.mtu = tt.path
				w.net.conns[relayAddr].tooBig = tt.local
				_, s := w.fetch(time.Minute)
				if s.Datagram < tt.least || s.Datagram > tt.limit {
					t.Errorf("packets of %d bytes", s.Datagram)
				}
			})
		})
	}
}

func TestMTUBlackhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 5<<20, ServerConfig{})
		defer w.stop()
		link50(w.net)
		time.AfterFunc(400*time.Millisecond, func() {
			w.net.change(func() { w.net.down.mtu = 1250 })
		})
		if took, _ := w.fetch(time.Minute); took > 4*time.Second {
			t.Errorf("a black hole for large packets made it take %v", took)
		}
	})
}

func TestRebinding(t *testing.T) {
	newPort := netip.MustParseAddrPort("198.51.100.7:50001")
	newHost := netip.MustParseAddrPort("203.0.113.9:50001")
	for _, tt := range []struct {
		name    string
		to      netip.AddrPort
		granted bool
	}{
		{"a new port", newPort, true},
		{"a new host that is granted", newHost, true},
		{"a new host that is not", newHost, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 5<<20, ServerConfig{})
				defer w.stop()
				link50(w.net)
				if tt.granted {
					w.job.grant(tt.to.Addr(), true)
				}
				var asked []netip.Addr
				cfg := w.config(span.Span{End: w.body.size})
				cfg.NotGranted = func(a netip.Addr) {
					asked = append(asked, a)
					time.AfterFunc(500*time.Millisecond, func() { w.job.grant(a, true) })
				}
				c := w.mustDial(cfg)
				defer c.Close()
				time.Sleep(300 * time.Millisecond)
				strange := 0
				w.net.change(func() {
					w.net.nat[clientAddr] = tt.to
					w.net.nat[tt.to] = netip.AddrPort{}
					w.net.nat[netip.AddrPort{}] = clientAddr // nobody gets what goes to the old mapping
					delete(w.net.nat, tt.to)
					w.net.tap = func(_, to netip.AddrPort, p []byte) {
						if to == tt.to && len(p) > 300 && !w.job.Allowed(to.Addr()) {
							strange++
						}
					}
				})
				start := time.Now()
				w.until("the file is here", time.Minute, func() bool { _, ok := w.sink.finished(1); return ok })
				if took := time.Since(start); took > 4*time.Second {
					t.Errorf("it took %v from the change on", took)
				}
				if tt.granted != (len(asked) == 0) {
					t.Errorf("asked for %v", asked)
				}
				if strange > 0 {
					t.Errorf("%d large packets went to an address that was not granted", strange)
				}
			})
		})
	}
}

// Somebody who copies a client's packets and sends them from elsewhere, faster
// than they go by themselves, must not draw the data to himself.
func TestCopiedPacketsDrawNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 5<<20, ServerConfig{})
		defer w.stop()
		link50(w.net)
		thief := w.net.listen(netip.MustParseAddrPort("198.51.100.7:6666")) // a NAT neighbour: the address is granted
		defer thief.Close()
		c := w.mustDial(w.config(span.Span{End: w.body.size}))
		defer c.Close()
		w.net.change(func() {
			w.net.tap = func(from, _ netip.AddrPort, p []byte) {
				if from == clientAddr {
					d := Datagram{Data: append([]byte(nil), p...), Path: Path{Remote: thief.addr}}
					time.AfterFunc(time.Millisecond, func() { w.net.arrive(relayAddr, d) })
				}
			}
		})
		w.until("the file is here", time.Minute, func() bool { _, ok := w.sink.finished(1); return ok })
		synctest.Wait()
		bytes := 0
		for _, d := range thief.queue {
			bytes += len(d.Data)
		}
		if bytes > 20e3 {
			t.Errorf("the thief got %d bytes", bytes)
		}
	})
}

func TestShutdownIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 20<<20, ServerConfig{})
		link50(w.net)
		c := w.mustDial(w.config(span.Span{End: w.body.size}))
		time.Sleep(200 * time.Millisecond)
		w.stop()
		<-c.Done()
		refusedWith(t, c.Err(), CodeShutdown)
	})
}

func refusedWith(t *testing.T, err error, code Code) {
	t.Helper()
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Code != code {
		t.Errorf("it ends with %v, want %v", err, code)
	}
}
