package bulk

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, x := newStreamWorld(t, echo, ServerConfig{})
		defer w.stop()
		s := w.stream(x)
		defer hangUp(s)
		if took := ask(t, s, 1000); took > 45*time.Millisecond {
			t.Errorf("the first answer took %v at 40 ms", took)
		}
		for i := range 5 {
			if took := ask(t, s, 300); took > 45*time.Millisecond {
				t.Errorf("answer %d took %v at 40 ms", i, took)
			}
		}
	})
}

// The first answer may be larger than what an unknown address gets, but what
// fits into that has to come at once.
func TestStreamFirstAnswer(t *testing.T) {
	for _, tt := range []struct {
		name  string
		n     int
		known bool
		limit time.Duration
	}{
		{"a ticket to an unknown address", 3000, false, 45 * time.Millisecond},
		{"more than that", 60e3, false, 110 * time.Millisecond},
		{"more to a known address", 60e3, true, 70 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, x := newStreamWorld(t, func(s *Stream) {
					_, _ = s.Read(make([]byte, 10))
					_, _ = s.Write(bytesOf(tt.n))
					_, _ = s.Read(make([]byte, 10))
				}, ServerConfig{})
				defer w.stop()
				x.known[clientAddr.Addr()] = tt.known
				rec := listenIn(w.net)
				s := w.stream(x)
				defer hangUp(s)
				start := time.Now()
				_, _ = s.Write([]byte("hello"))
				got := make([]byte, tt.n)
				if _, err := io.ReadFull(s, got); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(start); took > tt.limit {
					t.Errorf("it took %v at 40 ms", took)
				}
				_ = rec
			})
		})
	}
}

// Large amounts both ways, over links of all kinds.
func TestStreamLargeTransfers(t *testing.T) {
	for name, tt := range streamLinks {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const down, up = 5 << 20, 500e3
				w, x := newStreamWorld(t, func(s *Stream) {
					got := make([]byte, up)
					if _, err := io.ReadFull(s, got); err != nil || !bytes.Equal(got, bytesOf(up)) {
						t.Errorf("the relay read other bytes, %v", err)
					}
					_, _ = s.Write(bytesOf(down))
				}, ServerConfig{})
				defer w.stop()
				tt.change(w.net)
				s := w.stream(x)
				defer hangUp(s)
				start := time.Now()
				if _, err := s.Write(bytesOf(up)); err != nil {
					t.Fatal(err)
				}
				first := make([]byte, 1)
				if _, err := io.ReadFull(s, first); err != nil {
					t.Fatal(err)
				}
				upTook := time.Since(start)
				got, err := io.ReadAll(s)
				if err != nil || !bytes.Equal(append(first, got...), bytesOf(down)) {
					t.Fatalf("%d other bytes came, %v", len(got), err)
				}
				took := time.Since(start)
				upLane, downLane := w.net.up, w.net.down
				t.Logf("up %v, down %v; %d and %d bytes on the wire", upTook, took-upTook, upLane.bytes, downLane.bytes)
				if took > tt.limit {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

var streamLinks = map[string]struct {
	change func(n *network)
	limit  time.Duration
}{
	"clean":     {func(*network) {}, 4 * time.Second},
	"loss 5 %":  {func(n *network) { n.down.loss, n.up.loss = 0.05, 0.05 }, 5 * time.Second},
	"loss 30 %": {func(n *network) { n.down.loss, n.up.loss = 0.3, 0.3 }, 10 * time.Second},
	"far":       {func(n *network) { n.down.delay, n.up.delay = 150*time.Millisecond, 150*time.Millisecond }, 10 * time.Second},
	"reordering": {func(n *network) {
		n.down.late, n.down.lateBy, n.up.late, n.up.lateBy = 0.05, 8*time.Millisecond, 0.05, 8*time.Millisecond
	}, 5 * time.Second},
	"jitter":               {func(n *network) { n.down.jitter, n.up.jitter = 15*time.Millisecond, 15*time.Millisecond }, 6 * time.Second},
	"duplication":          {func(n *network) { n.down.dup, n.up.dup = 0.2, 0.2 }, 4 * time.Second},
	"corruption":           {func(n *network) { n.down.corrupt, n.up.corrupt = 0.05, 0.05 }, 5 * time.Second},
	"thin uplink":          {func(n *network) { n.up.rate = 1e6 / 8 }, 10 * time.Second},
	"thin, shallow uplink": {func(n *network) { n.up.rate, n.up.queue = 1e6/8, 6e3 }, 10 * time.Second},
	"all of it": {func(n *network) {
		n.down = lane{
			rate: 20e6 / 8, delay: 50 * time.Millisecond, queue: 100e3, loss: 0.1, dup: 0.05, corrupt: 0.02,
			late: 0.05, lateBy: 10 * time.Millisecond, jitter: 5 * time.Millisecond,
		}
		n.up = n.down
	}, 10 * time.Second},
}

// What a person waits for is one small request after the other.
func TestStreamSmallRequestsUnderLoss(t *testing.T) {
	var all []time.Duration
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			w, x := newStreamWorld(t, echo, ServerConfig{})
			defer w.stop()
			w.net.rng = rand.New(rand.NewPCG(seed, 1))
			w.net.down.delay, w.net.up.delay = 50*time.Millisecond, 50*time.Millisecond
			w.net.down.loss, w.net.up.loss = 0.3, 0.3
			s := w.stream(x)
			defer hangUp(s)
			for range 10 {
				all = append(all, ask(t, s, 500))
				time.Sleep(300 * time.Millisecond)
			}
		})
	}
	slices.Sort(all)
	median, tail, worst := all[len(all)/2], all[len(all)*9/10], all[len(all)-1]
	t.Logf("median %v, 90 %% %v, worst %v", median, tail, worst)
	if median > 115*time.Millisecond || tail > 200*time.Millisecond || worst > time.Second {
		t.Errorf("at 100 ms and 30 %% loss requests take %v, %v and %v", median, tail, worst)
	}
}

