package client

import (
	"math"
	"slices"
	"time"

	"github.com/jumpget/jumpget/internal/span"
)

// The sizes of pieces, in bytes and time. A piece is what one request asks for.
const (
	minPiece   = 64 << 10
	firstPiece = 256 << 10 // from a worker whose rate is not known
	maxPiece   = 4 << 20
	maxPieceS  = 1 << 20                // over ssh, where events share the pipe
	pieceTime  = 750 * time.Millisecond // of a worker's work
	maxDepth   = 4                      // requests under way on one connection
)

// scheduler decides which worker asks for which bytes of one object. It does
// no I/O and has no clock: every call brings the time since the start. It is
// not safe for concurrent use.
//
// Every byte that is needed is in exactly one of these states: here (have),
// asked for (in some worker's pieces), or free. In the course of things workers
// take pieces from the front of what is free; when nothing is free any more,
// idle workers take over the ends of what is expected last, see rob.
type scheduler struct {
	size     int64 // of the object; unknownSize: not known
	frontier int64 // bytes the relay has, from the start on
	have     span.Set
	free     span.Set
	sshOnly  span.Set // came wrong over other paths

	workers []*worker // in order of joining
	// Bytes that may still be asked for a second time: of pipes that deliver,
	// where most come twice and take room on the link, and of stalled ones, where
	// most come once.
	dupBudget, stallBudget int64
	dup                    int64 // bytes that came a second time
}

const unknownSize = -1

// worker is one connection, or one stream, as the scheduler sees it.
type worker struct {
	path     Path
	rtt      time.Duration // 0: not known
	pieces   []*piece      // asked for and not done, in order
	meter    meter
	total    int64         // bytes brought
	joined   time.Duration // when it joined
	progress time.Duration // when it last brought bytes or got work after idling
	slow     time.Duration // since when it has been slow; 0: it is not
	retiring bool          // gets no more work
}

// piece is a range that a worker has asked for. Start moves as bytes come.
type piece struct {
	span.Span
	shared bool // others ask for some of it too
}

// newScheduler starts with what is missing of an object of the given size, or
// of which nothing is known yet.
func newScheduler(size int64, missing func(span.Span) []span.Span) *scheduler {
	s := &scheduler{size: unknownSize}
	s.grow(0, size, missing)
	return s
}

// grow tells how much the relay has, and the object's size once that is known.
// What becomes askable by it is taken from missing.
func (s *scheduler) grow(frontier, size int64, missing func(span.Span) []span.Span) {
	old := s.end()
	s.frontier = max(s.frontier, frontier)
	if s.size < 0 && size >= 0 {
		s.size = size
		s.dupBudget = min(max(512<<10, size/16), 16<<20)
		s.stallBudget = max(8<<20, size/8)
	}
	if s.size >= 0 {
		s.frontier = min(s.frontier, s.size)
		s.free.Remove(span.Span{Start: s.size, End: math.MaxInt64})
	}
	added := span.Span{Start: old, End: s.end()}
	if added.Len() == 0 {
		return
	}
	s.have.Add(added)
	for _, sp := range missing(added) {
		s.need(sp)
	}
}

// end is the end of what may be asked for: of a body of unknown size only what
// the relay has, because beyond its end there is nothing to ask for.
func (s *scheduler) end() int64 {
	if s.size >= 0 {
		return s.size
	}
	return s.frontier
}

// need makes bytes wanted again, or for the first time.
func (s *scheduler) need(sp span.Span) {
	sp = sp.Intersect(span.Span{End: s.end()})
	s.have.Remove(sp)
	s.release(sp)
}

// distrust needs bytes again and takes them over ssh alone from now on.
func (s *scheduler) distrust(sp span.Span) {
	s.sshOnly.Add(sp)
	s.need(sp)
}

// release frees what of sp is neither here nor asked for.
func (s *scheduler) release(sp span.Span) {
	rest := span.Of(s.have.Missing(sp.Intersect(span.Span{End: s.end()}))...)
	for _, w := range s.workers {
		for _, p := range w.pieces {
			rest.Remove(p.Span)
		}
	}
	for _, r := range rest.Spans() {
		s.free.Add(r)
	}
}

// join adds a worker.
func (s *scheduler) join(now time.Duration, path Path, rtt time.Duration) *worker {
	w := &worker{path: path, rtt: rtt, joined: now, progress: now}
	s.workers = append(s.workers, w)
	return w
}

// leave removes a worker and frees what it has not brought.
func (s *scheduler) leave(w *worker) {
	if i := slices.Index(s.workers, w); i >= 0 {
		s.workers = slices.Delete(s.workers, i, i+1)
	}
	s.drop(w)
}

// drop takes a worker's pieces from it, after its connection failed.
func (s *scheduler) drop(w *worker) {
	pieces := w.pieces
	w.pieces = nil
	for _, p := range pieces {
		s.release(p.Span)
	}
}

// assign returns what the worker should ask for next, or nil if it should
// rather wait. The piece counts as asked for from now on.
func (s *scheduler) assign(now time.Duration, w *worker) *piece {
	if w.retiring || !s.wants(now, w) {
		return nil
	}
	sp := s.take(now, w)
	shared := false
	if sp.Len() == 0 {
		sp = s.rob(now, w)
		shared = true
	}
	if sp.Len() == 0 {
		return nil
	}
	if len(w.pieces) == 0 {
		w.resume(now)
	}
	p := &piece{Span: sp, shared: shared}
	w.pieces = append(w.pieces, p)
	return p
}

// resume starts the clocks of a worker that had nothing to do.
func (w *worker) resume(now time.Duration) {
	w.progress = max(w.progress, now)
	if w.path == PathSSH {
		w.meter.start(now) // one request at a time: the round trip is part of its pace
		return
	}
	w.meter.start(now + w.rtt) // what has not had the time to come is not slow
}

