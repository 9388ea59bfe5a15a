package transport

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/jumpget/jumpget/internal/span"
	"github.com/jumpget/jumpget/internal/wire"
)

// Answer is what an accepted answer covers.
type Answer struct {
	Span span.Span // what was asked for, or its first part
	Size int64     // of the whole object; -1: not told
}

// NotGrantedError is the relay's answer to a good token from an address that
// was not allowed yet. The connection can be used further.
type NotGrantedError struct {
	Addr netip.Addr // ours, as the relay sees it
}

func (e *NotGrantedError) Error() string {
	return "the relay does not know our address " + e.Addr.String() + " yet"
}

// RefusedError is a bare 404: a wrong or expired token, no such job, or no relay.
type RefusedError struct{}

func (*RefusedError) Error() string { return "the relay's public door refused the token" }

// ChangedError says that the relay has another version of the file by now.
type ChangedError struct{}

func (*ChangedError) Error() string { return "the relay has another version of the file" }

// BeyondEndError is a 416: the range begins where the object has ended.
type BeyondEndError struct{}

func (*BeyondEndError) Error() string { return "the range lies beyond the end of the file" }

// RangeError says that an answer covers other bytes than were asked for.
type RangeError struct{ Asked, Got string }

func (e *RangeError) Error() string {
	return "asked for bytes " + e.Asked + " and was answered " + e.Got
}

// StatusError is any other HTTP status.
type StatusError struct{ Status int }

func (e *StatusError) Error() string {
	return fmt.Sprintf("the public door answered %d %s", e.Status, http.StatusText(e.Status))
}

// ProtocolError says that what came is not HTTP as the relay speaks it.
type ProtocolError struct{ What string }

func (e *ProtocolError) Error() string { return "the public door's answer makes no sense: " + e.What }

// StallError says that the other side was silent for too long.
type StallError struct{ After time.Duration }

func (e *StallError) Error() string { return fmt.Sprintf("nothing came for %v", e.After) }

func isNotGranted(err error) bool {
	var e *NotGrantedError
	return errors.As(err, &e)
}

// maxHead bounds an answer's header in bytes.
const maxHead = 8 << 10

// head is what counts of an answer's header.
type head struct {
	status       int
	length       int64 // Content-Length; -1: none
	contentRange string
	etag         string
	address      string // HeaderAddress
	chunked      bool
	close        bool // the connection ends after this answer
}

// parseHead parses the header that b starts with, and returns how many bytes it
// takes; 0 if more are needed.
func parseHead(b []byte) (head, int, error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return head{}, 0, badStart(b)
	}
	lines := strings.Split(string(b[:end]), "\r\n")
	for _, line := range lines {
		if strings.ContainsFunc(line, isControl) {
			return head{}, 0, &ProtocolError{fmt.Sprintf("a header line is %.40q", line)}
		}
	}
	h := head{length: -1}
	if err := h.statusLine(lines[0]); err != nil {
		return h, 0, err
	}
	for _, line := range lines[1:] {
		if err := h.field(line); err != nil {
			return h, 0, err
		}
	}
	return h, end + 4, nil
}

// isControl tells what no header holds; a lone line feed would be read by some
// as the end of a line.
func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

const httpVersion = "HTTP/1."

// badStart tells early when the other side speaks no HTTP.
func badStart(b []byte) error {
	n := min(len(b), len(httpVersion))
	if string(b[:n]) != httpVersion[:n] {
		return &ProtocolError{"it is not HTTP"}
	}
	return nil
}

func (h *head) statusLine(line string) error {
	version, rest, _ := strings.Cut(line, " ")
	code, _, _ := strings.Cut(rest, " ")
	n, err := strconv.ParseUint(code, 10, 16)
	if err != nil || len(code) != 3 || n < 100 || version != "HTTP/1.1" && version != "HTTP/1.0" {
		return &ProtocolError{fmt.Sprintf("the status line is %.40q", line)}
	}
	h.status = int(n)
	h.close = version == "HTTP/1.0"
	return nil
}

