package partial

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/span"
)

func readAll(t *testing.T, f *File, size int64) []byte {
	t.Helper()
	var out []byte
	buf := make([]byte, 300_000)
	for {
		n, err := f.ReadVerified(t.Context(), buf, int64(len(out)))
		out = append(out, buf[:n]...)
		if errors.Is(err, io.EOF) {
			if int64(len(out)) != size {
				t.Fatalf("the end came after %d bytes, want %d", len(out), size)
			}
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestUnknownSize(t *testing.T) {
	obj := newObject(2<<20+77, 1)
	dir := t.TempDir()
	f, err := Open(t.Context(), Options{Target: filepath.Join(dir, "f.bin"), URL: testURL})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.SetObject(obj.id, job.UnknownSize); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, f, obj, 0, 2<<20+77)
	if err := f.SetSums(0, obj.sums[:2]); err != nil {
		t.Fatal(err)
	}
	await(t, f, func() bool { return f.Verified() == 2<<20 })
	if f.Complete() || f.Size() != job.UnknownSize {
		t.Error("complete without a size")
	}
	_, _, err = f.Finish(t.Context(), FinishOptions{})
	wantKind(t, err, KindIncomplete)
	wantKind(t, f.SetObject(obj.id, 1<<20), KindUsage)
	if err := f.SetObject(obj.id, obj.size()); err != nil {
		t.Fatal(err)
	}
	wantKind(t, f.SetObject(obj.id, obj.size()+1), KindUsage)
	if err := f.SetSums(2, obj.sums[2:]); err != nil {
		t.Fatal(err)
	}
	path, sum, err := f.Finish(t.Context(), FinishOptions{})
	if err != nil || sum != obj.sha {
		t.Fatalf("sum %s, error %v", sum, err)
	}
	wantFile(t, path, obj.data)
}

func TestMisuseIsRefused(t *testing.T) {
	obj := newObject(1000, 2)
	target := filepath.Join(t.TempDir(), "f.bin")
	f, err := Open(t.Context(), Options{Target: target, URL: testURL})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = f.WriteAt([]byte{1}, 0)
	wantKind(t, err, KindUsage)
	wantKind(t, f.SetSums(0, obj.sums), KindUsage)
	if err := f.SetObject(obj.id, 1000); err != nil {
		t.Fatal(err)
	}
	for _, off := range []int64{-1, 1000, 1 << 40} {
		_, err = f.WriteAt([]byte{1}, off)
		wantKind(t, err, KindUsage)
	}
	wantKind(t, f.SetSums(1, obj.sums), KindUsage)
	wantKind(t, f.SetSums(-1, obj.sums), KindUsage)
	if err := f.SetSums(0, obj.sums); err != nil {
		t.Fatal(err)
	}
	wantKind(t, f.SetSums(0, [][32]byte{{1}}), KindUsage)
	if err := f.Err(); err != nil {
		t.Errorf("misuse ended the file: %v", err)
	}
	_, err = Open(t.Context(), Options{Target: "dir/..", URL: testURL})
	wantKind(t, err, KindUsage)
}

// A wrong chunk is dropped and reported; a late duplicate of a verified chunk,
// with whatever bytes, changes nothing.
func TestWrongBytesAreDroppedAndVerifiedOnesStay(t *testing.T) {
	obj := newObject(2<<20, 3)
	dropped := make(chan Mismatch, 10)
	target := filepath.Join(t.TempDir(), "f.bin")
	f := ready(t, Options{Target: target, OnMismatch: func(m Mismatch) { dropped <- m }}, obj)
	if err := f.SetSums(0, obj.sums); err != nil {
		t.Fatal(err)
	}
	garbage := make([]byte, 1<<20)
	for times := 1; times <= 2; times++ {
		if _, err := f.WriteAt(garbage, 0); err != nil {
			t.Fatal(err)
		}
		if m := <-dropped; m != (Mismatch{0, false, times}) {
			t.Errorf("dropped %v", m)
		}
		if m := f.Missing(span.Span{End: 1 << 20}); len(m) != 1 || m[0].Len() != 1<<20 {
			t.Errorf("missing %v", m)
		}
	}
	mustWrite(t, f, obj, 0, 2<<20)
	await(t, f, f.Complete)
	if _, err := f.WriteAt(garbage, 100); err != nil {
		t.Fatal(err)
	}
	path, _, err := f.Finish(t.Context(), FinishOptions{SHA256: obj.sha})
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, obj.data)
}

// The origin's file changed: no chunk of the old version gets into the new one,
// and chunks that both have are not fetched twice.
func TestNewObjectStartsOver(t *testing.T) {
	old, now := newObject(3<<20, 4), newObject(3<<20+500, 5)
	copy(now.data[1<<20:2<<20], old.data[1<<20:])
	now.sums[1] = old.sums[1]
	target := filepath.Join(t.TempDir(), "f.bin")
	var fetched int64
	f := ready(t, Options{Target: target}, old)
	if err := feed(t.Context(), f, old, &fetched); err != nil {
		t.Fatal(err)
	}
	fetched = 0
	if err := feed(t.Context(), f, now, &fetched); err != nil {
		t.Fatal(err)
	}
	path, _, err := f.Finish(t.Context(), FinishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, now.data)
	if fetched != 2<<20+500 {
		t.Errorf("fetched %d bytes, want all but one chunk", fetched)
	}
}

func TestChecksums(t *testing.T) {
	obj := newObject(1<<20+1, 6)
	md, sha := md5.Sum(obj.data), sha512.Sum512(obj.data)
	right := map[string]string{
		"sha-256": obj.sha, "MD5": hex.EncodeToString(md[:]), "sha512": hex.EncodeToString(sha[:]),
	}
	target := filepath.Join(t.TempDir(), "f.bin")
	wrong := map[string]string{"md5": "00112233445566778899aabbccddeeff"}
	_, err := download(Options{Target: target, Checksums: wrong}, obj)
	wantKind(t, err, KindChecksum)
	wantNames(t, filepath.Dir(target), "f.bin.jumpget-part", "f.bin.jumpget-state")
	res, err := download(Options{Target: target, Checksums: right}, obj)
	if err != nil {
		t.Fatal(err)
	}
	if res.fetched > 0 {
		t.Errorf("fetched %d bytes anew", res.fetched)
	}
	wantFile(t, target, obj.data)
	for algorithm, text := range map[string]string{"crc32": "00", "md5": "zz", "sha1": "00"} {
		_, err := Open(t.Context(), Options{Target: target, URL: testURL, Checksums: map[string]string{algorithm: text}})
		wantKind(t, err, KindUsage)
	}
}

func TestWholeThatDiffersFromTheRelays(t *testing.T) {
	obj := newObject(100, 7)
	obj.sha = hex.EncodeToString(make([]byte, 32))
	target := filepath.Join(t.TempDir(), "f.bin")
	_, err := download(Options{Target: target}, obj)
	wantKind(t, err, KindCorrupt)
	wantNames(t, filepath.Dir(target), "f.bin.jumpget-part", "f.bin.jumpget-state")
}

func TestReadVerifiedWaitsForVerification(t *testing.T) {
	obj := newObject(2<<20, 8)
	f := ready(t, Options{Target: filepath.Join(t.TempDir(), "f.bin")}, obj)
	mustWrite(t, f, obj, 0, 2<<20)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.ReadVerified(ctx, make([]byte, 10), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("read before there was a sum: %v", err)
	}
	got := make(chan []byte)
	go func() { got <- readAll(t, f, obj.size()) }()
	if err := f.SetSums(1, obj.sums[1:]); err != nil {
		t.Fatal(err)
	}
	await(t, f, func() bool { return f.Verified() == 1<<20 })
	if err := f.SetSums(0, obj.sums[:1]); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(<-got, obj.data) {
		t.Error("wrong bytes")
	}
}

func TestCloseEndsEveryWait(t *testing.T) {
	obj := newObject(1<<20, 9)
	f := ready(t, Options{Target: filepath.Join(t.TempDir(), "f.bin")}, obj)
	mustWrite(t, f, obj, 0, 1<<20)
	errs := make(chan error, 2)
	go func() { _, err := f.ReadVerified(t.Context(), make([]byte, 1), 0); errs <- err }()
	go func() { _, _, err := f.Finish(t.Context(), FinishOptions{}); errs <- err }()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		wantKind(t, <-errs, KindClosed)
	}
}

