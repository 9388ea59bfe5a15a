package blob

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/jumpget/jumpget/internal/growfile"
	"github.com/jumpget/jumpget/internal/span"
)

// File is what a Body needs of the place that holds its data or its sums.
// *os.File is one.
type File interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
	Close() error
}

// Parts is what a Store makes a Body of.
type Parts struct {
	Data File
	Sums File
	// SyncNames makes durable that the two exist under their names. It is
	// called once, in the first Sync. Nil: they are durable already.
	SyncNames func() error
	// Closed is called when the last user has closed the body. It may be nil.
	Closed func(*Body)
}

// Body is the bytes of one object and the sums of its chunks. Its methods may
// be called from many goroutines. The embedded File reads and writes bytes.
type Body struct {
	*growfile.File
	parts Parts

	mu      sync.Mutex
	sums    []Sum    // by chunk; zero: not known
	dirty   span.Set // chunks whose entry on disk is old
	sized   bool     // the size is on disk
	loose   bool     // the names are not durable yet
	users   int
	damaged error // why the body is poisoned

	syncing sync.Mutex // held over a whole Sync, Verify or closing of the files
}

// NewBody returns an empty body of size bytes, or UnknownSize, over new files.
func NewBody(p Parts, size int64) *Body {
	return newBody(p, size)
}

// LoadBody returns the body that p held before, of which dataLen bytes of data
// exist. Nothing of it can be read before Verify has looked at it.
func LoadBody(p Parts, dataLen int64) (*Body, error) {
	size, sums, err := readSums(p.Sums, dataLen)
	if err != nil {
		return nil, fmt.Errorf("read the sums: %w", err)
	}
	b := newBody(p, size)
	b.sums = sums
	b.sized = size != UnknownSize
	return b, nil
}

func newBody(p Parts, size int64) *Body {
	return &Body{
		File:  growfile.New(p.Data, size, span.Set{}),
		parts: p,
		loose: p.SyncNames != nil,
		users: 1,
	}
}

// chunk returns the bytes of chunk i; the last one ends with the file.
func (b *Body) chunk(i int) span.Span {
	sp := span.Span{Start: int64(i) * ChunkSize, End: int64(i+1) * ChunkSize}
	if size, known := b.Size(); known {
		sp.End = min(sp.End, size)
	}
	return sp
}

// SetSum records the SHA-256 of chunk i, all of whose bytes must be there.
// Another sum for the same chunk is an error.
func (b *Body) SetSum(i int, sum Sum) error {
	if i < 0 || b.chunk(i).Len() == 0 || !b.Contains(b.chunk(i)) {
		return fmt.Errorf("a sum for chunk %d, which is not there", i)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.sums) <= i {
		b.sums = append(b.sums, Sum{})
	}
	switch b.sums[i] {
	case sum:
		return nil
	case Sum{}:
		b.sums[i] = sum
		b.dirty.Add(entry(i))
		return nil
	}
	return fmt.Errorf("two different sums for chunk %d", i)
}

// Sum returns the SHA-256 of chunk i, if it is known.
func (b *Body) Sum(i int) (Sum, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i < 0 || i >= len(b.sums) {
		return Sum{}, false
	}
	return b.sums[i], b.sums[i] != Sum{}
}

// Sums returns the known sums of consecutive chunks, starting with chunk
// from, at most limit of them (no limit if limit <= 0).
func (b *Body) Sums(from, limit int) []Sum {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []Sum
	for i := max(from, 0); i < len(b.sums) && b.sums[i] != (Sum{}); i++ {
		if limit > 0 && len(out) == limit {
			break
		}
		out = append(out, b.sums[i])
	}
	return out
}

// Sync makes durable what was there when it was called: data first, then the
// sums, then the directories. After a failed fsync the body is poisoned,
// because the kernel may have dropped the pages and would call the next fsync
// a success: this and every later Sync gives ErrPoisoned, and the File is
// aborted with it. What an earlier Sync made durable can be had by another
// Open and Verify. A list of sums that finds the disk full gives ErrNoSpace
// and may be tried again.
func (b *Body) Sync(ctx context.Context) error {
	b.syncing.Lock()
	defer b.syncing.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := b.usable(); err != nil {
		return err
	}
	// Taken before the data is synced: all bytes that these sums speak of
	// are written by now, those of a later sum may not be.
	list := b.takeDirty()
	if err := b.parts.Data.Sync(); err != nil {
		return b.poison("sync the data", err)
	}
	if err := list.write(b.parts.Sums); err != nil {
		b.giveBack(list)
		return fmt.Errorf("write the sums: %w", err)
	}
	if err := b.parts.Sums.Sync(); err != nil {
		return b.poison("sync the sums", err)
	}
	return b.syncNames(list)
}

func (b *Body) usable() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.users <= 0 {
		return ErrClosed
	}
	return b.damaged
}

// syncNames is the last step of a Sync, after which all of list is durable.
func (b *Body) syncNames(list dirtySums) error {
	b.mu.Lock()
	loose := b.loose
	b.mu.Unlock()
	if loose {
		if err := b.parts.SyncNames(); err != nil {
			return b.poison("sync the directory", err)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.loose = false
	b.sized = b.sized || list.size != UnknownSize
	return nil
}

func (b *Body) poison(doing string, cause error) error {
	err := fmt.Errorf("%w: %s: %w", ErrPoisoned, doing, cause)
	b.mu.Lock()
	b.damaged = err
	b.mu.Unlock()
	b.Abort(err)
	return err
}

// retain counts one more user, unless the last one has closed the body.
func (b *Body) retain() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.users <= 0 {
		return false
	}
	b.users++
	return true
}

// Close gives the body back. Each Create and Open takes one Close; the last
// one aborts the File with ErrClosed and closes the files. It makes nothing
// durable, that is what Sync is for.
func (b *Body) Close() error {
	b.mu.Lock()
	b.users--
	left := b.users
	b.mu.Unlock()
	switch {
	case left > 0:
		return nil
	case left < 0:
		return ErrClosed
	}
	return b.shut()
}
