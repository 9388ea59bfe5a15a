package partial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/span"
)

const (
	defaultCheckpointBytes = 64 << 20
	defaultCheckpointEvery = 5 * time.Second

	// maxNumber bounds the search for a free name.
	maxNumber = 10000
)

// CheckDir returns an error unless new files can be made in dir. Use it before
// the network when the file's name is not known yet.
func CheckDir(dir string) error {
	_, err := probe(OS{}, filepath.Join(dir, ".jumpget-"+string(job.NewID())))
	return err
}

// probe makes the file name and removes it, which is the only sure way to know
// that one can. It returns the permissions that the user's umask gives a new file.
func probe(fsys FS, name string) (fs.FileMode, error) {
	dir := filepath.Dir(name)
	h, err := fsys.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return 0, dirError(dir, err)
	}
	info, err := h.Stat()
	if err := errors.Join(err, h.Close(), fsys.Remove(name)); err != nil {
		return 0, ioError("checking", dir, err)
	}
	return info.Mode().Perm(), nil
}

func dirError(dir string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &Error{
			Kind: KindDir, Err: err, Message: "there is no directory " + dir,
			Hint: "make it first, or choose another with --dir",
		}
	case errors.Is(err, fs.ErrPermission), isReadOnly(err):
		return &Error{
			Kind: KindDir, Err: err, Message: "the directory " + dir + " can't be written to",
			Hint: "choose another with --dir or --output",
		}
	case isNotDir(err):
		return &Error{
			Kind: KindDir, Err: err, Message: dir + " is not a directory",
			Hint: "choose another with --dir or --output",
		}
	}
	return ioError("checking", dir, err)
}

// Find returns the target of the unfinished download of url in dir, for a run
// that was given no name. It reads the state files that stand there; of several
// it takes the one written last. ok is false if there is none.
func Find(dir, url string) (target string, ok bool) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", false // CheckDir tells why, in better words
	}
	hash := hashURL(url)
	var newest time.Time
	for _, e := range entries {
		name, isState := strings.CutSuffix(e.Name(), StateSuffix)
		if !isState || name == "" {
			continue
		}
		path := filepath.Join(dir, e.Name())
		info, err := e.Info()
		if err != nil || !info.ModTime().After(newest) {
			continue
		}
		if s, err := loadState(OS{}, path); err == nil && s.URLHash == hash {
			target, newest, ok = filepath.Join(dir, name), info.ModTime(), true
		}
	}
	return target, ok
}

// Open makes ready to fetch into o.Target, before any use of the network. With
// the policy Rename the path may become name.1 and so on, see [File.Target].
// The caller must Close the file, also after Finish.
func Open(ctx context.Context, o Options) (*File, error) {
	base := filepath.Base(o.Target)
	if o.Target == "" || base == "." || base == ".." || base == string(filepath.Separator) {
		return nil, &Error{Kind: KindUsage, Message: fmt.Sprintf("%q does not name a file", o.Target)}
	}
	f, err := newFile(o, filepath.Dir(o.Target))
	if err != nil {
		return nil, err
	}
	for n := range maxNumber {
		f.number = n
		f.target = numbered(o.Target, n)
		f.part, f.state = f.target+PartSuffix, f.target+StateSuffix
		err = f.openTarget(ctx)
		kind := KindOf(err)
		if o.OnExists != Rename || (kind != KindExists && kind != KindOtherURL) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	f.start()
	return f, nil
}

func numbered(target string, n int) string {
	if n == 0 {
		return target
	}
	return fmt.Sprintf("%s.%d", target, n)
}

func newFile(o Options, dir string) (*File, error) {
	if o.FS == nil {
		o.FS = OS{}
	}
	if o.checkpointBytes == 0 {
		o.checkpointBytes = defaultCheckpointBytes
	}
	if o.checkpointEvery == 0 {
		o.checkpointEvery = defaultCheckpointEvery
	}
	wanted, err := parseChecksums(o.Checksums)
	if err != nil {
		return nil, err
	}
	f := &File{
		o: o, fs: o.FS, shown: displayURL(o.URL), hash: hashURL(o.URL), wanted: wanted,
		dir: dir, size: job.UnknownSize,
		stop: make(chan struct{}), checkpoint: make(chan struct{}, 1),
		unlock: func() error { return nil },
	}
	f.wake = sync.NewCond(&f.mu)
	f.whole.reset(f.wanted)
	return f, nil
}

// openTarget tries one name. On an error it leaves nothing behind.
func (f *File) openTarget(ctx context.Context) error {
	if err := f.refuseTaken(); err != nil {
		return err
	}
	unlock, err := f.lock(ctx)
	if err != nil {
		return err
	}
	if err := f.openLocked(ctx); err != nil {
		return errors.Join(err, unlock())
	}
	f.unlock = unlock
	return nil
}

// refuseTaken spares a name that is plainly taken the making of a lock.
func (f *File) refuseTaken() error {
	if f.o.OnExists == Overwrite || f.o.Adopt {
		return nil
	}
	if _, err := f.fs.Lstat(f.target); err != nil {
		return nil
	}
	if _, err := f.fs.Lstat(f.state); err == nil {
		return nil // an earlier run may have died on its last steps
	}
	return f.existsError()
}

func (f *File) existsError() error {
	return &Error{
		Kind: KindExists, Message: f.target + " exists already",
		Hint: "choose another name with --output, or replace it with --force",
	}
}

// lock takes the lock, or tells who has it: a run of the same URL, or one of
// another URL that happens to give its file the same name. The holder writes
// its state right after locking, so a missing one is waited for a little.
func (f *File) lock(ctx context.Context) (func() error, error) {
	for range 20 {
		unlock, err := f.fs.Lock(f.target + LockSuffix)
		if err != nil {
			return nil, f.lockError(err)
		}
		if unlock != nil {
			return unlock, nil
		}
		if s, err := loadState(f.fs, f.state); err == nil {
			if s.URLHash != f.hash {
				return nil, f.otherURL(s)
			}
			break
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(25 * time.Millisecond):
		}
	}
	return nil, &Error{
		Kind: KindInUse, Message: f.target + " is in use: another jumpget is fetching it",
		Hint: "wait for it to end, or choose another name with --output",
	}
}

// lockError tells a directory that can't be written to, which shows here first,
// from a lock that somebody else has left.
func (f *File) lockError(err error) error {
	if _, lerr := f.fs.Lstat(f.target + LockSuffix); lerr == nil {
		return ioError("locking", f.target+LockSuffix, err)
	}
	return dirError(f.dir, err)
}

func (f *File) otherURL(s *state) error {
	return &Error{
		Kind: KindOtherURL, Message: fmt.Sprintf("%s is an unfinished download of %s", f.part, s.URL),
		Hint: fmt.Sprintf("finish that first, choose another name with --output, or remove %s and %s", f.part, f.state),
	}
}

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

// Temp opens a file in dir that is never given a name and is gone after Close,
// for output to a pipe. Of the options, Target, OnExists and Adopt are ignored.
func Temp(_ context.Context, dir string, o Options) (*File, error) {
	o.Target, o.Adopt = "", false
	f, err := newFile(o, dir)
	if err != nil {
		return nil, err
	}
	f.part = filepath.Join(dir, "jumpget-"+string(job.NewID())+PartSuffix)
	if f.h, err = f.fs.OpenFile(f.part, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return nil, dirError(dir, err)
	}
	if removeWhileOpen { // then not even a killed run leaves it behind
		if err := f.fs.Remove(f.part); err != nil {
			return nil, errors.Join(ioError("removing", f.part, err), f.h.Close())
		}
	}
	f.start()
	return f, nil
}
