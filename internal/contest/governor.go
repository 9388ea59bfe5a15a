package contest

import (
	"time"

	"github.com/jumpget/jumpget/internal/schedule"
)

// Governor decides which paths may take on work. UDP and TCP mostly share one
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
type Governor struct {
	udp, tcp bool          // paths that may be used at all
	near     time.Duration // see Options.Near
	known    float64       // see Options.Known

	state  State
	since  time.Duration // when the state began
	before float64       // UDP's rate before the comparison, bytes a second
	total  float64       // the same of both, while TCP was cautious
	both   float64       // what both brought in it
	best   float64       // UDP's best rate since it works alone
	start  int64         // TCP's bytes when the proving began
	mark   time.Duration // when a window of measurement began
	at     Bytes         // what had come by then
	tested time.Duration // when the last comparison ended
	poor   bool          // a comparison was lost by far
}

// State is where the contest between the paths stands.
type State int

// The states, of which a contest begins with Trying.
const (
	Trying    State = iota // UDP has not answered, or is silent
	Proving                // UDP finds its rate
	Comparing              // both work
	Checking               // UDP alone once more
	Alone                  // UDP carries everything
	Shared                 // both carry
	Beaten                 // TCP carries everything
)

func (s State) String() string {
	return [...]string{"trying", "proving", "comparing", "checking", "alone", "shared", "beaten"}[s]
}

// Bytes are how many bytes each path has brought.
type Bytes struct{ UDP, TCP int64 }

// Sight is what the governor is told at each look. Times are since any start, the
// same one for all.
type Sight struct {
	Bytes
	Ticket  time.Duration // when the ticket came; 0: not yet
	RTT     time.Duration // of whichever path knows; 0: nobody does
	Up      bool          // UDP has answered, and its connection stands
	Silent  time.Duration // for how long UDP has owed bytes and said nothing
	Waiting bool          // the relay has none of what is wanted, so rates tell nothing
	Loss    float64       // share of UDP's packets that were lost so far
	Left    int64         // bytes that have not come; negative: not known
}

// Nearby is the round trip time below which TCP is as good as UDP, and cheaper.
const Nearby = 2 * time.Millisecond

// Times and shares of the governor's judgements.
const (
	headStart   = 250 * time.Millisecond // for UDP, at least; twice as much for one that is known
	proveTime   = 400 * time.Millisecond // at least
	compareTime = time.Second            // at least
	checkWindow = 400 * time.Millisecond // at least
	checkTime   = 2 * time.Second        // at least
	aloneWindow = 3 * time.Second
	deadAfter   = 3 * time.Second // without a byte over TCP
	retestAfter = 15 * time.Second
	sizeSoon    = 5 * time.Second  // a size that was not known at first mostly is by then
	shortRest   = 4 * time.Second  // of work: no comparison pays any more
	longRest    = 40 * time.Second // the same for a UDP that nothing speaks against: up to 2 s are lost
	suspicious  = 3.0              // TCP's few first bytes came no slower than UDP's rate by this
	suspectLoss = 10.0             // the same for a UDP that lost most of its packets
	throttled   = 0.5              // of its packets lost: nobody's link is like that
	worthAdding = 1.25             // both together must bring so much more than UDP alone
	fewOf       = 4                // TCP this much faster than UDP carries alone
	fallen      = 0.4              // of its best rate
)

// Options say how a contest begins.
type Options struct {
	UDP, TCP bool          // paths that may be used at all
	Near     time.Duration // below this round trip time TCP carries all; Nearby, but for tests
	Known    float64       // what Learned told after the last run: bytes a second, or -n; 0: nothing
}

// New returns a governor that has seen nothing yet.
func New(o Options) *Governor {
	return &Governor{udp: o.UDP, tcp: o.TCP, near: o.Near, known: o.Known}
}

// State is where the contest stands.
func (g *Governor) State() State { return g.state }

// MayUDP tells whether UDP may be used at all.
func (g *Governor) MayUDP() bool { return g.udp }

