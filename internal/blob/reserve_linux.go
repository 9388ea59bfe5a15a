package blob

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// reserve makes the file size bytes long and takes the room for them, so that
// a full disk shows before anything is fetched. File systems that can't
// reserve get a file with a hole.
func reserve(f *os.File, size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return f.Truncate(size)
		case err != nil:
			return &os.PathError{Op: "fallocate", Path: f.Name(), Err: err}
		}
		return nil
	}
}
