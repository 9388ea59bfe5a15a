// Package table reads tables of named entries, one a line, and finds entries in
// them: the lab's links, scenarios and peers.
package table

import (
	"fmt"
	"slices"
	"strings"
)

// Parse reads an entry from each line that is neither empty nor a # comment.
func Parse[T any](text string, entry func(line string) (T, error)) ([]T, error) {
	var all []T
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		e, err := entry(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		all = append(all, e)
	}
	return all, nil
}

// Find returns the entries with the given names, in the order of the names; the
// one name "all" stands for every entry. The error for an unknown name tells
// those that there are; kind is what an entry is called.
func Find[T any](kind string, all []T, nameOf func(T) string, names ...string) ([]T, error) {
	if slices.Equal(names, []string{"all"}) {
		return all, nil
	}
	var found []T
	for _, name := range names {
		i := slices.IndexFunc(all, func(e T) bool { return nameOf(e) == name })
		if i < 0 {
			known := make([]string, len(all))
			for j, e := range all {
				known[j] = nameOf(e)
			}
			return nil, fmt.Errorf("there is no %s named %q; there are %s", kind, name, strings.Join(known, ", "))
		}
		found = append(found, all[i])
	}
	return found, nil
}
