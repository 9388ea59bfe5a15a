package congestion

import (
	"math/rand/v2"
	"time"

	"github.com/jumpget/jumpget/internal/linksim"
)

// flow is a sender with a controller and its receiver, on a path in virtual
// time: what the bulk protocol does, without bytes.
type flow struct {
	path *linksim.Path
	c    *Controller
	opt  flowOptions

	// Sender.
	next       uint64
	sent       []time.Duration // by number
	state      []fate
	lowest     uint64        // packets below are settled
	newestSent time.Duration // when the newest acknowledged packet was sent
	news       time.Duration // when an acknowledgement last brought news
	backoff    int
	wake       *linksim.Timer
	timeout    *linksim.Timer
	samples    []Sample
	given      []uint64
	spent      int  // bytes sent
	hasty      bool // gives packets up far too early
	rnd        *rand.Rand

	// Receiver.
	arrived  []time.Duration // by number; 0: not yet
	timed    []uint64        // numbers whose arrival is reported, in order
	largest  uint64
	unsaid   int
	stride   int
	since    int
	ackEvery time.Duration
	lastAck  time.Duration
	ackTimer *linksim.Timer
	covered  [8]uint64 // the largest number at the latest acknowledgements
	acks     int
	Bytes    int // delivered, wire bytes
	ackBytes int
}

// flowOptions are what a test may change. The zero value is a sender with data
// for ever and a receiver whose clock is far off but steady.
type flowOptions struct {
	start   time.Duration
	drift   float64       // of the receiver's clock: 100e-6 gains 100 ppm
	step    time.Duration // by which the receiver's clock is set at stepAt
	stepAt  time.Duration
	supply  func(now time.Duration) int // bytes that the application has given up to now; nil: no limit
	trace   func(Round)
	id      int           // tells flows on one path apart
	further time.Duration // of extra way there, for this flow alone
	perPack int           // wire size; 0: 1500
	known   Path          // what is remembered
	stalls  float64       // share of the sender's wake-ups that come up to 12 ms late
}

const flowPacket = 1500

func newFlow(path *linksim.Path, opt flowOptions) *flow {
	if opt.perPack == 0 {
		opt.perPack = flowPacket
	}
	f := &flow{path: path, opt: opt, ackEvery: 5 * time.Millisecond, stride: 1}
	f.rnd = rand.New(rand.NewPCG(1, uint64(opt.id)))
	f.c = New(Config{Trace: opt.trace, MaxPacket: opt.perPack, Remembered: opt.known})
	f.wake = path.Sim.NewTimer(f.fill)
	f.timeout = path.Sim.NewTimer(f.probe)
	f.ackTimer = path.Sim.NewTimer(f.acknowledge)
	f.wake.Set(opt.start)
	return f
}

// clock is the receiver's.
func (f *flow) clock(now time.Duration) time.Duration {
	at := 12345*time.Hour + now + time.Duration(f.opt.drift*float64(now))
	if f.opt.step != 0 && now >= f.opt.stepAt {
		at += f.opt.step
	}
	return at
}

func (f *flow) fill() {
	now := f.path.Sim.Now()
	for f.c.Allowance(now) >= f.opt.perPack {
		if f.opt.supply != nil && f.spent+f.opt.perPack > f.opt.supply(now) {
			f.c.OnAppLimited(now)
			f.wake.Set(now + time.Millisecond)
			return
		}
		f.send(now)
	}
	if at := f.c.NextSend(now); at != Never {
		// No timer is exact, which also keeps flows from moving in step.
		late := time.Duration(50+f.rnd.IntN(150)) * time.Microsecond
		if f.opt.stalls > 0 && f.rnd.Float64() < f.opt.stalls {
			late = time.Duration(f.rnd.IntN(12000)) * time.Microsecond
		}
		f.wake.Set(max(at, now) + late)
	}
}

func (f *flow) send(now time.Duration) {
	n := f.next
	f.next++
	f.sent = append(f.sent, now)
	f.state = append(f.state, flying)
	f.arrived = append(f.arrived, 0)
	f.spent += f.opt.perPack
	f.c.OnSent(now, n, f.opt.perPack)
	f.path.Down.Send(linksim.Packet{Size: f.opt.perPack, UDP: true, Number: n, Body: f.c.AckInterval(), To: f.receive})
	if _, waits := f.timeout.Waiting(); !waits {
		f.timeout.Set(now + f.patience())
	}
}

