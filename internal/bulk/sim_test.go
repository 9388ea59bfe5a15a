package bulk

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/span"
)

var (
	relayAddr  = netip.MustParseAddrPort("192.0.2.1:3100")
	clientAddr = netip.MustParseAddrPort("198.51.100.7:40000")
)

// pattern is what all objects are made of; its period is prime.
var pattern = func() []byte {
	b := make([]byte, 65521)
	r := rand.New(rand.NewPCG(7, 7))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}()

func fillPattern(p []byte, off int64) {
	for len(p) > 0 {
		n := copy(p, pattern[off%int64(len(pattern)):])
		p, off = p[n:], off+int64(n)
	}
}

// testBody is an object of any size, of which a part may be there.
type testBody struct {
	id string

	mu      sync.Mutex
	size    int64
	known   bool
	have    int64
	err     error
	changed chan struct{}
	closed  int
	reads   int
}

func newBody(size int64) *testBody {
	return &testBody{id: "object-1", size: size, known: true, have: size, changed: make(chan struct{})}
}

func (b *testBody) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *testBody) Object() string { return b.id }

func (b *testBody) Size() (int64, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.size, b.known
}

func (b *testBody) ReadAt(p []byte, off int64) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reads++
	switch {
	case b.err != nil:
		return 0, b.err
	case b.known && off >= b.size:
		return 0, io.EOF
	case off >= b.have:
		return 0, nil
	}
	n := int(min(int64(len(p)), b.have-off))
	fillPattern(p[:n], off)
	return n, nil
}

// read is how often the body was read.
func (b *testBody) read() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reads
}

