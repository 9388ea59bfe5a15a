package relay

import (
	"context"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/span"
)

// checkLater verifies what an earlier process wrote, once and aside, so that
// its readers get each chunk as soon as it is found good, and has a complete
// object mended that is not.
func (r *Relay) checkLater(lv *live) {
	r.mu.Lock()
	begin := !lv.verifying && !r.closing
	if begin {
		lv.verifying = true
		lv.leases++
		r.wg.Add(1)
	}
	r.mu.Unlock()
	if !begin {
		return
	}
	go func() {
		defer r.wg.Done()
		defer r.release(lv)
		_, lv.fault = lv.body.Verify(r.ctx)
		r.recount(lv)
		if lv.fault == nil && lv.body.Complete() {
			r.mu.Lock()
			r.sound[lv.id] = lv.object.Complete
			r.mu.Unlock()
		}
		close(lv.checked)
		if r.ctx.Err() == nil {
			r.mendIfDamaged(lv)
		}
	}()
}

// check verifies what an earlier process wrote and returns what is there. When
// ctx ends the verification goes on: others wait for it too.
func (r *Relay) check(ctx context.Context, lv *live) (span.Set, error) {
	r.checkLater(lv)
	select {
	case <-lv.checked:
		return lv.body.Have(), lv.fault
	case <-ctx.Done():
		return span.Set{}, context.Cause(ctx)
	}
}

// recount looks which chunks are there and have a sum. A sum that nobody has
// verified is not told to anybody.
func (r *Relay) recount(lv *live) {
	var found span.Set
	size, sized := lv.body.Size()
	have := lv.body.Have()
	for _, run := range have.Spans() {
		chunks := wholeChunks(run, size, sized)
		for i := chunks.Start; i < chunks.End; i++ {
			if _, ok := lv.body.Sum(int(i)); ok {
				found.Add(entry(i))
			}
		}
	}
	r.mu.Lock()
	before := lv.hashed.Len()
	for _, run := range found.Spans() {
		lv.hashed.Add(run)
	}
	grown := lv.hashed.Len() > before
	r.mu.Unlock()
	if grown {
		lv.sums.Fire()
	}
}

// hashedOf returns the chunks, by index, whose sum may be told.
func (r *Relay) hashedOf(lv *live) span.Set {
	select {
	case <-lv.checked:
	default:
		r.recount(lv) // the verification gets on, and nobody else counts
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return lv.hashed.Clone()
}

// wholeChunks returns the chunks, by index, all of whose bytes are in run.
func wholeChunks(run span.Span, size int64, sized bool) span.Span {
	chunks := span.Span{Start: (run.Start + job.ChunkSize - 1) / job.ChunkSize, End: run.End / job.ChunkSize}
	if sized && run.End == size {
		chunks.End = int64(job.Chunks(size))
	}
	return chunks
}
