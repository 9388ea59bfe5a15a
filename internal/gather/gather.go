// Package gather fetches the files of a bundle for the relay: many small ones at
// a time, each by package origin with all of its rules, into one growing object
// that package bundle describes.
//
// Files are written in the order in which they are complete, so that none waits
// for a slow one. What is too large, or takes too long, is left to a job of its
// own and only named, so that a bundle is complete soon after the last of its
// files that came well. A file that fails is told in the bundle and fails alone.
package gather

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/jumpget/jumpget/internal/bundle"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origin"
	"github.com/jumpget/jumpget/internal/span"
	"github.com/jumpget/jumpget/internal/wire"
)

// Origin fetches one file; *origin.Fetcher does.
type Origin interface {
	Fetch(ctx context.Context, req *job.Request, prior *origin.Prior, sink origin.Sink) (origin.Result, error)
}

// Config sets a Fetcher up. Origin is required.
type Config struct {
	Origin   Origin
	PerHost  int           // files at once from one host, over all bundles; 0: 8
	InAll    int           // files at once; 0: 32
	Patience time.Duration // how long one file may take before it is left to a job of its own; 0: 20 s
	Log      *slog.Logger  // nil: silent
}

// Fetcher fetches bundles. It is safe for concurrent use.
type Fetcher struct {
	cfg Config
	all chan struct{} // one for each file under way

	mu    sync.Mutex
	hosts map[string]*host
}

// host bounds what is fetched from one host at a time.
type host struct {
	slots chan struct{}
	users int // who hold a slot or wait for one; guarded by Fetcher.mu
}

// New returns a Fetcher.
func New(cfg Config) *Fetcher {
	if cfg.PerHost <= 0 {
		cfg.PerHost = 8
	}
	if cfg.InAll <= 0 {
		cfg.InAll = 32
	}
	if cfg.Patience <= 0 {
		cfg.Patience = 20 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Fetcher{cfg: cfg, all: make(chan struct{}, cfg.InAll), hosts: map[string]*host{}}
}

// Revalidate says that a bundle still stands: to ask for each of its files would
// cost as much as to fetch them, and who wants them anew says so.
func (f *Fetcher) Revalidate(context.Context, *job.Request, *job.Object) (bool, error) {
	return true, nil
}

// Fetch brings the request's files into sink. What prior has from the start on is
// kept. The error is the sink's or the context's cause; that of a file stands in
// the bundle.
func (f *Fetcher) Fetch(ctx context.Context, req *job.Request, prior *origin.Prior, sink origin.Sink) (origin.Result, error) {
	w := &writer{sink: sink}
	todo, err := w.begin(ctx, req, prior)
	if err != nil {
		return origin.Result{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	for _, i := range todo {
		group.Go(func() {
			frame, err := f.file(ctx, req, i)
			if err == nil {
				err = w.write(frame)
			}
			if err != nil {
				cancel(err) // the others would be in vain
			}
		})
	}
	group.Wait()
	if ctx.Err() != nil {
		return origin.Result{}, context.Cause(ctx)
	}
	if err := sink.SetSize(w.end); err != nil {
		return origin.Result{}, err
	}
	return origin.Result{Meta: w.meta, Size: w.end, LengthVerified: true, Received: w.end - w.start, Conns: f.cfg.InAll}, nil
}

// file fetches one file and returns its frame.
func (f *Fetcher) file(ctx context.Context, req *job.Request, i int) ([]byte, error) {
	one := req.One(i)
	leave, err := f.enter(ctx, one.URL)
	if err != nil {
		return nil, err
	}
	defer leave()
	start := time.Now()
	limited, cancel := context.WithTimeoutCause(ctx, f.cfg.Patience, errSlow)
	defer cancel()
	var m memory
	res, err := f.cfg.Origin.Fetch(limited, &one, nil, &m)
	h := bundle.Header{Index: i, URL: job.StripUser(one.URL)}
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, errLarge), errors.Is(err, errSlow):
		h.Alone, m.data = true, nil
	case err != nil:
		h.Error, m.data = wire.FromError(err), nil
	default:
		h.Name, h.ModTime, h.Type, h.Verified = job.SafeName(res.Meta.Name), res.Meta.ModTime, short(res.Meta.ContentType), res.LengthVerified
	}
	f.cfg.Log.InfoContext(ctx, "fetched for a bundle", "url", job.LogURL(one.URL), "size", len(m.data),
		"took", time.Since(start).Round(time.Millisecond), "alone", h.Alone, "err", err)
	return frame(h, m.data)
}

// maxType is the most that is passed on of a content type.
const maxType = 200

func short(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxType)], "") }

