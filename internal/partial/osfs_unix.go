//go:build unix

package partial

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"
)

const noFollow = syscall.O_NOFOLLOW

// removeWhileOpen says that an open file's name can be taken away.
const removeWhileOpen = true

func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

func isReadOnly(err error) bool { return errors.Is(err, syscall.EROFS) }

func isNotDir(err error) bool { return errors.Is(err, syscall.ENOTDIR) }

// unsupported reports whether a file system lacks the call.
func unsupported(err error) bool {
	return errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.EINVAL) ||
		errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.EOPNOTSUPP)
}

func rename(oldName, newName string) error { return os.Rename(oldName, newName) }

func renameNew(oldName, newName string) error {
	err := renameExclusive(oldName, newName)
	if !unsupported(err) {
		return err
	}
	return linkNew(oldName, newName)
}

// linkNew renames by a hard link, which never replaces. A file system that has
// no links either leaves only a look beforehand, with a gap of microseconds.
func linkNew(oldName, newName string) error {
	err := os.Link(oldName, newName)
	if err == nil {
		return os.Remove(oldName)
	}
	if !unsupported(err) && !errors.Is(err, syscall.EPERM) {
		return err
	}
	if _, err := os.Lstat(newName); err == nil {
		return &fs.PathError{Op: "rename", Path: newName, Err: fs.ErrExist}
	}
	return os.Rename(oldName, newName)
}

// syncDir ignores file systems whose directories can't be synced.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil && !unsupported(err) {
		return errors.Join(err, d.Close())
	}
	return d.Close()
}

// removeLock removes the file while the lock is held, so that nobody can lock
// it in between.
func removeLock(l *flock.Flock, name string) error {
	err := os.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // somebody cleaned up
	}
	return errors.Join(err, l.Unlock())
}

func nextData(f *os.File, off, size int64) (start, end int64, err error) {
	start, err = f.Seek(off, unix.SEEK_DATA)
	if errors.Is(err, syscall.ENXIO) {
		return 0, 0, io.EOF
	}
	if err != nil {
		return off, size, nil // holes are not told: all of it may be data
	}
	if end, err = f.Seek(start, unix.SEEK_HOLE); err != nil {
		end = size
	}
	return start, end, nil
}
