package schedule

import (
	"cmp"
	"slices"
	"time"

	"github.com/jumpget/jumpget/internal/span"
)

const (
	minRobbed = 16 << 10
	maxCopies = 3        // of one byte under way
	wasted    = 64 << 10 // at most, of an answer that is cut short
)

// late is a run of bytes that is under way and the time when it is expected.
type late struct {
	span   span.Span
	victim *Worker
	piece  *Piece
	eta    time.Duration // from now
	copies int
}

// rob is for an idle worker when nothing is free: it finds the bytes that are
// expected last and returns the end of them that this worker would bring
// sooner, such that both would finish at once. They stay asked for at the
// other as well: whoever brings a byte first brings it, and a reader that has
// only bytes ahead that came already stops.
func (s *Scheduler) rob(now time.Duration, w *Worker) *Piece {
	if s.size < 0 {
		return nil
	}
	rate := s.rateOr(now, w)
	if rate <= 0 {
		return nil
	}
	own := w.rtt.Seconds() + float64(s.backlog(w))/rate
	best := s.latest(now, w)
	if best.victim == nil {
		return nil
	}
	budget := &s.dupBudget
	if best.victim.silence(now) > 0 {
		budget = &s.stallBudget
	}
	if *budget < minRobbed {
		return nil
	}
	// Worth a second request only if it saves a noticeable time.
	gain := best.eta.Seconds() - own
	if gain < max(0.01, w.rtt.Seconds()/4) {
		return nil
	}
	theirs := best.victim.meter.at(now)
	both := gain * rate
	if theirs > 0 {
		both = gain / (1/rate + 1/theirs)
	}
	n := max(int64(both), minRobbed)
	n = min(n, best.span.Len(), *budget, maxPiece)
	*budget -= n
	best.piece.shared = true
	got := span.Span{Start: best.span.End - n, End: best.span.End}
	s.share(got)
	return &Piece{Span: got, shared: true, lent: n, lender: budget}
}

// share marks all pieces that hold bytes of sp, since a third copy may be asked
// for as well.
func (s *Scheduler) share(sp span.Span) {
	for _, o := range s.workers {
		for _, p := range o.pieces {
			if p.Intersect(sp).Len() > 0 {
				p.shared = true
			}
		}
	}
}

// rateOr is the worker's rate, or for one that has not shown any the mean of
// the others on its path.
func (s *Scheduler) rateOr(now time.Duration, w *Worker) float64 {
	if r := w.meter.at(now); r > 0 {
		return r
	}
	rates := s.rates(now, w.path)
	if len(rates) == 0 {
		return 0
	}
	return rates[len(rates)/2]
}

// rates returns the rates of a path's workers that have work, in order.
func (s *Scheduler) rates(now time.Duration, path Path) []float64 {
	var rates []float64
	for _, w := range s.workers {
		if r := w.meter.at(now); w.path == path && r > 0 {
			rates = append(rates, r)
		}
	}
	slices.Sort(rates)
	return rates
}

// latest returns the run of bytes which the relay has, that somebody else than
// w has been asked for, and that is expected last.
func (s *Scheduler) latest(now time.Duration, w *Worker) late {
	all := s.underway(now)
	var best late
	for i, l := range all {
		if l.victim == w || l.span.Len() == 0 {
			continue
		}
		last := span.Span{Start: l.span.End - 1, End: l.span.End}
		mine := false
		for j, o := range all {
			if i == j || o.piece.Intersect(last).Len() == 0 {
				continue
			}
			l.copies++
			l.eta = min(l.eta, o.eta)
			mine = mine || o.victim == w
		}
		if !mine && l.copies < maxCopies-1 && (best.victim == nil || l.eta > best.eta) {
			best = l
		}
	}
	return best
}

// underway lists, for each piece that has been asked for, the last run of it
// that is still missing, and when it should be here.
func (s *Scheduler) underway(now time.Duration) []late {
	var all []late
	for _, w := range s.workers {
		rate := w.meter.at(now)
		var before int64
		for _, p := range w.pieces {
			missing := s.have.Missing(p.Intersect(span.Span{End: s.frontier}))
			before += s.owes(w, p)
			l := late{victim: w, piece: p, eta: s.eta(now, w, rate, before)}
			if len(missing) > 0 {
				l.span = missing[len(missing)-1]
			}
			all = append(all, l)
		}
	}
	slices.SortStableFunc(all, func(a, b late) int { return cmp.Compare(a.span.Start, b.span.Start) })
	return all
}

// eta is when a worker should have brought its next n bytes. One that has been
// silent is expected to stay so for as long again: after a lost packet a
// sender's timeout doubles in the same way.
func (s *Scheduler) eta(now time.Duration, w *Worker, rate float64, n int64) time.Duration {
	if rate <= 0 {
		rate = s.rateOr(now, w)
	}
	if rate < 1 {
		rate = 1
	}
	t := time.Duration(min(float64(n)/rate, 1e6) * float64(time.Second))
	return t + w.silence(now)
}

// silence is for how long a worker with work has brought nothing, if that is
// longer than a round trip or two can explain; else 0.
func (w *Worker) silence(now time.Duration) time.Duration {
	if silent := now - w.progress; silent > 2*w.rtt+100*time.Millisecond {
		return silent
	}
	return 0
}

// Limits for what counts as slow.
const (
	slowShare = 4 // a worker slower than 1/slowShare of the median is slow
	slowFor   = 3 * time.Second
	slowLeft  = 3 * time.Second // of work: nearer to the end robbing does better
)

// Slowest returns a worker of the path that has been much slower than the
// others for some time, so that its connection should be replaced; nil if there
// is none. Some links give one connection a bad route or a bad start, and it
// seldom recovers.
func (s *Scheduler) Slowest(now time.Duration, path Path) *Worker {
	rates := s.rates(now, path)
	if len(rates) < 3 {
		return nil
	}
	median := rates[len(rates)/2]
	total := 0.0
	for _, r := range rates {
		total += r
	}
	if float64(s.missing()) < total*slowLeft.Seconds() {
		return nil
	}
	for _, w := range s.workers {
		if w.path != path {
			continue
		}
		young := now-w.joined < max(slowFor, 15*w.rtt)
		if young || s.Waiting(w) || w.meter.at(now) >= median/slowShare {
			w.slow = 0
			continue
		}
		if w.slow == 0 {
			w.slow = now
		}
		if now-w.slow >= max(slowFor, 10*w.rtt) {
			return w
		}
	}
	return nil
}
