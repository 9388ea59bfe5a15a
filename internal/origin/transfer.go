package origin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/span"
)

// transfer fetches one version of the file with one worker for each connection.
// A worker claims the lowest bytes that nobody fetches and fetches them. An
// open body that reaches the end of its claim goes on for as long as the bytes
// behind it are free, so a single connection is one long answer.
type transfer struct {
	r       *run
	version version
	gained  atomic.Int64 // bytes written
	retry   *retrier     // used by the last worker alone
	cancel  context.CancelCauseFunc
	workers sync.WaitGroup

	mu sync.Mutex
	plan
	size     int64   // job.UnknownSize until known
	verified bool    // the end of the file is proven
	err      error   // why the transfer ends early; the first reason counts
	next     *answer // the open answer that showed another version
}

func newTransfer(r *run, v version, have span.Set) *transfer {
	t := &transfer{r: r, version: v, size: v.meta.Size, verified: true, retry: r.retrier()}
	end := t.size
	if t.size == job.UnknownSize {
		end, t.verified = noEnd, false
	}
	t.plan = newPlan(span.Span{End: end}, have, r)
	return t
}

// run fetches what is missing, beginning with the first answer. With
// errChanged comes the open answer of the new version, if there is one.
func (t *transfer) run(parent context.Context, first *answer) (*answer, error) {
	ctx, cancel := context.WithCancelCause(parent)
	t.cancel = cancel
	defer cancel(nil)
	t.active, t.stream = 1, first
	t.r.most = max(t.r.most, 1)
	t.workers.Go(func() { t.work(ctx, first) })
	ramped := make(chan struct{})
	go func() {
		defer close(ramped)
		t.ramp(ctx)
	}()
	t.workers.Wait()
	cancel(errGone)
	<-ramped
	switch {
	case parent.Err() != nil:
		t.stop(context.Cause(parent), nil)
	case t.todo.Len() > 0:
		t.stop(job.Errorf(job.CodeInternal, "the fetch ended with bytes missing"), nil)
	}
	return t.next, t.err
}

// stop ends the transfer for a reason. It closes next if another reason was first.
func (t *transfer) stop(err error, next *answer) {
	t.mu.Lock()
	first := t.err == nil
	if first {
		t.err, t.next = err, next
	}
	t.mu.Unlock()
	if !first && next != nil {
		next.close()
	}
	t.cancel(errGone)
}

// work is the life of one worker; a is its open answer or nil.
func (t *transfer) work(ctx context.Context, a *answer) {
	p := newPipe()
	for {
		a = t.usable(a)
		c := t.take(ctx, a)
		if c == nil {
			break
		}
		var got int64
		var err error
		if a == nil {
			a, err = t.ask(ctx, c)
		}
		if err == nil {
			got, err = t.copy(p, a, c)
		}
		t.giveBack(c, a, err)
		if err == nil {
			continue
		}
		if a != nil {
			a.close()
			a = nil
		}
		if !t.recover(ctx, err, got) {
			break
		}
	}
	if a != nil {
		a.close()
	}
}

// usable closes an answer that does not lead to the lowest free bytes at a
// reasonable price, and returns nil for it.
func (t *transfer) usable(a *answer) *answer {
	if a == nil {
		return nil
	}
	t.mu.Lock()
	at, ok := t.lowest()
	useful := ok && at >= a.pos && at < a.end && !a.eof && (at-a.pos <= nearby || t.r.noRanges)
	if !useful {
		t.drop(a)
	}
	t.mu.Unlock()
	if useful {
		return a
	}
	a.drain()
	a.close()
	return nil
}

// take claims bytes for a worker. Nil means that the worker has left.
func (t *transfer) take(ctx context.Context, a *answer) *claim {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ctx.Err() == nil {
		if c := t.claim(a); c != nil {
			return c
		}
	}
	t.active--
	return nil
}

// ask opens an answer for a claim and makes sure that it is of this version.
func (t *transfer) ask(ctx context.Context, c *claim) (*answer, error) {
	if !t.version.join {
		return nil, errNoJoin
	}
	want := t.wanted(c)
	a, err := t.r.open(ctx, want)
	if err != nil {
		if isStatus(err, http.StatusRequestedRangeNotSatisfiable) {
			err = errLying // these bytes exist, or the file has changed
		}
		return nil, err
	}
	m := t.version.match(a.meta)
	switch {
	case m == same:
		t.accept(a, c, want)
		return a, nil
	case !a.partial():
		// It is the new version from its start, ready for use, and has to
		// outlive this transfer.
		a.unbind()
		t.stop(errChanged, a)
		return nil, errGone
	}
	a.close()
	if m == unproven {
		return nil, errLying
	}
	return nil, errChanged
}

