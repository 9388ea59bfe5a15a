package origin

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/span"
)

// noEnd is the end of a span whose end is not known.
const noEnd int64 = math.MaxInt64

// ask is what one request asks for.
type ask struct {
	span    span.Span // bytes wanted; End may be noEnd
	ranged  bool      // false: the whole file, without a Range header
	ifRange string    // a strong ETag, or ""
}

// answer is an open 200 or 206 and how far its body has been read. One
// goroutine at a time uses it.
type answer struct {
	run    *run
	resp   *http.Response
	meta   Meta
	dated  bool
	framed bool // the end of the body can be told from a lost connection

	pos    int64 // offset in the file of the next byte of the body
	end    int64 // where the body ends, or noEnd
	eof    bool
	ctx    context.Context
	cancel context.CancelCauseFunc
	unbind func() bool

	stall  *time.Timer
	window time.Duration // time spent waiting for bytes in the current speed window
	bytes  int64         // bytes of that window
}

// open sends one request. Its error is a *failure, errLying or the context's
// cause; a 416 is a failure with that status.
func (r *run) open(ctx context.Context, want ask) (*answer, error) {
	// The answer may outlive the group of connections that asked for it, so its
	// context is only bound to ctx, see bind.
	rctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	a := &answer{run: r, ctx: rctx, cancel: cancel, unbind: func() bool { return true }}
	a.bind(ctx)
	if err := a.send(want); err != nil {
		a.close()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	a.stall = time.AfterFunc(r.f.cfg.StallTimeout, func() { cancel(errStall) })
	a.stall.Stop()
	return a, nil
}

// bind makes the end of ctx the end of the answer, in place of an earlier one.
func (a *answer) bind(ctx context.Context) {
	a.unbind()
	a.unbind = context.AfterFunc(ctx, func() { a.cancel(context.Cause(ctx)) })
}

// close gives the connection back if the body has been read to its end, else
// closes it.
func (a *answer) close() {
	a.unbind()
	a.cancel(errGone)
	if a.resp != nil {
		_ = a.resp.Body.Close() // nothing that counts comes from it any more
	}
}

func (a *answer) send(want ask) error {
	req, err := a.run.target.request(a.ctx, a.run.f.cfg.UserAgent)
	if err != nil {
		return a.run.failureOf(err)
	}
	if want.ranged {
		req.Header.Set("Range", rangeHeader(want.span))
		if want.ifRange != "" {
			req.Header.Set("If-Range", want.ifRange)
		}
	}
	resp, err := a.run.target.client.Do(req) //nolint:bodyclose // the answer holds it, and its close closes it
	if err != nil {
		return a.run.failureOf(err)
	}
	a.resp = resp
	switch {
	case resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusNonAuthoritativeInfo:
		a.whole()
		return nil
	case resp.StatusCode == http.StatusPartialContent && want.ranged:
		return a.part(want.span)
	case resp.StatusCode == http.StatusPartialContent:
		return protoFailure("the origin answered a part of the file though all of it was asked for")
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return protoFailure("the origin answered %d without saying where to go", resp.StatusCode)
	}
	return statusFailure(resp, a.run.f.cfg.Now())
}

func rangeHeader(sp span.Span) string {
	s := "bytes=" + strconv.FormatInt(sp.Start, 10) + "-"
	if sp.End != noEnd {
		s += strconv.FormatInt(sp.End-1, 10)
	}
	return s
}

// whole takes a 200.
func (a *answer) whole() {
	a.pos, a.end = 0, noEnd
	size := job.UnknownSize
	if a.resp.ContentLength >= 0 {
		size, a.end = a.resp.ContentLength, a.resp.ContentLength
	}
	a.describe(size)
}

// part takes a 206 and checks that it is what was asked for.
func (a *answer) part(want span.Span) error {
	sp, total, ok := contentRange(a.resp.Header.Get("Content-Range"))
	n := a.resp.ContentLength
	if !ok || sp.Len() == 0 || sp.Start != want.Start || sp.End > want.End || n >= 0 && n != sp.Len() {
		return errLying
	}
	a.pos, a.end = sp.Start, sp.End
	a.describe(total)
	return nil
}

func (a *answer) describe(size int64) {
	a.meta = metaOf(a.resp, a.run.target.url, size)
	a.dated = dated(a.resp.Header)
	a.framed = a.resp.ContentLength >= 0 || len(a.resp.TransferEncoding) > 0
}

// partial reports whether the answer is a 206.
func (a *answer) partial() bool { return a.resp.StatusCode == http.StatusPartialContent }

// Read reads the body, counts it, and fails on a stall or a speed below the
// minimum. io.EOF comes at the announced end alone, or at any end if none was
// announced.
func (a *answer) Read(p []byte) (int, error) {
	cfg := a.run.f.cfg
	a.stall.Reset(cfg.StallTimeout)
	start := cfg.Now()
	n, err := a.resp.Body.Read(p)
	a.stall.Stop()
	a.pos += int64(n)
	a.run.received.Add(int64(n))
	switch {
	case err != nil && a.ctx.Err() != nil:
		return n, context.Cause(a.ctx)
	case errors.Is(err, io.EOF):
		a.eof = true
		if a.end != noEnd && a.pos < a.end {
			return n, errShort
		}
		return n, io.EOF
	case err != nil:
		return n, err
	}
	return n, a.speed(int64(n), cfg.Now().Sub(start))
}

// speed looks at each window of time spent waiting for the origin; time that
// the disk takes does not count.
func (a *answer) speed(n int64, waited time.Duration) error {
	cfg := a.run.f.cfg
	a.bytes += n
	a.window += waited
	if a.window < cfg.SpeedWindow || cfg.MinSpeed < 0 {
		return nil
	}
	slow := float64(a.bytes) < float64(cfg.MinSpeed)*a.window.Seconds()
	a.bytes, a.window = 0, 0
	if slow {
		return errSlow
	}
	return nil
}

// skip reads on to the offset to.
func (a *answer) skip(to int64) error {
	_, err := io.CopyN(io.Discard, a, to-a.pos)
	if errors.Is(err, io.EOF) {
		return errShort
	}
	return err
}

// drain reads the end of a body whose bytes are all there, so that its
// connection can be used again.
func (a *answer) drain() {
	if !a.eof && a.pos == a.end {
		var b [1]byte
		_, _ = a.Read(b[:]) // an error here costs a connection and nothing else
	}
}
