package relay

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origin"
	"github.com/jumpget/jumpget/internal/origintest"
	"github.com/jumpget/jumpget/internal/span"
)

// held lets each fetch get as far as an offset and no further until it is
// released: a slow origin, but one whose pace is the test's.
type held struct {
	Fetcher
	at      int64
	reached chan struct{} // closed once the bytes below at are written
	release chan struct{} // closed by free

	once, freed sync.Once
}

func hold(f Fetcher, at int64) *held {
	return &held{Fetcher: f, at: at, reached: make(chan struct{}), release: make(chan struct{})}
}

func (h *held) free() { h.freed.Do(func() { close(h.release) }) }

func (h *held) Fetch(ctx context.Context, req *job.Request, prior *origin.Prior, sink origin.Sink) (origin.Result, error) {
	return h.Fetcher.Fetch(ctx, req, prior, &heldSink{Sink: sink, h: h, ctx: ctx})
}

type heldSink struct {
	origin.Sink
	h   *held
	ctx context.Context
}

func (s *heldSink) WriteAt(p []byte, off int64) (int, error) {
	below := int(min(int64(len(p)), max(0, s.h.at-off)))
	n, err := s.Sink.WriteAt(p[:below], off)
	if err != nil {
		return n, err
	}
	if off+int64(below) >= s.h.at {
		s.h.once.Do(func() { close(s.h.reached) })
		select {
		case <-s.h.release:
		case <-s.ctx.Done():
			return n, context.Cause(s.ctx)
		}
	}
	m, err := s.Sink.WriteAt(p[below:], off+int64(below))
	return n + m, err
}

// scripted is an origin whose every move a test writes down.
type scripted struct {
	fetch      func(ctx context.Context, req *job.Request, prior *origin.Prior, sink origin.Sink) (origin.Result, error)
	revalidate func(ctx context.Context, req *job.Request, obj *job.Object) (bool, error)

	mu     sync.Mutex
	priors []*origin.Prior // of each fetch
	asked  int             // times that Revalidate was called
}

func (s *scripted) Fetch(ctx context.Context, req *job.Request, prior *origin.Prior, sink origin.Sink) (origin.Result, error) {
	s.mu.Lock()
	s.priors = append(s.priors, prior)
	s.mu.Unlock()
	return s.fetch(ctx, req, prior, sink)
}

func (s *scripted) Revalidate(ctx context.Context, req *job.Request, obj *job.Object) (bool, error) {
	s.mu.Lock()
	s.asked++
	s.mu.Unlock()
	if s.revalidate == nil {
		return true, nil
	}
	return s.revalidate(ctx, req, obj)
}

func (s *scripted) fetches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.priors)
}

// deliver is a fetch that brings f as a well-behaved origin does, but for what
// is there already.
func deliver(f origintest.File) func(context.Context, *job.Request, *origin.Prior, origin.Sink) (origin.Result, error) {
	return func(ctx context.Context, _ *job.Request, prior *origin.Prior, sink origin.Sink) (origin.Result, error) {
		return bringFile(ctx, f, prior, sink)
	}
}

func bringFile(ctx context.Context, f origintest.File, prior *origin.Prior, sink origin.Sink) (origin.Result, error) {
	c := f.Content()
	meta := origin.Meta{Name: "file.bin", Size: c.Size(), ETag: f.ETag, Ranges: true, Resumed: prior != nil && prior.ETag == f.ETag}
	have, err := sink.Begin(ctx, meta)
	if err != nil {
		return origin.Result{}, err
	}
	res := origin.Result{Meta: meta, Size: c.Size(), LengthVerified: true, Conns: 1}
	for _, gap := range have.Missing(span.Span{End: c.Size()}) {
		p := make([]byte, gap.Len())
		if _, err := c.ReadAt(p, gap.Start); err != nil && !errors.Is(err, io.EOF) {
			return res, err
		}
		if _, err := sink.WriteAt(p, gap.Start); err != nil {
			return res, err
		}
		res.Received += gap.Len()
	}
	return res, ctx.Err()
}
