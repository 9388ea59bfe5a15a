package partial

import (
	"bytes"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

const page = 4096

// memFS is a file system in memory that tells what is visible from what is
// durable. It fails or dies at a chosen call, and it behaves like Linux where
// that is nastiest: a failed sync takes the pages for clean.
type memFS struct {
	mu      sync.Mutex
	names   map[string]*inode
	durable map[string]*inode // names after a power cut
	journal []func()          // changes of durable not yet made
	locks   map[string]bool

	calls  int
	log    []string // the calls by name
	failAt int      // the call that fails; 0: none
	sticky bool     // and every one after it
	err    error
	failOp string // fail the next call of this name
	diesAt int    // the call from which on nothing has an effect; 0: never
	handle map[*memHandle]bool
	check  func(string, []byte) // is told of each rename's outcome
}

type inode struct {
	data, disk []byte
	dirty      map[int64]bool
	stored     map[int64]bool // pages that are not holes
	mtime      time.Time
	mode       fs.FileMode
}

func newMemFS() *memFS {
	return &memFS{
		names: map[string]*inode{}, durable: map[string]*inode{},
		locks: map[string]bool{}, handle: map[*memHandle]bool{},
	}
}

// call counts one operation and says how it ends.
func (m *memFS) call(op string) error {
	m.calls++
	m.log = append(m.log, op)
	if m.diesAt > 0 && m.calls >= m.diesAt {
		return syscall.EBADF
	}
	if m.failOp == op {
		m.failOp = ""
		return m.err
	}
	if m.failAt > 0 && (m.calls == m.failAt || m.sticky && m.calls > m.failAt) {
		return m.err
	}
	return nil
}

// failNext makes the next call of that name fail, and returns how many calls
// there were before.
func (m *memFS) failNext(op string, err error) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failOp, m.err = op, err
	return m.calls
}

// count returns how often a call was made since the given number of calls.
func (m *memFS) count(op string, since int) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.log[since:] {
		if c == op {
			n++
		}
	}
	return n
}

// reset ends a process: locks go, counters start anew, nothing fails.
func (m *memFS) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls, m.failAt, m.diesAt, m.sticky, m.log = 0, 0, 0, false, nil
	m.locks = map[string]bool{}
}

// powerCut loses what was not synced: of the names a suffix of the changes, of
// the data any pages. With rng nil all names survive and no unsynced data.
func (m *memFS) powerCut(rng *rand.Rand) {
	m.reset()
	m.mu.Lock()
	defer m.mu.Unlock()
	keep := len(m.journal)
	if rng != nil {
		keep = rng.IntN(keep + 1)
	}
	for _, do := range m.journal[:keep] {
		do()
	}
	m.journal = nil
	m.names = map[string]*inode{}
	for name, n := range m.durable {
		m.names[name] = n
		n.lose(rng)
	}
}

func (n *inode) lose(rng *rand.Rand) {
	after := make([]byte, len(n.data))
	copy(after, n.disk)
	for p := range n.dirty {
		if rng != nil && rng.IntN(2) == 0 {
			copy(after[p*page:min(int64(len(after)), (p+1)*page)], n.data[p*page:])
		}
	}
	n.data, n.disk = after, bytes.Clone(after)
	n.dirty = map[int64]bool{}
}

func (m *memFS) set(name string, n *inode) {
	m.names[name] = n
	m.journal = append(m.journal, func() { m.durable[name] = n })
}

func (m *memFS) del(name string) {
	delete(m.names, name)
	m.journal = append(m.journal, func() { delete(m.durable, name) })
}

func pathErr(op, name string, err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }

func (m *memFS) OpenFile(name string, flag int, perm fs.FileMode) (Handle, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.call("open " + filepath.Ext(name)); err != nil {
		return nil, pathErr("open", name, err)
	}
	n := m.names[name]
	switch {
	case n == nil && flag&syscall.O_CREAT == 0:
		return nil, pathErr("open", name, fs.ErrNotExist)
	case n != nil && flag&syscall.O_EXCL != 0:
		return nil, pathErr("open", name, fs.ErrExist)
	case n == nil:
		n = &inode{dirty: map[int64]bool{}, stored: map[int64]bool{}, mode: perm}
		m.set(name, n)
	}
	return &memHandle{m, n, filepath.Ext(name)}, nil
}

func (m *memFS) Lstat(name string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.call("lstat"); err != nil {
		return nil, pathErr("lstat", name, err)
	}
	if n := m.names[name]; n != nil {
		return memInfo{n, name}, nil
	}
	return nil, pathErr("lstat", name, fs.ErrNotExist)
}

func (m *memFS) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.call("remove " + filepath.Ext(name)); err != nil {
		return pathErr("remove", name, err)
	}
	if m.names[name] == nil {
		return pathErr("remove", name, fs.ErrNotExist)
	}
	m.del(name)
	return nil
}

func (m *memFS) Rename(oldName, newName string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rename("rename", oldName, newName)
}

func (m *memFS) RenameNew(oldName, newName string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names[newName] != nil {
		return pathErr("rename", newName, fs.ErrExist)
	}
	return m.rename("renamenew", oldName, newName)
}

