package store_test

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jumpget/jumpget/internal/job"
)

// Disk full: the error says so, what was stored stays, and it goes on when
// there is room again.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m,mode=0700"); err != nil {
		t.Skipf("mounting takes root: %v", err)
	}
	t.Cleanup(func() { must(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	s := open(t, filepath.Join(dir, "jumpget.db"), nil)
	defer s.Close()
	must(t, s.PutSetting(t.Context(), "before", "v"))
	err := s.PutSetting(t.Context(), "big", strings.Repeat("x", 2<<20))
	if !errors.Is(err, &job.Error{Code: job.CodeDisk}) {
		t.Fatalf("error is %v", err)
	}
	got, err := s.Setting(t.Context(), "before")
	must(t, err)
	if got != "v" {
		t.Errorf("setting is %q", got)
	}
	must(t, s.PutSetting(t.Context(), "after", "v"))
}
