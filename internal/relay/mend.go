package relay

import (
	"context"
	"errors"

	"github.com/jumpget/jumpget/internal/job"
)

// scrub verifies, one after the other, the complete objects that an earlier
// process wrote, so that damage is mended before somebody waits for the bytes.
func (r *Relay) scrub(ctx context.Context) {
	objects, err := r.cfg.Store.Objects(ctx)
	if err != nil {
		return // sweep says so
	}
	for _, o := range objects {
		r.mu.Lock()
		sound := r.sound[o.ID]
		r.mu.Unlock()
		if !o.Complete || sound || ctx.Err() != nil {
			continue
		}
		lv, err := r.reach(ctx, o.ID)
		if err != nil {
			if !errors.Is(err, errExpired()) {
				r.log.Warn("an object can't be verified", "object", o.ID, "err", err)
			}
			continue
		}
		if _, err := r.check(ctx, lv); err != nil && ctx.Err() == nil {
			r.log.Warn("an object can't be verified", "object", o.ID, "err", err)
		}
		r.release(lv)
	}
}

// mendIfDamaged has a complete object, once it is verified, fetched again
// where it is damaged. It does so once, whoever finds out first.
func (r *Relay) mendIfDamaged(lv *live) {
	r.db.Lock()
	defer r.db.Unlock()
	o := r.objectOf(lv)
	if !o.Complete || lv.body.Complete() || lv.body.Err() != nil {
		return
	}
	ctx := context.WithoutCancel(r.ctx)
	r.log.Error("an object is damaged; fetching what is missing",
		"object", o.ID, "size", o.Size, "good", lv.body.Received(), "err", lv.fault)
	r.mu.Lock()
	delete(r.sound, o.ID)
	r.mu.Unlock()
	o = r.setObject(lv, func(o *job.Object) { o.Complete = false })
	if err := r.cfg.Store.PutObject(ctx, o); err != nil {
		r.log.Error("an object can't be stored", "object", o.ID, "err", err)
	}
	elsewhere := r.bringsOther(lv, o.Key)
	switch {
	case !r.refetch(ctx, o, o.ID):
		// Who reads it learns that no more will come; a new request mends it.
		lv.body.Abort(errLost())
	case elsewhere:
		lv.body.Abort(errAnew())
	default:
		return
	}
	r.drop(lv)
}

// bringsOther reports whether a flight is under way for the key, but not with lv.
func (r *Relay) bringsOther(lv *live, key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.flights[key]
	return f != nil && f.live != lv
}

// lost has an object fetched again of which there is a record alone. The db
// lock is held by the caller.
func (r *Relay) lost(ctx context.Context, o job.Object, cause error) {
	r.log.Error("an object has lost its body; fetching it again", "object", o.ID, "size", o.Size, "err", cause)
	r.erase(o.ID)
	r.refetch(ctx, o, "")
}

// refetch puts the ready jobs of an object back on a flight, which goes on
// from the object that is left. It reports whether somebody will bring it. The
// db lock is held by the caller.
func (r *Relay) refetch(ctx context.Context, o job.Object, left job.ID) bool {
	js, err := r.cfg.Store.JobsByObject(ctx, o.ID)
	if err != nil {
		r.log.Error("an object's jobs can't be listed", "object", o.ID, "err", err)
		return false
	}
	for _, j := range js {
		switch j = r.latest(j); {
		case j.State == job.Ready:
			j.Object = left
			r.resume(ctx, j)
		case !j.State.Final() && left == "":
			r.changeLogged(j.ID, func(j *job.Job) { j.Object, j.State = "", job.Queued }) // its flight finds out
		}
	}
	r.changed.Fire()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.flights[o.Key] != nil
}

func errLost() *job.Error {
	return job.Errorf(job.CodeExpired, "the relay has lost the file, and does not keep the headers or mirrors it was fetched with").
		WithHint("submit the URL again")
}

// errAnew ends the readers of an object that another one takes the place of.
func errAnew() *job.Error {
	return job.Errorf(job.CodeOriginProto, "the relay is fetching the file anew").
		WithHint("run the same command again")
}
