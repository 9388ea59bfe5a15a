package origin

import (
	"mime"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/span"
)

// metaOf reads what an answer of 200 or 206 tells about the file; size is that
// of the whole. asked is the URL before redirects.
func metaOf(resp *http.Response, asked *url.URL, size int64) Meta {
	h := resp.Header
	m := Meta{
		FinalURL:     job.StripUser(resp.Request.URL.String()),
		Name:         nameOf(h.Get("Content-Disposition"), asked, resp.Request.URL),
		Size:         size,
		ETag:         h.Get("ETag"),
		LastModified: h.Get("Last-Modified"),
		ContentType:  h.Get("Content-Type"),
		Ranges:       resp.StatusCode == http.StatusPartialContent || strings.EqualFold(h.Get("Accept-Ranges"), "bytes"),
	}
	if t, err := http.ParseTime(m.LastModified); err == nil {
		m.ModTime = t
	}
	return m
}

// Validators returns what names the version.
func (m Meta) Validators() Validators {
	return Validators{ETag: m.ETag, LastModified: m.LastModified, Size: m.Size}
}

// nameOf chooses a file name: what the origin says, else the asked URL's last
// segment if it looks like a file's, else that of the URL that was reached.
func nameOf(disposition string, asked, final *url.URL) string {
	if n := dispositionName(disposition); n != "" {
		return job.SafeName(n)
	}
	a, b := lastSegment(asked), lastSegment(final)
	if a == "" || path.Ext(a) == "" && path.Ext(b) != "" {
		a = b
	}
	return job.SafeName(a)
}

func lastSegment(u *url.URL) string {
	p := u.EscapedPath()
	s := p[strings.LastIndexByte(p, '/')+1:]
	if plain, err := url.PathUnescape(s); err == nil {
		return plain
	}
	return s
}

// dispositionName returns the raw file name of a Content-Disposition, or "".
// It is somebody else's choice of bytes: make it safe before use.
func dispositionName(s string) string {
	if s == "" {
		return ""
	}
	_, params, err := mime.ParseMediaType(s)
	name := params["filename"]
	if err != nil {
		name = sloppyName(s)
	}
	if decoded, err := new(mime.WordDecoder).DecodeHeader(name); err == nil {
		name = decoded
	}
	return strings.TrimSpace(name)
}

// sloppyName finds the name in the headers that many servers write without
// quotes or without a type: filename=annual report.pdf.
func sloppyName(s string) string {
	const key = "filename="
	for len(s) >= len(key) && !strings.EqualFold(s[:len(key)], key) {
		s = s[1:]
	}
	if len(s) < len(key) {
		return ""
	}
	s = strings.TrimSpace(s[len(key):])
	if rest, ok := strings.CutPrefix(s, `"`); ok {
		name, _, _ := strings.Cut(rest, `"`)
		return name
	}
	name, _, _ := strings.Cut(s, ";")
	return name
}

// contentRange reads a Content-Range such as "bytes 0-9/10", "bytes 0-9/*" or
// "bytes */10". An empty span stands for "*"; an unknown total is
// job.UnknownSize.
func contentRange(s string) (sp span.Span, total int64, ok bool) {
	unit, rest, found := strings.Cut(strings.TrimSpace(s), " ")
	if !found || !strings.EqualFold(unit, "bytes") {
		return span.Span{}, 0, false
	}
	rng, size, found := strings.Cut(strings.TrimSpace(rest), "/")
	if !found {
		return span.Span{}, 0, false
	}
	total = job.UnknownSize
	if size != "*" {
		if total, ok = digits(size); !ok {
			return span.Span{}, 0, false
		}
	}
	if rng == "*" {
		return span.Span{}, total, size != "*"
	}
	first, last, found := strings.Cut(rng, "-")
	a, okA := digits(first)
	b, okB := digits(last)
	if !found || !okA || !okB || b < a || total != job.UnknownSize && b >= total {
		return span.Span{}, 0, false
	}
	return span.Span{Start: a, End: b + 1}, total, true
}

// digits reads a number without sign that leaves room to add one.
func digits(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 63)
	return n, err == nil
}

// Strong returns the ETag if it is a strong one, else "".
func (v Validators) Strong() string {
	return (&job.Object{ETag: v.ETag}).StrongValidator()
}

// dated reports whether Last-Modified can stand in for a strong validator: the
// origin's own clock was past it by a second or more (RFC 9110, 8.8.2.2), so
// the file can't have changed twice within it.
func dated(h http.Header) bool {
	modified, err := http.ParseTime(h.Get("Last-Modified"))
	if err != nil {
		return false
	}
	date, err := http.ParseTime(h.Get("Date"))
	return err == nil && date.Sub(modified) >= time.Second
}
