package relay

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/session"
	"github.com/jumpget/jumpget/internal/store"
)

// Limits of sessions.
const (
	// MaxSession is how long a session may live, however much it is used: after
	// that its holder has to show once more that ssh lets him in.
	MaxSession = 7 * 24 * time.Hour

	defaultSession = 12 * time.Hour
	maxSessions    = 64  // of one user; one more ends the one used longest ago
	maxMachine     = 100 // bytes of a machine's name
	maxSeen        = 64  // addresses of a session in memory
)

// Session is a session that counts, or did when it was handed out. All methods
// may be called at the same time.
type Session struct {
	r     *Relay
	id    job.ID
	owner string
	hash  session.Hash
	until time.Time
	ended chan struct{}

	// Under sessions.mu.
	info    job.Session
	known   map[netip.Addr]bool // where its holder receives; true: used from there since the start
	over    bool
	dirty   bool      // info has changed since it was stored,
	noted   time.Time // which was then
	streams int       // under way, of a holder who has proved to receive
}

// sessions are those of a relay. The store has them for the next start.
type sessions struct {
	mu     sync.Mutex
	byID   map[job.ID]*Session // those that the store has, some of them over
	bearer map[[32]byte]*Session
	tokens map[[32]byte]derived
	coming map[[32]byte]chan struct{} // tokens that are about to be stored
	looked time.Time                  // when it was last asked whether their users are still there
}

// derived is a token that ends with its session.
type derived struct {
	session *Session
	expires time.Time
}

func newSessions() sessions {
	return sessions{
		byID: map[job.ID]*Session{}, bearer: map[[32]byte]*Session{},
		tokens: map[[32]byte]derived{}, coming: map[[32]byte]chan struct{}{},
	}
}

// ID returns the session's ID.
func (s *Session) ID() job.ID { return s.id }

// Owner returns whose jobs the session may use.
func (s *Session) Owner() string { return s.owner }

// Hash returns what the session's keys and tokens are made of.
func (s *Session) Hash() session.Hash { return s.hash }

// Until returns when the session ends, however much it is used.
func (s *Session) Until() time.Time { return s.until }

// Ended is closed when the session ends.
func (s *Session) Ended() <-chan struct{} { return s.ended }

// Info returns the session as it stands.
func (s *Session) Info() job.Session {
	s.r.sess.mu.Lock()
	defer s.r.sess.mu.Unlock()
	return s.info
}

// Counts reports whether the session has neither expired nor been revoked.
func (s *Session) Counts() bool {
	now := s.r.now()
	s.r.sess.mu.Lock()
	defer s.r.sess.mu.Unlock()
	return s.counts(now)
}

// Err is nil while the session counts, and else what to tell its holder.
func (s *Session) Err() error {
	if s.Counts() {
		return nil
	}
	return goneSession()
}

func (s *Session) counts(now time.Time) bool { return !s.over && now.Before(s.info.Expires) }

// Known reports whether the session's holder has proved before to receive at an
// address.
func (s *Session) Known(addr netip.Addr) bool {
	s.r.sess.mu.Lock()
	defer s.r.sess.mu.Unlock()
	_, ok := s.known[canonical(addr)]
	return ok
}

