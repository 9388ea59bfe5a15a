package job

import (
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// Hostile file names become safe ones, ordinary ones stay as they are.
func TestSafeName(t *testing.T) {
	long := strings.Repeat("x", 300)
	tests := map[string]string{
		"debian-12.iso":     "debian-12.iso",
		"räksmörgås 日本.txt": "räksmörgås 日本.txt",
		"a..b":              "a..b",
		"100% [new] (1).gz": "100% [new] (1).gz",

		"..%2f..%2fetc%2fpasswd":       "%2f..%2fetc%2fpasswd", // a literal percent is harmless
		"../../etc/passwd":             "passwd",
		`..\..\boot.ini`:               "boot.ini",
		"/etc/passwd":                  "passwd",
		`C:\Windows\x.exe`:             "x.exe",
		"C:x.exe":                      "C_x.exe",
		"file.txt:stream":              "file.txt_stream",
		"..":                           DefaultName,
		".":                            DefaultName,
		"/":                            DefaultName,
		"":                             DefaultName,
		" . . ":                        DefaultName,
		"___":                          DefaultName,
		"\u00a0\u3000":                 DefaultName,
		"CON":                          "_CON",
		"con.txt":                      "_con.txt",
		"Aux .tar.gz":                  "_Aux .tar.gz",
		"lpt9":                         "_lpt9",
		"COM¹.log":                     "_COM¹.log",
		"CONIN$":                       "_CONIN$",
		"console.log":                  "console.log",
		"\x1b[2J\x1b]0;x\a.iso":        "[2J]0;x.iso",
		"\u009b2J.iso":                 "2J.iso",
		"\u202egnp.exe":                "gnp.exe",
		"\u200fa\u2066b\u2069":         "ab",
		"a\u2028b\u2029c\ufeff":        "abc",
		"nul\x00byte":                  "nulbyte",
		"new\r\nline":                  "newline",
		"-rf":                          "rf",
		"--output=x":                   "output=x",
		".bashrc":                      "bashrc",
		"~root":                        "root",
		"name. . .":                    "name",
		"bad\xffbyte":                  "bad_byte",
		`a<b>c"d|e?f*g`:                "a_b_c_d_e_f_g",
		long:                           long[:200],
		long + ".iso":                  long[:196] + ".iso",
		long + ".tar.gz":               long[:193] + ".tar.gz",
		long + "." + long:              long[:200],
		"x" + long + "é.iso":           "x" + long[:195] + ".iso",
		"con." + long:                  "_con." + long[:195],
		strings.Repeat("é", 150):       strings.Repeat("é", 100),
		"a" + strings.Repeat("é", 150): "a" + strings.Repeat("é", 99),
		long[:199] + " .iso":           long[:196] + ".iso",
	}
	for in, want := range tests {
		if got := SafeName(in); got != want {
			t.Errorf("SafeName(%.60q) = %q, want %q", in, got, want)
		}
	}
}

// checkSafe holds for every result whatever goes in.
func checkSafe(t interface{ Errorf(string, ...any) }, in string) {
	got := SafeName(in)
	fault := func(what string) { t.Errorf("SafeName(%q) = %q %s", in, got, what) }
	if got == "" || len(got) > 200 || !utf8.ValidString(got) {
		fault("is empty, too long or no UTF-8")
	}
	if SafeName(got) != got {
		fault("is changed again: " + SafeName(got))
	}
	if strings.ContainsAny(got, `/\<>:"|?*`) || filepath.Base(got) != got || !filepath.IsLocal(got) {
		fault("is no single path element")
	}
	if strings.ContainsFunc(got, func(r rune) bool {
		return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp)
	}) {
		fault("has control or format characters")
	}
	if strings.ContainsRune("-.~ ", rune(got[0])) || strings.HasSuffix(got, ".") || strings.TrimSpace(got) != got {
		fault("starts or ends badly")
	}
	stem, _, _ := strings.Cut(strings.ToLower(got), ".")
	if reserved[strings.TrimSpace(stem)] {
		fault("is a device")
	}
}

func TestSafeNameAlwaysIsSafe(t *testing.T) {
	piece := rapid.OneOf(
		rapid.String(),
		rapid.SampledFrom([]string{"con", "nul.", "COM1", "..", "/", `\`, " ", ".", "-", "~", "_", ".tar.gz", "\u202e", "\x1b", "\xff", "\xe2\x82", "é", "\u3000", "%2f"}),
		rapid.Map(rapid.IntRange(150, 300), func(n int) string { return strings.Repeat("x", n) }),
	)
	rapid.Check(t, func(t *rapid.T) {
		checkSafe(t, strings.Join(rapid.SliceOfN(piece, 0, 6).Draw(t, "pieces"), ""))
	})
}

func FuzzSafeName(f *testing.F) {
	for _, s := range []string{"", "..", "con.txt", "\x1b[2J", "\u202e", "-x", "..%2f", `a\b`, strings.Repeat("x", 300), "aux ." + strings.Repeat("é", 120)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { checkSafe(t, s) })
}
