package relay

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/store"
)

// sweepEvery is the longest time between two sweeps of the cleaner.
const sweepEvery = 30 * time.Second

// Run cleans up until ctx ends: jobs expire, objects that no job keeps are
// removed, and everything that an earlier process left complete is verified
// once. It does not stop fetches; Close does.
func (r *Relay) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.ctx, cancel)()
	if r.begin() {
		go func() {
			defer r.wg.Done()
			r.scrub(ctx)
		}()
	}
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
	next := sweepEvery
	now := r.now()
	for _, j := range js {
		switch left := j.Expires.Sub(now); {
		case j.State == job.Expired && left < -keepExpired:
			r.forgetExpired(ctx, j)
		case j.State != job.Expired && left <= 0:
			r.expire(ctx, j.ID)
		case j.State != job.Expired:
			next = min(next, left)
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
func (r *Relay) expire(ctx context.Context, id job.ID) {
	r.db.Lock()
	defer r.db.Unlock()
	j, err := r.change(ctx, id, func(j *job.Job) error {
		switch {
		case r.now().Before(j.Expires) || j.State == job.Expired:
			// Extended, or evicted, since the list was made.
		case r.inUse(*j):
			j.Expires = r.now().Add(postpone)
		default:
			j.State, j.Error = job.Expired, nil
		}
		return nil
	})
	if err == nil && j.State == job.Expired {
		r.close(ctx, j, "its time is over")
	}
}

// close shuts the public door for a job that has expired.
func (r *Relay) close(ctx context.Context, j job.Job, why string) {
	if err := r.cfg.Store.RevokeTokens(ctx, j.ID); err != nil {
		r.log.Error("an expired job's tokens can't be revoked", "job", j.ID, "err", err)
	}
	r.mu.Lock()
	r.auth.clear()
	r.mu.Unlock()
	r.log.InfoContext(ctx, "expired", "job", j.ID, "owner", j.Owner, "url", job.LogURL(j.URL), "why", why)
}

// inUse reports whether a job is being fetched or read.
func (r *Relay) inUse(j job.Job) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.flights[j.Key]; f != nil && f.jobs[j.ID] {
		return true
	}
	lv := r.lives[j.Object]
	return lv != nil && lv.leases > 0
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
	js, err := r.cfg.Store.JobsByObject(ctx, id)
	if err != nil {
		return r.internal("list an object's jobs", err)
	}
	if slices.ContainsFunc(js, func(j job.Job) bool { return r.latest(j).State != job.Expired }) {
		return nil
	}
	if r.take(id) {
		r.erase(id)
	}
	return nil
}

// take puts an object out of reach if nobody has a lease on it.
func (r *Relay) take(id job.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	lv := r.lives[id]
	switch {
	case lv == nil:
		return true
	case lv.leases > 0:
		return false
	}
	delete(r.lives, id)
	lv.dropped = true
	r.closeIfUnused(lv)
	return true
}

// closeIdle closes bodies that nobody has used for a while.
func (r *Relay) closeIdle() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, lv := range r.lives {
		if lv.leases == 0 && r.now().Sub(lv.idle) > idleClose {
			delete(r.lives, id)
			lv.dropped = true
			r.closeIfUnused(lv)
		}
	}
}

// used returns how many bytes all bodies take.
func (r *Relay) used(ctx context.Context) (int64, error) {
	infos, err := r.cfg.Blobs.List(ctx)
	if err != nil {
		return 0, r.internal("list bodies", err)
	}
	var sum int64
	for _, i := range infos {
		sum += i.Used
	}
	return sum, nil
}

// makeRoom sees to it that so many more bytes fit, by evicting what was used
// longest ago if there is a quota. The room lock is held by the caller.
func (r *Relay) makeRoom(ctx context.Context, need int64) error {
	if limit := r.cfg.MaxFile; limit > 0 && need > limit {
		return errTooLarge(limit)
	}
	if err := r.makeQuota(ctx, need); err != nil {
		return err
	}
	free, err := r.cfg.Blobs.Free()
	if err != nil {
		return r.internal("ask for free disk", err)
	}
	if free < need {
		return job.Errorf(job.CodeDisk, "the relay's disk has no room: %d bytes are needed, %d are free", need, free).
			WithHint("free some space on the relay, see `jumpget ls` and `jumpget rm`")
	}
	return nil
}

func (r *Relay) makeQuota(ctx context.Context, need int64) error {
	quota := r.cfg.Quota
	if quota <= 0 {
		return nil
	}
	used, err := r.used(ctx)
	if err != nil {
		return err
	}
	if used+need <= quota {
		return nil
	}
	if need <= quota {
		objects, err := r.cfg.Store.Objects(ctx)
		if err != nil {
			return r.internal("list objects", err)
		}
		for _, o := range objects {
			if used+need <= quota {
				return nil
			}
			if o.Complete && r.evict(ctx, o) {
				used, err = r.used(ctx)
				if err != nil {
					return err
				}
			}
		}
		if used+need <= quota {
			return nil
		}
	}
	return job.Errorf(job.CodeQuota, "the relay's quota of %d bytes is used up, %d more are needed", quota, need).
		WithHint("remove files you no longer need with `jumpget rm`, or raise the relay's --quota")
}

// evict removes a complete object that nobody uses; its jobs expire.
func (r *Relay) evict(ctx context.Context, o job.Object) bool {
	r.db.Lock()
	defer r.db.Unlock()
	js, err := r.cfg.Store.JobsByObject(ctx, o.ID)
	if err != nil || slices.ContainsFunc(js, func(j job.Job) bool { return r.inFlight(r.latest(j)) }) {
		return false
	}
	if !r.take(o.ID) {
		return false
	}
	for _, j := range js {
		if r.latest(j).State == job.Expired {
			continue
		}
		r.changeLogged(j.ID, func(j *job.Job) { j.State, j.Error = job.Expired, nil })
		r.close(ctx, j, "evicted to make room")
	}
	r.erase(o.ID)
	return true
}

func (r *Relay) inFlight(j job.Job) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.flights[j.Key]
	return f != nil && f.jobs[j.ID]
}
