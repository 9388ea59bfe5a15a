package relay

import (
	"context"
	"errors"
	"fmt"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/store"
)

// recover makes database and disk agree after whatever ended the last process.
//
//	body without a record      removed
//	record without a body      removed; its jobs are fetched again
//	job queued or fetching     fetched on, from what verifies
//	complete object            verified when it is first read, or by scrub;
//	                           what is damaged is fetched again
//
// Nothing is trusted that has not been hashed: see package blob.
func (r *Relay) recover(ctx context.Context) error {
	gone, err := r.reconcile(ctx)
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	js, err := r.cfg.Store.AllJobs(ctx)
	if err != nil {
		return fmt.Errorf("recover: list jobs: %w", err)
	}
	r.db.Lock()
	defer r.db.Unlock()
	flights := make(map[string]*flight)
	for _, j := range js {
		lost := j.State == job.Ready && gone[j.Object]
		if j.State != job.Queued && j.State != job.Fetching && !lost {
			continue
		}
		if gone[j.Object] {
			j.Object = ""
		}
		r.resume(ctx, j, flights)
	}
	for _, f := range flights {
		r.launch(f)
	}
	return nil
}

// reconcile removes bodies without a record and records without a body; it
// returns the latter.
func (r *Relay) reconcile(ctx context.Context) (gone map[job.ID]bool, err error) {
	objects, err := r.cfg.Store.Objects(ctx)
	if err != nil {
		return nil, fmt.Errorf("list objects: %w", err)
	}
	infos, err := r.cfg.Blobs.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list bodies: %w", err)
	}
	gone = make(map[job.ID]bool)
	for _, o := range objects {
		gone[o.ID] = true
	}
	for _, i := range infos {
		if !gone[job.ID(i.ID)] {
			r.log.Warn("a body without a record is removed", "object", i.ID, "bytes", i.Used)
			if err := r.cfg.Blobs.Remove(ctx, i.ID); err != nil {
				r.log.Error("it can't be removed", "object", i.ID, "err", err)
			}
		}
		delete(gone, job.ID(i.ID))
	}
	for id := range gone {
		r.log.Warn("an object has lost its body", "object", id)
		if err := r.cfg.Store.DeleteObject(ctx, id); err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("delete an object: %w", err)
		}
	}
	return gone, nil
}

// resume puts a job back on a flight, or fails it if nobody knows any more
// what it asked for.
func (r *Relay) resume(ctx context.Context, j job.Job, flights map[string]*flight) {
	req, err := r.requestOf(ctx, j)
	if err != nil {
		r.log.Warn("a job can't be resumed", "job", j.ID, "err", err)
		j.State, j.Error = job.Failed, errLost()
		r.save(ctx, j)
		return
	}
	if j.State == job.Ready {
		j.State = job.Queued
	}
	j.Error = nil
	r.save(ctx, j)
	if err := r.cfg.Store.PutRequest(ctx, j.ID, req); err != nil {
		r.log.Error("a job's request can't be stored", "job", j.ID, "err", err)
	}
	if f := flights[j.Key]; f != nil {
		f.jobs[j.ID] = true
		return
	}
	f := newFlight(j, req)
	// What this very request has brought so far is fresh enough.
	f.fresh.Store(req.Fresh && j.Object == "")
	flights[j.Key] = f
	r.log.Info("resume", "job", j.ID, "owner", j.Owner, "url", job.LogURL(j.URL))
}

// requestOf returns what a job asked for. The request of a finished job is
// gone, but a public one is no more than its URL.
func (r *Relay) requestOf(ctx context.Context, j job.Job) (job.Request, error) {
	if req, err := r.cfg.Store.Request(ctx, j.ID); err == nil {
		return req, nil
	}
	req := job.Request{URL: j.URL}
	if req.Key(j.Owner) != j.Key {
		return job.Request{}, errors.New("its request carried credentials, which are not kept")
	}
	return req, nil
}

func errLost() *job.Error {
	return job.Errorf(job.CodeExpired, "the relay has lost the file, and no longer has the credentials to fetch it again").
		WithHint("submit the URL again")
}

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
		lv, err := r.leaseForFlight(ctx, o)
		if err != nil {
			r.log.Warn("an object can't be verified", "object", o.ID, "err", err)
			continue
		}
		r.checkLater(lv)
		select {
		case <-lv.checked:
		case <-ctx.Done():
		}
		r.release(lv)
	}
}

// mend has a damaged complete object fetched where it is damaged.
func (r *Relay) mend(lv *live, cause error) {
	r.db.Lock()
	defer r.db.Unlock()
	ctx := context.WithoutCancel(r.ctx)
	o := r.objectOf(lv)
	size, received := o.Size, lv.body.Received()
	r.log.Error("an object is damaged; fetching what is missing", "object", o.ID, "size", size, "good", received, "err", cause)
	o = r.setObject(lv, func(o *job.Object) { o.Complete = false })
	if err := r.cfg.Store.PutObject(ctx, o); err != nil {
		r.log.Error("an object can't be stored", "object", o.ID, "err", err)
	}
	js, err := r.cfg.Store.JobsByObject(ctx, o.ID)
	if err != nil {
		r.log.Error("an object's jobs can't be listed", "object", o.ID, "err", err)
		return
	}
	flights := make(map[string]*flight)
	r.mu.Lock()
	if f := r.flights[o.Key]; f != nil {
		flights[o.Key] = f
	}
	r.mu.Unlock()
	under := len(flights) > 0
	for _, j := range js {
		if j = r.latest(j); j.State == job.Ready {
			r.resume(ctx, j, flights)
		}
	}
	for _, f := range flights {
		if !under {
			r.launch(f)
		}
	}
	if len(flights) == 0 {
		lv.body.Abort(errLost())
	}
	r.changed.Fire()
}
