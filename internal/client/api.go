package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/reach"
	"github.com/jumpget/jumpget/internal/sshdial"
	"github.com/jumpget/jumpget/internal/wire"
)

const (
	maxAnswer   = 64 << 20         // of one API answer; a list of many jobs
	maxCuts     = 3                // logins that may be cut off before the first that is not
	silentAfter = 10 * time.Second // a tunnel that says nothing to a request for so long is dead
)

// api speaks the relay's local API over the tunnel.
type api struct {
	tunnel    *tunnel
	transport *http.Transport
	opening   chan struct{} // held by the one request that opens a tunnel
	tries     int
	agent     string
	secret    string                 // sent with each request over ssh; empty: none
	overSSH   atomic.Pointer[func()] // called when a request was answered over ssh; nil: nobody wants to know
	cuts      atomic.Int32
}

func newAPI(t *tunnel, cfg Config) *api {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &api{
		tunnel:  t,
		opening: make(chan struct{}, 1),
		tries:   cfg.Tries,
		agent:   "jumpget/" + cfg.Version,
		secret:  cfg.Secret,
		transport: &http.Transport{
			DialContext:        t.dial,
			Protocols:          protocols,
			DisableCompression: true,
			HTTP2:              &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 30 * time.Second},
		},
	}
}

// send does one request; route is a method and a path. The answer is one of
// success, and its body is the caller's to close.
func (a *api) send(ctx context.Context, method, path string, body any, header http.Header) (*http.Response, error) {
	var reader io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		reader = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://127.0.0.1"+path, reader)
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set(wire.HeaderVersion, strconv.Itoa(wire.Version))
	req.Header.Set("User-Agent", a.agent)
	if method != http.MethodGet { // also without a body: it is what a web page can't send unasked
		req.Header.Set("Content-Type", "application/json")
	}
	if s, ok := body.(submitted); ok && s.wrote != nil {
		req = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { s.wrote() }}))
	}
	if _, ok := body.(wire.NewSession); ok && a.tunnel.way() != "" {
		a.vouch(req)
		return a.do(req) // behind the submission that opens the tunnel, without waiting for its answer
	}
	return a.roundTrip(ctx, req, harmless(method, body) && !a.guarded())
}

// guarded tells whether a request has to know which way it goes: the local API's
// secret is for ssh alone. A session's streams ask for none, and it outlives them.
func (a *api) guarded() bool {
	_, inSession := a.tunnel.reach.Session()
	return a.secret != "" && inSession
}

// harmless tells whether a request may reach the relay twice, by two ways or in a
// packet that somebody repeats, and without forward secrecy. A session's first
// bytes may.
func harmless(method string, body any) bool {
	if method == http.MethodGet {
		return true
	}
	s, ok := body.(submitted)
	return ok && s.Submission != "" && !s.private
}

// submitted is a submission, whether it carries credentials, and who hears when
// it has been written; nil: nobody.
type submitted struct {
	wire.Submit
	private bool
	wrote   func()
}

