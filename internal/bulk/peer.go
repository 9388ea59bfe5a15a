package bulk

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/jumpget/jumpget/internal/congestion"
)

// Memory and bounds of one connection on the relay.
const (
	sendBuffer = 64 << 10
	aheadLen   = 64 << 10
	inboxLen   = 64 // packets

	// peerMemory is what a connection takes whatever it does: its read-ahead,
	// its inbox, and the smallest tables of ledger and controller.
	peerMemory = 256 << 10

	// slotMemory is what a packet in flight takes in those tables.
	slotMemory = 96
)

// state is where a connection stands (section 4).
type state uint8

const (
	answering state = iota
	serving
	closing
)

// peer is the relay's end of one connection. What is not behind mu belongs to
// the goroutine of run.
type peer struct {
	s      *Server
	id     uint64
	client uint32
	key    Key
	mark   [macLen]byte
	refuse bool // there is no room: it lives only to say so
	memory int64
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup // goroutines that use the freight
	wake   chan struct{}

	mu      sync.Mutex
	inbox   []*received
	from    netip.AddrPort // of the first packet
	reheard int64          // bytes of copies of it from there
	rival   Path           // where a copy came from, if from elsewhere
	doubt   bool           // whether the key still counts has to be looked up

	hs    *handshake
	first fromClient // the first packet's
	in    *opener
	out   *sealer
	msg2  []byte // nil once the client has answered
	heard bool
	state state

	at      place
	other   candidate
	largest int // packet that the client takes

	load    freight
	may     set // frames
	led     *ledger
	box     *outbox
	tail    tail
	sums    *repairs // nil: none
	uncoded bool     // there is to be none
	sizer   *sizer
	cc      *congestion.Controller
	tracer  Tracer // nil: none
	ccFrom  uint64 // the controller knows packets from this one on
	frames  fromClient
	spare   []*received
	ctl     controls
	pace    paceFrame
	limit   bucket
	repeats bucket
	window  int64 // that the client told; negative: none

	samples  []congestion.Sample
	news     time.Duration // when something was acknowledged, or a flight began
	timeouts int
	probes   int           // packets to be sent whatever the window says
	small    int           // of them of the base size
	probed   uint64        // packets before this one have been repeated by this timeout,
	probeEnd uint64        // up to the last one
	rounds   int           // and so many times all
	tailAt   time.Duration // when the tail wants to be asked; 0: no need
	detectAt time.Duration // when the ledger does
	uplink   uplink
	hungry   bool // there was nothing to send
	held     bool // something beside the controller holds the sender back
	heardAt  time.Duration
	checked  time.Duration
	created  time.Duration
	pongs    []uint64
	notice   bool          // tell the client that its address is not granted
	code     Code          // why it closes
	left     bool          // the client has said so itself
	closed   time.Duration // when it began to close
	told     int           // how often it has said so
	tell     bool          // say so once more
}

// received is a packet in the inbox.
type received struct {
	buf  [maxPacket + 28]byte
	n    int
	path Path
	at   time.Time
}

var receivedPool = sync.Pool{New: func() any { return new(received) }}

func newPeer(s *Server, id uint64, client uint32, a *admission, d *Datagram) *peer {
	p := &peer{
		s: s, id: id, client: client, key: a.key, mark: a.mark,
		hs: a.hs, first: a.first, wake: make(chan struct{}, 1),
		box: newOutbox(), window: -1,
	}
	p.ctx, p.cancel = context.WithCancel(s.ctx)
	p.led = newLedger(p.grow)
	p.largest = int(min(a.first.open.largest, maxPacket))
	p.load, p.may = a.freight(p)
	p.from = d.Path.Remote
	p.at = place{path: d.Path, received: int64(len(d.Data))}
	return p
}

// now is the time since the server's start.
func (p *peer) now() time.Duration { return time.Since(p.s.start) }

// grow takes memory for a larger ledger.
func (p *peer) grow(slots int) bool {
	n := int64(slots) * slotMemory
	if !p.s.take(n) {
		return false
	}
	p.memory += n
	return true
}

// deliver puts a packet into the inbox; the reader of the socket calls it.
func (p *peer) deliver(d *Datagram) {
	r := receivedPool.Get().(*received)
	if len(d.Data) > len(r.buf) {
		receivedPool.Put(r)
		return
	}
	r.n = copy(r.buf[:], d.Data)
	r.path, r.at = d.Path, d.At
	p.mu.Lock()
	if len(p.inbox) >= inboxLen {
		receivedPool.Put(p.inbox[0])
		p.inbox = append(p.inbox[:0], p.inbox[1:]...)
	}
	p.inbox = append(p.inbox, r)
	p.mu.Unlock()
	p.poke()
}

