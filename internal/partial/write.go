package partial

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/span"
)

// SetObject names the object that is being fetched and its size in bytes or
// job.UnknownSize. A full disk shows here. The same object again may tell a
// size that was unknown. Another object than before starts over: what is
// present must match that object's sums. Call it after writers of the old object
// have stopped; a straggler's bytes would only be caught by the hash.
func (f *File) SetObject(id job.ID, size int64) error {
	if size < 0 {
		size = job.UnknownSize
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.changing {
		f.wake.Wait()
	}
	if err := f.usable(); err != nil {
		return err
	}
	if id == f.object && (size == f.size || size == job.UnknownSize) {
		return nil
	}
	if id == f.object && f.size != job.UnknownSize {
		return usageError("the object's size changed from %d to %d", f.size, size)
	}
	beyond := span.Span{Start: size, End: 1<<63 - 1}
	if id == f.object && overlap(&f.good, beyond) > 0 {
		return usageError("a size of %d contradicts bytes that are verified", size)
	}
	return f.changeLocked(id, size)
}

// changeLocked waits until nobody uses the object and then changes it.
func (f *File) changeLocked(id job.ID, size int64) error {
	f.changing = true
	for f.users > 0 {
		f.wake.Wait()
	}
	err := f.usable()
	if err == nil {
		err = f.resizeLocked(size)
	}
	f.changing = false
	f.wake.Broadcast()
	if err != nil {
		return f.failLocked(err)
	}
	f.setObjectLocked(id, size)
	return nil
}

// setObjectLocked applies what resizeLocked has prepared on disk.
func (f *File) setObjectLocked(id job.ID, size int64) {
	if id != f.object {
		f.object = id
		f.good, f.resumed = span.Set{}, 0
		f.chunks, f.ready = nil, nil
		f.earlier = f.have.Clone()
		f.whole.reset(f.wanted)
	}
	f.size = size
	if size != job.UnknownSize {
		beyond := span.Span{Start: size, End: 1<<63 - 1}
		f.have.Remove(beyond)
		f.earlier.Remove(beyond)
		f.unsure.Remove(beyond)
		f.growChunks(job.Chunks(size) - 1)
	}
	for i := range f.chunks {
		f.queueLocked(i)
	}
	f.notifyLocked()
}

// resizeLocked makes the partial fit an object of size bytes. Nobody else uses
// the handle; reserving may take long, so that happens without mu.
func (f *File) resizeLocked(size int64) error {
	if f.adopt {
		if err := f.adoptTarget(size); err != nil {
			return err
		}
	}
	if size == job.UnknownSize {
		return nil
	}
	f.mu.Unlock()
	err := f.h.Allocate(size)
	f.mu.Lock()
	if err != nil {
		return ioError("reserving space for", f.part, err)
	}
	return nil
}

// adoptTarget turns the file at the target into the partial. It waits until the
// object is known, so that a refused URL leaves the user's file alone.
func (f *File) adoptTarget(size int64) error {
	info, err := f.fs.Lstat(f.target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.adopt = false
		return f.openPart(nil)
	case err != nil:
		return ioError("looking at", f.target, err)
	case !info.Mode().IsRegular():
		return f.existsError()
	case size != job.UnknownSize && info.Size() > size:
		return &Error{
			Kind:    KindExists,
			Message: fmt.Sprintf("%s is longer than the file at the URL: %d bytes, not %d", f.target, info.Size(), size),
			Hint:    "it can't be continued; choose another name with --output, or replace it with --force",
		}
	}
	// A partial without a state that says so is not worth more than this file.
	if err := f.fs.Remove(f.part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return ioError("removing", f.part, err)
	}
	if err := f.fs.RenameNew(f.target, f.part); err != nil {
		return ioError("renaming", f.target, err)
	}
	f.adopt, f.perm = false, info.Mode().Perm()
	f.have.Add(span.Span{Start: 0, End: info.Size()})
	h, err := f.fs.OpenFile(f.part, os.O_RDWR, 0)
	if err != nil {
		return ioError("opening", f.part, err)
	}
	f.h = h
	return nil
}

// WriteAt stores bytes of the object. Bytes that are present already are
// ignored, so a late duplicate can't damage what was verified. It returns
// len(p) or an error; one failed write fails the whole file.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	todo, err := f.beginWrite(span.Span{Start: off, End: off + int64(len(p))})
	if err != nil {
		return 0, err
	}
	for _, s := range todo {
		if _, err = f.h.WriteAt(p[s.Start-off:s.End-off], s.Start); err != nil {
			err = ioError("writing", f.part, err)
			break
		}
	}
	if err := f.endWrite(todo, err); err != nil {
		return 0, err
	}
	return len(p), nil
}

