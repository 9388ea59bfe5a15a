package client

import (
	"context"
	"errors"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/progress"
	"github.com/jumpget/jumpget/internal/reach"
	"github.com/jumpget/jumpget/internal/wire"
)

// sessionGrace is how long Close waits for a session that has been asked for:
// without it the next run starts with ssh again, which takes longer.
const sessionGrace = 500 * time.Millisecond

// newOpener returns what opens the tunnel.
func newOpener(cfg Config) *reach.Opener {
	rc := reach.Config{
		SSH: cfg.Tunnel, Network: cfg.Network, Log: cfg.Log,
		Notice: func(text string) { cfg.Reporter.Report(progress.Note{Text: text, Level: progress.Warning}) },
	}
	if slices.Contains(cfg.Paths, PathUDP) {
		rc.Ways = append(rc.Ways, reach.UDP)
	}
	if slices.Contains(cfg.Paths, PathTCP) {
		rc.Ways = append(rc.Ways, reach.TLS)
	}
	if cfg.StateDir != "" && !cfg.NoSession && len(rc.Ways) > 0 {
		rc.Store = reach.NewStore(cfg.StateDir, sessionName(cfg))
	}
	return reach.New(rc)
}

// RememberedRTT is the round trip time to the relay as an earlier run with the same
// settings measured it; 0: not known.
func RememberedRTT(cfg Config) time.Duration {
	if cfg.StateDir == "" {
		return 0
	}
	kept, _ := reach.NewStore(cfg.StateDir, sessionName(cfg)).Load() // 0 if there is none
	return kept.RTT
}

func sessionName(cfg Config) string { return cfg.Relay + "\n" + cfg.Login }

// sessions gets a session over ssh, aside, so that the next run needs no ssh.
type sessions struct {
	c      *Client
	opener *reach.Opener
	life   context.Context // of the client

	wanted atomic.Bool
	asking atomic.Bool
	tries  atomic.Int32
	wg     sync.WaitGroup
}

// sessionTries is how often a client asks for a session.
const sessionTries = 3

// want has a session asked for with the next submission over ssh, or behind an
// answer over ssh, if one is needed.
func (s *sessions) want() {
	if !s.wanted.Swap(true) {
		s.c.api.overSSH.Store(new(s.fetch))
	}
}

// along asks for a session behind a submission that has been written, if it goes
// over ssh: so both come with the same round trip.
func (s *sessions) along() {
	if s.wanted.Load() && s.c.api.tunnel.way() == reach.SSH {
		s.fetch()
	}
}

// fetch asks for a session, aside.
func (s *sessions) fetch() {
	if !s.opener.Wants() || s.asking.Swap(true) {
		return
	}
	if s.tries.Add(1) > sessionTries {
		return
	}
	s.wg.Go(func() {
		defer s.asking.Store(false)
		if err := s.ask(s.life); err != nil && s.life.Err() == nil {
			s.c.cfg.Log.Debug("no session for the next run", "error", err)
		}
	})
}

func (s *sessions) ask(ctx context.Context) error {
	name, err := os.Hostname()
	if err != nil {
		name = "" // the relay lists it without one
	}
	if err := s.revokeExposed(ctx); err != nil {
		return err
	}
	var answer wire.Session
	err = s.c.api.callOnce(ctx, http.MethodPost, "/v1/sessions", wire.NewSession{Name: name}, &answer)
	if e, ok := errors.AsType[*job.Error](err); ok && (e.Code == job.CodeForbidden || e.Code == job.CodeNotFound) {
		return errors.Join(err, s.opener.Decline())
	}
	if err != nil {
		return err
	}
	answer.Endpoints = wire.FromEndpoints(s.c.complete(wire.ToEndpoints(answer.Endpoints)))
	kept, err := reach.NewSession(answer, time.Now())
	if err != nil {
		return err
	}
	return s.opener.Keep(kept)
}

// revokeExposed ends a session whose secret others may have read. It goes before
// a new one is kept, which would be the last that is known of the old one.
func (s *sessions) revokeExposed(ctx context.Context) error {
	exposed := s.opener.Exposed()
	if exposed == "" {
		return nil
	}
	err := s.c.api.callOnce(ctx, http.MethodDelete, wire.SessionPath(exposed), nil, nil)
	if e, ok := errors.AsType[*job.Error](err); ok && e.Code == job.CodeNotFound {
		return nil // it is over anyway
	}
	return err
}

// settle waits a moment for what was asked for.
func (s *sessions) settle() {
	s.wanted.Store(false) // nobody asks from now on
	s.c.api.overSSH.Store(nil)
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	timer := time.NewTimer(sessionGrace)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// host is the host name of the relay. In a session it is known; else ssh tells.
func (c *Client) host() (string, error) {
	if s, ok := c.sessions.opener.Session(); ok && c.api.tunnel.way() != reach.SSH {
		return s.Host(), nil
	}
	return c.sshHost()
}

// Sessions lists the user's sessions at the relay, or as the relay's operator
// everybody's. It has to go over ssh, or on the relay's own machine: a session
// may not ask for that.
func (c *Client) Sessions(ctx context.Context, everybody bool) ([]wire.Session, error) {
	var out wire.Sessions
	err := c.api.call(ctx, http.MethodGet, "/v1/sessions"+allOf(everybody), nil, &out)
	return out.Sessions, err
}

// Revoke ends one session, or all of the user's if id is empty; as the relay's
// operator also those of others.
func (c *Client) Revoke(ctx context.Context, id job.ID, everybody bool) error {
	path := "/v1/sessions"
	if id != "" {
		if !id.Valid() {
			return job.Errorf(job.CodeNotFound, "%q is no session", string(id)).WithHint("`jumpget sessions` lists yours")
		}
		path = wire.SessionPath(id)
	}
	if err := c.api.call(ctx, http.MethodDelete, path+allOf(everybody), nil, nil); err != nil {
		return err
	}
	store := reach.NewStore(c.cfg.StateDir, sessionName(c.cfg))
	if kept, err := store.Load(); c.cfg.StateDir != "" && err == nil && (id == "" || kept.ID == id) {
		return store.Forget(kept.ID)
	}
	return nil
}

func allOf(everybody bool) string {
	if everybody {
		return "?all=1"
	}
	return ""
}

// KeptSession returns the session that this machine keeps for the relay; false:
// none that can be used.
func (c *Client) KeptSession() (reach.Session, bool) {
	if c.cfg.StateDir == "" {
		return reach.Session{}, false
	}
	kept, err := reach.NewStore(c.cfg.StateDir, sessionName(c.cfg)).Load()
	return kept, err == nil
}