func canonical(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

// Use notes that the session's holder has proved to be at an address, and
// prolongs the session.
func (s *Session) Use(ctx context.Context, addr netip.Addr) {
	r, addr := s.r, canonical(addr)
	now := r.now()
	r.sess.mu.Lock()
	if !s.counts(now) {
		r.sess.mu.Unlock()
		return
	}
	s.prolong(now)
	used, known := s.known[addr]
	if addr.IsValid() {
		s.info.Addr = addr
		if len(s.known) >= maxSeen {
			clear(s.known)
		}
		s.known[addr] = true
	}
	info := s.info
	r.sess.mu.Unlock()
	if addr.IsValid() && !used {
		r.log.InfoContext(ctx, "session used", "session", s.id, "owner", s.owner, "addr", addr)
	}
	if addr.IsValid() && !known {
		r.noteUse(ctx, s, info)
	}
}

// prolong makes the session last from now on; the lock is held.
func (s *Session) prolong(now time.Time) {
	s.info.Used, s.dirty = now, true
	if s.info.Expires = now.Add(s.r.cfg.Sessions); s.info.Expires.After(s.info.Until) {
		s.info.Expires = s.info.Until
	}
}

// Hold keeps the session in use, so that it does not expire before its time,
// until release is called.
func (s *Session) Hold() (release func()) {
	add := func(n int) {
		s.r.sess.mu.Lock()
		defer s.r.sess.mu.Unlock()
		s.streams += n
		if s.counts(s.r.now()) {
			s.prolong(s.r.now())
		}
	}
	add(1)
	return sync.OnceFunc(func() { add(-1) })
}

// noteUse stores that a session was used.
func (r *Relay) noteUse(ctx context.Context, s *Session, info job.Session) {
	err := r.cfg.Store.UseSession(context.WithoutCancel(ctx), info)
	if err != nil {
		if s.Counts() { // else it has been deleted meanwhile
			r.log.Error("the use of a session can't be stored", "session", s.id, "err", err)
		}
		return
	}
	r.sess.mu.Lock()
	defer r.sess.mu.Unlock()
	s.noted = r.now()
	if s.info == info {
		s.dirty = false
	}
}

// IssueSession makes a session for the Owner, known by the Source, that who
// names, to be kept by the machine of that Name. Addr is where the holder is,
// if that is known.
func (r *Relay) IssueSession(ctx context.Context, who job.Session) (job.Session, session.Secret, error) {
	if err := r.sessionsOn(); err != nil {
		return job.Session{}, session.Secret{}, err
	}
	secret := session.New()
	now := r.now()
	kept := store.Session{Session: who, Hash: secret.Hash()}
	kept.ID, kept.Name, kept.Addr = job.NewID(), machineName(who.Name), netip.Addr{}
	kept.Created, kept.Used, kept.Until = now, now, now.Add(MaxSession)
	kept.Expires = now.Add(r.cfg.Sessions)
	kept.Known = r.receivesAt(ctx, who.Owner, who.Addr)
	r.makeSessionRoom(ctx, who.Owner)
	if err := r.cfg.Store.AddSession(ctx, kept); err != nil {
		return job.Session{}, session.Secret{}, r.internal("store a session", err)
	}
	s := r.enlistSession(kept)
	r.log.InfoContext(ctx, "session issued", "session", s.id, "owner", s.owner, "name", kept.Name, "expires", kept.Expires)
	return kept.Session, secret, nil
}

// receivesAt returns the addresses at which a user has said, over ssh, that he
// receives.
func (r *Relay) receivesAt(ctx context.Context, owner string, addr netip.Addr) (at []netip.Addr) {
	if addr = canonical(addr); addr.IsValid() {
		at = append(at, addr)
	}
	grants, err := r.cfg.Store.Grants(ctx, owner, "")
	if err != nil {
		r.log.Error("a user's grants can't be listed", "owner", owner, "err", err) // then he answers a challenge more
	}
	for _, g := range grants {
		if a := canonical(g.Addr); !slices.Contains(at, a) && len(at) < maxSeen/2 {
			at = append(at, a)
		}
	}
	return at
}

// machineName makes what a client says of itself fit for a log and a terminal.
func machineName(s string) string {
	s = strings.TrimSpace(strings.Map(func(c rune) rune {
		if !unicode.IsGraphic(c) || c == unicode.ReplacementChar {
			return -1
		}
		return c
	}, s))
	for len(s) > maxMachine {
		s = strings.ToValidUTF8(s[:maxMachine], "")
	}
	return s
}

// makeSessionRoom ends the sessions of a user that are too many with a new one.
func (r *Relay) makeSessionRoom(ctx context.Context, owner string) {
	all := r.sessionsOf(owner)
	slices.SortFunc(all, func(a, b *Session) int { return a.Info().Used.Compare(b.Info().Used) })
	for len(all) >= maxSessions {
		r.endSession(all[0], "too many of one user")
		_ = r.dropSession(ctx, all[0]) // the cleaner tries again
		all = all[1:]
	}
}

// enlistSession makes a stored session known to the doors.
func (r *Relay) enlistSession(kept store.Session) *Session {
	s := &Session{
		r: r, id: kept.ID, owner: kept.Owner, hash: kept.Hash, until: kept.Until, info: kept.Session,
		ended: make(chan struct{}), known: map[netip.Addr]bool{},
	}
	for _, a := range kept.Known {
		s.known[a] = false
	}
	r.sess.mu.Lock()
	r.sess.byID[s.id] = s
	r.sess.bearer[sha256.Sum256([]byte(s.hash.Bearer()))] = s
	r.sess.mu.Unlock()
	r.cfg.SessionIssued(s)
	return s
}

// SessionByBearer returns the session that a bearer stands for.
func (r *Relay) SessionByBearer(bearer string) (*Session, bool) {
	now := r.now()
	r.sess.mu.Lock()
	defer r.sess.mu.Unlock()
	s := r.sess.bearer[sha256.Sum256([]byte(bearer))]
	if s == nil || !s.counts(now) {
		return nil, false
	}
	return s, subtle.ConstantTimeCompare([]byte(s.hash.Bearer()), []byte(bearer)) == 1
}

// LiveSessions returns every session that counts.
func (r *Relay) LiveSessions() []*Session {
	now := r.now()
	r.sess.mu.Lock()
	defer r.sess.mu.Unlock()
	var all []*Session
	for _, s := range r.sess.byID {
		if s.counts(now) {
			all = append(all, s)
		}
	}
	return all
}

func (r *Relay) sessionsOf(owner string) []*Session {
	return slices.DeleteFunc(r.LiveSessions(), func(s *Session) bool { return s.owner != owner })
}

// Sessions returns the sessions of a user, the oldest first.
func (r *Relay) Sessions(owner string) ([]job.Session, error) {
	return r.listSessions(r.sessionsOf(owner))
}

// AllSessions returns everybody's sessions, the oldest first. It is for the
// operator.
func (r *Relay) AllSessions() ([]job.Session, error) { return r.listSessions(r.LiveSessions()) }

func (r *Relay) listSessions(some []*Session) ([]job.Session, error) {
	if err := r.sessionsOn(); err != nil {
		return nil, err
	}
	all := make([]job.Session, len(some))
	for i, s := range some {
		all[i] = s.Info()
	}
	slices.SortFunc(all, func(a, b job.Session) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(string(a.ID), string(b.ID))
	})
	return all, nil
}

