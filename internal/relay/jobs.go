package relay

import (
	"context"
	"errors"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/store"
)

// Submit records a job for its owner, grants it to the given addresses and sees to
// its fetch. The job joins a fetch of the same key that is under way. A
// submission that was made before gives a ticket for its job, or errRemoved.
func (r *Relay) Submit(ctx context.Context, s Submission, req job.Request) (job.Ticket, error) {
	if err := s.check(); err != nil {
		return job.Ticket{}, err
	}
	if t, made, err := r.again(ctx, &s); made || err != nil {
		return t, err
	}
	req = req.Titled()
	u, err := req.Parse()
	if err != nil {
		return job.Ticket{}, err
	}
	if len(req.Files) > 0 && r.cfg.Bundles == nil {
		return job.Ticket{}, job.Errorf(job.CodeForbidden, "this relay brings no bundles").WithHint("submit each URL by itself: --no-bundle")
	}
	if u.User == nil {
		req.URL = u.String() // as it is kept, so that a public request can be made again from it
	}
	retain, err := r.retain(req.Retain)
	if err != nil {
		return job.Ticket{}, err
	}
	now := r.now()
	j := job.Job{
		ID: job.NewID(), Owner: s.Owner, URL: job.StripUser(req.URL), Key: req.Key(s.Owner),
		State: job.Queued, Created: now, Expires: now.Add(retain),
	}
	t, err := r.enter(ctx, &j, &s, req)
	if !errors.Is(err, store.ErrExists) {
		return t, err
	}
	// The same has come on another way at the same time.
	t, made, err := r.again(ctx, &s)
	if !made && err == nil {
		err = job.Errorf(job.CodeUnavailable, "the same submission has just failed on another way").WithHint("run the same command again")
	}
	return t, err
}

// retain turns a wish in seconds into a duration.
func (r *Relay) retain(seconds int64) (time.Duration, error) {
	switch {
	case seconds < 0:
		return 0, job.Errorf(job.CodeBadRequest, "a retention time can't be negative").WithHint("leave it out for the relay's default")
	case seconds == 0:
		return r.cfg.Retain, nil
	case seconds > int64(maxRetain/time.Second):
		return maxRetain, nil
	}
	return time.Duration(seconds) * time.Second, nil
}

// Renew gives a fresh ticket for a job that has one already. Older tokens stay
// good until they expire.
func (r *Relay) Renew(ctx context.Context, owner string, id job.ID) (job.Ticket, error) {
	return r.renew(ctx, Submission{Owner: owner}, id)
}

// RenewIn is Renew in a session, with which the ticket's token ends: what somebody
// gets who has stolen a session must not outlive it.
func (r *Relay) RenewIn(ctx context.Context, s *Session, id job.ID) (job.Ticket, error) {
	if err := s.Err(); err != nil {
		return job.Ticket{}, err
	}
	return r.renew(ctx, Submission{Owner: s.owner, Session: s}, id)
}

func (r *Relay) renew(ctx context.Context, s Submission, id job.ID) (job.Ticket, error) {
	owner := s.Owner
	j, err := r.owned(ctx, owner, id)
	if err != nil {
		return job.Ticket{}, err
	}
	if !r.now().Before(j.Expires) {
		// The cleaner is late; a job in use lives on.
		r.db.Lock()
		r.expire(ctx, id)
		r.db.Unlock()
		if j, err = r.owned(ctx, owner, id); err != nil {
			return job.Ticket{}, err
		}
	}
	if j.State == job.Expired {
		return job.Ticket{}, errExpired()
	}
	r.log.InfoContext(ctx, "renew", "job", id, "owner", owner)
	return r.ticket(ctx, j, &s)
}

// Status returns one job of owner's.
func (r *Relay) Status(ctx context.Context, owner string, id job.ID) (job.Status, error) {
	j, err := r.owned(ctx, owner, id)
	if err != nil {
		return job.Status{}, err
	}
	return r.status(ctx, j)
}

