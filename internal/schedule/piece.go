package schedule

import (
	"slices"
	"time"

	"github.com/jumpget/jumpget/internal/span"
)

// The sizes of pieces, in bytes and time. A piece is what one request asks for.
const (
	minPiece   = 64 << 10
	firstPiece = 256 << 10 // from a worker whose rate is not known
	leastPiece = 32 << 10  // near the end
	maxPiece   = 4 << 20
	fairShare  = 0.6                    // of its part of what is left
	maxPieceS  = 1 << 20                // over ssh, where events share the pipe
	pieceTime  = 750 * time.Millisecond // of a worker's work
	maxDepth   = 4                      // requests under way on one connection

	// Over UDP one connection carries everything and its pieces cost nothing.
	maxDepthU   = 24                     // ranges asked for at once; package bulk takes 32
	backlogTime = 600 * time.Millisecond // of work, beyond two round trips
)

// wants tells whether the worker's pipe could run dry for want of requests: two
// are under way always, more only while two are too small to fill the pipe.
func (s *Scheduler) wants(now time.Duration, w *Worker) bool {
	depth := maxDepth
	switch {
	case w.path == UDP:
		return s.wantsUDP(now, w)
	case s.allow[w.path] == Cautious:
		return w.total == 0 && len(w.pieces) == 0 && s.shown(w.path) < Standby
	case w.path == SSH:
		depth = 1
	}
	n, rate, backlog := len(w.pieces), w.meter.at(now), float64(s.backlog(w))
	switch {
	case n == 0:
		return true
	case n >= depth:
		return false
	case rate > 0 && backlog < rate*(2*w.rtt.Seconds()+0.1):
		return true
	}
	return n < 2 && (rate == 0 || backlog < s.fair(now, w))
}

// shown is the number of a path's workers that have or had something to do.
func (s *Scheduler) shown(path Path) (n int) {
	for _, w := range s.workers {
		if w.path == path && (w.total > 0 || len(w.pieces) > 0) {
			n++
		}
	}
	return n
}

// fair is how much the worker should have under way at most near the end: a part
// of what it will bring until then. The rest makes good for errors in what is
// expected of each, so that all of a path end together.
func (s *Scheduler) fair(now time.Duration, w *Worker) float64 {
	rate := w.meter.at(now)
	var sum float64
	var known, all int
	for _, o := range s.workers {
		if o.path != w.path {
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
	return float64(s.missing()) * share * fairShare
}

func (s *Scheduler) wantsUDP(now time.Duration, w *Worker) bool {
	return len(w.pieces) < maxDepthU && s.backlog(w) < s.ration(now, w)
}

// ration is how many bytes a UDP worker may have under way. While TCP works
// beside it that is only what it will bring soon, or one of them would wait for
// the other's pieces.
func (s *Scheduler) ration(now time.Duration, w *Worker) int64 {
	soon := int64(w.meter.at(now) * (2*w.rtt + backlogTime).Seconds())
	switch {
	case s.contested():
		return max(soon, firstPiece)
	case w.total > FirstBacklog/2:
		return max(soon, maxPiece)
	}
	return FirstBacklog
}

// contested tells whether TCP may take on as much as UDP.
func (s *Scheduler) contested() bool {
	return s.allow[TCP] == Full && slices.ContainsFunc(s.workers, func(w *Worker) bool { return w.path == TCP })
}

// unload takes from UDP's workers what they won't bring soon. The fronts of their
// pieces, which may be on their way, stay theirs.
func (s *Scheduler) unload(now time.Duration) {
	for _, w := range s.workers {
		if w.path == UDP {
			s.keep(w, s.ration(now, w))
		}
	}
}

// keep leaves a UDP worker the first n bytes that it owes.
func (s *Scheduler) keep(w *Worker, n int64) {
	for _, p := range w.pieces {
		for _, run := range s.have.Missing(p.Span) {
			if run.Len() <= n {
				n -= run.Len()
				continue
			}
			rest := span.Span{Start: run.Start + n, End: p.End}
			p.End, n = rest.Start, 0
			s.release(rest)
			break
		}
	}
}

// backlog is what the worker has been asked for and not brought.
func (s *Scheduler) backlog(w *Worker) int64 {
	var n int64
	for _, p := range w.pieces {
		n += s.owes(w, p)
	}
	return n
}

// owes is what has not come of one of the worker's pieces.
func (s *Scheduler) owes(w *Worker, p *Piece) int64 {
	if w.path == UDP {
		return missingLen(s.have.Missing(p.Span)) // they come in any order
	}
	return p.Len()
}

// take cuts a piece from the front of what is free.
func (s *Scheduler) take(now time.Duration, w *Worker) span.Span {
	want := s.pieceSize(now, w)
	first := s.firstFree(w)
	if first.Len() == 0 || !s.mayQueue(w, first.Start) {
		return span.Span{}
	}
	if first.Start+minPiece <= s.frontier {
		first.End = min(first.End, s.frontier) // what the relay has is not to wait for what it has not
	}
	if first.Start >= s.frontier && w.path != UDP {
		want = min(want, firstPiece) // it comes at the origin's pace: spread it
	}
	if first.Len() > want+minPiece/2 {
		first.End = first.Start + want
	}
	s.free.Remove(first)
	return first
}

// mayQueue tells whether the worker may ask for the byte at off now. Answers come
// in the order of requests, so one that waits for the origin holds up those behind
// it: such a request stands alone on its connection, and one connection of a path is
// kept from waiting.
func (s *Scheduler) mayQueue(w *Worker, off int64) bool {
	if w.path == UDP {
		return true // there they come in any order
	}
	all, waiting := 0, 0
	for _, o := range s.workers {
		if o.path != w.path {
			continue
		}
		all++
		if len(o.pieces) > 0 && o.pieces[len(o.pieces)-1].Start >= s.frontier {
			waiting++
		}
	}
	if off >= s.frontier {
		return len(w.pieces) == 0 && waiting < max(1, all-1)
	}
	stuck := len(w.pieces) > 0 && w.pieces[len(w.pieces)-1].Start >= s.frontier
	return !stuck || all == 1
}

// firstFree returns the first free run that the worker may ask for. The relay
// has the front of a file first, so the lowest offset is also what can be
// answered soonest.
func (s *Scheduler) firstFree(w *Worker) span.Span {
	for _, run := range s.free.Spans() {
		if w.path != SSH {
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
// trips, but near the end no more than is fair.
func (s *Scheduler) pieceSize(now time.Duration, w *Worker) int64 {
	rate := w.meter.at(now)
	switch {
	case w.path == UDP:
		// The relay sends them in order, so their size decides nothing but who may
		// bring what.
		return min(maxPiece, max(minPiece, s.ration(now, w)-s.backlog(w)))
	case s.allow[w.path] == Cautious:
		return minPiece
	}
	want := float64(firstPiece)
	if rate > 0 {
		want = rate * max(pieceTime.Seconds(), 2.5*w.rtt.Seconds())
	}
	least := float64(minPiece)
	if fair := s.fair(now, w) - float64(s.backlog(w)); fair < want {
		want, least = fair, leastPiece
	}
	most := int64(maxPiece)
	if w.path == SSH {
		most = maxPieceS
	}
	return min(int64(max(want, least)), most)
}
