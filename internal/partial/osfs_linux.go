package partial

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func renameExclusive(oldName, newName string) error {
	err := unix.Renameat2(unix.AT_FDCWD, oldName, unix.AT_FDCWD, newName, unix.RENAME_NOREPLACE)
	if err == nil {
		return nil
	}
	return &os.LinkError{Op: "rename", Old: oldName, New: newName, Err: err}
}

func allocate(f *os.File, size int64) error {
	if err := f.Truncate(size); err != nil || size == 0 {
		return err
	}
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		if err == nil || unsupported(err) {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return &os.PathError{Op: "fallocate", Path: f.Name(), Err: err}
		}
	}
}