// frame makes a frame, without the URL if that is too long for a header.
func frame(h bundle.Header, data []byte) ([]byte, error) {
	b, err := bundle.Append(make([]byte, 0, len(data)+1024), h, data)
	if err != nil {
		h.URL = ""
		b, err = bundle.Append(nil, h, data)
	}
	return b, err
}

// enter waits until a file may be fetched from the URL's host: first for the
// host's turn, so that a slow host takes no more than its share of all turns.
func (f *Fetcher) enter(ctx context.Context, raw string) (leave func(), err error) {
	name := ""
	if u, err := url.Parse(raw); err == nil {
		name = strings.ToLower(u.Host)
	}
	f.mu.Lock()
	h := f.hosts[name]
	if h == nil {
		h = &host{slots: make(chan struct{}, f.cfg.PerHost)}
		f.hosts[name] = h
	}
	h.users++
	f.mu.Unlock()
	gone := func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if h.users--; h.users == 0 {
			delete(f.hosts, name)
		}
	}
	if !take(ctx, h.slots) {
		gone()
		return nil, context.Cause(ctx)
	}
	if !take(ctx, f.all) {
		<-h.slots
		gone()
		return nil, context.Cause(ctx)
	}
	return func() {
		<-f.all
		<-h.slots
		gone()
	}, nil
}

func take(ctx context.Context, slots chan struct{}) bool {
	if ctx.Err() != nil {
		return false
	}
	select {
	case slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// Why a file is left to a job of its own.
var (
	errLarge = errors.New("gather: too large for a bundle")
	errSlow  = errors.New("gather: too slow for a bundle")
)

// memory is an origin.Sink for one small file.
type memory struct {
	mu   sync.Mutex
	data []byte
}

// Begin implements origin.Sink.
func (m *memory) Begin(_ context.Context, meta origin.Meta) (span.Set, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.data = make([]byte, 0, min(max(meta.Size, 0), bundle.MaxFile))
	if meta.Size > bundle.MaxFile {
		return span.Set{}, errLarge
	}
	return span.Set{}, nil
}

// WriteAt implements origin.Sink.
func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	end := off + int64(len(p))
	if end > bundle.MaxFile {
		return 0, errLarge
	}
	if more := int(end) - len(m.data); more > 0 {
		m.data = append(m.data, make([]byte, more)...)
	}
	return copy(m.data[off:], p), nil
}

// SetSize implements origin.Sink.
func (m *memory) SetSize(int64) error { return nil }

// writer appends frames to the bundle.
type writer struct {
	sink  origin.Sink
	meta  origin.Meta
	start int64 // what an earlier fetch has left

	mu  sync.Mutex
	end int64
}

// begin announces the bundle to the sink and returns the files to be fetched.
func (w *writer) begin(ctx context.Context, req *job.Request, prior *origin.Prior) (todo []int, err error) {
	w.meta = origin.Meta{Name: title(req), Size: job.UnknownSize, ContentType: bundle.ContentType}
	in, fill := goOn(prior)
	w.meta.Resumed = len(fill) > 0 || len(in) > 0
	w.meta.Apart = true // the files come in another order this time
	have, err := w.sink.Begin(ctx, w.meta)
	if err != nil {
		return nil, err
	}
	there := map[int]bool{}
	if have.Len() > 0 {
		w.start = have.Len()
		for _, i := range in {
			there[i] = true
		}
	} else {
		fill = []byte(bundle.Magic)
	}
	w.end = w.start
	if err := w.write(fill); err != nil {
		return nil, err
	}
	for i := range req.Files {
		if !there[i] {
			todo = append(todo, i)
		}
	}
	return todo, nil
}

// goOn looks at what an earlier fetch has left: the files in it, and what fills up
// the last one. Nothing, if no more can be added to it.
func goOn(prior *origin.Prior) (in []int, fill []byte) {
	if prior == nil || prior.Body == nil || prior.Size != job.UnknownSize {
		return nil, nil
	}
	n := prior.Have.From(0)
	if n == 0 || n != prior.Have.Len() {
		return nil, nil // a bundle is written from its start on, so this is damage
	}
	in, fill, err := bundle.Scan(io.NewSectionReader(prior.Body, 0, n), n)
	if err != nil {
		return nil, nil
	}
	return in, fill
}

// title is what people see as the bundle's name.
func title(req *job.Request) string {
	u, err := url.Parse(req.Files[0].URL)
	if err != nil {
		return fmt.Sprintf("%d files", len(req.Files))
	}
	return fmt.Sprintf("%d files from %s", len(req.Files), u.Hostname())
}

// write appends to the bundle.
func (w *writer) write(b []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.sink.WriteAt(b, w.end)
	w.end += int64(n)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return err
}