func (m *memFS) rename(op, oldName, newName string) error {
	if err := m.call(op + " " + filepath.Ext(newName)); err != nil {
		return pathErr(op, newName, err)
	}
	n := m.names[oldName]
	if n == nil {
		return pathErr(op, oldName, fs.ErrNotExist)
	}
	m.names[newName] = n
	delete(m.names, oldName)
	m.journal = append(m.journal, func() { m.durable[newName] = n; delete(m.durable, oldName) })
	if m.check != nil {
		m.check(newName, n.data)
	}
	return nil
}

func (m *memFS) SyncDir(string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.call("syncdir"); err != nil {
		return err
	}
	for _, do := range m.journal {
		do()
	}
	m.journal = nil
	return nil
}

func (m *memFS) Chtimes(name string, t time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.call("chtimes"); err != nil {
		return err
	}
	m.names[name].mtime = t
	return nil
}

func (m *memFS) Lock(name string) (func() error, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.call("lock"); err != nil || m.locks[name] {
		return nil, err
	}
	m.locks[name] = true
	return func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		err := m.call("unlock")
		delete(m.locks, name)
		return err
	}, nil
}

type memHandle struct {
	m    *memFS
	n    *inode
	kind string
}

func (h *memHandle) enter(op string) (func(), error) {
	h.m.mu.Lock()
	if err := h.m.call(op + " " + h.kind); err != nil {
		h.m.mu.Unlock()
		return nil, err
	}
	return h.m.mu.Unlock, nil
}

func (h *memHandle) ReadAt(p []byte, off int64) (int, error) {
	leave, err := h.enter("read")
	if err != nil {
		return 0, err
	}
	defer leave()
	if off >= int64(len(h.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, h.n.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *memHandle) WriteAt(p []byte, off int64) (int, error) {
	leave, err := h.enter("write")
	if err != nil {
		return 0, err
	}
	defer leave()
	h.n.data = resized(h.n.data, max(len(h.n.data), int(off)+len(p)))
	copy(h.n.data[off:], p)
	for i := off / page; i*page < off+int64(len(p)); i++ {
		h.n.dirty[i], h.n.stored[i] = true, true
	}
	return len(p), nil
}

func (h *memHandle) Sync() error {
	leave, err := h.enter("sync")
	if err != nil {
		h.m.mu.Lock()
		defer h.m.mu.Unlock()
		if h.m.diesAt == 0 || h.m.calls < h.m.diesAt {
			h.n.dirty = map[int64]bool{} // lost, and nobody will hear of it again
		}
		return err
	}
	defer leave()
	disk := resized(h.n.disk, len(h.n.data))
	for p := range h.n.dirty {
		if p*page < int64(len(disk)) {
			copy(disk[p*page:min(int64(len(disk)), (p+1)*page)], h.n.data[p*page:])
		}
	}
	h.n.disk, h.n.dirty = disk, map[int64]bool{}
	return nil
}

// resized returns b with n bytes, zeros at its end.
func resized(b []byte, n int) []byte {
	if len(b) == n {
		return b
	}
	out := make([]byte, n)
	copy(out, b)
	return out
}

func (h *memHandle) Truncate(size int64) error { return h.Allocate(size) }

func (h *memHandle) Allocate(size int64) error {
	leave, err := h.enter("allocate")
	if err != nil {
		return err
	}
	defer leave()
	h.n.data = resized(h.n.data, int(size))
	return nil
}

func (h *memHandle) NextData(off int64) (start, end int64, err error) {
	leave, err := h.enter("nextdata")
	if err != nil {
		return 0, 0, err
	}
	defer leave()
	size := int64(len(h.n.data))
	for off < size && !h.n.stored[off/page] {
		off = (off/page + 1) * page
	}
	if off >= size {
		return 0, 0, io.EOF
	}
	end = off
	for end < size && h.n.stored[end/page] {
		end = (end/page + 1) * page
	}
	return off, min(end, size), nil
}

func (h *memHandle) Stat() (fs.FileInfo, error) {
	leave, err := h.enter("stat")
	if err != nil {
		return nil, err
	}
	defer leave()
	return memInfo{h.n, ""}, nil
}

func (h *memHandle) Chmod(mode fs.FileMode) error {
	leave, err := h.enter("chmod")
	if err != nil {
		return err
	}
	defer leave()
	h.n.mode = mode
	return nil
}

func (h *memHandle) Close() error {
	leave, err := h.enter("close")
	if err != nil {
		return err
	}
	leave()
	return nil
}

type memInfo struct {
	n    *inode
	name string
}

func (i memInfo) Name() string       { return filepath.Base(i.name) }
func (i memInfo) Size() int64        { return int64(len(i.n.data)) }
func (i memInfo) Mode() fs.FileMode  { return i.n.mode }
func (i memInfo) ModTime() time.Time { return i.n.mtime }
func (i memInfo) IsDir() bool        { return false }
func (i memInfo) Sys() any           { return i.n }

// bytesOf returns what stands at name, or nil.
func (m *memFS) bytesOf(name string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.names[name]; n != nil {
		return append([]byte{}, n.data...)
	}
	return nil
}

// leftovers returns all names but the given one.
func (m *memFS) leftovers(but string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for name := range m.names {
		if name != but {
			out = append(out, name)
		}
	}
	return out
}

var _ FS = (*memFS)(nil)

// neverWrong makes the file system cry out the moment that wrong bytes stand
// under the final name.
func (m *memFS) neverWrong(t testing.TB, target string, want []byte) {
	m.check = func(name string, got []byte) {
		if name == target && !bytes.Equal(got, want) {
			t.Errorf("wrong bytes under the final name")
		}
	}
}
