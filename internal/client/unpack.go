package client

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/jumpget/jumpget/internal/bundle"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/partial"
	"github.com/jumpget/jumpget/internal/progress"
)

// maxUnplaced bounds the bytes of files that wait to become durable.
const maxUnplaced = 16 << 20

// unpacker takes a bundle apart while it comes. It reads verified bytes, in
// order, and has the files placed by another goroutine, as many together as have
// come meanwhile, because making them durable is what takes its time.
type unpacker struct {
	c       *Client
	r       BundleRequest
	base    string // of the names of all that helps
	journal *journal
	goesOn  bool  // an earlier run has left a part of this bundle
	index   []int // places in the request, by index in the bundle
	started time.Time
	unlock  func() error // lets others have the bundle

	mu      sync.Mutex
	settled map[int]bool   // files that were told of
	alone   map[int]string // URLs of those that are not in the bundle
	failed  int
	bytes   int64 // of files that were placed in this run
}

// errMoved says that the bundle is another object by now.
var errMoved = errors.New("the bundle's object has changed")

// unplaced is a file that waits.
type unplaced struct {
	file  int
	from  *bundle.File
	small partial.Small
}

// read takes a bundle apart from its start to its end. What stands already is
// passed over.
func (u *unpacker) read(ctx context.Context, r io.Reader) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan unplaced, bundle.MaxFiles)
	room := semaphore.NewWeighted(maxUnplaced)
	placed := make(chan struct{})
	go func() {
		defer close(placed)
		u.placeAll(queue, room, cancel)
	}()
	err := u.queueAll(ctx, bundle.NewReader(r), queue, room)
	close(queue)
	<-placed
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (u *unpacker) queueAll(ctx context.Context, in *bundle.Reader, queue chan<- unplaced, room *semaphore.Weighted) error {
	for {
		f, err := in.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, bundle.ErrMalformed), errors.Is(err, io.ErrUnexpectedEOF):
			return job.Errorf(job.CodeInternal, "the relay's bundle is damaged: %w", err).WithHint("--no-bundle does without bundles")
		case err != nil:
			return err
		}
		i, err := u.place(f.Index)
		if err != nil {
			return err
		}
		if u.isSettled(i) {
			continue
		}
		if f.Alone || f.Error != nil {
			u.without(i, f)
			continue
		}
		if err := room.Acquire(ctx, int64(len(f.Data))); err != nil {
			return context.Cause(ctx)
		}
		u.settle(i) // a second one is passed over
		queue <- unplaced{i, f, u.small(i, f)}
	}
}

// place turns an index in the bundle into the file's place in the request.
func (u *unpacker) place(index int) (int, error) {
	switch {
	case u.r.Job != "":
		return index, nil
	case index < len(u.index):
		return u.index[index], nil
	}
	return 0, job.Errorf(job.CodeInternal, "the relay's bundle has a file %d that nobody asked for", index).WithHint("--no-bundle does without bundles")
}

func (u *unpacker) isSettled(i int) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.settled[i]
}

func (u *unpacker) settle(i int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.settled[i] = true
}

// without takes note of a file that is not in the bundle.
func (u *unpacker) without(i int, f *bundle.File) {
	url := f.URL
	if i < len(u.r.Files) {
		url = u.r.Files[i].URL
	}
	if f.Alone {
		u.mu.Lock()
		u.alone[i] = url
		u.mu.Unlock()
		return
	}
	u.tellFailed(i, job.StripUser(url), f.Error.Err())
}

// output is where a file of the request goes.
func (u *unpacker) output(i int) Output {
	if i < len(u.r.Outputs) {
		return u.r.Outputs[i]
	}
	return u.r.Output
}

func (u *unpacker) small(i int, f *bundle.File) partial.Small {
	out := u.output(i)
	target := out.File
	if target == "" {
		target = filepath.Join(dirOr(out.Dir), job.SafeName(f.Name)) // made safe again: the relay is another machine
	}
	s := partial.Small{
		Target: target, Temp: filepath.Join(filepath.Dir(target), filepath.Base(u.base)+"."+strconv.Itoa(i)),
		OnExists: out.OnExists, Sums: out.Checksums, Data: f.Data,
	}
	if !out.NoTime {
		s.ModTime = f.ModTime
	}
	return s
}