// An answer that is too large for an unknown address waits for the client's word
// that it hears the relay. That may be lost, and then nothing else is under way.
func TestStreamLargeAnswersUnderLoss(t *testing.T) {
	var all []time.Duration
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			w, x := newStreamWorld(t, func(s *Stream) {
				_, _ = s.Write(bytesOf(30e3))
				<-s.Done()
			}, ServerConfig{})
			defer w.stop()
			w.net.rng = rand.New(rand.NewPCG(seed, 1))
			w.net.down.loss, w.net.up.loss = 0.3, 0.5
			s := w.stream(x)
			defer hangUp(s)
			start := time.Now()
			_, _ = s.Write([]byte("hello"))
			if _, err := io.ReadFull(s, make([]byte, 30e3)); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
			all = append(all, time.Since(start))
		})
	}
	slices.Sort(all)
	median, worst := all[len(all)/2], all[len(all)-1]
	t.Logf("median %v, worst %v", median, worst)
	if median > 300*time.Millisecond || worst > 1500*time.Millisecond {
		t.Errorf("30 kB take %v, at worst %v", median, worst)
	}
}

// hangUp closes a client's end and waits for it.
func hangUp(s *Stream) {
	s.Close()
	<-s.Done()
}

func TestStreamDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, x := newStreamWorld(t, func(s *Stream) { <-s.Done() }, ServerConfig{})
		defer w.stop()
		s := w.stream(x)
		defer hangUp(s)
		start := time.Now()
		_ = s.SetReadDeadline(start.Add(time.Second))
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("after %v Read gives %v", time.Since(start), err)
		}
		_ = s.SetWriteDeadline(start.Add(3 * time.Second))
		n, err := s.Write(make([]byte, 10<<20)) // nobody reads it
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("after %v Write gives %v", time.Since(start), err)
		}
		if n > clientBacklog+windowMost+streamHello {
			t.Errorf("%d bytes were taken that nobody reads", n)
		}
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Error("that is no timeout")
		}
		_ = s.SetDeadline(time.Time{})
		time.AfterFunc(time.Second, func() { s.Close() })
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read gives %v after Close", err)
		}
	})
}
