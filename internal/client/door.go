package client

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jumpget/jumpget/internal/conns"
	"github.com/jumpget/jumpget/internal/contest"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/progress"
	"github.com/jumpget/jumpget/internal/schedule"
	"github.com/jumpget/jumpget/internal/transport"
)

// doorSilence is how long the door may owe bytes before ssh helps out.
const doorSilence = 5 * time.Second

// door keeps connections to the relay's public door, as many as carry the most.
// Each is a slot: a goroutine that connects, works, and connects again.
type door struct {
	d     *download
	ctx   context.Context
	agent string
	count *conns.Counter

	bytes   atomic.Int64 // brought in this run
	rtt     atomic.Int64 // of the first connection, nanoseconds; 0: not known
	last    atomic.Int64 // when bytes came last, nanoseconds since the download's start; 0: never
	started bool         // there is a ticket, so slots know where to go
	slots   []*slot      // main loop only
	peak    int          // the most connections at once

	mu       sync.Mutex
	served   job.Endpoint  // delivered last
	endpoint int           // index of the ticket's endpoint that is used
	down     error         // why there is no connection at the moment; nil: there may be
	probe    *slot         // the one slot that tries while the door is down
	up       chan struct{} // closed when the door is no longer down
	conns    map[*slot]*transport.RangeConn
}

// newDoor connects at once, while ssh still starts.
func newDoor(ctx context.Context, d *download) *door {
	last, _ := d.c.memory.load()
	o := &door{
		d: d, ctx: ctx, agent: "jumpget/" + d.c.cfg.Version,
		count: conns.New(d.c.cfg.Connections, conns.Served{N: last.Connections, RTT: time.Duration(last.RTT) * time.Millisecond}),
		conns: map[*slot]*transport.RangeConn{},
	}
	if d.c.allowed(PathTCP) {
		o.adjust(o.ready(), conns.Most)
		d.report.path(PathTCP, progress.PathTrying, "")
	}
	return o
}

// ready is how many connections should stand before it is clear who will carry
// the file: few where UDP did so the last time.
func (o *door) ready() int {
	if o.d.gov.Trusts() {
		return min(o.count.Wanted(), schedule.Standby)
	}
	return o.count.Wanted()
}

// prepare makes more connections to a door that turns out to be far, while
// nothing is known of the object yet.
func (o *door) prepare() {
	if !o.d.c.allowed(PathTCP) {
		return
	}
	o.reach()
	o.adjust(o.ready(), conns.Most)
}

// reach goes by how far the door is, before there is more to go by.
func (o *door) reach() {
	rtt := time.Duration(o.rtt.Load())
	if rtt == 0 || o.bytes.Load() > 0 {
		return
	}
	o.count.Reach(rtt)
	if !o.count.AsBefore(rtt) {
		o.d.gov.Forgive()
	}
}

// reached notes how far the door is, once.
func (o *door) reached(s transport.Socket) {
	if o.rtt.CompareAndSwap(0, int64(s.RTT)) {
		trySend(o.d.nudge, struct{}{})
	}
}

// adjust makes the number of working slots n, but adds none beyond useful.
func (o *door) adjust(n, useful int) {
	working := 0
	for _, s := range o.slots {
		if s.dismissed.Load() {
			continue
		}
		if working++; working > n {
			s.dismissed.Store(true) // it finishes what it has asked for
			working--
		}
	}
	for ; working < min(n, useful); working++ {
		s := &slot{door: o, guess: !o.started}
		o.slots = append(o.slots, s)
		o.d.wg.Go(func() { s.run(o.ctx) })
	}
	o.slots = compact(o.slots)
}

// compact drops the slots that have ended.
func compact(slots []*slot) []*slot {
	out := slots[:0]
	for _, s := range slots {
		if !s.ended.Load() {
			out = append(out, s)
		}
	}
	clear(slots[len(out):])
	return out
}

// tick decides by time: how many connections there are to be, and which of
// them is to be replaced.
func (o *door) tick(e *engine) {
	if !o.d.c.allowed(PathTCP) {
		return
	}
	o.started = true
	o.reach()
	n, open := o.count.Wanted(), o.open()
	if o.d.gov.State() == contest.Comparing {
		n = min(n, conns.First) // enough to show what TCP can do
	}
	if o.d.tcp != schedule.Full { // who has little to do tells nothing, and more of them still less
		o.count.Rest()
		keep := min(n, schedule.Standby)
		if o.d.tcp == schedule.Cautious {
			keep = o.ready() // their turn may come at once
		}
		o.adjust(keep, e.useful())
		return
	}
	if e.busy(PathTCP) && open >= n {
		n = o.count.Observe(time.Since(o.d.started), o.flow())
	} else {
		o.count.Rest()
	}
	o.peak = max(o.peak, open)
	o.adjust(n, e.useful())
	if w := e.slowest(PathTCP); w != nil {
		o.replace(w)
	}
}

