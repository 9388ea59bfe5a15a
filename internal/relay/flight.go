package relay

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/jumpget/jumpget/internal/blob"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origin"
	"github.com/jumpget/jumpget/internal/store"
)

// revalidateTimeout is how long a finished object waits for its origin to say
// that it still stands, before it is given out anyway.
const revalidateTimeout = 20 * time.Second

// flight brings the object of one key for all the jobs that wait for it. It
// lands in one of two ways: all of its jobs are ready, or all have failed.
type flight struct {
	key    string
	req    job.Request
	fresh  atomic.Bool     // what the relay has complete must not be reused
	jobs   map[job.ID]bool // guarded by Relay.db
	live   *live           // what is being brought, leased; guarded by Relay.mu
	cancel context.CancelCauseFunc
}

// errOther says that a mended object is not the one it was: the origin's file
// has changed although its validators have not.
var errOther = errors.New("relay: the mended object has another hash")

func newFlight(j job.Job, req job.Request) *flight {
	f := &flight{key: j.Key, req: req, jobs: map[job.ID]bool{j.ID: true}}
	f.fresh.Store(req.Fresh)
	return f
}

// seat finds the flight that a job is going to join, if there is one, and
// makes the job tell what that has brought so far. The db lock is held by the
// caller until the job is stored and enlisted.
func (r *Relay) seat(j *job.Job) *flight {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.flights[j.Key]
	j.State, j.Error = job.Queued, nil
	// A flight that everybody has left gives its object up.
	if f != nil && f.live != nil && len(f.jobs) > 0 {
		j.Object, j.State = f.live.id, job.Fetching
	}
	return f
}

// enlist puts a job on the flight that seat has found, or on a new one. The db
// lock is held by the caller.
func (r *Relay) enlist(f *flight, j job.Job, req job.Request) {
	if f == nil {
		r.launch(newFlight(j, req))
		return
	}
	f.jobs[j.ID] = true
	if req.Fresh {
		f.fresh.Store(true)
	}
}

// launch starts a flight. The db lock is held by the caller.
func (r *Relay) launch(f *flight) {
	if !r.begin() {
		return // the next start finds its jobs in the store
	}
	ctx, cancel := context.WithCancelCause(r.ctx)
	f.cancel = cancel
	r.mu.Lock()
	r.flights[f.key] = f
	r.mu.Unlock()
	go func() {
		defer r.wg.Done()
		defer cancel(nil)
		err := r.bring(ctx, f)
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		r.land(f, err)
	}()
}

// bring sees to it that the flight's object is complete, by reuse or by a fetch.
func (r *Relay) bring(ctx context.Context, f *flight) error {
	prior, done, err := r.reuse(ctx, f)
	if done || err != nil {
		return err
	}
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err = r.fetch(ctx, f, prior)
	if errors.Is(err, errOther) {
		r.log.Warn("a damaged object could not be mended; fetching it anew", "url", job.LogURL(f.req.URL))
		err = r.fetch(ctx, f, nil)
	}
	return err
}

// reuse takes up what the relay has for the flight's key: a complete object
// if the origin still stands by it, else the part that a fetch can go on from.
func (r *Relay) reuse(ctx context.Context, f *flight) (prior *origin.Prior, done bool, err error) {
	o, _, err := r.cfg.Store.FindReusable(ctx, f.key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, false, nil
	case err != nil:
		return nil, false, r.internal("look for an object", err)
	case o.Complete && (f.fresh.Load() || !r.stands(ctx, f, &o) || f.fresh.Load()):
		return nil, false, nil
	}
	lv, err := r.reach(ctx, o.ID)
	if err != nil {
		r.log.Warn("an object can't be reused", "object", o.ID, "err", err)
		return nil, false, context.Cause(ctx)
	}
	if lv.body.Err() != nil { // what ended an earlier fetch may be over
		r.drop(lv)
		r.release(lv)
		return nil, false, nil
	}
	r.board(f, lv)
	have, err := r.check(ctx, lv)
	if ctx.Err() != nil {
		return nil, false, context.Cause(ctx)
	}
	o = r.objectOf(lv)
	r.mendIfDamaged(lv) // takes those along who thought that it was ready
	switch {
	case err != nil:
		r.log.Error("an object can't be verified", "object", o.ID, "err", err)
		return nil, false, nil
	case o.Complete && lv.body.Complete():
		r.touch(lv)
		return nil, true, nil
	case have.Len() == 0:
		return nil, false, nil
	}
	return &origin.Prior{
		Validators: origin.Validators{ETag: o.ETag, LastModified: o.LastModified, Size: o.Size},
		Have:       have,
		Body:       bodyReader{ctx, lv.body},
	}, false, nil
}

