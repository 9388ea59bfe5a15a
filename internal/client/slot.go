package client

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/progress"
	"github.com/jumpget/jumpget/internal/schedule"
	"github.com/jumpget/jumpget/internal/span"
	"github.com/jumpget/jumpget/internal/transport"
	"github.com/jumpget/jumpget/internal/wire"
)

// slot is the place of one connection to the public door.
type slot struct {
	door      *door
	guess     bool // may connect to where the door probably is, before there is a ticket
	pause     *backoff.ExponentialBackOff
	dismissed atomic.Bool // ends when its work is done
	ended     atomic.Bool
	grants    int                             // had its address granted so often
	replaced  atomic.Bool                     // its connection was closed for being slow
	worker    atomic.Pointer[schedule.Worker] // nil while it does not work
}

// run connects and works until it is dismissed or ctx ends.
func (s *slot) run(ctx context.Context) {
	defer s.ended.Store(true)
	defer s.door.left(s)
	s.pause = newBackoff()
	for ctx.Err() == nil && !s.dismissed.Load() {
		if err := s.door.admit(ctx, s); err != nil {
			return
		}
		err := s.once(ctx)
		if err == nil || ctx.Err() != nil {
			continue
		}
		if wait := s.judge(err); wait > 0 {
			sleep(ctx, wait)
		}
	}
}

// once makes one connection and works with it until it is used up.
func (s *slot) once(ctx context.Context) error {
	t, err := s.door.target(ctx, s.guess)
	s.guess = false
	if err != nil {
		return err
	}
	h := &hand{slot: s, endpoint: t.endpoint, pin: t.endpoint.Pin}
	dialer := transport.Dialer{Network: s.door.d.c.cfg.Network, Reached: s.door.reached, Pin: func(ctx context.Context) (pin string, err error) {
		if t.pin != nil {
			h.pin, err = t.pin(ctx)
		}
		return h.pin, err
	}}
	conn, err := dialer.Dial(ctx, t.endpoint)
	if err != nil {
		if t.guess && (!isType[*transport.PinMismatchError](err) || h.pin == t.endpoint.Pin) {
			return errElsewhere // a session's pin may be out of date: the ticket's decides
		}
		return err
	}
	h.conn = transport.NewRangeConn(conn, transport.RangeOptions{
		Stall:     s.door.stall(transport.Inspect(conn).RTT),
		Waiting:   h.waiting,
		UserAgent: s.door.agent,
	})
	s.door.connected(s, h.conn)
	defer s.door.closed(s)
	stop := context.AfterFunc(ctx, func() { _ = h.conn.Close() }) // what waits is to fail
	defer stop()
	err = h.work(ctx)
	_ = h.conn.Close() // after an error it tells nothing new
	if h.brought {
		s.pause.Reset()
	}
	return err
}

// stall is how long a connection may be silent before a new one is the better
// bet. It is far above a sender's first few timeouts on a lossy link.
func (o *door) stall(rtt time.Duration) time.Duration {
	return min(o.d.c.cfg.Timeout, max(6*time.Second, 25*rtt))
}

// judge says how long to wait after an error before the next connection; an
// error that no new connection can mend ends the download.
func (s *slot) judge(err error) time.Duration {
	d := s.door.d
	switch {
	case s.replaced.Swap(false), errors.Is(err, errElsewhere):
		return 0
	case isType[*transport.PinMismatchError](err):
		d.fail(err)
		return 0
	case isType[*transport.UnreachableError](err), isType[*transport.TLSError](err), isType[*job.Error](err):
		s.door.unreachable(s, err)
	}
	d.c.cfg.Log.Debug("a connection to the public door ended", "error", err)
	wait := s.pause.NextBackOff()
	if wait > time.Second || s.door.open() == 0 {
		d.strike.count(err)
	}
	return wait
}

