//go:build unix

package sshdial

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestControlDir(t *testing.T) {
	base := shortDir(t)
	t.Setenv("TMPDIR", base)
	prepare := map[string]func(path string) error{
		"new":     func(string) error { return nil },
		"open":    func(path string) error { return errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, 0o777)) },
		"symlink": func(path string) error { return os.Symlink(base, path) },
		"file":    func(path string) error { return os.WriteFile(path, nil, 0o600) },
	}
	for name, ours := range map[string]bool{"new": true, "open": true, "symlink": false, "file": false} {
		dir := filepath.Join(base, "state", name)
		if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := prepare[name](dir); err != nil {
			t.Fatal(err)
		}
		got := controlDir(dir)
		if (got == dir) != ours || got == "" {
			t.Errorf("%s: %q", name, got)
		}
		mustBePrivate(t, got)
	}
	if os.Getuid() == 0 {
		theirs := filepath.Join(base, "theirs")
		if err := errors.Join(os.Mkdir(theirs, 0o700), os.Chown(theirs, 12345, 12345)); err != nil {
			t.Fatal(err)
		}
		if got := controlDir(theirs); got == theirs {
			t.Error("another user's directory was taken")
		}
	}
}

// A Unix socket's path is short by nature; a deep home costs only the place.
func TestControlDirTooLong(t *testing.T) {
	base := shortDir(t)
	t.Setenv("TMPDIR", base)
	long := filepath.Join(base, strings.Repeat("long/", 20))
	got := controlDir(long)
	if filepath.Dir(got) != base {
		t.Fatalf("%q", got)
	}
	mustBePrivate(t, got)
	if _, err := os.Stat(filepath.Join(base, "long")); err == nil {
		t.Error("the long one was made, too")
	}
	t.Setenv("TMPDIR", long)
	if got := controlDir(long); got != "" {
		t.Errorf("%q: want none", got)
	}
}

func mustBePrivate(t *testing.T, dir string) {
	t.Helper()
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
}
