package bulk

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jumpget/jumpget/internal/span"
)

func TestSmallRanges(t *testing.T) {
	for _, tt := range []struct {
		name        string
		size        int64
		first, want span.Span
	}{
		{"an empty file", 0, span.Span{End: 1 << 40}, span.Span{}},
		{"an empty range", 1000, span.Span{Start: 5, End: 5}, span.Span{Start: 5, End: 5}},
		{"one byte of one", 1, span.Span{End: 1}, span.Span{End: 1}},
		{"one byte of many", 1 << 20, span.Span{Start: 77777, End: 77778}, span.Span{Start: 77777, End: 77778}},
		{"beyond the end", 1000, span.Span{Start: 900, End: 1 << 40}, span.Span{Start: 900, End: 1000}},
		{"wholly beyond the end", 1000, span.Span{Start: 5000, End: 6000}, span.Span{Start: 1000, End: 1000}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, tt.size, ServerConfig{})
				defer w.stop()
				link50(w.net)
				start := time.Now()
				c := w.mustDial(w.config(tt.first))
				defer c.Close()
				w.until("it is done", time.Minute, func() bool { _, ok := w.sink.finished(1); return ok })
				if took := time.Since(start); took > 45*time.Millisecond {
					t.Errorf("it took %v at 40 ms", took)
				}
				if got, _ := w.sink.finished(1); got.Len() != tt.want.Len() || tt.want.Len() > 0 && got != tt.want {
					t.Errorf("got %v, want %v", got, tt.want)
				}
				if w.sink.bytes != tt.want.Len() {
					t.Errorf("%d bytes came", w.sink.bytes)
				}
				if id, size, ok := c.Object(); id != "object-1" || size != tt.size || !ok {
					t.Errorf("the object is %q of %d bytes, %v", id, size, ok)
				}
			})
		})
	}
}

func TestRangesWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 10<<20, ServerConfig{})
		defer w.stop()
		link50(w.net)
		w.net.down.loss, w.net.up.loss = 0.05, 0.05
		c := w.mustDial(w.config(span.Span{Start: 0, End: 1 << 20}, span.Span{Start: 5 << 20, End: 6 << 20}))
		defer c.Close()
		more, err := c.Request(span.Span{Start: 2 << 20, End: 3 << 20}, span.Span{Start: 8 << 20, End: 9 << 20})
		if err != nil || more != 3 {
			t.Fatalf("the third range is %d, %v", more, err)
		}
		if _, err := c.Request(span.Span{Start: 0, End: 10}); err == nil {
			t.Error("a range may overlap another")
		}
		c.Cancel(more + 1)
		if !c.Shrink(more, span.Span{Start: 2 << 20, End: 2<<20 + 100e3}) {
			t.Error("the third range can't be shrunk")
		}
		w.until("three ranges are done", time.Minute, func() bool { return c.Stats().Owed == 0 })
		c.SetLast(true)
		again, err := c.Request(span.Span{Start: 8 << 20, End: 9 << 20}, span.Span{Start: 100, End: 2000}) // the second came before
		if err != nil {
			t.Fatal(err)
		}
		w.until("the others as well", time.Minute, func() bool { return c.Stats().Owed == 0 })
		c.Close()
		if w.sink.bytes != 3<<20+100e3 {
			t.Errorf("%d bytes came", w.sink.bytes)
		}
		if w.sink.dup != 1900 {
			t.Errorf("%d bytes came twice, 1900 were asked for twice", w.sink.dup)
		}
		for id, want := range map[RangeID]int64{1: 1 << 20, 2: 1 << 20, 3: 100e3, again: 1 << 20, again + 1: 1900} {
			if got, ok := w.sink.finished(id); !ok || got.Len() != want {
				t.Errorf("range %d came to %v, %v", id, got, ok)
			}
		}
		if got, ok := w.sink.finished(4); ok {
			t.Errorf("a cancelled range came to %v", got)
		}
		if _, err := c.Request(span.Span{End: 1}); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close, Request gives %v", err)
		}
	})
}

// Hundreds of small ranges, cancelled and asked for anew, must all come.
func TestManyRangesUnderLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 8<<20, ServerConfig{})
		defer w.stop()
		link50(w.net)
		w.net.down.loss, w.net.up.loss = 0.1, 0.1
		c := w.mustDial(w.config())
		defer c.Close()
		const piece = 32 << 10
		open := map[RangeID]span.Span{}
		next, n := int64(0), 0
		w.until("all is here", 2*time.Minute, func() bool {
			for id := range open {
				if _, ok := w.sink.finished(id); ok {
					delete(open, id)
				}
			}
			for next < w.body.size && len(open) < 8 {
				sp := span.Span{Start: next, End: next + piece}
				id, err := c.Request(sp)
				if err != nil {
					t.Fatal(err)
				}
				if n++; n%3 == 0 {
					c.Cancel(id)
					if id, err = c.Request(sp); err != nil {
						t.Fatal(err)
					}
				}
				open[id] = sp
				next += piece
			}
			return next >= w.body.size && len(open) == 0
		})
		if w.sink.bytes != w.body.size {
			t.Errorf("%d bytes came", w.sink.bytes)
		}
	})
}

