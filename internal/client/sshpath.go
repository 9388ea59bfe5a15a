package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jumpget/jumpget/internal/progress"
	"github.com/jumpget/jumpget/internal/schedule"
	"github.com/jumpget/jumpget/internal/span"
	"github.com/jumpget/jumpget/internal/transport"
	"github.com/jumpget/jumpget/internal/wire"
)

const (
	sshStreams = 2 // so that one's round trip is the other's time to deliver
	sshBuffer  = 64 << 10
)

// sshPath reads the body over the tunnel while the public door does not
// deliver: in the first moments, and as the last resort. In a session the tunnel
// is the session's stream.
type sshPath struct {
	d      *download
	bytes  atomic.Int64
	wanted cell[bool]
}

func newSSHPath(ctx context.Context, d *download) *sshPath {
	p := &sshPath{d: d}
	if d.c.allowed(PathSSH) {
		p.wanted.put(!d.c.allowed(PathUDP) && d.advance == nil) // else tick decides
		for range sshStreams {
			d.wg.Go(func() { p.run(ctx) })
		}
	}
	return p
}

// want switches the path on or off.
func (p *sshPath) want(on bool) {
	if was, set, _ := p.wanted.get(); set && was != on {
		p.wanted.put(on)
		if !on {
			p.d.report.path(PathSSH, progress.PathIdle, "another path delivers")
		}
	}
}

// run is one stream: it works whenever the path is wanted.
func (p *sshPath) run(ctx context.Context) {
	pause := newBackoff()
	for ctx.Err() == nil {
		if _, err := p.wanted.wait(ctx, func(on bool) bool { return on }); err != nil {
			return
		}
		e, err := p.d.engine.wait(ctx, present)
		if err != nil {
			return
		}
		before := p.bytes.Load()
		err = p.work(e)
		if p.bytes.Load() > before {
			pause.Reset()
		}
		if err != nil && ctx.Err() == nil && e.ctx.Err() == nil {
			p.failed(ctx, err)
			sleep(ctx, pause.NextBackOff())
		}
	}
}

// failed tells of an error that is not just the end of being wanted.
func (p *sshPath) failed(ctx context.Context, err error) {
	p.d.c.cfg.Log.Debug("a read over ssh ended", "error", err)
	if !p.d.c.allowed(PathTCP) {
		p.d.strike.count(err)
	}
	if isType[*transport.ChangedError](err) || isType[*transport.BeyondEndError](err) {
		_ = p.d.refresh(ctx, p.d.jobID()) // if it fails too, the stream of events will tell
	}
}

// work serves one object until the path is not wanted any more.
func (p *sshPath) work(e *engine) error {
	w := e.join(PathSSH, 0)
	if w == nil {
		return nil
	}
	defer e.leave(w)
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	p.d.wg.Go(func() { // what is on its way is not worth waiting for
		defer cancel()
		_, _ = p.wanted.wait(ctx, func(on bool) bool { return !on }) // ends with ctx as well
	})
	for ctx.Err() == nil {
		sp, ok, wake := e.assign(w)
		if !ok {
			e.rest(ctx, wake)
			continue
		}
		err := p.read(ctx, e, w, sp)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		e.finished(w)
	}
	return nil
}

// read asks for one piece.
func (p *sshPath) read(ctx context.Context, e *engine, w *schedule.Worker, sp span.Span) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g := transport.Get{ETag: wire.ETag(e.object), Span: sp}
	header := http.Header{
		"Range":    {"bytes=" + strconv.FormatInt(sp.Start, 10) + "-" + strconv.FormatInt(sp.End-1, 10)},
		"If-Match": {g.ETag},
	}
	resp, err := p.d.c.api.send(ctx, http.MethodGet, wire.JobPath(p.d.jobID(), "/data"), nil, header)
	if err != nil {
		return err
	}
	defer closeBody(resp)
	a, err := transport.Check(g, resp)
	if err != nil {
		return err
	}
	return p.body(ctx, cancel, e, w, a.Span, resp.Body)
}

// body stores an answer's bytes. Silence ends it, unless the relay waits as well.
func (p *sshPath) body(ctx context.Context, cancel context.CancelFunc, e *engine, w *schedule.Worker, sp span.Span, body io.Reader) error {
	stall := p.d.c.cfg.Timeout
	var timer *time.Timer
	timer = time.AfterFunc(stall, func() {
		if e.waiting(w) {
			timer.Reset(stall)
			return
		}
		cancel()
	})
	defer timer.Stop()
	buf := make([]byte, sshBuffer)
	for at := sp.Start; at < sp.End; {
		n, err := body.Read(buf[:min(int64(len(buf)), sp.End-at)])
		if n > 0 {
			timer.Reset(stall)
			want, serr := p.take(ctx, e, w, at, buf[:n])
			if serr != nil || want <= at+int64(n) {
				return serr
			}
			at += int64(n)
		}
		if err != nil && at < sp.End {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return p.d.c.api.tunnel.reason(err)
		}
	}
	return nil
}

func (p *sshPath) take(ctx context.Context, e *engine, w *schedule.Worker, off int64, b []byte) (int64, error) {
	if err := throttle(ctx, p.d.c.limit, len(b)); err != nil {
		return 0, err
	}
	want, err := e.arrived(w, off, b)
	if err != nil {
		p.d.fail(err)
		return 0, err
	}
	if p.bytes.Add(int64(len(b))) == int64(len(b)) {
		p.d.report.path(PathSSH, progress.PathUp, "until another path delivers")
	}
	p.d.strike.clear()
	return want, nil
}
