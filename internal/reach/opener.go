package reach

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/jumpget/jumpget/internal/bulk"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/transport"
)

const (
	// How long the session's ways may keep silent before ssh starts beside them:
	// about four round trips, in these bounds.
	leastPatience = 800 * time.Millisecond
	mostPatience  = 3 * time.Second

	// hollowStreams is how many streams in a row may break without having
	// answered a request before ssh is taken instead.
	hollowStreams = 3

	// soonOver is how long a session has to live to be good for the next runs.
	soonOver = time.Hour

	// renewStep is by how much a session's end has to move to be written down.
	renewStep = 10 * time.Minute
)

// Config is what an Opener needs.
type Config struct {
	// SSH opens a stream over ssh. Required.
	SSH func(ctx context.Context) (net.Conn, error)

	// Store keeps the session. nil: none is used.
	Store *Store

	// Ways are the session's ways that may be used: UDP, TLS. ssh always may.
	Ways []Way

	// Network is "tcp", "tcp4" or "tcp6". Empty: "tcp".
	Network string

	// Notice hears what a person should know. nil: nobody does.
	Notice func(text string)

	// Log gets what is of use to somebody who looks for a fault. nil: nothing.
	Log *slog.Logger
}

// Opener opens streams to one relay's local API. It is safe for concurrent use.
type Opener struct {
	cfg Config
	now func() time.Time

	mu       sync.Mutex
	session  Session // none if it has no ID
	exposed  job.ID  // of a session that others may know; empty: none
	declined bool    // the relay gives no session
	hollow   int     // streams in the session that answered no request
}

