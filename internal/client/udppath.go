package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jumpget/jumpget/internal/bulk"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/progress"
	"github.com/jumpget/jumpget/internal/reach"
	"github.com/jumpget/jumpget/internal/schedule"
	"github.com/jumpget/jumpget/internal/span"
	"github.com/jumpget/jumpget/internal/transport"
)

// udpPath keeps one connection of the bulk protocol to the relay, which carries
// as many ranges as it can hold.
type udpPath struct {
	d      *download
	bytes  atomic.Int64
	alive  atomic.Pointer[udpConn] // nil while there is no connection that has answered
	wanted cell[bool]              // whether there is to be a connection
	again  chan struct{}           // the governor has given the connection up

	mu    sync.Mutex
	early *early // opened ahead of the ticket, and not ended
	begun bool   // the object is known: it is too late for another
}

const (
	udpTick    = 20 * time.Millisecond // between two looks at what more may be asked for
	udpSilence = 10 * time.Second      // after which a connection is given up
)

func newUDPPath(ctx context.Context, d *download) *udpPath {
	p := &udpPath{d: d, again: make(chan struct{}, 1)}
	p.wanted.put(true)
	if d.c.allowed(PathUDP) {
		d.wg.Go(func() { p.run(ctx) })
	}
	return p
}

// udpEndpoint is where the ticket says that the relay's UDP port is.
func udpEndpoint(t job.Ticket) (job.Endpoint, bool) {
	for _, e := range t.Endpoints {
		if e.Scheme == job.SchemeUDP {
			return e, true
		}
	}
	return job.Endpoint{}, false
}

// run connects, works, and connects again, until ctx ends.
func (p *udpPath) run(ctx context.Context) {
	if a := p.d.advance; a != nil {
		err := p.ahead(ctx, a)
		if t, has, _ := p.d.ticket.get(); err != nil && ctx.Err() == nil && has && t.Token == a.token {
			p.failed(ctx, t, err)
		}
	}
	pause := newBackoff()
	for ctx.Err() == nil {
		if _, err := p.wanted.wait(ctx, func(on bool) bool { return on }); err != nil {
			return
		}
		t, err := p.d.waitTicket(ctx)
		if err != nil {
			return
		}
		if _, has := udpEndpoint(t); !has {
			return
		}
		e, err := p.d.engine.wait(ctx, present)
		if err != nil {
			return
		}
		if on, _, _ := p.wanted.get(); !on {
			continue
		}
		before := p.bytes.Load()
		err = p.once(t, e)
		if p.bytes.Load() > before {
			pause.Reset()
		}
		if err != nil && ctx.Err() == nil && e.ctx.Err() == nil {
			if wait := p.failed(ctx, t, err); wait {
				sleep(ctx, pause.NextBackOff())
			}
		}
	}
}

// failed does what an error asks for before the next connection, and tells
// whether that should wait.
func (p *udpPath) failed(ctx context.Context, t job.Ticket, err error) bool {
	d := p.d
	d.c.cfg.Log.Debug("a connection over UDP ended", "error", err)
	d.report.path(PathUDP, progress.PathDown, err.Error())
	if !d.c.allowed(PathTCP) {
		d.strike.count(err)
	}
	var refused *bulk.RefusedError
	if errors.As(err, &refused) {
		switch refused.Code {
		case bulk.CodeChanged:
			return d.refresh(ctx, d.jobID()) != nil
		case bulk.CodeGone:
			return d.access.renew(ctx, t.Token) != nil
		}
	}
	if d.advance.over(d, t.Token) { // a token that is no more is met with silence
		return d.access.renew(ctx, t.Token) != nil
	}
	return true
}

// once makes one connection and works with it until it ends, the object is done
// with, or the governor gives it up.
func (p *udpPath) once(t job.Ticket, e *engine) error {
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	at, _ := udpEndpoint(t)
	remote, err := p.d.c.resolveUDP(ctx, at)
	if err != nil {
		return err
	}
	w := e.join(PathUDP, 0)
	if w == nil {
		return nil
	}
	defer e.leave(w)
	c := &udpConn{path: p, engine: e, worker: w, wake: make(chan struct{}, 1), pieces: map[bulk.RangeID]udpRange{}}
	if c.conn, err = dialUDP(ctx, remote, t, bulk.Config{
		Sink: c, Object: string(e.object), First: c.assign(maxFirst), Last: e.exhausted(),
		Rate: p.d.c.cfg.Limit, Silence: udpSilence,
		NotGranted: func(a netip.Addr) { p.grant(ctx, a) },
	}); err != nil {
		return err
	}
	p.alive.Store(c)
	defer p.alive.Store(nil)
	defer func() { _ = c.conn.Close() }() // run has returned what matters
	return c.run(ctx)
}

