package client

import (
	"time"

	"github.com/jumpget/jumpget/internal/schedule"
)

// governor decides which paths may take on work. UDP and TCP mostly share one
// bottleneck, and there a second path brings nothing: it takes room from the
// better one, fills the queue and leaves slow pieces for the end. So UDP works
// alone where it works well, and TCP where UDP is blocked or throttled; which
// of them that is has to be seen, since a link that throttles UDP looks like a
// slow one until TCP is tried.
//
//	         UDP answers           much is left, and UDP is not known
//	trying -------------> proving ----------------------------> comparing
//	  ^  TCP: cautious,      | TCP: cautious                    | TCP: full
//	  |  soon full           v              UDP alone is enough |
//	  +------------------- alone <------------------------------+
//	    UDP is silent        |  UDP fell far below its best     | TCP brings more
//	                         +----> comparing                   v
//	                                     checking (UDP alone) -> shared, or beaten
//
// It has no clock and does no I/O. It is not safe for concurrent use.
type governor struct {
	udp, tcp bool          // paths that may be used at all
	near     time.Duration // below this round trip time TCP is as good, and cheaper
	known    float64       // the rate at which UDP served the last time, bytes a second; 0: not known; -n: it did badly n times

	state  contest
	since  time.Duration // when the state began
	before float64       // UDP's rate before the comparison, bytes a second
	total  float64       // the same of both, while TCP was cautious
	both   float64       // what both brought in it
	best   float64       // UDP's best rate since it works alone
	start  int64         // TCP's bytes when the proving began
	mark   time.Duration // when a window of measurement began
	at     paths         // what had come by then
	tested time.Duration // when the last comparison ended
	poor   bool          // a comparison was lost by far
}

// contest is where the contest between the paths stands.
type contest int

const (
	trying contest = iota
	proving
	comparing
	checking
	alone  // UDP carries everything
	shared // both carry
	beaten // TCP carries everything
)

// paths are the bytes that the paths have brought.
type paths struct{ udp, tcp int64 }

// sight is what the governor is told at each look.
type sight struct {
	paths
	ticket  time.Duration // when the ticket came; 0: not yet
	rtt     time.Duration // of whichever path knows; 0: nobody does
	up      bool          // UDP has answered, and its connection stands
	silent  time.Duration // for how long UDP has owed bytes and said nothing
	waiting bool          // the relay has none of what is wanted, so rates tell nothing
	loss    float64       // share of UDP's packets that were lost so far
	left    int64         // bytes that have not come; negative: not known
}

// Times and shares of the governor's judgements.
const (
	headStart   = 250 * time.Millisecond // for UDP, at least; twice as much for one that is known
	proveTime   = 400 * time.Millisecond // at least
	compareTime = time.Second            // at least
	aloneWindow = 3 * time.Second
	deadAfter   = 3 * time.Second // without a byte over TCP
	nearby      = 2 * time.Millisecond
	retestAfter = 15 * time.Second
	sizeSoon    = 5 * time.Second  // a size that was not known at first mostly is by then
	shortRest   = 4 * time.Second  // of work: no comparison pays any more
	longRest    = 40 * time.Second // the same for a UDP that nothing speaks against: up to 2 s are lost
	suspicious  = 3                // TCP's few first bytes came no slower than UDP's rate by this
	throttled   = 0.5              // of its packets lost: nobody's link is like that
	worthAdding = 1.25             // both together must bring so much more than UDP alone
	fewOf       = 4                // TCP this much faster than UDP carries alone
	fallen      = 0.4              // of its best rate
)

