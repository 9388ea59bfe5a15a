package partial

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

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
