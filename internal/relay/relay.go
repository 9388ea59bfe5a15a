package relay

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jumpget/jumpget/internal/blob"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origin"
	"github.com/jumpget/jumpget/internal/store"
)

// Fetcher is what the relay needs of package origin; tests bring their own.
type Fetcher interface {
	Fetch(ctx context.Context, req *job.Request, prior *origin.Prior, sink origin.Sink) (origin.Result, error)
	Revalidate(ctx context.Context, req *job.Request, obj *job.Object) (unchanged bool, err error)
}

// Config is all a Relay needs. Store, Blobs and Fetcher are required.
type Config struct {
	Store   store.Store
	Blobs   blob.Store
	Fetcher Fetcher
	Bundles Fetcher // of requests with many files; nil: they are refused

	Retain    time.Duration         // how long a job is kept; 0: 12 h
	MaxFile   int64                 // bytes of one file; 0: no cap
	Quota     int64                 // bytes of all bodies; 0: none
	Fetches   int                   // fetches at once, others wait; 0: 8
	Endpoints func() []job.Endpoint // the public door, for tickets; nil: none
	Issued    func(Token)           // hears of each token that is given out; nil: nobody does
	Sessions  time.Duration         // how long a session lasts from its last use, at most MaxSession; 0: 12 h; negative: there are none

	// SessionIssued hears of each session that can be used, those that an earlier
	// process has issued included, and SessionEnded of its end. nil: nobody does.
	SessionIssued func(*Session)
	SessionEnded  func(job.ID)

	// UserExists reports whether there still is a session's user, so that a session
	// does not outlive him. It may block for a moment. nil: there always is.
	UserExists func(job.Session) bool

	Clock func() time.Time // nil: time.Now
	Log   *slog.Logger     // nil: silent
}

// Limits that no setting changes.
const (
	maxRetain    = 10 * 365 * 24 * time.Hour // beyond any use, within what a time.Duration holds
	keepExpired  = 24 * time.Hour            // how long a list still shows a job that has expired
	postpone     = 10 * time.Minute          // added to a job that expires while it is in use
	idleClose    = 5 * time.Minute           // after which an unused body's files are closed
	touchEvery   = 10 * time.Second          // between two notes of an object's use
	checkpoint   = 2 * time.Second           // between syncs of a growing body
	statusPeriod = 250 * time.Millisecond    // between statuses that tell of progress alone
	growthPeriod = 50 * time.Millisecond     // the same while the size is unknown: then nobody can ask for what they have not been told of
	sumsPeriod   = 10 * time.Millisecond     // sums that come closer together share one event
	maxSums      = 4096                      // sums in one event: 128 KiB
	growStep     = 16 << 20                  // a body of unknown length asks for room in such steps
)

// errShutdown is the cause that ends fetches when the relay goes down: their
// jobs stay as they are and the next start goes on with them.
var errShutdown = job.Errorf(job.CodeUnavailable, "the relay is shutting down").
	WithHint("run the same command again in a moment")

// Relay runs jobs. Make one with New and end it with Close.
//
// Locks are taken in the order room, db, mu. The db lock is held over every
// change of a job, so a job can't join a fetch that is just ending, and over
// opening and removing bodies, so nobody opens what is just being removed. mu
// is held for a moment only, never over I/O.
type Relay struct {
	cfg   Config
	log   *slog.Logger
	ctx   context.Context // ends with Close; its cause is errShutdown
	stop  context.CancelCauseFunc
	wg    sync.WaitGroup
	slots chan struct{} // one for each fetch under way

	changed signal // some job has changed
	auth    authCache
	sess    sessions

	room sync.Mutex // held while room is made and taken
	db   sync.Mutex

	mu      sync.Mutex
	flights map[string]*flight // by key
	lives   map[job.ID]*live   // bodies that are open
	sound   map[job.ID]bool    // complete bodies verified by this process
	unsaved map[job.ID]job.Job // changes that the store has refused so far
	closing bool
}

// New recovers what an earlier process left (see recover.go) and starts to
// fetch what was not finished.
func New(ctx context.Context, cfg Config) (*Relay, error) {
	if cfg.Store == nil || cfg.Blobs == nil || cfg.Fetcher == nil {
		return nil, errors.New("relay: a store, bodies and a fetcher are needed")
	}
	r := &Relay{
		cfg:     cfg.withDefaults(),
		flights: make(map[string]*flight), lives: make(map[job.ID]*live),
		sound: make(map[job.ID]bool), unsaved: make(map[job.ID]job.Job),
		sess: newSessions(),
	}
	r.log = r.cfg.Log
	r.slots = make(chan struct{}, r.cfg.Fetches)
	r.ctx, r.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	for _, step := range []func(context.Context) error{r.loadSessions, r.recover} {
		if err := step(ctx); err != nil {
			r.Close()
			return nil, err
		}
	}
	return r, nil
}

func (c Config) withDefaults() Config {
	if c.Retain <= 0 {
		c.Retain = 12 * time.Hour
	}
	if c.Fetches <= 0 {
		c.Fetches = 8
	}
	if c.Endpoints == nil {
		c.Endpoints = func() []job.Endpoint { return nil }
	}
	if c.Issued == nil {
		c.Issued = func(Token) {}
	}
	if c.Sessions == 0 {
		c.Sessions = defaultSession
	}
	c.Sessions = min(c.Sessions, MaxSession)
	if c.SessionIssued == nil {
		c.SessionIssued = func(*Session) {}
	}
	if c.SessionEnded == nil {
		c.SessionEnded = func(job.ID) {}
	}
	if c.UserExists == nil {
		c.UserExists = func(job.Session) bool { return true }
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Close stops every fetch where it is, ends all watchers and readers, makes
// durable what has arrived and waits for all of it. Nothing is lost: the next
// New goes on.
func (r *Relay) Close() {
	r.mu.Lock()
	r.closing = true
	r.mu.Unlock()
	r.stop(errShutdown)
	r.wg.Wait()
	r.flushSessions(context.Background())
	r.mu.Lock()
	left := slices.Collect(maps.Values(r.lives))
	r.mu.Unlock()
	for _, lv := range left {
		lv.body.Abort(errShutdown)
		r.drop(lv)
	}
}

// begin counts a goroutine in, unless the relay is closing.
func (r *Relay) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing {
		return false
	}
	r.wg.Add(1)
	return true
}

func (r *Relay) now() time.Time { return r.cfg.Clock().UTC() }

// signal wakes everybody who waits for something to change. Take C first, then
// look, then wait, and no change is missed.
type signal struct {
	mu sync.Mutex
	ch chan struct{}
}

// C returns a channel that the next Fire closes.
func (s *signal) C() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

// Fire wakes those who wait.
func (s *signal) Fire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}
