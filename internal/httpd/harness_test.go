package httpd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/jumpget/jumpget/internal/blob"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origin"
	"github.com/jumpget/jumpget/internal/relay"
	"github.com/jumpget/jumpget/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = netip.MustParseAddr("127.0.0.1")

// world is a whole relay, whose origin does what the test says.
type world struct {
	t     testing.TB
	relay *relay.Relay
	src   *source
	ahead atomic.Int64 // of the relay's clock before the true time, nanoseconds
	files atomic.Int64
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, src: &source{files: map[string]*file{}}}
	clock := func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }
	dir := t.TempDir()
	db, err := store.Open(t.Context(), filepath.Join(dir, "db"), clock)
	check(t, err)
	t.Cleanup(func() { check(t, db.Close()) })
	bodies, err := blob.NewDisk(filepath.Join(dir, "bodies"))
	check(t, err)
	t.Cleanup(func() { check(t, bodies.Close()) })
	w.relay, err = relay.New(t.Context(), relay.Config{
		Store: db, Blobs: bodies, Fetcher: w.src, Clock: clock, Quota: 1 << 30,
		Endpoints: func() []job.Endpoint { return []job.Endpoint{{Scheme: "https", Port: 3100, Pin: "ab"}} },
	})
	check(t, err)
	t.Cleanup(w.relay.Close)
	return w
}

// file gives the origin a file of so many bytes (-1: it does not tell) and
// submits its URL for owner, with a grant for loopback. It does not answer before begin.
func (w *world) file(owner string, size int64) (*file, job.Ticket) {
	w.t.Helper()
	url := fmt.Sprintf("http://origin.example/%d.bin", w.files.Add(1))
	f := w.src.add(w.t, url, origin.Meta{Name: "the file.bin", Size: size, ETag: `"1"`, ModTime: time.Unix(1e9, 0)})
	ticket, err := w.relay.Submit(context.Background(), relay.Submission{Owner: owner, Allow: []netip.Addr{loopback}}, job.Request{URL: url})
	check(w.t, err)
	f.job, f.owner, f.relay = ticket.Job, owner, w.relay
	return f, ticket
}

// ready brings a whole file.
func (w *world) ready(owner, data string) (*file, job.Ticket) {
	w.t.Helper()
	f, ticket := w.file(owner, int64(len(data)))
	f.begin()
	f.write(data)
	f.end()
	return f, ticket
}

// source is the origin. It implements relay.Fetcher.
type source struct {
	mu    sync.Mutex
	files map[string]*file
}

func (s *source) add(t testing.TB, url string, meta origin.Meta) *file {
	f := &file{t: t, url: url, meta: meta, steps: make(chan step)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[url] = f
	return f
}

// step is done by the fetch. With last set it is its end.
type step struct {
	do   func(ctx context.Context, f *fetch) error
	last bool
	done chan struct{}
}

type fetch struct {
	sink origin.Sink
	at   int64
	res  origin.Result
}

// Fetch implements relay.Fetcher.
func (s *source) Fetch(ctx context.Context, req *job.Request, _ *origin.Prior, sink origin.Sink) (origin.Result, error) {
	s.mu.Lock()
	f := s.files[req.URL]
	s.mu.Unlock()
	if f == nil {
		return origin.Result{}, job.Errorf(job.CodeOriginStatus, "the origin has no such file")
	}
	it := &fetch{sink: sink}
	for {
		select {
		case st := <-f.steps:
			err := st.do(ctx, it)
			close(st.done)
			if err != nil || st.last {
				return it.res, err
			}
		case <-ctx.Done():
			return origin.Result{}, context.Cause(ctx)
		}
	}
}

// Revalidate implements relay.Fetcher.
func (s *source) Revalidate(context.Context, *job.Request, *job.Object) (bool, error) {
	return true, nil
}

// file is one file of the origin, and the fetch of it.
type file struct {
	t     testing.TB
	url   string
	meta  origin.Meta
	steps chan step

	relay *relay.Relay
	owner string
	job   job.ID
}

func (f *file) step(last bool, do func(ctx context.Context, it *fetch) error) {
	f.t.Helper()
	st := step{do: do, last: last, done: make(chan struct{})}
	select {
	case f.steps <- st:
		<-st.done
	case <-time.After(10 * time.Second):
		f.t.Fatal("the relay does not fetch")
	}
}

// begin sends the headers. Once more it is another version of the file.
func (f *file) begin() {
	f.t.Helper()
	f.step(false, func(ctx context.Context, it *fetch) error {
		it.at = 0
		_, err := it.sink.Begin(ctx, f.meta)
		return err
	})
}

func (f *file) write(data string) {
	f.t.Helper()
	f.step(false, func(_ context.Context, it *fetch) error {
		n, err := it.sink.WriteAt([]byte(data), it.at)
		it.at += int64(n)
		return err
	})
}

// end says that it was all, and waits until the job is ready.
func (f *file) end() {
	f.t.Helper()
	f.step(true, func(_ context.Context, it *fetch) error {
		it.res = origin.Result{Meta: f.meta, Size: it.at, LengthVerified: f.meta.Size >= 0}
		if f.meta.Size < 0 {
			return it.sink.SetSize(it.at)
		}
		return nil
	})
	f.is(job.Ready)
}

func (f *file) fail(err error) {
	f.t.Helper()
	f.step(true, func(context.Context, *fetch) error { return err })
	f.is(job.Failed)
}

// is waits until the job is in a state.
func (f *file) is(want job.State) {
	f.t.Helper()
	eventually(f.t, "the job is "+string(want), func() bool {
		st, err := f.relay.Status(context.Background(), f.owner, f.job)
		return err == nil && st.Job.State == want
	})
}

// object is the ID of what the job points at.
func (f *file) object() job.ID {
	f.t.Helper()
	st, err := f.relay.Status(context.Background(), f.owner, f.job)
	check(f.t, err)
	return st.Job.Object
}

// eventually polls until something is so.
func eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var errOrigin = job.Errorf(job.CodeOriginNet, "the origin is gone")

func isCode(err error, code job.Code) bool { return errors.Is(err, &job.Error{Code: code}) }
