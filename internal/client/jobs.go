package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/jumpget/jumpget/internal/bundle"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/wire"
)

// Add submits a request and leaves; the relay goes on.
func (c *Client) Add(ctx context.Context, r job.Request) (*wire.Job, error) {
	if _, err := r.Parse(); err != nil {
		return nil, err
	}
	c.sessions.want()
	s := submit(r, job.NewID())
	s.Detach, s.wrote = true, c.sessions.along
	var added *wire.Job
	err := c.api.retry(ctx, func() error {
		var err error
		added, err = c.add(ctx, s)
		return err
	})
	return added, err
}

func (c *Client) add(ctx context.Context, s submitted) (*wire.Job, error) {
	resp, err := c.api.send(ctx, http.MethodPost, "/v1/jobs", s, nil)
	if err != nil {
		return nil, err
	}
	if err := failure(resp); err != nil {
		return nil, err
	}
	defer closeBody(resp)
	dec := json.NewDecoder(resp.Body)
	for {
		var m wire.Message
		if err := dec.Decode(&m); err != nil {
			return nil, fmt.Errorf("read the relay's answer: %w", c.api.tunnel.reason(err))
		}
		switch {
		case m.Error != nil:
			return nil, m.Error.Err()
		case m.Job != nil:
			return m.Job, nil
		}
	}
}

// submit puts a request on the wire, under an id of ours: sent twice it makes one
// job.
func submit(r job.Request, id job.ID) submitted {
	s := submitted{private: r.Private(), Submit: wire.Submit{
		URL: r.URL, Mirrors: r.Mirrors, Username: r.Username, Password: r.Password,
		Retain: r.Retain, Fresh: r.Fresh, Submission: id,
	}}
	for _, f := range r.Header {
		s.Header = append(s.Header, [2]string{f.Name, f.Value})
	}
	if len(r.Files) > 0 {
		s.URL, s.List = "", bundle.EncodeList(r.Files)
	}
	return s
}

// Jobs lists the user's jobs.
func (c *Client) Jobs(ctx context.Context) ([]wire.Job, error) {
	var out wire.Jobs
	err := c.api.call(ctx, http.MethodGet, "/v1/jobs", nil, &out)
	return out.Jobs, err
}

// Job shows one job.
func (c *Client) Job(ctx context.Context, id job.ID) (*wire.Job, error) {
	return ask[wire.Job](ctx, c, http.MethodGet, id, "", nil)
}

// Remove removes a job.
func (c *Client) Remove(ctx context.Context, id job.ID) error {
	path, err := jobPath(id, "")
	if err != nil {
		return err
	}
	return c.api.call(ctx, http.MethodDelete, path, nil, nil)
}

// Extend keeps a job for another while, from now on.
func (c *Client) Extend(ctx context.Context, id job.ID, d time.Duration) (*wire.Job, error) {
	return ask[wire.Job](ctx, c, http.MethodPost, id, "/extend", wire.Extend{Retain: int64(d / time.Second)})
}

// Ticket issues a fresh ticket, its endpoints completed with the relay's host.
func (c *Client) Ticket(ctx context.Context, id job.ID) (*job.Ticket, error) {
	w, err := ask[wire.Ticket](ctx, c, http.MethodPost, id, "/ticket", nil)
	if err != nil {
		return nil, err
	}
	t := w.Ticket()
	t.Endpoints = c.complete(t.Endpoints)
	return &t, nil
}

// complete fills in the host that was reached; endpoints without any host left
// are dropped.
func (c *Client) complete(endpoints []job.Endpoint) []job.Endpoint {
	var out []job.Endpoint
	for _, e := range endpoints {
		if e.Host == "" {
			host, err := c.host()
			if err != nil || host == "" {
				c.cfg.Log.Warn("the relay's host name is not known", "error", err)
				continue
			}
			e.Host = host
		}
		out = append(out, e)
	}
	return out
}

