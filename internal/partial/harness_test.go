package partial

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/span"
)

const (
	testURL  = "https://user:secret@origin.example/dir/f.bin?token=secret"
	otherURL = "https://origin.example/other"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// object is what the relay would bring.
type object struct {
	id   job.ID
	data []byte
	sums [][32]byte
	sha  string
}

func newObject(size int, seed uint64) object {
	data := make([]byte, size)
	var key [32]byte
	key[0] = byte(seed)
	_, _ = rand.NewChaCha8(key).Read(data)
	sum := sha256.Sum256(data)
	o := object{id: job.NewID(), data: data, sha: hex.EncodeToString(sum[:])}
	for at := 0; at < size; at += job.ChunkSize {
		o.sums = append(o.sums, sha256.Sum256(data[at:min(size, at+job.ChunkSize)]))
	}
	return o
}

func (o object) size() int64 { return int64(len(o.data)) }

// result is what one run of the imagined engine did.
type result struct {
	path    string
	fetched int64 // bytes written
	dropped []Mismatch
}

// download is the engine reduced to what matters here: it fetches what is
// missing until the file is complete, and finishes. Like the engine it ends at
// the first error.
func download(o Options, obj object) (res result, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	o.URL = testURL
	o.OnMismatch = func(m Mismatch) { res.dropped = append(res.dropped, m) }
	f, err := Open(ctx, o)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := feed(ctx, f, obj, &res.fetched); err != nil {
		return res, err
	}
	path, sum, err := f.Finish(ctx, FinishOptions{SHA256: obj.sha, ModTime: time.Unix(1e9, 0)})
	if err == nil && sum != obj.sha {
		err = errors.New("Finish tells a wrong hash")
	}
	res.path = path
	return res, err
}

// feed brings f to completeness with writes of half chunks.
func feed(ctx context.Context, f *File, obj object, fetched *int64) error {
	if err := f.SetObject(obj.id, obj.size()); err != nil {
		return err
	}
	if err := f.SetSums(0, obj.sums); err != nil {
		return err
	}
	for !f.Complete() {
		changed := f.Changed()
		if err := f.Err(); err != nil {
			return err
		}
		missing := f.Missing(span.Span{End: obj.size()})
		for _, s := range missing {
			for ; s.Start < s.End; s.Start += job.ChunkSize / 2 {
				end := min(s.End, s.Start+job.ChunkSize/2)
				n, err := f.WriteAt(obj.data[s.Start:end], s.Start)
				if err != nil {
					return err
				}
				*fetched += int64(n)
			}
		}
		if len(missing) > 0 || f.Complete() {
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// ready opens a file on the real disk that knows its object.
func ready(t *testing.T, o Options, obj object) *File {
	t.Helper()
	if o.URL == "" {
		o.URL = testURL
	}
	f, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if err := f.SetObject(obj.id, obj.size()); err != nil {
		t.Fatal(err)
	}
	return f
}

// await waits until ok holds.
func await(t *testing.T, f *File, ok func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		changed := f.Changed()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("waited in vain; error: %v, verified: %d", f.Err(), f.Verified())
		}
	}
}

func mustWrite(t *testing.T, f *File, obj object, start, end int) {
	t.Helper()
	if _, err := f.WriteAt(obj.data[start:end], int64(start)); err != nil {
		t.Fatal(err)
	}
}

func wantKind(t *testing.T, err error, kind Kind) {
	t.Helper()
	if KindOf(err) != kind {
		t.Fatalf("got error %v of kind %q, want %q", err, KindOf(err), kind)
	}
}

// wantFile checks that dir holds exactly the given files; the checker is
// independent of the package's own hashing.
func wantFile(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if sha256.Sum256(got) != sha256.Sum256(want) {
		t.Fatalf("%s has wrong bytes: %d of them, want %d", filepath.Base(path), len(got), len(want))
	}
}

func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if len(got) != len(want) {
		t.Fatalf("the directory holds %q, want %q", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("the directory holds %q, want %q", got, want)
		}
	}
}
