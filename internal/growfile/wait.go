package growfile

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/jumpget/jumpget/internal/span"
)

// waiter is a reader that sleeps until the byte at off is there, is known to
// be beyond the end, or the file is aborted.
type waiter struct {
	off  int64
	woke chan struct{} // closed once, by the one who takes it off the list
}

// arrived adds bytes, and wakes those who wait for one of them.
func (f *File) arrived(sp span.Span) {
	if sp.Len() == 0 {
		return
	}
	f.have.Add(sp)
	f.wake(func(w *waiter) bool { return sp.Start <= w.off && w.off < sp.End })
	f.announce()
}

// wake takes the waiters that match off the list and wakes them.
func (f *File) wake(match func(*waiter) bool) {
	f.waiters = slices.DeleteFunc(f.waiters, func(w *waiter) bool {
		if !match(w) {
			return false
		}
		close(w.woke)
		return true
	})
}

// announce closes the channel of Changed if somebody holds it.
func (f *File) announce() {
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

// Changed returns a channel that is closed at the next change: bytes, size or
// abort. Take the channel first, then look at the file, then wait, and no
// change is missed. After an abort nothing changes any more; see Err.
func (f *File) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.changed == nil {
		f.changed = make(chan struct{})
	}
	return f.changed
}

// Wait waits until every byte of sp is there. It returns io.EOF as soon as
// the file is known to end before sp does, and the abort's error after Abort.
func (f *File) Wait(ctx context.Context, sp span.Span) error {
	if sp.Start < 0 {
		return fmt.Errorf("%w: offset %d", ErrBeyondEnd, sp.Start)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		switch {
		case f.err != nil:
			return f.err
		case f.have.Contains(sp):
			return nil
		case f.size != UnknownSize && sp.End > f.size:
			return io.EOF
		}
		// The last missing byte: bytes mostly come in order, so this is one
		// wake-up for the whole span instead of one for each write.
		gaps := f.have.Missing(sp)
		if err := f.sleep(ctx, gaps[len(gaps)-1].End-1); err != nil {
			return err
		}
	}
}

// waitByte waits for the byte at off and returns the end of the run that
// starts with it. With peek set it does not wait, and may return off.
func (f *File) waitByte(ctx context.Context, off int64, peek bool) (end int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		switch end := f.have.From(off); {
		case f.err != nil:
			return off, f.err
		case end > off || peek:
			return end, nil
		case f.size != UnknownSize && off >= f.size:
			return off, io.EOF
		}
		if err := f.sleep(ctx, off); err != nil {
			return off, err
		}
	}
}

// sleep gives up the lock until something happens to the byte at off. It is
// called and returns with the lock held.
func (f *File) sleep(ctx context.Context, off int64) error {
	w := &waiter{off: off, woke: make(chan struct{})}
	f.waiters = append(f.waiters, w)
	f.mu.Unlock()
	select {
	case <-w.woke:
		f.mu.Lock()
		return nil
	case <-ctx.Done():
	}
	f.mu.Lock()
	f.waiters = slices.DeleteFunc(f.waiters, func(v *waiter) bool { return v == w })
	return context.Cause(ctx)
}

// Reader returns a reader of the bytes of sp that waits as ReadAt does. It
// ends with io.EOF at the end of sp or of the file, whichever comes first.
func (f *File) Reader(ctx context.Context, sp span.Span) io.Reader {
	return &reader{ctx: ctx, file: f, at: sp}
}

type reader struct {
	ctx  context.Context // an io.Reader has no other way to be told to stop
	file *File
	at   span.Span // what is still to be read
}

func (r *reader) Read(p []byte) (int, error) {
	if r.at.Len() == 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), r.at.Len())]
	n, err := r.file.ReadAt(r.ctx, p, r.at.Start)
	r.at.Start += int64(n)
	return n, err
}
