package relay

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"time"

	"github.com/jumpget/jumpget/internal/blob"
	"github.com/jumpget/jumpget/internal/growfile"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/origin"
	"github.com/jumpget/jumpget/internal/span"
)

// sink takes a fetch in for a flight. It implements origin.Sink.
type sink struct {
	r   *Relay
	f   *flight
	ctx context.Context // the flight's: for what outlives a call
	lv  *live

	hash   *hasher
	cancel context.CancelFunc // ends hash and checkpoints
	wg     sync.WaitGroup

	mu    sync.Mutex
	bound int64 // a body of unknown length has room up to here
}

// Begin implements origin.Sink: it goes on with the object that the flight has,
// or starts a new one. Two versions never share an object.
func (s *sink) Begin(ctx context.Context, meta origin.Meta) (span.Set, error) {
	s.leave()
	before := s.f.live // nobody else writes it
	if meta.Resumed && before != nil {
		s.follow(before)
		return before.body.Have(), nil
	}
	lv, err := s.create(ctx, meta)
	if err != nil {
		return span.Set{}, err
	}
	s.r.board(s.f, lv)
	if before != nil {
		s.r.discard(before, job.Errorf(job.CodeOriginProto, "the origin's file has changed").
			WithHint("the relay starts again with the new one"))
	}
	s.follow(lv)
	return span.Set{}, nil
}

// create makes a new object and reserves its room.
func (s *sink) create(ctx context.Context, meta origin.Meta) (*live, error) {
	r := s.r
	r.room.Lock()
	defer r.room.Unlock()
	if err := r.makeRoom(ctx, max(0, meta.Size)); err != nil {
		return nil, err
	}
	now := r.now()
	o := job.Object{
		ID: job.NewID(), URL: job.StripUser(s.f.req.URL), Key: s.f.key, Name: job.SafeName(meta.Name), Size: meta.Size,
		ETag: meta.ETag, LastModified: meta.LastModified, ModTime: meta.ModTime, ContentType: meta.ContentType,
		LengthVerified: meta.Size >= 0, Created: now, Used: now,
	}
	if o.Size < 0 {
		o.Size = job.UnknownSize
	}
	body, err := r.cfg.Blobs.Create(ctx, string(o.ID), o.Size)
	if err != nil {
		return nil, toDisk(err)
	}
	if err := r.cfg.Store.PutObject(ctx, o); err != nil {
		r.closeBody(o.ID, body)
		r.erase(o.ID)
		return nil, r.internal("store an object", err)
	}
	lv := r.adopt(o, body)
	lv.verify.Do(func() { close(lv.checked) }) // this process wrote all of it
	return lv, nil
}

// WriteAt implements origin.Sink.
func (s *sink) WriteAt(p []byte, off int64) (int, error) {
	if err := s.reserve(off + int64(len(p))); err != nil {
		return 0, err
	}
	n, err := s.lv.body.WriteAt(p, off)
	s.lv.meter.add(s.r.now(), n)
	if err != nil && !errors.Is(err, growfile.ErrBeyondEnd) {
		err = toDisk(err)
	}
	return n, err
}

// reserve holds the caps for a body that does not say how long it will be.
func (s *sink) reserve(end int64) error {
	limit := s.r.cfg.MaxFile
	if limit > 0 && end > limit {
		return errTooLarge(limit)
	}
	if _, known := s.lv.body.Size(); known || s.r.cfg.Quota <= 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if end <= s.bound {
		return nil
	}
	step := min(growStep, max(job.ChunkSize, s.r.cfg.Quota/64))
	s.r.room.Lock()
	defer s.r.room.Unlock()
	if err := s.r.makeRoom(s.ctx, step); err != nil {
		return err
	}
	s.bound = end + step
	return nil
}

// SetSize implements origin.Sink.
func (s *sink) SetSize(n int64) error {
	if err := s.lv.body.SetSize(n); err != nil {
		return err
	}
	s.r.setObject(s.lv, func(o *job.Object) { o.Size = n })
	return nil
}

// follow hashes the object behind its writers and makes it durable now and then.
func (s *sink) follow(lv *live) {
	ctx, cancel := context.WithCancel(s.ctx)
	s.lv, s.cancel, s.bound = lv, cancel, 0
	s.hash = newHasher(s.r, lv)
	s.wg.Go(func() { s.hash.run(ctx) })
	s.wg.Go(func() { s.checkpoints(ctx, lv) })
}

// leave ends what follow began.
func (s *sink) leave() {
	if s.cancel != nil {
		s.cancel()
		s.wg.Wait()
		s.cancel = nil
	}
}

// checkpoints syncs the growing body, so that a relay that dies has to fetch
// no more again than the last seconds.
func (s *sink) checkpoints(ctx context.Context, lv *live) {
	tick := time.NewTicker(checkpoint)
	defer tick.Stop()
	var synced int64
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		hashed := s.r.hashedOf(lv)
		if hashed.Len() == synced {
			continue
		}
		synced = hashed.Len()
		if err := lv.body.Sync(ctx); err != nil && ctx.Err() == nil {
			s.r.log.Error("a growing body can't be synced", "object", lv.id, "err", err)
			lv.body.Abort(toDisk(err))
			return
		}
	}
}

// complete ends a successful fetch: everything hashed, then synced, and only
// then written down as complete.
func (s *sink) complete(ctx context.Context, res origin.Result) (job.Object, error) {
	if s.lv == nil {
		return job.Object{}, job.Errorf(job.CodeInternal, "the fetch ended without a file")
	}
	lv := s.lv
	if err := lv.body.Finish(); err != nil {
		return job.Object{}, toDisk(err)
	}
	whole, err := s.hash.wait(ctx)
	if err != nil {
		return job.Object{}, err
	}
	o := s.r.objectOf(lv)
	if o.SHA256 != "" && o.SHA256 != whole {
		return job.Object{}, errOther
	}
	s.leave()
	if err := lv.body.Sync(ctx); err != nil {
		return job.Object{}, toDisk(err)
	}
	o.Size, _ = lv.body.Size()
	o.SHA256, o.Complete, o.LengthVerified, o.Used = whole, true, res.LengthVerified, s.r.now()
	if err := s.r.cfg.Store.PutObject(ctx, o); err != nil {
		return job.Object{}, s.r.internal("store an object", err)
	}
	s.r.mu.Lock()
	s.r.sound[o.ID] = true
	s.r.mu.Unlock()
	return s.r.setObject(lv, func(to *job.Object) { *to = o }), nil
}

// isDisk reports whether an error comes from the disk that holds the bodies.
func isDisk(err error) bool {
	return errors.Is(err, blob.ErrNoSpace) || errors.Is(err, blob.ErrPoisoned) ||
		errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EIO) || errors.Is(err, syscall.EROFS)
}

// toDisk names disk errors and leaves others as they are.
func toDisk(err error) error {
	if err == nil || !isDisk(err) {
		return err
	}
	return toJobError(err)
}

func errTooLarge(limit int64) error {
	return job.Errorf(job.CodeTooLarge, "the file is larger than the relay takes, %d bytes", limit).
		WithHint("the relay's owner sets the limit")
}
