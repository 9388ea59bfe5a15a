// Package bulkd serves the bulk protocol for the relay: it is to package bulk
// what httpd's public door is to net/http. It knows which key stands for which
// job's token, asks package relay who may read, and hands bodies out.
package bulkd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/jumpget/jumpget/internal/bulk"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/relay"
	"github.com/jumpget/jumpget/internal/span"
)

// Jobs is what the door needs of package relay.
type Jobs interface {
	// Admit judges a request of somebody who has proved to know the token with
	// this hash.
	Admit(ctx context.Context, id job.ID, hash [32]byte, addr netip.Addr) relay.Verdict
	// Await waits while a token is being stored whose key is known already.
	Await(ctx context.Context, hash [32]byte)
	Open(ctx context.Context, id job.ID) (*relay.Body, error)
}

// Config is all a Door needs. Jobs is required.
type Config struct {
	Jobs Jobs
	// Serve gets each stream of a session, until it returns; nil: there are none.
	Serve func(s *bulk.Stream, of *relay.Session)

	Log   *slog.Logger     // nil: silent
	Clock func() time.Time // nil: time.Now
	Trace string           // folder for traces; "": none
}

// Door serves clients over one UDP socket. Make one with New.
type Door struct {
	cfg    Config
	server *bulk.Server

	mu       sync.Mutex
	keys     map[bulk.KeyID]*ticket
	next     int // the size of keys at which expired ones are removed
	sessions map[bulk.KeyID]*held
}

// sweepAt is how many keys there may be before expired ones are looked for.
const sweepAt = 1024

// New returns a door that waits for Serve.
func New(cfg Config) *Door {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	d := &Door{cfg: cfg, keys: map[bulk.KeyID]*ticket{}, next: sweepAt, sessions: map[bulk.KeyID]*held{}}
	c := bulk.ServerConfig{Jobs: d, Log: cfg.Log, Trace: cfg.trace()}
	if cfg.Serve != nil {
		c.Sessions = d
	}
	d.server = bulk.NewServer(c)
	return d
}

// Issued makes a token's key known. Call it for each token that is given out, or
// is about to be, and at the start for those that still count.
func (d *Door) Issued(t relay.Token) {
	k := &ticket{door: d, token: t, key: bulk.NewKey(t.Hash)}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.keys) >= d.next {
		now := d.cfg.Clock()
		for id, old := range d.keys {
			if !now.Before(old.token.Expires) {
				delete(d.keys, id)
			}
		}
		d.next = max(sweepAt, 2*len(d.keys))
	}
	d.keys[k.key.ID] = k
}

// Serve answers packets until Shutdown; then it returns nil. It closes pc.
func (d *Door) Serve(pc bulk.PacketConn) error {
	err := d.server.Serve(pc)
	if errors.Is(err, bulk.ErrClosed) {
		return nil
	}
	return err
}

// Shutdown tells every client that the relay is going down, and ends. A client
// asks again for what it misses, so there is nothing to wait for.
func (d *Door) Shutdown(context.Context) error {
	d.server.Close()
	return nil
}

// Lookup returns the job that a key stands for; see bulk.Jobs.
func (d *Door) Lookup(id bulk.KeyID) (bulk.Job, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k, ok := d.keys[id]
	return k, ok
}

// ticket is one token's right to read one job; it is a bulk.Job.
type ticket struct {
	door  *Door
	token relay.Token
	key   bulk.Key
}

// Key returns the key and the time until which it counts.
func (k *ticket) Key() (bulk.Key, time.Time) { return k.key, k.token.Expires }

// lookupTime bounds a look at the database.
const lookupTime = 5 * time.Second

// Allowed tells whether the token still counts and an address is granted.
func (k *ticket) Allowed(addr netip.Addr) bool {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	return k.door.cfg.Jobs.Admit(ctx, k.token.Job, k.token.Hash, addr) == relay.Granted
}

// Open leases the job's bytes.
func (k *ticket) Open(ctx context.Context, object string) (bulk.Body, error) {
	k.door.cfg.Jobs.Await(ctx, k.token.Hash)
	b, err := k.door.cfg.Jobs.Open(ctx, k.token.Job)
	if err != nil {
		return nil, goneOr(err)
	}
	if object != "" && object != string(b.Object().ID) {
		b.Close()
		return nil, bulk.ErrChanged
	}
	return body{b}, nil
}

// goneOr makes the ends that only a new ticket mends known to bulk.
func goneOr(err error) error {
	for _, code := range []job.Code{job.CodeNotFound, job.CodeExpired, job.CodeRemoved} {
		if errors.Is(err, &job.Error{Code: code}) {
			return errors.Join(bulk.ErrGone, err)
		}
	}
	return err
}

// body is a leased body as package bulk reads it.
type body struct{ *relay.Body }

func (b body) Object() string { return string(b.Body.Object().ID) }

func (b body) ReadAt(p []byte, off int64) (int, error) { return b.ReadNow(p, off) }

func (b body) Wait(ctx context.Context, off int64) error {
	err := b.Body.Wait(ctx, span.Span{Start: off, End: off + 1})
	if errors.Is(err, io.EOF) {
		return nil // ReadAt says so
	}
	return err
}

func (b body) Close() error {
	b.Body.Close()
	return nil
}
