package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/partial"
	"github.com/jumpget/jumpget/internal/progress"
	"github.com/jumpget/jumpget/internal/sshdial"
	"github.com/jumpget/jumpget/internal/transport"
	"github.com/jumpget/jumpget/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// events keeps what a Reporter hears.
type events struct {
	mu   sync.Mutex
	list []progress.Event
}

func (e *events) Report(ev progress.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, ev)
}

// find returns the first event of a type that satisfies ok.
func find[T progress.Event](e *events, ok func(T) bool) (T, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range e.list {
		if v, is := ev.(T); is && ok(v) {
			return v, true
		}
	}
	var none T
	return none, false
}

func newTestClient(t testing.TB, r *fakeRelay, change func(*Config)) *Client {
	t.Helper()
	cfg := Config{
		Tunnel:  r.tunnel,
		Host:    func(context.Context) (string, error) { return "127.0.0.1", nil },
		Version: "test",
		Relay:   "fake",
		Timeout: 5 * time.Second,
	}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func request(dir string) Request {
	return Request{Request: job.Request{URL: "http://origin.test/f.bin"}, Output: Output{Dir: dir}}
}

// An ssh that can't get anywhere, for whatever reason, is a person's to mend: it is
// not tried for ever before the relay has answered for the first time.
func TestSSHThatNeverWorks(t *testing.T) {
	for _, kind := range []sshdial.Kind{sshdial.Cut, sshdial.Died} {
		r := newFakeRelay(t, 1)
		var tries atomic.Int64
		r.set(func() {
			r.dial = func() (net.Conn, error) {
				tries.Add(1)
				return nil, &sshdial.Error{Kind: kind, Message: "no way"}
			}
		})
		c := newTestClient(t, r, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		_, err := c.Jobs(ctx)
		cancel()
		if n := tries.Load(); !errors.Is(err, &sshdial.Error{Kind: kind}) || n != maxCuts+1 {
			t.Errorf("%s: %v after %d tries", kind, err, n)
		}
	}
}

// mustGet brings the relay's file and compares it with the body by a SHA-256
// of its own.
func mustGet(t *testing.T, c *Client, r *fakeRelay, req Request) *Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	res, err := c.Get(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(res.Path)
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !bytes.Equal(got, r.body) {
		t.Fatalf("the file has %d bytes and is not the relay's of %d", len(got), len(r.body))
	}
	if sum := sha256.Sum256(r.body); res.SHA256 != hex.EncodeToString(sum[:]) || res.Size != int64(len(got)) {
		t.Fatalf("the result says %s of %d bytes", res.SHA256, res.Size)
	}
	return res
}

// noFile checks that nothing stands under the final name.
func noFile(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Lstat(filepath.Join(dir, "f.bin")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("a file stands under the final name: %v", err)
	}
}

func TestGet(t *testing.T) {
	for _, size := range []int{0, 1, 65_537, job.ChunkSize, 5<<20 + 123} {
		r := newFakeRelay(t, size)
		heard := &events{}
		c := newTestClient(t, r, func(cfg *Config) { cfg.Reporter = heard })
		res := mustGet(t, c, r, request(t.TempDir()))
		if filepath.Base(res.Path) != "f.bin" || !res.LengthVerified || res.Job != r.id {
			t.Errorf("%+v", res)
		}
		info, err := os.Stat(res.Path)
		if err != nil || !info.ModTime().Equal(time.Unix(1_700_000_000, 0)) {
			t.Errorf("time %v, %v", info.ModTime(), err)
		}
		if d, ok := find(heard, func(progress.Done) bool { return true }); !ok || d.Size != int64(size) || d.Verified != job.Chunks(int64(size)) {
			t.Errorf("done: %+v", d)
		}
		if n := r.tunnels.Load(); n != 1 {
			t.Errorf("%d tunnels were opened", n)
		}
	}
}

func TestGetWhileTheRelayStillFetches(t *testing.T) {
	for _, told := range []bool{true, false} {
		r := newFakeRelay(t, 6<<20+77)
		r.set(func() { r.received, r.sizeTold = 0, told })
		heard := make(chan struct{}, 1)
		first := progressFunc(func(e progress.Event) {
			if p, ok := e.(progress.Progress); ok && p.Have > 0 {
				select {
				case heard <- struct{}{}:
				default:
				}
			}
		})
		c := newTestClient(t, r, func(cfg *Config) { cfg.Reporter = first })
		go func() {
			r.set(func() { r.received = 1<<20 + 5 })
			<-heard // bytes are here before the relay has them all
			for range 10 {
				r.set(func() { r.received = min(len(r.body), r.received+700_000) })
				time.Sleep(time.Millisecond)
			}
			r.set(func() { r.received = len(r.body) })
		}()
		mustGet(t, c, r, request(t.TempDir()))
	}
}

type progressFunc func(progress.Event)

func (f progressFunc) Report(e progress.Event) { f(e) }

func TestGetToStandardOutput(t *testing.T) {
	r := newFakeRelay(t, 3<<20+9)
	c := newTestClient(t, r, nil)
	var out bytes.Buffer
	req := request(t.TempDir())
	req.Stdout = &out
	res, err := c.Get(t.Context(), req)
	if err != nil || res.Path != "" || !bytes.Equal(out.Bytes(), r.body) {
		t.Fatalf("%+v, %v, %d bytes", res, err, out.Len())
	}
	left, err := os.ReadDir(req.Output.Dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestGetOfAJobThatStands(t *testing.T) {
	r := newFakeRelay(t, 1<<20)
	c := newTestClient(t, r, nil)
	mustGet(t, c, r, Request{Job: r.id, Output: Output{Dir: t.TempDir()}})
	if r.submits.Load() != 0 {
		t.Error("it was submitted again")
	}
}

// An address that the door does not know yet, as after a change of networks.
func TestAddressNotGranted(t *testing.T) {
	r := newFakeRelay(t, 4<<20)
	r.needGrant = true
	state := t.TempDir()
	withState := func(cfg *Config) { cfg.StateDir, cfg.Paths = state, []Path{PathTCP} }
	res := mustGet(t, newTestClient(t, r, withState), r, request(t.TempDir()))
	if n := r.grants.Load(); n != 1 {
		t.Errorf("%d grants for one address", n)
	}
	if res.Paths[PathTCP] == 0 {
		t.Error("nothing came through the door")
	}

	// The next run tells the address with its submission.
	r.set(func() { clear(r.granted) })
	mustGet(t, newTestClient(t, r, withState), r, request(t.TempDir()))
	if n := r.grants.Load(); n != 1 {
		t.Error("the address was not remembered")
	}
}

// The client's address changes in mid-file.
func TestAddressChange(t *testing.T) {
	r := newFakeRelay(t, 8<<20)
	r.needGrant, r.resetEvery = true, 700_000
	r.granted[netip.MustParseAddr("127.0.0.1")] = true
	r.onRead = func(r *fakeRelay, n int64) {
		if n == 10 {
			r.set(func() { clear(r.granted) })
		}
	}
	mustGet(t, newTestClient(t, r, nil), r, request(t.TempDir()))
	if r.grants.Load() == 0 {
		t.Error("the new address was never granted")
	}
}

// The token expires or is revoked in mid-file.
func TestTokenRenewed(t *testing.T) {
	r := newFakeRelay(t, 8<<20)
	r.resetEvery = 700_000
	r.onRead = func(r *fakeRelay, n int64) {
		if n == 8 {
			r.set(func() { r.token = "token-2" })
		}
	}
	c := newTestClient(t, r, func(cfg *Config) { cfg.Paths = []Path{PathTCP} })
	mustGet(t, c, r, request(t.TempDir()))
	if n := r.tickets.Load(); n != 1 {
		t.Errorf("%d tickets for one lost token", n)
	}
}

// TCP is reset every 1 MB.
func TestResets(t *testing.T) {
	r := newFakeRelay(t, 16<<20)
	r.resetEvery = 1_000_000
	c := newTestClient(t, r, func(cfg *Config) { cfg.Paths = []Path{PathTCP} })
	res := mustGet(t, c, r, request(t.TempDir()))
	if res.Fetched > 16<<20+8<<20 {
		t.Errorf("fetched %d bytes for %d", res.Fetched, 16<<20)
	}
}

// Connections go silent with the socket open.
func TestStalls(t *testing.T) {
	r := newFakeRelay(t, 8<<20)
	r.stallAfter, r.stalls = 300_000, 5
	c := newTestClient(t, r, func(cfg *Config) { cfg.Timeout, cfg.Paths = 500*time.Millisecond, []Path{PathTCP} })
	mustGet(t, c, r, request(t.TempDir()))
}

// All connections go silent: only the stall timeout helps.
func TestAllStall(t *testing.T) {
	r := newFakeRelay(t, 8<<20)
	r.stallAfter, r.stalls = 300_000, 8
	c := newTestClient(t, r, func(cfg *Config) {
		cfg.Timeout, cfg.Paths, cfg.Connections = 300*time.Millisecond, []Path{PathTCP}, 8
	})
	mustGet(t, c, r, request(t.TempDir()))
}

// Answers with a wrong Content-Range are thrown away.
func TestWrongContentRange(t *testing.T) {
	r := newFakeRelay(t, 4<<20)
	r.lieRange = 6
	mustGet(t, newTestClient(t, r, func(cfg *Config) { cfg.Paths = []Path{PathTCP} }), r, request(t.TempDir()))
}

// flipOnce changes one byte of chunk 1 the first n times that it passes.
func flipOnce(n int64) func(int64, []byte) {
	var left atomic.Int64
	left.Store(n)
	return func(off int64, p []byte) {
		const at = job.ChunkSize + 4711
		if off <= at && at < off+int64(len(p)) && left.Add(-1) >= 0 {
			p[at-off] ^= 1
		}
	}
}

func TestWrongBytesAreFetchedAgain(t *testing.T) {
	r := newFakeRelay(t, 4<<20)
	r.flip = flipOnce(1)
	mustGet(t, newTestClient(t, r, func(cfg *Config) { cfg.Paths = []Path{PathTCP} }), r, request(t.TempDir()))
}

func TestADoorThatAlwaysCorruptsIsGoneAround(t *testing.T) {
	r := newFakeRelay(t, 4<<20)
	r.flip = flipOnce(1 << 30)
	res := mustGet(t, newTestClient(t, r, nil), r, request(t.TempDir()))
	if res.Paths[PathSSH] == 0 {
		t.Error("the chunk can only have come over ssh")
	}
}

func TestCorruptionOnEveryPathIsAnError(t *testing.T) {
	r := newFakeRelay(t, 4<<20)
	r.flip, r.flipSSH = flipOnce(1<<30), flipOnce(1<<30)
	dir := t.TempDir()
	_, err := newTestClient(t, r, nil).Get(t.Context(), request(dir))
	if !errors.Is(err, &job.Error{Code: job.CodeInternal}) {
		t.Fatalf("got %v", err)
	}
	noFile(t, dir)
}

// The relay's certificate is not the one of the ticket.
func TestPinMismatch(t *testing.T) {
	r := newFakeRelay(t, 4<<20)
	_, other, err := transport.LoadOrCreateCert(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r.extraPin = other
	dir := t.TempDir()
	_, err = newTestClient(t, r, nil).Get(t.Context(), request(dir))
	if _, ok := errors.AsType[*transport.PinMismatchError](err); !ok {
		t.Fatalf("got %v", err)
	}
	if r.doorReads.Load() != 0 {
		t.Error("the token was sent to somebody else")
	}
	noFile(t, dir)
}

// ETag or length changes in mid-file: never a splice of two versions.
func TestObjectChanges(t *testing.T) {
	r := newFakeRelay(t, 8<<20)
	r.received = 3 << 20
	var once sync.Once
	r.onRead = func(r *fakeRelay, n int64) {
		if n >= 4 {
			once.Do(func() {
				go r.set(func() {
					r.body, r.object = randomBytes(99, 5<<20+1), job.NewID()
					r.received = len(r.body)
				})
			})
		}
	}
	heard := &events{}
	c := newTestClient(t, r, func(cfg *Config) { cfg.Reporter = heard })
	mustGet(t, c, r, request(t.TempDir()))
	if _, ok := find(heard, func(n progress.Note) bool { return n.Level == progress.Warning }); !ok {
		t.Error("nobody was told")
	}
}

// What went to a pipe can't be taken back: a change is an error there, and no
// byte of the new version follows one of the old.
func TestObjectChangesUnderAPipe(t *testing.T) {
	r := newFakeRelay(t, 4<<20)
	old := r.body
	r.received = 2 << 20
	var out bytes.Buffer
	var once sync.Once
	change := func() {
		r.set(func() {
			r.body, r.object = randomBytes(99, 5<<20), job.NewID()
			r.received = len(r.body)
		})
	}
	req := request(t.TempDir())
	req.Stdout = writerFunc(func(p []byte) (int, error) {
		once.Do(change)
		return out.Write(p)
	})
	_, err := newTestClient(t, r, nil).Get(t.Context(), req)
	if !errors.Is(err, &job.Error{Code: job.CodeOriginProto}) {
		t.Fatalf("got %v", err)
	}
	if !bytes.HasPrefix(old, out.Bytes()) {
		t.Fatalf("%d bytes of two versions were written", out.Len())
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// The origin answers 404, or keeps failing.
func TestOriginFails(t *testing.T) {
	r := newFakeRelay(t, 1<<20)
	r.failed = &wire.Error{Code: job.CodeOriginStatus, Message: "the origin answered 404 Not Found", Status: 404}
	dir := t.TempDir()
	target := filepath.Join(dir, "f.bin")
	if err := os.WriteFile(target, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	req := request(dir)
	req.Output.OnExists = partial.Overwrite
	_, err := newTestClient(t, r, nil).Get(t.Context(), req)
	var je *job.Error
	if !errors.As(err, &je) || je.Status != 404 {
		t.Fatalf("got %v", err)
	}
	if b, err := os.ReadFile(target); err != nil || string(b) != "mine" {
		t.Fatalf("the target was touched: %q, %v", b, err)
	}
}

// The public door can't be reached: ssh carries all.
func TestDoorShut(t *testing.T) {
	r := newFakeRelay(t, 5<<20)
	r.noDoor = true
	heard := &events{}
	c := newTestClient(t, r, func(cfg *Config) { cfg.Reporter = heard })
	res := mustGet(t, c, r, request(t.TempDir()))
	if res.Paths[PathSSH] != 5<<20 || res.Paths[PathTCP] != 0 {
		t.Errorf("%v", res.Paths)
	}
	if _, ok := find(heard, func(p progress.PathChange) bool { return p.State == progress.PathDown && p.Reason != "" }); !ok {
		t.Error("nobody was told why")
	}
}

func TestPathsAllowed(t *testing.T) {
	for _, p := range []Path{PathTCP, PathSSH} {
		r := newFakeRelay(t, 3<<20)
		res := mustGet(t, newTestClient(t, r, func(cfg *Config) { cfg.Paths = []Path{p} }), r, request(t.TempDir()))
		if len(res.Paths) != 3 || res.Paths[p] < 3<<20 {
			t.Errorf("%s alone: %v", p, res.Paths)
		}
	}
	if _, err := New(Config{Tunnel: (&fakeRelay{}).tunnel, Paths: []Path{"pigeon"}}); err == nil {
		t.Error("an unknown path was taken")
	}
}

// The tunnel drops in mid-job, and the data goes on without it.
func TestTunnelDrops(t *testing.T) {
	r := newFakeRelay(t, 6<<20)
	r.received, r.holdSums = 1<<20, true
	r.onRead = func(r *fakeRelay, n int64) {
		if n == 2 {
			r.cutTunnels()
			r.set(func() { r.received, r.holdSums = len(r.body), false })
		}
	}
	c := newTestClient(t, r, func(cfg *Config) { cfg.Paths = []Path{PathTCP} })
	mustGet(t, c, r, request(t.TempDir()))
	if r.submits.Load() != 1 || r.tunnels.Load() != 2 {
		t.Errorf("%d submissions over %d tunnels", r.submits.Load(), r.tunnels.Load())
	}
}

// The relay is restarted in mid-fetch.
func TestRelayRestarts(t *testing.T) {
	r := newFakeRelay(t, 8<<20)
	r.received = 2 << 20
	var once sync.Once
	restarted := make(chan struct{})
	r.onRead = func(r *fakeRelay, n int64) {
		once.Do(func() {
			go func() {
				defer close(restarted)
				r.set(func() {
					r.dial = func() (net.Conn, error) {
						return nil, &sshdial.Error{Kind: sshdial.NoRelay, Message: "no relay there"}
					}
				})
				r.stop()
				r.start()
				r.set(func() { r.received, r.dial = len(r.body), nil })
			}()
		})
	}
	mustGet(t, newTestClient(t, r, nil), r, request(t.TempDir()))
	<-restarted
	if r.submits.Load() != 1 {
		t.Errorf("submitted %d times", r.submits.Load())
	}
}

// The relay forgets the job, as after the loss of its database.
func TestJobLost(t *testing.T) {
	r := newFakeRelay(t, 6<<20)
	r.received = 1 << 20
	var once sync.Once
	r.onRead = func(r *fakeRelay, n int64) {
		once.Do(func() {
			go func() {
				r.set(func() { r.id, r.received = job.NewID(), len(r.body) })
				r.cutAll()
			}()
		})
	}
	mustGet(t, newTestClient(t, r, nil), r, request(t.TempDir()))
	if r.submits.Load() != 2 {
		t.Errorf("submitted %d times", r.submits.Load())
	}
}

// A run that was interrupted goes on where it stopped.
func TestResume(t *testing.T) {
	r := newFakeRelay(t, 8<<20)
	r.received = 5 << 20
	dir := t.TempDir()
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	reporter := progressFunc(func(e progress.Event) {
		if p, ok := e.(progress.Progress); ok && p.Verified >= 4<<20 {
			cancel(interrupted)
		}
	})
	c := newTestClient(t, r, func(cfg *Config) { cfg.Reporter = reporter })
	if _, err := c.Get(ctx, request(dir)); !errors.Is(err, interrupted) {
		t.Fatalf("got %v", err)
	}
	noFile(t, dir)
	r.set(func() { r.received = len(r.body) })
	res := mustGet(t, newTestClient(t, r, nil), r, request(dir))
	if res.Fetched > 4<<20 {
		t.Errorf("fetched %d bytes again", res.Fetched-4<<20)
	}
}

func TestNewerOnly(t *testing.T) {
	r := newFakeRelay(t, 1<<20)
	dir := t.TempDir()
	req := request(dir)
	req.Output.Newer = true
	c := newTestClient(t, r, nil)
	if res := mustGet(t, c, r, req); res.Skipped {
		t.Fatal("there was nothing to skip for")
	}
	res, err := c.Get(t.Context(), req)
	if err != nil || !res.Skipped {
		t.Fatalf("%+v, %v", res, err)
	}
}

func TestLimitRate(t *testing.T) {
	r := newFakeRelay(t, 1<<20)
	c := newTestClient(t, r, func(cfg *Config) { cfg.Limit = 2 << 20 })
	res := mustGet(t, c, r, request(t.TempDir()))
	if res.Elapsed < 350*time.Millisecond || res.Elapsed > 5*time.Second {
		t.Errorf("1 MiB at 2 MiB/s took %v", res.Elapsed)
	}
}

// Errors of the first contact are told at once and not met with patience.
func TestNoRelay(t *testing.T) {
	r := newFakeRelay(t, 1)
	for _, kind := range []sshdial.Kind{sshdial.NoRelay, sshdial.HostKeyChanged, sshdial.AuthRefused, sshdial.Unreachable} {
		r.dial = func() (net.Conn, error) { return nil, &sshdial.Error{Kind: kind, Message: "no"} }
		c := newTestClient(t, r, nil)
		_, err := c.Get(t.Context(), request(t.TempDir()))
		if !errors.Is(err, &sshdial.Error{Kind: kind}) {
			t.Errorf("%s: got %v", kind, err)
		}
		if _, err := c.Jobs(t.Context()); !errors.Is(err, &sshdial.Error{Kind: kind}) {
			t.Errorf("%s: got %v", kind, err)
		}
	}
}

func TestJobsOfTheUser(t *testing.T) {
	r := newFakeRelay(t, 1000)
	c := newTestClient(t, r, nil)
	ctx := t.Context()
	added, err := c.Add(ctx, job.Request{URL: "http://origin.test/f.bin"})
	if err != nil || added.ID != r.id {
		t.Fatalf("add: %+v, %v", added, err)
	}
	jobs, err := c.Jobs(ctx)
	if err != nil || len(jobs) != 1 {
		t.Fatalf("list: %+v, %v", jobs, err)
	}
	link, err := c.Link(ctx, r.id)
	if want := "https://" + r.doorAddr + "/d/" + string(r.id) + "/f.bin?token=token-1"; err != nil || link != want {
		t.Fatalf("link: %s, %v; want %s", link, err, want)
	}
	if err := c.Allow(ctx, r.id, netip.MustParseAddr("::ffff:192.0.2.1"), time.Hour); err != nil || !r.granted[netip.MustParseAddr("192.0.2.1")] {
		t.Fatalf("allow: %v, %v", err, r.granted)
	}
	if _, err := c.Extend(ctx, r.id, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := c.Remove(ctx, r.id); err != nil {
		t.Fatal(err)
	}
	if s, err := c.Status(ctx); err != nil || s.Endpoints[0].Host != "127.0.0.1" {
		t.Fatalf("status: %+v, %v", s, err)
	}
	if _, err := c.Job(ctx, job.NewID()); !errors.Is(err, &job.Error{Code: job.CodeNotFound}) {
		t.Fatalf("an unknown job: %v", err)
	}
	if _, err := c.Job(ctx, "../../etc"); !errors.Is(err, &job.Error{Code: job.CodeNotFound}) {
		t.Fatalf("no job at all: %v", err)
	}
}

// With a limit of tries a network that fails is an error, not a wait.
func TestTries(t *testing.T) {
	r := newFakeRelay(t, 1<<20)
	r.noDoor = true
	dir := t.TempDir()
	c := newTestClient(t, r, func(cfg *Config) { cfg.Paths, cfg.Tries = []Path{PathTCP}, 2 })
	_, err := c.Get(t.Context(), request(dir))
	if _, ok := errors.AsType[*transport.UnreachableError](err); !ok {
		t.Fatalf("got %v", err)
	}
	noFile(t, dir)
}

// The state that one run leaves is of use to the next, and garbage in it does
// no harm.
func TestMemory(t *testing.T) {
	m := memory{dir: t.TempDir(), relay: "user@host"}
	if _, ok := m.load(); ok {
		t.Error("something out of nothing")
	}
	e := job.Endpoint{Scheme: "https", Host: "192.0.2.1", Port: 3100, Pin: "not kept"}
	addr := netip.MustParseAddr("2001:db8::1")
	if err := m.save(remembered{Scheme: e.Scheme, Host: e.Host, Port: e.Port, Address: addr, Connections: 16}); err != nil {
		t.Fatal(err)
	}
	if err := m.save(remembered{Scheme: e.Scheme, Host: e.Host, Port: e.Port, Connections: 32}); err != nil {
		t.Fatal(err)
	}
	if r, ok := m.load(); !ok || r.Host != e.Host || r.Address != addr || r.Connections != 32 {
		t.Errorf("%+v, %v", r, ok)
	}
	for _, garbage := range []string{"", "{", `{"scheme":"gopher","host":"h","port":1}`, `{"scheme":"http","host":"h","port":99999999}`} {
		if err := os.WriteFile(m.path(), []byte(garbage), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, ok := m.load(); ok {
			t.Errorf("%q was taken for %+v", garbage, r)
		}
	}
}