// New returns an opener. It reads the session's file and connects to nothing.
func New(cfg Config) *Opener {
	if cfg.Notice == nil {
		cfg.Notice = func(string) {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	o := &Opener{cfg: cfg, now: time.Now}
	if cfg.Store == nil {
		return o
	}
	kept, err := cfg.Store.Load()
	bad, unusable := errors.AsType[*UnusableError](err)
	switch {
	case unusable:
		o.exposed = bad.ID
		cfg.Notice(bad.Error() + "; going over ssh, which gives a new one")
	case err == nil && kept.Live(o.now()):
		o.session = kept
	case err == nil:
		cfg.Log.Debug("the session is over", "id", kept.ID)
	}
	o.declined = err != nil && cfg.Store.Declined()
	return o
}

// Session returns the session in which streams are opened; false: there is none,
// they go over ssh.
func (o *Opener) Session() (Session, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.session, o.session.ID != "" && o.session.Live(o.now()) && o.hollow < hollowStreams
}

// Open opens a stream and returns at once, except that starting ssh may take a
// moment. See the package comment for what may be written to it first.
func (o *Opener) Open(ctx context.Context) (net.Conn, error) {
	s, ok := o.Session()
	legs := o.legs(s)
	if !ok || len(legs) == 0 {
		return o.cfg.SSH(ctx)
	}
	return race(ctx, o.patience(s), legs, leg{SSH, o.cfg.SSH}, func(out Outcome) { o.decided(s, out) }), nil
}

// WayOf tells which way a stream that Open gave goes; "" while that is open.
func WayOf(conn net.Conn) Way {
	if s, ok := conn.(*Stream); ok {
		return s.Way()
	}
	return SSH
}

func (o *Opener) legs(s Session) []leg {
	var legs []leg
	if at, ok := s.Endpoint(job.SchemeUDP); ok && slices.Contains(o.cfg.Ways, UDP) {
		legs = append(legs, leg{UDP, func(ctx context.Context) (net.Conn, error) {
			return openUDP(ctx, o.cfg.Network, at, bulk.NewSessionKey(s.Secret.Hash()), func() { o.drop(s.ID) })
		}})
	}
	if at, ok := s.Endpoint("https"); ok && slices.Contains(o.cfg.Ways, TLS) {
		legs = append(legs, leg{TLS, func(ctx context.Context) (net.Conn, error) {
			return openTLS(ctx, o.cfg.Network, at, s.Secret.Hash().Bearer())
		}})
	}
	return legs
}

// patience is how long the session's ways have before ssh starts as well. Where
// they brought nothing lately, they get no head start.
func (o *Opener) patience(s Session) time.Duration {
	quiet := o.now().Sub(s.Quiet)
	switch {
	case quiet >= 0 && quiet < quietFor:
		return 0
	case s.RTT <= 0:
		return mostPatience
	}
	return min(max(4*s.RTT, leastPatience), mostPatience)
}

// decided draws the conclusions of a race.
func (o *Opener) decided(s Session, out Outcome) {
	o.cfg.Log.Info("the relay has answered", "way", string(out.Way), "after", out.After, "failed", out.Err)
	var other *transport.PinMismatchError
	var refused *RefusedError
	switch {
	case out.Way == UDP, out.Way == TLS:
		o.mu.Lock()
		o.hollow++
		o.mu.Unlock()
		if !s.Quiet.IsZero() {
			o.update(s.ID, func(k *Session) { k.Quiet = time.Time{} })
		}
	case errors.As(out.Err[TLS], &other):
		o.drop(s.ID)
		o.cfg.Notice("the certificate shown by " + other.Addr + " is not the one that the session was made with: the relay was installed anew, or somebody " +
			"stands in between. The session is not used any more; ssh tells whose certificate it is")
	case errors.As(out.Err[TLS], &refused), errors.As(out.Err[UDP], &refused):
		o.drop(s.ID)
	case out.Way == SSH:
		o.update(s.ID, func(k *Session) { k.Quiet = o.now().UTC() })
	}
}

// drop forgets a session that does not count any more.
func (o *Opener) drop(id job.ID) {
	o.mu.Lock()
	if o.session.ID == id {
		o.session = Session{}
	}
	o.mu.Unlock()
	o.cfg.Log.Info("the relay does not take the session any more", "id", id)
	if err := o.cfg.Store.Forget(id); err != nil {
		o.cfg.Log.Warn("the session's file can't be removed", "error", err)
	}
}

// update changes what is kept of a session, here and in its file.
func (o *Opener) update(id job.ID, change func(*Session)) {
	o.mu.Lock()
	mine := o.session.ID == id && id != ""
	if mine {
		change(&o.session)
	}
	o.mu.Unlock()
	if !mine {
		return
	}
	if err := o.cfg.Store.Update(id, change); err != nil && !errors.Is(err, ErrNone) {
		o.cfg.Log.Debug("the session's file can't be changed", "error", err)
	}
}

// Works notes that a request was answered on a stream.
func (o *Opener) Works() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.hollow = 0
}

// Renewed notes until when a session counts now, as the relay said in it.
func (o *Opener) Renewed(expires time.Time) {
	s, ok := o.Session()
	if ok && expires.Sub(s.Expires) >= renewStep {
		o.update(s.ID, func(k *Session) { k.Expires = expires })
	}
}

// Measured notes the round trip time to the relay.
func (o *Opener) Measured(rtt time.Duration) {
	s, ok := o.Session()
	if ok && rtt > 0 && (rtt < s.RTT*3/4 || rtt > s.RTT*5/4) {
		o.update(s.ID, func(k *Session) { k.RTT = rtt })
	}
}

// Wants tells whether a session should be asked for over ssh: there is none that
// lives another while, and the relay has not said that it gives none.
func (o *Opener) Wants() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.cfg.Store != nil && !o.declined && !o.session.Live(o.now().Add(soonOver))
}

// Keep takes a session that was issued over ssh: later streams are opened in it.
func (o *Opener) Keep(s Session) error {
	o.mu.Lock()
	o.session, o.hollow, o.exposed = s, 0, ""
	o.mu.Unlock()
	return o.cfg.Store.Save(s)
}

// Decline notes that the relay gives no session.
func (o *Opener) Decline() error {
	o.mu.Lock()
	o.declined = true
	o.mu.Unlock()
	return o.cfg.Store.Decline()
}

// Exposed returns the ID of a session whose secret others may know; it should be
// revoked before another is kept.
func (o *Opener) Exposed() job.ID {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.exposed
}
