package blob_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/jumpget/jumpget/internal/blob"
	"github.com/jumpget/jumpget/internal/blob/blobtest"
	"github.com/jumpget/jumpget/internal/span"
)

// page is the unit in which a memory disk loses or keeps what was not synced.
const page = 1 << 16

// memFile is a file on a disk that can fail and lose power.
type memFile struct {
	mu       sync.Mutex
	now      []byte           // what a reader sees
	durable  []byte           // what a power loss can't take
	pending  map[int]struct{} // pages that differ
	readErr  error
	writeErr error
	syncErr  error
	syncs    int
}

func newMem(now []byte) *memFile {
	return &memFile{now: now, durable: bytes.Clone(now), pending: map[int]struct{}{}}
}

func (m *memFile) ReadAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.readErr != nil {
		return 0, m.readErr
	}
	return bytes.NewReader(m.now).ReadAt(p, off)
}

func (m *memFile) WriteAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.writeErr != nil {
		return 0, m.writeErr
	}
	end := int(off) + len(p)
	if end > len(m.now) {
		m.now = append(m.now, make([]byte, end-len(m.now))...)
	}
	copy(m.now[off:], p)
	for i := int(off) / page; i*page < end; i++ {
		m.pending[i] = struct{}{}
	}
	return len(p), nil
}

// Sync is the kernel's: when it fails, the pages count as clean all the same.
func (m *memFile) Sync() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.syncs++
	if m.syncErr == nil {
		m.durable = bytes.Clone(m.now)
	}
	clear(m.pending)
	return m.syncErr
}

func (m *memFile) Close() error { return nil }

// powerLoss returns what is on the disk afterwards: all that was synced, and
// of the rest any pages the disk happened to have written.
func (m *memFile) powerLoss(survives func(page int) bool) *memFile {
	left := bytes.Clone(m.durable)
	for _, i := range slices.Sorted(maps.Keys(m.pending)) {
		if !survives(i) {
			continue
		}
		if end := min(len(m.now), (i+1)*page); end > len(left) {
			left = append(left, make([]byte, end-len(left))...)
		}
		copy(left[i*page:], m.now[i*page:min(len(m.now), (i+1)*page)])
	}
	return newMem(left)
}

// After a power loss at any moment, with any part of what was not synced on
// disk, a body has everything of its last Sync and not one wrong byte.
func TestPowerLoss(t *testing.T) {
	content := blobtest.Bytes(2*blob.ChunkSize + 12345)
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]int64{int64(len(content)), blob.UnknownSize}).Draw(t, "size")
		data, sums := newMem(nil), newMem(nil)
		b := blob.NewBody(blob.Parts{Data: data, Sums: sums}, size)
		var safe span.Set
		for range rapid.IntRange(1, 10).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0, 1:
				writeSome(t, b, content)
			case 2:
				sumAll(b, content)
			case 3:
				if err := b.Sync(t.Context()); err != nil {
					t.Fatal(err)
				}
				safe = summed(b, content)
			}
		}
		survives := func(int) bool { return rapid.Bool().Draw(t, "survives") }
		checkRecovered(t, data.powerLoss(survives), sums.powerLoss(survives), safe, content)
	})
}

func writeSome(t *rapid.T, b *blob.Body, content []byte) {
	start := rapid.IntRange(0, len(content)/page).Draw(t, "start") * page
	end := min(len(content), start+rapid.IntRange(1, 16).Draw(t, "pages")*page)
	if _, err := b.WriteAt(content[start:end], int64(start)); err != nil {
		t.Fatal(err)
	}
	if end == len(content) {
		if err := b.SetSize(int64(end)); err != nil {
			t.Fatal(err)
		}
	}
}

func chunkOf(content []byte, i int) span.Span {
	return span.Span{Start: int64(i) * blob.ChunkSize, End: min(int64(len(content)), int64(i+1)*blob.ChunkSize)}
}

func sumAll(b *blob.Body, content []byte) {
	for i := range (len(content) + blob.ChunkSize - 1) / blob.ChunkSize {
		sp := chunkOf(content, i)
		_ = b.SetSum(i, sha256.Sum256(content[sp.Start:sp.End])) // refused if it is not there
	}
}

func summed(b *blob.Body, content []byte) (s span.Set) {
	for i := range 3 {
		if _, ok := b.Sum(i); ok {
			s.Add(chunkOf(content, i))
		}
	}
	return s
}

func checkRecovered(t *rapid.T, data, sums *memFile, safe span.Set, content []byte) {
	b, err := blob.LoadBody(blob.Parts{Data: data, Sums: sums}, int64(len(data.now)))
	if err != nil {
		t.Fatal(err)
	}
	have, err := b.Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, sp := range safe.Spans() {
		if !have.Contains(sp) {
			t.Fatalf("lost %v that was synced; has %v", sp, have.Spans())
		}
	}
	for _, sp := range have.Spans() {
		got := make([]byte, sp.Len())
		if _, err := io.ReadFull(b.Reader(t.Context(), sp), got); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, content[sp.Start:sp.End]) {
			t.Fatalf("wrong bytes in %v", sp)
		}
	}
}

