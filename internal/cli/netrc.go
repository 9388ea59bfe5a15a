package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// login is a user name and password for an origin.
type login struct{ User, Password string }

// netrcPath returns the file that curl and wget would read.
func netrcPath(getenv func(string) string) (string, error) {
	if p := getenv("NETRC"); p != "" {
		return p, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("looking for .netrc: %w", err)
	}
	name := ".netrc"
	if runtime.GOOS == "windows" {
		name = "_netrc"
	}
	return filepath.Join(home, name), nil
}

// readNetrc returns the login for host in the named file. No file and no entry
// are no error: --netrc then changes nothing, as in wget.
func readNetrc(name, host string) (login, bool, error) {
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return login{}, false, nil
	}
	if err != nil {
		return login{}, false, fmt.Errorf("reading .netrc: %w", err)
	}
	l, ok := parseNetrc(string(b), host)
	return l, ok, nil
}

// parseNetrc finds the entry for host, or else the default entry. Words are
// separated by white space; a macro runs up to the next empty line and is
// skipped. The first matching entry counts.
func parseNetrc(text, host string) (login, bool) {
	var found login
	var inEntry, matched bool
	words := netrcWords(text)
	next := func() string {
		if len(words) == 0 {
			return ""
		}
		w := words[0]
		words = words[1:]
		return w
	}
	for len(words) > 0 {
		switch next() {
		case "machine":
			if matched {
				return found, true
			}
			inEntry = strings.EqualFold(next(), host)
			matched = inEntry
		case "default":
			if matched {
				return found, true
			}
			inEntry, matched = true, true
		case "login":
			if w := next(); inEntry {
				found.User = w
			}
		case "password":
			if w := next(); inEntry {
				found.Password = w
			}
		case "account":
			next()
		}
	}
	return found, matched
}

// netrcWords splits the text into words without comments and macros.
func netrcWords(text string) []string {
	var words []string
	inMacro := false
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			inMacro = false
			continue
		}
		if inMacro || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if fields[0] == "macdef" {
			inMacro = true
			continue
		}
		words = append(words, fields...)
	}
	return words
}
