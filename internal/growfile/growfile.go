// Package growfile is a file that is read while it is written. The relay's
// origin fetch writes at any offset from several connections; any number of
// readers follow, each waiting for just the bytes it wants.
//
// A byte that is there never changes: what a second writer brings for it is
// dropped, so a reader, a hash and the disk never see two versions. A File
// ends in one of two ways: [File.Finish] when everything is there, or
// [File.Abort], whose error reaches every present and future reader and writer.
//
// Waiting is by offset. A reader is woken when the byte it waits for arrives,
// not by each write, so a hundred readers of a hundred places cost no more
// than one each.
package growfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/jumpget/jumpget/internal/span"
)

// UnknownSize is the size of a file whose end is not known yet.
const UnknownSize int64 = -1

// Errors that a File gives of its own.
var (
	ErrBeyondEnd  = errors.New("growfile: beyond the end of the file")
	ErrSize       = errors.New("growfile: the size does not fit")
	ErrIncomplete = errors.New("growfile: bytes are missing")
	ErrAborted    = errors.New("growfile: aborted")
)

// Backing holds the bytes, usually an *os.File. It must allow concurrent use,
// and a write beyond its end must grow it.
type Backing interface {
	io.ReaderAt
	io.WriterAt
}

// File is a file that is read while it is written. All its methods may be
// called at the same time from many goroutines. Make one with New.
type File struct {
	backing Backing

	mu      sync.Mutex
	freed   *sync.Cond    // a write in flight has ended, or the file was aborted
	size    int64         // or UnknownSize
	have    span.Set      // bytes that are there for good
	busy    span.Set      // bytes that a writer is writing just now
	top     int64         // the highest end of anything that was ever to be written
	err     error         // set by Abort
	waiters []*waiter     // readers that sleep
	changed chan struct{} // handed out by Changed; nil if nobody asked since the last change
}

// New returns a File over f. The size is in bytes, or UnknownSize. The bytes
// in have are in f already; a caller that gives some beyond a known size gets
// a file that is aborted with ErrSize from the start.
func New(f Backing, size int64, have span.Set) *File {
	g := &File{backing: f, size: size, have: have.Clone()}
	g.freed = sync.NewCond(&g.mu)
	if s := g.have.Spans(); len(s) > 0 {
		g.top = s[len(s)-1].End
	}
	if size < 0 {
		g.size = UnknownSize
	} else if g.top > size {
		g.err = fmt.Errorf("%w: bytes up to %d in a file of %d", ErrSize, g.top, size)
	}
	return g
}

// WriteAt writes p at off. Bytes that are there already are kept and count as
// written. Nothing is written beyond a known size: that gives ErrBeyondEnd.
// After an error, the first n bytes of p are there all the same, unless the
// file was aborted.
func (f *File) WriteAt(p []byte, off int64) (n int, err error) {
	sp := span.Span{Start: off, End: off + int64(len(p))}
	gaps, err := f.claim(sp)
	if err != nil {
		return 0, err
	}
	for i, gap := range gaps {
		wrote, err := f.backing.WriteAt(p[gap.Start-off:gap.End-off], gap.Start)
		if err == nil && int64(wrote) < gap.Len() {
			err = io.ErrShortWrite
		}
		f.settle(gap, int64(wrote))
		if err != nil {
			for _, rest := range gaps[i+1:] {
				f.settle(rest, 0)
			}
			return int(gap.Start-off) + wrote, err
		}
	}
	return len(p), f.Err()
}

// claim reserves those parts of sp that are not there yet for one writer. It
// waits while another one is writing some of them: that write may still fail.
func (f *File) claim(sp span.Span) ([]span.Span, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		switch {
		case f.err != nil:
			return nil, f.err
		case sp.Start < 0 || sp.End < sp.Start:
			return nil, fmt.Errorf("%w: offset %d", ErrBeyondEnd, sp.Start)
		case f.size != UnknownSize && sp.End > f.size:
			return nil, fmt.Errorf("%w: bytes %d to %d of %d", ErrBeyondEnd, sp.Start, sp.End, f.size)
		}
		gaps := f.have.Missing(sp)
		if !f.anyBusy(gaps) {
			for _, gap := range gaps {
				f.busy.Add(gap)
			}
			f.top = max(f.top, sp.End)
			return gaps, nil
		}
		f.freed.Wait()
	}
}

func (f *File) anyBusy(gaps []span.Span) bool {
	for _, gap := range gaps {
		free := f.busy.Missing(gap)
		if len(free) != 1 || free[0] != gap {
			return true
		}
	}
	return false
}

