package gather

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/jumpget/jumpget/internal/bundle"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origin"
	"github.com/jumpget/jumpget/internal/origintest"
	"github.com/jumpget/jumpget/internal/span"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newFetcher fetches from loopback and does not really wait between its tries.
func newFetcher(t *testing.T, cfg Config) *Fetcher {
	t.Helper()
	o := origin.New(origin.Config{
		Guard: origin.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, Tries: 2,
		Sleep: func(ctx context.Context, _ time.Duration) error { return context.Cause(ctx) },
	})
	t.Cleanup(o.Close)
	cfg.Origin = o
	return New(cfg)
}

// sink holds a bundle in memory, as the relay's sink would.
type sink struct {
	mu     sync.Mutex
	data   []byte
	keep   bool // what is in data belongs to a bundle that goes on
	meta   origin.Meta
	size   int64
	failAt int64 // an offset at which the disk fails; 0: never
}

var errDisk = errors.New("the disk is full")

func (s *sink) Begin(_ context.Context, meta origin.Meta) (span.Set, error) {
	s.meta, s.size = meta, job.UnknownSize
	if meta.Resumed && s.keep {
		return span.Of(span.Span{End: int64(len(s.data))}), nil
	}
	s.data = nil
	return span.Set{}, nil
}

func (s *sink) WriteAt(p []byte, off int64) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failAt > 0 && off+int64(len(p)) > s.failAt {
		return 0, errDisk
	}
	if off != int64(len(s.data)) {
		return 0, fmt.Errorf("a write at %d, the end is %d", off, len(s.data))
	}
	s.data = append(s.data, p...)
	return len(p), nil
}

func (s *sink) SetSize(n int64) error {
	s.size = n
	return nil
}

// files returns what the bundle holds, by index.
func (s *sink) files(t *testing.T) map[int]*bundle.File {
	t.Helper()
	found := map[int]*bundle.File{}
	for in := bundle.NewReader(bytes.NewReader(s.data)); ; {
		f, err := in.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if found[f.Index] != nil {
			t.Errorf("file %d is there twice", f.Index)
		}
		found[f.Index] = f
	}
}

func request(s *origintest.Server, paths ...string) *job.Request {
	r := job.Request{}
	for _, p := range paths {
		r.Files = append(r.Files, job.File{URL: s.URL(p)})
	}
	r = r.Titled()
	return &r
}

// some are n small files of an origin.
func some(n int) (files []origintest.File, paths []string) {
	for i := range n {
		p := fmt.Sprintf("/%03d.bin", i)
		files = append(files, origintest.File{Path: p, Size: int64(i * 37), Seed: uint64(i), LastModified: time.Unix(1e9, 0)})
		paths = append(paths, p)
	}
	return files, paths
}

func (s *sink) check(t *testing.T, files []origintest.File) {
	t.Helper()
	got := s.files(t)
	for i, want := range files {
		f := got[i]
		if f == nil || f.SHA256 != want.SHA256() || f.Name != want.Path[1:] || !f.ModTime.Equal(want.LastModified) || !f.Verified {
			t.Errorf("file %d: %+v", i, f)
		}
	}
	if len(got) != len(files) || s.size != int64(len(s.data)) {
		t.Errorf("%d files of %d; size %d, %d bytes", len(got), len(files), s.size, len(s.data))
	}
}

func TestManyFilesAtATime(t *testing.T) {
	files, paths := some(200)
	o := origintest.New(t, files...)
	s := &sink{}
	res, err := newFetcher(t, Config{PerHost: 5}).Fetch(t.Context(), request(o, paths...), nil, s)
	if err != nil {
		t.Fatal(err)
	}
	s.check(t, files)
	if s.meta.Name != "200 files from 127.0.0.1" || s.meta.ContentType != bundle.ContentType || s.meta.Size != job.UnknownSize {
		t.Errorf("%+v", s.meta)
	}
	if res.Size != s.size || !res.LengthVerified {
		t.Errorf("%+v", res)
	}
	if n := o.MaxParallel(); n > 5 {
		t.Errorf("%d requests at a time", n)
	}
	if n := o.Conns(); n > 20 {
		t.Errorf("%d connections: they are not used again", n)
	}
}

