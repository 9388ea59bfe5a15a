package origin

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/span"
)

// run is one fetch from one target. It goes version by version:
//
//	first ─▶ begin ─▶ transfer ─▶ finish
//	           ▲         │
//	           └─────────┘ another version, or one that can't be proven the same
type run struct {
	f        *Fetcher
	target   *target
	sink     Sink
	segments segments
	gain     float64 // see defaultGain

	noRanges bool // ranges have proved wrong, or are answered with the whole; guarded by transfer.mu while one runs
	received atomic.Int64
	most     int // connections at a time; guarded like noRanges
}

func (r *run) fetch(ctx context.Context, prior *Prior) (Result, error) {
	a, err := r.first(ctx, prior)
	if err != nil {
		return Result{}, err
	}
	restarts := r.retrier()
	for {
		t, err := r.begin(ctx, a, prior)
		if err != nil {
			a.close()
			return Result{}, err
		}
		next, err := t.run(ctx, a)
		if err == nil {
			return r.finish(t)
		}
		if a, err = r.again(ctx, restarts, next, err); err != nil {
			return Result{}, err
		}
		prior = nil // what Begin gives void once stays void
	}
}

// first opens the answer to begin with: the rest of a prior version if that
// still stands, else the whole.
func (r *run) first(ctx context.Context, prior *Prior) (*answer, error) {
	want := resume(prior)
	a, err := r.openRetrying(ctx, want)
	refused := isStatus(err, http.StatusRequestedRangeNotSatisfiable)
	r.noRanges = errors.Is(err, errLying)
	switch {
	case !want.ranged:
		return a, err
	case refused, r.noRanges:
		a, err = r.openRetrying(ctx, ask{})
	case err == nil && a.partial() && !prior.stands(a.meta):
		a.close()
		return r.openRetrying(ctx, ask{})
	}
	if err == nil && !a.partial() && prior.stands(a.meta) {
		r.noRanges = true // the very version that the range was asked of, and it is sent whole
	}
	return a, err
}

// resume asks for the first byte that is missing. Where none is known to be,
// it asks for the last one again: that proves the version, and the answer can
// never be an ambiguous 416.
func resume(prior *Prior) ask {
	if prior == nil || prior.Strong() == "" {
		return ask{}
	}
	from := prior.Have.From(0)
	if prior.Size == job.UnknownSize || from >= prior.Size {
		from--
	}
	if from <= 0 {
		return ask{}
	}
	return ask{span: span.Span{Start: from, End: noEnd}, ranged: true, ifRange: prior.Strong()}
}

// stands reports whether m describes the prior version.
func (p *Prior) stands(m Meta) bool {
	return p != nil && p.Strong() != "" && p.ETag == m.ETag &&
		(p.Size == job.UnknownSize || m.Size == job.UnknownSize || p.Size == m.Size)
}

// openRetrying opens an answer and tries again after transient failures.
func (r *run) openRetrying(ctx context.Context, want ask) (*answer, error) {
	tries := r.retrier()
	for {
		a, err := r.open(ctx, want)
		if err == nil || errors.Is(err, errLying) {
			return a, err
		}
		if err := tries.next(ctx, err, 0); err != nil {
			return nil, err
		}
	}
}

func isStatus(err error, code int) bool {
	var f *failure
	return errors.As(err, &f) && f.told.Status == code
}

// begin announces a's version to the sink and plans what is to be fetched.
func (r *run) begin(ctx context.Context, a *answer, prior *Prior) (*transfer, error) {
	if a.meta.Size > r.f.cfg.MaxSize {
		return nil, r.tooLarge()
	}
	v := newVersion(a)
	v.meta.Resumed = prior.stands(a.meta)
	have, err := r.sink.Begin(ctx, v.meta)
	if err != nil {
		return nil, &sinkError{err}
	}
	if have.Len() > 0 && !v.meta.Resumed {
		return nil, &sinkError{job.Errorf(job.CodeInternal, "a file that starts empty already has bytes")}
	}
	return newTransfer(r, v, have), nil
}

// again decides what follows a transfer that did not end well. next is an
// answer of another version, if there is one; it is used as it stands.
func (r *run) again(ctx context.Context, restarts *retrier, next *answer, err error) (*answer, error) {
	switch {
	case errors.Is(err, errLying):
		r.noRanges = true
	case errors.Is(err, errChanged), errors.Is(err, errNoJoin):
	default:
		return nil, err
	}
	// Each restart counts as one attempt without progress.
	f := r.restartFailure(err)
	if next == nil {
		if err := restarts.next(ctx, f, 0); err != nil {
			return nil, err
		}
		return r.openRetrying(ctx, ask{})
	}
	if err := restarts.count(f); err != nil {
		next.close()
		return nil, err
	}
	next.bind(ctx)
	return next, nil
}

// restartFailure says why a version was given up, should it be the last word.
func (r *run) restartFailure(err error) *failure {
	var cause *failure
	if errors.As(err, &cause) {
		return cause
	}
	f := protoFailure("%w", err)
	f.transient = true
	return f
}

// finish tells the sink a length learned at the end, and the caller how it went.
func (r *run) finish(t *transfer) (Result, error) {
	if t.version.meta.Size == job.UnknownSize {
		if err := r.sink.SetSize(t.size); err != nil {
			return Result{}, &sinkError{err}
		}
	}
	return Result{
		Meta: t.version.meta, Size: t.size, LengthVerified: t.verified,
		Received: r.received.Load(), Conns: r.most,
	}, nil
}
