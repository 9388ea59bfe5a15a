package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/origintest"
)

// The files of the list: bundleFiles small ones, of which some have the name of
// another, some don't exist, some are large, and lines that stand there twice.
const (
	bundleFiles = 1000
	bundleSize  = 50_000
)

// list is a list of files and what has to come of it.
type list struct {
	text    string
	want    map[string]int // how many files with a hash there have to be
	missing int            // URLs of nothing
}

func bundleList(w *world) list {
	l := list{want: map[string]int{}}
	text := bytes.NewBufferString("# things to fetch\n\n")
	add := func(path string) { fmt.Fprintln(text, w.origin.URL(path)) }
	put := func(f origintest.File) {
		w.origin.Add(f)
		l.want[f.SHA256()]++
		add(f.Path)
	}
	shared := origintest.Shared(30 << 20)
	for i := range bundleFiles {
		switch path := fmt.Sprintf("/files/%04d.bin", i); {
		case i%100 == 7:
			add(path) // there is no such file
			l.missing++
		case i%100 == 8:
			put(origintest.File{Path: fmt.Sprintf("/other/%04d/%04d.bin", i, i-2), Size: bundleSize, Seed: uint64(i), Faults: []origintest.Fault{shared}})
		case i%250 == 9:
			put(origintest.File{Path: path, Size: 2<<20 + 5, Seed: uint64(i), Faults: []origintest.Fault{shared}})
		default:
			put(origintest.File{Path: path, Size: bundleSize, Seed: uint64(i), Faults: []origintest.Fault{shared}})
		}
		if i%100 == 50 {
			add(fmt.Sprintf("/files/%04d.bin", i)) // a second time
			fmt.Fprintln(text, "   # nothing")
			fmt.Fprintln(text)
		}
	}
	l.text = text.String()
	return l
}

// check fails the test unless the folder holds just what the list wants.
func (l list) check(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	check(t, err)
	left := map[string]int{}
	for sum, n := range l.want {
		left[sum] = n
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		left[sumOf(t, filepath.Join(dir, e.Name()))]--
	}
	for sum, n := range left {
		if n != 0 {
			t.Errorf("%d files with the hash %.8s too few", n, sum)
		}
	}
}

// TestBundle brings a list of a thousand small files through a real sshd, kills
// client and relay in the middle, and at no time stands a file with other bytes, or
// is one fetched twice that stood.
func TestBundle(t *testing.T) {
	if testing.Short() {
		t.Skip("brings a thousand files and kills processes")
	}
	w := newWorld(t, true)
	l := bundleList(w)
	check(t, os.WriteFile(w.file("list"), []byte(l.text), 0o600))
	dir := t.TempDir()
	get := func() *process { return w.client("-i", w.file("list"), "-d", dir, "--json", "--limit-rate", "20m") }

	c := get()
	w.awaitFiles(c, dir, 150)
	c.kill()
	stood := w.intact(l, dir)
	c = get()
	w.awaitFiles(c, dir, 450)
	if n := w.origin.Count(); n > bundleFiles {
		t.Errorf("the origin was asked %d times, but the relay lives", n)
	}
	w.relay.kill()
	w.startRelay()
	if code := c.wait(t); code != 8 {
		t.Fatalf("exit code %d, want 8\n%s\n--- relay ---\n%s", code, c.log(), w.relay.log())
	}
	l.check(t, dir)
	for name, at := range stood {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || !os.SameFile(info, at) {
			t.Errorf("%s was written again", name)
		}
	}
	l.events(t, c.out.String())

	// The same command asks only for what did not come, and tells it again.
	before := w.origin.Count()
	again := get()
	if code := again.wait(t); code != 8 {
		t.Errorf("again: exit code %d\n%s", code, again.log())
	}
	l.check(t, dir)
	if n := w.origin.Count() - before; n > l.missing+4 {
		t.Errorf("again the origin was asked %d times", n)
	}
}

// awaitFiles waits until so many files stand.
func (w *world) awaitFiles(c *process, dir string, n int) {
	w.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; {
		entries, err := os.ReadDir(dir)
		check(w.t, err)
		if len(entries) >= n {
			return
		}
		if c.exited() || time.Now().After(deadline) {
			w.t.Fatalf("only %d files after a while\n%s\n--- relay ---\n%s", len(entries), c.log(), w.relay.log())
		}
		time.Sleep(2 * time.Millisecond) // another process makes them
	}
}

// intact returns the files that stand, all of which have to be whole.
func (w *world) intact(l list, dir string) map[string]os.FileInfo {
	w.t.Helper()
	found := map[string]os.FileInfo{}
	entries, err := os.ReadDir(dir)
	check(w.t, err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if sum := sumOf(w.t, filepath.Join(dir, e.Name())); l.want[sum] == 0 {
			w.t.Errorf("%s stands with wrong bytes", e.Name())
		}
		found[e.Name()], err = e.Info()
		check(w.t, err)
	}
	return found
}

// events checks that JSON tells of each file once.
func (l list) events(t *testing.T, out string) {
	t.Helper()
	ended := map[int]string{}
	var errors []string
	for line := range strings.Lines(out) {
		var e struct {
			Event    string
			Download int
			Exit     int
			URL      string
			Message  string
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		switch e.Event {
		case "done", "error", "bundle":
			if old := ended[e.Download]; old != "" {
				t.Errorf("download %d ends with %s and %s", e.Download, old, e.Event)
			}
			ended[e.Download] = e.Event
		}
		if e.Event == "error" {
			errors = append(errors, e.URL)
			if e.Exit != 8 {
				t.Errorf("%s: exit %d, %s", e.URL, e.Exit, e.Message)
			}
		}
	}
	if want := bundleFiles + 1; len(ended) != want || len(errors) != l.missing || !slices.IsSorted(errors) {
		t.Errorf("%d downloads ended, want %d; failed: %v", len(ended), want, errors)
	}
}
