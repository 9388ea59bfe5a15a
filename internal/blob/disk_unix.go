//go:build unix

package blob

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// allocated returns the bytes a file takes on disk, which is more than its
// length when room is reserved and less when it has holes.
func allocated(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return info.Size()
}

func syncNames(dir *os.File) error { return dir.Sync() }
