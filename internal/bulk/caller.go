package bulk

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// caller is a client's end of a connection, whatever that carries.
type caller struct {
	pc      PacketConn
	remote  netip.AddrPort
	key     Key
	silence time.Duration
	cargo   errand
	start   time.Time
	ended   chan struct{} // closed when all goroutines have ended
	answer  chan struct{} // closed at the first answer

	mu    sync.Mutex
	err   error // why it ends or has ended
	link  link
	armed time.Duration // the read deadline that is set
	stats Stats
}

// errand is what a client's connection carries. The connection's lock is held
// while its methods are called.
type errand interface {
	// first appends the frames of the first packet, all but the padding.
	first(b []byte) []byte

	// firstAt is when that packet may go, and how long it has to be at least.
	firstAt() (at time.Duration, length int)

	// answered is told when the keys are made.
	answered()

	// take takes in a packet, or returns false: then it counts as lost.
	take(f *fromRelay) bool

	// say appends what a packet has to tell.
	say(b []byte, now time.Duration) []byte

	// brought is told after each round of reading.
	brought(now time.Duration)

	// send sends what has to go and returns when to call it again, 0 for never.
	send(now time.Duration) time.Duration

	// owed tells whether an answer of the relay is due.
	owed() bool

	// window is how many bytes may be in flight; negative: any number.
	window() int64

	// refused gets an ERROR that does not end the connection.
	refused(e *errorFrame)
}

func (c *caller) init(pc PacketConn, remote netip.AddrPort, key Key, silence time.Duration, cargo errand) {
	if silence <= 0 {
		silence = defaultSilence
	}
	c.pc, c.remote, c.key, c.silence, c.cargo = pc, remote, key, silence, cargo
	c.start, c.ended, c.answer = time.Now(), make(chan struct{}), make(chan struct{})
	c.link.init()
}

// Done is closed when the connection has ended and all that came has been handed
// over.
func (c *caller) Done() <-chan struct{} { return c.ended }

// Err returns why the connection ends: ErrClosed after Close, *SilentError,
// *RefusedError, the Sink's error or the socket's. It is nil while it works.
func (c *caller) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// fail ends the connection; the first error stays.
func (c *caller) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failLocked(err)
}

func (c *caller) failLocked(err error) {
	if c.err == nil {
		c.err = err
		c.rouse()
	}
}

// rouse has the loop look again at once; the lock is held.
func (c *caller) rouse() {
	c.armed = 0
	_ = c.pc.SetReadDeadline(time.Unix(1, 0)) // a closed socket wakes it as well
}

func (c *caller) now() time.Duration { return time.Since(c.start) }

// lost is how many packets have not come, of those numbered up to the newest.
func (c *caller) lost() uint64 {
	if !c.link.rx.any {
		return 0
	}
	newest := c.link.rx.newest + 1
	return newest - min(newest, c.stats.Packets)
}

// Pauses between rounds of reading, while much is coming: the kernel collects
// packets meanwhile and says when each came. To wake up is what costs most on a
// link of some 100 Mbps.
const (
	longPause  = 5 * time.Millisecond
	pause      = 2 * time.Millisecond
	shortPause = 200 * time.Microsecond
	roundSize  = 128 // packets that a round should bring; more shorten the pause
	pauseFrom  = 8   // packets that make a pause worthwhile
)

// pauses chooses how long to pause after each round.
type pauses struct{ last time.Duration }

// next returns the pause after a round of n packets; acknowledgements go at
// this interval.
func (p *pauses) next(n int, interval time.Duration) time.Duration {
	most := min(max(pause, interval/3), longPause)
	if p.last == 0 {
		p.last = pause
	}
	p.last = min(most, max(shortPause, p.last*roundSize/time.Duration(n)))
	return p.last
}

// loop reads packets until the connection ends.
func (c *caller) loop() {
	batch := make([]Datagram, readBatch)
	var rest pauses
	round := 0
	for {
		c.mu.Lock()
		now := c.now()
		next := c.tick(now)
		if c.err != nil {
			c.mu.Unlock()
			return
		}
		err := c.arm(now, next)
		interval := c.link.interval
		c.mu.Unlock()
		n := 0
		if err == nil {
			n, err = c.pc.ReadBatch(batch)
		}
		c.takeBatch(batch[:n])
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			if errors.Is(err, net.ErrClosed) {
				err = ErrClosed
			}
			c.fail(err)
			return
		}
		if round += n; n == len(batch) || n == 0 && round == 0 {
			continue
		}
		if round >= pauseFrom {
			time.Sleep(rest.next(round, interval))
		}
		round = 0
	}
}