func (r *Relay) sessionsOn() error {
	if r.cfg.Sessions < 0 {
		return job.Errorf(job.CodeForbidden, "this relay has no sessions").WithHint("its operator can allow them: serve --sessions on")
	}
	return nil
}

func errNoSession() error {
	return job.Errorf(job.CodeNotFound, "the relay has no such session of yours").WithHint("see `jumpget sessions`")
}

var errSessionOver = errors.New("relay: the session is over")

// goneSession is what the holder of a session is told that has just ended.
func goneSession() error {
	return &job.Error{
		Code: job.CodeExpired, Message: "the session has ended", Hint: "run the same command again: it goes over ssh", Err: errSessionOver,
	}
}

// loadSessions makes the sessions known that an earlier process has issued.
// Where sessions are off they end for good.
func (r *Relay) loadSessions(ctx context.Context) error {
	all, err := r.cfg.Store.Sessions(ctx)
	if err != nil {
		return fmt.Errorf("list sessions: %w", err)
	}
	for _, s := range all {
		switch {
		case r.cfg.Sessions >= 0:
			r.enlistSession(s)
		default:
			if err := r.cfg.Store.DeleteSession(ctx, s.ID); err != nil {
				return fmt.Errorf("end a session: %w", err)
			}
			r.log.InfoContext(ctx, "session ended", "session", s.ID, "owner", s.Owner, "why", "sessions are off")
		}
	}
	return nil
}
