package relay

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jumpget/jumpget/internal/blob"
	"github.com/jumpget/jumpget/internal/growfile"
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
	sums  signal       // a chunk has been hashed, or the object's record has changed
	bound atomic.Int64 // bytes that room was made for, whether written yet or not

	checked chan struct{} // closed when all that can be read has been verified
	fault   error         // of the verification; written before checked is closed

	// Guarded by Relay.mu.
	object    job.Object
	hashed    span.Set // chunks, by index, that are there and whose sum is known; it only grows
	verifying bool     // somebody has begun to verify it, or there is no need to
	leases    int
	idle      time.Time // when the last lease was given back
	touched   time.Time // when the store was told of its use
	dropped   bool      // out of Relay.lives; closed with the last lease
	closed    bool
}

// reach takes a lease on an object, opening its body if need be.
func (r *Relay) reach(ctx context.Context, id job.ID) (*live, error) {
	if lv := r.leaseOpen(id); lv != nil {
		return lv, nil
	}
	r.db.Lock()
	defer r.db.Unlock()
	if lv := r.leaseOpen(id); lv != nil {
		return lv, nil
	}
	o, err := r.cfg.Store.Object(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errExpired()
	}
	if err != nil {
		return nil, r.internal("read an object", err)
	}
	lv, err := r.load(ctx, o)
	if errors.Is(err, blob.ErrNotFound) || errors.Is(err, growfile.ErrSize) {
		r.lost(ctx, o, err)
		return nil, errExpired()
	}
	if err != nil {
		return nil, r.internal("open a body", err)
	}
	return lv, nil
}

func (r *Relay) leaseOpen(id job.ID) *live {
	r.mu.Lock()
	defer r.mu.Unlock()
	lv := r.lives[id]
	if lv != nil {
		lv.leases++
	}
	return lv
}

// load opens a stored body and leases it. What an earlier process wrote can't
// be read until it is verified. The db lock is held by the caller.
func (r *Relay) load(ctx context.Context, o job.Object) (*live, error) {
	body, err := r.cfg.Blobs.Open(ctx, string(o.ID))
	if err != nil {
		return nil, err
	}
	if err := r.prepare(o, body); err != nil {
		return nil, errors.Join(err, body.Close())
	}
	return r.adopt(o, body, body.Complete())
}

// prepare tells a body that has just been opened what the record knows of it.
func (r *Relay) prepare(o job.Object, body *blob.Body) error {
	if err := body.Err(); err != nil {
		return fmt.Errorf("the readers of a failed fetch have not left yet: %w", err)
	}
	if o.Size < 0 {
		return nil
	}
	if err := body.SetSize(o.Size); err != nil {
		return err
	}
	r.mu.Lock()
	sound := r.sound[o.ID]
	r.mu.Unlock()
	if sound && len(body.Sums(0, 0)) == job.Chunks(o.Size) {
		return body.Mark(span.Span{End: o.Size})
	}
	return nil
}

// adopt makes an open body known, with one lease. Good says that what it holds
// needs no verification.
func (r *Relay) adopt(o job.Object, body *blob.Body, good bool) (*live, error) {
	lv := &live{id: o.ID, body: body, object: o, leases: 1, verifying: good, checked: make(chan struct{})}
	lv.bound.Store(max(0, o.Size))
	if good {
		close(lv.checked)
		r.recount(lv)
	}
	r.mu.Lock()
	refused := r.closing
	if !refused {
		r.lives[o.ID] = lv
	}
	r.mu.Unlock()
	if refused {
		r.closeBody(lv) // nobody would end its readers any more
		return nil, errShutdown
	}
	return lv, nil
}

// release gives a lease back.
func (r *Relay) release(lv *live) {
	r.update(lv, func() {
		lv.leases--
		lv.idle = r.now()
	})
}

// drop takes an object out of reach; its files close with the last lease.
func (r *Relay) drop(lv *live) {
	r.update(lv, func() { r.unlist(lv) })
}

// take drops an object if nobody has a lease on it, and reports whether it is
// out of reach now.
func (r *Relay) take(id job.ID) bool {
	r.mu.Lock()
	lv := r.lives[id]
	r.mu.Unlock()
	if lv == nil {
		return true
	}
	free := false
	r.update(lv, func() {
		if free = lv.leases == 0; free {
			r.unlist(lv)
		}
	})
	return free
}

// unlist is called with mu held.
func (r *Relay) unlist(lv *live) {
	if r.lives[lv.id] == lv {
		delete(r.lives, lv.id)
	}
	lv.dropped = true
}

// update changes lv with mu held, and closes its files if nobody can reach
// them any more: after mu is released, since freeing a large file takes time.
func (r *Relay) update(lv *live, change func()) {
	r.mu.Lock()
	change()
	last := lv.dropped && lv.leases == 0 && !lv.closed
	lv.closed = lv.closed || last
	r.mu.Unlock()
	if last {
		r.closeBody(lv)
	}
}

func (r *Relay) closeBody(lv *live) {
	if err := lv.body.Close(); err != nil {
		r.log.Error("close a body", "object", lv.id, "err", err)
	}
}

// closeIdle closes bodies that nobody has used for a while.
func (r *Relay) closeIdle() {
	now := r.now()
	var idle []job.ID
	r.mu.Lock()
	for id, lv := range r.lives {
		if lv.leases == 0 && now.Sub(lv.idle) > idleClose {
			idle = append(idle, id)
		}
	}
	r.mu.Unlock()
	for _, id := range idle {
		r.take(id)
	}
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

func (r *Relay) objectOf(lv *live) job.Object {
	r.mu.Lock()
	defer r.mu.Unlock()
	return lv.object
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
