package cli

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// listEntry is one URL of an input list and what is asked of it alone.
type listEntry struct {
	URLs     []string // the first is the URL, the others are its mirrors
	Out      string   // file name; empty: as without a list
	Dir      string   // folder; empty: as without a list
	Checksum string   // TYPE=HEX
	Header   []string // Name: value
	Line     int      // where it stands, for errors
}

// maxListLine is far above any URL that a server accepts.
const maxListLine = 1 << 20

// parseList reads a list in aria2's form: one entry a line, its mirrors
// separated by TAB, # for comments, and indented lines below an entry with
// options for it alone. A line that can't be understood is an error, never
// skipped: a list is often the only record of what was wanted.
func parseList(r io.Reader) ([]listEntry, error) {
	var entries []listEntry
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 0, 64<<10), maxListLine)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimRight(sc.Text(), "\r \t")
		if n == 1 {
			line = strings.TrimPrefix(line, "\ufeff")
		}
		switch trimmed := strings.TrimLeft(line, " \t"); {
		case trimmed == "" || trimmed[0] == '#':
		case len(trimmed) == len(line):
			entries = append(entries, listEntry{URLs: splitMirrors(line), Line: n})
		case len(entries) == 0:
			return nil, usagef("line %d of the list is indented but no URL stands above it", n).
				withHint("start a URL at the beginning of its line")
		default:
			if err := entries[len(entries)-1].set(trimmed, n); err != nil {
				return nil, err
			}
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("reading the list: %w", err)
	}
	return entries, nil
}

func splitMirrors(line string) []string {
	var urls []string
	for _, f := range strings.Split(line, "\t") {
		if f = strings.TrimSpace(f); f != "" {
			urls = append(urls, f)
		}
	}
	return urls
}

func (e *listEntry) set(option string, line int) error {
	name, value, ok := strings.Cut(option, "=")
	if !ok {
		return usagef("line %d of the list is not NAME=VALUE: %q", line, option).
			withHint("an indented line sets an option of the URL above it: out=, dir=, checksum= or header=")
	}
	switch strings.TrimSpace(name) {
	case "out":
		e.Out = value
	case "dir":
		e.Dir = value
	case "checksum":
		e.Checksum = value
	case "header":
		e.Header = append(e.Header, value)
	default:
		return usagef("line %d of the list sets %q, which JumpGet does not know", line, name).
			withHint("it knows out=, dir=, checksum= and header=")
	}
	return nil
}
