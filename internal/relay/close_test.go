package relay

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origin"
	"github.com/jumpget/jumpget/internal/span"
)

// TestCloseEndsEverybody closes a relay under watchers and readers in every kind
// of wait.
func TestCloseEndsEverybody(t *testing.T) {
	t.Parallel()
	w, _, o, id := midFetch(t, fourChunks)
	b := w.body(alice, id)
	asking := make(chan struct{})
	w.cfg.Fetcher.(*held).Fetcher = silent{Fetcher: w.config.Fetcher, asking: asking}
	unanswered := w.submit(bob, get(o.URL("/silent"))).Job
	wait(t, "the silent origin is asked", asking)

	ends := make(chan error, 5)
	watched := w.watchAside(w.ctx(), alice, id, 0)
	go func() { ends <- (<-watched).err }()
	go func() { _, err := readAll(w.ctx(), b); ends <- err }()
	go func() { ends <- b.Wait(w.ctx(), span.Span{End: fourChunks.Size}) }()
	go func() { _, err := w.OpenOwned(w.ctx(), bob, unanswered); ends <- err }()
	go func() { w.Run(w.ctx()); ends <- errShutdown }()
	w.Close()
	for range cap(ends) {
		select {
		case err := <-ends:
			wantCode(t, err, job.CodeUnavailable)
		case <-time.After(patience):
			t.Fatal("somebody still waits")
		}
	}
	b.Close()
	w.Close() // once more does no harm
}

// silent is a fetcher whose origin never answers for one URL.
type silent struct {
	Fetcher
	asking chan struct{}
}

func (s silent) Fetch(ctx context.Context, _ *job.Request, _ *origin.Prior, _ origin.Sink) (origin.Result, error) {
	close(s.asking)
	<-ctx.Done()
	return origin.Result{}, context.Cause(ctx)
}

// TestAfterClose asks a closed relay for everything: nothing hangs, and the
// answer says that it is worth trying again.
func TestAfterClose(t *testing.T) {
	t.Parallel()
	f, o := small(t)
	w := newWorld(t)
	id := w.bring(alice, get(o.URL(""))).Job.ID
	w.restart() // so that the body has to be opened
	w.close()
	for name, err := range map[string]error{
		"submit": func() error { _, err := w.Submit(w.ctx(), Submission{Owner: alice}, get(o.URL(""))); return err }(),
		"status": func() error { _, err := w.Status(w.ctx(), alice, id); return err }(),
		"list":   func() error { _, err := w.List(w.ctx(), alice); return err }(),
		"watch":  w.watch(alice, id, 0).err,
		"open":   func() error { _, err := w.Open(w.ctx(), id); return err }(),
		"renew":  func() error { _, err := w.Renew(w.ctx(), alice, id); return err }(),
		"remove": w.Remove(w.ctx(), alice, id),
	} {
		if !errors.Is(err, errShutdown) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := w.Authorize(w.ctx(), id, "x", home); got != Refused {
		t.Errorf("the verdict is %d", got)
	}
	w.Run(w.ctx())
	w.open()
	w.wantFile(alice, id, f)
}

// TestOpenWhileClosing opens a body when the relay has closed but its store has
// not: the body must not be left open, with nobody to end its readers.
func TestOpenWhileClosing(t *testing.T) {
	t.Parallel()
	_, o := small(t)
	w := newWorld(t)
	id := w.bring(alice, get(o.URL(""))).Job.ID
	w.Close()
	if _, err := w.Open(w.ctx(), id); !errors.Is(err, errShutdown) {
		t.Errorf("told %v", err)
	}
	if len(w.lives) != 0 {
		t.Errorf("%d bodies are open", len(w.lives))
	}
}

func TestWaitersMayLeave(t *testing.T) {
	t.Parallel()
	w, _, _, id := midFetch(t, fourChunks)
	b := w.body(alice, id)
	gone := errors.New("the client has hung up")
	ctx, leave := context.WithCancelCause(w.ctx())
	ends := make(chan error, 3)
	watched := w.watchAside(ctx, alice, id, 0)
	go func() { ends <- (<-watched).err }()
	go func() { _, err := readAll(ctx, b); ends <- err }()
	go func() { ends <- b.Wait(ctx, span.Span{End: fourChunks.Size}) }()
	leave(gone)
	for range cap(ends) {
		if err := <-ends; !errors.Is(err, gone) && !errors.Is(err, context.Canceled) {
			t.Errorf("told %v", err)
		}
	}
	// One who stops iterating is not called again.
	n := 0
	for range w.Watch(w.ctx(), alice, id, 0) {
		n++
		break
	}
	if n != 1 {
		t.Errorf("%d events", n)
	}
}

func TestNewNeedsItsParts(t *testing.T) {
	t.Parallel()
	if _, err := New(t.Context(), Config{}); err == nil {
		t.Error("a relay without a store")
	}
}

// TestRecoverFails starts on a store that is closed already.
func TestRecoverFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := w.cfg
	w.close()
	if r, err := New(t.Context(), cfg); err == nil {
		r.Close()
		t.Error("it started")
	}
}
