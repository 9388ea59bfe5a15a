package relay

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/span"
)

// Watch yields a job's events: a status first; then a status at every change
// and a few times a second while bytes arrive; and the sums of all chunks from
// fromChunk on, in the order in which they become known. When the object
// changes, the new one's sums start at chunk 0. The last event is the final
// status, after all sums. An error ends it too, as does ctx.
func (r *Relay) Watch(ctx context.Context, owner string, id job.ID, fromChunk int) iter.Seq2[job.Event, error] {
	return func(yield func(job.Event, error) bool) {
		w := &watcher{r: r, owner: owner, id: id, yield: yield, from: int64(max(0, fromChunk))}
		defer w.leave()
		if err := w.run(ctx); err != nil && !errors.Is(err, errStopped) {
			yield(job.Event{}, err)
		}
	}
}

// errStopped says that the consumer wants no more events.
var errStopped = errors.New("relay: the watcher has left")

type watcher struct {
	r     *Relay
	owner string
	id    job.ID
	yield func(job.Event, error) bool

	object job.ID   // the one that from and sent speak of
	body   *Body    // its bytes, as long as they are followed
	from   int64    // the first chunk that is wanted
	sent   span.Set // chunks whose sum has been told, by index

	last *job.Status // told last
	told time.Time   // when that was
}

// run returns nil after the final status.
func (w *watcher) run(ctx context.Context) error {
	for {
		changed := w.r.changed.C()
		j, err := w.r.owned(ctx, w.owner, w.id)
		if err != nil {
			return w.gone(err)
		}
		if err := w.follow(ctx, j); err != nil {
			return err
		}
		for stale := false; !stale; {
			var sums <-chan struct{}
			if w.body != nil {
				sums = w.body.lv.sums.C()
			}
			if done, err := w.tell(ctx, j); done || err != nil {
				return err
			}
			if stale, err = w.wait(ctx, changed, sums); err != nil {
				return err
			}
		}
	}
}

// gone tells a watcher whose job disappears under its eyes why.
func (w *watcher) gone(err error) error {
	if w.last != nil && errors.Is(err, &job.Error{Code: job.CodeNotFound}) {
		return errRemoved()
	}
	return err
}

// follow leases the object that the job points at now.
func (w *watcher) follow(ctx context.Context, j job.Job) error {
	if w.body != nil && (w.object != j.Object || w.body.lv.body.Err() != nil) {
		w.leave()
	}
	if w.body != nil || j.Object == "" || j.State == job.Failed || j.State == job.Expired {
		return nil
	}
	if w.object != "" && w.object != j.Object {
		w.from, w.sent = 0, span.Set{} // another version: everything starts again
	}
	w.object = j.Object
	b, moved, err := w.r.lease(ctx, j)
	if moved {
		return nil // the next look at the job says where to
	}
	w.body = b
	return err
}

func (w *watcher) leave() {
	if w.body != nil {
		w.body.Close()
		w.body = nil
	}
}

// tell yields what is new, and reports whether the final status is told.
func (w *watcher) tell(ctx context.Context, j job.Job) (done bool, err error) {
	st, err := w.r.status(ctx, j)
	if err != nil {
		return false, err
	}
	final := j.State.Final()
	if w.last == nil || !final && w.due(st) {
		if err := w.tellStatus(st); err != nil {
			return false, err
		}
	}
	if err := w.tellSums(); err != nil {
		return false, err
	}
	switch {
	case !final:
		return false, nil
	case j.State == job.Ready && !w.toldAll():
		return false, w.stuck() // it is being verified, or about to be mended
	}
	return true, w.tellStatus(st)
}

// toldAll reports whether the sums of all chunks that are wanted have been told.
func (w *watcher) toldAll() bool {
	if w.body == nil {
		return false
	}
	size, known := w.body.Size()
	return known && len(w.sent.Missing(span.Span{Start: w.from, End: int64(job.Chunks(size))})) == 0
}

// stuck returns why no more sums will come, if that is so.
func (w *watcher) stuck() error {
	if w.body == nil {
		return nil
	}
	return w.body.lv.body.Err()
}

// due reports whether a status is worth an event: at a change always, for
// progress alone only now and then.
func (w *watcher) due(st job.Status) bool {
	was := w.last
	switch {
	case st.Job.State != was.Job.State, st.Job.Object != was.Job.Object, !st.Job.Expires.Equal(was.Job.Expires),
		(st.Object == nil) != (was.Object == nil),
		st.Object != nil && (st.Object.Size != was.Object.Size || st.Object.ID != was.Object.ID):
		return true
	}
	if st.Received != was.Received && w.growing() {
		return time.Since(w.told) >= growthPeriod
	}
	return (st.Received != was.Received || st.Rate != was.Rate) && time.Since(w.told) >= statusPeriod
}

// growing reports whether nobody knows yet where the body will end.
func (w *watcher) growing() bool {
	if w.body == nil {
		return false
	}
	_, known := w.body.Size()
	return !known
}

func (w *watcher) tellStatus(st job.Status) error {
	w.last, w.told = &st, time.Now()
	if !w.yield(job.Event{Status: &st}, nil) {
		return errStopped
	}
	return nil
}

// tellSums yields the sums that have not been told yet.
func (w *watcher) tellSums() error {
	if w.body == nil {
		return nil
	}
	known := w.r.hashedOf(w.body.lv)
	for _, run := range known.Spans() {
		for _, gap := range w.sent.Missing(span.Span{Start: max(w.from, run.Start), End: run.End}) {
			if err := w.tellRun(gap); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *watcher) tellRun(run span.Span) error {
	for at := run.Start; at < run.End; {
		sums := w.body.lv.body.Sums(int(at), int(min(maxSums, run.End-at)))
		if len(sums) == 0 {
			return nil // found damaged meanwhile; it comes again
		}
		if !w.yield(job.Event{Sums: &job.Sums{Object: w.body.lv.id, First: int(at), SHA256: sums}}, nil) {
			return errStopped
		}
		w.sent.Add(span.Span{Start: at, End: at + int64(len(sums))})
		at += int64(len(sums))
	}
	return nil
}

// wait sleeps until there is something to tell, and reports whether the job
// has to be read again.
func (w *watcher) wait(ctx context.Context, changed, sums <-chan struct{}) (stale bool, err error) {
	period := statusPeriod
	if w.growing() {
		period = growthPeriod
	}
	tick := time.NewTimer(period)
	defer tick.Stop()
	select {
	case <-changed:
		return true, nil
	case <-tick.C:
		return false, nil
	case <-sums:
	case <-ctx.Done():
		return false, context.Cause(ctx)
	case <-w.r.ctx.Done():
		return false, errShutdown
	}
	// More sums are on their way: let them share an event.
	tick.Reset(sumsPeriod)
	select {
	case <-changed:
		return true, nil
	case <-tick.C:
		return false, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}
