package origin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origintest"
	"github.com/jumpget/jumpget/internal/span"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a sink that holds the file and checks what every sink relies on.
type memory struct {
	t     *testing.T
	mu    sync.Mutex
	prior *memory // what a resumed version begins with
	metas []Meta
	data  []byte
	have  span.Set
	busy  span.Set // being written
	size  int64    // from SetSize; -1: not told

	beginErr, writeErr error
}

func sink(t *testing.T) *memory { return &memory{t: t, size: -1} }

func (m *memory) Begin(_ context.Context, meta Meta) (span.Set, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.busy.Len() > 0 {
		m.t.Error("Begin while a write is under way")
	}
	m.metas = append(m.metas, meta)
	m.data, m.have = nil, span.Set{}
	if meta.Resumed {
		if m.prior == nil || len(m.metas) > 1 {
			m.t.Error("resumed without a prior version")
			return span.Set{}, nil
		}
		m.data, m.have = m.prior.data, m.prior.have.Clone()
	}
	return m.have.Clone(), m.beginErr
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	sp := span.Span{Start: off, End: off + int64(len(p))}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.writeErr != nil {
		return 0, m.writeErr
	}
	if len(p) > 256<<10 {
		m.t.Errorf("a write of %d bytes", len(p))
	}
	for _, have := range m.have.Spans() {
		if have.Intersect(sp).Len() > 0 {
			m.t.Errorf("%v written twice", have.Intersect(sp))
		}
	}
	if grow := sp.End - int64(len(m.data)); grow > 0 {
		m.data = append(m.data, make([]byte, grow)...)
	}
	m.have.Add(sp)
	return copy(m.data[off:], p), nil
}

func (m *memory) SetSize(n int64) error {
	m.size = n
	return nil
}

func (m *memory) sum() string {
	if !m.have.Contains(span.Span{End: int64(len(m.data))}) {
		return "has holes"
	}
	s := sha256.Sum256(m.data)
	return hex.EncodeToString(s[:])
}

// partial makes what an earlier fetch of f has left.
func partial(f origintest.File, spans ...span.Span) (*Prior, *memory) {
	whole := make([]byte, f.Content().Size())
	_, _ = f.Content().ReadAt(whole, 0)
	m := &memory{data: make([]byte, len(whole)), have: span.Of(spans...)}
	for _, sp := range spans {
		copy(m.data[sp.Start:sp.End], whole[sp.Start:sp.End])
	}
	return &Prior{Validators: Validators{ETag: f.ETag, Size: int64(len(whole))}, Have: m.have}, m
}

// sleeps records what a fetch would have waited.
type sleeps struct {
	mu   sync.Mutex
	list []time.Duration
}

func (s *sleeps) sleep(_ context.Context, d time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, d)
	return nil
}

var loopback = Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}

// fetcher returns one that may reach loopback and does not really wait.
func fetcher(t *testing.T, change ...func(*Config)) *Fetcher {
	cfg := Config{
		Guard: loopback,
		Sleep: new(sleeps).sleep,
		Proxy: func(*http.Request) (*url.URL, error) { return nil, nil },
	}
	for _, c := range change {
		c(&cfg)
	}
	f := New(cfg)
	t.Cleanup(f.Close)
	return f
}

func get(t *testing.T, f *Fetcher, m *memory, url string) (Result, error) {
	t.Helper()
	return f.Fetch(t.Context(), &job.Request{URL: url}, nil, m)
}

// mustGet fetches url and checks that it ends as want.
func mustGet(t *testing.T, f *Fetcher, url string, want origintest.File) (Result, *memory) {
	t.Helper()
	m := sink(t)
	res, err := get(t, f, m, url)
	check(t, res, err, m, want)
	return res, m
}

func check(t *testing.T, res Result, err error, m *memory, want origintest.File) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if m.sum() != want.SHA256() || res.Size != want.Content().Size() {
		t.Fatalf("wrong bytes: %d of %d", len(m.data), want.Content().Size())
	}
}

// wantCode checks that err is for a person: its code, and a hint.
func wantCode(t *testing.T, err error, code job.Code) *job.Error {
	t.Helper()
	var e *job.Error
	if !errors.As(err, &e) {
		t.Fatalf("want %s, got %v", code, err)
	}
	if e.Code != code || e.Hint == "" {
		t.Fatalf("want %s with a hint, got %s %q (hint %q)", code, e.Code, e.Message, e.Hint)
	}
	return e
}

func faults(f ...origintest.Fault) []origintest.Fault { return f }