// settle ends the write of a claimed gap, of which the first n bytes are done.
func (f *File) settle(gap span.Span, n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.busy.Remove(gap)
	f.freed.Broadcast()
	f.arrived(span.Span{Start: gap.Start, End: gap.Start + max(0, n)})
}

// Mark says that the bytes of sp are in the backing already, as after a
// crash when they have been found good. They become readable at once.
func (f *File) Mark(sp span.Span) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.err != nil:
		return f.err
	case sp.Start < 0 || f.size != UnknownSize && sp.End > f.size:
		return fmt.Errorf("%w: bytes %d to %d", ErrBeyondEnd, sp.Start, sp.End)
	}
	f.top = max(f.top, sp.End)
	f.arrived(sp)
	return nil
}

// ReadAt reads into p from off. It waits until at least one byte is there and
// returns what follows it without a gap, so n may be short with a nil error.
// At the end it returns 0 and io.EOF; after Abort, the abort's error.
func (f *File) ReadAt(ctx context.Context, p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("%w: offset %d", ErrBeyondEnd, off)
	}
	end, err := f.waitByte(ctx, off, len(p) == 0)
	if err != nil || end == off {
		return 0, err
	}
	return f.readRun(p, off, end)
}

// ReadNow is ReadAt for who can't wait: where no byte is there yet it returns 0
// and no error.
func (f *File) ReadNow(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("%w: offset %d", ErrBeyondEnd, off)
	}
	f.mu.Lock()
	end, size, err := f.have.From(off), f.size, f.err
	f.mu.Unlock()
	switch {
	case err != nil:
		return 0, err
	case size != UnknownSize && off >= size:
		return 0, io.EOF
	case end == off:
		return 0, nil
	}
	return f.readRun(p, off, end)
}

// readRun reads from a run of bytes that are there.
func (f *File) readRun(p []byte, off, end int64) (n int, err error) {
	want := int(min(int64(len(p)), end-off))
	n, err = f.backing.ReadAt(p[:want], off)
	if n == want {
		return n, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		// Somebody cut the backing short; that is not the end of the file.
		err = io.ErrUnexpectedEOF
	}
	return n, fmt.Errorf("growfile: read at %d: %w", off+int64(n), err)
}

// SetSize tells the size in bytes once it is known. It fails with ErrSize if
// another size was told before or bytes have been written beyond it.
func (f *File) SetSize(n int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.setSize(n)
}

func (f *File) setSize(n int64) error {
	switch {
	case f.err != nil:
		return f.err
	case f.size == n && n >= 0:
		return nil
	case f.size != UnknownSize:
		return fmt.Errorf("%w: told %d, then %d", ErrSize, f.size, n)
	case n < f.top:
		return fmt.Errorf("%w: %d, but bytes are written up to %d", ErrSize, n, f.top)
	}
	f.size = n
	f.wake(func(w *waiter) bool { return w.off >= n })
	f.announce()
	return nil
}

// Size returns the size in bytes and whether it is known.
func (f *File) Size() (n int64, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.size, f.size != UnknownSize
}

// Have returns a copy of the set of bytes that are there.
func (f *File) Have() span.Set {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.have.Clone()
}

// Contains reports whether every byte of sp is there, without copying the set.
func (f *File) Contains(sp span.Span) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.have.Contains(sp)
}

// Received returns how many bytes are there.
func (f *File) Received() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.have.Len()
}

// Frontier returns the end of the bytes that are there without a gap from 0.
func (f *File) Frontier() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.have.From(0)
}

// Complete reports whether the size is known, every byte is there and nobody
// aborted.
func (f *File) Complete() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err == nil && f.size != UnknownSize && f.have.From(0) >= f.size
}

// Finish says that no more bytes will come. A size that was not known is now
// what has arrived. It fails with ErrIncomplete, and changes nothing, if there
// is a gap or the known size is not reached.
func (f *File) Finish() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	at, end := f.have.From(0), f.size
	if end == UnknownSize {
		end = f.top
	}
	if at < end {
		return fmt.Errorf("%w: nothing at %d of %d", ErrIncomplete, at, end)
	}
	return f.setSize(end)
}

// Abort ends the file with err, which every present and future reader and
// writer gets. The first error stays; nil stands for ErrAborted.
func (f *File) Abort(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return
	}
	if err == nil {
		err = ErrAborted
	}
	f.err = err
	f.freed.Broadcast()
	f.wake(func(*waiter) bool { return true })
	f.announce()
}

// Err returns the error of Abort, or nil.
func (f *File) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}
