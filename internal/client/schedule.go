package client

import (
	"math"
	"slices"
	"time"

	"github.com/jumpget/jumpget/internal/span"
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

	workers []*worker          // in order of joining
	allow   map[Path]allowance // full where nothing is said

	// Bytes that may still come a second time, or be asked for so: of pipes that
	// deliver, where most do and take room on the link, and of stalled ones, where
	// most come once.
	dupBudget, stallBudget int64
	dup                    int64 // bytes that came a second time
}

const unknownSize = -1

// allowance is how much work a path may take on. Where all paths share one
// bottleneck, a second one only takes room from the best.
type allowance int

const (
	full     allowance = iota
	cautious           // one small piece for each worker, to show what it can do
	none
)

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

	// What of a budget is tied up, until it is clear that it was not wasted.
	lent   int64
	lender *int64
}

// newScheduler starts with what is missing of an object of the given size, or
// of which nothing is known yet.
func newScheduler(size int64, missing func(span.Span) []span.Span) *scheduler {
	s := &scheduler{size: unknownSize, allow: map[Path]allowance{}}
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
	if w.retiring || s.allow[w.path] == none || !s.wants(now, w) {
		return nil
	}
	p := &piece{Span: s.take(now, w)}
	if p.Len() == 0 {
		p = s.rob(now, w)
	}
	if p == nil {
		return nil
	}
	if len(w.pieces) == 0 {
		w.resume(now)
	}
	w.pieces = append(w.pieces, p)
	return p
}

// adopt takes what a UDP worker asked for before there was a scheduler for one of
// its pieces; nil if not all of it is wanted of this worker.
func (s *scheduler) adopt(now time.Duration, w *worker, sp span.Span) *piece {
	if s.size >= 0 {
		sp.End = min(sp.End, s.size)
	}
	known := sp.Intersect(span.Span{End: s.end()})
	if sp.Len() == 0 || s.allow[w.path] != full || missingLen(s.free.Missing(known)) > 0 {
		return nil
	}
	s.free.Remove(known)
	if len(w.pieces) == 0 {
		w.resume(now)
	}
	p := &piece{Span: sp}
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

// arrived tells that n bytes at off came for the worker's oldest piece. It
// returns the end of what is still wanted of that piece; off+n if nothing is.
func (s *scheduler) arrived(now time.Duration, w *worker, off int64, n int) int64 {
	w.meter.add(now, n)
	w.total += int64(n)
	w.progress = now
	got := span.Span{Start: off, End: off + int64(n)}
	if w.path == PathUDP {
		s.dup += got.Len() - missingLen(s.have.Missing(got))
		s.have.Add(got)
		s.free.Remove(got)
		return got.End
	}
	if len(w.pieces) == 0 || w.pieces[0].Start != off { // it was taken from the worker, and yet it came
		s.have.Add(got)
		s.free.Remove(got)
		return got.End
	}
	p := w.pieces[0]
	if p.shared {
		twice := got.Len() - missingLen(s.have.Missing(got))
		s.dup += twice
		s.dupBudget -= twice
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
	return s.done(w, w.pieces[0])
}

// done tells that one of the worker's pieces has been answered or given up.
func (s *scheduler) done(w *worker, p *piece) (rest bool) {
	i := slices.Index(w.pieces, p)
	if i < 0 {
		return false
	}
	w.pieces = slices.Delete(w.pieces, i, i+1)
	if s.owes(w, p) == 0 {
		if p.lender != nil {
			*p.lender += p.lent // if it came twice, that was counted
		}
		return false
	}
	if p.shared && p.lender == nil && len(s.have.Missing(p.Span)) == 0 {
		s.dupBudget -= min(p.Len(), wasted) // others were first
		return false
	}
	s.release(p.Span)
	return true
}

// needed tells whether a piece is the worker's and some of it is missing.
func (s *scheduler) needed(w *worker, p *piece) bool {
	return slices.Contains(w.pieces, p) && s.owes(w, p) > 0
}

// exhausted tells whether everything that is missing has been asked for, so that
// no worker will get a piece that is not another's.
func (s *scheduler) exhausted() bool { return s.size >= 0 && s.free.Len() == 0 }

// left is the number of bytes that have not come, of those that may be asked for.
func (s *scheduler) left() int64 {
	return missingLen(s.have.Missing(span.Span{End: s.end()}))
}

// waiting tells whether the worker may have to wait for the relay, because the
// relay itself has not got the bytes yet.
func (s *scheduler) waiting(w *worker) bool {
	if w.path == PathUDP {
		return !slices.ContainsFunc(w.pieces, func(p *piece) bool {
			return len(s.have.Missing(p.Intersect(span.Span{End: s.frontier}))) > 0
		})
	}
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
		return math.MaxInt
	}
	return int(max(1, (s.left()+minPiece-1)/minPiece))
}