func (b *testBody) Wait(ctx context.Context, off int64) error {
	for {
		b.mu.Lock()
		ch, ok, err := b.changed, off < b.have || b.known && off >= b.size, b.err
		b.mu.Unlock()
		if ok || err != nil {
			return err
		}
		select {
		case <-ch:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (b *testBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed++
	return nil
}

// testJobs is a relay's jobs: one for each key.
type testJobs struct {
	mu   sync.Mutex
	jobs map[KeyID]*testJob
}

func (t *testJobs) Lookup(id KeyID) (Job, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	j, ok := t.jobs[id]
	return j, ok
}

type testJob struct {
	key   Key
	until time.Time
	body  *testBody
	slow  chan struct{} // Open waits for it, if set

	mu      sync.Mutex
	granted map[netip.Addr]bool
	err     error
	opens   int
}

func (j *testJob) Key() (Key, time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.key, j.until
}

// expire ends the life of the token.
func (j *testJob) expire() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.until = time.Now()
}

func (j *testJob) grant(a netip.Addr, on bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.granted[a] = on
}

func (j *testJob) Allowed(a netip.Addr) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.granted[a]
}

func (j *testJob) Open(ctx context.Context, object string) (Body, error) {
	if j.slow != nil {
		select {
		case <-j.slow:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.opens++
	if j.err != nil {
		return nil, j.err
	}
	if object != "" && object != j.body.id {
		return nil, ErrChanged
	}
	return j.body, nil
}

// testSink checks every byte that comes.
type testSink struct {
	mu    sync.Mutex
	got   runs
	bytes int64
	dup   int64
	done  map[RangeID]span.Span
	wrong error
	fail  error
	slow  time.Duration
	first time.Time
}

func newSink() *testSink { return &testSink{done: map[RangeID]span.Span{}} }

func (s *testSink) Data(off int64, p []byte) error {
	if s.slow > 0 {
		time.Sleep(s.slow)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first.IsZero() {
		s.first = time.Now()
	}
	if s.fail != nil {
		return s.fail
	}
	want := make([]byte, len(p))
	fillPattern(want, off)
	if string(want) != string(p) {
		s.wrong = fmt.Errorf("wrong bytes at %d", off)
	}
	fresh := s.got.add(span.Span{Start: off, End: off + int64(len(p))}, nil)
	s.dup += int64(len(p)) - fresh
	s.bytes += fresh
	return nil
}

func (s *testSink) Done(id RangeID, at span.Span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, twice := s.done[id]; twice {
		s.wrong = fmt.Errorf("range %d is done twice", id)
	}
	s.done[id] = at
}

func (s *testSink) finished(id RangeID) (span.Span, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp, ok := s.done[id]
	return sp, ok
}

// world is a relay, a network and what a client needs.
type world struct {
	t      *testing.T
	net    *network
	jobs   *testJobs
	job    *testJob
	body   *testBody
	server *Server
	sink   *testSink
	served chan error

	mistake atomic.Bool // the server has told of one
}

func newWorld(t *testing.T, size int64, cfg ServerConfig) *world {
	w := &world{t: t, net: newNetwork(1), body: newBody(size), sink: newSink()}
	w.job = newJob("token", w.body)
	w.jobs = &testJobs{jobs: map[KeyID]*testJob{w.job.key.ID: w.job}}
	cfg.Jobs = w.jobs
	cfg.Log = slog.New(loud{w: w})
	w.server = NewServer(cfg)
	w.serve()
	return w
}

// loud notes when the server warns of a mistake of its own.
type loud struct {
	slog.Handler
	w *world
}

func (l loud) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

func (l loud) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "forgotten") {
		l.w.mistake.Store(true)
	}
	return nil
}

func newJob(token string, body *testBody) *testJob {
	return &testJob{
		key: NewKey(sha256.Sum256([]byte(token))), until: time.Now().Add(12 * time.Hour), body: body,
		granted: map[netip.Addr]bool{clientAddr.Addr(): true},
	}
}

func (w *world) serve() {
	pc := w.net.listen(relayAddr)
	s, served := w.server, make(chan error, 1)
	w.served = served
	go func() { served <- s.Serve(pc) }()
}

func (w *world) stop() {
	w.server.Close()
	if err := <-w.served; err != nil {
		w.t.Errorf("Serve gives %v", err)
	}
	if w.sink.wrong != nil {
		w.t.Error(w.sink.wrong)
	}
	if w.mistake.Load() {
		w.t.Error("the relay had forgotten bytes")
	}
	if l := w.server.Load(); l.Conns != 0 || l.Memory != 0 {
		w.t.Errorf("after Close the server holds %+v", l)
	}
}

func (w *world) config(first ...span.Span) Config {
	return Config{Key: w.job.key, Sink: w.sink, First: first}
}

func (w *world) dial(cfg Config) (*Conn, error) {
	return Dial(context.Background(), w.net.listen(clientAddr), relayAddr, cfg)
}

func (w *world) mustDial(cfg Config) *Conn {
	w.t.Helper()
	c, err := w.dial(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// until waits for a condition, in virtual time.
func (w *world) until(what string, within time.Duration, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(within); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("after %v still not: %s", within, what)
		}
	}
}

// fetch brings the whole body over one connection and returns how long it took.
func (w *world) fetch(within time.Duration) (time.Duration, Stats) {
	w.t.Helper()
	start := time.Now()
	cfg := w.config(span.Span{End: w.body.size})
	cfg.Last = true
	c := w.mustDial(cfg)
	defer c.Close()
	w.until("the file is here", within, func() bool {
		if err := c.Err(); err != nil {
			w.t.Fatal(err)
		}
		_, ok := w.sink.finished(1)
		return ok
	})
	took := time.Since(start)
	if w.sink.bytes != w.body.size || w.sink.dup != 0 {
		w.t.Errorf("%d bytes of %d came, %d twice", w.sink.bytes, w.body.size, w.sink.dup)
	}
	return took, c.Stats()
}

// helloOf makes a first packet.
func helloOf(t testing.TB, key Key) []byte {
	c := &Conn{}
	c.init(nil, relayAddr, key, 0, c)
	if err := c.makeHello(minHello); err != nil {
		t.Fatal(err)
	}
	return c.link.hello
}

var errTest = errors.New("as the test wants it")
