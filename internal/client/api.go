package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/jumpget/jumpget/internal/job"
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
	secret    string // sent with each request; empty: none
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
	if a.secret != "" {
		req.Header.Set("Authorization", "Bearer "+a.secret)
	}
	if method != http.MethodGet { // also without a body: it is what a web page can't send unasked
		req.Header.Set("Content-Type", "application/json")
	}
	return a.roundTrip(req)
}

// roundTrip lets only one request at a time open a tunnel, since each would
// start an ssh of its own.
func (a *api) roundTrip(req *http.Request) (*http.Response, error) {
	if !a.tunnel.answered.Load() {
		select {
		case a.opening <- struct{}{}:
			defer func() { <-a.opening }()
		case <-req.Context().Done():
			return nil, context.Cause(req.Context())
		}
	}
	resp, err := a.transport.RoundTrip(req)
	if err != nil {
		if cause := context.Cause(req.Context()); cause != nil {
			return nil, cause
		}
		return nil, a.tunnel.reason(err)
	}
	a.tunnel.works()
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
	var se *sshdial.Error
	if errors.As(err, &se) {
		switch se.Kind {
		case sshdial.Unreachable, sshdial.NoRelay, sshdial.ForwardRefused:
			return a.tunnel.once.Load()
		case sshdial.Cut:
			return a.tunnel.once.Load() || a.cuts.Add(1) <= maxCuts
		case sshdial.Died:
			return true
		}
		return false
	}
	return a.tunnel.once.Load()
}

func (a *api) close() { a.transport.CloseIdleConnections() }