// roundTrip lets only one request at a time open a tunnel, since each would
// start an ssh of its own. One that is not harmless waits until the tunnel stands.
func (a *api) roundTrip(ctx context.Context, req *http.Request, harmless bool) (*http.Response, error) {
	if !a.tunnel.answered.Load() {
		select {
		case a.opening <- struct{}{}:
			defer func() { <-a.opening }()
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if !harmless && !a.tunnel.answered.Load() {
			if err := a.greet(ctx); err != nil {
				return nil, err
			}
		}
	}
	a.vouch(req)
	return a.do(req)
}

// vouch adds the local API's secret, if the request goes over ssh.
func (a *api) vouch(req *http.Request) {
	if a.secret != "" && !a.tunnel.inSession() {
		req.Header.Set("Authorization", "Bearer "+a.secret)
	}
}

// greet opens a tunnel with a request that changes nothing.
func (a *api) greet(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1/healthz", nil)
	if err != nil {
		return err
	}
	req.Header.Set(wire.HeaderVersion, strconv.Itoa(wire.Version))
	resp, err := a.do(req)
	if err != nil {
		return err
	}
	closeBody(resp)
	return nil
}

func (a *api) do(req *http.Request) (*http.Response, error) {
	resp, err := a.transport.RoundTrip(req)
	if err != nil {
		if cause := context.Cause(req.Context()); cause != nil {
			return nil, cause
		}
		return nil, a.tunnel.reason(err)
	}
	a.tunnel.works()
	if expires, err := time.Parse(time.RFC3339, resp.Header.Get(wire.HeaderSession)); err == nil {
		a.tunnel.reach.Renewed(expires)
	}
	if hook := a.overSSH.Load(); hook != nil && a.tunnel.way() == reach.SSH {
		(*hook)()
	}
	return resp, nil
}

// failure reads the error of an answer that is none of success.
func failure(resp *http.Response) error {
	if resp.StatusCode < 300 {
		return nil
	}
	defer closeBody(resp)
	var e wire.Error
	err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&e)
	if err != nil || e.Code == "" {
		return job.Errorf(job.CodeInternal, "the relay's API answered %s", resp.Status).
			WithHint("is it a jumpget relay that listens there? `jumpget doctor` tells more")
	}
	return e.Err()
}

func closeBody(resp *http.Response) { _ = resp.Body.Close() } // of a body that was read

// call does one request and decodes its answer into out, if out is not nil. It
// is tried again on network errors.
func (a *api) call(ctx context.Context, method, path string, body, out any) error {
	return a.retry(ctx, func() error { return a.callOnce(ctx, method, path, body, out) })
}

func (a *api) callOnce(ctx context.Context, method, path string, body, out any) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if a.tunnel.answered.Load() {
		asked := time.Now()
		timer := time.AfterFunc(silentAfter, func() { a.tunnel.abandon(asked) })
		defer timer.Stop()
	}
	resp, err := a.send(ctx, method, path, body, nil)
	if err != nil {
		return err
	}
	if err := failure(resp); err != nil {
		return err
	}
	defer closeBody(resp)
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("read the relay's answer: %w", a.tunnel.reason(err))
	}
	return nil
}

// retry repeats op after network errors, at growing intervals, until it works,
// fails for good, or the tries are used up.
func (a *api) retry(ctx context.Context, op func() error) error {
	opts := []backoff.RetryOption{backoff.WithBackOff(newBackoff()), backoff.WithMaxElapsedTime(0)}
	if a.tries > 0 {
		opts = append(opts, backoff.WithMaxTries(uint(a.tries)))
	}
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := op()
		if err != nil && !a.passing(ctx, err) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, opts...)
	return unwrapPermanent(err)
}

func unwrapPermanent(err error) error {
	var p *backoff.PermanentError
	if errors.As(err, &p) {
		return p.Unwrap()
	}
	return err
}

func newBackoff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval = 250 * time.Millisecond
	b.MaxInterval = 15 * time.Second
	return b
}

// passing tells whether an error may go away by itself. Before the relay has
// answered for the first time it is more likely a mistake in the command line,
// and a person waits for the answer; after that, a network that fails or a
// relay that restarts is waited for.
func (a *api) passing(ctx context.Context, err error) bool {
	if ctx.Err() != nil || errors.Is(err, context.Canceled) {
		return false
	}
	var je *job.Error
	if errors.As(err, &je) {
		return je.Code == job.CodeUnavailable
	}
	if isType[*reach.LostError](err) {
		return true
	}
	var se *sshdial.Error
	if errors.As(err, &se) {
		switch se.Kind {
		case sshdial.Unreachable, sshdial.NoRelay, sshdial.ForwardRefused:
			return a.tunnel.once.Load()
		case sshdial.Cut, sshdial.Died:
			return a.tunnel.once.Load() || a.cuts.Add(1) <= maxCuts
		}
		return false
	}
	return a.tunnel.once.Load()
}

func (a *api) close() { a.transport.CloseIdleConnections() }
