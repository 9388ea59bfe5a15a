package bulk

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/jumpget/jumpget/internal/span"
)

// Over whatever link, every byte has to come, once, in a time that has to do
// with what the link carries. Run it longer with -rapid.checks.
func TestRandomLinks(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		l, up := drawLink(r)
		size := rapid.Int64Range(0, 1<<20).Draw(r, "size")
		piece := rapid.Int64Range(20e3, 400e3).Draw(r, "piece")
		step := rapid.Int64Range(20e3, 1<<20).Draw(r, "origin's step")
		seed := rapid.Uint64().Draw(r, "seed")
		var failed string
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, size, ServerConfig{})
			defer w.stop()
			w.net.down, w.net.up = l, up

			for range seed % 100 {
				w.net.rng.Uint64()
			}
			w.body.have, w.body.known = min(step, size), seed%2 == 0
			go func() {
				for have := step; have < size; have += step {
					time.Sleep(10 * time.Millisecond)
					w.body.set(func() { w.body.have = have })
				}
				w.body.set(func() { w.body.have, w.body.known = size, true })
			}()
			if failed = w.pieces(size, piece); w.mistake.Swap(false) {
				failed = "the relay had forgotten bytes"
			}
		})
		if failed != "" {
			r.Fatal(failed)
		}
	})
}

// drawLink returns both directions of some link.
func drawLink(r *rapid.T) (down, up lane) {
	draw := func(what string, low, high float64) float64 { return rapid.Float64Range(low, high).Draw(r, what) }
	ms := func(x float64) time.Duration { return time.Duration(x * float64(time.Millisecond)) }
	l := lane{
		rate: draw("Mbps", 2, 200) * 1e6 / 8, delay: ms(draw("delay", 0, 150)),
		loss: draw("loss", 0, 0.3), dup: draw("dup", 0, 0.1), corrupt: draw("corrupt", 0, 0.02),
		late: draw("late", 0, 0.05), lateBy: ms(draw("late by", 0, 30)), jitter: ms(draw("jitter", 0, 20)),
		mtu: rapid.SampledFrom([]int{0, 0, 1472, 1400, 1250, 1200}).Draw(r, "mtu"),
	}
	l.queue = int(max(l.rate*2*l.delay.Seconds()*draw("queue", 0.1, 4), 20e3))
	up = l
	up.rate /= draw("thinner", 1, 40)
	up.loss = draw("uplink loss", 0, 0.5)
	return l, up
}

// Over whatever link, a stream's answers are those that were asked for, in a time
// that has to do with what the link carries.
func TestRandomStreams(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		down, up := drawLink(r)
		sizes := rapid.SliceOfN(rapid.IntRange(1, 100e3), 1, 6).Draw(r, "sizes")
		seed := rapid.Uint64().Draw(r, "seed")
		var failed string
		synctest.Test(t, func(t *testing.T) {
			w, x := newStreamWorld(t, echo, ServerConfig{})
			defer w.stop()
			w.net.down, w.net.up = down, up
			w.net.rng = rand.New(rand.NewPCG(seed, 1))
			cfg := StreamConfig{Key: x.key, Silence: time.Minute} // half of the packets may get lost on the way up
			s := DialStream(t.Context(), w.net.listen(clientAddr), relayAddr, cfg)
			defer hangUp(s)
			for _, n := range sizes {
				_ = s.SetDeadline(time.Now().Add(30*time.Second + 40*down.delay + time.Duration(10*float64(n)/up.rate/(1-up.loss)*float64(time.Second))))
				go func() { _, _ = s.Write(bytesOf(n)) }()
				got := make([]byte, n)
				if _, err := io.ReadFull(s, got); err != nil || !bytes.Equal(got, bytesOf(n)) {
					failed = fmt.Sprintf("an answer of %d bytes: %v", n, err)
					return
				}
			}
			if w.mistake.Swap(false) {
				failed = "the relay had forgotten bytes"
			}
		})
		if failed != "" {
			r.Fatal(failed)
		}
	})
}

// pieces brings a body in pieces, four at a time, and returns what went wrong.
func (w *world) pieces(size, piece int64) (wrong string) {
	c, err := w.dial(w.config())
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	link := w.net.down
	slowest := float64(size) / link.rate / (1 - link.loss)
	limit := 20*time.Second + 60*link.delay + time.Duration(6*slowest*float64(time.Second)) + time.Duration(size/20e3)*10*time.Millisecond
	next := int64(0)
	for end := time.Now().Add(limit); next < size || c.Stats().Owed != 0; time.Sleep(5 * time.Millisecond) {
		switch {
		case c.Err() != nil:
			return c.Err().Error()
		case time.Now().After(end):
			return "it does not end"
		}
		for next < size && c.asked() < 4 {
			if _, err := c.Request(span.Span{Start: next, End: min(next+piece, size)}); err != nil {
				return err.Error()
			}
			next += piece
		}
		if next >= size {
			c.SetLast(true)
		}
	}
	c.Close()
	if w.sink.bytes != size || w.sink.dup > 0 {
		return "bytes are missing or came twice"
	}
	return ""
}

// asked is how many ranges a connection still brings.
func (c *Conn) asked() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.wants.ranges)
}
