package client

import (
	"context"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/partial"
)

// readyWait is how long a file whose chunks are all verified waits for the
// relay's word on the whole.
const readyWait = 2 * time.Second

// finish ends the fetching and gives the file its name.
func (d *download) finish(ctx context.Context, err error) (*Result, error) {
	if err != nil {
		return nil, err
	}
	d.c.sessions.opener.Measured(d.sight(d.current).RTT)
	d.stopWorkers()
	if d.req.unpack == nil {
		d.awaitReady(ctx)
	}
	d.report.progress()
	if err := d.drained(ctx); err != nil {
		return nil, err
	}
	if d.req.unpack != nil {
		d.file.Discard() // its files have hashes of their own, and stand
		d.report.progress()
		d.door.remember()
		return d.result("", ""), nil
	}
	o := d.status.Object
	opts := partial.FinishOptions{SHA256: o.SHA256}
	if !d.req.Output.NoTime {
		opts.ModTime = o.ModTime
	}
	verified, resumed := d.file.Verified(), d.file.Resumed()
	path, sum, err := d.file.Finish(ctx, opts)
	if err != nil {
		return nil, err
	}
	if d.req.Stdout != nil {
		path = ""
	}
	res := d.result(path, sum)
	d.door.remember()
	d.report.done(res, verified, resumed)
	return res, nil
}

// awaitReady waits for the SHA-256 of the whole for a moment. With every chunk
// verified it adds little, so a tunnel that is down just now does not matter.
func (d *download) awaitReady(ctx context.Context) {
	timer := time.NewTimer(readyWait)
	defer timer.Stop()
	for d.status.State != job.Ready {
		select {
		case ev := <-d.events:
			if ev.job != nil && ev.job.Object != nil && ev.job.Object.ID == d.current.object {
				d.status = *ev.job
			}
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (d *download) result(path, sum string) *Result {
	o := d.status.Object
	return &Result{
		Job: d.status.ID, Path: path, Size: d.file.Size(), SHA256: sum,
		Fetched: d.report.carried(), Elapsed: time.Since(d.started),
		LengthVerified: o.LengthVerified,
		Paths:          map[Path]int64{PathUDP: d.udp.bytes.Load(), PathTCP: d.door.bytes.Load(), PathSSH: d.ssh.bytes.Load()},
		uses:           d.report.uses(),
	}
}

func (d *download) skipped() *Result {
	return &Result{Job: d.status.ID, Path: d.outputPath(d.status.Object), Size: d.status.Object.Size, Skipped: true, Elapsed: time.Since(d.started)}
}
