package progress

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestPrintable(t *testing.T) {
	tests := map[string]string{
		"plain.iso":             "plain.iso",
		"räksmörgås 日本.tar":     "räksmörgås 日本.tar",
		"ESC\x1b[2J":            `ESC\x1b[2J`,
		"C1\u009b2J":            `C1\u009b2J`,
		"raw C1\x9b2J":          `raw C1\x9b2J`,
		"DEL\x7f":               `DEL\x7f`,
		"a\r\nb\tc":             `a\r\nb\tc`,
		"\u202egnp.exe":         `\u202egnp.exe`,
		"\u2066x\u2069":         `\u2066x\u2069`,
		"zero\u200bwidth\ufeff": `zero\u200bwidth\ufeff`,
		"tag\U000E0041":         `tag\U000e0041`,
		"line\u2028sep\u2029":   `line\u2028sep\u2029`,
		"private\ue000":         `private\ue000`,
		"no-break\u00a0space":   "no-break\u00a0space",
		"nul\x00":               `nul\x00`,
		"half a rune\xe2\x82":   `half a rune\xe2\x82`,
		`C:\x1b`:                `C:\x1b`,
		"":                      "",
	}
	for in, want := range tests {
		if got := Printable(in); got != want {
			t.Errorf("Printable(%q) = %q, want %q", in, got, want)
		}
	}
}

// harmless reports whether a terminal can do nothing with s but show it in one line.
func harmless(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp)
	})
}

func FuzzPrintable(f *testing.F) {
	for _, s := range []string{"", "a", "\x1b]0;x\a", "\u202e", "\x9b", "\xff", "\U000e0001", "\\x1b", "é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p := Printable(s)
		if !harmless(p) {
			t.Errorf("%q becomes %q", s, p)
		}
		if Printable(p) != p {
			t.Errorf("%q is changed again", p)
		}
		if harmless(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) && !unicode.Is(unicode.Zs, r) }) && p != s {
			t.Errorf("harmless %q becomes %q", s, p)
		}
		if j := escapeJSON(s); utf8.ValidString(s) && !harmless(j) {
			t.Errorf("%q becomes %q in JSON", s, j)
		}
	})
}