// look takes what has happened by now, and says what each path may do.
func (g *governor) look(now time.Duration, s sight) (udp, tcp schedule.Allowance) {
	switch {
	case !g.udp:
		return schedule.None, schedule.Full
	case !g.tcp:
		return schedule.Full, schedule.None
	}
	g.step(now, s)
	switch g.state {
	case proving:
		return schedule.Full, schedule.Cautious
	case alone, checking:
		return schedule.Full, schedule.None
	case comparing, shared:
		return schedule.Full, schedule.Full
	case beaten:
		return schedule.None, schedule.Full
	}
	if g.patient(now, s) {
		return schedule.Full, schedule.Cautious
	}
	return schedule.None, schedule.Full // what is asked for over UDP may never come
}

// patient tells whether TCP should still leave room for UDP's first answer.
func (g *governor) patient(now time.Duration, s sight) bool {
	return g.known >= 0 && !g.waited(now, s)
}

// waited tells whether UDP has had the time for its first answer.
func (g *governor) waited(now time.Duration, s sight) bool {
	wait := headStart
	if g.known > 0 {
		wait *= 2
	}
	return s.ticket > 0 && now-s.ticket >= max(wait, 3*s.rtt)
}

func (g *governor) step(now time.Duration, s sight) {
	well := s.up && s.silent < g.patience(s.rtt)
	if g.state != trying && g.state != beaten && !well {
		g.enter(trying, now, s)
	}
	if (g.state == trying || g.state == proving) && s.rtt > 0 && s.rtt < g.near {
		g.enter(beaten, now, s)
	}
	age := now - g.since
	switch g.state {
	case trying:
		switch {
		case well && g.known < 0: // TCP works already
			g.before, g.total = 0, 0
			g.enter(comparing, now, s)
		case well:
			g.enter(proving, now, s)
		}
	case beaten:
		g.doubt(now, s)
	case proving:
		g.prove(now, age, s)
	case comparing:
		g.compare(now, age, s)
	case checking:
		g.check(now, age, s)
	case alone:
		g.watch(now, s)
	}
}

// patience is how long UDP may be silent while it owes bytes.
func (g *governor) patience(rtt time.Duration) time.Duration {
	return min(max(3*rtt+300*time.Millisecond, 500*time.Millisecond), 1500*time.Millisecond)
}

func (g *governor) enter(c contest, now time.Duration, s sight) {
	g.state, g.since = c, now
	g.mark, g.at = now, s.paths
	switch c {
	case alone:
		g.best = 0
	case proving:
		g.start = s.tcp
	}
}

// prove lets UDP find its rate, and asks for a comparison if much is left and
// nothing says that this rate is the link's.
func (g *governor) prove(now, age time.Duration, s sight) {
	if s.waiting || s.left < 0 && now-s.ticket < sizeSoon {
		g.enter(proving, now, s) // the relay may be what is slow, and how much is left decides
		return
	}
	switch long := max(proveTime, 5*s.rtt); {
	case age < long/2: // it is still growing
		g.mark, g.at = now, s.paths
		return
	case age < long:
		return
	}
	rate := g.recent(now, s)
	rest := longRest
	if s.loss > throttled || rate < g.known*fallen || suspicious*g.shownTCP(now, s) > rate {
		rest = shortRest
	}
	if (g.known == 0 || rate < g.known*fallen) && pays(s, rate, rest) {
		g.before, g.total = rate, rate+g.recentTCP(now, s)
		g.enter(comparing, now, s)
		return
	}
	g.enter(alone, now, s)
}

// doubt gives UDP another chance when TCP brings nothing any more.
func (g *governor) doubt(now time.Duration, s sight) {
	switch {
	case s.waiting || s.tcp > g.at.tcp:
		g.mark, g.at = now, s.paths
	case now-g.mark > deadAfter:
		g.near = 0
		g.enter(trying, now, s)
	}
}

// recent is UDP's mean rate since the mark.
func (g *governor) recent(now time.Duration, s sight) float64 {
	return float64(s.udp-g.at.udp) / max((now-g.mark).Seconds(), 1e-3)
}

