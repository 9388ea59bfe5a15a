package httpd

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/wire"
)

// streamType is the content type of an event stream: one JSON value a line.
const streamType = "application/x-ndjson"

// stallTimeout is how long a reader may take nothing of what is sent to it,
// unless it is set otherwise.
const stallTimeout = 60 * time.Second

// stream is an answer of JSON lines, each flushed at once. An empty line now
// and then keeps it alive and finds out when nobody is there any more.
type stream struct {
	ctx context.Context // ends with the request and with Shutdown
	out outlet
	w   http.ResponseWriter
	rc  *http.ResponseController

	mu   sync.Mutex
	last time.Time // of the last line
}

// stream runs f with a stream as the answer. An error of f is its last line.
func (s *Local) stream(w http.ResponseWriter, r *http.Request, f func(*stream) error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	defer context.AfterFunc(s.drain, func() { cancel(errDraining) })()
	w.Header().Set("Content-Type", streamType)
	st := &stream{ctx: ctx, out: s.out, w: w, rc: http.NewResponseController(w), last: time.Now()}
	var wg sync.WaitGroup
	wg.Go(func() { st.beat(s.cfg.Heartbeat, cancel) })
	err := f(st)
	cancel(err)
	wg.Wait()
	if err != nil && r.Context().Err() == nil && !errors.Is(err, errLeft) {
		var je *job.Error
		if !errors.As(err, &je) {
			s.cfg.Log.ErrorContext(r.Context(), "a stream failed", "path", r.URL.Path, "err", err)
		}
		_ = st.send(wire.Message{Error: wire.FromError(err)}) // the end of the stream says it too
	}
}

// errLeft says that nobody reads the stream any more.
var errLeft = errors.New("httpd: the stream's reader has left")

// send writes one line.
func (st *stream) send(m wire.Message) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return st.line(b)
}

func (st *stream) line(b []byte) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.last = time.Now()
	st.out.arm(st.rc) // until the next line, which comes sooner
	if _, err := st.w.Write(append(b, '\n')); err != nil {
		return errLeft
	}
	if err := st.rc.Flush(); err != nil {
		return errLeft
	}
	return nil
}

// beat writes an empty line whenever nothing was said for a while.
func (st *stream) beat(every time.Duration, cancel context.CancelCauseFunc) {
	for {
		st.mu.Lock()
		wait := every - time.Since(st.last)
		st.mu.Unlock()
		if wait <= 0 {
			if err := st.line(nil); err != nil {
				cancel(err)
				return
			}
			wait = every
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-st.ctx.Done():
			timer.Stop()
			return
		}
	}
}

// watch sends a job's events. With once it ends after the first.
func (s *Local) watch(st *stream, user string, id job.ID, chunk int, once bool) error {
	for e, err := range s.cfg.Jobs.Watch(st.ctx, user, id, chunk) {
		if err != nil {
			return err
		}
		if err := st.send(wire.FromEvent(e)); err != nil || once {
			return err
		}
	}
	return nil
}
