package blob_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/jumpget/jumpget/internal/blob"
	"github.com/jumpget/jumpget/internal/blob/blobtest"
	"github.com/jumpget/jumpget/internal/span"
)

const id = blobtest.ID

func newDisk(t *testing.T, dir string) *blob.Disk {
	t.Helper()
	d, err := blob.NewDisk(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestDiskConforms(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blobtest.Reopen {
		dir := filepath.Join(t.TempDir(), "data", "blobs")
		return func() blob.Store { return newDisk(t, dir) }
	})
}

// stored makes a directory with one complete body and returns it and the
// paths of its files.
func stored(t *testing.T, content []byte) (dir, data, sums string) {
	t.Helper()
	dir = t.TempDir()
	b, err := newDisk(t, dir).Create(t.Context(), id, int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	blobtest.Fill(t, b, content)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	data = filepath.Join(dir, id[:2], id)
	return dir, data, data + ".sums"
}

func edit(t *testing.T, path string, f func([]byte) []byte) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, f(raw), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Whatever happens to the files, Verify keeps just the chunks that still match
// and the body can be filled again.
func TestVerifyAfterDamage(t *testing.T) {
	content := blobtest.Bytes(2*blob.ChunkSize + 1000)
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[at] ^= 1; return b }
	}
	cut := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:n] } }
	garbage := func(b []byte) []byte { return blobtest.Bytes(len(b) + 4096) }
	for _, c := range []struct {
		name       string
		data, sums func([]byte) []byte
		keeps      []int // chunks
	}{
		{name: "no damage", keeps: []int{0, 1, 2}},
		{name: "a bit flipped in the data", data: flip(blob.ChunkSize + 5), keeps: []int{0, 2}},
		{name: "a bit flipped in a sum", sums: flip(64), keeps: []int{1, 2}},
		{name: "a bit flipped in the header", sums: flip(9), keeps: []int{0, 1, 2}},
		{name: "data cut short", data: cut(blob.ChunkSize + 9), keeps: []int{0}},
		{name: "data empty", data: cut(0)},
		{name: "data zeroed, as after a power loss", data: func(b []byte) []byte { return make([]byte, len(b)) }},
		{name: "sums cut in an entry", sums: cut(64 + 32 + 7), keeps: []int{0}},
		{name: "sums cut in the header", sums: cut(20)},
		{name: "sums empty", sums: cut(0)},
		{name: "sums are garbage", sums: garbage},
		{name: "sums are zeros", sums: func(b []byte) []byte { return make([]byte, len(b)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, data, sums := stored(t, content)
			if c.data != nil {
				edit(t, data, c.data)
			}
			if c.sums != nil {
				edit(t, sums, c.sums)
			}
			wantKept(t, dir, content, c.keeps)
		})
	}
	t.Run("sums missing", func(t *testing.T) {
		dir, _, sums := stored(t, content)
		if err := os.Remove(sums); err != nil {
			t.Fatal(err)
		}
		wantKept(t, dir, content, nil)
	})
}

func wantKept(t *testing.T, dir string, content []byte, chunks []int) {
	t.Helper()
	b, err := newDisk(t, dir).Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	have, err := b.Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var want span.Set
	for _, i := range chunks {
		want.Add(span.Span{Start: int64(i) * blob.ChunkSize, End: min(int64(len(content)), int64(i+1)*blob.ChunkSize)})
		if _, ok := b.Sum(i); !ok {
			t.Errorf("chunk %d lost its sum", i)
		}
	}
	if have.Len() != want.Len() || len(have.Missing(span.Span{End: int64(len(content))})) != len(want.Missing(span.Span{End: int64(len(content))})) {
		t.Fatalf("kept %v, want %v", have.Spans(), want.Spans())
	}
	if err := b.SetSize(int64(len(content))); err != nil {
		t.Fatal(err)
	}
	blobtest.Fill(t, b, content)
	if !b.Complete() {
		t.Error("could not be filled again")
	}
}

func TestMissingData(t *testing.T) {
	dir, data, _ := stored(t, []byte("content"))
	if err := os.Remove(data); err != nil {
		t.Fatal(err)
	}
	d := newDisk(t, dir)
	if _, err := d.Open(t.Context(), id); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("error is %v", err)
	}
	if infos, err := d.List(t.Context()); err != nil || len(infos) != 1 {
		t.Errorf("what is left is not listed: %v %v", infos, err)
	}
	if err := d.Remove(t.Context(), id); err != nil {
		t.Error(err)
	}
	if infos, err := d.List(t.Context()); err != nil || len(infos) != 0 {
		t.Errorf("what was left is not removed: %v %v", infos, err)
	}
}

func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such modes")
	}
	dir, data, sums := stored(t, []byte("content"))
	for path, want := range map[string]os.FileMode{data: 0o600, sums: 0o600, filepath.Join(dir, id[:2]): 0o700} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
	}
}

// Links that somebody put into the directory lead nowhere.
func TestLinksAreNotFollowed(t *testing.T) {
	for _, place := range []string{"the data", "the sums", "the directory"} {
		t.Run(place, func(t *testing.T) {
			dir, data, sums := stored(t, []byte("content"))
			victim := t.TempDir()
			at, to := data, filepath.Join(victim, "victim")
			switch place {
			case "the sums":
				at = sums
			case "the directory":
				at, to = filepath.Join(dir, id[:2]), victim
			}
			if err := os.WriteFile(filepath.Join(victim, "victim"), []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(at); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(to, at); err != nil {
				t.Skip(err)
			}
			d := newDisk(t, dir)
			if _, err := d.Open(t.Context(), id); err == nil {
				t.Error("the link was followed by Open")
			}
			if _, err := d.Create(t.Context(), id, 5); err == nil {
				t.Error("the link was followed by Create")
			}
			if got, _ := os.ReadFile(filepath.Join(victim, "victim")); string(got) != "precious" {
				t.Errorf("the file outside is now %q", got)
			}
		})
	}
}

func TestForeignFilesAreNotListed(t *testing.T) {
	dir, data, _ := stored(t, []byte("content"))
	for _, name := range []string{"README", filepath.Join(id[:2], "notes"), filepath.Join(id[:2], blobtest.OtherID)} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	infos, err := newDisk(t, dir).List(t.Context())
	if err != nil || len(infos) != 1 || infos[0].ID != filepath.Base(data) {
		t.Errorf("listed %v, %v", infos, err)
	}
}
