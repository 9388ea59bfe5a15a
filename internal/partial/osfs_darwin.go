package partial

import (
	"os"

	"golang.org/x/sys/unix"
)

func renameExclusive(oldName, newName string) error {
	err := unix.RenamexNp(oldName, newName, unix.RENAME_EXCL)
	if err == nil {
		return nil
	}
	return &os.LinkError{Op: "rename", Old: oldName, New: newName, Err: err}
}

// allocate reserves what the file lacks; F_PREALLOCATE does not change its size.
func allocate(f *os.File, size int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if more := size - info.Size(); more > 0 {
		st := unix.Fstore_t{Flags: unix.F_ALLOCATEALL, Posmode: unix.F_PEOFPOSMODE, Length: more}
		if err := unix.FcntlFstore(f.Fd(), unix.F_PREALLOCATE, &st); err != nil && !unsupported(err) {
			return &os.PathError{Op: "preallocate", Path: f.Name(), Err: err}
		}
	}
	return f.Truncate(size)
}
