package relay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/jumpget/jumpget/internal/blob"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origin"
	"github.com/jumpget/jumpget/internal/origintest"
	"github.com/jumpget/jumpget/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	mib   = job.ChunkSize
	alice = "alice"
	bob   = "bob"
)

// patience is how long a test waits for what should come at once.
const patience = 20 * time.Second

// clock is a clock that moves only when a test says so.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// world is a relay with a real store, real bodies on disk and, unless a test
// brings its own, a real fetcher.
type world struct {
	*Relay
	t      *testing.T
	dir    string
	bodies string // "": in dir
	clock  *clock
	now    func() time.Time // clock's, unless a test has virtual time
	config Config           // Store, Blobs and Clock are filled in
	wrap   func(store.Store) store.Store
	disk   *disk // not nil: its hooks stand before the bodies

	db *store.SQLite
}

type option func(*world)

func withDisk(d *disk) option { return func(w *world) { w.disk = d } }

func withStore(f func(store.Store) store.Store) option { return func(w *world) { w.wrap = f } }

func with(f func(*Config)) option { return func(w *world) { f(&w.config) } }

// logged is a log that may be read while it is written.
type logged struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.String()
}

func newWorld(t *testing.T, opts ...option) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), clock: &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}}
	w.now = w.clock.Now
	for _, o := range opts {
		o(w)
	}
	if w.config.Fetcher == nil {
		w.config.Fetcher = realFetcher(t)
	}
	w.open()
	return w
}

var loopback = origin.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}

// realFetcher fetches from loopback, on one connection, and does not really wait
// between its tries.
func realFetcher(t *testing.T) *origin.Fetcher {
	f := origin.New(origin.Config{
		Guard: loopback, MaxConns: 1, Tries: 3,
		Sleep: func(ctx context.Context, _ time.Duration) error { return context.Cause(ctx) },
		Proxy: func(*http.Request) (*url.URL, error) { return nil, nil },
	})
	t.Cleanup(f.Close)
	return f
}

