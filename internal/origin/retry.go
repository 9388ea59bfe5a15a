package origin

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// enough is the progress in bytes that makes a new failure a first one again.
const enough = 64 << 10

// retrier counts attempts without progress and spaces them out. It is not safe
// for concurrent use.
type retrier struct {
	r     *run
	tries int
	delay *backoff.ExponentialBackOff
}

func (r *run) retrier() *retrier {
	d := backoff.NewExponentialBackOff()
	d.MaxInterval = 20 * time.Second
	return &retrier{r: r, delay: d}
}

// next waits until it is worth trying again and returns nil, or returns the
// failure that ends it all. got is the progress in bytes since the last failure.
func (t *retrier) next(ctx context.Context, err error, got int64) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	f := t.r.failureOf(err)
	// An origin that trickles makes progress all the time; that is no reason to
	// wait for it for ever.
	fresh := got >= enough && !errors.Is(err, errSlow)
	if fresh {
		t.tries = 0
		t.delay.Reset()
	}
	if err := t.count(f); err != nil {
		return err
	}
	if fresh && f.after == 0 {
		return nil // a cut after good progress: go on at once
	}
	return t.r.f.cfg.Sleep(ctx, max(f.after, t.delay.NextBackOff()))
}

// count notes one more attempt without progress and returns f if it was the last.
func (t *retrier) count(f *failure) error {
	t.tries++
	if !f.transient || t.tries >= t.r.f.cfg.Tries || f.after > t.r.f.cfg.MaxRetryAfter {
		return f
	}
	return nil
}
