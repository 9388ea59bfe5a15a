package report

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/jumpget/jumpget/lab/bench"
)

// Between these two lines of a document stands what `lab report` writes.
const (
	beginMark = "<!-- lab report: begin -->"
	endMark   = "<!-- lab report: end -->"
)

// Document puts tables and plots of the results between the marks of a Markdown
// file, and the plots' files into dir, from where the document links to them.
func Document(file, dir string, rs []bench.Result) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	begin, end := bytes.Index(text, []byte(beginMark)), bytes.Index(text, []byte(endMark))
	if begin < 0 || end < begin {
		return fmt.Errorf("%s has no place for the report: it needs the lines %s and %s", file, beginMark, endMark)
	}
	plots, err := Plots(dir, rs)
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(filepath.Dir(file), dir)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	b.Write(text[:begin])
	b.WriteString(beginMark + "\n\n")
	if err := Table(&b, rs); err != nil {
		return err
	}
	b.WriteString("\n")
	for _, p := range plots {
		fmt.Fprintf(&b, "![%s](%s)\n\n", p.About, path.Join(filepath.ToSlash(rel), p.File))
	}
	b.Write(text[end:])
	return os.WriteFile(file, b.Bytes(), 0o644)
}

// ReadFiles reads results from files; several are one set.
func ReadFiles(names ...string) ([]bench.Result, error) {
	var all []bench.Result
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		rs, err := bench.Read(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, rs...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no results in %s", strings.Join(names, ", "))
	}
	return all, nil
}