// grant has an address allowed, aside.
func (p *udpPath) grant(ctx context.Context, addr netip.Addr) {
	asked := time.Now()
	p.d.wg.Go(func() {
		if _, err := p.d.waitTicket(ctx); err != nil {
			return // it was asked for ahead, and in vain
		}
		if err := p.d.access.grant(ctx, addr, asked); err != nil && ctx.Err() == nil {
			p.d.c.cfg.Log.Debug("the address that UDP uses could not be allowed", "address", addr, "error", err)
		}
	})
}

// dialUDP opens a connection on a socket of its own, keyed by a ticket.
func dialUDP(ctx context.Context, remote netip.AddrPort, t job.Ticket, cfg bulk.Config) (*bulk.Conn, error) {
	pc, err := transport.DialUDP(ctx, remote)
	if err != nil {
		return nil, err
	}
	cfg.Key = bulk.NewKey(sha256.Sum256([]byte(t.Token)))
	return bulk.Dial(ctx, pc, remote, cfg)
}

// resolveUDP looks the relay's name up, as it would be for TCP.
func (c *Client) resolveUDP(ctx context.Context, at job.Endpoint) (netip.AddrPort, error) {
	return reach.Resolve(ctx, c.cfg.Network, at)
}

// hangUp ends the connection because it has been silent for too long; another
// is tried.
func (p *udpPath) hangUp() { trySend(p.again, struct{}{}) }

// maxFirst is how many ranges fit into the first packet with ease.
const maxFirst = 8

// udpConn is one connection at work on one object.
type udpConn struct {
	path   *udpPath
	engine *engine
	worker *schedule.Worker
	conn   *bulk.Conn
	wake   chan struct{}

	mu     sync.Mutex
	pieces map[bulk.RangeID]udpRange
	last   bulk.RangeID // the highest given
}

// udpRange is a piece that the relay was asked for.
type udpRange struct {
	*schedule.Piece
	end int64 // of the range that the relay knows; the piece may have shrunk since
}

// Data takes bytes that came; see bulk.Sink.
func (c *udpConn) Data(off int64, b []byte) error {
	d := c.path.d
	if err := throttle(c.engine.ctx, d.c.limit, len(b)); err != nil {
		return err
	}
	if _, err := c.engine.arrived(c.worker, off, b); err != nil {
		d.fail(err) // the disk's; no connection can help
		return err
	}
	if c.path.bytes.Add(int64(len(b))) == int64(len(b)) {
		d.ssh.want(false)
	}
	d.report.path(PathUDP, progress.PathUp, "")
	d.strike.clear()
	return nil
}

// Done notes that a range is complete; see bulk.Sink.
func (c *udpConn) Done(id bulk.RangeID, _ span.Span) {
	c.mu.Lock()
	p := c.pieces[id]
	delete(c.pieces, id)
	c.mu.Unlock()
	if p.Piece != nil {
		c.engine.done(c.worker, p.Piece)
	}
	trySend(c.wake, struct{}{})
}

// run keeps the relay supplied with ranges.
func (c *udpConn) run(ctx context.Context) error {
	ticker := time.NewTicker(udpTick)
	defer ticker.Stop()
	for {
		select {
		case <-c.conn.Done():
			return c.conn.Err()
		default:
		}
		c.trim()
		if err := c.ask(); err != nil {
			return err
		}
		c.conn.SetLast(c.engine.exhausted())
		select {
		case <-ctx.Done():
			return nil
		case <-c.path.again:
			return &bulk.SilentError{After: c.conn.Stats().Silent, Answered: true}
		case <-c.conn.Done():
		case <-c.wake:
		case <-ticker.C:
		}
	}
}

// ask asks for what the scheduler gives.
func (c *udpConn) ask() error {
	for {
		ranges := c.assign(1)
		if len(ranges) == 0 {
			return nil
		}
		if _, err := c.conn.Request(ranges...); err != nil {
			return err
		}
	}
}

// assign takes up to n pieces from the scheduler. Their ids follow those given
// before, as bulk numbers them.
func (c *udpConn) assign(n int) []span.Span {
	var all []span.Span
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(all) < n {
		p, sp := c.engine.assignPiece(c.worker)
		if p == nil {
			break
		}
		c.last++
		c.pieces[c.last] = udpRange{p, sp.End}
		all = append(all, sp)
	}
	return all
}

// trim gives up the ranges that were taken from this path or that others have
// brought.
func (c *udpConn) trim() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, p := range c.pieces {
		switch sp, needed := c.engine.needed(c.worker, p.Piece); {
		case !needed:
			delete(c.pieces, id)
			c.conn.Cancel(id)
			c.engine.done(c.worker, p.Piece)
		case sp.End < p.end:
			c.pieces[id] = udpRange{p.Piece, sp.End}
			c.conn.Shrink(id, sp)
		}
	}
}
