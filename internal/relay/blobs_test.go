package relay

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/jumpget/jumpget/internal/blob"
)

// disk holds bodies where a test can get between the relay and its files.
type disk struct {
	blob.Store
	dir string

	mu     sync.Mutex
	onRead func(id string, off int64) error // may also wait
	onSync func(id string) error
}

func (d *disk) set(f func(*disk)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(d)
}

// holdReads stops every read of a body until release is called. Reading is
// closed with the first.
func (d *disk) holdReads(t *testing.T) (reading <-chan struct{}, release func()) {
	first, released := make(chan struct{}), make(chan struct{})
	var once sync.Once
	d.set(func(d *disk) {
		d.onRead = func(string, int64) error {
			once.Do(func() { close(first) })
			<-released
			return nil
		}
	})
	release = sync.OnceFunc(func() { close(released) })
	t.Cleanup(release) // before the relay is closed
	return first, release
}

func (d *disk) Create(ctx context.Context, id string, size int64) (*blob.Body, error) {
	b, err := d.Store.Create(ctx, id, size)
	if err != nil {
		return nil, err
	}
	parts, _, err := d.parts(id)
	if err = errors.Join(err, b.Close()); err != nil {
		return nil, err
	}
	return blob.NewBody(parts, size), nil
}

func (d *disk) Open(ctx context.Context, id string) (*blob.Body, error) {
	parts, size, err := d.parts(id)
	if errors.Is(err, os.ErrNotExist) {
		return nil, blob.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return blob.LoadBody(parts, size)
}

func (d *disk) parts(id string) (blob.Parts, int64, error) {
	path := filepath.Join(d.dir, id[:2], id)
	data, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return blob.Parts{}, 0, err
	}
	info, err := data.Stat()
	if err != nil {
		return blob.Parts{}, 0, errors.Join(err, data.Close())
	}
	sums, err := os.OpenFile(path+".sums", os.O_RDWR, 0)
	if err != nil {
		return blob.Parts{}, 0, errors.Join(err, data.Close())
	}
	return blob.Parts{Data: &diskFile{File: data, d: d, id: id}, Sums: sums}, info.Size(), nil
}

type diskFile struct {
	*os.File
	d  *disk
	id string
}

func (f *diskFile) ReadAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	hook := f.d.onRead
	f.d.mu.Unlock()
	if hook != nil {
		if err := hook(f.id, off); err != nil {
			return 0, err
		}
	}
	return f.File.ReadAt(p, off)
}

func (f *diskFile) Sync() error {
	f.d.mu.Lock()
	hook := f.d.onSync
	f.d.mu.Unlock()
	if hook != nil {
		if err := hook(f.id); err != nil {
			return err
		}
	}
	return f.File.Sync()
}