// wants tells whether the worker's pipe could run dry for want of requests: two
// are under way always, more only while two are too small to fill the pipe.
func (s *scheduler) wants(now time.Duration, w *worker) bool {
	depth := maxDepth
	if w.path == PathSSH {
		depth = 1
	}
	switch n := len(w.pieces); {
	case n >= depth:
		return false
	case n < 2:
		return true
	}
	return float64(w.backlog()) < w.meter.at(now)*(2*w.rtt.Seconds()+0.1)
}

// backlog is what the worker has been asked for and not brought.
func (w *worker) backlog() int64 {
	var n int64
	for _, p := range w.pieces {
		n += p.Len()
	}
	return n
}

// take cuts a piece from the front of what is free.
func (s *scheduler) take(now time.Duration, w *worker) span.Span {
	want := s.pieceSize(now, w)
	first := s.firstFree(w)
	if first.Len() == 0 {
		return first
	}
	if first.Start >= s.frontier {
		want = min(want, firstPiece) // it comes at the origin's pace: spread it
	}
	if first.Len() > want+minPiece/2 {
		first.End = first.Start + want
	}
	s.free.Remove(first)
	return first
}

// firstFree returns the first free run that the worker may ask for. The relay
// has the front of a file first, so the lowest offset is also what can be
// answered soonest.
func (s *scheduler) firstFree(w *worker) span.Span {
	for _, run := range s.free.Spans() {
		if w.path != PathSSH {
			run = firstOf(s.sshOnly.Missing(run))
		}
		if run.Len() > 0 {
			return run
		}
	}
	return span.Span{}
}

func firstOf(spans []span.Span) span.Span {
	if len(spans) == 0 {
		return span.Span{}
	}
	return spans[0]
}

// pieceSize is the worker's work for pieceTime or a little more than two round
// trips, but near the end no more than half of its fair share of the rest, so
// that all end together.
func (s *scheduler) pieceSize(now time.Duration, w *worker) int64 {
	rate := w.meter.at(now)
	want := float64(firstPiece)
	if rate > 0 {
		want = rate * max(pieceTime.Seconds(), 2.5*w.rtt.Seconds())
	}
	var sum float64
	var known, all int
	for _, o := range s.workers {
		if o.retiring || o.path != w.path {
			continue
		}
		all++
		if r := o.meter.at(now); r > 0 {
			sum += r
			known++
		}
	}
	share := 1 / float64(max(1, all))
	if rate > 0 && sum > 0 {
		share = rate / sum * float64(known) / float64(all)
	}
	want = min(want, float64(s.free.Len())*share/2)
	most := int64(maxPiece)
	if w.path == PathSSH {
		most = maxPieceS
	}
	return min(max(int64(want), minPiece), most)
}

// arrived tells that n bytes at off came for the worker's oldest piece. It
// returns the end of what is still wanted of that piece; off+n if nothing is.
func (s *scheduler) arrived(now time.Duration, w *worker, off int64, n int) int64 {
	w.meter.add(now, n)
	w.total += int64(n)
	w.progress = now
	got := span.Span{Start: off, End: off + int64(n)}
	if len(w.pieces) == 0 || w.pieces[0].Start != off { // it was taken from the worker, and yet it came
		s.have.Add(got)
		s.free.Remove(got)
		return got.End
	}
	p := w.pieces[0]
	if p.shared {
		s.dup += got.Len() - missingLen(s.have.Missing(got))
	}
	s.have.Add(got)
	p.Start = got.End
	if !p.shared {
		return p.End
	}
	rest := s.have.Missing(p.Span)
	if len(rest) == 0 {
		return got.End
	}
	return rest[len(rest)-1].End
}

func missingLen(spans []span.Span) int64 {
	var n int64
	for _, sp := range spans {
		n += sp.Len()
	}
	return n
}

// finished tells that the worker's oldest piece has been answered, wholly or
// in part; the rest, if there is any, is free again.
func (s *scheduler) finished(w *worker) (rest bool) {
	if len(w.pieces) == 0 {
		return false
	}
	p := w.pieces[0]
	w.pieces = w.pieces[1:]
	if p.Len() == 0 {
		return false
	}
	s.release(p.Span)
	return true
}

// left is the number of bytes that have not come, of those that may be asked for.
func (s *scheduler) left() int64 {
	return missingLen(s.have.Missing(span.Span{End: s.end()}))
}

// waiting tells whether the worker may have to wait for the relay, because the
// relay itself has not got the bytes yet.
func (s *scheduler) waiting(w *worker) bool {
	return len(w.pieces) == 0 || w.pieces[0].Start >= s.frontier
}

// busy tells whether every worker of a path has work that the relay can do.
func (s *scheduler) busy(path Path) bool {
	n := 0
	for _, w := range s.workers {
		if w.path != path {
			continue
		}
		if s.waiting(w) {
			return false
		}
		n++
	}
	return n > 0
}

// owed tells whether some worker of a path waits for bytes that the relay has.
func (s *scheduler) owed(path Path) bool {
	return slices.ContainsFunc(s.workers, func(w *worker) bool { return w.path == path && !s.waiting(w) })
}

// distrusted tells whether bytes are missing that only ssh may bring.
func (s *scheduler) distrusted() bool {
	for _, sp := range s.sshOnly.Spans() {
		if len(s.have.Missing(sp)) > 0 {
			return true
		}
	}
	return false
}

// useful is how many connections there is work for: one for each smallest
// piece that has not come.
func (s *scheduler) useful() int {
	if s.size < 0 {
		return mostConns
	}
	return int(min(max(1, (s.left()+minPiece-1)/minPiece), mostConns))
}