// recentTCP is the same of TCP.
func (g *governor) recentTCP(now time.Duration, s sight) float64 {
	return float64(s.tcp-g.at.tcp) / max((now-g.mark).Seconds(), 1e-3)
}

// shownTCP is the rate of the few bytes that TCP may bring while UDP is proving:
// one that starts no slower than all that UDP does makes UDP look throttled.
func (g *governor) shownTCP(now time.Duration, s sight) float64 {
	return float64(s.tcp-g.start) / max((now-g.since).Seconds(), 1e-3)
}

// pays tells whether so much is left that a comparison is worth it.
func pays(s sight, rate float64, rest time.Duration) bool {
	return s.left < 0 || float64(s.left) > rate*rest.Seconds()
}

// compare lets both work. TCP needs some round trips to get going; what counts
// is the second part.
func (g *governor) compare(now, age time.Duration, s sight) {
	half := max(compareTime, 6*s.rtt)
	switch {
	case s.waiting:
		g.enter(comparing, now, s)
		return
	case age < half:
		g.mark, g.at = now, s.paths
		return
	case age < 2*half:
		return
	}
	u := g.recent(now, s)
	t := g.recentTCP(now, s)
	g.tested, g.both = now, u+t
	switch {
	case u+t < g.before*worthAdding:
		g.enter(alone, now, s)
	case t > fewOf*u && u+t > g.total*worthAdding:
		g.poor = true
		g.enter(beaten, now, s)
	default: // TCP may just have taken UDP's room, as behind a deep queue
		g.enter(checking, now, s)
	}
}

// check sees what UDP does alone once more, since before the comparison it may
// still have been growing.
func (g *governor) check(now, age time.Duration, s sight) {
	half := max(compareTime, 4*s.rtt)
	switch {
	case s.waiting:
		g.enter(checking, now, s)
	case age < half/2: // what TCP had asked for still comes
		g.mark, g.at = now, s.paths
	case age < half:
	case g.both < g.recent(now, s)*worthAdding:
		g.enter(alone, now, s)
	default:
		g.enter(shared, now, s)
	}
}

// watch sees to it that a UDP which is throttled in mid-file is compared again.
func (g *governor) watch(now time.Duration, s sight) {
	if s.waiting {
		g.mark, g.at = now, s.paths
		return
	}
	if now-g.mark < max(aloneWindow, 10*s.rtt) {
		return
	}
	rate := g.recent(now, s)
	g.mark, g.at = now, s.paths
	if rate < g.best*fallen && now-g.tested > retestAfter && pays(s, rate, shortRest) {
		g.before, g.total = rate, rate // TCP rests
		g.enter(comparing, now, s)
		return
	}
	g.best = max(g.best, rate)
}

// learned is what a run may tell the next one of UDP's rate, in bytes a second;
// 0: nothing; -n: it was tried and did badly in n runs. The rate counts only after a
// comparison with TCP: a small file's says little, and that of a throttled UDP
// would pass for the link's ever after. Without one, what last told stays.
func (g *governor) learned(now time.Duration, s sight, last, mean float64) float64 {
	rate := max(g.best, mean)
	switch {
	case !g.udp || !g.tcp:
		return last
	case g.failed(now, s) && g.known > -failedBefore:
		return min(g.known, 0) - 1
	case g.served() && g.tested > 0:
		return rate
	case g.served() && last > 0:
		return max(rate, last)
	}
	return 0
}

// served tells whether UDP did well.
func (g *governor) served() bool {
	return g.state == proving || g.state == alone || g.state == checking
}

// failed tells whether UDP was tried and did badly, so that the next run need not
// wait for it.
func (g *governor) failed(now time.Duration, s sight) bool {
	switch {
	case g.state == beaten:
		return g.poor
	case g.state == trying && s.udp == 0:
		return g.known < 0 || g.waited(now, s)
	}
	return false
}

// failedBefore is for how many runs a failure is remembered, until UDP gets its
// full chance again.
const failedBefore = 4