// copyOf notes a copy of the first packet.
func (p *peer) copyOf(d *Datagram) {
	p.mu.Lock()
	if d.Path.Remote == p.from {
		p.reheard += int64(len(d.Data))
	} else {
		p.rival = d.Path
	}
	p.mu.Unlock()
	p.poke()
}

// poke wakes run.
func (p *peer) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// run is the connection's life.
func (p *peer) run() {
	defer p.end()
	if !p.begin() {
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := p.now()
		p.read(now)
		p.look(now)
		if p.over(now) {
			return
		}
		timer.Reset(max(0, p.send(now)-p.now()))
		select {
		case <-p.wake:
		case <-timer.C:
		case <-p.s.ctx.Done():
			p.goDown()
			return
		}
	}
}

// begin makes the keys and takes in what the first packet asked for.
func (p *peer) begin() bool {
	var err error
	if p.msg2, p.in, p.out, err = p.hs.answer(p.id); err != nil {
		p.s.log.Debug("a first packet has a bad key", "err", err)
		return false
	}
	p.hs = nil
	now := p.now()
	p.created, p.heardAt, p.checked, p.news = now, now, now, now
	p.meet()
	p.load.take(&p.first)
	p.at.permit(p.load)
	switch {
	case p.refuse:
		p.fail(CodeBusy)
	case !p.at.granted:
		p.notice = true
	default:
		p.load.open()
	}
	p.load.met(p.at.path, false)
	return true
}

// meet begins to learn about the path anew.
func (p *peer) meet() {
	most := p.largest
	if !p.at.path.Remote.Addr().Unmap().Is4() {
		most = min(most, maxPacket-20)
	}
	before := p.s.paths.get(p.at.path.Remote.Addr())
	p.sizer = newSizer(most)
	p.sizer.believe(before.size)
	p.control(before.path)
	p.led.srtt, p.led.delay, p.led.late = 0, firstPaceLongest, 0
	p.setPace()
}

// control makes a new controller.
func (p *peer) control(known congestion.Path) {
	cfg := congestion.Config{MaxPacket: p.sizer.size + wireOverhead, Remembered: known}
	if p.s.cfg.Trace != nil {
		cfg.Trace = p.trace(p.s.cfg.Trace(p.at.path.Remote))
	}
	p.cc, p.ccFrom = congestion.New(cfg), p.led.next
}

// trace records with t from now on; it returns what the controller is to call.
func (p *peer) trace(t Tracer) func(congestion.Round) {
	p.untrace()
	if p.tracer = t; t == nil {
		return nil
	}
	return func(r congestion.Round) {
		r.At -= p.created
		t.Round(r)
	}
}

func (p *peer) untrace() {
	if p.tracer == nil {
		return
	}
	if err := p.tracer.Close(); err != nil {
		p.s.log.Warn("a trace could not be written", "err", err)
	}
	p.tracer = nil
}

// fail begins to close the connection.
func (p *peer) fail(c Code) {
	if p.state == closing {
		return
	}
	p.state, p.code, p.closed, p.tell = closing, c, p.now(), true
	p.cancel()
	p.load.failed(c)
}

// goDown says good-bye at once, because the server ends.
func (p *peer) goDown() {
	p.fail(CodeShutdown)
	p.sendError(p.now(), p.code)
}

// over tells whether the connection has ended.
func (p *peer) over(now time.Duration) bool {
	switch p.state {
	case answering:
		return now-p.created >= answerTimeout
	case serving:
		if now-p.heardAt >= idleTimeout {
			p.fail(CodeIdle)
		}
		return false
	}
	return p.left || now-p.closed >= closingTime
}

// end gives back all that the connection had.
func (p *peer) end() {
	p.fail(CodeIdle) // unless it closes already
	p.untrace()
	if p.heard && p.may.has(frameWant) { // a stream does not fill its path
		p.s.paths.put(p.at.path.Remote.Addr(), p.cc.Path(), p.sizer.size)
	}
	p.s.forget(p)
	p.tasks.Wait()
	p.mu.Lock()
	for _, r := range p.inbox {
		receivedPool.Put(r)
	}
	p.inbox = nil
	p.mu.Unlock()
	p.load.close()
	p.s.memory.Add(p.memory)
}