// placeAll places what comes, until the queue is closed. After a failure of the
// disk it only empties the queue.
func (u *unpacker) placeAll(queue <-chan unplaced, room *semaphore.Weighted, fail context.CancelCauseFunc) {
	var broken error
	for first := range queue {
		batch := []unplaced{first}
		for more := true; more; {
			select {
			case next, ok := <-queue:
				if more = ok; ok {
					batch = append(batch, next)
				}
			default:
				more = false
			}
		}
		if broken == nil {
			if broken = u.placeBatch(batch); broken != nil {
				fail(broken)
			}
		}
		for _, b := range batch {
			room.Release(int64(len(b.from.Data)))
		}
	}
}

// placeBatch places files and tells of each. Its error is one of the disk, after
// which there is no use in going on.
func (u *unpacker) placeBatch(batch []unplaced) error {
	smalls := make([]partial.Small, len(batch))
	for k, b := range batch {
		smalls[k] = b.small
	}
	placed := partial.Place(nil, smalls, func(paths map[int]string) error {
		names, sums := map[int]string{}, map[int]string{}
		for k, path := range paths {
			names[batch[k].file], sums[batch[k].file] = path, batch[k].from.SHA256
		}
		if err := u.journal.intend(names, sums); err != nil {
			return noJournal(u.journal.path, err)
		}
		return nil
	})
	var broken error
	for k, p := range placed {
		b := batch[k]
		url := b.from.URL
		if b.file < len(u.r.Files) {
			url = job.StripUser(u.r.Files[b.file].URL)
		}
		switch kind := partial.KindOf(p.Err); {
		case p.Err == nil:
			u.journal.done[b.file] = p.Path
			u.tellDone(b.file, url, 0, &Result{
				Path: p.Path, Size: b.from.Size, SHA256: b.from.SHA256, Fetched: b.from.Size,
				Elapsed: time.Since(u.started), LengthVerified: b.from.Verified,
			})
		case kind == partial.KindDiskFull || kind == partial.KindIO:
			broken = p.Err
		default:
			u.tellFailed(b.file, url, p.Err)
		}
	}
	return broken
}

// tellDone tells that a file stands.
func (u *unpacker) tellDone(i int, url string, resumed int64, res *Result) {
	u.mu.Lock()
	u.settled[i] = true
	u.bytes += res.Fetched
	u.mu.Unlock()
	u.c.cfg.Reporter.Report(progress.Done{
		Download: u.r.Number(i), Bundled: true, Bundle: u.r.Download, URL: url, File: res.Path,
		Size: res.Size, SHA256: res.SHA256, Duration: res.Elapsed, Resumed: resumed, LengthVerified: res.LengthVerified,
	})
	u.tell(BundleFile{File: i, URL: url, Result: res})
}

// tellFailed tells that a file will not come. How it is shown is the caller's.
func (u *unpacker) tellFailed(i int, url string, err error) {
	u.mu.Lock()
	u.settled[i] = true
	u.failed++
	u.mu.Unlock()
	u.tell(BundleFile{File: i, URL: url, Err: err})
}

func (u *unpacker) tell(f BundleFile) {
	if u.r.Each != nil {
		u.r.Each(f)
	}
}

// counts tells how many files the bundle has, and how many were told of.
func (u *unpacker) counts(all int) (total, done int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return max(all, len(u.r.Files)), len(u.settled)
}

// report tells of the bundle as one.
func (u *unpacker) report(res *Result) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.c.cfg.Reporter.Report(progress.Bundle{
		Download: u.r.Download, Files: len(u.journal.done), Failed: u.failed, Alone: len(u.alone),
		Size: u.bytes, Rate: float64(res.Fetched) / max(res.Elapsed.Seconds(), 1e-3), Duration: res.Elapsed, Paths: res.uses,
	})
}

// startUnpack takes the object apart as it comes.
func (d *download) startUnpack(ctx context.Context) {
	p := &pump{done: make(chan struct{})}
	d.pump = p
	d.wg.Go(func() {
		for {
			id, err := d.object.wait(ctx, func(id job.ID) bool { return id != "" })
			if err == nil {
				err = d.req.unpack.read(ctx, &verified{ctx: ctx, d: d, object: id})
			}
			switch {
			case errors.Is(err, errMoved):
				continue
			case err != nil:
				d.fail(err)
				return
			}
			close(p.done)
			return
		}
	})
}

// verified reads the bytes of one object, in order, as they are verified.
type verified struct {
	ctx    context.Context
	d      *download
	object job.ID
	off    int64
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.d.file.ReadVerified(v.ctx, p, v.off)
	if now, _, _ := v.d.object.get(); now != v.object {
		return 0, errMoved // the bytes may be either's
	}
	v.off += int64(n)
	return n, err
}