// arm sets the deadline of the next read. One that is set already and a little
// too early will do: to change it costs more than to wake once in vain.
func (c *caller) arm(now, next time.Duration) error {
	if c.armed > now+armSlack && c.armed <= next {
		return nil
	}
	c.armed = next
	return c.pc.SetReadDeadline(c.start.Add(next))
}

const armSlack = 200 * time.Microsecond

// bye tells the relay that the connection ends; the lock is held.
func (c *caller) bye() {
	var refused *RefusedError
	if !c.link.established() || errors.As(c.err, &refused) {
		return
	}
	for range 3 {
		c.say(c.now(), func(b []byte) []byte { return append(b, frameBye, byte(CodeDone)) })
	}
}

// takeBatch takes in what one read brought.
func (c *caller) takeBatch(batch []Datagram) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range batch {
		c.receive(&batch[i])
	}
	c.cargo.brought(c.now())
}

// receive takes in one datagram; the lock is held.
func (c *caller) receive(d *Datagram) {
	l := &c.link
	a, ok := parseAnswer(d.Data, l.client)
	if !ok {
		c.receiveCookie(d)
		return
	}
	if !l.established() && !c.establish(&a) {
		return
	}
	plain, number, ok := l.in.open(d.Data, a.head, a.low)
	l.frames.number = number
	if !ok || l.frames.parse(plain) != nil || !c.cargo.take(&l.frames) {
		return // what is acknowledged does not come again
	}
	now := c.now()
	l.heard, l.patience = now, leastPatience
	l.known = l.known || a.msg2 == nil
	c.stats.Packets++
	c.stats.Received += int64(len(d.Data) + wireOverhead)
	c.stats.Datagram = max(c.stats.Datagram, len(d.Data))
	l.urgent = l.urgent || !l.rx.any
	l.rx.add(number, d.At.Sub(c.start).Microseconds())
	c.takeControl(&l.frames)
}

// establish makes the keys of the relay's answer.
func (c *caller) establish(a *answer) bool {
	l := &c.link
	if a.msg2 == nil || l.hs == nil {
		return false
	}
	id, in, out, err := l.hs.finish(a.msg2)
	if err != nil {
		return false // somebody else's
	}
	l.relay, l.in, l.out, l.hs = id, in, out, nil
	c.stats.Handshake = c.now() - l.began
	c.cargo.answered()
	close(c.answer)
	return true
}

// receiveCookie asks again with the cookie that a busy relay has sent.
func (c *caller) receiveCookie(d *Datagram) {
	l := &c.link
	if l.established() || l.hello == nil {
		return
	}
	ephemeral := l.hello[helloHead : helloHead+ephemeralLen]
	cookie, ok := openCookie(d.Data, &c.key, l.client, ephemeral)
	if !ok {
		return
	}
	before := [macLen]byte(l.hello[len(l.hello)-macLen:])
	signHello(l.hello, cookie)
	if before != [macLen]byte(l.hello[len(l.hello)-macLen:]) {
		c.sendPacket(l.hello, c.now())
	}
}

// takeControl does what the frames say that all connections have.
func (c *caller) takeControl(f *fromRelay) {
	l := &c.link
	if f.has.has(framePace) {
		l.interval = time.Duration(f.pace.interval) * time.Microsecond
		l.longest = max(l.interval, time.Duration(f.pace.longest)*time.Microsecond)
		l.packets = int(f.pace.packets)
		l.rtt = time.Duration(f.pace.rtt) * time.Microsecond
	}
	if f.has.has(framePong) {
		l.waiting, l.unknown = f.waiting, false
	}
	if f.has.has(frameChallenge) {
		l.response, l.respond = f.challenge, true
	}
	switch {
	case !f.has.has(frameError):
	case f.err.code == CodeAddress:
		l.unknown = true
		c.cargo.refused(&f.err)
	default:
		c.failLocked(&RefusedError{f.err.code})
	}
}
