package relay

import (
	"context"
	"errors"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/store"
)

// RevokeSession ends a session of a user's at once.
func (r *Relay) RevokeSession(ctx context.Context, owner string, id job.ID) error {
	return r.revoke(ctx, id, func(s *Session) bool { return s.owner == owner })
}

// RevokeAnySession ends a session, whosever it is. It is for the operator.
func (r *Relay) RevokeAnySession(ctx context.Context, id job.ID) error {
	return r.revoke(ctx, id, func(*Session) bool { return true })
}

func (r *Relay) revoke(ctx context.Context, id job.ID, may func(*Session) bool) error {
	if err := r.sessionsOn(); err != nil {
		return err
	}
	r.sess.mu.Lock()
	s := r.sess.byID[id]
	r.sess.mu.Unlock()
	if s == nil || !s.Counts() || !may(s) {
		return errNoSession()
	}
	return r.revokeEach(ctx, []*Session{s})
}

// RevokeSessions ends all sessions of a user at once.
func (r *Relay) RevokeSessions(ctx context.Context, owner string) error {
	if err := r.sessionsOn(); err != nil {
		return err
	}
	return r.revokeEach(ctx, r.sessionsOf(owner))
}

// RevokeAllSessions ends everybody's sessions at once. It is for the operator.
func (r *Relay) RevokeAllSessions(ctx context.Context) error {
	if err := r.sessionsOn(); err != nil {
		return err
	}
	return r.revokeEach(ctx, r.LiveSessions())
}

func (r *Relay) revokeEach(ctx context.Context, all []*Session) error {
	var errs []error
	for _, s := range all {
		r.endSession(s, "revoked")
		if err := r.dropSession(ctx, s); err != nil {
			errs = append(errs, r.internal("delete a session, which has ended but may come back with a restart", err))
		}
	}
	return errors.Join(errs...)
}

// endSession ends a session, its streams and the tokens derived in it. It is
// done in memory first, so that no failing disk can keep it alive.
func (r *Relay) endSession(s *Session, why string) {
	r.sess.mu.Lock()
	if s.over {
		r.sess.mu.Unlock()
		return
	}
	s.over = true
	for hash, t := range r.sess.bearer {
		if t == s {
			delete(r.sess.bearer, hash)
		}
	}
	r.sess.mu.Unlock()
	// Its tokens stay in memory until they expire: who was let in with one a moment
	// ago still has to hear of the end, see Tied.
	r.auth.clear()
	r.cfg.SessionEnded(s.id)
	close(s.ended)
	r.log.Info("session ended", "session", s.id, "owner", s.owner, "why", why)
}

// dropSession deletes a session that is over.
func (r *Relay) dropSession(ctx context.Context, s *Session) error {
	err := r.cfg.Store.DeleteSession(context.WithoutCancel(ctx), s.id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	r.sess.mu.Lock()
	defer r.sess.mu.Unlock()
	delete(r.sess.byID, s.id)
	return nil
}

// sweepSessions prolongs the sessions that are in use, ends those whose time or
// user is gone, and returns when the next one ends.
func (r *Relay) sweepSessions(ctx context.Context) time.Duration {
	next, now := sweepEvery, r.now()
	r.sess.mu.Lock()
	all := make([]*Session, 0, len(r.sess.byID))
	for _, s := range r.sess.byID {
		if s.streams > 0 && s.counts(now) {
			s.prolong(now)
		}
		all = append(all, s)
	}
	for hash, t := range r.sess.tokens {
		if !now.Before(t.expires) {
			delete(r.sess.tokens, hash)
		}
	}
	look := apart(now, r.sess.looked)
	if look {
		r.sess.looked = now
	}
	r.sess.mu.Unlock()
	exists := r.userCheck(look)
	for _, s := range all {
		if left := r.sweepSession(ctx, s, now, exists); left > 0 {
			next = min(next, left)
		}
	}
	return next
}

// apart reports whether two times are so far apart that something regular is due;
// sweeps may follow each other much faster, and a clock may be set back.
func apart(now, before time.Time) bool { return now.Sub(before).Abs() >= sweepEvery }

// userCheck returns what tells whether a session's user is still there. Each user
// is looked up once, since that may mean a network's directory; or none is.
func (r *Relay) userCheck(look bool) func(job.Session) bool {
	if !look {
		return func(job.Session) bool { return true }
	}
	type user struct {
		name   string
		source job.Source
	}
	known := map[user]bool{}
	return func(s job.Session) bool {
		u := user{s.Owner, s.Source}
		if _, ok := known[u]; !ok {
			known[u] = r.cfg.UserExists(s)
		}
		return known[u]
	}
}

// sweepSession looks after one session and returns how long it has left.
func (r *Relay) sweepSession(ctx context.Context, s *Session, now time.Time, exists func(job.Session) bool) time.Duration {
	r.sess.mu.Lock()
	info, over := s.info, s.over
	note := s.dirty && apart(now, s.noted)
	r.sess.mu.Unlock()
	switch {
	case over:
	case !now.Before(info.Expires):
		r.endSession(s, "its time is over")
	case !exists(info):
		r.endSession(s, "there is no such user any more")
	default:
		if note {
			r.noteUse(ctx, s, info)
		}
		return info.Expires.Sub(now)
	}
	if err := r.dropSession(ctx, s); err != nil {
		r.log.Error("a session that has ended can't be deleted; trying again", "session", s.id, "err", err)
	}
	return 0
}

// flushSessions stores what was noted of the use of sessions.
func (r *Relay) flushSessions(ctx context.Context) {
	for _, s := range r.LiveSessions() {
		r.sess.mu.Lock()
		info, dirty := s.info, s.dirty
		r.sess.mu.Unlock()
		if dirty {
			r.noteUse(ctx, s, info)
		}
	}
}

// StillUser reports whether the session's user is still there; if not, the
// session ends.
func (s *Session) StillUser() bool {
	if s.r.cfg.UserExists(s.Info()) {
		return true
	}
	s.r.endSession(s, "there is no such user any more")
	return false
}