// List returns all jobs of owner's, oldest first.
func (r *Relay) List(ctx context.Context, owner string) ([]job.Status, error) {
	js, err := r.cfg.Store.JobsByOwner(ctx, owner)
	if err != nil {
		return nil, r.internal("list jobs", err)
	}
	out := make([]job.Status, 0, len(js))
	for _, j := range js {
		st, err := r.status(ctx, r.latest(j))
		if err != nil {
			return nil, err
		}
		out = append(out, st)
	}
	return out, nil
}

// status adds a job's object and progress.
func (r *Relay) status(ctx context.Context, j job.Job) (job.Status, error) {
	st := job.Status{Job: j}
	if j.Object == "" {
		return st, nil
	}
	r.mu.Lock()
	lv := r.lives[j.Object]
	r.mu.Unlock()
	if lv != nil {
		return r.liveStatus(j, lv), nil
	}
	o, err := r.cfg.Store.Object(ctx, j.Object)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return st, nil
	case err != nil:
		return st, r.internal("read an object", err)
	}
	st.Object = &o
	if o.Complete {
		st.Received = o.Size
	}
	return st, nil
}

func (r *Relay) liveStatus(j job.Job, lv *live) job.Status {
	o := r.objectOf(lv)
	st := job.Status{Job: j, Object: &o, Received: lv.body.Received()}
	if j.State == job.Fetching {
		st.Rate = lv.meter.rate(r.now())
	}
	if o.Complete {
		// A body that is being verified again is still all there.
		st.Received = o.Size
	}
	return st
}

// Extend keeps a job, and the grants that were to last as long, for so many
// seconds from now (0: the relay's default). It never shortens.
func (r *Relay) Extend(ctx context.Context, owner string, id job.ID, seconds int64) (job.Status, error) {
	retain, err := r.retain(seconds)
	if err != nil {
		return job.Status{}, err
	}
	before, err := r.owned(ctx, owner, id)
	if err != nil {
		return job.Status{}, err
	}
	r.db.Lock()
	j, err := r.change(ctx, id, func(j *job.Job) error {
		if j.State == job.Expired {
			return errExpired()
		}
		if until := r.now().Add(retain); until.After(j.Expires) {
			j.Expires = until
		}
		return nil
	})
	r.db.Unlock()
	if err != nil {
		return job.Status{}, err
	}
	if err := r.prolong(ctx, j, before.Expires); err != nil {
		return job.Status{}, err
	}
	r.log.InfoContext(ctx, "extend", "job", id, "owner", owner, "expires", j.Expires)
	return r.status(ctx, j)
}

// Remove deletes a job, its tokens and grants. Its object goes with the last
// job, once nobody reads it; a fetch that nobody else waits for ends.
func (r *Relay) Remove(ctx context.Context, owner string, id job.ID) error {
	r.db.Lock()
	defer r.db.Unlock()
	j, err := r.owned(ctx, owner, id)
	if err != nil {
		return err
	}
	if err := r.cfg.Store.DeleteJob(ctx, id); err != nil && !errors.Is(err, store.ErrNotFound) {
		return r.internal("delete a job", err)
	}
	r.forget(id)
	r.log.InfoContext(ctx, "remove", "job", id, "owner", owner, "url", job.LogURL(j.URL))
	r.mu.Lock()
	f := r.flights[j.Key]
	r.mu.Unlock()
	if f != nil && f.jobs[id] {
		delete(f.jobs, id)
		if len(f.jobs) == 0 {
			f.cancel(errRemoved())
		}
	}
	r.changed.Fire()
	return r.dropUnwanted(ctx, j.Object)
}

// Info is what a relay says of itself.
type Info struct {
	DiskFree  int64 // bytes
	Used      int64 // bytes of all bodies, reserved ones included
	Quota     int64 // 0: none
	Retain    time.Duration
	Jobs      int // of the asking owner, expired ones left out
	Endpoints []job.Endpoint
}

