package relay

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/span"
)

// hasher follows a growing body. Each chunk is hashed as soon as it is whole,
// in whatever order that happens, while it is still in the page cache; the
// whole is hashed in order, from the same read where that is possible.
type hasher struct {
	r     *Relay
	lv    *live
	known span.Set // chunks with a sum, by index
	fed   int64    // chunks that are in whole
	whole hash.Hash
	buf   []byte

	done chan struct{}
	sum  string
	err  error
}

func newHasher(r *Relay, lv *live) *hasher {
	return &hasher{r: r, lv: lv, known: r.hashedOf(lv), whole: sha256.New(), done: make(chan struct{})}
}

// wait returns the hex SHA-256 of the whole once all of it is hashed.
func (h *hasher) wait(ctx context.Context) (string, error) {
	select {
	case <-h.done:
		return h.sum, h.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

func (h *hasher) run(ctx context.Context) {
	defer close(h.done)
	h.buf = make([]byte, job.ChunkSize)
	for {
		changed := h.lv.body.Changed()
		worked, err := h.step(ctx)
		if ctx.Err() != nil {
			h.err = context.Cause(ctx)
			return
		}
		if err != nil {
			h.err = toDisk(err)
			h.lv.body.Abort(h.err)
			return
		}
		if size, known := h.lv.body.Size(); known && h.fed == int64(job.Chunks(size)) {
			h.sum = hex.EncodeToString(h.whole.Sum(nil))
			return
		}
		if worked {
			continue
		}
		if err := h.lv.body.Err(); err != nil {
			h.err = err
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			h.err = context.Cause(ctx)
			return
		}
	}
}

// step hashes one chunk, if there is one to be hashed. A new sum comes before
// the whole's progress, because somebody is waiting for it.
func (h *hasher) step(ctx context.Context) (bool, error) {
	size, sized := h.lv.body.Size()
	if i, ok := h.unhashed(size, sized); ok {
		return true, h.chunk(ctx, i, size, sized)
	}
	// A chunk whose last bytes have come since is not fed yet: its sum is first,
	// or the whole would be done while a chunk has none.
	if !h.known.Contains(entry(h.fed)) {
		return false, nil
	}
	sp, ok := chunkSpan(h.fed, size, sized)
	if !ok {
		return false, nil
	}
	return true, h.feed(ctx, sp)
}

// unhashed finds a chunk that is whole and has no sum.
func (h *hasher) unhashed(size int64, sized bool) (int64, bool) {
	next := h.known.From(0)
	if sp, ok := chunkSpan(next, size, sized); ok && h.lv.body.Contains(sp) {
		return next, true
	}
	have := h.lv.body.Have()
	for _, run := range have.Spans() {
		chunks := wholeChunks(run, size, sized)
		chunks.Start = max(chunks.Start, next)
		if gaps := h.known.Missing(chunks); len(gaps) > 0 {
			return gaps[0].Start, true
		}
	}
	return 0, false
}

// entry is chunk i's place in a set of chunks.
func entry(i int64) span.Span { return span.Span{Start: i, End: i + 1} }

// chunkSpan returns the bytes of chunk i; false if there is no such chunk or its
// end is not known yet.
func chunkSpan(i, size int64, sized bool) (span.Span, bool) {
	sp := span.Span{Start: i * job.ChunkSize, End: (i + 1) * job.ChunkSize}
	if sized {
		sp.End = min(sp.End, size)
	}
	return sp, sp.Start < sp.End
}

func (h *hasher) chunk(ctx context.Context, i, size int64, sized bool) error {
	sp, _ := chunkSpan(i, size, sized)
	p, err := h.read(ctx, sp)
	if err != nil {
		return err
	}
	if err := h.lv.body.SetSum(int(i), sha256.Sum256(p)); err != nil {
		return fmt.Errorf("keep the sum of chunk %d: %w", i, err)
	}
	h.known.Add(entry(i))
	h.r.mu.Lock()
	h.lv.hashed.Add(entry(i))
	h.r.mu.Unlock()
	h.lv.sums.Fire()
	if i == h.fed {
		h.fold(p)
	}
	return nil
}

// feed adds a chunk to the whole that had its sum before its turn came.
func (h *hasher) feed(ctx context.Context, sp span.Span) error {
	p, err := h.read(ctx, sp)
	if err == nil {
		h.fold(p)
	}
	return err
}

func (h *hasher) fold(p []byte) {
	h.whole.Write(p)
	h.fed++
}

func (h *hasher) read(ctx context.Context, sp span.Span) ([]byte, error) {
	p := h.buf[:sp.Len()]
	for n := 0; n < len(p); {
		m, err := h.lv.body.ReadAt(ctx, p[n:], sp.Start+int64(n))
		n += m
		if err != nil && (!errors.Is(err, io.EOF) || n < len(p)) {
			return nil, err
		}
	}
	return p, nil
}
