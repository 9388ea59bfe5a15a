package httpd

import (
	"context"
	"net/http"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/wire"
)

var errInSession = job.Errorf(job.CodeForbidden, "sessions can't be issued, listed or revoked in a session").
	WithHint("use --no-session, which goes over ssh")

func (s *Local) newSession(w http.ResponseWriter, r *http.Request, who Identity) error {
	if connOf(r.Context()).held != nil {
		return errInSession
	}
	var in wire.NewSession
	if err := decode(r, &in); err != nil {
		return err
	}
	info, err := s.cfg.Jobs.Info(r.Context(), who.User)
	if err != nil {
		return err
	}
	made, secret, err := s.cfg.Jobs.IssueSession(r.Context(), job.Session{Owner: who.User, Source: who.Source, Name: in.Name, Addr: who.Addr})
	if err != nil {
		return err
	}
	out := wire.FromSession(made)
	out.Secret, out.Endpoints = secret.Reveal(), wire.FromEndpoints(info.Endpoints)
	s.answer(w, r, http.StatusOK, out)
	return nil
}

// everybody reads ?all=1, which is for the operator.
func everybody(r *http.Request, who Identity) (bool, error) {
	switch {
	case connOf(r.Context()).held != nil:
		return false, errInSession
	case r.URL.Query().Get("all") != "1":
		return false, nil
	case !who.Operator:
		return false, job.Errorf(job.CodeForbidden, "only the relay's operator may do this for everybody").
			WithHint("as root or as the relay's own user, on the relay's machine")
	}
	return true, nil
}

func (s *Local) sessions(w http.ResponseWriter, r *http.Request, who Identity) error {
	all, err := everybody(r, who)
	if err != nil {
		return err
	}
	list := func() ([]job.Session, error) { return s.cfg.Jobs.Sessions(who.User) }
	if all {
		list = s.cfg.Jobs.AllSessions
	}
	some, err := list()
	if err != nil {
		return err
	}
	out := wire.Sessions{Sessions: make([]wire.Session, len(some))}
	for i, one := range some {
		out.Sessions[i] = wire.FromSession(one)
	}
	s.answer(w, r, http.StatusOK, out)
	return nil
}

func (s *Local) revokeSession(w http.ResponseWriter, r *http.Request, who Identity) error {
	id := job.ID(r.PathValue("session"))
	if own := connOf(r.Context()).held; own != nil && own.Session.ID() == id {
		return s.revokeOwn(w, r, own)
	}
	all, err := everybody(r, who)
	if err != nil {
		return err
	}
	revoke := func() error { return s.cfg.Jobs.RevokeSession(r.Context(), who.User, id) }
	if all {
		revoke = func() error { return s.cfg.Jobs.RevokeAnySession(r.Context(), id) }
	}
	if err := revoke(); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// revokeOwn ends the session on whose stream it was asked for, once the answer has
// left: nothing does afterwards.
func (s *Local) revokeOwn(w http.ResponseWriter, r *http.Request, own *sessionConn) error {
	ctx := context.WithoutCancel(r.Context())
	context.AfterFunc(r.Context(), func() {
		if err := s.cfg.Jobs.RevokeSession(ctx, own.Session.Owner(), own.Session.ID()); err != nil {
			s.cfg.Log.DebugContext(ctx, "a session is not revoked by itself", "err", err)
		}
	})
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Local) revokeSessions(w http.ResponseWriter, r *http.Request, who Identity) error {
	all, err := everybody(r, who)
	if err != nil {
		return err
	}
	revoke := func() error { return s.cfg.Jobs.RevokeSessions(r.Context(), who.User) }
	if all {
		revoke = func() error { return s.cfg.Jobs.RevokeAllSessions(r.Context()) }
	}
	if err := revoke(); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
