package partial

import (
	"context"
	"io"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/span"
)

// Target returns the path that Finish will try first, or "" for a Temp file.
func (f *File) Target() string { return f.target }

// Missing returns, in order, the parts of within that have to be fetched. With
// a known size it never goes beyond the end.
func (f *File) Missing(within span.Span) []span.Span {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.size != job.UnknownSize {
		within.End = min(within.End, f.size)
	}
	return f.have.Missing(within)
}

// Have returns how many bytes are present, verified or not.
func (f *File) Have() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.have.Len()
}

// Verified returns how many bytes have matched their sums.
func (f *File) Verified() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.good.Len()
}

// Resumed returns how many of the verified bytes came from an earlier run.
func (f *File) Resumed() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.resumed
}

// Size returns the object's size in bytes, or job.UnknownSize.
func (f *File) Size() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.size
}

// Complete reports whether the size is known and every byte is verified.
func (f *File) Complete() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.size != job.UnknownSize && f.good.Len() == f.size
}

// Changed returns a channel that is closed when bytes were verified or dropped,
// the size became known, or the file failed. It does not tell of mere writes.
// Take it before looking at what it tells of.
func (f *File) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changedLocked()
}

func (f *File) changedLocked() <-chan struct{} {
	if f.changed == nil {
		f.changed = make(chan struct{})
	}
	return f.changed
}

func (f *File) notifyLocked() {
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

// Err returns the failure that ended the use of this file, or nil.
func (f *File) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// ReadVerified reads bytes from off on into p as soon as some are verified, and
// returns how many; io.EOF at the end of the object.
func (f *File) ReadVerified(ctx context.Context, p []byte, off int64) (int, error) {
	n, err := f.awaitVerified(ctx, off)
	if err != nil || len(p) == 0 {
		if err == nil {
			f.leave()
		}
		return 0, err
	}
	p = p[:min(int64(len(p)), n)]
	got, err := f.h.ReadAt(p, off)
	f.leave()
	if err != nil && got < len(p) {
		return got, f.fail(ioError("reading", f.part, err))
	}
	return got, nil
}

// awaitVerified waits until the byte at off is verified and returns how many
// are from there on. Without an error the caller must leave.
func (f *File) awaitVerified(ctx context.Context, off int64) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		if err := f.usable(); err != nil {
			return 0, err
		}
		if f.size != job.UnknownSize && off >= f.size {
			return 0, io.EOF
		}
		if end := f.good.From(off); end > off && !f.changing {
			f.users++
			return end - off, nil
		}
		changed := f.changedLocked()
		f.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		f.mu.Lock()
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
}

func (f *File) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leaveLocked()
}
