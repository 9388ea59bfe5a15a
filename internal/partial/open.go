package partial

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jumpget/jumpget/internal/job"
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

func (f *File) existsError() error { return existsError(f.target) }

func existsError(path string) error {
	return &Error{
		Kind: KindExists, Message: path + " exists already",
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
