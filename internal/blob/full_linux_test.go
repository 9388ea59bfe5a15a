package blob_test

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"github.com/jumpget/jumpget/internal/blob"
	"github.com/jumpget/jumpget/internal/blob/blobtest"
)

// tinyDisk mounts a file system of 2 MiB.
func tinyDisk(t *testing.T) *blob.Disk {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m,mode=0700"); err != nil {
		t.Skipf("mounting takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return newDisk(t, dir)
}

func TestDiskFullShowsAtCreate(t *testing.T) {
	d := tinyDisk(t)
	if _, err := d.Create(t.Context(), id, 64<<20); !errors.Is(err, blob.ErrNoSpace) {
		t.Fatalf("error is %v", err)
	}
	if infos, err := d.List(t.Context()); err != nil || len(infos) != 0 {
		t.Errorf("something is left: %v %v", infos, err)
	}
	b, err := d.Create(t.Context(), blobtest.OtherID, 1000)
	if err != nil {
		t.Fatalf("a small one is refused too: %v", err)
	}
	defer b.Close()
	blobtest.Fill(t, b, blobtest.Bytes(1000))
}

func TestDiskFullInMidBody(t *testing.T) {
	d := tinyDisk(t)
	b, err := d.Create(t.Context(), id, blob.UnknownSize)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	data := blobtest.Bytes(4 << 20)
	n, err := b.WriteAt(data, 0)
	if !errors.Is(err, blob.ErrNoSpace) || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("error is %v", err)
	}
	if got := b.Frontier(); got != int64(n) {
		t.Errorf("%d bytes are there, %d were written", got, n)
	}
	if free, err := d.Free(); err != nil || free > 1<<20 {
		t.Errorf("%d bytes free, %v", free, err)
	}
	if err := d.Remove(t.Context(), id); err != nil {
		t.Error(err)
	}
}

// A body's reserved room counts as used before a byte is written.
func TestReservedRoomIsListed(t *testing.T) {
	d := newDisk(t, t.TempDir())
	b, err := d.Create(t.Context(), id, 3<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	infos, err := d.List(t.Context())
	if err != nil || len(infos) != 1 {
		t.Fatal(infos, err)
	}
	if infos[0].Used < 3<<20 {
		t.Skipf("%d bytes used: the file system at %s can't reserve", infos[0].Used, os.TempDir())
	}
}
