package client

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/jumpget/jumpget/internal/bulk"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/reach"
	"github.com/jumpget/jumpget/internal/schedule"
	"github.com/jumpget/jumpget/internal/span"
)

// behind is by how much a request for the data follows the submission: the relay
// needs that long to know its token, and a first packet that comes too early is
// repeated anyway.
const behind = 5 * time.Millisecond

// submission is the id under which a request is submitted. In a session it also
// says what token the job will have, so the data can be asked for in the same
// moment.
type submission struct {
	mu   sync.Mutex
	name job.ID

	sent chan struct{} // closed once it has been written to the tunnel
	once sync.Once
}

func newSubmission() *submission { return &submission{name: job.NewID(), sent: make(chan struct{})} }

func (s *submission) id() job.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.name
}

// renew takes another id, for a job that the relay has lost.
func (s *submission) renew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.name = job.NewID()
}

func (s *submission) wrote() { s.once.Do(func() { close(s.sent) }) }

// advance is where a download's data can be asked for before its ticket is here.
type advance struct {
	session reach.Session
	token   string      // that the job will have, if it is submitted in the session
	first   []span.Span // what to ask for
}

// newAdvance returns nil where there is no session, or no job to be submitted.
func newAdvance(d *download) *advance {
	s, ok := d.c.sessions.opener.Session()
	if !ok || d.req.Job != "" {
		return nil
	}
	return &advance{session: s, token: s.Secret.Hash().Ticket(string(d.submission.id())), first: d.firstRanges()}
}

// door is the session's public door.
func (a *advance) door() (job.Endpoint, bool) {
	if a == nil {
		return job.Endpoint{}, false
	}
	return a.session.Endpoint("https")
}

// over tells whether a token has ended with the session that it was made in.
func (a *advance) over(d *download, token string) bool {
	if a == nil || token != a.token {
		return false
	}
	s, _ := d.c.sessions.opener.Session()
	return s.ID != a.session.ID
}

// firstRanges is what is asked for while nothing is known but what an earlier run
// left: as much as a worker whose rate is not known is given.
func (d *download) firstRanges() []span.Span {
	all := []span.Span{{Start: 0, End: schedule.FirstBacklog}}
	if d.file == nil || d.file.Have() == 0 {
		return all
	}
	var first []span.Span
	left := int64(schedule.FirstBacklog)
	for _, sp := range d.file.Missing(span.Span{End: 1 << 61}) {
		if len(first) == maxFirst || left <= 0 {
			break
		}
		sp.End = min(sp.End, sp.Start+left)
		left -= sp.Len()
		first = append(first, sp)
	}
	return first
}

// early is a connection over UDP that was opened ahead of the ticket.
type early struct {
	udpConn
	cancel context.CancelFunc
}

// ahead asks for the first bytes with the token that the job will have, and goes
// on to work with that connection if the ticket and the object turn out to be what
// was expected. Else the connection is dropped, and nothing was lost.
func (p *udpPath) ahead(ctx context.Context, a *advance) error {
	at, has := a.session.Endpoint(job.SchemeUDP)
	if !has {
		return nil
	}
	select {
	case <-p.d.submission.sent:
		sleep(ctx, behind)
	case <-ctx.Done():
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	remote, err := p.d.c.resolveUDP(ctx, at)
	if err != nil {
		return err
	}
	p.d.wg.Go(func() { // until the ticket says otherwise
		if t, err := p.d.waitTicket(ctx); err == nil && t.Token != a.token {
			cancel()
		}
	})
	c := &early{udpConn: udpConn{path: p, wake: make(chan struct{}, 1), pieces: map[bulk.RangeID]udpRange{}}, cancel: cancel}
	g := &gate{ctx: ctx, open: make(chan struct{})}
	if !p.start(c) {
		return nil
	}
	defer p.forget(c)
	if c.conn, err = dialUDP(ctx, remote, job.Ticket{Token: a.token}, bulk.Config{
		Sink: g, First: a.first, Rate: p.d.c.cfg.Limit, Silence: udpSilence,
		NotGranted: func(addr netip.Addr) { p.grant(ctx, addr) },
	}); err != nil {
		return err
	}
	defer func() { _ = c.conn.Close() }() // run has returned what matters
	defer cancel()                        // before that: the gate lets nobody wait any more
	p.alive.Store(&c.udpConn)
	defer p.alive.Store(nil)
	if _, err := p.d.engine.wait(ctx, present); err != nil {
		return err
	}
	if c.engine == nil {
		return nil // it was of no use
	}
	c.giveUp()
	g.pass(&c.udpConn)
	return c.run(ctx)
}

// start lets the main loop know of a connection that is being opened; false: it
// comes too late.
func (p *udpPath) start(c *early) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.begun {
		return false
	}
	p.early = c
	return true
}

// claim makes a worker of the connection that was opened ahead, if there is one,
// before anybody else is given what it has asked for. The main loop calls it when
// the first object is known.
func (p *udpPath) claim(e *engine) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.early
	t, _, _ := p.d.ticket.get()
	if p.begun = true; c == nil || t.Token != p.d.advance.token {
		return
	}
	if c.worker = e.join(PathUDP, 0); c.worker == nil {
		return
	}
	c.engine = e
	context.AfterFunc(e.ctx, c.cancel)
	for _, sp := range p.d.advance.first {
		c.last++
		if piece := e.adopt(c.worker, sp); piece != nil {
			c.pieces[c.last] = udpRange{piece, piece.End}
		}
	}
}

// forget is for the end of a connection that was opened ahead.
func (p *udpPath) forget(c *early) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.early = nil
	if c.engine != nil {
		c.engine.leave(c.worker)
	}
}

// giveUp cancels the ranges of which something is not wanted: what comes of them
// still counts.
func (c *early) giveUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.last {
		if _, is := c.pieces[id+1]; !is {
			c.conn.Cancel(id + 1)
		}
	}
}

// errOther says that what came ahead is of another object.
var errOther = errors.New("what was asked for ahead belongs to another version of the file")

// gate holds up what comes ahead until it is known whose it is. Package bulk
// buffers what waits, and slows the relay down before that is too much.
type gate struct {
	ctx  context.Context // lets nobody wait any more
	open chan struct{}   // closed once to is set
	to   *udpConn
	same bool // to's object is the connection's
}

// pass opens the gate.
func (g *gate) pass(to *udpConn) {
	g.to = to
	close(g.open)
}

func (g *gate) wait() error {
	select {
	case <-g.open:
	case <-g.ctx.Done():
		select {
		case <-g.open: // it goes first
		default:
			return context.Cause(g.ctx)
		}
	}
	return nil
}

// Data is that of a bulk.Sink. By the first byte the relay has told the object.
func (g *gate) Data(off int64, p []byte) error {
	if err := g.wait(); err != nil {
		return err
	}
	if !g.same {
		if id, _, _ := g.to.conn.Object(); job.ID(id) != g.to.engine.object {
			return errOther
		}
		g.same = true
	}
	return g.to.Data(off, p)
}

// Done is that of a bulk.Sink.
func (g *gate) Done(id bulk.RangeID, at span.Span) {
	if g.wait() == nil {
		g.to.Done(id, at)
	}
}
