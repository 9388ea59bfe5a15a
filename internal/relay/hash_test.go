package relay

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/blob"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/span"
)

// memFile is a blob.File in memory.
type memFile struct {
	mu   sync.Mutex
	data []byte
}

func (m *memFile) ReadAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if off >= int64(len(m.data)) {
		return 0, io.EOF
	}
	n := copy(p, m.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (m *memFile) WriteAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if grow := off + int64(len(p)) - int64(len(m.data)); grow > 0 {
		m.data = append(m.data, make([]byte, grow)...)
	}
	return copy(m.data[off:], p), nil
}

func (m *memFile) Sync() error  { return nil }
func (m *memFile) Close() error { return nil }

func hashing(size int64) (*hasher, *live) {
	lv := &live{body: blob.NewBody(blob.Parts{Data: &memFile{}, Sums: &memFile{}}, size), checked: make(chan struct{})}
	close(lv.checked)
	return newHasher(&Relay{}, lv), lv
}

// TestHasherSumsEveryChunk has the last byte of a file arrive at any moment of
// the hasher's step: when the whole is hashed, each chunk is as well.
func TestHasherSumsEveryChunk(t *testing.T) {
	t.Parallel()
	for round := range 500 {
		h, lv := hashing(1)
		h.buf = make([]byte, 1)
		var wg sync.WaitGroup
		wg.Go(func() {
			for range round % 50 {
				lv.body.Received() // takes about as long as a part of a step
			}
			if _, err := lv.body.WriteAt([]byte{1}, 0); err != nil {
				t.Error(err)
			}
		})
		for h.fed == 0 {
			if _, err := h.step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		wg.Wait()
		if _, ok := lv.body.Sum(0); !ok {
			t.Fatalf("round %d: the whole is hashed, its only chunk is not", round)
		}
	}
}

// TestHasherInAnyOrder writes chunks from the back to the front.
func TestHasherInAnyOrder(t *testing.T) {
	t.Parallel()
	const size = 3*mib + 10
	whole := make([]byte, size)
	for i := range whole {
		whole[i] = byte(i / 1000)
	}
	h, lv := hashing(job.UnknownSize)
	var wg sync.WaitGroup
	wg.Go(func() { h.run(t.Context()) })
	for _, sp := range []span.Span{{Start: 2*mib + 5, End: size}, {Start: mib, End: 2 * mib}, {End: mib}, {Start: 2 * mib, End: 2*mib + 5}} {
		if _, err := lv.body.WriteAt(whole[sp.Start:sp.End], sp.Start); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the whole chunks are hashed", func() bool { n := h.r.hashedOf(lv); return n.Len() == 3 })
	if err := lv.body.Finish(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	want := sha256.Sum256(whole)
	if h.err != nil || h.sum != hex.EncodeToString(want[:]) || len(lv.body.Sums(0, 0)) != 4 {
		t.Errorf("the whole is %s, %v, with %d sums", h.sum, h.err, len(lv.body.Sums(0, 0)))
	}
}

func TestHasherEndsWithTheBody(t *testing.T) {
	t.Parallel()
	h, lv := hashing(10)
	lv.body.Abort(errBroken)
	h.run(t.Context())
	if !errors.Is(h.err, errBroken) {
		t.Errorf("ended with %v", h.err)
	}
}

func TestMeter(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var m meter
	if got := m.rate(start); got != 0 {
		t.Errorf("before anything the rate is %v", got)
	}
	for i := range 20 {
		m.add(start.Add(time.Duration(i)*500*time.Millisecond), 500)
	}
	if got := m.rate(start.Add(10 * time.Second)); got < 900 || got > 1100 {
		t.Errorf("1000 bytes a second are measured as %v", got)
	}
	if got := m.rate(start.Add(time.Minute)); got != 0 {
		t.Errorf("long after the last byte the rate is %v", got)
	}
	var odd meter
	odd.add(time.Unix(-7, 0), 100) // a clock that was never set
	if got := odd.rate(time.Unix(-7, 0)); got <= 0 {
		t.Errorf("before 1970 the rate is %v", got)
	}
}