// Checkpoints come by bytes and by time, without anybody asking.
func TestCheckpoints(t *testing.T) {
	obj := newObject(4<<20, 10)
	for name, o := range map[string]Options{
		"by bytes": {checkpointBytes: 1 << 20, checkpointEvery: time.Hour},
		"by time":  {checkpointEvery: time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			o.Target = filepath.Join(t.TempDir(), "f.bin")
			f := ready(t, o, obj)
			mustWrite(t, f, obj, 0, 1<<20)
			for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
				s, err := loadState(OS{}, f.Target()+StateSuffix)
				if err == nil && len(s.Stored) == 1 && s.Stored[0] == [2]int64{0, 1 << 20} {
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("no checkpoint; the state is %v, %v", s, err)
				}
			}
		})
	}
}

// Many writers with duplicates and damaged bytes, readers, and sums that come
// late, all at once. Under -race this is the test of the locking.
func TestConcurrentWriters(t *testing.T) {
	obj := newObject(8<<20+321, 11)
	target := filepath.Join(t.TempDir(), "f.bin")
	f := ready(t, Options{Target: target, checkpointBytes: 1 << 20}, obj)
	var group sync.WaitGroup
	for seed := range uint64(4) {
		group.Go(func() { scribble(t, f, obj, rand.New(rand.NewPCG(seed, 1))) })
	}
	group.Go(func() {
		for i := range obj.sums {
			if err := f.SetSums(i, obj.sums[i:i+1]); err != nil {
				t.Error(err)
			}
		}
	})
	read := make(chan []byte, 1)
	go func() { read <- readAll(t, f, obj.size()) }()
	group.Wait()
	var n int64
	if err := feed(t.Context(), f, obj, &n); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(<-read, obj.data) {
		t.Error("the reader saw wrong bytes")
	}
	path, _, err := f.Finish(t.Context(), FinishOptions{SHA256: obj.sha})
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, obj.data)
}

