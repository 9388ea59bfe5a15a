package job

import (
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// DefaultName is used when neither the origin nor the URL gives a usable name.
const DefaultName = "download"

// maxName leaves room within the usual 255 bytes for the endings that a
// partial file and its state add.
const maxName = 200

// reserved are device names that Windows opens whatever the folder or ending.
var reserved = map[string]bool{
	"con": true, "prn": true, "aux": true, "nul": true, "conin$": true, "conout$": true,
	"com0": true, "com1": true, "com2": true, "com3": true, "com4": true, "com5": true,
	"com6": true, "com7": true, "com8": true, "com9": true,
	"lpt0": true, "lpt1": true, "lpt2": true, "lpt3": true, "lpt4": true, "lpt5": true,
	"lpt6": true, "lpt7": true, "lpt8": true, "lpt9": true,
}

// SafeName turns a name that somebody else chose (a URL's last segment, a
// Content-Disposition) into one that is safe as a file name on Linux, macOS and
// Windows: one path element of at most 200 bytes, valid UTF-8, without control
// or bidirectional-override characters, not hidden, not a device and not
// starting with a dash. It never returns an empty string, and applying it twice changes nothing.
func SafeName(s string) string {
	s = strings.ToValidUTF8(s, "_")
	s = path.Base(strings.ReplaceAll(s, `\`, "/"))
	s = strings.Map(safeRune, s)
	s = strings.TrimLeft(s, " .-~")
	s = truncate(s, maxName)
	s = strings.TrimRight(s, " .")
	if s == "" || strings.Trim(s, "_") == "" {
		return DefaultName
	}
	stem, _, _ := strings.Cut(s, ".")
	if reserved[strings.ToLower(strings.TrimRight(stem, " "))] {
		s = "_" + s
	}
	return s
}

func safeRune(r rune) rune {
	switch {
	case strings.ContainsRune(`<>:"/|?*`, r):
		return '_'
	case unicode.IsControl(r), unicode.Is(unicode.Cf, r), unicode.Is(unicode.Co, r), r == '\u2028', r == '\u2029':
		return -1
	}
	return r
}

// truncate shortens s to at most n bytes, at a rune's edge, and keeps a short
// ending such as .tar.gz.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	ext := ""
	if i := strings.LastIndexByte(s, '.'); i > 0 && len(s)-i <= 16 {
		ext = s[i:]
	}
	head := s[:n-len(ext)]
	for len(head) > 0 && !utf8.ValidString(head) {
		head = head[:len(head)-1]
	}
	return head + ext
}