func (f *flow) patience() time.Duration {
	if f.c.RTT() == 0 {
		return time.Second << min(f.backoff, 4)
	}
	return max(2*f.c.RTT()+f.c.AckInterval(), 50*time.Millisecond) << min(f.backoff, 4)
}

// probes is how many packets ask for a sign of life: more than one burst may eat.
const probes = 8

// probe sends a few packets, whatever the controller says, when nothing was heard for long.
func (f *flow) probe() {
	now := f.path.Sim.Now()
	if f.c.InFlight() == 0 {
		return
	}
	if wait := max(f.news, f.sent[f.next-1]) + f.patience(); f.backoff == 0 && wait > now {
		f.timeout.Set(wait)
		return
	}
	f.backoff++
	f.c.OnTimeout(now)
	f.give(now - f.patience()/2)
	for range probes {
		f.send(now)
	}
	f.timeout.Set(now + f.patience())
	f.fill()
}

// receive is the receiver's end.
func (f *flow) receive(p linksim.Packet) {
	if f.opt.further > 0 {
		f.path.Sim.At(f.path.Sim.Now()+f.opt.further, func() { f.take(p) })
		return
	}
	f.take(p)
}

func (f *flow) take(p linksim.Packet) {
	now := f.path.Sim.Now()
	n := p.Number
	if f.arrived[n] != 0 {
		return
	}
	f.arrived[n] = now
	f.Bytes += p.Size
	f.ackEvery = p.Body.(time.Duration)
	f.unsaid++
	f.since++
	if n >= f.largest && f.since >= f.stride {
		f.timed = append(f.timed, n)
		f.since = 0
	}
	f.largest = max(f.largest, n)
	// A thin uplink can't carry an acknowledgement for every packet or two.
	switch f.unsaid {
	case 1:
		f.ackTimer.Set(max(f.lastAck+f.ackEvery, now+ackPatience))
	case ackPackets:
		f.ackTimer.Set(f.lastAck + f.ackEvery)
	}
}

// ack names what had arrived by the time at.
type ack struct {
	lo, hi uint64
	at     time.Duration
	timed  []uint64
}

const (
	ackPackets    = 8
	ackPatience   = 40 * time.Millisecond
	samplesPerAck = 40
	ackBase       = 90 // wire bytes, and two for each sample
)

func (f *flow) acknowledge() {
	now := f.path.Sim.Now()
	a := ack{lo: f.covered[f.acks%len(f.covered)], hi: f.largest, at: now}
	a.lo -= min(a.lo, 64)
	f.covered[f.acks%len(f.covered)] = f.largest
	a.timed = f.timed[max(0, len(f.timed)-samplesPerAck):]
	f.stride = max(1, f.unsaid/12)
	f.acks++
	f.unsaid = 0
	f.lastAck = now
	size := ackBase + 2*len(a.timed) + min(int(a.hi-a.lo)/8, 200)
	f.ackBytes += size
	f.path.Up.Send(linksim.Packet{Size: size, UDP: true, Body: a, To: f.acked})
}

func (f *flow) acked(p linksim.Packet) {
	a := p.Body.(ack)
	now := f.path.Sim.Now()
	f.samples = f.samples[:0]
	t := 0
	for n := a.lo; n <= a.hi; n++ {
		for t < len(a.timed) && a.timed[t] < n {
			t++
		}
		if f.arrived[n] == 0 || f.arrived[n] > a.at || f.state[n] == acked {
			continue
		}
		f.state[n] = acked
		f.newestSent = max(f.newestSent, f.sent[n])
		f.samples = append(f.samples, Sample{
			Number: n, Arrived: f.clock(f.arrived[n]),
			Timed: t < len(a.timed) && a.timed[t] == n,
		})
	}
	if len(f.samples) > 0 {
		f.news = now
		f.backoff = 0
		f.timeout.Set(now + f.patience())
	}
	f.c.OnAck(Ack{Now: now, Left: f.clock(a.at), Samples: f.samples})
	if f.hasty {
		f.give(now - f.c.RTT()*9/10)
	} else {
		f.give(f.newestSent - max(f.c.BaseRTT()/8, 2*time.Millisecond))
	}
	f.fill()
}

// give gives up what was sent before a time and not acknowledged.
func (f *flow) give(before time.Duration) {
	f.given = f.given[:0]
	for ; f.lowest < f.next && f.sent[f.lowest] < before; f.lowest++ {
		if f.state[f.lowest] == flying {
			f.state[f.lowest] = lost
			f.given = append(f.given, f.lowest)
		}
	}
	if len(f.given) > 0 {
		f.c.OnLost(f.path.Sim.Now(), f.given)
	}
}
