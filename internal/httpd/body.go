package httpd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/span"
	"github.com/jumpget/jumpget/internal/wire"
)

// body is what is served: *relay.Body.
type body interface {
	Object() job.Object
	Size() (int64, bool)
	ReadAt(ctx context.Context, p []byte, off int64) (int, error)
	Wait(ctx context.Context, sp span.Span) error
}

const (
	// bufferSize is what one read from disk takes.
	bufferSize = 256 << 10

	// pieceSize is what a reader has to take within the stall time: so little
	// that a link of a few KB/s, shared by many connections, is no stall.
	pieceSize = 64 << 10
)

var buffers = sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }}

// outlet is where the bytes of bodies go to.
type outlet struct {
	cut   context.Context // ends every body that is under way
	stall time.Duration   // how long a reader may take nothing; 0: the connection sees to that itself
}

// serve answers GET and HEAD with the bytes of b, which may still grow: each
// byte leaves as soon as it is there. Ranges, If-Match and If-Range are
// honoured; several ranges in one request are not, see parseRange. When the
// bytes fail to come the answer is cut off, so that its reader can tell.
func (out outlet) serve(w http.ResponseWriter, r *http.Request, b body) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(out.cut, cancel)()
	o := b.Object()
	describe(w.Header(), o)
	etag := wire.ETag(o.ID)
	if m := strings.Join(r.Header.Values("If-Match"), ","); m != "" && !matches(m, etag) {
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusPreconditionFailed)
		return
	}
	want, ranged := parseRange(r.Header.Get("Range"))
	if ir := r.Header.Get("If-Range"); ir != "" && ir != etag {
		ranged = false
	}
	if !ranged || r.Method == http.MethodHead {
		out.whole(ctx, w, r, b)
		return
	}
	out.part(ctx, w, b, want)
}

// describe sets the headers that every answer about an object has. A browser
// that opens a public link must save it, never show or run it.
func describe(h http.Header, o job.Object) {
	h.Set("ETag", wire.ETag(o.ID))
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", disposition(o.Name))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("Referrer-Policy", "no-referrer") // the link holds its token
	h.Set("Cache-Control", "private, no-store")
	if !o.ModTime.IsZero() {
		h.Set("Last-Modified", o.ModTime.UTC().Format(http.TimeFormat))
	}
}

// disposition names the file in both forms of RFC 6266: plain ASCII for old
// clients, UTF-8 for the rest.
func disposition(name string) string {
	ascii := strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || c == '"' || c == '\\' || c == '%' {
			return '_'
		}
		return c
	}, name)
	return fmt.Sprintf(`attachment; filename="%s"; filename*=UTF-8''%s`, ascii, strings.ReplaceAll(url.QueryEscape(name), "+", "%20"))
}

// matches reads If-Match: a list of entity tags, or a star.
func matches(header, etag string) bool {
	for tag := range strings.SplitSeq(header, ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || tag == etag {
			return true
		}
	}
	return false
}

func (out outlet) whole(ctx context.Context, w http.ResponseWriter, r *http.Request, b body) {
	size, known := b.Size()
	if !known && r.Method != http.MethodHead && !r.ProtoAtLeast(1, 1) {
		// The end of such an answer is the end of its connection, so only a length
		// tells a file that was cut off from a whole one.
		await(ctx, b, span.Span{End: math.MaxInt64})
		size, known = b.Size()
	}
	end := int64(-1)
	if known {
		end = size
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	}
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		out.copy(ctx, w, b, 0, end)
	}
}

// part answers with 206, or with 416 if the body ends before the range begins.
// As long as the length is not known it waits until the range is there or the
// end is known.
func (out outlet) part(ctx context.Context, w http.ResponseWriter, b body, want byteRange) {
	size, known := b.Size()
	if !known {
		need := span.Span{Start: max(0, want.first), End: want.last + 1}
		if want.suffix() || want.open() {
			need.End = math.MaxInt64 // there is no such byte: this waits for the end
		}
		await(ctx, b, need)
		size, known = b.Size()
	}
	total, limit := "*", int64(math.MaxInt64)
	if known {
		total, limit = strconv.FormatInt(size, 10), size
	}
	start, end, ok := want.within(limit)
	if !ok {
		w.Header().Set("Content-Range", "bytes */"+total)
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	}
	w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%s", start, end-1, total))
	w.Header().Set("Content-Length", strconv.FormatInt(end-start, 10))
	w.WriteHeader(http.StatusPartialContent)
	out.copy(ctx, w, b, start, end)
}

// await waits until sp is there or the end is known. If neither will be, it cuts
// the answer off before it has begun.
func await(ctx context.Context, b body, sp span.Span) {
	if err := b.Wait(ctx, sp); err != nil && !errors.Is(err, io.EOF) {
		panic(http.ErrAbortHandler)
	}
}

// copy writes the bytes [at, end), or all from at on if end is negative.
func (out outlet) copy(ctx context.Context, w http.ResponseWriter, b body, at, end int64) {
	rc := http.NewResponseController(w)
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	if _, known := b.Size(); !known || end < 0 {
		_ = rc.Flush() // the headers, while the bytes may take their time
	}
	for end < 0 || at < end {
		p := *buf
		if end >= 0 {
			p = p[:min(int64(len(p)), end-at)]
		}
		out.disarm(rc)
		n, err := b.ReadAt(ctx, p, at)
		if errors.Is(err, io.EOF) && end < 0 {
			out.arm(rc)
			return
		}
		if err != nil && n == 0 {
			panic(http.ErrAbortHandler) // a clean end would look like the whole
		}
		at += int64(n)
		if out.write(rc, w, p[:n], n < len(p)) != nil {
			return
		}
	}
}

// write leaves the deadline of the last piece standing, for what net/http has
// kept back of it. What is sent while the body grows leaves at once.
func (out outlet) write(rc *http.ResponseController, w http.ResponseWriter, p []byte, growing bool) error {
	for len(p) > 0 {
		n := len(p)
		if out.stall > 0 {
			n = min(n, pieceSize)
			out.arm(rc)
		}
		if _, err := w.Write(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	if !growing {
		return nil
	}
	return rc.Flush()
}

// arm starts the time within which something has to be taken. It rolls, since a
// long body is fine and a reader that takes nothing is not.
func (out outlet) arm(rc *http.ResponseController) {
	if out.stall > 0 {
		_ = rc.SetWriteDeadline(time.Now().Add(out.stall)) // on a dead connection the write fails as well
	}
}

// disarm stops it while there is nothing to take: over HTTP/2 it would go on.
func (out outlet) disarm(rc *http.ResponseController) {
	if out.stall > 0 {
		_ = rc.SetWriteDeadline(time.Time{}) // as in arm
	}
}