// WithoutUDP takes UDP out of the contest, since the relay speaks none.
func (g *Governor) WithoutUDP() { g.udp = false }

// Trusts tells whether UDP carried the file the last time, and is expected to.
func (g *Governor) Trusts() bool { return g.known > 0 && g.udp }

// Forgive gives UDP its full chance although it did badly before, since that was
// on another link.
func (g *Governor) Forgive() {
	if g.known < 0 {
		g.known = 0
	}
}

// Look takes what has happened by now, and says what each path may do. It is called
// some times a second; what it has judged then shows in State.
func (g *Governor) Look(now time.Duration, s Sight) (udp, tcp schedule.Allowance) {
	switch {
	case !g.udp:
		return schedule.None, schedule.Full
	case !g.tcp:
		return schedule.Full, schedule.None
	}
	g.step(now, s)
	switch g.state {
	case Proving:
		return schedule.Full, schedule.Cautious
	case Alone, Checking:
		return schedule.Full, schedule.None
	case Comparing, Shared:
		return schedule.Full, schedule.Full
	case Beaten:
		return schedule.None, schedule.Full
	}
	if g.patient(now, s) {
		return schedule.Full, schedule.Cautious
	}
	return schedule.None, schedule.Full // what is asked for over UDP may never come
}

// patient tells whether TCP should still leave room for UDP's first answer.
func (g *Governor) patient(now time.Duration, s Sight) bool {
	return g.known >= 0 && !g.waited(now, s)
}

// waited tells whether UDP has had the time for its first answer.
func (g *Governor) waited(now time.Duration, s Sight) bool {
	wait := headStart
	if g.known > 0 {
		wait *= 2
	}
	return s.Ticket > 0 && now-s.Ticket >= max(wait, 3*s.RTT)
}

func (g *Governor) step(now time.Duration, s Sight) {
	well := s.Up && s.Silent < g.patience(s.RTT)
	if g.state != Trying && g.state != Beaten && !well {
		g.enter(Trying, now, s)
	}
	if (g.state == Trying || g.state == Proving) && s.RTT > 0 && s.RTT < g.near {
		g.enter(Beaten, now, s)
	}
	age := now - g.since
	switch g.state {
	case Trying:
		switch {
		case well && g.known < 0: // TCP works already
			g.before, g.total = 0, 0
			g.enter(Comparing, now, s)
		case well:
			g.enter(Proving, now, s)
		}
	case Beaten:
		g.doubt(now, s)
	case Proving:
		g.prove(now, age, s)
	case Comparing:
		g.compare(now, age, s)
	case Checking:
		g.check(now, age, s)
	case Alone:
		g.watch(now, s)
	}
}

// patience is how long UDP may be silent while it owes bytes.
func (g *Governor) patience(rtt time.Duration) time.Duration {
	return min(max(3*rtt+300*time.Millisecond, 500*time.Millisecond), 1500*time.Millisecond)
}

func (g *Governor) enter(c State, now time.Duration, s Sight) {
	g.state, g.since = c, now
	g.mark, g.at = now, s.Bytes
	switch c {
	case Alone:
		g.best = 0
	case Proving:
		g.start = s.TCP
	}
}

// prove lets UDP find its rate, and asks for a comparison if much is left and
// nothing says that this rate is the link's.
func (g *Governor) prove(now, age time.Duration, s Sight) {
	if s.Waiting || s.Left < 0 && now-s.Ticket < sizeSoon {
		g.enter(Proving, now, s) // the relay may be what is slow, and how much is left decides
		return
	}
	switch long := max(proveTime, 5*s.RTT); {
	case age < long/2: // it is still growing
		g.mark, g.at = now, s.Bytes
		return
	case age < long:
		return
	}
	rate := g.recent(now, s)
	rest := longRest
	if rate < g.known*fallen || g.suspects(now, s, rate) {
		rest = shortRest
	}
	if (g.known == 0 || rate < g.known*fallen) && pays(s, rate, rest) {
		g.before, g.total = rate, rate+g.recentTCP(now, s)
		g.enter(Comparing, now, s)
		return
	}
	g.enter(Alone, now, s)
}

