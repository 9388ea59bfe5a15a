package httpd

import (
	"bufio"
	"errors"
	"mime"
	"net/http"
	"strings"
	"testing"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/span"
	"github.com/jumpget/jumpget/internal/transport"
	"github.com/jumpget/jumpget/internal/wire"
)

const digits = "0123456789"

func TestRangesOfAWholeFile(t *testing.T) {
	w := newWorld(t)
	d := newDoor(t, w)
	f, ticket := w.ready("ann", digits)
	etag := wire.ETag(f.object())
	for _, c := range []struct {
		name         string
		header       []string
		status       int
		contentRange string
		body         string
	}{
		{"no range", nil, 200, "", digits},
		{"the first byte", []string{"Range", "bytes=0-0"}, 206, "bytes 0-0/10", "0"},
		{"the middle", []string{"Range", "bytes=3-6"}, 206, "bytes 3-6/10", "3456"},
		{"from there on", []string{"Range", "bytes=7-"}, 206, "bytes 7-9/10", "789"},
		{"all, as a range", []string{"Range", "bytes=0-"}, 206, "bytes 0-9/10", digits},
		{"beyond the end", []string{"Range", "bytes=8-99"}, 206, "bytes 8-9/10", "89"},
		{"the last three", []string{"Range", "bytes=-3"}, 206, "bytes 7-9/10", "789"},
		{"more than there are", []string{"Range", "bytes=-99"}, 206, "bytes 0-9/10", digits},
		{"another case", []string{"range", "Bytes=1-2"}, 206, "bytes 1-2/10", "12"},
		{"outside", []string{"Range", "bytes=10-"}, 416, "bytes */10", ""},
		{"far outside", []string{"Range", "bytes=99999999999999999999-"}, 416, "bytes */10", ""},
		{"the last none", []string{"Range", "bytes=-0"}, 416, "bytes */10", ""},
		{"turned round", []string{"Range", "bytes=6-3"}, 200, "", digits},
		{"another unit", []string{"Range", "lines=1-2"}, 200, "", digits},
		{"nonsense", []string{"Range", "bytes=one-two"}, 200, "", digits},
		{"two ranges", []string{"Range", "bytes=0-0,5-6"}, 200, "", digits},
		{"very many ranges", []string{"Range", "bytes=" + strings.Repeat("0-,", 3000) + "0-"}, 200, "", digits},
		{"If-Range holds", []string{"Range", "bytes=3-6", "If-Range", etag}, 206, "bytes 3-6/10", "3456"},
		{"If-Range is of another version", []string{"Range", "bytes=3-6", "If-Range", `"other"`}, 200, "", digits},
		{"If-Range is weak", []string{"Range", "bytes=3-6", "If-Range", "W/" + etag}, 200, "", digits},
		{"If-Range is a date", []string{"Range", "bytes=3-6", "If-Range", "Sun, 09 Sep 2001 01:46:40 GMT"}, 200, "", digits},
		{"If-Range without a range", []string{"If-Range", etag}, 200, "", digits},
		{"If-Range saves from 416", []string{"Range", "bytes=99-", "If-Range", `"other"`}, 200, "", digits},
		{"If-Match holds", []string{"Range", "bytes=3-6", "If-Match", etag}, 206, "bytes 3-6/10", "3456"},
		{"If-Match is a list", []string{"If-Match", `"a", ` + etag + `, "b"`}, 200, "", digits},
		{"If-Match is two lines", []string{"If-Match", `"a"`, "If-Match", etag}, 200, "", digits},
		{"If-Match is a star", []string{"If-Match", "*"}, 200, "", digits},
		{"If-Match is of another version", []string{"Range", "bytes=3-6", "If-Match", `"other"`}, 412, "", ""},
		{"If-Match is weak", []string{"If-Match", "W/" + etag}, 412, "", ""},
		{"If-Match comes before 416", []string{"Range", "bytes=99-", "If-Match", `"other"`}, 412, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := d.on(t).get(ticket, c.header...)
			if a.StatusCode != c.status || a.Header.Get("Content-Range") != c.contentRange || a.body != c.body || a.err != nil {
				t.Errorf("%s, Content-Range %q, %q, %v; want %d, %q, %q", a.Status, a.Header.Get("Content-Range"), a.body, a.err, c.status, c.contentRange, c.body)
			}
			if a.ContentLength != int64(len(c.body)) || a.Header.Get("ETag") != etag || a.Header.Get("Accept-Ranges") != "bytes" {
				t.Errorf("%d bytes announced, %v", a.ContentLength, a.Header)
			}
			// HEAD tells the same of the whole, and never of a range (RFC 9110, 14.2).
			h := d.on(t).ask(http.MethodHead, ticket, c.header...)
			want, length := c.status, int64(0)
			if want != http.StatusPreconditionFailed {
				want, length = http.StatusOK, 10
			}
			if h.StatusCode != want || h.body != "" || h.ContentLength != length || h.Header.Get("ETag") != etag {
				t.Errorf("HEAD: %s, %d bytes announced, %q", h.Status, h.ContentLength, h.body)
			}
		})
	}
}

