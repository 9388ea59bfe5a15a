package httpd

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/jumpget/jumpget/internal/bundle"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/relay"
	"github.com/jumpget/jumpget/internal/wire"
)

// maxAllow is how many addresses one submission may grant.
const maxAllow = 64

// handler is a route of the local API; who is the caller. An error that it
// returns becomes the answer, so nothing may have been written before.
type handler func(w http.ResponseWriter, r *http.Request, who Identity) error

func (s *Local) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range map[string]handler{
		wire.RouteHealth: s.health,
		wire.RouteStatus: s.status,
		wire.RouteSubmit: s.submit,
		wire.RouteList:   s.list,
		wire.RouteJob:    s.job,
		wire.RouteEvents: s.events,
		wire.RouteTicket: s.ticket,
		wire.RouteData:   s.data,
		wire.RouteExtend: s.extend,
		wire.RouteRemove: s.remover,
		wire.RouteGrant:  s.grant,

		wire.RouteSessionNew:     s.newSession,
		wire.RouteSessions:       s.sessions,
		wire.RouteSessionRevoke:  s.revokeSession,
		wire.RouteSessionsRevoke: s.revokeSessions,

		"/": unknownRoute,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := h(w, r, connOf(r.Context()).identity()); err != nil {
				s.fail(w, r, err)
			}
		})
	}
	return mux
}

func unknownRoute(_ http.ResponseWriter, r *http.Request, _ Identity) error {
	return job.Errorf(job.CodeNotFound, "the local API has no %s %s", r.Method, r.URL.Path).
		WithHint("the routes stand in docs/wire.md")
}

func (s *Local) health(w http.ResponseWriter, _ *http.Request, _ Identity) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "ok\n")
	return nil
}

func (s *Local) status(w http.ResponseWriter, r *http.Request, who Identity) error {
	info, err := s.cfg.Jobs.Info(r.Context(), who.User)
	if err != nil {
		return err
	}
	s.answer(w, r, http.StatusOK, wire.Status{
		Version: s.cfg.Version, Contract: wire.Version, Time: s.cfg.Clock().UTC(),
		User: who.User, Observed: who.Addr, Endpoints: wire.FromEndpoints(info.Endpoints),
		DiskFree: info.DiskFree, Used: info.Used, Quota: info.Quota,
		Retain: int64(info.Retain / time.Second), BBR: s.cfg.BBR, Jobs: info.Jobs,
	})
	return nil
}

func (s *Local) submit(w http.ResponseWriter, r *http.Request, who Identity) error {
	var in wire.Submit
	if err := decode(r, &in); err != nil {
		return err
	}
	if len(in.Allow) > maxAllow {
		return job.Errorf(job.CodeBadRequest, "more than %d addresses to allow", maxAllow)
	}
	sub := relay.Submission{Owner: who.User, ID: in.Submission, Allow: in.Allow}
	held := connOf(r.Context()).held
	if held != nil {
		sub.Session = held.Session
		if in.Submission == "" {
			if err := held.wait(r.Context()); err != nil {
				return err
			}
		}
	}
	later := held != nil && !held.receives(who.Addr)
	if who.Addr.IsValid() && !later {
		sub.Allow = append(sub.Allow, who.Addr)
	}
	for _, addr := range sub.Allow {
		if !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast() {
			// Later it would leave a job behind that nobody has a ticket for.
			return job.Errorf(job.CodeBadRequest, "this is not an address that can be allowed: %q", addr)
		}
	}
	req, err := request(in)
	if err != nil {
		return err
	}
	t, err := s.cfg.Jobs.Submit(r.Context(), sub, req)
	if err != nil {
		return err
	}
	if later {
		held.grantLater(t.Job)
	}
	t.Observed = who.Addr
	s.stream(w, r, func(st *stream) error {
		if err := st.send(wire.Message{Ticket: wire.FromTicket(t)}); err != nil {
			return err
		}
		return s.watch(st, who.User, t.Job, in.Chunk, in.Detach)
	})
	return nil
}

// request takes a submission off the wire.
func request(in wire.Submit) (job.Request, error) {
	req := job.Request{
		URL: in.URL, Mirrors: in.Mirrors, Username: in.Username, Password: in.Password,
		Retain: in.Retain, Fresh: in.Fresh,
	}
	for _, f := range in.Header {
		req.Header = append(req.Header, job.Field{Name: f[0], Value: f[1]})
	}
	if len(in.List) == 0 {
		return req, nil
	}
	if in.URL != "" || len(in.Mirrors) > 0 {
		return req, job.Errorf(job.CodeBadRequest, "a submission has a URL or a list, not both")
	}
	files, err := bundle.DecodeList(in.List)
	if err != nil {
		return req, job.Errorf(job.CodeBadRequest, "the list of a bundle can't be read: %w", err)
	}
	req.Files = files
	return req.Titled(), nil
}

func (s *Local) list(w http.ResponseWriter, r *http.Request, who Identity) error {
	all, err := s.cfg.Jobs.List(r.Context(), who.User)
	if err != nil {
		return err
	}
	out := wire.Jobs{Jobs: make([]wire.Job, len(all))}
	for i, st := range all {
		out.Jobs[i] = *wire.FromStatus(st)
	}
	s.answer(w, r, http.StatusOK, out)
	return nil
}

func (s *Local) job(w http.ResponseWriter, r *http.Request, who Identity) error {
	st, err := s.cfg.Jobs.Status(r.Context(), who.User, jobID(r))
	if err == nil {
		s.answer(w, r, http.StatusOK, wire.FromStatus(st))
	}
	return err
}

func (s *Local) events(w http.ResponseWriter, r *http.Request, who Identity) error {
	chunk := 0
	if q := r.URL.Query().Get("chunk"); q != "" {
		n, err := strconv.Atoi(q)
		if err != nil || n < 0 {
			return job.Errorf(job.CodeBadRequest, "chunk is not a number: %q", q)
		}
		chunk = n
	}
	if _, err := s.cfg.Jobs.Status(r.Context(), who.User, jobID(r)); err != nil {
		return err // with a status of its own, while that is still possible
	}
	s.stream(w, r, func(st *stream) error { return s.watch(st, who.User, jobID(r), chunk, false) })
	return nil
}

func (s *Local) ticket(w http.ResponseWriter, r *http.Request, who Identity) error {
	renew := func() (job.Ticket, error) { return s.cfg.Jobs.Renew(r.Context(), who.User, jobID(r)) }
	if held := connOf(r.Context()).held; held != nil {
		renew = func() (job.Ticket, error) { return s.cfg.Jobs.RenewIn(r.Context(), held.Session, jobID(r)) }
	}
	t, err := renew()
	if err != nil {
		return err
	}
	t.Observed = who.Addr
	s.answer(w, r, http.StatusOK, wire.FromTicket(t))
	return nil
}

func (s *Local) data(w http.ResponseWriter, r *http.Request, who Identity) error {
	b, err := s.cfg.Jobs.OpenOwned(r.Context(), who.User, jobID(r))
	if err != nil {
		return err
	}
	defer b.Close()
	s.out.serve(w, r, b)
	return nil
}

func (s *Local) extend(w http.ResponseWriter, r *http.Request, who Identity) error {
	var in wire.Extend
	if err := decode(r, &in); err != nil {
		return err
	}
	st, err := s.cfg.Jobs.Extend(r.Context(), who.User, jobID(r), in.Retain)
	if err == nil {
		s.answer(w, r, http.StatusOK, wire.FromStatus(st))
	}
	return err
}

func (s *Local) remover(w http.ResponseWriter, r *http.Request, who Identity) error {
	err := s.cfg.Jobs.Remove(r.Context(), who.User, jobID(r))
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

func (s *Local) grant(w http.ResponseWriter, r *http.Request, who Identity) error {
	var in wire.Grant
	if err := decode(r, &in); err != nil {
		return err
	}
	g := job.Grant{Owner: who.User, Job: in.Job, Addr: in.Addr}
	switch {
	case in.Addr == netip.Addr{}:
		return job.Errorf(job.CodeBadRequest, "the address to allow is missing")
	case in.Seconds < 0 || in.Seconds > int64(maxGrant/time.Second):
		return job.Errorf(job.CodeBadRequest, "an address can be allowed for up to %d days", maxGrant/(24*time.Hour))
	case in.Seconds > 0:
		g.Expires = s.cfg.Clock().Add(time.Duration(in.Seconds) * time.Second)
	}
	err := s.cfg.Jobs.Allow(r.Context(), g)
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

// maxGrant is how long an address may be allowed.
const maxGrant = 366 * 24 * time.Hour

func jobID(r *http.Request) job.ID { return job.ID(r.PathValue("job")) }

// decode reads a JSON body. Unknown fields are ignored: a newer client may
// send them.
func decode(r *http.Request, into any) error {
	d := json.NewDecoder(r.Body)
	err := d.Decode(into)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("more than one value")
		}
	}
	if err != nil {
		return job.Errorf(job.CodeBadRequest, "the request is not valid JSON: %w", err)
	}
	return nil
}