// open starts a relay in w.dir; it ends with the test.
func (w *world) open() {
	w.t.Helper()
	ctx := w.t.Context()
	db, err := store.Open(ctx, filepath.Join(w.dir, "jumpget.db"), w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.bodies == "" {
		w.bodies = filepath.Join(w.dir, "bodies")
	}
	bodies, err := blob.NewDisk(w.bodies)
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := w.config
	cfg.Store, cfg.Blobs, cfg.Clock = db, bodies, w.now
	if w.wrap != nil {
		cfg.Store = w.wrap(db)
	}
	if w.disk != nil {
		w.disk.Store, w.disk.dir = bodies, w.bodies
		cfg.Blobs = w.disk
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	r, err := New(ctx, cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Relay, w.db = r, db
	w.t.Cleanup(func() {
		r.Close()
		_ = db.Close() // perhaps a second time, after close
		_ = bodies.Close()
	})
}

// close ends the relay as a shutdown does.
func (w *world) close() {
	w.t.Helper()
	w.Close()
	if err := w.db.Close(); err != nil {
		w.t.Error(err)
	}
}

func (w *world) restart() {
	w.t.Helper()
	w.close()
	w.open()
}

// ctx ends long after everything should be over.
func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	w.t.Cleanup(cancel)
	return ctx
}

func get(u string) job.Request { return job.Request{URL: u} }

func (w *world) submit(owner string, req job.Request, allow ...netip.Addr) job.Ticket {
	w.t.Helper()
	t, err := w.Submit(w.ctx(), Submission{Owner: owner, Allow: allow}, req)
	if err != nil {
		w.t.Fatal(err)
	}
	return t
}

// seen is what a watcher was told.
type seen struct {
	statuses []job.Status
	sums     map[job.ID]map[int][32]byte
	early    int // sums that came before the job was ready
	err      error
}

func (s *seen) last() job.Status { return s.statuses[len(s.statuses)-1] }

func (s *seen) add(e job.Event) {
	if e.Status != nil {
		s.statuses = append(s.statuses, *e.Status)
		return
	}
	if s.sums == nil {
		s.sums = make(map[job.ID]map[int][32]byte)
	}
	of := s.sums[e.Sums.Object]
	if of == nil {
		of = make(map[int][32]byte)
		s.sums[e.Sums.Object] = of
	}
	for i, sum := range e.Sums.SHA256 {
		of[e.Sums.First+i] = sum
	}
	if len(s.statuses) > 0 && s.last().Job.State != job.Ready {
		s.early += len(e.Sums.SHA256)
	}
}

// watch watches a job to its end.
func (w *world) watch(owner string, id job.ID, from int) *seen {
	return <-w.watchAside(w.ctx(), owner, id, from)
}

// watchAside returns once a watcher has been told something, or has ended.
func (w *world) watchAside(ctx context.Context, owner string, id job.ID, from int) <-chan *seen {
	end, begun := make(chan *seen, 1), make(chan struct{})
	begin := sync.OnceFunc(func() { close(begun) })
	go func() {
		defer begin()
		s := new(seen)
		for e, err := range w.Watch(ctx, owner, id, from) {
			if err != nil {
				s.err = err
				break
			}
			s.add(e)
			begin()
		}
		end <- s
	}()
	<-begun
	return end
}

// finish watches a job until it is in the state that is wanted for its end.
func (w *world) finish(owner string, id job.ID, want job.State) job.Status {
	w.t.Helper()
	s := w.watch(owner, id, 0)
	if s.err != nil {
		w.t.Fatal(s.err)
	}
	if got := s.last(); got.Job.State != want {
		w.t.Fatalf("the job is %s (%v), want %s", got.Job.State, got.Job.Error, want)
	}
	return s.last()
}

// bring submits, waits until the job is ready and returns it.
func (w *world) bring(owner string, req job.Request) job.Status {
	w.t.Helper()
	return w.finish(owner, w.submit(owner, req).Job, job.Ready)
}

func (w *world) body(owner string, id job.ID) *Body {
	w.t.Helper()
	b, err := w.OpenOwned(w.ctx(), owner, id)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(b.Close)
	return b
}

// readAll reads a body to its end and returns its hex SHA-256.
func readAll(ctx context.Context, b *Body) (string, error) {
	h := sha256.New()
	buf := make([]byte, 100_000)
	for at := int64(0); ; {
		n, err := b.ReadAt(ctx, buf, at)
		h.Write(buf[:n])
		at += int64(n)
		if errors.Is(err, io.EOF) {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return "", err
		}
	}
}

// wantFile checks that a job's body is f.
func (w *world) wantFile(owner string, id job.ID, f origintest.File) {
	w.t.Helper()
	b := w.body(owner, id)
	defer b.Close()
	got, err := readAll(w.ctx(), b)
	if err != nil {
		w.t.Fatal(err)
	}
	if got != f.SHA256() {
		w.t.Fatalf("the body of %s is not the origin's file", id)
	}
}

// wantSums checks that exactly the sums of f from a chunk on were told.
func wantSums(t *testing.T, got map[int][32]byte, f origintest.File, from int) {
	t.Helper()
	all := content(f)
	n := job.Chunks(int64(len(all)))
	if len(got) != max(0, n-from) {
		t.Errorf("%d sums of %d", len(got), n-from)
	}
	for i, sum := range got {
		if i < from || i >= n || sum != sha256.Sum256(all[i*mib:min(len(all), (i+1)*mib)]) {
			t.Errorf("a wrong sum for chunk %d", i)
		}
	}
}

func content(f origintest.File) []byte {
	c := f.Content()
	p := make([]byte, c.Size())
	_, _ = c.ReadAt(p, 0) // can't fail within the size
	return p
}

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

// until polls for what comes by itself, soon.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still not: %s", what)
		}
	}
}

// wait waits for a channel to be closed.
func wait(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("still not: %s", what)
	}
}

// files returns the names of the stored bodies' data.
func (w *world) files() []string {
	w.t.Helper()
	names, err := filepath.Glob(filepath.Join(w.bodies, "??", "?????????????????????????"+"?"))
	if err != nil {
		w.t.Fatal(err)
	}
	return names
}

func (w *world) file(id job.ID) string { return filepath.Join(w.bodies, string(id[:2]), string(id)) }