// Info tells of the relay's disk, and how many jobs owner has.
func (r *Relay) Info(ctx context.Context, owner string) (Info, error) {
	free, err := r.cfg.Blobs.Free()
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return Info{}, r.internal("ask for free disk", err)
	}
	used, err := r.usage(ctx)
	if err != nil {
		return Info{}, err
	}
	js, err := r.cfg.Store.JobsByOwner(ctx, owner)
	if err != nil {
		return Info{}, r.internal("list jobs", err)
	}
	n := 0
	for _, j := range js {
		if j.State != job.Expired {
			n++
		}
	}
	return Info{DiskFree: free, Used: used.sum, Quota: r.cfg.Quota, Retain: r.cfg.Retain, Jobs: n, Endpoints: r.cfg.Endpoints()}, nil
}

// owned returns a job if it is owner's. Somebody else's looks like none.
func (r *Relay) owned(ctx context.Context, owner string, id job.ID) (job.Job, error) {
	j, err := r.job(ctx, id)
	if err != nil {
		return job.Job{}, err
	}
	if j.Owner != owner {
		return job.Job{}, errNotFound()
	}
	return j, nil
}

// job returns a job as it stands.
func (r *Relay) job(ctx context.Context, id job.ID) (job.Job, error) {
	if !id.Valid() {
		return job.Job{}, errNotFound()
	}
	j, err := r.cfg.Store.Job(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return job.Job{}, errNotFound()
	case err != nil:
		return job.Job{}, r.internal("read a job", err)
	}
	return r.latest(j), nil
}

// latest returns the job with what the store could not take yet.
func (r *Relay) latest(j job.Job) job.Job {
	r.mu.Lock()
	defer r.mu.Unlock()
	if u, ok := r.unsaved[j.ID]; ok {
		return u
	}
	return j
}

// change reads a job, changes and stores it. The db lock is held by the caller.
// If the store refuses, the change holds in memory, so that nobody waits for
// a job whose end could not be written down; the cleaner tries again.
func (r *Relay) change(ctx context.Context, id job.ID, f func(*job.Job) error) (job.Job, error) {
	j, err := r.job(ctx, id)
	if err != nil {
		return j, err
	}
	if err := f(&j); err != nil {
		return j, err
	}
	r.save(ctx, j)
	r.changed.Fire()
	return j, nil
}

func (r *Relay) save(ctx context.Context, j job.Job) {
	err := r.cfg.Store.PutJob(context.WithoutCancel(ctx), j)
	if err != nil {
		r.log.ErrorContext(ctx, "a job's state can't be stored; trying again", "job", j.ID, "state", j.State, "err", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.unsaved[j.ID] = j
		return
	}
	delete(r.unsaved, j.ID)
}

// forget takes a job out of memory.
func (r *Relay) forget(id job.ID) {
	r.mu.Lock()
	delete(r.unsaved, id)
	r.mu.Unlock()
	r.auth.clear()
}

// errNoChange ends a change that has nothing to do.
var errNoChange = errors.New("relay: nothing to change")

// internal logs a fault of the relay and returns what a person is told of it.
func (r *Relay) internal(what string, err error) error {
	switch {
	case r.ctx.Err() != nil:
		return errShutdown // the store is closed, or is about to be
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err // somebody stopped waiting
	}
	r.log.Error("relay: could not "+what, "err", err)
	return job.Errorf(job.CodeInternal, "the relay could not %s: %w", what, err).
		WithHint("its log tells more: journalctl -u jumpget")
}

func errNotFound() error {
	return job.Errorf(job.CodeNotFound, "the relay has no such job of yours").WithHint("see `jumpget ls`")
}

func errExpired() error {
	return job.Errorf(job.CodeExpired, "the relay no longer keeps this file").WithHint("submit the URL again")
}

func errRemoved() error {
	return job.Errorf(job.CodeRemoved, "the job was removed").WithHint("submit the URL again")
}