// beginWrite returns the bytes of sp that are not present and keeps their
// chunks from being verified until endWrite. A chunk that is being verified, or
// was, has no such bytes.
func (f *File) beginWrite(sp span.Span) ([]span.Span, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.enterLocked(); err != nil {
		return nil, err
	}
	if sp.Start < 0 || sp.End < sp.Start || (f.size != job.UnknownSize && sp.End > f.size) {
		f.leaveLocked()
		return nil, usageError("bytes %d to %d do not belong to an object of %d", sp.Start, sp.End, f.size)
	}
	todo := f.have.Missing(sp)
	for _, s := range todo {
		f.growChunks(int((s.End - 1) / job.ChunkSize))
		for i := s.Start / job.ChunkSize; i*job.ChunkSize < s.End; i++ {
			f.chunks[i].writers++
		}
	}
	return todo, nil
}

func (f *File) endWrite(todo []span.Span, err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leaveLocked()
	if err != nil {
		return f.failLocked(err)
	}
	for _, s := range todo {
		f.have.Add(s)
		f.dirty += s.Len()
		for i := s.Start / job.ChunkSize; i*job.ChunkSize < s.End; i++ {
			f.chunks[i].writers--
			f.queueLocked(int(i))
		}
	}
	if f.dirty >= f.o.checkpointBytes {
		select {
		case f.checkpoint <- struct{}{}:
		default: // asked for already
		}
	}
	return nil
}

// SetSums gives the SHA-256 of consecutive chunks starting with chunk first.
// Two different sums for one chunk of one object are an error.
func (f *File) SetSums(first int, sums [][32]byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.usable(); err != nil {
		return err
	}
	last := first + len(sums) - 1
	if f.object == "" || first < 0 || (f.size != job.UnknownSize && last >= job.Chunks(f.size)) {
		return usageError("sums of chunks %d to %d do not belong to an object of %d bytes", first, last, f.size)
	}
	f.growChunks(last)
	for k, sum := range sums {
		c := &f.chunks[first+k]
		if c.known && c.sum != sum {
			return usageError("the sum of chunk %d has changed", first+k)
		}
		c.sum, c.known = sum, true
		f.queueLocked(first + k)
	}
	return nil
}

func (f *File) growChunks(last int) {
	if more := last + 1 - len(f.chunks); more > 0 {
		f.chunks = append(f.chunks, make([]chunk, more)...)
	}
}

// queueLocked hands a chunk to the verifiers if all is there that they need.
func (f *File) queueLocked(i int) {
	c, sp := &f.chunks[i], f.chunkSpan(i)
	if c.busy || !c.known || c.writers > 0 || sp.Len() == 0 || !f.have.Contains(sp) {
		return
	}
	c.busy = true
	at, _ := slices.BinarySearch(f.ready, i)
	f.ready = slices.Insert(f.ready, at, i)
	f.wake.Broadcast()
}

// chunkSpan returns the bytes of a chunk. While the size is unknown every chunk
// is taken for a whole one, so the last is verified only once it is known.
func (f *File) chunkSpan(i int) span.Span {
	s := span.Span{Start: int64(i) * job.ChunkSize, End: int64(i+1) * job.ChunkSize}
	if f.size != job.UnknownSize {
		s.End = min(s.End, f.size)
	}
	return s
}

// enterLocked makes the caller a user of the handle and the object, until
// leaveLocked. It waits while the object is being changed.
func (f *File) enterLocked() error {
	for f.changing {
		f.wake.Wait()
	}
	if err := f.usable(); err != nil {
		return err
	}
	if f.object == "" {
		return usageError("the object is not known yet")
	}
	f.users++
	return nil
}

func (f *File) leaveLocked() {
	f.users--
	if f.users == 0 {
		f.wake.Broadcast()
	}
}

func (f *File) usable() error {
	if f.err != nil {
		return f.err
	}
	if f.closed {
		return &Error{Kind: KindClosed, Message: "the file is closed"}
	}
	return nil
}

// failLocked makes err the failure that ends all, unless there is one.
func (f *File) failLocked(err error) error {
	if f.err == nil {
		f.err = err
	}
	f.notifyLocked()
	f.wake.Broadcast()
	return f.err
}

func (f *File) fail(err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failLocked(err)
}

func usageError(format string, args ...any) error {
	return &Error{Kind: KindUsage, Message: fmt.Sprintf(format, args...)}
}
