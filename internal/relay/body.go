package relay

import (
	"context"
	"errors"
	"sync"

	"github.com/jumpget/jumpget/internal/blob"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/span"
)

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

// ReadNow is ReadAt for who can't wait: 0 and no error where no byte is there yet.
func (b *Body) ReadNow(p []byte, off int64) (int, error) { return b.lv.body.ReadNow(p, off) }

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
			if b, moved, err := r.lease(ctx, j); !moved {
				return b, err
			}
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

// lease leases the object that j points at. If it is gone because the job has
// moved on since j was read, it reports that instead of an error.
func (r *Relay) lease(ctx context.Context, j job.Job) (b *Body, moved bool, err error) {
	lv, err := r.reach(ctx, j.Object)
	if err == nil {
		r.checkLater(lv)
		return &Body{r: r, lv: lv}, false, nil
	}
	if errors.Is(err, errExpired()) {
		now, again := r.job(ctx, j.ID)
		moved = again == nil && (now.Object != j.Object || now.State != j.State)
	}
	return nil, moved, err
}

// bodyReader is an io.ReaderAt for what a body has.
type bodyReader struct {
	ctx  context.Context
	body *blob.Body
}

func (b bodyReader) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = b.body.ReadAt(b.ctx, p[n:], off+int64(n))
		n += m
	}
	return n, err
}
