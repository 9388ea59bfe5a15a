package bench

import (
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// growth is how the bytes on a peer's disk grew during its run. It tells apart what
// a whole download's time can't: how long it took to come to its full rate, and
// what its end cost.
type growth struct {
	samples []grown
	done    chan struct{}
	ended   chan struct{}
}

type grown struct {
	at    float64 // seconds
	bytes int64
}

// growthEvery is how often the disk is looked at; seldomer where that would take
// more of a processor than one part in lookCost.
const (
	growthEvery = 5 * time.Millisecond
	lookCost    = 20
)

// watchGrowth looks at the files in dir until stop. One that does not look has
// nothing to tell.
func watchGrowth(dir string, start time.Time, look bool) *growth {
	g := &growth{done: make(chan struct{}), ended: make(chan struct{})}
	if !look {
		close(g.ended)
		return g
	}
	go func() {
		defer close(g.ended)
		timer := time.NewTimer(growthEvery)
		defer timer.Stop()
		for {
			select {
			case <-timer.C:
				look := time.Now()
				g.samples = append(g.samples, grown{look.Sub(start).Seconds(), bytesIn(dir)})
				timer.Reset(max(growthEvery, lookCost*time.Since(look)))
			case <-g.done:
				return
			}
		}
	}()
	return g
}

func (g *growth) stop() {
	close(g.done)
	<-g.ended
}

// Between these shares of the file a download goes at its full rate.
const (
	upToRate  = .2
	stillFull = .9
)

// fewestRTT is how many round trips the bytes alone have to need, at the least,
// for a download to have a middle that is neither start nor end.
const fewestRTT = 5

// ends returns the seconds that a download of size bytes, which took total
// seconds, lost at its start and at its end against one that goes all the while at
// the rate of its middle. ideal is how many seconds the link needs for the bytes,
// rtt its round trip in seconds. Both results are 0 where that can't be told: the file is
// short for this link, or a program reserves room or keeps what has come in memory,
// so that its file grows faster than the link can bring it.
func (g *growth) ends(size int64, total, ideal, rtt float64) (start, tail float64) {
	from, ok := g.reaches(int64(upToRate * float64(size)))
	to, ok2 := g.reaches(int64(stillFull * float64(size)))
	whole := (to - from) / (stillFull - upToRate) // seconds for the file at that rate
	if !ok || !ok2 || ideal < fewestRTT*rtt || whole < .95*ideal {
		return 0, 0
	}
	start = from - upToRate*whole
	tail = total - to - (1-stillFull)*whole
	if start <= 0 {
		return 0, 0
	}
	return start, tail
}

// reaches returns when there were so many bytes, between two looks in proportion.
func (g *growth) reaches(bytes int64) (at float64, ok bool) {
	var last grown
	for _, s := range g.samples {
		if s.bytes >= bytes {
			return last.at + (s.at-last.at)*float64(bytes-last.bytes)/float64(s.bytes-last.bytes), true
		}
		last = s
	}
	return 0, false
}

// bytesIn returns how many bytes have been written to the files in dir, in whole
// pages. Holes count nothing, nor does room that a program has only reserved.
func bytesIn(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			n += written(name)
		}
		return nil //nolint:nilerr // a file that vanishes meanwhile has no bytes
	})
	return n
}

// written returns the length of a file's data. On a tmpfs, where runs write,
// pages that were reserved and not yet written are no data.
func written(name string) (n int64) {
	f, err := os.Open(name)
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }() // it was only read
	for end := int64(0); ; {
		from, err := f.Seek(end, unix.SEEK_DATA)
		if err != nil {
			return n // no data behind end
		}
		if end, err = f.Seek(from, unix.SEEK_HOLE); err != nil {
			return n
		}
		n += end - from
	}
}
