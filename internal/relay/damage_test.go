package relay

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/jumpget/jumpget/internal/store"
)

func truncate(t *testing.T, path string, n int64) {
	t.Helper()
	if err := os.Truncate(path, n); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// flip inverts a bit of the byte at off.
func flip(t *testing.T, path string, off int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	_, err = f.ReadAt(b[:], off)
	b[0] ^= 0x10
	if err == nil {
		_, err = f.WriteAt(b[:], off)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// inStore changes the database of a relay that is not running.
func (w *world) inStore(f func(store.Store) error) {
	w.t.Helper()
	db, err := store.Open(w.ctx(), filepath.Join(w.dir, "jumpget.db"), w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := errors.Join(f(db), db.Close()); err != nil {
		w.t.Fatal(err)
	}
}
