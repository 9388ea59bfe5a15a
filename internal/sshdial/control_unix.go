//go:build unix

package sshdial

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const canShare = true

// maxSocketDir is how long a control socket's directory may be. A Unix socket's
// path has 104 bytes on macOS, its end included; the name is "/" and 16 digits,
// and ssh appends 17 more while it makes the socket.
const maxSocketDir = 104 - 1 - 17 - 17

// controlDir makes the directory for control sockets. Where its path is too long,
// or it can't be made or is somebody else's (as with sudo, which may keep HOME),
// it makes a short one among the temporary files. "" means that there is none:
// that costs only speed.
func controlDir(dir string) string {
	short := filepath.Join(os.TempDir(), fmt.Sprintf("jumpget-%d", os.Getuid()))
	if dir, err := filepath.Abs(dir); err == nil && usablePath(dir) && makePrivate(dir) {
		return dir
	}
	if usablePath(short) && makePrivate(short) {
		return short
	}
	return ""
}

// usablePath tells whether a path is short enough, and without the characters
// that ssh's option parser has a meaning for.
func usablePath(dir string) bool {
	return len(dir) <= maxSocketDir && !strings.ContainsAny(dir, "\"\\\n$")
}

// makePrivate makes a directory that only we can enter. One that stands already
// has to be our own: whoever owns the directory owns the connections in it.
func makePrivate(dir string) bool {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return false
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return false
	}
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(stat.Uid) != os.Getuid() {
		return false
	}
	return info.Mode().Perm() == 0o700 || os.Chmod(dir, 0o700) == nil //nolint:gosec // a directory needs its x
}

// terminate lets ssh end in order: in the middle of a password prompt it
// switches the terminal's echo on again.
func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }
