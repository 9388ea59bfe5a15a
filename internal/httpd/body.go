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

// bufferSize is what one read from disk and one write to the network take.
const bufferSize = 256 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }}

// serveBody answers GET and HEAD with the bytes of b, which may still grow:
// each byte leaves as soon as it is there. Ranges, If-Match and If-Range are
// honoured; several ranges in one request are not, see parseRange. When the
// bytes fail to come the answer is cut off, so that its reader can tell. It
// ends when drain does.
func serveBody(w http.ResponseWriter, r *http.Request, b body, drain context.Context) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(drain, cancel)()
	o := b.Object()
	describe(w.Header(), o)
	etag := wire.ETag(o.ID)
	if m := r.Header.Get("If-Match"); m != "" && !matches(m, etag) {
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusPreconditionFailed)
		return
	}
	want, ranged := parseRange(r.Header.Get("Range"))
	if ir := r.Header.Get("If-Range"); ir != "" && ir != etag {
		ranged = false
	}
	if !ranged || r.Method == http.MethodHead {
		serveWhole(ctx, w, r, b)
		return
	}
	serveRange(ctx, w, r, b, want)
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

func serveWhole(ctx context.Context, w http.ResponseWriter, r *http.Request, b body) {
	end := int64(-1)
	if size, known := b.Size(); known {
		end = size
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	}
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		copyBody(ctx, w, b, 0, end)
	}
}

// serveRange answers with 206, or with 416 if the body ends before the range
// begins. As long as the length is not known it waits until the range is
// there or the end is known.
func serveRange(ctx context.Context, w http.ResponseWriter, r *http.Request, b body, want byteRange) {
	size, known := b.Size()
	if !known {
		need := span.Span{Start: max(0, want.first), End: want.last + 1}
		if want.suffix() || want.open() {
			need.End = math.MaxInt64 // there is no such byte: this waits for the end
		}
		if err := b.Wait(ctx, need); err != nil && !errors.Is(err, io.EOF) {
			panic(http.ErrAbortHandler) // no bytes will come: cut the answer off before it begins
		}
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
	copyBody(ctx, w, b, start, end)
}

// copyBody writes the bytes [at, end), or all from at on if end is negative.
func copyBody(ctx context.Context, w http.ResponseWriter, b body, at, end int64) {
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
		n, err := b.ReadAt(ctx, p, at)
		if errors.Is(err, io.EOF) && end < 0 {
			return
		}
		if err != nil && n == 0 {
			panic(http.ErrAbortHandler) // a clean end would look like the whole
		}
		at += int64(n)
		if writePart(rc, w, p[:n], n < len(p)) != nil {
			return
		}
	}
}

// writePart writes with a deadline of its own, since a long body is fine and a
// reader that takes nothing is not. What is sent while the body grows leaves
// at once.
func writePart(rc *http.ResponseController, w http.ResponseWriter, p []byte, growing bool) error {
	if err := rc.SetWriteDeadline(time.Now().Add(stallTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := w.Write(p); err != nil {
		return err
	}
	if !growing {
		return nil
	}
	return rc.Flush()
}
