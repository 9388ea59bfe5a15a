package contest

import "time"

// failedBefore is for how many runs a failure is remembered, until UDP gets its
// full chance again.
const failedBefore = 4

// unanswered is for how long nothing may have come over UDP, at least, before that
// tells something of the network: a small file can end before a first packet that
// was lost has been sent again.
const unanswered = 1500 * time.Millisecond

// Learned is what a run may tell the next one of UDP's rate, in bytes a second;
// 0: nothing; -n: it was tried and did badly in n runs. The rate counts only after a
// comparison with TCP: a small file's says little, and that of a throttled UDP
// would pass for the link's ever after. Without one, what last told stays. mean is
// UDP's rate over the whole run, and s what Look would be told now.
func (g *Governor) Learned(now time.Duration, s Sight, last, mean float64) float64 {
	rate := max(g.best, mean)
	switch {
	case !g.udp || !g.tcp:
		return last
	case g.failed(now, s):
		if g.known <= -failedBefore {
			return 0
		}
		return min(g.known, 0) - 1
	case g.state == Trying && s.UDP == 0:
		return last // the run was over before anything could be known
	case g.served() && g.tested > 0:
		return rate
	case g.served() && last > 0:
		return max(rate, last)
	}
	return 0
}

// served tells whether UDP did well.
func (g *Governor) served() bool {
	return g.state == Proving || g.state == Alone || g.state == Checking
}

// failed tells whether UDP was tried and did badly, so that the next run need not
// wait for it.
func (g *Governor) failed(now time.Duration, s Sight) bool {
	switch {
	case g.state == Beaten:
		return g.poor
	case g.state == Trying && s.UDP == 0:
		return s.Ticket > 0 && now-s.Ticket >= max(unanswered, 5*s.RTT)
	}
	return false
}
