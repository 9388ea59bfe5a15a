package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/bulk"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/transport"
)

// fakeUDP is the UDP side of a fake relay: the real protocol over a real socket,
// with faults in between.
type fakeUDP struct {
	r    *fakeRelay
	port int

	sent  atomic.Int64                         // bytes that left it
	holed atomic.Bool                          // packets vanish, both ways
	after int64                                // bytes after which they do; 0: never
	pace  func(n int)                          // called for each send, to slow it down; nil: not
	known func(addr netip.Addr) (granted bool) // nil: everybody is

	session *fakeSession // nil: there is none
	opened  []string     // objects that connections asked for, in order; guarded by r.mu
	met     int          // first packets with the job's key; guarded by r.mu
}

// serveUDP adds a UDP port to a relay.
func serveUDP(t *testing.T, r *fakeRelay, faults func(*fakeUDP)) *fakeUDP {
	t.Helper()
	pc, err := transport.ListenUDP(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &fakeUDP{r: r, port: int(pc.Port())}
	if faults != nil {
		faults(u)
	}
	config := bulk.ServerConfig{Jobs: u}
	if u.session != nil {
		config.Sessions = u.session
	}
	server := bulk.NewServer(config)
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(&holed{pc, u}) })
	r.set(func() { r.udpPort = u.port })
	t.Cleanup(func() {
		server.Close()
		wg.Wait()
	})
	return u
}

// holed is a socket before a hole.
type holed struct {
	bulk.PacketConn
	u *fakeUDP
}

func (h *holed) Send(p []byte, size int, to bulk.Path) error {
	n := h.u.sent.Add(int64(len(p)))
	if h.u.after > 0 && n > h.u.after {
		h.u.holed.Store(true)
	}
	if h.u.holed.Load() {
		return nil
	}
	if h.u.pace != nil {
		h.u.pace(len(p))
	}
	return h.PacketConn.Send(p, size, to)
}

func (h *holed) ReadBatch(into []bulk.Datagram) (int, error) {
	for {
		n, err := h.PacketConn.ReadBatch(into)
		if err != nil || !h.u.holed.Load() {
			return n, err
		}
	}
}

func (u *fakeUDP) Lookup(id bulk.KeyID) (bulk.Job, bool) {
	u.r.mu.Lock()
	defer u.r.mu.Unlock()
	key := bulk.NewKey(sha256.Sum256([]byte(u.r.token)))
	if key.ID == id {
		u.met++
		u.r.cond.Broadcast()
	}
	return &fakeJob{u, key}, key.ID == id
}

type fakeJob struct {
	u   *fakeUDP
	key bulk.Key
}

func (j *fakeJob) Key() (bulk.Key, time.Time) { return j.key, time.Now().Add(time.Hour) }

func (j *fakeJob) Allowed(addr netip.Addr) bool { return j.u.known == nil || j.u.known(addr) }

func (j *fakeJob) Open(_ context.Context, object string) (bulk.Body, error) {
	r := j.u.r
	r.mu.Lock()
	defer r.mu.Unlock()
	j.u.opened = append(j.u.opened, object)
	if object != "" && object != string(r.object) {
		return nil, bulk.ErrChanged
	}
	return &fakeBody{r, r.object}, nil
}

// fakeBody is what the fake relay has of one object.
type fakeBody struct {
	r  *fakeRelay
	id job.ID
}

func (b *fakeBody) Object() string { return string(b.id) }

func (b *fakeBody) Size() (int64, bool) {
	b.r.mu.Lock()
	defer b.r.mu.Unlock()
	return int64(len(b.r.body)), b.r.sizeTold
}

var errOldObject = errors.New("the fake relay has another object by now")

func (b *fakeBody) ReadAt(p []byte, off int64) (int, error) {
	b.r.mu.Lock()
	defer b.r.mu.Unlock()
	switch {
	case b.r.object != b.id:
		return 0, errOldObject
	case off >= int64(len(b.r.body)):
		return 0, io.EOF
	case off >= int64(b.r.received):
		return 0, nil
	}
	b.r.lowest = min(b.r.lowest, off)
	return copy(p, b.r.body[off:b.r.received]), nil
}

func (b *fakeBody) Wait(ctx context.Context, off int64) error {
	defer context.AfterFunc(ctx, func() { b.r.set(func() {}) })()
	b.r.mu.Lock()
	defer b.r.mu.Unlock()
	for b.r.object == b.id && off >= int64(b.r.received) && off < int64(len(b.r.body)) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		b.r.cond.Wait()
	}
	return nil
}

func (b *fakeBody) Close() error { return nil }
