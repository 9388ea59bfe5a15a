package client

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/partial"
	"github.com/jumpget/jumpget/internal/wire"
)

// errNotNewer ends a download that Output.Newer made unnecessary.
var errNotNewer = errors.New("the file here is not older")

func (d *download) dir() string {
	if d.req.Output.Dir == "" {
		return "."
	}
	return d.req.Output.Dir
}

// options are those of the file at target.
func (d *download) options(target string) partial.Options {
	out := d.req.Output
	o := partial.Options{
		Target: target, URL: d.url(), OnExists: out.OnExists, Adopt: out.Adopt, Checksums: out.Checksums,
		OnMismatch: d.wrong.add,
	}
	if out.Newer {
		o.OnExists = partial.Overwrite
	}
	if len(d.req.Files) > 0 {
		o.URL = bundleURL(d.req.Request)
	}
	return o
}

// url is what the partial file remembers. A job that is pulled has told its
// URL by the time that it is needed.
func (d *download) url() string {
	if d.req.Job != "" {
		return d.status.URL
	}
	return d.req.URL
}

// mismatches passes what the file's workers found on to the main loop: they
// may not wait for it, and none may be lost.
type mismatches struct {
	mu    sync.Mutex
	list  []partial.Mismatch
	ready chan struct{} // holds one token while there are any
}

func newMismatches() *mismatches { return &mismatches{ready: make(chan struct{}, 1)} }

func (q *mismatches) add(m partial.Mismatch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.list = append(q.list, m)
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

func (q *mismatches) take() []partial.Mismatch {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := q.list
	q.list = nil
	return list
}

// openEarly opens the file before any use of the network where its name is
// known, and otherwise finds out whether there could be one.
func (d *download) openEarly(ctx context.Context) (err error) {
	out := d.req.Output
	switch {
	case d.req.Stdout != nil:
		d.file, err = partial.Temp(ctx, d.tempDir(), d.options(""))
		if err == nil {
			d.startPump(ctx)
		}
		return err
	case out.Newer || d.req.Job != "" && out.File == "":
		return partial.CheckDir(d.folder())
	case d.req.Job != "":
		return partial.CheckDir(d.folder()) // its URL is told later
	}
	target := out.File
	if target == "" {
		found, ok := partial.Find(d.dir(), d.url())
		if !ok {
			return partial.CheckDir(d.dir())
		}
		target = found
	}
	d.file, err = partial.Open(ctx, d.options(target))
	return err
}

// folder is where the file will stand.
func (d *download) folder() string {
	if f := d.req.Output.File; f != "" {
		return filepath.Dir(f)
	}
	return d.dir()
}

// tempDir is where bytes for a pipe wait to be verified.
func (d *download) tempDir() string {
	switch {
	case d.req.Output.Dir != "":
		return d.req.Output.Dir
	case d.c.cfg.StateDir != "" && os.MkdirAll(d.c.cfg.StateDir, 0o700) == nil:
		return d.c.cfg.StateDir // on a disk, as a system's temporary folder often is not
	}
	return os.TempDir()
}

// outputPath is where the object goes.
func (d *download) outputPath(o *wire.Object) string {
	if d.req.Output.File != "" {
		return d.req.Output.File
	}
	return filepath.Join(d.dir(), job.SafeName(o.Name)) // made safe again: the relay is another machine
}

// openLate opens the file once the relay has told its name.
func (d *download) openLate(ctx context.Context, o *wire.Object) (err error) {
	target := d.outputPath(o)
	if d.req.Output.Newer && !newer(o, target) {
		return errNotNewer
	}
	if d.req.Output.File == "" {
		if found, ok := partial.Find(d.dir(), d.url()); ok {
			target = found
		}
	}
	d.file, err = partial.Open(ctx, d.options(target))
	return err
}

// newer tells whether the origin's file is newer than the one at path, or of
// another size, as wget -N does.
func newer(o *wire.Object, path string) bool {
	info, err := os.Stat(path)
	if err != nil || o.ModTime.IsZero() {
		return true
	}
	return o.ModTime.After(info.ModTime()) || o.Size >= 0 && o.Size != info.Size()
}

// pump copies verified bytes to Request.Stdout, in order.
type pump struct {
	done chan struct{} // closed when all was written
}

const pumpBuffer = 256 << 10

func (d *download) startPump(ctx context.Context) {
	p := &pump{done: make(chan struct{})}
	d.pump = p
	d.wg.Go(func() {
		if err := d.pumpAll(ctx); err != nil {
			d.fail(err)
			return
		}
		close(p.done)
	})
}

func (d *download) pumpAll(ctx context.Context) error {
	buf := make([]byte, pumpBuffer)
	var off int64
	var object job.ID
	for {
		id, err := d.object.wait(ctx, func(id job.ID) bool { return id != "" })
		if err != nil {
			return err
		}
		if id != object && off > 0 {
			return job.Errorf(job.CodeOriginProto, "the origin's file changed after a part of it was written to standard output").
				WithHint("start over; to a file (-o FILE) JumpGet starts over by itself")
		}
		object = id
		n, err := d.file.ReadVerified(ctx, buf, off)
		if now, _, _ := d.object.get(); now != id {
			continue // the bytes may be either's
		}
		if n > 0 {
			if _, err := d.req.Stdout.Write(buf[:n]); err != nil {
				return err
			}
			off += int64(n)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// drained waits until the last byte went to Request.Stdout.
func (d *download) drained(ctx context.Context) error {
	if d.pump == nil {
		return nil
	}
	select {
	case <-d.pump.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