// Whatever is wrong with some files, the others come.
func TestFilesFailAlone(t *testing.T) {
	o := origintest.New(
		t,
		origintest.File{Path: "/good", Data: []byte("good")},
		origintest.File{Path: "/large", Size: bundle.MaxFile + 1},
		origintest.File{Path: "/endless", Size: 4 << 20, Faults: []origintest.Fault{origintest.NoLength()}},
		origintest.File{Path: "/largest", Size: bundle.MaxFile},
		origintest.File{Path: "/short", Size: 1000, NoRanges: true, Faults: []origintest.Fault{origintest.Close(10)}},
		origintest.File{Path: "/stalls", Size: 1000, Faults: []origintest.Fault{origintest.Stall(10)}},
		origintest.File{Path: "/once", Data: []byte("once"), Faults: []origintest.Fault{origintest.First(1, origintest.Status(503))}},
		origintest.File{Path: "/away", Redirect: "http://169.254.169.254/latest"},
	)
	r := request(o, "/good", "/missing", "/large", "/endless", "/largest", "/short", "/stalls", "/once", "/away", "/missing")
	r.Files = append(r.Files, job.File{URL: o.URL("/missing"), Mirrors: []string{o.URL("/good")}})
	s := &sink{}
	if _, err := newFetcher(t, Config{Patience: 2 * time.Second}).Fetch(t.Context(), r, nil, s); err != nil {
		t.Fatal(err)
	}
	got := s.files(t)
	for i, want := range []string{
		"good", "origin_status", "alone", "alone", "1048576", "origin_network", "alone", "once", "origin_denied", "origin_status", "good",
	} {
		f := got[i]
		is := ""
		switch {
		case f == nil:
		case f.Error != nil:
			is = string(f.Error.Code)
		case f.Alone:
			is = "alone"
		case len(f.Data) > 100:
			is = fmt.Sprint(len(f.Data))
		default:
			is = string(f.Data)
		}
		if is != want {
			t.Errorf("%s: %s, want %s", r.Files[i].URL, is, want)
		}
	}
	if f := got[1]; f != nil && f.Error.Status != 404 {
		t.Errorf("status %d", f.Error.Status)
	}
}

// A relay that dies goes on with what it has: wherever it was cut off, no file is
// fetched again that is whole.
func TestGoesOn(t *testing.T) {
	files, paths := some(30)
	o := origintest.New(t, files...)
	f := newFetcher(t, Config{})
	first := &sink{}
	r := request(o, paths...)
	if _, err := f.Fetch(t.Context(), r, nil, first); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, len(bundle.Magic), 100, 4096, 10000, len(first.data) - 1, len(first.data)} {
		s := &sink{data: bytes.Clone(first.data[:n]), keep: true}
		in, _, err := bundle.Scan(bytes.NewReader(s.data), int64(n))
		whole := len(in)
		if err != nil {
			whole = 0
		}
		before := o.Count()
		prior := &origin.Prior{Validators: origin.Validators{Size: job.UnknownSize}, Have: span.Of(span.Span{End: int64(n)}), Body: bytes.NewReader(s.data)}
		if _, err := f.Fetch(t.Context(), r, prior, s); err != nil {
			t.Fatal(err)
		}
		s.check(t, files)
		if got := o.Count() - before; got != len(files)-whole {
			t.Errorf("cut at %d with %d files: %d requests", n, whole, got)
		}
		if n > 100 && !bytes.Equal(s.data[:n], first.data[:n]) {
			t.Errorf("cut at %d: what was there has changed", n)
		}
	}
}

// What is left of a bundle can't be gone on with if a part of it is missing, or if
// it was complete.
func TestDamageStartsAnew(t *testing.T) {
	files, paths := some(5)
	o := origintest.New(t, files...)
	f := newFetcher(t, Config{})
	good := &sink{}
	if _, err := f.Fetch(t.Context(), request(o, paths...), nil, good); err != nil {
		t.Fatal(err)
	}
	end := int64(len(good.data))
	for name, p := range map[string]*origin.Prior{
		"a hole":   {Have: span.Of(span.Span{End: 50}, span.Span{Start: 60, End: end}), Validators: origin.Validators{Size: job.UnknownSize}, Body: bytes.NewReader(good.data)},
		"complete": {Have: span.Of(span.Span{End: end}), Validators: origin.Validators{Size: end}, Body: bytes.NewReader(good.data)},
		"no start": {Have: span.Of(span.Span{Start: 10, End: end}), Validators: origin.Validators{Size: job.UnknownSize}, Body: bytes.NewReader(good.data)},
		"garbage":  {Have: span.Of(span.Span{End: 50}), Validators: origin.Validators{Size: job.UnknownSize}, Body: bytes.NewReader(bytes.Repeat([]byte("x"), 50))},
	} {
		s := &sink{data: []byte("old"), keep: true}
		if _, err := f.Fetch(t.Context(), request(o, paths...), p, s); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if s.meta.Resumed {
			t.Errorf("%s: it goes on", name)
		}
		s.check(t, files)
	}
}

func TestWhatEndsABundle(t *testing.T) {
	files, paths := some(50)
	o := origintest.New(t, files...)
	f := newFetcher(t, Config{})
	if _, err := f.Fetch(t.Context(), request(o, paths...), nil, &sink{failAt: 5000}); !errors.Is(err, errDisk) {
		t.Errorf("a failing disk: %v", err)
	}
	gone := errors.New("removed")
	o.Add(origintest.File{Path: paths[0], Size: 1000, Faults: []origintest.Fault{origintest.Stall(10)}})
	ctx, cancel := context.WithCancelCause(t.Context())
	s := &sink{}
	done := make(chan error)
	go func() {
		_, err := f.Fetch(ctx, request(o, paths...), nil, s)
		done <- err
	}()
	for o.Count() < len(files) {
		time.Sleep(time.Millisecond) // the origin tells nobody when it is asked
	}
	cancel(gone)
	if err := <-done; !errors.Is(err, gone) {
		t.Errorf("cancelled: %v", err)
	}
	if len(f.hosts) != 0 || len(f.all) != 0 {
		t.Errorf("%d hosts and %d turns are still held", len(f.hosts), len(f.all))
	}
}
