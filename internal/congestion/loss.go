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
}

const runCap = 3

func (t *tally) add(o tally) {
	t.packets += o.packets
	t.lost += o.lost
	t.capped += o.capped
	t.squares += o.squares
	t.clumps += o.clumps
}

// run adds a run of lost packets.
func (t *tally) run(length int) {
	if length == 0 {
		return
	}
	c := float64(min(length, runCap))
	t.lost += float64(length)
	t.capped += c
	t.squares += c * c
	t.clumps += float64(length) * float64(length)
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
}

// share is the share of packets lost.
func (t *tally) share() float64 {
	if t.packets == 0 {
		return 0
	}
	return t.lost / t.packets
}

// A link's own loss is never known to be smaller than this for the purpose of
// a test's margin, and an excess below excessFloor is nobody's concern: BBR
// tolerates as much (BBRLossThresh).
const (
	varianceFloor = 0.0025
	excessFloor   = 0.02
)

// above tells by how many standard errors the losses of t exceed those of a
// base line, after allowing for excessFloor: by the capped count, which sees a
// little more loss among long runs, or by the plain one, which sees much more.
func (t *tally) above(base *tally) float64 {
	if t.packets < 16 || base.packets < 16 {
		return 0
	}
	z := func(lost, baseLost, squares float64) float64 {
		keep := 1 - base.share()
		variance := max(squares/base.packets*keep*keep, varianceFloor)
		diff := lost/t.packets - baseLost/base.packets - excessFloor
		return diff / math.Sqrt(variance/t.packets+variance/base.packets)
	}
	return max(z(t.capped, base.capped, base.squares), z(t.lost, base.lost, base.clumps))
}

// excess is the share that is lost beyond the base line's.
func (t *tally) excess(base *tally) float64 {
	return max(0, (t.share()-base.share())/(1-min(base.share(), 0.9)))
}
