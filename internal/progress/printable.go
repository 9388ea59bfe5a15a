package progress

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printable returns s in a form that can do nothing to a terminal: one line of
// valid UTF-8 in which C0 and C1 controls, DEL, line separators, bidirectional
// and all other format characters and invalid bytes are written as escapes such
// as \x1b or \u202e. Applying it twice changes nothing.
func Printable(s string) string {
	if isPrintable(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b.WriteString(`\x`)
			writeHex(&b, uint64(s[i]), 2)
		case printable(r):
			b.WriteRune(r)
		default:
			escape(&b, r)
		}
		i += n
	}
	return b.String()
}

func isPrintable(s string) bool {
	for _, r := range s {
		if !printable(r) {
			return false
		}
	}
	return utf8.ValidString(s)
}

// printable keeps every kind of blank within a line, because file names have
// them, but nothing that moves a cursor or changes the order of the text.
func printable(r rune) bool {
	return unicode.IsPrint(r) || unicode.Is(unicode.Zs, r)
}

func escape(b *strings.Builder, r rune) {
	switch {
	case r == '\n':
		b.WriteString(`\n`)
	case r == '\r':
		b.WriteString(`\r`)
	case r == '\t':
		b.WriteString(`\t`)
	case r < utf8.RuneSelf:
		b.WriteString(`\x`)
		writeHex(b, uint64(r), 2)
	case r <= 0xffff:
		b.WriteString(`\u`)
		writeHex(b, uint64(r), 4)
	default:
		b.WriteString(`\U`)
		writeHex(b, uint64(r), 8)
	}
}

func writeHex(b *strings.Builder, v uint64, digits int) {
	h := strconv.FormatUint(v, 16)
	b.WriteString(strings.Repeat("0", digits-len(h)))
	b.WriteString(h)
}