// A browser that opens a link saves it, and keeps the token to itself.
func TestAnswersAreSafeForBrowsers(t *testing.T) {
	w := newWorld(t)
	d := newDoor(t, w)
	_, ticket := w.ready("ann", "<script>alert(1)</script>")
	h := d.get(ticket).Header
	for name, want := range map[string]string{
		"Content-Type":            "application/octet-stream",
		"Content-Disposition":     `attachment; filename="the file.bin"; filename*=UTF-8''the%20file.bin`,
		"X-Content-Type-Options":  "nosniff",
		"Content-Security-Policy": "sandbox; default-src 'none'",
		"Referrer-Policy":         "no-referrer",
		"Cache-Control":           "private, no-store",
		"Last-Modified":           "Sun, 09 Sep 2001 01:46:40 GMT",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for name := range h {
		if strings.HasPrefix(name, "Access-Control-") || name == wire.HeaderVersion || name == "Server" {
			t.Errorf("%s: %q", name, h.Get(name))
		}
	}
}

func TestDispositionQuotesWhatNoNameShouldHold(t *testing.T) {
	const want = `attachment; filename="a_b_c_d__e"; filename*=UTF-8''a%22b%5Cc%25d%0D%0Ae`
	if got := disposition("a\"b\\c%d\r\ne"); got != want {
		t.Errorf("got %s", got)
	}
}

// Whatever a file is called, the header names just that, on one line, and both
// kinds of client read it.
func FuzzDisposition(f *testing.F) {
	for _, s := range []string{"a.bin", "the file.bin", `a"b\c`, "naïve.txt", "日本.zip", "%41.bin", "a;b=c", "'", "a+b", "\u202etxt.exe", "x*y(z)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		name = job.SafeName(name) // as every name of an object is
		got := disposition(name)
		if strings.ContainsFunc(got, func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Fatalf("%q gives %q", name, got)
		}
		kind, params, err := mime.ParseMediaType(got)
		if err != nil || kind != "attachment" || params["filename"] != name {
			t.Errorf("%q gives %q, which is read as %q, %q, %v", name, got, kind, params["filename"], err)
		}
	})
}

func TestAnEmptyFile(t *testing.T) {
	w := newWorld(t)
	d := newDoor(t, w)
	_, ticket := w.ready("ann", "")
	if a := d.get(ticket); a.StatusCode != http.StatusOK || a.ContentLength != 0 || a.err != nil {
		t.Errorf("%s, %d bytes, %v", a.Status, a.ContentLength, a.err)
	}
	if a := d.get(ticket, "Range", "bytes=0-"); a.StatusCode != 416 || a.Header.Get("Content-Range") != "bytes */0" {
		t.Errorf("a range: %s, %v", a.Status, a.Header)
	}
}

// Requests may be sent before earlier ones are answered, as our client does.
func TestPipelinedRequests(t *testing.T) {
	w := newWorld(t)
	d := newDoor(t, w)
	f, ticket := w.file("ann", 10)
	f.begin()
	c := d.dial()
	for _, rng := range []string{"bytes=0-3", "bytes=4-7", "bytes=8-"} {
		sendRequest(t, c, "GET", ticket, "Range", rng)
	}
	r := bufio.NewReader(c)
	f.write("01234")
	for _, want := range []string{"0123", "4567", "89"} {
		if want == "4567" {
			f.write("56789")
		}
		if a := receive(t, r, "GET"); a.StatusCode != 206 || a.body != want {
			t.Errorf("%s %q, want %q", a.Status, a.body, want)
		}
	}
	f.end()
}

// The client's own reader understands all that the door says.
func TestOurOwnClientUnderstands(t *testing.T) {
	w := newWorld(t)
	d := newDoor(t, w)
	f, ticket := w.ready("ann", digits)
	c := transport.NewRangeConn(d.dial(), transport.RangeOptions{})
	get := transport.Get{Host: "x", Path: wire.PublicPath(ticket.Job, "f"), Token: ticket.Token, ETag: wire.ETag(f.object()), Span: span.Span{Start: 2, End: 5}}
	ask := func() (string, error) {
		t.Helper()
		check(t, c.Request(get))
		var got []byte
		_, err := c.Receive(func(_ int64, p []byte) (int64, error) { got = append(got, p...); return get.Span.End, nil })
		return string(got), err
	}
	if got, err := ask(); got != "234" || err != nil {
		t.Errorf("a range: %q, %v", got, err)
	}
	get.Span = span.Span{Start: 10, End: 12}
	if _, err := ask(); !isA[*transport.BeyondEndError](err) {
		t.Errorf("beyond the end: %v", err)
	}
	c = transport.NewRangeConn(d.dial(), transport.RangeOptions{})
	get.Span.Start, get.ETag = 0, `"other"`
	if _, err := ask(); !isA[*transport.ChangedError](err) {
		t.Errorf("another version: %v", err)
	}
	c = transport.NewRangeConn(d.dialFrom("127.0.0.2"), transport.RangeOptions{})
	if _, err := ask(); !isA[*transport.NotGrantedError](err) || !c.Alive() {
		t.Errorf("an unknown address: %v, usable: %v", err, c.Alive())
	}
	get.Token = "x"
	if _, err := ask(); !isA[*transport.RefusedError](err) || c.Alive() {
		t.Errorf("a wrong token: %v, usable: %v", err, c.Alive())
	}
}

func isA[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}
