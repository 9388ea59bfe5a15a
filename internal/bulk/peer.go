package bulk

import (
	"context"
	"errors"
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
	job    Job
	key    Key
	until  time.Time
	mark   [macLen]byte
	refuse bool // there is no room: it lives only to say so
	memory int64
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup // goroutines that use the body
	wake   chan struct{}

	mu      sync.Mutex
	inbox   []*received
	ready   []uint64 // ranges whose next byte is there
	opened  *opened
	from    netip.AddrPort // of the first packet
	reheard int64          // bytes of copies of it from there
	rival   Path           // where a copy came from, if from elsewhere

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

	body    Body
	object  string
	cache   cache
	led     *ledger
	box     *outbox
	tail    tail
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
	probes   int    // packets to be sent whatever the window says
	small    int    // of them of the base size
	probed   uint64 // packets before this one have been repeated by this timeout,
	probeEnd uint64 // up to the last one
	rounds   int    // and so many times all
	waiters  int
	poll     time.Duration // when to look again at ranges without a waiter; 0: no need
	again    time.Duration // when the tail wants to be asked; 0: no need
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

// opened is what Job.Open gave.
type opened struct {
	body Body
	err  error
}

func newPeer(s *Server, id uint64, client uint32, a *admission, d *Datagram) *peer {
	p := &peer{
		s: s, id: id, client: client, job: a.job, key: a.key, until: a.until, mark: a.mark,
		hs: a.hs, first: a.first, wake: make(chan struct{}, 1),
		box: newOutbox(), window: -1,
	}
	p.ctx, p.cancel = context.WithCancel(s.ctx)
	p.led = newLedger(p.grow)
	p.largest = int(min(a.first.open.largest, maxPacket))
	p.object = string(a.first.open.object)
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
	p.wantNews(&p.first.want)
	p.at.granted = p.job.Allowed(p.at.path.Remote.Addr())
	switch {
	case p.refuse:
		p.fail(CodeBusy)
	case !p.at.granted:
		p.notice = true
	default:
		p.open()
	}
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

// open asks for the body on a goroutine of its own, since the origin may take
// its time.
func (p *peer) open() {
	if p.body != nil {
		return
	}
	p.tasks.Go(func() {
		body, err := p.job.Open(p.ctx, p.object)
		p.mu.Lock()
		p.opened = &opened{body, err}
		p.mu.Unlock()
		p.poke()
	})
	p.body = nobody{}
}

// nobody stands for a body that is being opened.
type nobody struct{}

func (nobody) Object() string                    { return "" }
func (nobody) Size() (int64, bool)               { return 0, false }
func (nobody) ReadAt([]byte, int64) (int, error) { return 0, nil }
func (nobody) Wait(context.Context, int64) error { return nil }
func (nobody) Close() error                      { return nil }

// hasBody tells whether there is an open body.
func (p *peer) hasBody() bool {
	_, none := p.body.(nobody)
	return p.body != nil && !none
}

// takeBody takes in what open brought.
func (p *peer) takeBody(o *opened) {
	if o.err != nil {
		p.fail(codeOf(o.err))
		if p.code == CodeFailed && p.ctx.Err() == nil {
			p.s.log.Warn("a body can't be served over UDP", "err", o.err)
		}
		return
	}
	p.body = o.body
	if p.object != "" && o.body.Object() != p.object {
		p.fail(CodeChanged)
		return
	}
	p.object = o.body.Object()
	p.learnSize()
	p.ctl.set(ctlMeta, p.led.next)
}

// learnSize looks whether the object's size is known by now.
func (p *peer) learnSize() {
	if p.box.size >= 0 || !p.hasBody() {
		return
	}
	if n, known := p.body.Size(); known {
		p.box.size = n
		p.ctl.set(ctlMeta, p.led.next)
	}
}

func codeOf(err error) Code {
	switch {
	case errors.Is(err, ErrChanged):
		return CodeChanged
	case errors.Is(err, ErrGone):
		return CodeGone
	}
	return CodeFailed
}

// fail begins to close the connection.
func (p *peer) fail(c Code) {
	if p.state == closing {
		return
	}
	p.state, p.code, p.closed, p.tell = closing, c, p.now(), true
	p.cancel()
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
	return p.code == CodeDone || now-p.closed >= closingTime
}

// end gives back all that the connection had.
func (p *peer) end() {
	p.cancel()
	p.untrace()
	if p.heard {
		p.s.paths.put(p.at.path.Remote.Addr(), p.cc.Path(), p.sizer.size)
	}
	p.s.forget(p)
	p.tasks.Wait()
	p.mu.Lock()
	o := p.opened // if nobody took it
	for _, r := range p.inbox {
		receivedPool.Put(r)
	}
	p.inbox = nil
	p.mu.Unlock()
	if o != nil && o.body != nil && !p.hasBody() {
		p.body = o.body
	}
	if p.body != nil {
		if err := p.body.Close(); err != nil {
			p.s.log.Debug("a body did not close", "err", err)
		}
	}
	p.s.memory.Add(p.memory)
}
