package relay

import (
	"context"
	"errors"

	"github.com/jumpget/jumpget/internal/job"
)

// usage is what the bodies take on disk, in bytes.
type usage struct {
	of  map[job.ID]int64
	sum int64
}

// usage counts what is reserved but not written yet as well, or two fetches at
// once would be given the same room.
func (r *Relay) usage(ctx context.Context) (usage, error) {
	infos, err := r.cfg.Blobs.List(ctx)
	if err != nil {
		return usage{}, r.internal("list bodies", err)
	}
	u := usage{of: make(map[job.ID]int64, len(infos))}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range infos {
		n := i.Used
		if lv := r.lives[job.ID(i.ID)]; lv != nil {
			n = max(n, lv.bound.Load())
		}
		u.of[job.ID(i.ID)] = n
		u.sum += n
	}
	return u, nil
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
	if errors.Is(err, errors.ErrUnsupported) {
		return nil // the write itself will tell
	}
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
	if need > quota {
		return job.Errorf(job.CodeQuota, "the file takes %d bytes, the relay's quota is %d", need, quota).
			WithHint("raise the relay's --quota")
	}
	u, err := r.usage(ctx)
	if err != nil || u.sum+need <= quota {
		return err
	}
	idle, freed, err := r.evictable(ctx, u)
	if err != nil {
		return err
	}
	if u.sum+need-freed > quota {
		idle = nil // all of it would not do: nothing is evicted in vain
	}
	for _, o := range idle {
		if r.evict(ctx, o) {
			u.sum -= u.of[o.ID]
		}
		if u.sum+need <= quota {
			return nil
		}
	}
	return job.Errorf(job.CodeQuota, "the relay's quota of %d bytes is used up, %d more are needed", quota, need).
		WithHint("remove files you no longer need with `jumpget rm`, or raise the relay's --quota")
}

// evictable returns the objects that nobody uses, the one used longest ago
// first, and the bytes they take.
func (r *Relay) evictable(ctx context.Context, u usage) (idle []job.Object, freed int64, err error) {
	objects, err := r.cfg.Store.Objects(ctx)
	if err != nil {
		return nil, 0, r.internal("list objects", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range objects {
		if lv := r.lives[o.ID]; lv == nil || lv.leases == 0 {
			idle = append(idle, o)
			freed += u.of[o.ID]
		}
	}
	return idle, freed, nil
}

// evict removes an object that nobody uses; the jobs that could still read it
// expire.
func (r *Relay) evict(ctx context.Context, o job.Object) bool {
	r.db.Lock()
	defer r.db.Unlock()
	js, err := r.cfg.Store.JobsByObject(ctx, o.ID)
	if err != nil {
		r.log.Error("an object's jobs can't be listed", "object", o.ID, "err", err)
		return false
	}
	var readable []job.Job
	for _, j := range js {
		switch j = r.latest(j); j.State {
		case job.Queued, job.Fetching:
			return false // a flight is about to take it up
		case job.Ready:
			readable = append(readable, j)
		}
	}
	if !r.take(o.ID) {
		return false
	}
	for _, j := range readable {
		if !r.changeLogged(j.ID, func(j *job.Job) { j.State, j.Error = job.Expired, nil }) {
			return false // it would say ready with nothing behind it
		}
		r.shut(ctx, j, "evicted to make room")
	}
	r.erase(o.ID)
	return true
}
