package partial

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sys/windows"
)

// noFollow has no flag here; OpenFile compares what it opened.
const noFollow = 0

// removeWhileOpen says that an open file's name can be taken away.
const removeWhileOpen = false

func isDiskFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) ||
		errors.Is(err, windows.ERROR_DISK_QUOTA_EXCEEDED)
}

func isReadOnly(err error) bool { return errors.Is(err, windows.ERROR_WRITE_PROTECT) }

func isNotDir(err error) bool { return errors.Is(err, windows.ERROR_DIRECTORY) }

func rename(oldName, newName string) error {
	return patiently(func() error { return os.Rename(oldName, newName) })
}

func renameNew(oldName, newName string) error {
	from, err := longPath(oldName)
	if err != nil {
		return err
	}
	to, err := longPath(newName)
	if err != nil {
		return err
	}
	err = patiently(func() error { return windows.MoveFileEx(from, to, windows.MOVEFILE_WRITE_THROUGH) })
	if err != nil {
		return &os.LinkError{Op: "rename", Old: oldName, New: newName, Err: err}
	}
	return nil
}

// patiently tries again for a second while another program, often a virus
// scanner, has the file open.
func patiently(do func() error) error {
	for wait := 10 * time.Millisecond; ; wait *= 2 {
		err := do()
		busy := errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_ACCESS_DENIED)
		if !busy || wait > 640*time.Millisecond {
			return err
		}
		time.Sleep(wait)
	}
}

// longPath lifts the limit of 260 characters, which package os does by itself.
func longPath(name string) (*uint16, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	if len(abs) >= 248 && filepath.VolumeName(abs) != "" && abs[1] == ':' {
		abs = `\\?\` + abs
	}
	return windows.UTF16PtrFromString(abs)
}

// syncDir does nothing: directories can't be synced, and NTFS journals names.
func syncDir(string) error { return nil }

// removeLock unlocks first, as an open file can't be removed. If another process
// was faster the removal fails, and the file is that process's to remove.
func removeLock(l *flock.Flock, name string) error {
	if err := l.Unlock(); err != nil {
		return err
	}
	_ = os.Remove(name)
	return nil
}

func allocate(f *os.File, size int64) error { return f.Truncate(size) } // NTFS reserves the space

// nextData can't tell holes from data: all of it may be data.
func nextData(_ *os.File, off, size int64) (start, end int64, err error) { return off, size, nil }
