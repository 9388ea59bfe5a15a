package httpd

import (
	"strconv"
	"strings"
)

// byteRange is what one Range header asks for. A suffix range, the last n
// bytes, has first -1 and last n; an open one has last -1.
type byteRange struct{ first, last int64 }

func (r byteRange) suffix() bool { return r.first < 0 }
func (r byteRange) open() bool   { return r.first >= 0 && r.last < 0 }

// parseRange reads a Range header. False means that there is no range to
// honour and the whole is sent, as RFC 9110 (section 14.2) wants for other
// units and malformed ranges, and allows for several ranges at once: those would
// make us send more than was ever asked for in good faith.
func parseRange(header string) (byteRange, bool) {
	unit, spec, ok := strings.Cut(header, "=")
	if !ok || !strings.EqualFold(strings.TrimSpace(unit), "bytes") {
		return byteRange{}, false
	}
	first, last, ok := strings.Cut(strings.Trim(spec, " \t"), "-")
	if !ok {
		return byteRange{}, false
	}
	if first == "" {
		n, ok := parsePos(last)
		return byteRange{-1, n}, ok
	}
	a, ok := parsePos(first)
	if !ok {
		return byteRange{}, false
	}
	if last == "" {
		return byteRange{a, -1}, true
	}
	b, ok := parsePos(last)
	return byteRange{a, b}, ok && a <= b
}

// parsePos reads a position: digits alone, so no comma of a second range.
// Beyond an int64 lies beyond any file.
func parsePos(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 1<<62 - 1, true
	}
	return min(n, 1<<62-1), true
}

// within returns the bytes [start, end) of a body of known size; false if the
// range lies outside of it.
func (r byteRange) within(size int64) (start, end int64, ok bool) {
	switch {
	case r.suffix():
		start, end = max(0, size-r.last), size
	case r.open():
		start, end = r.first, size
	default:
		start, end = r.first, min(r.last+1, size)
	}
	return start, end, start < end
}
