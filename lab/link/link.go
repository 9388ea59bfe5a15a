// Package link is the model of one direction of an access link: pure
// arithmetic on packets and times, with no clock and no socket of its own. The
// emulator (package emu) drives it with real packets and the controller's tests
// drive it in virtual time, so both mean the same by "a bad link".
//
// # What happens to a packet, in order
//
//  1. A policer (token bucket of Rate and Bucket) drops what is over its rate;
//     UDP may have one of its own, or be dropped altogether.
//  2. A drop-tail queue of Queue bytes waits for the wire; a packet that does not
//     fit is dropped.
//  3. The wire takes length x 8 / Rate seconds for the IP packet.
//  4. Loss: independent with probability Loss, and by a Gilbert-Elliott chain
//     (Gilbert 1960, Elliott 1963) that may lose whole bursts. It happens after
//     the wire, so a lost packet has used its slot: the most that can arrive is
//     Rate x (1 - loss).
//  5. Delay, with Jitter (uniform, in order) and Reorder, the probability that a
//     packet changes places with the one that was sent four before it.
//
// One seed gives one sequence of random numbers, drawn once for each packet
// that reaches the stage, whatever the times.
package link

import (
	"math/rand/v2"
	"time"
)

// Config describes one direction. The zero value of a field switches its
// stage off, so the zero Config delivers everything at once.
type Config struct {
	Rate    float64       // bit/s of IP packets; 0: unlimited
	Queue   int           // bytes that may wait for the wire; 0: unlimited
	Delay   time.Duration // one way
	Jitter  time.Duration // uniform in [0, Jitter), never overtaking
	Reorder float64       // probability of changing places with an earlier packet
	Loss    float64       // probability, independent
	Burst   Burst         // bursts of loss, beside Loss
	Police  Bucket        // over everything
	UDP     Bucket        // over UDP alone
	NoUDP   bool          // drop all UDP
	Down    bool          // the link is gone: drop everything
	MTU     int           // bytes; larger packets are dropped silently (a black hole); 0: none
}

// Burst is a Gilbert-Elliott chain, moved on by each packet.
type Burst struct {
	Enter float64 // P(good to bad)
	Leave float64 // P(bad to good); 1/Leave is the mean length of a burst in packets
	Lose  float64 // probability of loss while bad
}

// Mean returns the long-run share of packets that the chain loses.
func (b Burst) Mean() float64 {
	if b.Enter == 0 {
		return 0
	}
	return b.Lose * b.Enter / (b.Enter + b.Leave)
}

// Bucket is a token bucket. A Rate of 0 means no limit.
type Bucket struct {
	Rate  float64 // bit/s
	Depth int     // bytes
}

// MeanLoss returns the long-run share of packets lost after the queue.
func (c Config) MeanLoss() float64 { return 1 - (1-c.Loss)*(1-c.Burst.Mean()) }

// Limit returns the most bit/s that can arrive in the long run, or 0 if
// nothing limits it.
func (c Config) Limit() float64 {
	rate := c.Rate
	if c.Police.Rate > 0 && (rate == 0 || c.Police.Rate < rate) {
		rate = c.Police.Rate
	}
	return rate * (1 - c.MeanLoss())
}

// Verdict is what became of a packet.
type Verdict uint8

// The verdicts. All but Delivered are drops, by cause.
const (
	Delivered  Verdict = iota
	DropQueue          // the queue was full
	DropLoss           // lost on the wire
	DropPolice         // over the policer's rate
	DropUDP            // UDP is blocked or throttled
	DropDown           // the link was gone
	DropMTU            // larger than the MTU
	verdicts
)

// Verdicts is the number of different verdicts, for tables indexed by one.
const Verdicts = int(verdicts)

func (v Verdict) String() string {
	return [...]string{"delivered", "queue", "loss", "policer", "udp", "down", "mtu"}[v]
}

// Fate is what became of a packet and when.
type Fate struct {
	Verdict Verdict
	At      time.Duration // when it leaves the link, if delivered
	Waited  time.Duration // in the queue, if it got that far
	Swap    bool          // it changes places with the packet sent four before
}