// doubt gives UDP another chance when TCP brings nothing any more.
func (g *Governor) doubt(now time.Duration, s Sight) {
	switch {
	case s.Waiting || s.TCP > g.at.TCP:
		g.mark, g.at = now, s.Bytes
	case now-g.mark > deadAfter:
		g.near = 0
		g.enter(Trying, now, s)
	}
}

// recent is UDP's mean rate since the mark.
func (g *Governor) recent(now time.Duration, s Sight) float64 {
	return float64(s.UDP-g.at.UDP) / max((now-g.mark).Seconds(), 1e-3)
}

// recentTCP is the same of TCP.
func (g *Governor) recentTCP(now time.Duration, s Sight) float64 {
	return float64(s.TCP-g.at.TCP) / max((now-g.mark).Seconds(), 1e-3)
}

// suspects tells whether UDP looks throttled: TCP's few first bytes came not much
// slower than all that UDP does. Losses alone prove nothing, since a policer drops
// most of what a sender tries at its start; they only lower the bar.
func (g *Governor) suspects(now time.Duration, s Sight, rate float64) bool {
	by := suspicious
	if s.Loss > throttled {
		by = suspectLoss
	}
	return by*g.shownTCP(now, s) > rate
}

// shownTCP is the rate of the few bytes that TCP may bring while UDP is proving:
// one that starts no slower than all that UDP does makes UDP look throttled.
func (g *Governor) shownTCP(now time.Duration, s Sight) float64 {
	return float64(s.TCP-g.start) / max((now-g.since).Seconds(), 1e-3)
}

// pays tells whether so much is left that a comparison is worth it.
func pays(s Sight, rate float64, rest time.Duration) bool {
	return s.Left < 0 || float64(s.Left) > rate*rest.Seconds()
}

// compare lets both work. TCP needs some round trips to get going; what counts
// is the second part.
func (g *Governor) compare(now, age time.Duration, s Sight) {
	half := max(compareTime, 6*s.RTT)
	switch {
	case s.Waiting:
		g.enter(Comparing, now, s)
		return
	case age < half:
		g.mark, g.at = now, s.Bytes
		return
	case age < 2*half:
		return
	}
	u := g.recent(now, s)
	t := g.recentTCP(now, s)
	g.tested, g.both = now, u+t
	switch {
	case u+t < g.before*worthAdding:
		g.enter(Alone, now, s)
	case t > fewOf*u && u+t > g.total*worthAdding:
		g.poor = true
		g.enter(Beaten, now, s)
	default: // TCP may just have taken UDP's room, as behind a deep queue
		g.enter(Checking, now, s)
	}
}

// check sees what UDP does alone once more: before the comparison it may still
// have been growing, and in it TCP may have taken its room. A sender that was
// squeezed looks for more only every few round trips, so UDP gets a while.
func (g *Governor) check(now, age time.Duration, s Sight) {
	window := max(checkWindow, 2*s.RTT)
	switch {
	case s.Waiting:
		g.enter(Checking, now, s)
		return
	case now-g.mark < window:
		return
	}
	rate := g.recent(now, s)
	g.mark, g.at = now, s.Bytes
	switch {
	case age < 2*window: // what TCP had asked for still came
	case g.both < rate*worthAdding:
		g.enter(Alone, now, s)
	case age >= max(checkTime, 12*s.RTT):
		g.enter(Shared, now, s)
	}
}

// watch sees to it that a UDP which is throttled in mid-file is compared again.
func (g *Governor) watch(now time.Duration, s Sight) {
	if s.Waiting {
		g.mark, g.at = now, s.Bytes
		return
	}
	if now-g.mark < max(aloneWindow, 10*s.RTT) {
		return
	}
	rate := g.recent(now, s)
	g.mark, g.at = now, s.Bytes
	if rate < g.best*fallen && now-g.tested > retestAfter && pays(s, rate, shortRest) {
		g.before, g.total = rate, rate // TCP rests
		g.enter(Comparing, now, s)
		return
	}
	g.best = max(g.best, rate)
}