func isType[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

// hand works with one connection.
type hand struct {
	slot     *slot
	endpoint job.Endpoint
	pin      string // that the certificate was compared with; empty: with none
	conn     *transport.RangeConn
	engine   *engine
	worker   *schedule.Worker
	ticket   job.Ticket // a refused one is renewed for the next connection
	brought  bool       // bytes came over this connection
}

// waiting tells the connection whether silence may be the relay's waiting for
// the origin.
func (h *hand) waiting() bool { return h.engine == nil || h.engine.waiting(h.worker) }

// work serves one object. An error of nil is an end in peace: the slot was
// dismissed, the object is done with, or an idle connection was closed.
func (h *hand) work(ctx context.Context) error {
	d := h.slot.door.d
	t, err := d.waitTicket(ctx)
	if err != nil {
		return err
	}
	h.ticket = t
	if !h.known() {
		return errElsewhere
	}
	e, err := d.engine.wait(ctx, present)
	if err != nil {
		return err
	}
	w := e.join(PathTCP, h.conn.Inspect().RTT)
	if w == nil {
		return nil
	}
	defer e.leave(w)
	h.engine, h.worker = e, w
	h.slot.worker.Store(w)
	defer h.slot.worker.Store(nil)
	stop := context.AfterFunc(e.ctx, func() { _ = h.conn.Close() })
	defer stop()
	for e.ctx.Err() == nil {
		if err := h.round(e.ctx); err != nil {
			return h.settle(err)
		}
		if h.slot.dismissed.Load() && h.conn.Pending() == 0 || !h.conn.Alive() {
			return nil
		}
	}
	return nil
}

// known tells whether the ticket knows the door that the connection leads to, by
// the same certificate, without which the token is not sent. Its path prefix comes
// from there.
func (h *hand) known() bool {
	for _, e := range h.ticket.Endpoints {
		if sameDoor(e, h.endpoint) && e.Pin == h.pin {
			h.endpoint = e
			return true
		}
	}
	return false
}

// round fills the pipe with requests and reads one answer.
func (h *hand) round(ctx context.Context) error {
	for !h.slot.dismissed.Load() {
		sp, ok, wake := h.engine.assign(h.worker)
		if ok {
			if err := h.conn.Request(h.get(sp)); err != nil {
				return err
			}
			continue
		}
		if h.conn.Pending() > 0 {
			break
		}
		h.engine.rest(ctx, wake)
		if ctx.Err() != nil {
			return nil
		}
	}
	if h.conn.Pending() == 0 {
		return nil
	}
	asked := time.Now()
	_, err := h.conn.Receive(h.take)
	if err == nil {
		h.engine.finished(h.worker)
		return nil
	}
	return h.refused(ctx, err, asked)
}

// get is the request for some bytes.
func (h *hand) get(sp span.Span) transport.Get {
	return transport.Get{
		Host:  hostPort(h.endpoint),
		Path:  h.endpoint.Path + wire.PublicPath(h.ticket.Job, job.DefaultName),
		Token: h.ticket.Token,
		ETag:  wire.ETag(h.engine.object),
		Span:  sp,
	}
}

// take is the sink of every answer.
func (h *hand) take(off int64, p []byte) (int64, error) {
	d := h.slot.door.d
	if err := throttle(h.engine.ctx, d.c.limit, len(p)); err != nil {
		return 0, err
	}
	end, err := h.engine.arrived(h.worker, off, p)
	if err != nil {
		d.fail(err) // the disk's; no connection can help
		return 0, err
	}
	if !h.brought {
		h.brought = true
		h.slot.grants = 0
		h.slot.door.firstBytes(h.endpoint)
	}
	h.slot.door.delivered(len(p))
	return end, nil
}

// firstBytes is for what is worth knowing once a connection delivers.
func (o *door) firstBytes(e job.Endpoint) {
	o.d.report.path(PathTCP, progress.PathUp, "")
	o.mu.Lock()
	defer o.mu.Unlock()
	o.served = e
}

// remember keeps what the next run can use, once the file is complete.
func (o *door) remember() {
	o.mu.Lock()
	e := o.served
	o.mu.Unlock()
	if e.Host == "" {
		e = o.first()
	}
	if e.Host == "" {
		return
	}
	last, _ := o.d.c.memory.load()
	if err := o.d.c.memory.save(remembered{
		Scheme: e.Scheme, Host: e.Host, Port: e.Port, Address: o.d.access.address(o.ctx),
		Connections: o.count.Proven(), RTT: time.Duration(o.rtt.Load()).Milliseconds(), UDPRate: o.d.udpRate(last.UDPRate),
	}); err != nil {
		o.d.c.cfg.Log.Debug("could not remember the relay's public door", "error", err)
	}
}

// refused deals with an answer that is none. With an address that had to be
// granted the connection goes on: what was asked for is asked for again.
func (h *hand) refused(ctx context.Context, err error, asked time.Time) error {
	var unknown *transport.NotGrantedError
	if !errors.As(err, &unknown) || !h.conn.Alive() {
		return err
	}
	h.engine.drop(h.worker)
	for h.conn.Pending() > 0 && h.conn.Alive() {
		if _, err := h.conn.Receive(h.take); err != nil && !isType[*transport.NotGrantedError](err) {
			return err
		}
	}
	if err := h.slot.door.d.access.grant(ctx, unknown.Addr, asked); err != nil {
		return err
	}
	h.slot.tooOften(ctx)
	return nil
}

// tooOften slows a slot down whose address is granted again and again, and
// still refused.
func (s *slot) tooOften(ctx context.Context) {
	if s.grants++; s.grants > 2 {
		sleep(ctx, min(time.Duration(s.grants)*time.Second, 15*time.Second))
	}
}

// settle does what an error asks for before a new connection is made: a fresh
// token, or news of the object.
func (h *hand) settle(err error) error {
	d, ctx := h.slot.door.d, h.engine.ctx // so that nobody waits who stands in the way of a new object
	switch {
	case ctx.Err() != nil:
		return nil
	case isType[*transport.RefusedError](err):
		if rerr := d.access.renew(ctx, h.ticket.Token); rerr != nil {
			return errors.Join(err, rerr)
		}
	case isType[*transport.ChangedError](err), isType[*transport.BeyondEndError](err):
		if rerr := d.refresh(ctx, d.jobID()); rerr != nil {
			return errors.Join(err, rerr)
		}
	case h.brought && !isAnswer(err):
		return nil // a connection that worked and broke is simply made again
	}
	return err
}

// isAnswer tells errors that the other side meant from those of the network.
func isAnswer(err error) bool {
	return isType[*transport.RangeError](err) || isType[*transport.ProtocolError](err) || isType[*transport.StatusError](err)
}

func (d *download) jobID() job.ID {
	t, _, _ := d.ticket.get()
	return t.Job
}
