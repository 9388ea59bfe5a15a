package partial

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/span"
)

// openLocked decides what this run starts from. The lock is held.
func (f *File) openLocked(ctx context.Context) error {
	s, err := loadState(f.fs, f.state)
	switch {
	case err == nil && s.URLHash != f.hash:
		return f.otherURL(s)
	case err == nil:
		if err := f.takeBack(ctx, s); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errGarbage):
		return ioError("reading", f.state, err)
	}
	if err := f.decide(s); err != nil {
		return err
	}
	if err := f.learnPerm(); err != nil {
		return err
	}
	if s == nil || s.Clean {
		// It claims nothing new, so it need not be durable.
		var stored span.Set
		if s != nil {
			stored = s.stored()
		}
		if err := saveState(f.fs, f.dir, f.state, f.stateOf(stored), false); err != nil {
			return err
		}
	}
	if f.adopt {
		return nil
	}
	return f.openPart(s)
}

// learnPerm finds out what permissions the finished file is to have, under a
// name that is free to take while the lock is held.
func (f *File) learnPerm() error {
	temp := f.state + ".tmp"
	if err := f.fs.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return ioError("removing", temp, err)
	}
	perm, err := probe(f.fs, temp)
	f.perm = perm
	return err
}

// decide applies the policy to what stands at the target.
func (f *File) decide(s *state) error {
	f.adopt = false
	info, err := f.fs.Lstat(f.target)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return ioError("looking at", f.target, err)
	}
	_, err = f.fs.Lstat(f.part)
	ours := s != nil && err == nil
	switch {
	case info.IsDir():
		return f.existsError()
	case f.o.Adopt && !ours && info.Mode().IsRegular():
		f.adopt = true
		return nil
	case f.o.OnExists == Overwrite, f.o.OnExists == Rename && ours:
		return nil // Finish replaces it, or finds the next name
	}
	return f.existsError()
}

// takeBack undoes the last rename of a run that died right after it: the state
// says what was about to appear, and if that stands there, byte for byte, it
// becomes the partial again and goes the way of every other.
func (f *File) takeBack(ctx context.Context, s *state) error {
	if s.Final == nil || s.Final.Name != filepath.Base(s.Final.Name) {
		return nil
	}
	path := filepath.Join(f.dir, s.Final.Name)
	info, err := f.fs.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() != s.Size {
		return nil
	}
	part, err := f.fs.Lstat(f.part)
	if err == nil {
		// Renaming by hard link has two steps; here it died between them.
		if os.SameFile(part, info) {
			if err := f.fs.Remove(path); err != nil {
				return ioError("removing", path, err)
			}
		}
		return nil
	}
	if sum, err := hashFile(ctx, f.fs, path); err != nil || sum != s.Final.SHA256 {
		return err
	}
	if err := f.fs.RenameNew(path, f.part); err != nil {
		return ioError("renaming", path, err)
	}
	return nil
}

// openPart opens or makes the partial file and finds what it may hold.
func (f *File) openPart(s *state) error {
	h, err := f.fs.OpenFile(f.part, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if h, err = f.fs.OpenFile(f.part, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err == nil {
			f.h = h
			return nil
		}
	}
	if err != nil {
		if s == nil {
			_ = f.fs.Remove(f.state) // made a moment ago
		}
		return ioError("opening", f.part, err)
	}
	if err := f.claim(h, s); err != nil {
		return errors.Join(ioError("reading", f.part, err), h.Close())
	}
	f.h = h
	return nil
}

// claim counts as present what the state says was stored, and every chunk for
// which the file system holds data all through.
func (f *File) claim(h Handle, s *state) error {
	info, err := h.Stat()
	if err != nil {
		return err
	}
	if s != nil {
		f.saved = s.stored()
		f.saved.Remove(span.Span{Start: info.Size(), End: 1<<63 - 1})
	}
	if s != nil && s.Clean {
		f.have = f.saved.Clone()
		return nil
	}
	if err := dataChunks(h, info.Size(), &f.have); err != nil {
		return err
	}
	f.unsure = f.have.Clone()
	for _, s := range f.saved.Spans() {
		f.have.Add(s)
		f.unsure.Remove(s)
	}
	return nil
}

// dataChunks adds to set the chunks of h that have no hole. File systems know
// holes by blocks, so a chunk that is only partly data is left out.
func dataChunks(h Handle, size int64, set *span.Set) error {
	for off := int64(0); off < size; {
		start, end, err := h.NextData(off)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		first := (start + job.ChunkSize - 1) / job.ChunkSize * job.ChunkSize
		last := end / job.ChunkSize * job.ChunkSize
		if end >= size {
			last = size
		}
		set.Add(span.Span{Start: first, End: last})
		off = max(end, off+1)
	}
	return nil
}