// Link is one direction in operation. Times are since an origin of the
// caller's choosing and must not go back. It is not safe for concurrent use.
type Link struct {
	cfg    Config
	rnd    *rand.Rand
	free   time.Duration // when the wire is free again
	last   time.Duration // the latest departure given out
	bad    bool          // the state of the Gilbert-Elliott chain
	police bucket
	udp    bucket
}

// New returns a link whose random numbers follow from seed.
func New(cfg Config, seed uint64) *Link {
	return &Link{
		cfg:    cfg,
		rnd:    rand.New(rand.NewPCG(seed, 0x6c696e6b)),
		police: newBucket(cfg.Police),
		udp:    newBucket(cfg.UDP),
	}
}

// Config returns the current description.
func (l *Link) Config() Config { return l.cfg }

// Change replaces the description from now on. Packets that already wait keep
// the departure they were given; random numbers and buckets go on.
func (l *Link) Change(cfg Config) {
	if cfg.Police != l.cfg.Police {
		l.police = newBucket(cfg.Police)
	}
	if cfg.UDP != l.cfg.UDP {
		l.udp = newBucket(cfg.UDP)
	}
	l.cfg = cfg
}

// Send puts an IP packet of size bytes on the link at the time now.
func (l *Link) Send(now time.Duration, size int, udp bool) Fate {
	if v := l.admit(now, size, udp); v != Delivered {
		return Fate{Verdict: v}
	}
	start := max(now, l.free)
	waited := start - now
	done := start
	if l.cfg.Rate > 0 {
		// What waits is the time until the wire is free, at its rate.
		backlog := waited.Seconds() * l.cfg.Rate / 8
		if l.cfg.Queue > 0 && backlog+float64(size) > float64(l.cfg.Queue) {
			return Fate{Verdict: DropQueue}
		}
		done = start + time.Duration(float64(size)*8e9/l.cfg.Rate)
		l.free = done
	}
	if l.lost() {
		return Fate{Verdict: DropLoss, Waited: waited}
	}
	at := done + l.cfg.Delay
	if l.cfg.Jitter > 0 {
		at += time.Duration(l.rnd.Float64() * float64(l.cfg.Jitter))
	}
	at = max(at, l.last)
	l.last = at
	return Fate{At: at, Waited: waited, Swap: l.cfg.Reorder > 0 && l.rnd.Float64() < l.cfg.Reorder}
}

// admit applies everything that stands before the queue.
func (l *Link) admit(now time.Duration, size int, udp bool) Verdict {
	switch {
	case l.cfg.Down:
		return DropDown
	case l.cfg.MTU > 0 && size > l.cfg.MTU:
		return DropMTU
	case udp && l.cfg.NoUDP, udp && !l.udp.take(now, size):
		return DropUDP
	case !l.police.take(now, size):
		return DropPolice
	}
	return Delivered
}

// lost draws the packet's fate on the wire.
func (l *Link) lost() bool {
	lost := false
	if b := l.cfg.Burst; b.Enter > 0 {
		if l.bad {
			l.bad = l.rnd.Float64() >= b.Leave
		} else {
			l.bad = l.rnd.Float64() < b.Enter
		}
		lost = l.bad && l.rnd.Float64() < b.Lose
	}
	if l.cfg.Loss > 0 && l.rnd.Float64() < l.cfg.Loss {
		lost = true
	}
	return lost
}

// bucket is a token bucket in bytes; it starts full.
type bucket struct {
	Bucket
	tokens float64
	at     time.Duration
}

// defaultDepth is what a bucket without a depth gets: some 43 full packets.
const defaultDepth = 64_000

func newBucket(b Bucket) bucket {
	if b.Depth == 0 {
		b.Depth = defaultDepth
	}
	return bucket{Bucket: b, tokens: float64(b.Depth)}
}

// take removes size bytes and reports whether they were there.
func (b *bucket) take(now time.Duration, size int) bool {
	if b.Rate == 0 {
		return true
	}
	b.tokens = min(float64(b.Depth), b.tokens+(now-b.at).Seconds()*b.Rate/8)
	b.at = now
	if b.tokens < float64(size) {
		return false
	}
	b.tokens -= float64(size)
	return true
}
