package bench

import (
	"time"

	"github.com/jumpget/jumpget/lab/emu"
)

// Sharing is how a run and its rival shared the link while both were on it.
type Sharing struct {
	Own   float64 `json:"own"`   // share of the limit that the measured peer's packets got
	Rival float64 `json:"rival"` // and the rival's
	// Fairness is Jain's index of the two in the second half of the run: 1 if they
	// got the same, 0.5 if one got everything.
	Fairness float64 `json:"fairness"`
	// Converged is how many seconds the measured peer, the newcomer, took to reach
	// nine tenths of the rate that it had in the second half of the run, over a second.
	Converged float64 `json:"converged"`
}

// perSecond is how many steps there are in a second.
const perSecond = int(time.Second / emu.StepLength)

// sharing works out how the link was shared from a run's series. limit is in bit/s.
func sharing(series []emu.Step, limit float64) *Sharing {
	own, rival := make([]float64, len(series)), make([]float64, len(series))
	for i, s := range series {
		own[i], rival[i] = float64(s.OutBytes-s.Guest), float64(s.Guest)
	}
	if len(series) == 0 {
		return &Sharing{}
	}
	half := len(series) / 2
	a, b := mean(own[half:]), mean(rival[half:])
	perStep := limit / 8 / float64(perSecond)
	return &Sharing{
		Own: mean(own) / perStep, Rival: mean(rival) / perStep,
		Fairness: jain(a, b), Converged: reaches(own, .9*a),
	}
}

// jain is the fairness index of Jain, Chiu and Hawe (1984) for two.
func jain(a, b float64) float64 {
	if a == 0 && b == 0 {
		return 1
	}
	return (a + b) * (a + b) / (2 * (a*a + b*b))
}

// reaches returns after how many seconds the mean over a second first is at
// least level. The second half reaches it, so there is such a time.
func reaches(xs []float64, level float64) float64 {
	for end := perSecond; end <= len(xs); end++ {
		if mean(xs[end-perSecond:end]) >= level {
			return float64(end) / float64(perSecond)
		}
	}
	return float64(len(xs)) / float64(perSecond)
}

func mean(xs []float64) float64 {
	if len(xs) == 0 {
		return 0
	}
	sum := 0.0
	for _, x := range xs {
		sum += x
	}
	return sum / float64(len(xs))
}