// stands reports whether a complete object may be given out again. An origin
// that can't be reached is no reason against it.
func (r *Relay) stands(ctx context.Context, f *flight, o *job.Object) bool {
	ctx, cancel := context.WithTimeout(ctx, revalidateTimeout)
	defer cancel()
	unchanged, err := r.fetcher(f).Revalidate(ctx, &f.req, o)
	if err == nil {
		return unchanged
	}
	var je *job.Error
	away := errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &je) && (je.Code == job.CodeOriginNet || je.Code == job.CodeOriginStatus && je.Status >= 500)
	if away {
		r.log.Warn("the origin can't be asked; what the relay has is used", "url", job.LogURL(f.req.URL), "object", o.ID, "err", err)
	}
	return away
}

// board points the flight and its jobs at an object. The lease on lv becomes
// the flight's; that on the object before is given back.
func (r *Relay) board(f *flight, lv *live) {
	r.db.Lock()
	defer r.db.Unlock()
	r.mu.Lock()
	before := f.live
	f.live = lv
	r.mu.Unlock()
	for id := range f.jobs {
		r.changeLogged(id, func(j *job.Job) { j.Object, j.State, j.Error = lv.id, job.Fetching, nil })
	}
	if before != nil {
		r.release(before)
	}
}

// changeLogged is change for those who can't tell anybody of an error. It
// reports whether there was none. The db lock is held by the caller.
func (r *Relay) changeLogged(id job.ID, f func(*job.Job)) bool {
	_, err := r.change(context.WithoutCancel(r.ctx), id, func(j *job.Job) error { f(j); return nil })
	if err != nil {
		r.log.Error("a job can't be changed", "job", id, "err", err)
	}
	return err == nil
}

// fetcher returns who brings what the flight is for.
func (r *Relay) fetcher(f *flight) Fetcher {
	if len(f.req.Files) > 0 {
		return r.cfg.Bundles
	}
	return r.cfg.Fetcher
}

// fetch brings the object from its origin.
func (r *Relay) fetch(ctx context.Context, f *flight, prior *origin.Prior) error {
	s := &sink{r: r, f: f, ctx: ctx}
	defer s.leave()
	start := r.now()
	res, err := r.fetcher(f).Fetch(ctx, &f.req, prior, s)
	if err != nil {
		return err
	}
	o, err := s.complete(ctx, res)
	if err != nil {
		return err
	}
	r.log.InfoContext(ctx, "fetched", "object", o.ID, "url", job.LogURL(o.URL), "size", o.Size,
		"received", res.Received, "conns", res.Conns, "took", r.now().Sub(start).Round(time.Millisecond),
		"length_verified", o.LengthVerified)
	return nil
}

// land ends a flight. A shutdown leaves its jobs as they are.
func (r *Relay) land(f *flight, err error) {
	if err != nil && !isDisk(err) {
		r.keep(f.live) // before the lock: a sync can take its time
	}
	r.db.Lock()
	defer r.db.Unlock()
	r.mu.Lock()
	delete(r.flights, f.key)
	lv := f.live
	f.live = nil
	r.mu.Unlock()
	if lv != nil {
		defer r.release(lv)
	}
	switch {
	case err == nil:
		for id := range f.jobs {
			r.changeLogged(id, func(j *job.Job) { j.Object, j.State, j.Error = lv.id, job.Ready, nil })
		}
	case errors.Is(err, errShutdown):
	case !errors.Is(err, errRemoved()):
		r.fail(f, lv, err)
	case len(f.jobs) == 0:
		r.abandon(lv, err)
	default:
		r.relaunch(f, lv)
	}
}

