package blob

import (
	"context"
	"io"

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

// Body is the bytes of one object and the sums of its chunks. Its methods may
// be called from many goroutines. The embedded File reads and writes bytes.
type Body struct {
	*growfile.File
}

// SetSum records the SHA-256 of chunk i, all of whose bytes must be there.
// Another sum for the same chunk is an error.
func (b *Body) SetSum(i int, sum Sum) error { return nil }

// Sum returns the SHA-256 of chunk i, if it is known.
func (b *Body) Sum(i int) (Sum, bool) { return Sum{}, false }

// Sums returns the known sums of consecutive chunks, starting with chunk
// from, at most limit of them (no limit if limit <= 0).
func (b *Body) Sums(from, limit int) []Sum { return nil }

// Sync makes durable what was there when it was called: data first, then the
// sums, then the directories. After a failure the body is poisoned: this and
// every later Sync fails with ErrPoisoned, and the File is aborted with it.
func (b *Body) Sync(ctx context.Context) error { return nil }

// Verify hashes every chunk that has a sum and is not known to be there. What
// matches becomes readable at once, while Verify goes on; the sums of the rest
// are forgotten. It returns what is there in the end. Call it after Open,
// before anything is written.
func (b *Body) Verify(ctx context.Context) (span.Set, error) { return span.Set{}, nil }

// Close gives the body back. Each Create and Open takes one Close; the last
// one closes the files. It makes nothing durable, that is what Sync is for.
func (b *Body) Close() error { return nil }