// Link returns the public URL of a job, with a token in it. Of several doors it
// takes the one that a browser trusts best.
func (c *Client) Link(ctx context.Context, id job.ID) (string, error) {
	t, err := c.Ticket(ctx, id)
	if err != nil {
		return "", err
	}
	j, err := c.Job(ctx, id)
	if err != nil {
		return "", err
	}
	if j.Files > 0 {
		return "", job.Errorf(job.CodeBadRequest, "the job is a bundle of %d files, which no browser can take apart", j.Files).
			WithHint("bring it here: jumpget pull %s", id)
	}
	name := job.DefaultName
	if j.Object != nil {
		name = job.SafeName(j.Object.Name)
	}
	e, ok := linkEndpoint(t.Endpoints)
	if !ok {
		return "", job.Errorf(job.CodeUnavailable, "the relay has no public door").
			WithHint("set --public-url on the relay")
	}
	return e.Scheme + "://" + hostPort(e) + e.Path + wire.PublicPath(id, name) + "?" + wire.TokenParam + "=" + url.QueryEscape(t.Token), nil
}

// linkEndpoint prefers a certificate that the system trusts, then plain HTTP,
// and takes the relay's own certificate, of which a browser warns, last.
func linkEndpoint(endpoints []job.Endpoint) (best job.Endpoint, ok bool) {
	rank := func(e job.Endpoint) int {
		switch {
		case e.Scheme == "https" && e.Pin == "":
			return 0
		case e.Scheme == "http":
			return 1
		}
		return 2
	}
	for _, e := range job.HTTPEndpoints(endpoints) {
		if !ok || rank(e) < rank(best) {
			best, ok = e, true
		}
	}
	return best, ok
}

// hostPort is an endpoint's authority, without a port that goes without saying.
func hostPort(e job.Endpoint) string {
	if e.Port == 0 || e.Scheme == "https" && e.Port == 443 || e.Scheme == "http" && e.Port == 80 {
		if a, err := netip.ParseAddr(e.Host); err == nil && a.Is6() {
			return "[" + e.Host + "]"
		}
		return e.Host
	}
	return net.JoinHostPort(e.Host, strconv.Itoa(e.Port))
}

// Allow lets an address use the tokens of a job; of all the user's jobs if id
// is empty. d 0: as long as the job is kept.
func (c *Client) Allow(ctx context.Context, id job.ID, addr netip.Addr, d time.Duration) error {
	if id != "" && !id.Valid() {
		return badID(id)
	}
	return c.api.call(ctx, http.MethodPost, "/v1/grants", wire.Grant{Job: id, Addr: addr.Unmap(), Seconds: int64(d / time.Second)}, nil)
}

// Status asks the relay for its own state. Its endpoints are completed with
// the relay's host.
func (c *Client) Status(ctx context.Context) (*wire.Status, error) {
	var s wire.Status
	if err := c.api.call(ctx, http.MethodGet, "/v1/status", nil, &s); err != nil {
		return nil, err
	}
	s.Endpoints = wire.FromEndpoints(c.complete(wire.ToEndpoints(s.Endpoints)))
	return &s, nil
}

// ask calls a route of one job.
func ask[T any](ctx context.Context, c *Client, method string, id job.ID, what string, body any) (*T, error) {
	path, err := jobPath(id, what)
	if err != nil {
		return nil, err
	}
	out := new(T)
	if err := c.api.call(ctx, method, path, body, out); err != nil {
		return nil, err
	}
	return out, nil
}

func jobPath(id job.ID, what string) (string, error) {
	if !id.Valid() {
		return "", badID(id)
	}
	return wire.JobPath(id, what), nil
}

func badID(id job.ID) error {
	return job.Errorf(job.CodeNotFound, "%q is no job", string(id)).WithHint("`jumpget ls` lists yours")
}

// gone tells whether the relay does not have the job any more, but may be asked
// for it anew.
func gone(err error) bool {
	var e *job.Error
	return errors.As(err, &e) && (e.Code == job.CodeNotFound || e.Code == job.CodeExpired)
}
