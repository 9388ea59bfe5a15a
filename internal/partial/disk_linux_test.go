package partial

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// File systems without RENAME_NOREPLACE get a hard link instead.
func TestRenameByLinkNeverReplaces(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, name := range []string{a, b} {
		if err := os.WriteFile(name, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := linkNew(a, b); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("got %v", err)
	}
	wantFile(t, b, []byte(b))
	if err := linkNew(a, filepath.Join(dir, "c")); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, "b", "c")
}

// smallDisk returns a directory with room for 4 MiB, which takes root.
func smallDisk(t *testing.T) string { return mountTmpfs(t, 0, "size=4m") }

// readOnlyDir returns a directory that not even root can write to, or "".
func readOnlyDir(t *testing.T) string {
	t.Helper()
	if os.Getuid() == 0 {
		return mountTmpfs(t, unix.MS_RDONLY, "size=64k")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	return dir
}

func mountTmpfs(t *testing.T, flags uintptr, data string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", flags, data); err != nil {
		t.Skipf("mounting takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}
