package client

import (
	"context"
	"errors"
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
	"github.com/jumpget/jumpget/internal/wire"
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

// target is where a slot connects to.
type target struct {
	endpoint job.Endpoint
	guess    bool
	pin      func(context.Context) (string, error) // nil: the endpoint's
}

// errElsewhere says that a guess at the door's place was wrong.
var errElsewhere = errors.New("the relay's public door is elsewhere")

// target returns the endpoint to connect to. With may and without a ticket it
// is a guess, whose pin the ticket has to bring.
func (o *door) target(ctx context.Context, may bool) (target, error) {
	if may {
		if e, ok := o.guess(); ok {
			return target{endpoint: e, guess: true, pin: func(ctx context.Context) (string, error) { return o.pinOf(ctx, e) }}, nil
		}
	}
	t, err := o.d.waitTicket(ctx)
	if err != nil {
		return target{}, err
	}
	doors := job.HTTPEndpoints(t.Endpoints)
	if len(doors) == 0 {
		return target{}, job.Errorf(job.CodeUnavailable, "the relay has told no public door")
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return target{endpoint: doors[o.endpoint%len(doors)]}, nil
}

// first is the endpoint that comes first; its host is empty if there is none.
func (o *door) first() job.Endpoint {
	t, _, _ := o.d.ticket.get()
	if doors := job.HTTPEndpoints(t.Endpoints); len(doors) > 0 {
		return doors[0]
	}
	return job.Endpoint{}
}

// guess is where the door probably is: where the session says, where it was the
// last time, or the default port of the machine that ssh reaches.
func (o *door) guess() (job.Endpoint, bool) {
	if _, has, _ := o.d.ticket.get(); has {
		return job.Endpoint{}, false
	}
	if e, ok := o.d.advance.door(); ok {
		return e, true
	}
	if r, ok := o.d.c.memory.load(); ok {
		return job.Endpoint{Scheme: r.Scheme, Host: r.Host, Port: r.Port}, true
	}
	host, err := o.d.c.host()
	if err != nil || host == "" {
		return job.Endpoint{}, false
	}
	return job.Endpoint{Scheme: "https", Host: host, Port: wire.DefaultPublicPort}, true
}

// pinOf waits for the ticket and returns the pin of the door at e. A session has
// told it: the handshake can end before there is a ticket, whose pin has to be the
// same for the connection to be used.
func (o *door) pinOf(ctx context.Context, e job.Endpoint) (string, error) {
	if known, ok := o.d.advance.door(); ok && sameDoor(known, e) {
		return known.Pin, nil
	}
	t, err := o.d.waitTicket(ctx)
	if err != nil {
		return "", err
	}
	for _, known := range t.Endpoints {
		if sameDoor(known, e) {
			return known.Pin, nil
		}
	}
	return "", errElsewhere
}

func sameDoor(a, b job.Endpoint) bool {
	return a.Scheme == b.Scheme && a.Host == b.Host && a.Port == b.Port
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