// EIO on fsync: the body is poisoned and nobody asks the same pages again.
func TestFailedFsyncPoisons(t *testing.T) {
	for _, which := range []string{"data", "sums", "names"} {
		t.Run(which, func(t *testing.T) {
			data, sums := newMem(nil), newMem(nil)
			parts := blob.Parts{Data: data, Sums: sums}
			names := 0
			switch which {
			case "data":
				data.syncErr = syscall.EIO
			case "sums":
				sums.syncErr = syscall.EIO
			case "names":
				parts.SyncNames = func() error { names++; return syscall.EIO }
			}
			b := blob.NewBody(parts, 10)
			if _, err := b.WriteAt([]byte("0123456789"), 0); err != nil {
				t.Fatal(err)
			}
			err := b.Sync(t.Context())
			if !errors.Is(err, blob.ErrPoisoned) || !errors.Is(err, syscall.EIO) {
				t.Fatalf("error is %v", err)
			}
			syncs := data.syncs + sums.syncs + names
			data.syncErr, sums.syncErr = nil, nil
			if err := b.Sync(t.Context()); !errors.Is(err, blob.ErrPoisoned) {
				t.Errorf("the second Sync says %v", err)
			}
			if data.syncs+sums.syncs+names != syncs {
				t.Error("an fsync was tried again")
			}
			if _, err := b.ReadAt(t.Context(), make([]byte, 1), 0); !errors.Is(err, blob.ErrPoisoned) {
				t.Errorf("a reader gets %v", err)
			}
			if _, err := b.WriteAt([]byte("0"), 0); !errors.Is(err, blob.ErrPoisoned) {
				t.Errorf("a writer gets %v", err)
			}
		})
	}
}

// After a failed fsync of the data no sum on disk speaks of the lost pages.
func TestFailedFsyncClaimsNothing(t *testing.T) {
	content := blobtest.Bytes(2 * blob.ChunkSize)
	data, sums := newMem(nil), newMem(nil)
	b := blob.NewBody(blob.Parts{Data: data, Sums: sums}, int64(len(content)))
	for i := range 2 {
		sp := chunkOf(content, i)
		if _, err := b.WriteAt(content[sp.Start:sp.End], sp.Start); err != nil {
			t.Fatal(err)
		}
		sumAll(b, content)
		if i == 1 {
			data.syncErr = syscall.EIO
		}
		if err := b.Sync(t.Context()); (err != nil) != (i == 1) {
			t.Fatal(err)
		}
	}
	again, err := blob.LoadBody(blob.Parts{Data: data, Sums: sums}, int64(len(data.now)))
	if err != nil {
		t.Fatal(err)
	}
	have, err := again.Verify(t.Context())
	if err != nil || have.Len() != blob.ChunkSize {
		t.Errorf("the page cache's copy of the lost chunk was believed: %v %v", have.Spans(), err)
	}
}

// A full disk under the sums is no poison: after room is made it goes on.
func TestSumsOnFullDisk(t *testing.T) {
	data, sums := newMem(nil), newMem(nil)
	b := blob.NewBody(blob.Parts{Data: data, Sums: sums}, 10)
	if _, err := b.WriteAt([]byte("0123456789"), 0); err != nil {
		t.Fatal(err)
	}
	sumAll(b, []byte("0123456789"))
	sums.writeErr = syscall.ENOSPC
	if err := b.Sync(t.Context()); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("error is %v", err)
	}
	sums.writeErr = nil
	if err := b.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	again, err := blob.LoadBody(blob.Parts{Data: data, Sums: sums}, 10)
	if err != nil {
		t.Fatal(err)
	}
	if have, err := again.Verify(t.Context()); err != nil || have.Len() != 10 {
		t.Errorf("has %v, %v", have.Spans(), err)
	}
}

// EIO on reading is told, not taken for a chunk that just does not match.
func TestReadErrorsAreTold(t *testing.T) {
	data, sums := newMem(nil), newMem(nil)
	b := blob.NewBody(blob.Parts{Data: data, Sums: sums}, 10)
	if _, err := b.WriteAt([]byte("0123456789"), 0); err != nil {
		t.Fatal(err)
	}
	sumAll(b, []byte("0123456789"))
	if err := b.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	again, err := blob.LoadBody(blob.Parts{Data: data, Sums: sums}, 10)
	if err != nil {
		t.Fatal(err)
	}
	data.readErr = syscall.EIO
	if _, err := again.Verify(t.Context()); !errors.Is(err, syscall.EIO) {
		t.Errorf("Verify says %v", err)
	}
	sums.readErr = syscall.EIO
	if _, err := blob.LoadBody(blob.Parts{Data: data, Sums: sums}, 10); !errors.Is(err, syscall.EIO) {
		t.Errorf("LoadBody says %v", err)
	}
}

// FuzzSums feeds any bytes as list of sums. Nothing may break, and what does
// not match is not there.
func FuzzSums(f *testing.F) {
	content := blobtest.Bytes(3000)
	sums := newMem(nil)
	b := blob.NewBody(blob.Parts{Data: newMem(nil), Sums: sums}, 3000)
	if _, err := b.WriteAt(content, 0); err != nil {
		f.Fatal(err)
	}
	sumAll(b, content)
	if err := b.Sync(f.Context()); err != nil {
		f.Fatal(err)
	}
	f.Add(sums.now)
	f.Add(sums.now[:70])
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 200))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := blob.LoadBody(blob.Parts{Data: newMem(content), Sums: newMem(raw)}, 3000)
		if err != nil {
			t.Fatal(err)
		}
		have, err := b.Verify(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n := have.Len(); n != 0 && n != 3000 {
			t.Errorf("%d bytes are there", n)
		}
	})
}
