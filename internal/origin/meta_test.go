package origin

import (
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/span"
)

// faults.md: hostile file names.
func TestNames(t *testing.T) {
	tests := []struct{ disposition, asked, final, want string }{
		{"", "http://h/a/file.iso?x=/y.z", "", "file.iso"},
		{"", "http://h/latest", "http://cdn/file-1.2.zip", "file-1.2.zip"},
		{"", "http://h/file.zip", "http://cdn/0a1b.bin?name=x", "file.zip"},
		{"", "http://h/", "http://h/real.zip", "real.zip"},
		{"", "http://h", "", "download"},
		{"", "http://h/dir/", "", "download"},
		{"", "http://h/..%2f..%2fpasswd", "", "passwd"},
		{"", "http://h/%2e%2e", "", "download"},
		{"", "http://h/a%20b%C3%A9.txt", "", "a bé.txt"},
		{`attachment; filename="report.pdf"`, "http://h/x.bin", "", "report.pdf"},
		{`attachment; filename=plain.pdf`, "http://h/x.bin", "", "plain.pdf"},
		{`attachment; filename="a.txt"; filename*=UTF-8''%e2%82%ac%20rates.txt`, "http://h/x", "", "€ rates.txt"},
		{`attachment; filename*=UTF-8''..%2f..%2fetc%2fpasswd`, "http://h/x", "", "passwd"},
		{`attachment; filename=annual report.pdf`, "http://h/x", "", "annual report.pdf"},
		{`filename="no type.pdf"`, "http://h/x", "", "no type.pdf"},
		{`attachment; filename="=?UTF-8?B?w6kudHh0?="`, "http://h/x", "", "é.txt"},
		{`attachment; filename="C:\\dir\\evil.exe"`, "http://h/x", "", "evil.exe"},
		{`attachment; filename="../../.bashrc"`, "http://h/x", "", "bashrc"},
		{`attachment; filename="-rf"`, "http://h/x", "", "rf"},
		{`attachment; filename="CON"`, "http://h/x", "", "_CON"},
		{"attachment; filename=\"a\x1b[31m\u202etxt.exe\"", "http://h/x", "", "a[31mtxt.exe"},
		{`attachment; filename=""`, "http://h/x.bin", "", "x.bin"},
		{`attachment; filename="unclosed`, "http://h/x.bin", "", "unclosed"},
		{`attachment`, "http://h/x.bin", "", "x.bin"},
		{`;;;`, "http://h/x.bin", "", "x.bin"},
		{`attachment; filename="` + strings.Repeat("n", 300) + `.gz"`, "http://h/x", "", strings.Repeat("n", 197) + ".gz"},
	}
	for _, tc := range tests {
		asked, _ := url.Parse(tc.asked)
		final := asked
		if tc.final != "" {
			final, _ = url.Parse(tc.final)
		}
		if got := nameOf(tc.disposition, asked, final); got != tc.want {
			t.Errorf("%q of %s: got %q, want %q", tc.disposition, tc.asked, got, tc.want)
		}
	}
}

func TestContentRange(t *testing.T) {
	bad := span.Span{Start: -1}
	for s, want := range map[string]struct {
		sp    span.Span
		total int64
	}{
		"bytes 0-9/10":                   {span.Span{End: 10}, 10},
		"Bytes 3-3/10":                   {span.Span{Start: 3, End: 4}, 10},
		"bytes 3-9/*":                    {span.Span{Start: 3, End: 10}, job.UnknownSize},
		"bytes */10":                     {span.Span{}, 10},
		" bytes 0-0/1 ":                  {span.Span{End: 1}, 1},
		"":                               {bad, 0},
		"bytes":                          {bad, 0},
		"bytes 0-9":                      {bad, 0},
		"bytes */*":                      {bad, 0},
		"bytes 9-0/10":                   {bad, 0},
		"bytes 0-10/10":                  {bad, 0},
		"bytes -1-5/10":                  {bad, 0},
		"bytes +1-5/10":                  {bad, 0},
		"bytes 1-/10":                    {bad, 0},
		"bytes 1- 5/10":                  {bad, 0},
		"bytes 0x1-5/10":                 {bad, 0},
		"lines 0-9/10":                   {bad, 0},
		"bytes 0-9223372036854775807/*":  {bad, 0},
		"bytes 0-9/99999999999999999999": {bad, 0},
		"bytes 0-9/10, bytes 20-29/30":   {bad, 0},
		"bytes 0-4611686018427387902/*":  {span.Span{End: 4611686018427387903}, job.UnknownSize},
	} {
		sp, total, ok := contentRange(s)
		if ok != (want.sp != bad) || ok && (sp != want.sp || total != want.total) {
			t.Errorf("%q: got %v %d %v", s, sp, total, ok)
		}
	}
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-9/10", "bytes */5", "bytes 5-6/*", "bytes 1-2/+3", "bytes 9223372036854775807-9223372036854775807/*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		sp, total, ok := contentRange(s)
		if !ok || sp.Len() == 0 {
			return
		}
		if sp.Start < 0 || total != job.UnknownSize && sp.End > total {
			t.Fatalf("%q: %v of %d", s, sp, total)
		}
		size := "*"
		if total != job.UnknownSize {
			size = strconv.FormatInt(total, 10)
		}
		again, totalAgain, ok := contentRange("bytes " + strconv.FormatInt(sp.Start, 10) + "-" + strconv.FormatInt(sp.End-1, 10) + "/" + size)
		if !ok || again != sp || totalAgain != total {
			t.Fatalf("%q does not come back: %v %d", s, again, totalAgain)
		}
	})
}

func FuzzDispositionName(f *testing.F) {
	for _, s := range []string{
		`attachment; filename="a.txt"`, `attachment; filename*=UTF-8''a%2fb`, `filename=a b`, `attachment; filename="a`,
		`x; filename=`, "attachment; filename=\xff\xfe", `attachment; filename="=?UTF-8?Q?=2e=2e=2fx?="`, `İ filename=x`,
	} {
		f.Add(s)
	}
	u := &url.URL{Path: "/x"}
	f.Fuzz(func(t *testing.T, s string) {
		name := nameOf(s, u, u)
		if name == "" || name != job.SafeName(name) || strings.ContainsAny(name, "/\\\x00\n\x1b") || name == ".." {
			t.Fatalf("%q gives %q", s, name)
		}
	})
}
