package schedule

import (
	"math"
	"slices"
	"time"

	"github.com/jumpget/jumpget/internal/span"
)

// Scheduler decides which worker asks for which bytes of one object. It does
// no I/O and has no clock: every call brings the time since the start. It is
// not safe for concurrent use.
//
// Every byte that is needed is in exactly one of these states: here (have),
// asked for (in some worker's pieces), or free. In the course of things workers
// take pieces from the front of what is free; when nothing is free any more,
// idle workers take over the ends of what is expected last, see rob.
//
// Times are since any start, the same one for all calls; offsets and lengths are
// bytes. A path may take on Full work until Permit says otherwise.
type Scheduler struct {
	size     int64 // of the object; UnknownSize: not known
	frontier int64 // bytes the relay has, from the start on
	have     span.Set
	free     span.Set
	sshOnly  span.Set // came wrong over other paths

	workers []*Worker          // in order of joining
	allow   map[Path]Allowance // Full where nothing is said

	// Bytes that may still come a second time, or be asked for so: of pipes that
	// deliver, where most do and take room on the link, and of stalled ones, where
	// most come once.
	dupBudget, stallBudget int64
	dup                    int64 // bytes that came a second time
}

// UnknownSize is the size of an object of which it is not known yet.
const UnknownSize = -1

// New starts on an object of the given size in bytes, which may be UnknownSize.
// missing returns the parts of a range that have not come, as an earlier run may
// have left some; it is called for what may be asked for, and not kept.
func New(size int64, missing func(span.Span) []span.Span) *Scheduler {
	s := &Scheduler{size: UnknownSize, allow: map[Path]Allowance{}}
	s.Grow(0, size, missing)
	return s
}

// Grow tells how many bytes the relay has, from the start on, and the object's size
// once that is known; UnknownSize before. What may be asked for because of that is
// taken from missing, as in New.
func (s *Scheduler) Grow(frontier, size int64, missing func(span.Span) []span.Span) {
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
		s.Need(sp)
	}
}

// end is the end of what may be asked for: of a body of unknown size only what
// the relay has, because beyond its end there is nothing to ask for.
func (s *Scheduler) end() int64 {
	if s.size >= 0 {
		return s.size
	}
	return s.frontier
}

// Need makes bytes wanted again, or for the first time.
func (s *Scheduler) Need(sp span.Span) {
	sp = sp.Intersect(span.Span{End: s.end()})
	s.have.Remove(sp)
	s.release(sp)
}

// Distrust makes bytes wanted again, and lets them come over ssh alone from now on.
func (s *Scheduler) Distrust(sp span.Span) {
	s.sshOnly.Add(sp)
	s.Need(sp)
}

// release frees what of sp is neither here nor asked for.
func (s *Scheduler) release(sp span.Span) {
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

// Assign returns what the worker should ask for next, or nil if it should rather
// wait: for something to happen, or IdleTick. The piece counts as asked for from now
// on.
func (s *Scheduler) Assign(now time.Duration, w *Worker) *Piece {
	if s.allow[w.path] == None || !s.wants(now, w) {
		return nil
	}
	p := &Piece{Span: s.take(now, w)}
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

// Adopt makes a piece of what a UDP worker asked for before there was a scheduler;
// nil if not all of it is wanted of this worker.
func (s *Scheduler) Adopt(now time.Duration, w *Worker, sp span.Span) *Piece {
	if s.size >= 0 {
		sp.End = min(sp.End, s.size)
	}
	known := sp.Intersect(span.Span{End: s.end()})
	if sp.Len() == 0 || s.allow[w.path] != Full || missingLen(s.free.Missing(known)) > 0 {
		return nil
	}
	s.free.Remove(known)
	if len(w.pieces) == 0 {
		w.resume(now)
	}
	p := &Piece{Span: sp}
	w.pieces = append(w.pieces, p)
	return p
}

// Arrived tells that n bytes at off came for the worker's oldest piece; over UDP for
// any of its pieces. It returns the end of what is still wanted of the oldest; off+n
// if nothing is, and over UDP always.
func (s *Scheduler) Arrived(now time.Duration, w *Worker, off int64, n int) int64 {
	w.meter.add(now, n)
	w.total += int64(n)
	w.progress = now
	got := span.Span{Start: off, End: off + int64(n)}
	if w.path == UDP {
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

// Finished tells that the worker's oldest piece has been answered, wholly or in
// part. It reports whether a rest of it is free again, which others may take.
func (s *Scheduler) Finished(w *Worker) (rest bool) {
	if len(w.pieces) == 0 {
		return false
	}
	return s.Done(w, w.pieces[0])
}

// Done tells that one of the worker's pieces has been answered or given up, and
// reports the same as Finished.
func (s *Scheduler) Done(w *Worker, p *Piece) (rest bool) {
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

// Needed tells whether a piece is the worker's and some of it is missing.
func (s *Scheduler) Needed(w *Worker, p *Piece) bool {
	return slices.Contains(w.pieces, p) && s.owes(w, p) > 0
}

// Exhausted tells whether everything that is missing has been asked for, so that
// no worker will get a piece that is not another's.
func (s *Scheduler) Exhausted() bool { return s.size >= 0 && s.free.Len() == 0 }

// Left is the number of bytes that have not come; -1 while the size is not known.
func (s *Scheduler) Left() int64 {
	if s.size < 0 {
		return -1
	}
	return s.missing()
}

// missing is the number of bytes that have not come, of those that may be asked for.
func (s *Scheduler) missing() int64 {
	return missingLen(s.have.Missing(span.Span{End: s.end()}))
}

// Waiting tells whether the worker may have to wait for the relay, because the
// relay itself has not got the bytes yet.
func (s *Scheduler) Waiting(w *Worker) bool {
	if w.path == UDP {
		return !slices.ContainsFunc(w.pieces, func(p *Piece) bool {
			return len(s.have.Missing(p.Intersect(span.Span{End: s.frontier}))) > 0
		})
	}
	return len(w.pieces) == 0 || w.pieces[0].Start >= s.frontier
}

// Busy tells whether every worker of a path has work that the relay can do.
func (s *Scheduler) Busy(path Path) bool {
	n := 0
	for _, w := range s.workers {
		if w.path != path {
			continue
		}
		if s.Waiting(w) {
			return false
		}
		n++
	}
	return n > 0
}

// Owed tells whether some worker of a path waits for bytes that the relay has.
func (s *Scheduler) Owed(path Path) bool {
	return slices.ContainsFunc(s.workers, func(w *Worker) bool { return w.path == path && !s.Waiting(w) })
}

// Distrusted tells whether bytes are missing that only ssh may bring.
func (s *Scheduler) Distrusted() bool {
	for _, sp := range s.sshOnly.Spans() {
		if len(s.have.Missing(sp)) > 0 {
			return true
		}
	}
	return false
}

// Useful is how many connections there is work for: one for each smallest piece
// that has not come, and any number while the size is not known.
func (s *Scheduler) Useful() int {
	if s.size < 0 {
		return math.MaxInt
	}
	return int(max(1, (s.missing()+minPiece-1)/minPiece))
}
