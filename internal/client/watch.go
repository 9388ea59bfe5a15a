package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/progress"
	"github.com/jumpget/jumpget/internal/span"
	"github.com/jumpget/jumpget/internal/wire"
)

// event is one message of the relay, or the reason why there will be no more.
type event struct {
	ticket *job.Ticket
	job    *wire.Job
	sums   *wire.Sums
	err    error
}

// maxResubmits bounds how often a job that vanished from the relay is submitted anew.
const maxResubmits = 3

// watcher follows one job: it submits it, and whenever the stream of events
// breaks subscribes again from the first chunk whose sum has not come. It
// needs the tunnel only until it has heard everything.
type watcher struct {
	d       *download
	id      job.ID // empty until the relay has taken the job
	object  job.ID
	size    int64
	state   job.State
	sums    span.Set // of chunk numbers whose sums came
	submits int
	doubted bool // the session was taken for the cause of an error
	heard   bool // something new came since the last subscription
}

// watch runs until everything was heard, ctx ends, or the job fails, which it
// tells in an event.
func (d *download) watch(ctx context.Context) {
	w := &watcher{d: d, id: d.req.Job, size: job.UnknownSize}
	pause := newBackoff()
	fails := 0
	for ctx.Err() == nil && !w.complete() {
		w.heard = false
		err := w.follow(ctx)
		if w.heard {
			pause.Reset()
			fails = 0
		}
		err = w.judge(ctx, err)
		if fails++; err == nil && d.c.cfg.Tries > 0 && fails >= d.c.cfg.Tries {
			err = job.Errorf(job.CodeUnavailable, "the relay could not be reached in %d tries", fails).WithHint("the same command goes on from here")
		}
		if err != nil {
			w.emit(ctx, event{err: err})
			return
		}
		sleep(ctx, pause.NextBackOff())
	}
}

// complete tells whether there is nothing more to hear.
func (w *watcher) complete() bool {
	if w.state == job.Failed || w.state == job.Expired {
		return true
	}
	return w.state == job.Ready && w.size >= 0 && w.sums.From(0) >= int64(job.Chunks(w.size))
}

// follow subscribes and passes the messages on until the stream ends.
func (w *watcher) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := w.open(ctx)
	if err != nil {
		return err
	}
	defer closeBody(resp)
	dec := json.NewDecoder(resp.Body)
	for {
		var m wire.Message
		if err := dec.Decode(&m); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF // unless complete says that it was the end
			}
			return w.d.c.api.tunnel.reason(err)
		}
		w.heard = true
		if err := w.message(ctx, m); err != nil {
			return err
		}
		if w.complete() {
			return nil
		}
	}
}

// open submits the request, or subscribes to the job that stands. A job that
// is only pulled gets a ticket first.
func (w *watcher) open(ctx context.Context) (*http.Response, error) {
	api := w.d.c.api
	var resp *http.Response
	var err error
	if w.id == "" {
		resp, err = api.send(ctx, http.MethodPost, "/v1/jobs", w.submission(ctx), nil)
	} else {
		if _, has, _ := w.d.ticket.get(); !has {
			if err := w.askTicket(ctx); err != nil {
				return nil, err
			}
		}
		resp, err = api.send(ctx, http.MethodGet, wire.JobPath(w.id, "/events")+"?chunk="+strconv.FormatInt(w.sums.From(0), 10), nil, nil)
	}
	if err != nil {
		return nil, err
	}
	return resp, failure(resp)
}

// submission asks to be allowed at once from the address that the public door
// saw the last time, or else from the one that this machine has for itself: if it
// is the right one, no request is refused first.
func (w *watcher) submission(ctx context.Context) submitted {
	s := submit(w.d.req.Request, w.d.submission.id())
	s.wrote = func() {
		w.d.submission.wrote()
		w.d.c.sessions.along()
	}
	r, _ := w.d.c.memory.load()
	addr := r.Address
	if !addr.IsValid() {
		addr = w.d.c.own(ctx)
	}
	if addr.IsValid() {
		s.Allow = append(s.Allow, addr)
	}
	return s
}

func (w *watcher) askTicket(ctx context.Context) error {
	var t wire.Ticket
	if err := w.d.c.api.callOnce(ctx, http.MethodPost, wire.JobPath(w.id, "/ticket"), nil, &t); err != nil {
		return err
	}
	ticket := t.Ticket()
	w.emit(ctx, event{ticket: &ticket})
	return nil
}

// message notes what a message tells of the stream itself and passes it on.
func (w *watcher) message(ctx context.Context, m wire.Message) error {
	switch {
	case m.Error != nil:
		return m.Error.Err()
	case m.Ticket != nil:
		t := m.Ticket.Ticket()
		if !t.Job.Valid() {
			return badID(t.Job)
		}
		w.id = t.Job
		w.emit(ctx, event{ticket: &t})
	case m.Job != nil:
		w.follows(m.Job)
		w.emit(ctx, event{job: m.Job})
	case m.Sums != nil && m.Sums.Object == w.object:
		n := int64(len(m.Sums.SHA256) / 32)
		w.sums.Add(span.Span{Start: int64(m.Sums.First), End: int64(m.Sums.First) + n})
		w.emit(ctx, event{sums: m.Sums})
	}
	return nil
}

func (w *watcher) follows(j *wire.Job) {
	w.state = j.State
	if j.Object == nil {
		return
	}
	if j.Object.ID != w.object {
		w.object, w.sums = j.Object.ID, span.Set{}
	}
	w.size = j.Object.Size
}

// judge sorts what ended a stream: nil to subscribe again, else the error that
// ends the download.
func (w *watcher) judge(ctx context.Context, err error) error {
	switch {
	case err == nil || ctx.Err() != nil:
		return nil
	case !w.doubted && errors.Is(err, &job.Error{Code: job.CodeExpired}) && w.d.c.api.tunnel.inSession():
		w.doubted = true // it may be the session that is over, and not the job: another stream shows
		w.d.c.api.tunnel.abandon(time.Now())
		return nil
	case gone(err) && w.d.req.Job == "" && w.id != "" && w.submits < maxResubmits:
		w.submits++
		w.id, w.sums = "", span.Set{}
		w.d.submission.renew()
		w.d.report.note(progress.Info, "the relay has lost the job: submitting it again")
		return nil
	case w.d.c.api.passing(ctx, err):
		w.d.c.cfg.Log.Info("the tunnel to the relay broke and is made again", "error", err)
		return nil
	}
	return err
}

func (w *watcher) emit(ctx context.Context, ev event) {
	select {
	case w.d.events <- ev:
	case <-ctx.Done():
	}
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// refresh asks for the job's status outside the stream of events, for a worker
// that was told something which the stream has not told yet.
func (d *download) refresh(ctx context.Context, id job.ID) error {
	var j wire.Job
	if err := d.c.api.callOnce(ctx, http.MethodGet, wire.JobPath(id, ""), nil, &j); err != nil {
		return fmt.Errorf("ask for the job's state: %w", err)
	}
	select {
	case d.events <- event{job: &j}:
	case <-ctx.Done():
	}
	return nil
}
