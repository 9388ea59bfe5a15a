//go:build unix && !linux && !darwin

package partial

import (
	"os"
	"syscall"
)

func renameExclusive(_, _ string) error { return syscall.ENOSYS }

func allocate(f *os.File, size int64) error { return f.Truncate(size) }
