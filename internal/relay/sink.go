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
}

// Begin implements origin.Sink: it goes on with the object that the flight has,
// or starts a new one. Two versions never share an object.
func (s *sink) Begin(ctx context.Context, meta origin.Meta) (span.Set, error) {
	s.leave()
	before := s.f.live // nobody else writes it
	resumed := meta.Resumed && before != nil && s.fits(before, meta.Size)
	if resumed && !meta.Apart {
		s.follow(before)
		return before.body.Have(), nil
	}
	lv, err := s.create(ctx, meta)
	if err != nil {
		return span.Set{}, err
	}
	if resumed {
		if err := copyBody(ctx, lv.body, before.body); err != nil {
			s.r.drop(lv)
			s.r.release(lv)
			s.r.erase(lv.id)
			return span.Set{}, toDisk(err)
		}
	}
	s.r.board(s.f, lv)
	if before != nil {
		s.r.db.Lock()
		s.r.discard(before, errAnew())
		s.r.db.Unlock()
	}
	s.follow(lv)
	return lv.body.Have(), nil
}

// copyBody copies what one body has into another. A client that has it already
// finds the same chunks there.
func copyBody(ctx context.Context, to, from *blob.Body) error {
	buf := make([]byte, job.ChunkSize)
	have := from.Have()
	for _, run := range have.Spans() {
		for at := run.Start; at < run.End; {
			n, err := from.ReadAt(ctx, buf[:min(int64(len(buf)), run.End-at)], at)
			if err != nil {
				return err
			}
			if _, err := to.WriteAt(buf[:n], at); err != nil {
				return err
			}
			at += int64(n)
		}
	}
	return nil
}

// fits tells a body that is gone on with how long it will be, if that was not
// known before.
func (s *sink) fits(lv *live, size int64) bool {
	if _, known := lv.body.Size(); known || size < 0 {
		return true
	}
	if err := lv.body.SetSize(size); err != nil {
		return false // more is there than the file is long
	}
	s.r.setObject(lv, func(o *job.Object) { o.Size = size })
	return true
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
	// The lease comes before the record: an object without one that no job
	// points at yet would be the cleaner's.
	lv, err := r.adopt(o, body, true)
	if err == nil {
		err = r.cfg.Store.PutObject(ctx, o)
	}
	if err == nil {
		return lv, nil
	}
	if lv != nil {
		r.drop(lv)
		r.release(lv)
	}
	r.erase(o.ID)
	return nil, r.internal("store an object", err)
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
	if limit > 0 && end > limit && len(s.f.req.Files) == 0 { // a bundle's files are all small
		return errTooLarge(limit)
	}
	quota := s.r.cfg.Quota
	if _, known := s.lv.body.Size(); known || quota <= 0 || end <= s.lv.bound.Load() {
		return nil
	}
	s.r.room.Lock()
	defer s.r.room.Unlock()
	bound := s.lv.bound.Load()
	if end <= bound {
		return nil
	}
	end += min(growStep, quota/64)
	if err := s.r.makeRoom(s.ctx, end-bound); err != nil {
		return err
	}
	s.lv.bound.Store(end)
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
	s.lv, s.cancel = lv, cancel
	have := lv.body.Have()
	for _, sp := range have.Spans() {
		lv.bound.Store(max(lv.bound.Load(), sp.End))
	}
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
	return s.r.setComplete(ctx, lv, o)
}

// setComplete writes down that an object is complete.
func (r *Relay) setComplete(ctx context.Context, lv *live, o job.Object) (job.Object, error) {
	r.db.Lock() // against one who is just finding the object damaged
	defer r.db.Unlock()
	if err := r.cfg.Store.PutObject(ctx, o); err != nil {
		return job.Object{}, r.internal("store an object", err)
	}
	r.mu.Lock()
	r.sound[o.ID] = true
	r.mu.Unlock()
	lv.bound.Store(o.Size)
	return r.setObject(lv, func(to *job.Object) { *to = o }), nil
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
