package bulk

import (
	"os"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jumpget/jumpget/internal/congestion"
	"github.com/jumpget/jumpget/internal/span"
	model "github.com/jumpget/jumpget/lab/link"
	"github.com/jumpget/jumpget/lab/profile"
)

// transfer is what bringing a file over a link cost beyond its bytes, which
// take their share of the wire with all headers.
type transfer struct {
	took  time.Duration
	share float64 // of the limit
	start float64 // round trips that the first half cost beyond its bytes
	tail  float64 // round trips that the last tenth did
	up    float64 // wire bytes upstream for each of the file
	down  float64 // the same downstream
	drops float64 // share of the packets that overflowed a queue or a policer
}

// over brings a file over a link; known is what the relay remembers of it.
func over(t *testing.T, p profile.Profile, size int64, seed uint64, known congestion.Path) (x transfer) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, size, ServerConfig{})
		defer w.stop()
		w.server.paths.put(clientAddr.Addr(), known, maxPacket)
		w.net.down.link, w.net.up.link = model.New(p.Down, 2*seed), model.New(p.Up, 2*seed+1)
		cfg := w.config(span.Span{End: size})
		cfg.Last = true
		start := time.Now()
		c := w.mustDial(cfg)
		defer c.Close()
		const content = float64(maxPacket-dataHead-tagLen-5) / (maxPacket + wireOverhead)
		ideal := limit(p) / 8 * content
		most := 0.0
		for done := false; !done; time.Sleep(time.Millisecond) {
			if time.Since(start) > 20*time.Minute || c.Err() != nil {
				t.Fatalf("it does not end: %v", c.Err())
			}
			_, done = w.sink.finished(1)
			bytes := float64(c.Stats().Bytes)
			spent := (time.Since(start).Seconds() - bytes/ideal) / p.RTT.Seconds()
			switch part := bytes / float64(size); {
			case done:
				x.tail = spent - most
			case part < 0.5:
				x.start = spent
				fallthrough
			case part < 0.9:
				most = spent
			}
		}
		x.took = time.Since(start)
		x.share = float64(size) * 8 / limit(p) / x.took.Seconds()
		down, up := w.net.lanes()
		x.up, x.down = float64(up.bytes)/float64(size), float64(down.bytes)/float64(size)
		x.drops = float64(down.overflow) / float64(down.passed+down.dropped)
	})
	return x
}

// limit is the most bit/s that can arrive.
func limit(p profile.Profile) float64 {
	if udp := p.Down.UDP.Rate; udp > 0 {
		return udp * (1 - p.Down.MeanLoss())
	}
	return p.Limit()
}

// number reads a variable that makes a test run longer.
func number(name string, usual int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return usual
}

// A whole file over every link that JumpGet is measured on. JUMPGET_SIM_LINKS is
// how many times each, JUMPGET_SIM_MB the file's size.
func TestProfiles(t *testing.T) {
	size, times := int64(number("JUMPGET_SIM_MB", 10))*1e6, number("JUMPGET_SIM_LINKS", 3)
	for _, p := range profile.All() {
		if p.Down.NoUDP {
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			var all []transfer
			for seed := range times {
				all = append(all, over(t, p, size, uint64(seed+1), congestion.Path{}))
			}
			median := func(f func(transfer) float64) float64 {
				v := make([]float64, len(all))
				for i := range all {
					v[i] = f(all[i])
				}
				slices.Sort(v)
				return v[len(v)/2]
			}
			most := slices.MaxFunc(all, func(a, b transfer) int { return int(1e6 * (a.tail - b.tail)) }).tail
			start, tail := median(func(x transfer) float64 { return x.start }), median(func(x transfer) float64 { return x.tail })
			t.Logf("%-9s %5.1f %%  start %5.2f RTT  tail %5.2f, at most %5.2f RTT  up %.2f %%  down %.3f  dropped %.2f %%", p.Name,
				100*median(func(x transfer) float64 { return x.share }), start, tail, most,
				100*median(func(x transfer) float64 { return x.up }), median(func(x transfer) float64 { return x.down }),
				100*median(func(x transfer) float64 { return x.drops }))
			if start > 4 {
				t.Errorf("the start costs %.2f RTT", start)
			}
			if tail > 0.5 || most > 1 {
				t.Errorf("the tail costs %.2f RTT, and %.2f once", tail, most)
			}
		})
	}
}
