package httpd

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
)

func TestParseRange(t *testing.T) {
	const most = 1<<62 - 1
	for header, want := range map[string]byteRange{
		"bytes=0-0":                      {0, 0},
		"bytes=0-499":                    {0, 499},
		"bytes=500-":                     {500, -1},
		"bytes=-500":                     {-1, 500},
		"bytes=-0":                       {-1, 0},
		"BYTES=1-2":                      {1, 2},
		"bytes= 1-2 ":                    {1, 2},
		"bytes=\t1-2":                    {1, 2},
		"bytes=007-08":                   {7, 8},
		"bytes=0-9223372036854775807":    {0, most},
		"bytes=99999999999999999999999-": {most, -1},
		"bytes=-99999999999999999999999": {-1, most},
	} {
		if got, ok := parseRange(header); !ok || got != want {
			t.Errorf("%q is %+v, %v; want %+v", header, got, ok, want)
		}
	}
	for _, header := range []string{
		"", "bytes", "bytes=", "bytes=-", "bytes=5", "bytes=5-4", "bytes=a-b", "bytes=1-b", "bytes=a-", "bytes=-b",
		"bytes=--5", "bytes=1--5", "bytes=-1-5", "bytes=+1-5", "bytes=1-+5", "bytes=0x1-0x5", "bytes=1.0-5", "bytes=1 -5", "bytes=1- 5",
		"bytes=0-0,2-3", "bytes=0-0,", "bytes=,0-0", "lines=1-5", "items=0-0", "=1-5", "bytes:1-5", "bytes 1-5", "bytes=١-٢", "bytes=1_0-20",
		"bytes=99999999999999999999999-5",
	} {
		if got, ok := parseRange(header); ok {
			t.Errorf("%q is taken for %+v", header, got)
		}
	}
}

func TestRangeWithinABody(t *testing.T) {
	for _, c := range []struct {
		header     string
		size       int64
		start, end int64 // both 0: outside
	}{
		{"bytes=0-", 10, 0, 10},
		{"bytes=0-0", 10, 0, 1},
		{"bytes=9-9", 10, 9, 10},
		{"bytes=9-", 10, 9, 10},
		{"bytes=3-99", 10, 3, 10},
		{"bytes=10-", 10, 0, 0},
		{"bytes=10-12", 10, 0, 0},
		{"bytes=-3", 10, 7, 10},
		{"bytes=-10", 10, 0, 10},
		{"bytes=-99", 10, 0, 10},
		{"bytes=-0", 10, 0, 0},
		{"bytes=0-", 0, 0, 0},
		{"bytes=-5", 0, 0, 0},
		{"bytes=99999999999999999999-", 10, 0, 0},
		{"bytes=0-99999999999999999999", 10, 0, 10},
		{"bytes=-99999999999999999999", 10, 0, 10},
		{"bytes=5-6", math.MaxInt64, 5, 7},
	} {
		r, parsed := parseRange(c.header)
		start, end, ok := r.within(c.size)
		if !parsed || ok != (c.end > 0) || ok && (start != c.start || end != c.end) {
			t.Errorf("%s of %d bytes is [%d, %d), %v; want [%d, %d)", c.header, c.size, start, end, ok, c.start, c.end)
		}
	}
}

// Whatever is parsed lies within the body, and says what it says: written out
// again it is the same range.
func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"bytes=0-499", "bytes=500-", "bytes=-500", "bytes=0-0,-1", "bytes=-0", "bytes=5-4", "bytes=99999999999999999999-", "", "bytes = 1 - 2"} {
		f.Add(s, int64(1000))
	}
	f.Add("bytes=-9223372036854775808", int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, header string, size int64) {
		r, ok := parseRange(header)
		if !ok {
			return
		}
		if strings.Contains(header, ",") {
			t.Errorf("%q: several ranges are taken for one", header)
		}
		if again, ok := parseRange(format(r)); !ok || again != r {
			t.Errorf("%q is %+v, and then %+v", header, r, again)
		}
		if size < 0 {
			return
		}
		start, end, ok := r.within(size)
		switch {
		case ok && (start < 0 || start >= end || end > size):
			t.Errorf("%q of %d bytes is [%d, %d)", header, size, start, end)
		case !ok && size > 0 && r.first >= 0 && r.first < size:
			t.Errorf("%q begins within %d bytes, and is refused", header, size)
		case !ok && size > 0 && r.suffix() && r.last > 0:
			t.Errorf("%q is a part of %d bytes, and is refused", header, size)
		}
	})
}

func format(r byteRange) string {
	switch {
	case r.suffix():
		return "bytes=-" + strconv.FormatInt(r.last, 10)
	case r.open():
		return fmt.Sprintf("bytes=%d-", r.first)
	}
	return fmt.Sprintf("bytes=%d-%d", r.first, r.last)
}