func (t *transfer) wanted(c *claim) ask {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.r.noRanges {
		return ask{}
	}
	want := ask{span: c.Span, ranged: true, ifRange: t.version.meta.Validators().Strong()}
	if t.want == 1 {
		want.span.End = t.todo.From(c.End) // to be one long answer
	}
	return want
}

// accept learns what an answer of this version tells in passing.
func (t *transfer) accept(a *answer, c *claim, want ask) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if want.span.End > c.End {
		t.stream = a
	}
	if want.ranged && !a.partial() {
		t.r.noRanges, t.want, t.ceiling = true, 1, 1
	}
	if t.size == job.UnknownSize && a.meta.Size != job.UnknownSize {
		t.setSize(a.meta.Size, true, c)
	}
}

// setSize is called under the lock, by the only worker: a transfer of unknown
// size never has more.
func (t *transfer) setSize(n int64, verified bool, c *claim) {
	t.size, t.verified = n, verified
	t.todo.Remove(span.Span{Start: n, End: noEnd})
	c.End = min(c.End, n)
}

// copy moves the claimed bytes from the answer to the sink, and further ones
// while they are free. It returns how many bytes were written and shortens the
// claim to what is left of it.
func (t *transfer) copy(p *pipe, a *answer, c *claim) (int64, error) {
	if err := a.skip(c.Start); err != nil {
		return 0, err
	}
	start, at := c.Start, c.Start
	read := func(b []byte) (int, error) {
		n := min(int64(len(b)), t.limit(a, c)-a.pos)
		if n <= 0 {
			return 0, nil
		}
		return a.Read(b[:n])
	}
	write := func(b []byte) error {
		err := t.write(b, at)
		if err == nil {
			at += int64(len(b))
		}
		return err
	}
	readErr, writeErr := p.run(read, write, func() { a.cancel(errGone) })

	t.mu.Lock()
	defer t.mu.Unlock()
	c.Start = at
	got := at - start
	switch {
	case writeErr != nil:
		return got, writeErr
	case errors.Is(readErr, io.EOF) && a.end == noEnd:
		if t.size != job.UnknownSize && at < t.size {
			return got, errShort
		}
		t.setSize(at, t.verified || a.framed, c)
		return got, nil
	case readErr != nil && !errors.Is(readErr, io.EOF):
		return got, readErr
	case c.Len() > 0 && got < enough:
		return got, errShort // an origin that hands out crumbs
	}
	return got, nil
}

// limit returns up to where the answer may be read, after having claimed the
// next bytes if they are free.
func (t *transfer) limit(a *answer, c *claim) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a.pos == c.End && a.pos < a.end {
		t.extend(c)
	}
	return min(c.End, a.end)
}

func (t *transfer) write(b []byte, at int64) error {
	if at+int64(len(b)) > t.r.f.cfg.MaxSize {
		return t.r.tooLarge()
	}
	n, err := t.r.sink.WriteAt(b, at)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return &sinkError{err}
	}
	t.gained.Add(int64(n))
	return nil
}

// giveBack frees what is left of a claim, and forgets the answer after an error.
func (t *transfer) giveBack(c *claim, a *answer, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.todo.Add(c.Span)
	if err != nil {
		t.drop(a)
	}
}

// recover decides what a worker does after an error: true means go on. As long
// as others are at work, a connection that brings nothing is given up for good;
// only the last one waits and tries again.
func (t *transfer) recover(ctx context.Context, err error, got int64) bool {
	var sink *sinkError
	var f *failure
	switch {
	case ctx.Err() != nil:
	case errors.As(err, &sink), errors.Is(err, errChanged), errors.Is(err, errLying):
		t.stop(err, nil)
	case errors.As(err, &f) && f.told.Code == job.CodeTooLarge:
		t.stop(err, nil)
	case !t.version.join:
		t.stop(fmt.Errorf("%w: %w", errNoJoin, t.r.failureOf(err)), nil)
	case t.others() && got >= enough:
		return true
	case t.leaveToOthers():
		return false
	default:
		if err = t.retry.next(ctx, err, got); err == nil {
			return true
		}
		t.stop(err, nil)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.active--
	return false
}

func (t *transfer) others() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.active > 1
}

// leaveToOthers takes the caller off the active workers unless it is the last
// one, and remembers how many connections the origin bears.
func (t *transfer) leaveToOthers() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.active < 2 {
		return false
	}
	t.active--
	t.ceiling = t.active
	t.want = min(t.want, t.ceiling)
	return true
}
