package relay

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/store"
)

// sweepEvery is the longest time between two sweeps of the cleaner.
const sweepEvery = 30 * time.Second

// Run cleans up until ctx ends: jobs expire, objects that no job keeps are
// removed, and everything that an earlier process left complete is verified
// once. It does not stop fetches; Close does, and ends Run too.
func (r *Relay) Run(ctx context.Context) {
	if !r.begin() {
		return
	}
	defer r.wg.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.ctx, cancel)()
	var scrubbing sync.WaitGroup
	defer scrubbing.Wait()
	scrubbing.Go(func() { r.scrub(ctx) })
	for ctx.Err() == nil {
		changed := r.changed.C()
		next := r.sweep(ctx)
		timer := time.NewTimer(min(sweepEvery, max(next, 100*time.Millisecond)))
		for waiting := true; waiting; {
			select {
			case <-timer.C:
				waiting = false
			case <-changed:
				// A new job may end sooner than all the others.
				changed = nil
				timer.Reset(min(time.Second, sweepEvery))
			case <-ctx.Done():
				waiting = false
			}
		}
		timer.Stop()
	}
}

// sweep does one round of cleaning and returns when the next job ends.
func (r *Relay) sweep(ctx context.Context) time.Duration {
	r.saveAgain(ctx)
	js, err := r.cfg.Store.AllJobs(ctx)
	if err != nil {
		r.log.Error("the cleaner can't list jobs", "err", err)
		return sweepEvery
	}
	next := r.sweepSessions(ctx)
	now := r.now()
	for _, j := range js {
		switch left := j.Expires.Sub(now); {
		case j.State == job.Expired && left < -keepExpired:
			r.forgetExpired(ctx, j)
		case j.State != job.Expired && left <= 0:
			r.db.Lock()
			r.expire(ctx, j.ID)
			r.db.Unlock()
		case j.State != job.Expired:
			next = min(next, left)
			r.rescue(ctx, j.ID, j.State)
		}
	}
	r.dropAllUnwanted(ctx)
	if err := r.cfg.Store.PurgeExpired(ctx); err != nil {
		r.log.Error("the cleaner can't purge tokens and grants", "err", err)
	}
	r.closeIdle()
	return next
}

// saveAgain stores the changes that the store has refused before.
func (r *Relay) saveAgain(ctx context.Context) {
	r.db.Lock()
	defer r.db.Unlock()
	r.mu.Lock()
	var again []job.Job
	for _, j := range r.unsaved {
		again = append(again, j)
	}
	r.mu.Unlock()
	for _, j := range again {
		r.save(ctx, j)
	}
}

// rescue puts a job back on a flight that lost it because the store could not
// be read when the flight ended.
func (r *Relay) rescue(ctx context.Context, id job.ID, state job.State) {
	if state.Final() {
		return
	}
	r.db.Lock()
	defer r.db.Unlock()
	j, err := r.job(ctx, id)
	if err != nil || j.State.Final() || r.inFlight(j) || r.ctx.Err() != nil {
		return
	}
	r.log.Error("a job was on its way but nobody brought it", "job", id, "state", j.State)
	r.resume(ctx, j)
}

func (r *Relay) forgetExpired(ctx context.Context, j job.Job) {
	r.db.Lock()
	defer r.db.Unlock()
	if err := r.cfg.Store.DeleteJob(ctx, j.ID); err != nil && !errors.Is(err, store.ErrNotFound) {
		r.log.Error("an expired job can't be deleted", "job", j.ID, "err", err)
	}
	r.forget(j.ID)
}

// expire ends a job whose retention time is over, unless it is in use: then it
// is kept a little longer, so that its reader's tokens can be renewed.
// The db lock is held by the caller.
func (r *Relay) expire(ctx context.Context, id job.ID) {
	j, err := r.change(ctx, id, func(j *job.Job) error {
		switch {
		case r.now().Before(j.Expires) || j.State == job.Expired:
			return errNoChange // extended, or evicted, since somebody looked
		case r.inUse(*j):
			j.Expires = r.now().Add(postpone)
		default:
			j.State, j.Error = job.Expired, nil
		}
		return nil
	})
	if err == nil && j.State == job.Expired {
		r.shut(ctx, j, "its time is over")
	}
}

// shut closes the public door for a job that has expired.
func (r *Relay) shut(ctx context.Context, j job.Job, why string) {
	if err := r.cfg.Store.RevokeTokens(ctx, j.ID); err != nil {
		r.log.Error("an expired job's tokens can't be revoked", "job", j.ID, "err", err)
	}
	r.auth.clear()
	r.log.InfoContext(ctx, "expired", "job", j.ID, "owner", j.Owner, "url", job.LogURL(j.URL), "why", why)
}

// inUse reports whether a job is being fetched or read.
func (r *Relay) inUse(j job.Job) bool {
	if r.inFlight(j) {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	lv := r.lives[j.Object]
	return lv != nil && lv.leases > 0
}

// inFlight reports whether a flight brings a job. The db lock is held by the
// caller.
func (r *Relay) inFlight(j job.Job) bool {
	r.mu.Lock()
	f := r.flights[j.Key]
	r.mu.Unlock()
	return f != nil && f.jobs[j.ID]
}

// dropAllUnwanted removes the objects that no job keeps.
func (r *Relay) dropAllUnwanted(ctx context.Context) {
	objects, err := r.cfg.Store.Objects(ctx)
	if err != nil {
		r.log.Error("the cleaner can't list objects", "err", err)
		return
	}
	for _, o := range objects {
		r.db.Lock()
		err := r.dropUnwanted(ctx, o.ID)
		r.db.Unlock()
		if err != nil {
			r.log.Error("the cleaner can't remove an object", "object", o.ID, "err", err)
		}
	}
}

// dropUnwanted removes an object if no job keeps it and nobody uses it. The db
// lock is held by the caller.
func (r *Relay) dropUnwanted(ctx context.Context, id job.ID) error {
	if id == "" {
		return nil
	}
	if wanted, err := r.wanted(ctx, id); err != nil || wanted {
		return err
	}
	if r.take(id) {
		r.erase(id)
	}
	return nil
}

// wanted reports whether some job keeps an object.
func (r *Relay) wanted(ctx context.Context, id job.ID) (bool, error) {
	js, err := r.cfg.Store.JobsByObject(ctx, id)
	if err != nil {
		return true, r.internal("list an object's jobs", err)
	}
	return slices.ContainsFunc(js, func(j job.Job) bool { return r.latest(j).State != job.Expired }), nil
}
