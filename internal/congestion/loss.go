package congestion

import "math"

// tally counts the losses of a stretch of packets.
//
// Beside the plain count it keeps one in which a run of losses counts at most
// runCap. A link that loses in bursts loses in few long runs, an overflowing
// queue or a policer in many short ones; with the runs capped, the first does
// not drown the second, and the count's variance can be told from the runs
// themselves.
type tally struct {
	packets float64
	lost    float64
	capped  float64 // losses, of each run at most runCap
	squares float64 // sum of the squares of the capped runs
	clumps  float64 // sum of the squares of the runs
	runs    float64
	longest float64 // run
	lead    float64 // the run at the beginning
	trail   float64 // the run at the end; both are all packets if all were lost
}

const runCap = 3

func (t *tally) add(o tally) {
	t.packets += o.packets
	t.lost += o.lost
	t.capped += o.capped
	t.squares += o.squares
	t.clumps += o.clumps
	t.runs += o.runs
	t.longest = max(t.longest, o.longest)
}

// join adds the tally of the packets that came next: a run may go on there.
func (t *tally) join(o tally) {
	if t.packets == 0 {
		*t = o
		return
	}
	all, oAll := t.trail == t.packets, o.lead == o.packets
	lead, trail := t.lead, o.trail
	t.unrun(t.trail)
	tail := o
	tail.unrun(o.lead)
	run := t.trail + o.lead
	if all {
		lead = run
	}
	if oAll {
		trail = run
	}
	t.add(tail)
	t.run(run)
	t.lead, t.trail = lead, trail
}

// run adds a run of lost packets.
func (t *tally) run(length float64) { t.count(length, 1) }

// unrun takes a run out again.
func (t *tally) unrun(length float64) { t.count(length, -1) }

func (t *tally) count(length, sign float64) {
	c := min(length, runCap)
	t.lost += sign * length
	t.capped += sign * c
	t.squares += sign * c * c
	t.clumps += sign * length * length
	if length > 0 {
		t.runs += sign
	}
	if sign > 0 {
		t.longest = max(t.longest, length)
	}
}

// forget scales the tally down to at most so many packets.
func (t *tally) forget(packets float64) {
	if t.packets <= packets {
		return
	}
	f := packets / t.packets
	t.packets *= f
	t.lost *= f
	t.capped *= f
	t.squares *= f
	t.clumps *= f
	t.runs *= f
	t.longest = min(t.longest, t.lost)
}

// replace takes t's place with a newer tally, unless the two agree: then they
// are added.
func (t *tally) replace(newer tally) {
	if max(newer.compare(t).z, t.compare(&newer).z) < 2 {
		newer.add(*t)
	}
	*t = newer
	t.forget(ownMemory)
}

// share is the share of packets lost.
func (t *tally) share() float64 {
	if t.packets == 0 {
		return 0
	}
	return t.lost / t.packets
}

// trimmed is the tally without its longest run: one burst is no congestion.
func (t *tally) trimmed() tally {
	r := *t
	r.packets -= t.longest
	r.lost -= t.longest
	r.clumps -= t.longest * t.longest
	r.runs = max(0, r.runs-1)
	c := min(t.longest, runCap)
	r.capped -= c
	r.squares -= c * c
	return r
}

const (
	// varianceFloor is the least variance that a packet's loss is taken to
	// have: that of a link that loses 0.25 %.
	varianceFloor = 0.0025
	// excessFloor is what is nobody's concern; BBR tolerates as much (BBRLossThresh).
	excessFloor = 0.02
	// heavy is more than any usable link loses of its own.
	heavy = 0.6
	// heavyRuns is how many runs it takes: a few long bursts are bad luck.
	heavyRuns = 5
	// unseen is the length of the burst that a short sample may have missed.
	unseen = 20
)

// verdict is what a comparison of losses comes to.
type verdict struct {
	z      float64 // standard errors above the base line
	excess float64 // share of packets lost beyond it
	err    float64 // standard error of excess
}

// compare tells how far the losses of t exceed those of a base line by more
// than excessFloor. The capped count sees a little more loss among long runs,
// the plain one sees much more.
func (t *tally) compare(base *tally) verdict {
	x := t.trimmed()
	if x.packets < 16 || base.packets < 16 {
		return verdict{err: 1}
	}
	pool := x
	pool.add(*base)
	keep := 1 - pool.share()
	size := x.packets * base.packets / pool.packets
	err := func(squares float64) float64 {
		return math.Sqrt(max(squares/pool.packets*keep*keep, varianceFloor) / size)
	}
	v := verdict{err: err(pool.clumps + unseen*unseen)}
	more := x.share() - base.share()
	v.excess = max(0, more) / (1 - min(base.share(), 0.9))
	v.z = max((more-excessFloor)/v.err,
		(x.capped/x.packets-base.capped/base.packets-excessFloor)/err(pool.squares+runCap*runCap))
	if x.packets >= 64 && x.share() > heavy && x.runs >= heavyRuns {
		v.z = math.Inf(1)
	}
	return v
}

// err is the standard error of share, as if one burst more had been seen and a
// few packets that were not in it.
func (t *tally) err() float64 {
	n := t.packets + 3*unseen
	keep := 1 - (t.lost+unseen)/n
	return math.Sqrt(max((t.clumps+unseen*unseen)/n*keep*keep, varianceFloor) / n)
}
