package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/jumpget/jumpget/internal/span"
)

// Verify hashes every chunk that has a sum and is not known to be there. What
// matches becomes readable at once, while Verify goes on; the sums of the rest
// are forgotten. It returns what is there in the end. Call it after Open,
// before anything is written.
//
// Data that can't be read is an error and not just missing: a disk that gives
// EIO is no place to write the chunk to again.
func (b *Body) Verify(ctx context.Context) (span.Set, error) {
	b.syncing.Lock()
	defer b.syncing.Unlock()
	buf := make([]byte, ChunkSize)
	for i := range b.chunks() {
		if err := b.verifyChunk(ctx, i, buf); err != nil {
			return b.Have(), err
		}
	}
	return b.Have(), nil
}

func (b *Body) chunks() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.sums)
}

func (b *Body) verifyChunk(ctx context.Context, i int, buf []byte) error {
	sum, known := b.Sum(i)
	sp := b.chunk(i)
	if !known || sp.Len() > 0 && b.Contains(sp) {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := b.usable(); err != nil {
		return err
	}
	n, err := b.parts.Data.ReadAt(buf[:sp.Len()], sp.Start)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read chunk %d: %w", i, err)
	}
	if _, sized := b.Size(); !sized {
		sp.End = sp.Start + int64(n) // the last chunk; a wrong guess does not match
	}
	got := sha256.Sum256(buf[:n])
	if n == 0 || int64(n) < sp.Len() || !bytes.Equal(got[:], sum[:]) {
		b.forget(i)
		return nil
	}
	return b.Mark(sp)
}

func (b *Body) forget(i int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sums[i] = Sum{}
	b.dirty.Add(entry(i))
}

// shut closes the files once a Sync or Verify that still runs has ended.
func (b *Body) shut() error {
	b.Abort(ErrClosed)
	b.syncing.Lock()
	defer b.syncing.Unlock()
	if b.parts.Closed != nil {
		b.parts.Closed(b)
	}
	return errors.Join(b.parts.Data.Close(), b.parts.Sums.Close())
}
