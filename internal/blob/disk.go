package blob

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

const sumsSuffix = ".sums"

// Disk is a Store in a local directory: DIR/xx/ID holds the data of a body
// and DIR/xx/ID.sums its sums, where xx is how the id begins. Files have mode
// 0600, directories 0700, and nothing outside DIR is ever reached, whatever
// links somebody puts there.
type Disk struct {
	root *os.Root

	mu   sync.Mutex
	open map[string]*Body
}

var _ Store = (*Disk)(nil)

// NewDisk opens the store in dir and makes the directory if it is missing,
// with mode 0700.
func NewDisk(dir string) (*Disk, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of bodies: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the directory of bodies: %w", err)
	}
	if err := syncDir(os.Open(filepath.Dir(dir))); err != nil {
		return nil, errors.Join(fmt.Errorf("sync the directory of bodies: %w", err), root.Close())
	}
	return &Disk{root: root, open: map[string]*Body{}}, nil
}

// Close releases the directory. Open bodies stay open.
func (d *Disk) Close() error { return d.root.Close() }

func dataPath(id string) string { return filepath.Join(id[:2], id) }
func sumsPath(id string) string { return dataPath(id) + sumsSuffix }

// check is the first line of every method that takes an id.
func check(ctx context.Context, id string) error {
	if !ValidID(id) {
		return fmt.Errorf("%w: %q", ErrInvalidID, id)
	}
	return ctx.Err()
}

// Create implements Store.
func (d *Disk) Create(ctx context.Context, id string, size int64) (*Body, error) {
	if err := check(ctx, id); err != nil {
		return nil, err
	}
	if size < UnknownSize {
		return nil, fmt.Errorf("create a body of %d bytes: %w", size, fs.ErrInvalid)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.root.Mkdir(id[:2], 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, diskError(err)
	}
	data, err := d.create(dataPath(id), size)
	if err != nil {
		return nil, err
	}
	sums, err := d.create(sumsPath(id), sumsLen(size))
	if err != nil {
		return nil, errors.Join(err, data.Close(), d.root.Remove(dataPath(id)))
	}
	b := NewBody(d.parts(id, data, sums), size)
	d.open[id] = b
	return b, nil
}

// create makes a file with room for size bytes, or none at all.
func (d *Disk) create(name string, size int64) (*os.File, error) {
	f, err := d.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%w: %s", ErrExists, name)
	}
	if err != nil {
		return nil, diskError(err)
	}
	if size > 0 {
		if err := reserve(f, size); err != nil {
			return nil, errors.Join(diskError(err), f.Close(), d.root.Remove(name))
		}
	}
	return f, nil
}

func (d *Disk) parts(id string, data, sums *os.File) Parts {
	return Parts{
		Data:      diskFile{data},
		Sums:      diskFile{sums},
		SyncNames: func() error { return errors.Join(syncDir(d.root.Open(id[:2])), syncDir(d.root.Open("."))) },
		Closed:    func(b *Body) { d.drop(id, b) },
	}
}

// drop forgets that b is open, unless another body has taken its place.
func (d *Disk) drop(id string, b *Body) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open[id] == b {
		delete(d.open, id)
	}
}

// Open implements Store.
func (d *Disk) Open(ctx context.Context, id string) (*Body, error) {
	if err := check(ctx, id); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if b, ok := d.open[id]; ok && b.retain() {
		return b, nil
	}
	data, info, err := d.openFile(dataPath(id), os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	if err != nil {
		return nil, err
	}
	// The sums may be missing: a crash can come between the two files.
	sums, _, err := d.openFile(sumsPath(id), os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, errors.Join(err, data.Close())
	}
	b, err := LoadBody(d.parts(id, data, sums), info.Size())
	if err != nil {
		return nil, errors.Join(err, data.Close(), sums.Close())
	}
	d.open[id] = b
	return b, nil
}

// openFile opens a regular file and follows no link to it.
func (d *Disk) openFile(name string, flag int) (*os.File, fs.FileInfo, error) {
	if info, err := d.root.Lstat(name); err == nil && !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("open %s: not a regular file", name)
	}
	f, err := d.root.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, nil, diskError(err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// Remove implements Store. The sums go first: data without sums is still a
// body that List shows, so what a crash leaves behind is found.
func (d *Disk) Remove(ctx context.Context, id string) error {
	if err := check(ctx, id); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	sumsErr := d.root.Remove(sumsPath(id))
	dataErr := d.root.Remove(dataPath(id))
	if errors.Is(sumsErr, fs.ErrNotExist) && errors.Is(dataErr, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	delete(d.open, id) // who has it goes on; a new Open must not find it
	return errors.Join(unlessMissing(sumsErr), unlessMissing(dataErr))
}

func unlessMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// List implements Store. Sums that lost their data count as a body too, so
// that somebody removes them.
func (d *Disk) List(ctx context.Context) ([]Info, error) {
	found := map[string]Info{}
	tree := d.root.FS()
	dirs, err := fs.ReadDir(tree, ".")
	if err != nil {
		return nil, fmt.Errorf("list the bodies: %w", err)
	}
	for _, dir := range dirs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if !dir.IsDir() || len(dir.Name()) != 2 {
			continue
		}
		if err := listDir(tree, dir.Name(), found); err != nil {
			return nil, fmt.Errorf("list the bodies: %w", err)
		}
	}
	infos := make([]Info, 0, len(found))
	for _, info := range found {
		infos = append(infos, info)
	}
	slices.SortFunc(infos, func(a, b Info) int { return cmp.Compare(a.ID, b.ID) })
	return infos, nil
}

func listDir(tree fs.FS, dir string, found map[string]Info) error {
	files, err := fs.ReadDir(tree, dir)
	if err != nil {
		return err
	}
	for _, file := range files {
		id, isSums := strings.CutSuffix(file.Name(), sumsSuffix)
		if !ValidID(id) || id[:2] != dir || !file.Type().IsRegular() {
			continue
		}
		stat, err := file.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed just now
		}
		if err != nil {
			return err
		}
		info := found[id]
		info.ID = id
		info.Used += allocated(stat)
		if !isSums || info.ModTime.IsZero() {
			info.ModTime = stat.ModTime()
		}
		found[id] = info
	}
	return nil
}

// Free implements Store: the free bytes of the file system that the caller may use.
func (d *Disk) Free() (bytes int64, err error) {
	dir, err := d.root.Open(".")
	if err != nil {
		return 0, fmt.Errorf("ask for free disk space: %w", err)
	}
	bytes, err = freeBytes(dir)
	if err = errors.Join(err, dir.Close()); err != nil {
		return 0, fmt.Errorf("ask for free disk space: %w", err)
	}
	return bytes, nil
}

// syncDir makes the names in a directory durable and closes it. It takes what
// an open returns.
func syncDir(dir *os.File, err error) error {
	if err != nil {
		return err
	}
	return errors.Join(syncNames(dir), dir.Close())
}

// diskFile tells a full disk from other failures.
type diskFile struct{ *os.File }

func (f diskFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	return n, diskError(err)
}

func (f diskFile) Sync() error { return diskError(f.File.Sync()) }

func diskError(err error) error {
	if isNoSpace(err) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