func scribble(t *testing.T, f *File, obj object, rng *rand.Rand) {
	for range 60 {
		start := rng.Int64N(obj.size())
		end := min(obj.size(), start+1+rng.Int64N(700_000))
		p := bytes.Clone(obj.data[start:end])
		if rng.IntN(4) == 0 {
			p[rng.IntN(len(p))] ^= 1
		}
		if _, err := f.WriteAt(p, start); err != nil {
			t.Error(err)
			return
		}
		f.Missing(span.Span{End: obj.size()})
	}
}

// TestAgainstModel does random things in random order, closing and opening
// again in between, and compares with a set of the bytes that must be there.
func TestAgainstModel(t *testing.T) {
	const size = 1<<20 + 100_000
	obj := newObject(size, 12)
	rapid.Check(t, func(t *rapid.T) {
		m := newMemFS()
		o := Options{Target: memTarget, URL: testURL, FS: m}
		f := modelOpen(t, o, obj)
		defer func() { _ = f.Close() }()
		var written span.Set
		span2 := func() (int64, int64) {
			a := rapid.Int64Range(0, size).Draw(t, "from")
			b := rapid.Int64Range(0, size).Draw(t, "to")
			return min(a, b), max(a, b)
		}
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				a, b := span2()
				if _, err := f.WriteAt(obj.data[a:b], a); err != nil {
					t.Fatal(err)
				}
				written.Add(span.Span{Start: a, End: b})
			},
			"sum": func(t *rapid.T) {
				i := rapid.IntRange(0, len(obj.sums)-1).Draw(t, "chunk")
				if err := f.SetSums(i, obj.sums[i:i+1]); err != nil {
					t.Fatal(err)
				}
			},
			"reopen": func(t *rapid.T) {
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
				f = modelOpen(t, o, obj)
			},
			"": func(t *rapid.T) {
				if f.Have() != written.Len() || f.Verified() > f.Have() {
					t.Fatalf("have %d, verified %d, want %d", f.Have(), f.Verified(), written.Len())
				}
			},
		})
		var n int64
		if err := feed(context.Background(), f, obj, &n); err != nil {
			t.Fatal(err)
		}
		if _, sum, err := f.Finish(context.Background(), FinishOptions{}); err != nil || sum != obj.sha {
			t.Fatalf("sum %s, error %v", sum, err)
		}
		if !bytes.Equal(m.bytesOf(memTarget), obj.data) {
			t.Fatal("wrong bytes")
		}
	})
}

func modelOpen(t *rapid.T, o Options, obj object) *File {
	f, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.SetObject(obj.id, obj.size()); err != nil {
		t.Fatal(err)
	}
	return f
}

func FuzzDecodeState(f *testing.F) {
	s := state{Format: stateFormat, URL: "u", URLHash: hashURL("u"), Size: 5, Stored: [][2]int64{{0, 5}}}
	good, err := s.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("{}\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeState(b)
		if err != nil {
			return
		}
		stored := s.stored()
		for _, sp := range stored.Spans() {
			if sp.Start < 0 || sp.Len() == 0 {
				t.Fatalf("stored %v", sp)
			}
		}
	})
}

// BenchmarkFile is the whole way of 1 GiB with four writers, without network.
func BenchmarkFile(b *testing.B) {
	const piece = 256 << 10
	chunk := newObject(job.ChunkSize, 1)
	const chunks = 1024
	sums := make([][32]byte, chunks)
	for i := range sums {
		sums[i] = chunk.sums[0]
	}
	b.SetBytes(chunks * job.ChunkSize)
	for b.Loop() {
		f, err := Open(b.Context(), Options{Target: filepath.Join(b.TempDir(), "f"), URL: testURL})
		if err != nil {
			b.Fatal(err)
		}
		if err := f.SetObject(chunk.id, chunks*job.ChunkSize); err != nil {
			b.Fatal(err)
		}
		if err := f.SetSums(0, sums); err != nil {
			b.Fatal(err)
		}
		next := make(chan int64)
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				for off := range next {
					for at := int64(0); at < 4<<20; at += piece {
						in := at % job.ChunkSize
						if _, err := f.WriteAt(chunk.data[in:in+piece], off+at); err != nil {
							b.Error(err)
						}
					}
				}
			})
		}
		for off := int64(0); off < chunks*job.ChunkSize; off += 4 << 20 {
			next <- off
		}
		close(next)
		group.Wait()
		if _, _, err := f.Finish(b.Context(), FinishOptions{}); err != nil {
			b.Fatal(err)
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
