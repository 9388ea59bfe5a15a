package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/jumpget/jumpget/"

// layers says which of our own packages each package may import. An import
// goes only to a package that stands further up, so there are no circles and
// the domain never learns of sockets, disks or terminals. To add an import that
// is not listed is to change the design: change docs/architecture.md with it.
var layers = []struct {
	pkg     string
	imports []string
}{
	{"internal/job", nil},
	{"internal/span", nil},
	{"internal/session", nil},
	{"internal/config", nil},
	{"internal/progress", nil},
	{"internal/sshdial", nil},
	{"internal/congestion", nil},
	{"internal/bulk", []string{"congestion", "span"}},
	{"internal/conns", nil},
	{"internal/schedule", []string{"span"}},
	{"internal/contest", []string{"schedule"}},
	{"internal/growfile", []string{"span"}},
	{"internal/access", []string{"job"}},
	{"internal/origin", []string{"job", "span"}},
	{"internal/partial", []string{"job", "span"}},
	{"internal/store", []string{"job"}},
	{"internal/wire", []string{"job"}},
	{"internal/bundle", []string{"job", "wire"}},
	{"internal/unpack", []string{"bundle", "job", "partial"}},
	{"internal/gather", []string{"job", "span", "origin", "wire", "bundle"}},
	{"internal/blob", []string{"growfile", "span"}},
	{"internal/transport", []string{"bulk", "job", "span", "wire"}},
	{"internal/relay", []string{"session", "job", "span", "growfile", "origin", "access", "store", "blob"}},
	{"internal/bulkd", []string{"session", "job", "span", "congestion", "bulk", "relay"}},
	{"internal/httpd", []string{"session", "job", "access", "bundle", "growfile", "relay", "span", "transport", "wire"}},
	{"internal/sshend", []string{"access", "httpd"}},
	{"internal/relayd", []string{"session", "job", "access", "blob", "bulk", "bulkd", "config", "gather", "httpd", "origin", "relay", "sshend", "store", "transport", "wire"}},
	{"internal/reach", []string{"session", "job", "bulk", "transport", "wire"}},
	{"internal/client", []string{"session", "reach", "job", "bulk", "bundle", "span", "conns", "schedule", "contest", "unpack", "partial", "progress", "sshdial", "transport", "wire"}},
	{"internal/cli", []string{"job", "span", "bundle", "reach", "client", "config", "partial", "progress", "relayd", "sshdial", "transport", "wire"}},
	{"cmd/jumpget", []string{"cli"}},
	// The lab measures the program from outside: it knows none of its packages.
	{"lab/link", nil},
	{"lab/netns", nil},
	{"lab/table", nil},
	{"lab/peer", []string{"lab/table"}},
	{"lab/emu", []string{"lab/link", "lab/netns"}},
	{"lab/profile", []string{"lab/link", "lab/table"}},
	{"lab/scenario", []string{"lab/link", "lab/profile", "lab/table"}},
	{"lab/topo", []string{"lab/emu", "lab/netns", "lab/profile"}},
	{"lab/bench", []string{"lab/emu", "lab/netns", "lab/peer", "lab/profile", "lab/scenario", "lab/topo"}},
	{"lab/report", []string{"lab/bench", "lab/emu", "lab/peer", "lab/profile"}},
	{"lab/cmd/lab", []string{"lab/bench", "lab/emu", "lab/peer", "lab/profile", "lab/report", "lab/scenario", "lab/topo"}},
}

// testOnly are packages that serve tests; no program package imports them.
var testOnly = []string{"internal/origintest", "internal/linksim", "internal/e2e", "internal/e2e/loopback"}

func TestLayers(t *testing.T) {
	allowed := map[string][]string{}
	var above []string
	for _, l := range layers {
		for _, imp := range l.imports {
			if !slices.Contains(above, imp) && !slices.Contains(testOnly, "internal/"+imp) {
				t.Errorf("the table lets %s import %s, which does not stand above it", l.pkg, imp)
			}
		}
		allowed[l.pkg] = l.imports
		above = append(above, strings.TrimPrefix(l.pkg, "internal/"))
	}
	for dir, files := range packages(t) {
		if slices.Contains(testOnly, dir) || dir == "internal" || strings.HasSuffix(dir, "test") {
			continue
		}
		imports, known := allowed[dir]
		if !known {
			t.Errorf("%s has no place in the table of layers", dir)
			continue
		}
		for name, file := range files {
			for _, spec := range file.Imports {
				imp, ours := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), module)
				if ours && !slices.Contains(imports, strings.TrimPrefix(imp, "internal/")) {
					t.Errorf("%s imports %s, which the layers forbid", name, imp)
				}
			}
		}
	}
}

func TestEveryPackageHasOneComment(t *testing.T) {
	for dir, files := range packages(t) {
		var with []string
		for name, file := range files {
			if file.Doc != nil && len(strings.Fields(file.Doc.Text())) > 3 {
				with = append(with, name)
			}
		}
		if len(with) != 1 {
			t.Errorf("%s has %d package comments, want one: %v", dir, len(with), with)
		}
	}
}

// packages parses every non-test Go file of the module, by folder.
func packages(t *testing.T) map[string]map[string]*ast.File {
	t.Helper()
	pkgs := map[string]map[string]*ast.File{}
	root := os.DirFS("..")
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == "tools" || strings.HasPrefix(d.Name(), ".") && name != "." || d.Name() == "testdata"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", name), nil, parser.ParseComments|parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir := path.Dir(name)
		if pkgs[dir] == nil {
			pkgs[dir] = map[string]*ast.File{}
		}
		pkgs[dir][name] = f
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return pkgs
}
