package schedule

import (
	"slices"
	"time"

	"github.com/jumpget/jumpget/internal/span"
)

// Standby is how many connections to the public door are kept while UDP carries
// everything, so that its failure costs no handshake. Where TCP has to be cautious,
// so many of them show what they can do.
const Standby = 2

// IdleTick is how often an idle worker should ask again, since somebody may have
// fallen behind.
const IdleTick = 30 * time.Millisecond

// FirstBacklog is how many bytes are asked of a UDP worker until its rate is known.
const FirstBacklog = 8 << 20

// Worker is one connection, or one stream, as the scheduler sees it. It belongs to
// the scheduler that it joined.
type Worker struct {
	path     Path
	rtt      time.Duration // 0: not known
	pieces   []*Piece      // asked for and not done, in order
	meter    meter
	total    int64         // bytes brought
	joined   time.Duration // when it joined
	progress time.Duration // when it last brought bytes or got work after idling
	slow     time.Duration // since when it has been slow; 0: it is not
}

// Piece is a range that a worker has asked for. Its Start moves as bytes come, and
// its End may come nearer: it is read only while nobody else uses the scheduler.
type Piece struct {
	span.Span
	shared bool // others ask for some of it too

	// What of a budget is tied up, until it is clear that it was not wasted.
	lent   int64
	lender *int64
}

// Join adds a worker, whose round trip time is rtt; 0: not known.
func (s *Scheduler) Join(now time.Duration, path Path, rtt time.Duration) *Worker {
	w := &Worker{path: path, rtt: rtt, joined: now, progress: now}
	s.workers = append(s.workers, w)
	return w
}

// Leave removes a worker and frees what it has not brought.
func (s *Scheduler) Leave(w *Worker) {
	if i := slices.Index(s.workers, w); i >= 0 {
		s.workers = slices.Delete(s.workers, i, i+1)
	}
	s.Drop(w)
}

// Drop takes a worker's pieces from it, after its connection failed.
func (s *Scheduler) Drop(w *Worker) {
	pieces := w.pieces
	w.pieces = nil
	for _, p := range pieces {
		s.release(p.Span)
	}
}

// DropPath takes all their pieces from a path's workers.
func (s *Scheduler) DropPath(path Path) {
	for _, w := range s.workers {
		if w.path == path {
			s.Drop(w)
		}
	}
}

// Permit says how much a path may take on from now on, and reports whether that is
// another than before. When TCP is let in fully, UDP gives up what it won't bring soon.
func (s *Scheduler) Permit(now time.Duration, path Path, a Allowance) (changed bool) {
	if s.allow[path] == a {
		return false
	}
	s.allow[path] = a
	if path == TCP && a == Full {
		s.unload(now)
	}
	return true
}

// resume starts the clocks of a worker that had nothing to do.
func (w *Worker) resume(now time.Duration) {
	w.progress = max(w.progress, now)
	if w.path == SSH {
		w.meter.start(now) // one request at a time: the round trip is part of its pace
		return
	}
	w.meter.start(now + w.rtt) // what has not had the time to come is not slow
}
