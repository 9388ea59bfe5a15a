//go:build unix

package sshdial

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestControlDir(t *testing.T) {
	base := shortDir(t)
	t.Run("made private", func(t *testing.T) {
		dir := filepath.Join(base, "a", "b")
		got, err := controlDir(dir)
		if err != nil || got != dir {
			t.Fatalf("%q, %v", got, err)
		}
		mustBePrivate(t, dir)
	})
	t.Run("made private again", func(t *testing.T) {
		dir := filepath.Join(base, "open")
		if err := os.Mkdir(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		if _, err := controlDir(dir); err != nil {
			t.Fatal(err)
		}
		mustBePrivate(t, dir)
	})
	t.Run("a symlink is nobody's directory", func(t *testing.T) {
		link := filepath.Join(base, "link")
		if err := os.Symlink(base, link); err != nil {
			t.Fatal(err)
		}
		if _, err := controlDir(link); err == nil {
			t.Error("taken")
		}
	})
	t.Run("not a directory", func(t *testing.T) {
		file := filepath.Join(base, "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := controlDir(file); err == nil {
			t.Error("taken")
		}
	})
}

// A Unix socket's path is short by nature; a deep home costs only the place.
func TestControlDirTooLong(t *testing.T) {
	base := shortDir(t)
	t.Setenv("TMPDIR", base)
	long := filepath.Join(base, strings.Repeat("long/", 20))
	got, err := controlDir(long)
	if err != nil || filepath.Dir(got) != base {
		t.Fatalf("%q, %v", got, err)
	}
	mustBePrivate(t, got)
	if _, err := os.Stat(filepath.Join(base, "long")); err == nil {
		t.Error("the long one was made, too")
	}
	t.Setenv("TMPDIR", long)
	if got, err := controlDir(long); err != nil || got != "" {
		t.Errorf("%q, %v: want none", got, err)
	}
}

func mustBePrivate(t *testing.T, dir string) {
	t.Helper()
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
}
