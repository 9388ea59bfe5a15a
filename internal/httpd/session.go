package httpd

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/relay"
	"github.com/jumpget/jumpget/internal/wire"
)

// SessionStream is a stream to the local API of somebody who holds a session.
type SessionStream struct {
	net.Conn
	Session *relay.Session

	// Addr returns where the holder is, as far as that is proved; before Confirmed,
	// where his packets seem to come from.
	Addr func() netip.Addr

	// Confirmed is closed once the holder has shown that he receives what is sent to
	// him. Before that, what is read may be a copy of what he sent long ago, with a
	// false address. nil: he has.
	Confirmed <-chan struct{}
}

// sessionConn is what an apiConn has of its session.
type sessionConn struct {
	SessionStream
	cfg *LocalConfig

	mu        sync.Mutex
	confirmed bool
	later     []job.ID // jobs that get a grant once it is
}

var errSessionEnded = errors.New("the session has ended")

// ServeSession answers requests on the stream of a session, by its rules. It
// returns when the stream is done, at the session's end at the latest, and closes it.
func (s *Local) ServeSession(st SessionStream) error { return s.serveSession(st, nil) }

// serveSession is ServeSession for a stream of which something was read ahead.
func (s *Local) serveSession(st SessionStream, ahead *bufio.Reader) error {
	ac := newAPIConn(st.Conn, Identity{User: st.Session.Owner()})
	ac.r = ahead
	ac.held = &sessionConn{SessionStream: st, cfg: &s.cfg, confirmed: st.Confirmed == nil}
	if !st.Session.StillUser() {
		return errors.Join(errSessionEnded, ac.Close())
	}
	if !s.enter(ac) {
		return errors.Join(tooMany(ac.id.User, s.cfg.MaxConns), ac.Close())
	}
	var follow sync.WaitGroup
	defer follow.Wait()
	follow.Go(func() { ac.held.follow(ac) })
	if !s.conns.put(ac) {
		return errors.Join(errDraining, ac.Close())
	}
	<-ac.closed
	return nil
}

// follow sees to a stream's session from its beginning to its end.
func (h *sessionConn) follow(ac *apiConn) {
	if h.Confirmed != nil {
		select {
		case <-h.Confirmed:
		case <-h.Session.Ended():
			_ = ac.Close() // whatever was said on it
			return         // nothing was proved
		case <-ac.closed:
			return
		}
	}
	defer h.Session.Hold()()
	h.confirm()
	select {
	case <-h.Session.Ended():
		_ = ac.Close()
	case <-ac.closed:
	}
}

// confirmTime bounds the writing down of what was confirmed.
const confirmTime = 10 * time.Second

// confirm notes that the holder receives where he seems to be.
func (h *sessionConn) confirm() {
	ctx, cancel := context.WithTimeout(context.Background(), confirmTime)
	defer cancel()
	h.mu.Lock()
	h.confirmed = true
	later := h.later
	h.later = nil
	h.mu.Unlock()
	h.Session.Use(ctx, h.Addr())
	h.grant(ctx, later...)
}

// receives reports whether it is proved that the holder receives at an address.
func (h *sessionConn) receives(addr netip.Addr) bool {
	h.mu.Lock()
	confirmed := h.confirmed
	h.mu.Unlock()
	return confirmed || h.Session.Known(addr)
}

// grantLater grants the holder's address to a job as soon as it is proved.
func (h *sessionConn) grantLater(id job.ID) {
	h.mu.Lock()
	confirmed := h.confirmed
	if !confirmed {
		h.later = append(h.later, id)
	}
	h.mu.Unlock()
	if confirmed {
		ctx, cancel := context.WithTimeout(context.Background(), confirmTime)
		defer cancel()
		h.grant(ctx, id)
	}
}

func (h *sessionConn) grant(ctx context.Context, ids ...job.ID) {
	for _, id := range ids {
		if err := h.cfg.Jobs.Allow(ctx, job.Grant{Owner: h.Session.Owner(), Job: id, Addr: h.Addr()}); err != nil {
			h.cfg.Log.Debug("the address of a session can't be granted", "job", id, "err", err) // the client asks for it itself
		}
	}
}

// wait waits until the holder has proved to receive.
func (h *sessionConn) wait(ctx context.Context) error {
	h.mu.Lock()
	confirmed := h.confirmed
	h.mu.Unlock()
	if confirmed {
		return nil
	}
	select {
	case <-h.Confirmed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// identity is who is speaking just now: the address in a session may change.
func (c *apiConn) identity() Identity {
	id := c.id
	if c.held != nil {
		id.Addr = c.held.Addr().Unmap().WithZone("")
	}
	return id
}

// inSession holds a request in a session to the rules: nothing that changes
// something is done for what may be a replay, but for a submission, which can be
// repeated. See routes.go for that one.
func inSession(w http.ResponseWriter, r *http.Request) error {
	h := connOf(r.Context()).held
	if h == nil {
		return nil
	}
	if err := h.Session.Err(); err != nil {
		return err
	}
	safe := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method+" "+r.URL.Path == wire.RouteSubmit
	if !safe {
		if err := h.wait(r.Context()); err != nil {
			return err
		}
	}
	h.mu.Lock()
	confirmed := h.confirmed
	h.mu.Unlock()
	if confirmed {
		h.Session.Use(r.Context(), h.Addr())
	}
	w.Header().Set(wire.HeaderSession, h.Session.Info().Expires.Format(time.RFC3339))
	return nil
}