func (h *head) field(line string) error {
	name, value, ok := strings.Cut(line, ":")
	if !ok || name == "" || strings.ContainsAny(name, " \t") {
		return &ProtocolError{fmt.Sprintf("a header line is %.40q", line)}
	}
	value = strings.Trim(value, " \t")
	switch strings.ToLower(name) {
	case "content-length":
		n, err := strconv.ParseUint(value, 10, 63)
		if err != nil || h.length >= 0 && h.length != int64(n) {
			return &ProtocolError{fmt.Sprintf("the length is %.40q", value)}
		}
		h.length = int64(n)
	case "content-range":
		if h.contentRange != "" && h.contentRange != value {
			return &ProtocolError{"there are two ranges in one answer"}
		}
		h.contentRange = value
	case "transfer-encoding":
		h.chunked = true
	case "etag":
		h.etag = value
	case strings.ToLower(wire.HeaderAddress):
		h.address = value
	case "connection":
		h.close = h.close || strings.EqualFold(value, "close")
	}
	return nil
}

// Check judges an answer that net/http has read, by the same rules as
// RangeConn. The body is left alone.
func Check(g Get, resp *http.Response) (Answer, error) {
	h := head{
		status:       resp.StatusCode,
		length:       resp.ContentLength,
		contentRange: resp.Header.Get("Content-Range"),
		etag:         resp.Header.Get("ETag"),
		address:      resp.Header.Get(wire.HeaderAddress),
	}
	return h.check(g)
}

// check compares an answer with what was asked for. Nothing but exactly that,
// or the first part of it, is ever accepted.
func (h *head) check(g Get) (Answer, error) {
	switch h.status {
	case http.StatusPartialContent, http.StatusOK:
		if h.chunked {
			return Answer{}, &ProtocolError{"a range came without a length"}
		}
		if g.ETag != "" && h.etag != "" && h.etag != g.ETag {
			return Answer{}, &ChangedError{}
		}
		if h.status == http.StatusOK {
			return h.checkWhole(g)
		}
		return h.checkRange(g)
	case http.StatusNotFound:
		if addr, err := netip.ParseAddr(h.address); err == nil {
			return Answer{}, &NotGrantedError{Addr: addr.Unmap()}
		}
		return Answer{}, &RefusedError{}
	case http.StatusPreconditionFailed:
		return Answer{}, &ChangedError{}
	case http.StatusRequestedRangeNotSatisfiable:
		return Answer{}, &BeyondEndError{}
	}
	return Answer{}, &StatusError{Status: h.status}
}

// checkWhole accepts a 200 only where the whole file was asked for.
func (h *head) checkWhole(g Get) (Answer, error) {
	if g.Span.Start != 0 || h.length != g.Span.End {
		return Answer{}, &RangeError{Asked: rangeText(g.Span), Got: "the whole file"}
	}
	return Answer{Span: g.Span, Size: h.length}, nil
}

func (h *head) checkRange(g Get) (Answer, error) {
	sp, size, ok := parseContentRange(h.contentRange)
	fits := ok && sp.Start == g.Span.Start && sp.End <= g.Span.End
	if !fits || h.length >= 0 && h.length != sp.Len() {
		return Answer{}, &RangeError{Asked: rangeText(g.Span), Got: fmt.Sprintf("%.60q", h.contentRange)}
	}
	return Answer{Span: sp, Size: size}, nil
}

func rangeText(sp span.Span) string { return fmt.Sprintf("%d-%d", sp.Start, sp.End-1) }

// parseContentRange parses "bytes A-B/SIZE", where SIZE may be "*" (-1).
func parseContentRange(s string) (sp span.Span, size int64, ok bool) {
	s, found := strings.CutPrefix(s, "bytes ")
	pos, total, slash := strings.Cut(s, "/")
	first, last, dash := strings.Cut(pos, "-")
	a, err1 := strconv.ParseUint(first, 10, 63)
	b, err2 := strconv.ParseUint(last, 10, 62)
	if !found || !slash || !dash || err1 != nil || err2 != nil || b < a {
		return span.Span{}, 0, false
	}
	sp = span.Span{Start: int64(a), End: int64(b) + 1}
	if total == "*" {
		return sp, -1, true
	}
	n, err := strconv.ParseUint(total, 10, 63)
	if err != nil || int64(n) < sp.End {
		return span.Span{}, 0, false
	}
	return sp, int64(n), true
}
