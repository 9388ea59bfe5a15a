package relay

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jumpget/jumpget/internal/blob"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/span"
	"github.com/jumpget/jumpget/internal/store"
)

// live is an object whose body is open: because it is fetched, read, or was so
// a moment ago. Opening it again would mean to hash it again.
type live struct {
	id    job.ID
	body  *blob.Body
	meter meter
	sums  signal // a chunk has been hashed, or the object's record has changed

	verify  sync.Once // of what an earlier process wrote
	checked chan struct{}

	// Guarded by Relay.mu.
	object  job.Object
	hashed  span.Set // chunks, by index, whose sum is known
	leases  int
	idle    time.Time // when the last lease was given back
	touched time.Time // when the store was told of its use
	dropped bool      // out of Relay.lives; closed with the last lease
	closed  bool
}

// Body is a lease on an object's bytes: as long as it is open nothing
// removes them. Its methods may be called from many goroutines.
type Body struct {
	r    *Relay
	lv   *live
	once sync.Once
}

// Object returns the object's record as it stands.
func (b *Body) Object() job.Object { return b.r.objectOf(b.lv) }

// Size returns the size in bytes and whether it is known yet.
func (b *Body) Size() (int64, bool) { return b.lv.body.Size() }

// ReadAt waits for at least one byte at off and reads what follows it without
// a gap. At the end it returns 0 and io.EOF; after a failed fetch its error.
func (b *Body) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	return b.lv.body.ReadAt(ctx, p, off)
}

// Wait waits until every byte of sp is there; io.EOF says that the body ends
// before sp does.
func (b *Body) Wait(ctx context.Context, sp span.Span) error { return b.lv.body.Wait(ctx, sp) }

// Close gives the lease back. It may be called more than once.
func (b *Body) Close() {
	b.once.Do(func() {
		b.r.touch(b.lv)
		b.r.release(b.lv)
	})
}

// Open leases the body of a job that the caller is allowed to read. While the
// origin has not answered yet it waits.
func (r *Relay) Open(ctx context.Context, id job.ID) (*Body, error) {
	for {
		changed := r.changed.C()
		j, err := r.job(ctx, id)
		switch {
		case err != nil:
			return nil, err
		case j.State == job.Failed:
			return nil, j.Error
		case j.State == job.Expired:
			return nil, errExpired()
		case j.Object != "":
			return r.lease(ctx, j.Object)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-r.ctx.Done():
			return nil, errShutdown
		}
	}
}

// OpenOwned is Open for a job that has to be owner's.
func (r *Relay) OpenOwned(ctx context.Context, owner string, id job.ID) (*Body, error) {
	if _, err := r.owned(ctx, owner, id); err != nil {
		return nil, err
	}
	return r.Open(ctx, id)
}

// lease takes a lease on an object, opening its body if need be.
func (r *Relay) lease(ctx context.Context, id job.ID) (*Body, error) {
	if b := r.leaseOpen(id); b != nil {
		return b, nil
	}
	o, err := r.cfg.Store.Object(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errExpired()
	}
	if err != nil {
		return nil, r.internal("read an object", err)
	}
	lv, err := r.load(ctx, o)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, errExpired()
	}
	if err != nil {
		return nil, r.internal("open a body", err)
	}
	r.checkLater(lv)
	return &Body{r: r, lv: lv}, nil
}

func (r *Relay) leaseOpen(id job.ID) *Body {
	r.mu.Lock()
	defer r.mu.Unlock()
	lv := r.lives[id]
	if lv == nil {
		return nil
	}
	lv.leases++
	return &Body{r: r, lv: lv}
}

// touch tells the store that an object is used, so that it is evicted late; not
// at every range, because each time costs a sync.
func (r *Relay) touch(lv *live) {
	now := r.now()
	r.mu.Lock()
	due := now.Sub(lv.touched) > touchEvery && !lv.dropped
	if due {
		lv.touched = now
	}
	r.mu.Unlock()
	if !due {
		return
	}
	if err := r.cfg.Store.Touch(context.WithoutCancel(r.ctx), lv.id); err != nil && !errors.Is(err, store.ErrNotFound) {
		r.log.Warn("an object's last use can't be stored", "object", lv.id, "err", err)
	}
}

// load opens a stored body and leases it. What an earlier process wrote can't
// be read until it is verified.
func (r *Relay) load(ctx context.Context, o job.Object) (*live, error) {
	body, err := r.cfg.Blobs.Open(ctx, string(o.ID))
	if err != nil {
		return nil, err
	}
	if err := body.Err(); err != nil {
		return nil, errors.Join(err, body.Close())
	}
	if o.Size >= 0 {
		if err := body.SetSize(o.Size); err != nil {
			return nil, errors.Join(err, body.Close())
		}
	}
	lv := r.adopt(o, body)
	r.mu.Lock()
	sound := r.sound[o.ID]
	r.mu.Unlock()
	if sound {
		err = body.Mark(span.Span{End: o.Size})
		lv.verify.Do(func() { close(lv.checked) })
	}
	r.recount(lv)
	return lv, err
}

