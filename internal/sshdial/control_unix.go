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

// controlDir makes the directory for control sockets, or where its path is too
// long a short one among the temporary files. "" means that no directory fits,
// which costs only speed.
func controlDir(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("the directory for ssh's control sockets: %w", err)
	}
	if usablePath(dir) {
		if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
			return "", fmt.Errorf("the directory for ssh's control sockets: %w", err)
		}
		return dir, privateDir(dir)
	}
	short := filepath.Join(os.TempDir(), fmt.Sprintf("jumpget-%d", os.Getuid()))
	if !usablePath(short) || privateDir(short) != nil {
		return "", nil
	}
	return short, nil
}

// usablePath tells whether a path is short enough, and without the characters
// that ssh's option parser has a meaning for.
func usablePath(dir string) bool {
	return len(dir) <= maxSocketDir && !strings.ContainsAny(dir, "\"\\\n$")
}

// privateDir makes a directory that only we can enter. One that stands already
// has to be our own: whoever owns the directory owns the connections in it.
func privateDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("the directory for ssh's control sockets: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("the directory for ssh's control sockets: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int(stat.Uid) != os.Getuid() {
		return fmt.Errorf("the directory for ssh's control sockets, %s, is not yours", clean(dir))
	}
	if info.Mode().Perm() != 0o700 {
		if err := os.Chmod(dir, 0o700); err != nil {
			return fmt.Errorf("the directory for ssh's control sockets: %w", err)
		}
	}
	return nil
}

// terminate lets ssh end in order: in the middle of a password prompt it
// switches the terminal's echo on again.
func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }
