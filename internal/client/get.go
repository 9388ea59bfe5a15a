package client

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jumpget/jumpget/internal/contest"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/partial"
	"github.com/jumpget/jumpget/internal/progress"
	"github.com/jumpget/jumpget/internal/schedule"
	"github.com/jumpget/jumpget/internal/wire"
)

const (
	tick = 100 * time.Millisecond // of the main loop: reports and decisions

	// corruptTries is how often a chunk may come wrong before somebody has to look.
	corruptTries = 5
)

// download is one Get. Its main loop (run) owns the file's and the object's
// state; workers see them through the engine.
type download struct {
	c       *Client
	req     Request
	started time.Time
	fail    context.CancelCauseFunc // ends everything with an error
	wg      sync.WaitGroup          // goroutines of this download

	ticket cell[job.Ticket]
	engine cell[*engine] // nil between two objects
	object cell[job.ID]  // what the file holds; empty while it turns over
	events chan event

	submission *submission
	advance    *advance      // nil: nothing can be asked for ahead
	nudge      chan struct{} // a first connection stands

	door   *door
	udp    *udpPath
	ssh    *sshPath
	access *access
	strike strikes
	report *reporter

	gov      *contest.Governor
	tcp      schedule.Allowance // TCP's, as the governor said last
	ticketAt time.Duration      // when the first ticket came, since started

	status  wire.Job // the latest; its ID is empty until there is one
	file    *partial.File
	current *engine // nil until the object is known
	pump    *pump   // nil without Request.Stdout
	wrong   *mismatches
	roaming roaming
	warned  bool // of a public door that can't be reached
}

// Get brings one file: it submits the request, fetches what is missing over
// all paths, verifies every chunk and puts the file into place. Errors are
// *job.Error, or typed errors of sshdial, partial and transport.
func (c *Client) Get(ctx context.Context, r Request) (*Result, error) {
	if r.Job == "" {
		if _, err := r.Parse(); err != nil {
			return nil, err
		}
	} else if !r.Job.Valid() {
		return nil, badID(r.Job)
	}
	ctx, fail := context.WithCancelCause(ctx)
	d := &download{
		c: c, req: r, started: time.Now(), fail: fail,
		submission: newSubmission(),
		events:     make(chan event, 16), nudge: make(chan struct{}, 1), wrong: newMismatches(),
	}
	d.access = newAccess(d)
	d.roaming.own = c.own
	d.report = newReporter(d)
	d.strike = strikes{limit: c.cfg.Tries, fail: fail}
	res, err := d.get(ctx)
	fail(errors.New("done"))
	d.stopWorkers()
	d.wg.Wait()
	if d.file != nil {
		err = errors.Join(err, d.file.Close())
	}
	if err != nil {
		return nil, err
	}
	return res, nil
}

func (d *download) get(ctx context.Context) (*Result, error) {
	if err := d.openEarly(ctx); err != nil {
		return nil, err // before any use of the network
	}
	d.c.sessions.want()
	d.advance = newAdvance(d)
	last, _ := d.c.memory.load()
	d.gov = contest.New(contest.Options{UDP: d.c.allowed(PathUDP), TCP: d.c.allowed(PathTCP), Near: d.c.near, Known: float64(last.UDPRate)})
	d.udp = newUDPPath(ctx, d)
	d.door = newDoor(ctx, d)
	d.ssh = newSSHPath(ctx, d)
	d.wg.Go(func() { d.watch(ctx) })
	if d.req.unpack != nil {
		d.startUnpack(ctx)
	}
	res, err := d.run(ctx)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx) // the cause, not what it broke
	}
	return res, err
}

// run is the main loop: it takes events in order until the file is complete.
func (d *download) run(ctx context.Context) (*Result, error) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		var changed <-chan struct{}
		if d.current != nil {
			changed = d.file.Changed()
			if done, err := d.complete(); done || err != nil {
				return d.finish(ctx, err)
			}
		}
		var err error
		select {
		case ev := <-d.events:
			err = d.handle(ctx, ev)
		case <-d.wrong.ready:
			for _, m := range d.wrong.take() {
				err = errors.Join(err, d.mismatched(m))
			}
		case <-changed:
		case <-d.nudge:
			d.tick() // who may work can change with the first connection
		case <-ticker.C:
			d.tick()
			if addr, moved := d.roaming.look(ctx, time.Since(d.started)); moved {
				d.moved(ctx, addr)
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if errors.Is(err, errNotNewer) {
			return d.skipped(), nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// complete tells whether every byte is here and verified.
func (d *download) complete() (bool, error) {
	if err := d.file.Err(); err != nil {
		return false, err
	}
	return d.file.Complete(), nil
}

// handle takes one event of the relay.
func (d *download) handle(ctx context.Context, ev event) error {
	switch {
	case ev.err != nil:
		return ev.err
	case ev.ticket != nil:
		d.gotTicket(*ev.ticket)
	case ev.job != nil:
		return d.gotStatus(ctx, *ev.job)
	case ev.sums != nil:
		return d.gotSums(*ev.sums)
	}
	return nil
}

func (d *download) gotTicket(t job.Ticket) {
	_, again, _ := d.ticket.get()
	t.Endpoints = d.c.complete(t.Endpoints)
	d.ticket.put(t)
	if !again {
		d.ticketAt = time.Since(d.started)
		if _, speaks := udpEndpoint(t); !speaks {
			d.gov.WithoutUDP()
		}
		d.report.submitted(t.Job)
	}
}

// gotStatus follows the job: a first object opens the file, another object
// starts over, and growth is passed on to the scheduler.
func (d *download) gotStatus(ctx context.Context, st wire.Job) error {
	d.status = st
	if st.State == job.Failed && st.Error != nil {
		return st.Error.Err()
	}
	if st.State == job.Failed || st.State == job.Expired {
		return job.Errorf(job.CodeExpired, "the relay has given the job up (%s)", st.State).WithHint("the same command submits it again")
	}
	o := st.Object
	if o == nil || o.ID == "" {
		return nil
	}
	if d.current == nil || d.current.object != o.ID {
		if err := d.begin(ctx, o); err != nil {
			return err
		}
	}
	return d.grow(st)
}

// begin starts on an object.
func (d *download) begin(ctx context.Context, o *wire.Object) error {
	if d.current != nil {
		if d.req.unpack == nil {
			d.report.note(progress.Warning, "the origin's file has changed, or can't be continued: starting over")
		}
		d.object.put("") // before the file turns over, so that nobody mixes the two
		d.stopWorkers()
	}
	if d.file == nil {
		if err := d.openLate(ctx, o); err != nil {
			return err
		}
	}
	if err := d.file.SetObject(o.ID, o.Size); err != nil {
		return err
	}
	d.current = newEngine(ctx, o.ID, d.file, o.Size)
	d.govern() // before anybody asks for anything
	d.udp.claim(d.current)
	d.engine.put(d.current)
	d.object.put(o.ID)
	d.tick()
	return nil
}

// stopWorkers ends the work on the current object.
func (d *download) stopWorkers() {
	d.engine.put(nil)
	if d.current != nil {
		d.current.close()
	}
}

// grow tells file and scheduler how far the relay is.
func (d *download) grow(st wire.Job) error {
	o := st.Object
	if d.file.Size() < 0 && o.Size >= 0 {
		if err := d.file.SetObject(o.ID, o.Size); err != nil {
			return err
		}
	}
	has := st.Received
	if o.Complete && o.Size >= 0 {
		has = o.Size
	}
	d.current.more(func(s *schedule.Scheduler) { s.Grow(has, o.Size, d.file.Missing) })
	return nil
}

func (d *download) gotSums(s wire.Sums) error {
	if d.current == nil || d.current.object != s.Object {
		return nil // of an object that is not ours any more
	}
	var sums [][32]byte
	if err := s.Each(func(_ int, sum [32]byte) { sums = append(sums, sum) }); err != nil {
		return err
	}
	return d.file.SetSums(s.First, sums)
}

// mismatched has a chunk fetched again that was not what the relay has: from
// the second time on over ssh, since whatever lies between is then in doubt.
func (d *download) mismatched(m partial.Mismatch) error {
	if m.Times >= corruptTries && !m.Resumed {
		return job.Errorf(job.CodeInternal, "chunk %d came wrong %d times: the relay or the path to it corrupts data", m.Chunk, m.Times).
			WithHint("`jumpget rm %s` and try again; if it stays, check the relay's disk and memory", d.status.ID)
	}
	d.c.cfg.Log.Warn("a chunk did not match its sum and is fetched again", "chunk", m.Chunk, "resumed", m.Resumed)
	sp := d.current.chunk(m.Chunk)
	overSSH := m.Times > 1 && !m.Resumed && d.c.allowed(PathSSH)
	d.current.more(func(s *schedule.Scheduler) {
		for _, missing := range d.file.Missing(sp) {
			if overSSH {
				s.Distrust(missing)
			} else {
				s.Need(missing)
			}
		}
	})
	return nil
}

// tick is for what happens by time.
func (d *download) tick() {
	if d.current != nil {
		d.govern()
		d.door.tick(d.current)
		d.ssh.want(d.door.failing(d.current))
		d.warnOfDoor()
		d.needUDP()
	} else {
		d.door.prepare()
	}
	d.report.progress()
}
