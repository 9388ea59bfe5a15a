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
//	job whose time is over     expired
//	job queued or fetching     fetched on, from what verifies
//	ready job, object not      the same
//	complete object            verified when it is first read, or by scrub;
//	                           what is damaged is fetched again
//
// Nothing is trusted that has not been hashed: see package blob.
func (r *Relay) recover(ctx context.Context) error {
	complete, err := r.reconcile(ctx)
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	js, err := r.cfg.Store.AllJobs(ctx)
	if err != nil {
		return fmt.Errorf("recover: list jobs: %w", err)
	}
	r.db.Lock()
	defer r.db.Unlock()
	for _, j := range js {
		switch {
		case j.State.Final() && (j.State != job.Ready || complete[j.Object]):
		case !r.now().Before(j.Expires):
			r.expire(ctx, j.ID)
		default:
			if _, there := complete[j.Object]; !there {
				j.Object = ""
			}
			r.resume(ctx, j)
		}
	}
	return nil
}

// reconcile removes bodies without a record and records without a body. It
// returns the objects that have both, and whether they are complete.
func (r *Relay) reconcile(ctx context.Context) (complete map[job.ID]bool, err error) {
	objects, err := r.cfg.Store.Objects(ctx)
	if err != nil {
		return nil, fmt.Errorf("list objects: %w", err)
	}
	infos, err := r.cfg.Blobs.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list bodies: %w", err)
	}
	bodiless := make(map[job.ID]job.Object)
	for _, o := range objects {
		bodiless[o.ID] = o
	}
	complete = make(map[job.ID]bool)
	for _, i := range infos {
		id := job.ID(i.ID)
		if o, ok := bodiless[id]; ok {
			complete[id] = o.Complete
			delete(bodiless, id)
			continue
		}
		r.log.Warn("a body without a record is removed", "object", id, "bytes", i.Used)
		if err := r.cfg.Blobs.Remove(ctx, i.ID); err != nil {
			r.log.Error("it can't be removed", "object", id, "err", err)
		}
	}
	for id := range bodiless {
		r.log.Warn("an object has lost its body", "object", id)
		if err := r.cfg.Store.DeleteObject(ctx, id); err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("delete an object: %w", err)
		}
	}
	return complete, nil
}

// resume puts a job back on a flight, or fails it if nobody knows any more
// what it asked for. The db lock is held by the caller.
func (r *Relay) resume(ctx context.Context, j job.Job) {
	req, err := r.requestOf(ctx, j)
	if err != nil {
		r.log.Warn("a job can't be resumed", "job", j.ID, "err", err)
		j.State, j.Error = job.Failed, errLost()
		r.save(ctx, j)
		return
	}
	wiped := j.State.Final()
	f := r.seat(&j)
	r.save(ctx, j)
	if wiped {
		if err := r.cfg.Store.PutRequest(ctx, j.ID, req); err != nil {
			r.log.Error("a job's request can't be stored", "job", j.ID, "err", err)
		}
	}
	// What this very request has brought so far is fresh enough.
	req.Fresh = req.Fresh && j.Object == ""
	r.enlist(f, j, req)
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
		return job.Request{}, errors.New("its request was more than a URL, and that is not kept")
	}
	return req, nil
}
