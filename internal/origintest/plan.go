package origintest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/jumpget/jumpget/internal/span"
)

// plan makes the answer of a well-behaved server, then lets the faults at it.
func (f *served) plan(req *http.Request, n int) *Reply {
	r := &Reply{
		Request: req, N: n, Status: http.StatusOK, Header: http.Header{},
		Content: f.Content(), CloseAfter: -1, ResetAfter: -1, StallAfter: -1,
	}
	r.Span.End = r.Content.Size()
	f.headers(r)
	switch {
	case f.Redirect != "":
		r.become(http.StatusFound, Content{})
		r.Header.Set("Location", f.Redirect)
		apply(r, f.Faults)
		return r
	case !f.login(req):
		Status(http.StatusUnauthorized, "WWW-Authenticate", `Basic realm="test"`)(r)
		return r
	case !f.cookie(req):
		Status(http.StatusForbidden)(r)
		return r
	}
	switch {
	case f.unmodified(req):
		r.become(http.StatusNotModified, Content{})
	case f.Gzip && strings.Contains(req.Header.Get("Accept-Encoding"), "gzip"):
		compress(r)
	case !f.NoRanges:
		f.cut(r)
	}
	apply(r, f.Faults)
	return r
}

func (f *served) headers(r *Reply) {
	for name, values := range f.Header {
		r.Header[name] = append([]string(nil), values...)
	}
	set := func(name, value string) {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	set("ETag", f.ETag)
	set("Content-Type", f.ContentType)
	set("Content-Disposition", f.Disposition)
	set("Last-Modified", f.lastModified())
	if !f.NoRanges {
		set("Accept-Ranges", "bytes")
	}
	if f.ContentType == "" {
		set("Content-Type", "application/octet-stream")
	}
}

func (f *served) lastModified() string {
	if f.LastModified.IsZero() {
		return ""
	}
	return f.LastModified.UTC().Format(http.TimeFormat)
}

func (f *served) login(req *http.Request) bool {
	if f.User == "" && f.Password == "" {
		return true
	}
	user, password, ok := req.BasicAuth()
	return ok && user == f.User && password == f.Password
}

func (f *served) cookie(req *http.Request) bool {
	if f.Cookie == "" {
		return true
	}
	for _, c := range req.Cookies() {
		if c.Name+"="+c.Value == f.Cookie {
			return true
		}
	}
	return false
}

// unmodified evaluates If-None-Match and, without it, If-Modified-Since.
func (f *served) unmodified(req *http.Request) bool {
	if want := req.Header.Get("If-None-Match"); want != "" {
		weak := func(s string) string { return strings.TrimPrefix(strings.TrimSpace(s), "W/") }
		for tag := range strings.SplitSeq(want, ",") {
			if f.ETag != "" && weak(tag) == weak(f.ETag) {
				return true
			}
		}
		return false
	}
	since, err := http.ParseTime(req.Header.Get("If-Modified-Since"))
	return err == nil && !f.LastModified.IsZero() && !f.LastModified.Truncate(time.Second).After(since)
}

// cut narrows the answer to the range asked for. Several ranges in one request
// are answered with the whole, as many servers do.
func (f *served) cut(r *Reply) {
	spec, ok := strings.CutPrefix(r.Request.Header.Get("Range"), "bytes=")
	if !ok || strings.Contains(spec, ",") || !f.ifRange(r.Request) {
		return
	}
	size := r.Content.Size()
	sp, ok := parseRange(spec, size)
	if !ok {
		return
	}
	if sp.Len() == 0 {
		r.become(http.StatusRequestedRangeNotSatisfiable, Content{})
		r.Header.Set("Content-Range", fmt.Sprintf("bytes */%d", size))
		return
	}
	r.Status, r.Span = http.StatusPartialContent, sp
	r.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", sp.Start, sp.End-1, size))
}

// ifRange reports whether the range may be honoured: no If-Range, or one that
// matches strongly.
func (f *served) ifRange(req *http.Request) bool {
	want := req.Header.Get("If-Range")
	if want == "" {
		return true
	}
	return want == f.ETag && !strings.HasPrefix(want, "W/") || want == f.lastModified()
}

// parseRange reads "a-b", "a-" or "-n"; an empty span can't be satisfied.
func parseRange(spec string, size int64) (span.Span, bool) {
	first, last, ok := strings.Cut(spec, "-")
	if !ok {
		return span.Span{}, false
	}
	if first == "" {
		n, err := strconv.ParseInt(last, 10, 64)
		return span.Span{Start: max(0, size-n), End: size}, err == nil
	}
	a, err := strconv.ParseInt(first, 10, 64)
	if err != nil || a < 0 {
		return span.Span{}, false
	}
	if last == "" {
		return span.Span{Start: a, End: size}, true
	}
	b, err := strconv.ParseInt(last, 10, 64)
	return span.Span{Start: a, End: min(b+1, size)}, err == nil && b >= a
}

// compress is meant for small files: it holds the whole in memory.
func compress(r *Reply) {
	plain := make([]byte, r.Content.Size())
	_, _ = r.Content.ReadAt(plain, 0) // can't fail within the size
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, _ = w.Write(plain) // a Buffer takes everything
	_ = w.Close()
	r.become(http.StatusOK, Bytes(buf.Bytes()))
	r.Header.Set("Content-Encoding", "gzip")
	r.Header.Set("Vary", "Accept-Encoding")
}