// replace closes a slow worker's connection; its slot makes a new one.
func (o *door) replace(w *schedule.Worker) {
	if o.renew(func(s *slot) bool { return s.worker.Load() == w }) {
		o.d.c.cfg.Log.Info("a connection is much slower than the others and is replaced")
	}
}

// reconnect closes every connection; their slots make new ones at once.
func (o *door) reconnect() { _ = o.renew(func(*slot) bool { return true }) }

// renew closes the connections of some slots, and reports whether there are any.
func (o *door) renew(which func(*slot) bool) (some bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for s, c := range o.conns {
		if which(s) {
			some = true
			s.replaced.Store(true)
			_ = c.Close() // its reader reports what matters
		}
	}
	return some
}

// open is the number of connections that stand.
func (o *door) open() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.conns)
}

// flow is what the counter goes by.
func (o *door) flow() conns.Flow {
	all := o.inspect()
	return conns.Flow{Bytes: o.bytes.Load(), RTT: all.RTT, Now: all.Now, Segments: all.Segments, Disordered: all.Disordered}
}

// inspect returns the least round trip time of all connections, the
// middle one of late, and their packets together.
func (o *door) inspect() (all transport.Socket) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var now []time.Duration
	for _, c := range o.conns {
		s := c.Inspect()
		if s.RTT > 0 && (all.RTT == 0 || s.RTT < all.RTT) {
			all.RTT = s.RTT
		}
		if s.Now > 0 {
			now = append(now, s.Now)
		}
		all.Segments += s.Segments
		all.Disordered += s.Disordered
	}
	if len(now) > 0 {
		slices.Sort(now)
		all.Now = now[len(now)/2]
	}
	return all
}

// delivered notes bytes; the first ones make the ssh path leave.
func (o *door) delivered(n int) {
	o.bytes.Add(int64(n))
	if o.last.Swap(int64(time.Since(o.d.started))) == 0 {
		o.d.ssh.want(false)
	}
	o.d.strike.clear()
}

// failing tells whether the ssh path is needed: the door has not delivered
// anything yet, owes bytes for too long, or may not be trusted with some.
func (o *door) failing(e *engine) bool {
	last := time.Duration(o.last.Load())
	switch {
	case e.distrusted():
		return true
	case o.d.udp.delivering():
		return false
	case !o.d.c.allowed(PathTCP), last == 0:
		return time.Since(o.d.started) > o.d.sshPatience()
	case o.isDown() && o.open() == 0:
		return true
	}
	return e.owed(PathTCP) && time.Since(o.d.started)-last > doorSilence
}

func (o *door) isDown() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.down != nil
}

// why tells why no connection stands at the moment; nil if one does or may.
func (o *door) why() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.conns) > 0 {
		return nil
	}
	return o.down
}

// admit lets a slot try to connect; while the door is down only one does.
func (o *door) admit(ctx context.Context, s *slot) error {
	for {
		o.mu.Lock()
		if o.down == nil || o.probe == nil || o.probe == s {
			if o.down != nil {
				o.probe = s
			}
			o.mu.Unlock()
			return nil
		}
		up := o.up
		o.mu.Unlock()
		select {
		case <-up:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// connected takes a connection in and lets the others follow.
func (o *door) connected(s *slot, c *transport.RangeConn) {
	o.mu.Lock()
	o.conns[s] = c
	first := len(o.conns) == 1
	o.reopen()
	o.mu.Unlock()
	if first {
		trySend(o.d.nudge, struct{}{})
	}
}

// reopen ends the time of being down; the lock is held.
func (o *door) reopen() {
	if o.down != nil {
		o.down, o.probe = nil, nil
		close(o.up)
	}
}

// closed forgets a slot's connection.
func (o *door) closed(s *slot) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.conns, s)
}

// unreachable notes that a slot could not connect; the next try goes to the
// next endpoint.
func (o *door) unreachable(s *slot, err error) {
	o.mu.Lock()
	o.endpoint++
	first := o.down == nil
	if first {
		o.up = make(chan struct{})
		o.probe = s
	}
	o.down = err
	none := len(o.conns) == 0
	o.mu.Unlock()
	if first && none {
		o.d.report.path(PathTCP, progress.PathDown, err.Error())
	}
}

// left lets another slot try in place of one that ends.
func (o *door) left(s *slot) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.probe == s {
		o.probe = nil
		close(o.up) // whoever wakes first is the next to try
		o.up = make(chan struct{})
	}
}
