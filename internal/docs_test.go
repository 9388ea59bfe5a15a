package internal_test

import (
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jumpget/jumpget/internal/config"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/wire"
)

// The tests of this file hold the documentation to the code: what it names
// exists, and what exists is named. Whether it is told well only a reader can say.

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// all returns the first group of every match.
func all(pattern, text string) []string {
	var found []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	return found
}

// wantCode checks that a page has each word in backquotes.
func wantCode(t *testing.T, page string, words []string) {
	t.Helper()
	text := read(t, page)
	for _, w := range slices.Compact(slices.Sorted(slices.Values(words))) {
		if !regexp.MustCompile("`[^`\n]*" + regexp.QuoteMeta(w) + "[^`\n]*`").MatchString(text) {
			t.Errorf("%s does not tell of %s", page, w)
		}
	}
}

// testsByPackage returns the names of all tests and fuzz targets, by the last
// element of their package's path.
func testsByPackage(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for _, depth := range []string{"*/*_test.go", "*/*/*_test.go"} {
		names, err := filepath.Glob(filepath.FromSlash(depth))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			pkg := path.Base(path.Dir(filepath.ToSlash(name)))
			found[pkg] = append(found[pkg], all(`(?m)^func ((?:Test|Fuzz)\w+)\(`, read(t, "internal/"+filepath.ToSlash(name)))...)
		}
	}
	return found
}

func TestDocsNameTestsThatExist(t *testing.T) {
	tests := testsByPackage(t)
	every := slices.Concat(slices.Collect(maps.Values(tests))...)
	scripts, err := filepath.Glob("cli/testdata/script/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range []string{"docs/faults.md", "docs/security.md"} {
		text := read(t, page)
		// A package's name stands before its tests, which end at a semicolon or a cell.
		for _, part := range regexp.MustCompile(`[;|:]`).Split(text, -1) {
			known := every
			for _, word := range strings.Fields(part) {
				if of, ok := tests[strings.Trim(word, ",")]; ok {
					known = of
				}
				for _, name := range all("^`((?:Test|Fuzz)[A-Z]\\w+)`", word) {
					if !slices.Contains(known, name) {
						t.Errorf("%s names %s, which does not stand there: %q", page, name, strings.TrimSpace(part))
					}
				}
			}
		}
		for _, script := range all("`([a-z]+\\.txt)`", text) {
			if !slices.Contains(scripts, filepath.Join("cli", "testdata", "script", script)) {
				t.Errorf("%s names the script %s, which does not exist", page, script)
			}
		}
	}
}

func TestDocsTellOfEverySetting(t *testing.T) {
	cfg, err := config.Load(config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, row := range cfg.Explain() {
		keys = append(keys, row.Key)
	}
	wantCode(t, "docs/configuration.md", keys)
}

func TestDocsTellTheContract(t *testing.T) {
	for _, file := range []string{"wire", "json", "session"} {
		source := read(t, "internal/wire/"+file+".go")
		wantCode(t, "docs/wire.md", all(`= "((?:GET|POST|DELETE) /[^"]*)"`, source))
		wantCode(t, "docs/wire.md", all(`json:"([a-z0-9_]+)`, source))
	}
	text := read(t, "docs/wire.md")
	for _, code := range all(`Code = "(\w+)"`, read(t, "internal/job/error.go")) {
		row := "| `" + code + "` | " + strconv.Itoa(wire.HTTPStatus(job.Code(code))) + " |"
		if !strings.Contains(text, row) {
			t.Errorf("docs/wire.md has no row that begins with %q", row)
		}
	}
}

func TestDocsTellOfEveryEvent(t *testing.T) {
	source := read(t, "internal/progress/json.go")
	wantCode(t, "docs/json.md", all(`json:"([a-z0-9_]+)`, source))
	wantCode(t, "docs/json.md", all(`\bh\("(\w+)"`, source))
	for _, kinds := range []string{"internal/sshdial/error.go", "internal/partial/error.go"} {
		wantCode(t, "docs/json.md", all(`Kind += "(\w+)"`, read(t, kinds)))
	}
}

func TestDocsTellOfEveryPackage(t *testing.T) {
	var names []string
	for _, l := range layers {
		if name, ok := strings.CutPrefix(l.pkg, "internal/"); ok {
			names = append(names, name)
		}
	}
	wantCode(t, "docs/architecture.md", names)
}

func TestDocsLinkToWhatExists(t *testing.T) {
	pages, err := filepath.Glob(filepath.FromSlash("../docs/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	pages = append(pages, filepath.FromSlash("../README.md"), filepath.FromSlash("../CONTRIBUTING.md"))
	for _, page := range pages {
		if filepath.Base(page) == "performance.md" {
			continue // written by `make bench`, with what it links to
		}
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range all(`\]\(([^)#:]+)(?:#[^)]*)?\)`, string(b)) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), filepath.FromSlash(link))); err != nil {
				t.Errorf("%s links to %s: %v", page, link, err)
			}
		}
	}
}
