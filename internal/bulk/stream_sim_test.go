package bulk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// testSession is a session, and all sessions of a relay.
type testSession struct {
	key   Key
	serve func(s *Stream)

	mu     sync.Mutex
	until  time.Time
	known  map[netip.Addr]bool
	served []*Stream
}

func (x *testSession) LookupSession(id KeyID) (Session, bool) { return x, id == x.key.ID }

func (x *testSession) Key() (Key, time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.key, x.until
}

func (x *testSession) expire(at time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.until = at
}

func (x *testSession) Known(a netip.Addr) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.known[a]
}

func (x *testSession) Serve(s *Stream) {
	x.mu.Lock()
	x.served = append(x.served, s)
	x.mu.Unlock()
	x.serve(s)
}

// streams is how many were served.
func (x *testSession) streams() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.served)
}

// echo sends back what it reads.
func echo(s *Stream) { _, _ = io.Copy(s, s) }

// newStreamWorld is a relay with one session whose streams are served so.
func newStreamWorld(t *testing.T, serve func(s *Stream), cfg ServerConfig) (*world, *testSession) {
	x := &testSession{
		key: NewSessionKey(sha256.Sum256([]byte("secret"))), until: time.Now().Add(12 * time.Hour),
		known: map[netip.Addr]bool{}, serve: serve,
	}
	cfg.Sessions = x
	w := newWorld(t, 1000, cfg)
	link50(w.net)
	return w, x
}

func (w *world) stream(x *testSession) *Stream {
	return DialStream(context.Background(), w.net.listen(clientAddr), relayAddr, StreamConfig{Key: x.key})
}

// bytesOf are n bytes of the pattern.
func bytesOf(n int) []byte {
	b := make([]byte, n)
	fillPattern(b, 0)
	return b
}

// ask writes a request and reads an answer of the same length.
func ask(t *testing.T, s *Stream, n int) time.Duration {
	t.Helper()
	start := time.Now()
	want := bytesOf(n)
	if _, err := s.Write(want); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, n)
	if _, err := io.ReadFull(s, got); err != nil {
		t.Fatalf("after %v: %v", time.Since(start), err)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("the answer is another")
	}
	return time.Since(start)
}
