package partial

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/gofrs/flock"
)

// OS is the operating system's file system.
type OS struct{}

var _ FS = OS{}

var errNotRegular = errors.New("not a regular file")

// OpenFile implements [FS]. Platforms without O_NOFOLLOW are covered by
// comparing what stood at name before with what was opened.
func (OS) OpenFile(name string, flag int, perm fs.FileMode) (Handle, error) {
	if flag&os.O_EXCL != 0 {
		f, err := os.OpenFile(name, flag|noFollow, perm)
		if err != nil {
			return nil, err
		}
		return osHandle{f}, nil
	}
	before, err := os.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !before.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errNotRegular}
	}
	f, err := os.OpenFile(name, flag|noFollow, perm)
	if err != nil {
		return nil, err
	}
	if now, err := f.Stat(); err != nil || !os.SameFile(before, now) {
		_ = f.Close() // nothing was written
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.Join(errNotRegular, err)}
	}
	return osHandle{f}, nil
}

// Lstat implements [FS].
func (OS) Lstat(name string) (fs.FileInfo, error) { return os.Lstat(name) }

// Remove implements [FS].
func (OS) Remove(name string) error { return os.Remove(name) }

// Rename implements [FS].
func (OS) Rename(oldName, newName string) error { return rename(oldName, newName) }

// RenameNew implements [FS].
func (OS) RenameNew(oldName, newName string) error { return renameNew(oldName, newName) }

// SyncDir implements [FS].
func (OS) SyncDir(dir string) error { return syncDir(dir) }

// Chtimes implements [FS].
func (OS) Chtimes(name string, mtime time.Time) error {
	return os.Chtimes(name, time.Time{}, mtime)
}

// lockPatience is how long a lock that is held is waited for.
const lockPatience = time.Second

// Lock implements [FS]. Whoever unlocks removes the file, so after locking it
// must still be the one that stands at name; else a lock on a removed file and a
// lock on its successor could be held at once.
//
// A lock that is held is waited for a little: when a program is killed just
// while it starts another (ssh), the child has its lock until it has become
// that other.
func (OS) Lock(name string) (func() error, error) {
	deadline := time.Now().Add(lockPatience)
	for range 100 {
		if info, err := os.Lstat(name); err == nil && !info.Mode().IsRegular() {
			return nil, &fs.PathError{Op: "lock", Path: name, Err: errNotRegular}
		}
		l := flock.New(name, flock.SetFlag(os.O_CREATE|os.O_RDWR|noFollow), flock.SetPermissions(0o600))
		got, err := l.TryLock()
		if err != nil || !got && time.Now().After(deadline) {
			return nil, err
		}
		if !got {
			time.Sleep(lockPatience / 20)
			continue
		}
		if stillThere(l, name) {
			return func() error { return removeLock(l, name) }, nil
		}
		if err := l.Unlock(); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("lock %s: it is being replaced all the time", name)
}

func stillThere(l *flock.Flock, name string) bool {
	locked, err1 := l.Stat()
	named, err2 := os.Lstat(name)
	return err1 == nil && err2 == nil && os.SameFile(locked, named)
}

// osHandle adds to os.File what platforms do differently.
type osHandle struct{ *os.File }

func (h osHandle) Allocate(size int64) error { return allocate(h.File, size) }

func (h osHandle) NextData(off int64) (start, end int64, err error) {
	info, err := h.Stat()
	if err != nil {
		return 0, 0, err
	}
	if off >= info.Size() {
		return 0, 0, io.EOF
	}
	return nextData(h.File, off, info.Size())
}