// abandon gives up what nobody waits for any more. A complete object is left
// to the cleaner, and so is a part that a failed job may go on from.
func (r *Relay) abandon(lv *live, cause error) {
	if lv == nil || r.objectOf(lv).Complete {
		return
	}
	wanted, err := r.wanted(context.WithoutCancel(r.ctx), lv.id)
	if err == nil && !wanted {
		r.discard(lv, cause)
		return
	}
	lv.body.Abort(cause)
	r.drop(lv)
}

// relaunch starts again for those who have joined a flight after the last one
// had left. It goes on from what that has brought.
func (r *Relay) relaunch(f *flight, lv *live) {
	if lv != nil && !r.objectOf(lv).Complete {
		lv.body.Abort(errAnew())
		r.drop(lv)
	}
	for id := range f.jobs {
		r.changeLogged(id, func(j *job.Job) { j.Object, j.State, j.Error = "", job.Queued, nil })
	}
	again := &flight{key: f.key, req: f.req, jobs: f.jobs}
	again.fresh.Store(f.fresh.Load())
	r.launch(again)
}

// fail ends a flight's jobs with an error. What has arrived is kept for the
// next try, unless it is what went wrong.
func (r *Relay) fail(f *flight, lv *live, err error) {
	je := toJobError(err)
	r.log.Warn("fetch failed", "url", job.LogURL(f.req.URL), "code", je.Code, "status", je.Status, "err", je, "jobs", len(f.jobs))
	switch je.Code {
	case job.CodeDisk, job.CodeQuota, job.CodeTooLarge:
		// First of all this gives back the room that is missing.
		r.discard(lv, je)
	default:
		if lv != nil {
			lv.body.Abort(je)
			r.drop(lv)
		}
	}
	for id := range f.jobs {
		r.changeLogged(id, func(j *job.Job) { j.State, j.Error = job.Failed, je })
	}
}

// keep makes what has arrived durable, so that the next fetch goes on from it.
func (r *Relay) keep(lv *live) {
	if lv == nil || r.objectOf(lv).Complete {
		return
	}
	select {
	case <-lv.checked:
	default:
		return // it is still being verified, so nothing new has arrived
	}
	if err := lv.body.Sync(context.WithoutCancel(r.ctx)); err != nil {
		r.log.Warn("what has arrived can't be kept", "object", lv.id, "err", err)
	}
}

// discard throws an object away that is no use to anybody any more. Its
// readers get cause.
func (r *Relay) discard(lv *live, cause error) {
	if lv == nil {
		return
	}
	lv.body.Abort(cause)
	r.drop(lv)
	r.erase(lv.id)
}

// erase deletes an object's record and body.
func (r *Relay) erase(id job.ID) {
	ctx := context.WithoutCancel(r.ctx)
	r.mu.Lock()
	delete(r.sound, id)
	r.mu.Unlock()
	// The record goes first: a body without one is found by the next start.
	if err := r.cfg.Store.DeleteObject(ctx, id); err != nil && !errors.Is(err, store.ErrNotFound) {
		r.log.Error("an object's record can't be deleted", "object", id, "err", err)
	}
	if err := r.cfg.Blobs.Remove(ctx, string(id)); err != nil && !errors.Is(err, blob.ErrNotFound) {
		r.log.Error("a body can't be removed", "object", id, "err", err)
		return
	}
	r.log.Info("body removed", "object", id)
}

// toJobError gives every failure a code.
func toJobError(err error) *job.Error {
	var je *job.Error
	switch {
	case errors.As(err, &je):
		return je
	case isDisk(err):
		return job.Errorf(job.CodeDisk, "the relay's disk is full or failing: %w", err).
			WithHint("free some space on the relay, see `jumpget ls` and `jumpget rm`")
	}
	return job.Errorf(job.CodeInternal, "the relay failed to fetch the file: %w", err).
		WithHint("its log tells more: journalctl -u jumpget")
}