func TestSlowOrigin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2<<20, ServerConfig{})
		defer w.stop()
		link50(w.net)
		w.net.down.loss = 0.02
		w.body.have, w.body.known = 0, false
		const step = 32 << 10 // each 20 ms: a quarter of what the link carries
		go func() {
			for have := int64(step); have < w.body.size; have += step {
				time.Sleep(20 * time.Millisecond)
				w.body.set(func() { w.body.have = have })
			}
			time.Sleep(20 * time.Millisecond)
			w.body.set(func() { w.body.have, w.body.known = w.body.size, true })
		}()
		start := time.Now()
		c := w.mustDial(w.config(span.Span{End: 1 << 40}))
		defer c.Close()
		w.until("it is done", time.Minute, func() bool { _, ok := w.sink.finished(1); return ok })
		if took, least := time.Since(start), time.Duration(w.body.size/step)*20*time.Millisecond; took > least+200*time.Millisecond {
			t.Errorf("it took %v, the origin alone %v", took, least)
		}
		if n := w.body.read(); n > 20*int(w.body.size/step) {
			t.Errorf("the relay read %d times", n)
		}
	})
}

// While the relay waits for its origin nothing spins and the client knows why
// nothing comes.
func TestOriginStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20, ServerConfig{})
		defer w.stop()
		link50(w.net)
		w.body.have = 500e3
		c := w.mustDial(w.config(span.Span{End: 300e3}, span.Span{Start: 300e3, End: 600e3}, span.Span{Start: 700e3, End: 1 << 20}))
		defer c.Close()
		time.Sleep(2 * time.Second)
		reads := w.body.read()
		before, _ := w.net.lanes()
		time.Sleep(time.Minute)
		if s := c.Stats(); !s.Waiting || s.Silent > 2*time.Second || c.Err() != nil {
			t.Errorf("%+v, %v", s, c.Err())
		}
		if n := w.body.read() - reads; n > 5 {
			t.Errorf("the body was read %d times in a minute of waiting", n)
		}
		if after, _ := w.net.lanes(); after.passed-before.passed > 130 {
			n := after.passed - before.passed
			t.Errorf("%d packets came in a minute of waiting", n)
		}
		w.body.set(func() { w.body.have = w.body.size })
		w.until("it is done", time.Second, func() bool { return c.Stats().Owed == 0 })
	})
}

func TestJobThatHasNoObjectYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20, ServerConfig{})
		defer w.stop()
		link50(w.net)
		w.job.slow = make(chan struct{})
		start := time.Now()
		c := w.mustDial(w.config(span.Span{End: 1 << 40}))
		defer c.Close()
		if took := time.Since(start); took > 50*time.Millisecond {
			t.Errorf("the relay's own waiting held its answer back for %v", took)
		}
		time.Sleep(20 * time.Second)
		if s := c.Stats(); !s.Waiting || c.Err() != nil {
			t.Errorf("%+v, %v", s, c.Err())
		}
		close(w.job.slow)
		w.until("it is done", time.Second, func() bool { _, ok := w.sink.finished(1); return ok })
	})
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after time.Duration
		do    func(w *world, cfg *Config)
		code  Code
	}{
		{"another object", 0, func(_ *world, cfg *Config) { cfg.Object = "object-0" }, CodeChanged},
		{"the job is no more", 0, func(w *world, _ *Config) { w.job.err = ErrGone }, CodeGone},
		{"the body can't be opened", 0, func(w *world, _ *Config) { w.job.err = errTest }, CodeFailed},
		{"the body breaks", 200 * time.Millisecond, func(w *world, _ *Config) { w.body.set(func() { w.body.err = errTest }) }, CodeFailed},
		{"the body changes", 200 * time.Millisecond, func(w *world, _ *Config) { w.body.set(func() { w.body.err = ErrChanged }) }, CodeChanged},
		{"the token is revoked", 200 * time.Millisecond, func(w *world, _ *Config) { delete(w.jobs.jobs, w.job.key.ID) }, CodeGone},
		{"the token expires", 200 * time.Millisecond, func(w *world, _ *Config) { w.job.expire() }, CodeGone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 500<<20, ServerConfig{})
				defer w.stop()
				link50(w.net)
				w.net.down.loss = 0.2
				cfg := w.config(span.Span{End: w.body.size})
				if tt.after == 0 {
					tt.do(w, &cfg)
				}
				c, err := w.dial(cfg)
				if err == nil {
					time.Sleep(tt.after)
					if tt.after > 0 {
						w.jobs.mu.Lock()
						tt.do(w, &cfg)
						w.jobs.mu.Unlock()
					}
					start := time.Now()
					<-c.Done()
					if took := time.Since(start); took > 6*time.Second {
						t.Errorf("it took %v", took)
					}
					err = c.Err()
				}
				refusedWith(t, err, tt.code)
				if tt.code == CodeChanged && tt.after == 0 && w.sink.bytes > 0 {
					t.Errorf("%d bytes of another object came", w.sink.bytes)
				}
				time.Sleep(5 * time.Second)
				if l := w.server.Load(); l.Conns != 0 {
					t.Errorf("the relay still has %d connections", l.Conns)
				}
			})
		})
	}
}

func TestGrantOnTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20, ServerConfig{})
		defer w.stop()
		link50(w.net)
		w.net.down.loss, w.net.up.loss = 0.1, 0.1
		w.job.grant(clientAddr.Addr(), false)
		var asked netip.Addr
		cfg := w.config(span.Span{End: w.body.size})
		cfg.NotGranted = func(a netip.Addr) { asked = a }
		c := w.mustDial(cfg)
		defer c.Close()
		time.Sleep(30 * time.Second)
		if s := c.Stats(); asked != clientAddr.Addr() || s.Granted || c.Err() != nil {
			t.Fatalf("asked %v, %+v, %v", asked, s, c.Err())
		}
		if down, up := w.net.lanes(); down.bytes > budgetFactor*up.bytes {
			t.Errorf("%d bytes to a stranger for %d from him", down.bytes, up.bytes)
		}
		w.job.grant(clientAddr.Addr(), true)
		w.until("it is done", 3*time.Second, func() bool { _, ok := w.sink.finished(1); return ok })
	})
}

func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2<<20, ServerConfig{})
		defer w.stop()
		link50(w.net)
		cfg := w.config(span.Span{End: w.body.size})
		cfg.Rate = 500e3
		start := time.Now()
		c := w.mustDial(cfg)
		defer c.Close()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := w.sink.bytes; n < 850e3 || n > 1100e3 {
			t.Errorf("%d bytes came in two seconds", n)
		}
		c.SetRate(0)
		w.until("it is done", time.Second, func() bool { _, ok := w.sink.finished(1); return ok })
		t.Log(time.Since(start))
	})
}

func TestSlowSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 40<<20, ServerConfig{})
		defer w.stop()
		link50(w.net)
		w.net.down.rate, w.net.down.queue = 400e6/8, 2e6
		w.sink.slow = 50 * time.Millisecond // a block at a time: at most 5 MB/s
		c := w.mustDial(w.config(span.Span{End: w.body.size}))
		defer c.Close()
		most := int64(0)
		w.until("it is done", 5*time.Minute, func() bool {
			most = max(most, c.Stats().Buffered)
			_, ok := w.sink.finished(1)
			return ok
		})
		if most > bufferMost+1<<20 {
			t.Errorf("%d bytes were buffered", most)
		}
		if most < bufferMost/2 {
			t.Errorf("only %d bytes were buffered: the test does not test", most)
		}
		if w.sink.bytes != w.body.size || w.sink.dup > 0 {
			t.Errorf("%d bytes came, %d twice", w.sink.bytes, w.sink.dup)
		}
	})
}

func TestSinkFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 5<<20, ServerConfig{})
		defer w.stop()
		link50(w.net)
		w.sink.fail = errTest
		c, err := w.dial(w.config(span.Span{End: w.body.size}))
		if err == nil {
			<-c.Done()
			err = c.Err()
		}
		if !errors.Is(err, errTest) {
			t.Errorf("it ends with %v", err)
		}
	})
}

func TestDialIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 5<<20, ServerConfig{})
		defer w.stop()
		w.net.up.dead = true
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := Dial(ctx, w.net.listen(clientAddr), relayAddr, w.config(span.Span{End: 1}))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it ends with %v", err)
		}
		start := time.Now()
		_, err = w.dial(w.config(span.Span{End: 1}))
		var silent *SilentError
		if !errors.As(err, &silent) || silent.Answered || time.Since(start) != defaultSilence {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

// A connection that has nothing to do stays, through a NAT that forgets what
// is idle for 30 s.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20, ServerConfig{})
		defer w.stop()
		link50(w.net)
		last := time.Now()
		w.net.tap = func(from, _ netip.AddrPort, _ []byte) {
			if from != relayAddr {
				if idle := time.Since(last); idle > 29*time.Second {
					t.Errorf("idle for %v", idle)
				}
				last = time.Now()
			}
		}
		c := w.mustDial(w.config(span.Span{End: 1000}))
		defer c.Close()
		time.Sleep(10 * time.Minute)
		if c.Err() != nil {
			t.Fatal(c.Err())
		}
		if _, err := c.Request(span.Span{Start: 1000, End: 500e3}); err != nil {
			t.Fatal(err)
		}
		w.until("more is here", time.Second, func() bool { return c.Stats().Owed == 0 })
	})
}

// A second connection begins with what the first has found out, unless that has
// come to be wrong.
func TestSecondConnection(t *testing.T) {
	for name, mtu := range map[string]int{"the same path": 1472, "a smaller one": 1300} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 3<<20, ServerConfig{})
				defer w.stop()
				link50(w.net)
				first, _ := w.fetch(time.Minute)
				w.net.change(func() { w.net.down.mtu = mtu })
				w.sink = newSink()
				second, s := w.fetch(time.Minute)
				if mtu == 1472 && second > first || second > first+3*time.Second || s.Datagram > mtu {
					t.Errorf("%v, then %v with packets of %d bytes", first, second, s.Datagram)
				}
			})
		})
	}
}
