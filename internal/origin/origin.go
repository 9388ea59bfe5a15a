// Package origin fetches a URL for the relay.
//
// # The flow
//
// A [Fetcher] sends one plain GET and uses its body at once; there is no
// separate probe. What the answer's headers tell goes to [Sink.Begin] as
// [Meta], and the bytes follow through [Sink.WriteAt], from the front on. If
// the origin serves ranges and names its file's version well enough, and more
// connections are measured to bring more, further connections fetch small
// segments just ahead of the frontier.
//
// Everything that fetches more than one answer's worth of bytes rests on one
// rule: two answers are joined only if both carry the same strong ETag, or no
// ETag but the same Last-Modified and length. An answer of another version
// begins a new object; nothing is ever spliced.
//
// # Guard
//
// The relay must not become a way into its own network. The [Guard] looks at
// the address of every connection after its name has been resolved, so neither
// a redirect nor a name that changes its address gets around it.
package origin

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"math"
	"net/http"
	"net/url"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/span"
)

// Meta is what the origin's headers tell about a file.
type Meta struct {
	FinalURL     string // after redirects, without user and password
	Name         string // safe, see job.SafeName; from Content-Disposition or the URL
	Size         int64  // bytes, or job.UnknownSize
	ETag         string // as sent, quotes and W/ included; may be empty
	LastModified string // as sent; may be empty
	ModTime      time.Time
	ContentType  string
	Ranges       bool // the origin says that it serves ranges

	// Resumed tells that the version of Prior still stands: the bytes in
	// Prior.Have belong to this file. When false, the file starts empty.
	Resumed bool

	// Apart tells, with Resumed, that what follows may be other bytes than those
	// that an earlier fetch had there and lost: whoever was told of these must not
	// take the two for one version.
	Apart bool
}

// Validators name one version of a file.
type Validators struct {
	ETag         string // as the origin sent it
	LastModified string // as the origin sent it
	Size         int64  // bytes, or job.UnknownSize
}

// Prior is what is there from an earlier fetch of the same request.
type Prior struct {
	Validators
	Have span.Set
	Body io.ReaderAt // reads what is in Have; for a fetch that has to look at it, nil else
}

// Sink takes a file in. Its errors end the fetch and come back unchanged.
type Sink interface {
	// Begin is called when the headers of a version are known, before its first
	// byte. The set it returns is what need not be fetched; it may be non-empty
	// only if meta.Resumed. It is called again if the origin's file turns out to
	// be another version, or if nothing proves that it is the same one: then
	// all earlier bytes are void. No WriteAt is under way during Begin.
	Begin(ctx context.Context, meta Meta) (have span.Set, err error)
	// WriteAt stores bytes. It is called from several goroutines, never for
	// overlapping ranges at a time.
	WriteAt(p []byte, off int64) (int, error)
	// SetSize tells the length of a file whose Meta.Size was unknown, when all
	// of it has been written.
	SetSize(n int64) error
}

// Result tells how a fetch went.
type Result struct {
	Meta           Meta  // of the version that was fetched
	Size           int64 // bytes of the whole file
	LengthVerified bool  // false: the origin gave no length and closed, so an early end can't be told
	Received       int64 // body bytes read in this fetch, discarded ones included
	Conns          int   // the most connections that were in use at a time
}

// Config sets a Fetcher up. The zero value is a good default everywhere.
type Config struct {
	Guard     Guard                                 // which addresses may be connected to
	MaxSize   int64                                 // bytes of one file; 0: no cap
	UserAgent string                                // "": jumpget
	Proxy     func(*http.Request) (*url.URL, error) // nil: HTTP_PROXY, HTTPS_PROXY and NO_PROXY

	DialTimeout   time.Duration // TCP and TLS, each; 0: 15 s
	HeaderTimeout time.Duration // from the request sent to the answer's headers; 0: 60 s
	StallTimeout  time.Duration // longest wait for the next byte; 0: 30 s
	MinSpeed      int64         // bytes a second of one connection over SpeedWindow; 0: 256; < 0: none
	SpeedWindow   time.Duration // 0: 60 s
	MaxConns      int           // connections for one file; 0: 8
	Tries         int           // attempts without progress before giving up; 0: 6
	RampInterval  time.Duration // how long a number of connections is measured; 0: 1 s
	MaxRetryAfter time.Duration // longest Retry-After that is obeyed; 0: 2 min

	RootCAs *x509.CertPool // nil: the system's trust store

	// Now and Sleep are the clock; nil: the real one.
	Now   func() time.Time
	Sleep func(ctx context.Context, d time.Duration) error
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&c.DialTimeout, 15*time.Second)
	set(&c.HeaderTimeout, time.Minute)
	set(&c.StallTimeout, 30*time.Second)
	set(&c.SpeedWindow, time.Minute)
	set(&c.RampInterval, time.Second)
	set(&c.MaxRetryAfter, 2*time.Minute)
	if c.MaxSize == 0 {
		c.MaxSize = math.MaxInt64
	}
	if c.UserAgent == "" {
		c.UserAgent = "jumpget"
	}
	if c.Proxy == nil {
		c.Proxy = http.ProxyFromEnvironment
	}
	if c.MinSpeed == 0 {
		c.MinSpeed = 256
	}
	if c.MaxConns == 0 {
		c.MaxConns = 8
	}
	if c.Tries == 0 {
		c.Tries = 6
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Sleep == nil {
		c.Sleep = sleep
	}
	return c
}

// sleep waits for d, or returns the reason why ctx ended before.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Fetcher fetches URLs. It is safe for concurrent use.
type Fetcher struct {
	cfg    Config
	routes *routes
}

// New returns a Fetcher. Close it to give up its idle connections.
func New(cfg Config) *Fetcher {
	cfg = cfg.withDefaults()
	return &Fetcher{cfg: cfg, routes: newRoutes(cfg)}
}

// Close gives up idle connections. Fetches under way go on.
func (f *Fetcher) Close() { f.routes.closeIdle() }

// Fetch brings the request's file into sink. Prior may be nil. The mirrors
// are tried in order when the URL before has failed for good. The error is a
// *job.Error with a hint, the sink's own, or the context's cause; when all
// mirrors fail it is that of the URL itself.
func (f *Fetcher) Fetch(ctx context.Context, req *job.Request, prior *Prior, sink Sink) (Result, error) {
	targets, err := f.targets(req)
	if err != nil {
		return Result{}, err
	}
	var first error
	for i, t := range targets {
		r := &run{f: f, target: t, sink: sink, segments: defaultSegments, gain: defaultGain}
		if i > 0 {
			prior = nil // a validator means nothing to another server
		}
		res, err := r.fetch(ctx, prior)
		if err == nil {
			return res, nil
		}
		err = final(ctx, err)
		if first == nil {
			first = err
		}
		if !mirrorHelps(ctx, err) {
			return Result{}, err
		}
	}
	return Result{}, first
}

// mirrorHelps reports whether another place of the same bytes may do better.
func mirrorHelps(ctx context.Context, err error) bool {
	var e *job.Error
	if ctx.Err() != nil || !errors.As(err, &e) {
		return false
	}
	switch e.Code {
	case job.CodeOriginDenied, job.CodeOriginLogin, job.CodeOriginStatus,
		job.CodeOriginNet, job.CodeOriginTLS, job.CodeOriginProto:
		return true
	}
	return false
}
