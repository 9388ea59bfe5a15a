package relay

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origintest"
)

// TestDiskFull keeps bodies on a file system of 1 MiB. A file that does not fit
// fails its own job, whether it tells its length or not, and others go on.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "tiny")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("no file system of 1 MiB can be mounted, which takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	fits := origintest.File{Path: "/fits", Size: 300_000, Seed: 1, ETag: `"v1"`}
	o := origintest.New(t, fits,
		origintest.File{Path: "/big", Size: 2 * mib},
		origintest.File{Path: "/endless", Size: 1, Faults: []origintest.Fault{origintest.Endless()}},
		origintest.File{Path: "/second", Size: 300_000, Seed: 2, Faults: []origintest.Fault{origintest.NoLength()}},
	)
	w := newWorld(t, func(w *world) { w.bodies = dir })
	first := w.bring(alice, get(o.URL("/fits"))).Job.ID
	for _, path := range []string{"/big", "/endless"} {
		st := w.finish(alice, w.submit(alice, get(o.URL(path))).Job, job.Failed)
		wantCode(t, st.Job.Error, job.CodeDisk)
		if n := len(w.files()); n != 1 {
			t.Errorf("%s: %d bodies", path, n)
		}
	}
	w.bring(bob, get(o.URL("/second"))) // the room of those that failed is free again
	w.wantFile(alice, first, fits)
	w.restart()
	w.wantFile(alice, first, fits)
}
