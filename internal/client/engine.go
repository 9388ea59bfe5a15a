package client

import (
	"context"
	"sync"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/partial"
	"github.com/jumpget/jumpget/internal/schedule"
	"github.com/jumpget/jumpget/internal/span"
)

// engine fetches one object: it joins the scheduler, the file and the workers
// of all paths. When the origin's file changes there is a new engine.
type engine struct {
	object job.ID
	file   *partial.File
	ctx    context.Context // ends with the object
	cancel context.CancelFunc
	start  time.Time
	wg     sync.WaitGroup // workers inside

	mu    sync.Mutex
	sched *schedule.Scheduler
	wake  chan struct{} // closed when there may be more to ask for
}

func newEngine(ctx context.Context, object job.ID, file *partial.File, size int64) *engine {
	e := &engine{object: object, file: file, start: time.Now(), wake: make(chan struct{})}
	e.ctx, e.cancel = context.WithCancel(ctx)
	e.sched = schedule.New(size, file.Missing)
	return e
}

// close ends all work on the object and waits for it.
func (e *engine) close() {
	e.mu.Lock()
	e.cancel()
	e.mu.Unlock()
	e.wg.Wait()
}

func (e *engine) now() time.Duration { return time.Since(e.start) }

// more runs f, which may make bytes free, and wakes idle workers.
func (e *engine) more(f func(s *schedule.Scheduler)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f(e.sched)
	e.rouse()
}

// rouse wakes idle workers; the lock is held.
func (e *engine) rouse() {
	close(e.wake)
	e.wake = make(chan struct{})
}

// join adds a worker; nil if the object is done with. It must leave.
func (e *engine) join(path Path, rtt time.Duration) *schedule.Worker {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx.Err() != nil {
		return nil
	}
	e.wg.Add(1)
	return e.sched.Join(e.now(), path, rtt)
}

// leave removes a worker.
func (e *engine) leave(w *schedule.Worker) {
	e.more(func(s *schedule.Scheduler) { s.Leave(w) })
	e.wg.Done()
}

// drop takes all its pieces from a worker.
func (e *engine) drop(w *schedule.Worker) { e.more(func(s *schedule.Scheduler) { s.Drop(w) }) }

// assign returns the worker's next piece, whose span may be read until then, or
// nil and a channel that tells when to ask again.
func (e *engine) assign(w *schedule.Worker) (sp span.Span, ok bool, wake <-chan struct{}) {
	now := e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.sched.Assign(now, w); p != nil {
		return p.Span, true, nil
	}
	return span.Span{}, false, e.wake
}

// assignPiece is assign for a worker that keeps several pieces under way and
// ends them by name.
func (e *engine) assignPiece(w *schedule.Worker) (*schedule.Piece, span.Span) {
	now := e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.sched.Assign(now, w)
	if p == nil {
		return nil, span.Span{}
	}
	return p, p.Span
}

// adopt takes a range for a piece that a worker asked for before it was one; see
// schedule.Scheduler.Adopt.
func (e *engine) adopt(w *schedule.Worker, sp span.Span) *schedule.Piece {
	now := e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sched.Adopt(now, w, sp)
}

// done tells that one of a worker's pieces was answered or is given up.
func (e *engine) done(w *schedule.Worker, p *schedule.Piece) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if rest := e.sched.Done(w, p); rest {
		e.rouse()
	}
}

// needed tells whether a piece is still the worker's and others have not
// brought all of it, and what it has come to: it may have shrunk.
func (e *engine) needed(w *schedule.Worker, p *schedule.Piece) (span.Span, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return p.Span, e.sched.Needed(w, p)
}

// exhausted tells whether everything that is missing has been asked for.
func (e *engine) exhausted() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sched.Exhausted()
}

// dropPath takes all their pieces from a path's workers.
func (e *engine) dropPath(path Path) {
	e.more(func(s *schedule.Scheduler) { s.DropPath(path) })
}

// permit says how much a path may take on from now on, and reports whether
// that is another than before.
func (e *engine) permit(path Path, a schedule.Allowance) (changed bool) {
	now := e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if changed = e.sched.Permit(now, path, a); changed {
		e.rouse()
	}
	return changed
}

// left is the number of bytes that have not come; negative while the size is
// not known.
func (e *engine) left() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sched.Left()
}

// arrived stores bytes that came for the worker's oldest piece; see
// schedule.Scheduler.Arrived. An error is the disk's, and final.
func (e *engine) arrived(w *schedule.Worker, off int64, p []byte) (wantEnd int64, err error) {
	if _, err := e.file.WriteAt(p, off); err != nil {
		return 0, err
	}
	now := e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sched.Arrived(now, w, off, len(p)), nil
}

// finished tells that the worker's oldest piece was answered.
func (e *engine) finished(w *schedule.Worker) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if rest := e.sched.Finished(w); rest {
		e.rouse()
	}
}

// waiting tells whether the worker may have to wait for the relay.
func (e *engine) waiting(w *schedule.Worker) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sched.Waiting(w)
}

// chunk is the bytes of a chunk.
func (e *engine) chunk(i int) span.Span {
	sp := span.Span{Start: int64(i) * job.ChunkSize, End: int64(i+1) * job.ChunkSize}
	if size := e.file.Size(); size >= 0 {
		sp.End = min(sp.End, size)
	}
	return sp
}

// rest is what an idle worker does until there may be something to ask for.
func (e *engine) rest(ctx context.Context, wake <-chan struct{}) {
	t := time.NewTimer(schedule.IdleTick)
	defer t.Stop()
	select {
	case <-wake:
	case <-t.C:
	case <-ctx.Done():
	}
}

// busy tells whether every worker of a path has work that the relay can do.
func (e *engine) busy(path Path) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sched.Busy(path)
}

// owed tells whether some worker of a path waits for bytes that the relay has.
func (e *engine) owed(path Path) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sched.Owed(path)
}

// distrusted tells whether bytes are missing that only ssh may bring.
func (e *engine) distrusted() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sched.Distrusted()
}

// slowest returns a worker whose connection should be replaced, or nil.
func (e *engine) slowest(path Path) *schedule.Worker {
	now := e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sched.Slowest(now, path)
}

// useful is how many connections there is work for.
func (e *engine) useful() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sched.Useful()
}
