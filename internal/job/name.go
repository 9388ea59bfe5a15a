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
	"com¹": true, "com²": true, "com³": true, "lpt¹": true, "lpt²": true, "lpt³": true,
}

// SafeName turns a name that somebody else chose (a URL's last segment, a
// Content-Disposition) into one that is safe as a file name on Linux, macOS and
// Windows: one path element of at most 200 bytes, valid UTF-8, without control
// or bidirectional-override characters, not hidden, not a device, not starting
// with a dash and without blanks at its ends. It never returns an empty string,
// and applying it twice changes nothing.
func SafeName(s string) string {
	s = strings.ToValidUTF8(s, "_")
	s = path.Base(strings.ReplaceAll(s, `\`, "/"))
	s = trim(strings.Map(safeRune, s))
	s = trim(truncate(s, maxName))
	if strings.Trim(s, "_") == "" {
		return DefaultName
	}
	if isDevice(s) {
		s = trim("_" + truncate(s, maxName-1))
	}
	return s
}

// trim takes away what must not stand at the start (dots hide a file, a dash
// makes it an option, a tilde a home directory) and what Windows drops at the end.
func trim(s string) string {
	s = strings.TrimLeftFunc(s, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(".-~", r) })
	return strings.TrimRightFunc(s, func(r rune) bool { return unicode.IsSpace(r) || r == '.' })
}

// isDevice reports whether Windows would open a device instead of a file; it
// looks at what stands before the first dot, without blanks.
func isDevice(s string) bool {
	stem, _, _ := strings.Cut(s, ".")
	return reserved[strings.ToLower(strings.TrimRight(stem, " "))]
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
// ending such as .iso or .tar.gz.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	ext := ending(s)
	head := s[:n-len(ext)]
	for len(head) > 0 && !utf8.ValidString(head) {
		head = head[:len(head)-1]
	}
	return head + ext
}

// ending returns the ending of a name with its dot, "" if it has none or a long one.
func ending(s string) string {
	i := strings.LastIndexByte(s, '.')
	if i <= 0 || len(s)-i > 16 {
		return ""
	}
	if stem := s[:i]; strings.HasSuffix(stem, ".tar") {
		i -= len(".tar")
	}
	return s[i:]
}