// adopt makes an open body known, with one lease. If somebody was faster,
// theirs is used.
func (r *Relay) adopt(o job.Object, body *blob.Body) *live {
	r.mu.Lock()
	defer r.mu.Unlock()
	if lv := r.lives[o.ID]; lv != nil {
		lv.leases++
		r.closeBody(o.ID, body)
		return lv
	}
	lv := &live{id: o.ID, body: body, object: o, leases: 1, checked: make(chan struct{})}
	r.lives[o.ID] = lv
	return lv
}

// release gives a lease back.
func (r *Relay) release(lv *live) {
	r.mu.Lock()
	defer r.mu.Unlock()
	lv.leases--
	lv.idle = r.now()
	r.closeIfUnused(lv)
}

// drop takes an object out of reach; its files close with the last lease.
func (r *Relay) drop(lv *live) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lives[lv.id] == lv {
		delete(r.lives, lv.id)
	}
	lv.dropped = true
	r.closeIfUnused(lv)
}

// closeIfUnused is called with mu held.
func (r *Relay) closeIfUnused(lv *live) {
	if lv.dropped && lv.leases == 0 && !lv.closed {
		lv.closed = true
		r.closeBody(lv.id, lv.body)
	}
}

func (r *Relay) closeBody(id job.ID, body *blob.Body) {
	if err := body.Close(); err != nil {
		r.log.Error("close a body", "object", id, "err", err)
	}
}

func (r *Relay) objectOf(lv *live) job.Object {
	r.mu.Lock()
	defer r.mu.Unlock()
	return lv.object
}

func (r *Relay) hashedOf(lv *live) span.Set {
	r.mu.Lock()
	defer r.mu.Unlock()
	return lv.hashed.Clone()
}

// setObject changes the record of an open object and tells watchers.
func (r *Relay) setObject(lv *live, f func(*job.Object)) job.Object {
	r.mu.Lock()
	f(&lv.object)
	o := lv.object
	r.mu.Unlock()
	lv.sums.Fire()
	return o
}

// recount looks again which chunks have a sum.
func (r *Relay) recount(lv *live) {
	var hashed span.Set
	if size, known := lv.body.Size(); known {
		countSums(lv.body, span.Span{End: int64(job.Chunks(size))}, &hashed)
	} else {
		have := lv.body.Have()
		for _, sp := range have.Spans() {
			countSums(lv.body, span.Span{Start: sp.Start / job.ChunkSize, End: (sp.End + job.ChunkSize - 1) / job.ChunkSize}, &hashed)
		}
	}
	r.mu.Lock()
	lv.hashed = hashed
	r.mu.Unlock()
	lv.sums.Fire()
}

func countSums(body *blob.Body, chunks span.Span, into *span.Set) {
	for i := chunks.Start; i < chunks.End; i++ {
		if _, ok := body.Sum(int(i)); ok {
			into.Add(span.Span{Start: i, End: i + 1})
		}
	}
}

// check verifies what an earlier process wrote, once, and returns what is
// there. When ctx ends the verification goes on: others wait for it too.
func (r *Relay) check(ctx context.Context, lv *live) (span.Set, error) {
	var err error
	lv.verify.Do(func() {
		defer close(lv.checked)
		if _, err = lv.body.Verify(r.ctx); err == nil {
			r.recount(lv)
		}
	})
	select {
	case <-lv.checked:
	case <-ctx.Done():
		return span.Set{}, context.Cause(ctx)
	}
	if err == nil && lv.body.Complete() {
		r.mu.Lock()
		r.sound[lv.id] = lv.object.Complete
		r.mu.Unlock()
	}
	return lv.body.Have(), err
}

// checkLater verifies an object aside, so that its readers get each chunk as
// soon as it is found good, and has it mended if it is damaged.
func (r *Relay) checkLater(lv *live) {
	select {
	case <-lv.checked:
		return
	default:
	}
	if !r.begin() {
		return
	}
	r.mu.Lock()
	lv.leases++
	r.mu.Unlock()
	go func() {
		defer r.wg.Done()
		defer r.release(lv)
		_, err := r.check(r.ctx, lv)
		if r.ctx.Err() == nil && (err != nil || !lv.body.Complete()) && r.objectOf(lv).Complete {
			r.mend(lv, err)
		}
	}()
}
