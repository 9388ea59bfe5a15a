package growfile_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/jumpget/jumpget/internal/growfile"
	"github.com/jumpget/jumpget/internal/span"
)

// BenchmarkCutThrough measures a file on disk with 4 writers and 4 readers at
// once; the rate is of bytes written, each of which is read four times.
func BenchmarkCutThrough(b *testing.B) {
	const size, block, writers, readers = 128 << 20, 64 << 10, 4, 4
	disk, err := os.Create(filepath.Join(b.TempDir(), "body"))
	if err != nil {
		b.Fatal(err)
	}
	defer disk.Close()
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		f := growfile.New(disk, size, span.Set{})
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				p := make([]byte, block)
				for off := int64(w) * block; off < size; off += writers * block {
					if _, err := f.WriteAt(p, off); err != nil {
						b.Error(err)
					}
				}
			})
		}
		for range readers {
			wg.Go(func() {
				p := make([]byte, 256<<10)
				n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, f.Reader(b.Context(), span.Span{End: size}), p)
				if n != size || err != nil {
					b.Error(n, err)
				}
			})
		}
		wg.Wait()
	}
}

// BenchmarkSleepers measures a write while a thousand readers sleep elsewhere.
func BenchmarkSleepers(b *testing.B) {
	f := growfile.New(discard{}, 1<<50, span.Set{})
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	for i := range int64(1000) {
		wg.Go(func() { _ = f.Wait(ctx, span.Span{Start: 1<<49 + i, End: 1<<49 + i + 1}) })
	}
	p := make([]byte, 64<<10)
	off := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.WriteAt(p, off); err != nil {
			b.Fatal(err)
		}
		off += int64(len(p))
	}
	cancel()
	wg.Wait()
}

type discard struct{}

func (discard) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (discard) ReadAt(p []byte, _ int64) (int, error)  { return len(p), nil }
