package bulk

import (
	"sync"
	"time"

	"github.com/jumpget/jumpget/internal/span"
)

// Sizes of what lies between socket and Sink, in bytes.
const (
	blockSize  = 256 << 10
	bufferMost = 16 << 20
	flushSize  = 64 << 10 // worth waking the Sink's goroutine
	flushAfter = 20 * time.Millisecond
)

// extent is a run of bytes in a block.
type extent struct {
	off   int64
	start int
	n     int
}

// finished is a range that is complete with the block before it.
type finished struct {
	id RangeID
	at span.Span
}

// block collects what one round of reading brought.
type block struct {
	buf     []byte
	extents []extent
	done    []finished
}

// put adds bytes; there must be room.
func (b *block) put(off int64, p []byte) {
	start := len(b.buf)
	b.buf = append(b.buf, p...)
	if k := len(b.extents) - 1; k >= 0 && b.extents[k].off+int64(b.extents[k].n) == off {
		b.extents[k].n += len(p)
		return
	}
	b.extents = append(b.extents, extent{off: off, start: start, n: len(p)})
}

// join appends another block's content.
func (b *block) join(o *block) {
	for _, e := range o.extents {
		b.put(e.off, o.buf[e.start:e.start+e.n])
	}
	b.done = append(b.done, o.done...)
}

func (b *block) release() {
	b.buf, b.extents, b.done = b.buf[:0], b.extents[:0], b.done[:0]
	blockPool.Put(b)
}

func (b *block) room(n int) bool { return len(b.buf)+n <= cap(b.buf) }

var blockPool = sync.Pool{New: func() any { return &block{buf: make([]byte, 0, blockSize)} }}

// writer hands blocks to the Sink on a goroutine of its own.
type writer struct {
	sink  Sink
	now   *block        // being filled; guarded by the connection's lock, as is
	since time.Duration // when it was begun

	mu     sync.Mutex
	wake   *sync.Cond
	queue  []*block
	bytes  int64 // in queue and in the Sink's hands
	closed bool
}

func (w *writer) init(s Sink) {
	w.sink = s
	w.wake = sync.NewCond(&w.mu)
}

// put takes bytes that came.
func (w *writer) put(off int64, p []byte, now time.Duration) {
	if w.now != nil && !w.now.room(len(p)) {
		w.flush()
	}
	if w.now == nil {
		w.since = now
	}
	w.block().put(off, p)
}

// due tells whether what was put should go to the Sink.
func (w *writer) due(now time.Duration) bool {
	return w.now != nil && (len(w.now.buf) >= flushSize || len(w.now.done) > 0 || now >= w.since+flushAfter)
}

// finish notes that a range is complete.
func (w *writer) finish(id RangeID, at span.Span) {
	b := w.block()
	b.done = append(b.done, finished{id, at})
}

func (w *writer) block() *block {
	if w.now == nil {
		w.now = blockPool.Get().(*block)
	}
	return w.now
}

// flush gives what was put to the Sink's goroutine.
func (w *writer) flush() {
	if w.now == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bytes += int64(len(w.now.buf))
	if k := len(w.queue) - 1; k >= 0 && w.queue[k].room(len(w.now.buf)) {
		w.queue[k].join(w.now) // the Sink is slow: many small blocks would take much memory
		w.now.release()
	} else {
		w.queue = append(w.queue, w.now)
	}
	w.now = nil
	w.wake.Signal()
}

// waiting is how many bytes the Sink has not taken yet.
func (w *writer) waiting() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bytes
}

// window is what the relay is told: nothing while there is plenty of room.
func (w *writer) window() int64 {
	if n := w.waiting(); n > bufferMost/2 {
		return max(0, bufferMost-n)
	}
	return -1
}

// close lets the goroutine end when all is written.
func (w *writer) close() {
	w.flush()
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.wake.Signal()
}

// run writes until close. After an error it calls fail and drops the rest.
func (w *writer) run(fail func(error)) {
	failed := false
	for b := w.next(); b != nil; b = w.next() {
		if !failed {
			if err := w.write(b); err != nil {
				failed = true
				fail(err)
			}
		}
		w.mu.Lock()
		w.bytes -= int64(len(b.buf))
		w.mu.Unlock()
		b.release()
	}
}

// next waits for a block; nil after close.
func (w *writer) next() *block {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queue) == 0 {
		if w.closed {
			return nil
		}
		w.wake.Wait()
	}
	b := w.queue[0]
	w.queue = append(w.queue[:0], w.queue[1:]...)
	return b
}

func (w *writer) write(b *block) error {
	for _, e := range b.extents {
		if err := w.sink.Data(e.off, b.buf[e.start:e.start+e.n]); err != nil {
			return err
		}
	}
	for _, d := range b.done {
		w.sink.Done(d.id, d.at)
	}
	return nil
}
