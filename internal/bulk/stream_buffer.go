package bulk

import "github.com/jumpget/jumpget/internal/span"

// backlog is what was written to a stream and the other end has not
// acknowledged yet.
type backlog struct {
	buf  []byte // from base on
	base int64  // all before is acknowledged
	most int    // bytes that are kept
}

// end is how many bytes were written.
func (b *backlog) end() int64 { return b.base + int64(len(b.buf)) }

// room is how many bytes may be written.
func (b *backlog) room() int { return max(0, b.most-len(b.buf)) }

// put takes as much of p as there is room for.
func (b *backlog) put(p []byte) int {
	n := min(len(p), b.room())
	b.buf = append(b.buf, p[:n]...)
	return n
}

// free drops what is acknowledged.
func (b *backlog) free(to int64) {
	if to = min(to, b.end()); to <= b.base {
		return
	}
	b.buf = b.buf[to-b.base:]
	b.base = to
	if len(b.buf) == 0 {
		b.buf = nil // a stream is idle for most of its life
	}
}

// read copies what was written at off, if it is still there.
func (b *backlog) read(into []byte, off int64) int {
	if off < b.base || off >= b.end() {
		return 0
	}
	return copy(into, b.buf[off-b.base:])
}

// Bounds of what has come and was not read.
const (
	mostGaps   = 128 // in what has come; each takes memory
	windowStep = 4   // a limit is told when it has risen by this part of the window
)

// assembly puts together what comes of a stream.
type assembly struct {
	buf    []byte // from read on, gaps and all
	read   int64  // all before has been read
	next   int64  // all before has come
	got    runs   // what has come from next on
	window int    // bytes beyond read that are taken
	told   int64  // the limit that the other end was told
}

// limit is where the bytes begin that are not taken.
func (a *assembly) limit() int64 { return a.read + int64(a.window) }

// tell returns the limit, as it is going to be told.
func (a *assembly) tell() int64 {
	a.told = max(a.told, a.limit())
	return a.told
}

// risen tells whether the limit has risen enough to be told.
func (a *assembly) risen() bool { return a.limit()-a.told >= int64(a.window/windowStep) }

// put takes bytes that came, and tells whether it did: bytes beyond the limit
// count as lost. Such as came before are taken and make no difference.
func (a *assembly) put(off int64, p []byte) bool {
	end := off + int64(len(p))
	switch {
	case end <= a.next:
		return true
	case end > a.limit(), len(a.got.list) >= mostGaps && off > a.next:
		return false
	case off < a.next:
		off, p = a.next, p[a.next-off:]
	}
	if grown := int(end - a.read); grown > len(a.buf) {
		a.buf = append(a.buf, make([]byte, grown-len(a.buf))...)
	}
	copy(a.buf[off-a.read:], p)
	a.got.add(span.Span{Start: off, End: end}, nil)
	if first := a.got.list[0]; first.Start == a.next {
		a.next = first.End
		a.got.list = append(a.got.list[:0], a.got.list[1:]...)
	}
	return true
}

// crowded tells whether more than half of the window is in use.
func (a *assembly) crowded() bool { return len(a.buf) > a.window/2 }

// drop is for a reader that wants no more.
func (a *assembly) drop() {
	n := a.readable()
	a.buf = a.buf[n:]
	a.read += int64(n)
}

// readable is how many bytes can be read.
func (a *assembly) readable() int { return int(a.next - a.read) }

// take reads.
func (a *assembly) take(p []byte) int {
	n := copy(p, a.buf[:a.readable()])
	a.read += int64(n)
	if a.buf = a.buf[n:]; len(a.buf) == 0 {
		a.buf = nil
	}
	return n
}
