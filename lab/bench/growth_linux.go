package bench

import "time"

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

// growthEvery is how often the disk is looked at.
const growthEvery = 5 * time.Millisecond

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
		ticker := time.NewTicker(growthEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				g.samples = append(g.samples, grown{time.Since(start).Seconds(), bytesIn(dir)})
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
// seconds, lost at its start and at its end against one that goes all the while at the rate of
// its middle. rtts is how many round trips the bytes alone need. Both are 0 where that can't be
// told: the file is short for this link, or a program reserves room or keeps what
// has come in memory.
func (g *growth) ends(size int64, total, rtts float64) (start, tail float64) {
	from, ok := g.reaches(int64(upToRate * float64(size)))
	to, ok2 := g.reaches(int64(stillFull * float64(size)))
	if !ok || !ok2 || rtts < fewestRTT || to <= from {
		return 0, 0
	}
	whole := (to - from) / (stillFull - upToRate) // seconds for the file at that rate
	start = from - upToRate*whole
	tail = total - to - (1-stillFull)*whole
	if start <= 0 {
		return 0, 0
	}
	return start, tail
}

// reaches returns when there were so many bytes.
func (g *growth) reaches(bytes int64) (at float64, ok bool) {
	for _, s := range g.samples {
		if s.bytes >= bytes {
			return s.at, true
		}
	}
	return 0, false
}
