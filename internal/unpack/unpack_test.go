package unpack

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/bundle"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/partial"
	"github.com/jumpget/jumpget/internal/wire"
)

func sha(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func writeFile(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// What a run has noted counts as far as it is true, and no further.
func TestJournal(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "list")
	j, err := loadJournal(path, 9)
	if err != nil || len(j.done) != 0 {
		t.Fatalf("%v, %v", j, err)
	}
	names, sums := map[int]string{}, map[int]string{}
	for i := range 6 {
		names[i], sums[i] = filepath.Join(dir, fmt.Sprint(i)), sha([]byte{byte(i)})
	}
	for _, step := range []error{j.begin(), j.intend(names, sums)} {
		if step != nil {
			t.Fatal(step)
		}
	}
	writeFile(t, names[0], []byte{0})
	writeFile(t, names[1], []byte("another"))
	writeFile(t, names[2], []byte{2})
	if err := os.Symlink(names[2], names[3]); err != nil {
		t.Fatal(err)
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, append(raw, `{"file":4,"pa`...)) // cut by a kill

	j, err = loadJournal(path, 9)
	if err != nil || !maps.Equal(j.done, map[int]string{0: names[0], 2: names[2]}) || len(j.without) != 0 {
		t.Fatalf("done %v, without %v, %v", j.done, j.without, err)
	}
	if err := j.begin(); err != nil {
		t.Fatal(err)
	}
	if err := j.intend(map[int]string{4: names[4]}, sums); err != nil {
		t.Fatal(err)
	}
	_ = j.close()
	writeFile(t, names[4], []byte{4})
	if err := os.Remove(names[2]); err != nil {
		t.Fatal(err)
	}
	j, err = loadJournal(path, 9)
	if err != nil || !slices.Equal(slices.Sorted(maps.Keys(j.done)), []int{0, 4}) || !maps.Equal(j.without, map[int]bool{0: true, 2: true}) {
		t.Fatalf("done %v, without %v, %v", j.done, j.without, err)
	}
	if err := j.remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the journal is still there: %v", err)
	}
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"file":1,"path":"x","sha256":"00"}` + "\n" + `{"begin":true,"without":[1,2]}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "list")
		writeFile(t, path, b)
		j, err := loadJournal(path, 5)
		if err == nil && len(j.done) > 0 {
			t.Errorf("%v stand, but there is nothing", j.done)
		}
	})
}

// A bundle's journal must not be written through a link that somebody has put there.
func TestJournalFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	writeFile(t, victim, []byte("mine"))
	path := filepath.Join(dir, "list")
	if err := os.Symlink(victim, path); err != nil {
		t.Fatal(err)
	}
	j := &journal{path: path}
	if err := j.add(journalLine{Begin: true}); err == nil {
		t.Error("it was written")
	}
	if b, _ := os.ReadFile(victim); string(b) != "mine" {
		t.Errorf("the victim holds %q", b)
	}
}

// unpacking is an unpacker of n files into a folder, and what it tells.
type unpacking struct {
	*Unpacker
	dir     string
	outputs []Output
	told    map[int]File
}

func open(t *testing.T, n int, change func(*unpacking)) *unpacking {
	t.Helper()
	u := &unpacking{dir: t.TempDir(), outputs: make([]Output, n), told: map[int]File{}}
	if change != nil {
		change(u)
	}
	o := Options{
		Base: filepath.Join(u.dir, ".jumpget-bundle-0"),
		Output: func(i int) Output {
			out := u.outputs[i]
			out.Dir = u.dir
			return out
		},
		Tell: func(f File) {
			if _, twice := u.told[f.Place]; twice {
				t.Errorf("file %d is told of twice", f.Place)
			}
			u.told[f.Place] = f
		},
	}
	for i := range n {
		o.URLs = append(o.URLs, fmt.Sprintf("https://h/%d", i))
	}
	var err error
	if u.Unpacker, err = Open(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(u.journal.close(), u.unlock()) })
	return u
}

func bundleStream(t *testing.T, files ...bundle.File) []byte {
	t.Helper()
	b := []byte(bundle.Magic)
	for _, f := range files {
		var err error
		if b, err = bundle.Append(b, f.Header, f.Data); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func named(i int, name, text string) bundle.File {
	return bundle.File{Header: bundle.Header{Index: i, URL: "https://h/", Name: name}, Data: []byte(text)}
}

// Whatever a relay calls its files, they stay in their folder, and over nothing.
func TestUnpackHostileBundle(t *testing.T) {
	u := open(t, 9, nil)
	dir, told := u.dir, u.told
	writeFile(t, filepath.Join(dir, "mine"), []byte("mine"))
	s := bundleStream(
		t,
		named(0, "../../up", "0"), named(1, "/etc/passwd", "1"), named(2, "", "2"), named(3, "mine", "3"), named(4, "mine", "4"), named(4, "again", "x"),
		named(5, ".jumpget-bundle", "5"),
		bundle.File{Header: bundle.Header{Index: 6, URL: "u", Error: &wire.Error{Code: job.CodeOriginStatus, Message: "404"}}},
		bundle.File{Header: bundle.Header{Index: 7, URL: "u", Alone: true}},
	)
	if err := u.Read(t.Context(), bytes.NewReader(s)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"up": "0", "passwd": "1", "download": "2", "mine": "mine", "mine.1": "3", "mine.2": "4", "jumpget-bundle": "5"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s holds %q, want %q (%v)", name, got, want, err)
		}
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 9 { // and the journal and its lock
		t.Errorf("%d files stand", len(entries))
	}
	if len(told) != 7 || !errors.Is(told[6].Err, &job.Error{Code: job.CodeOriginStatus}) {
		t.Errorf("told: %v", told)
	}
	if alone := u.Alone(); !maps.Equal(alone, map[int]string{7: "https://h/7", 8: "https://h/8"}) {
		t.Errorf("alone: %v", alone)
	}
}

// Files that stand and such as will not come are found by two goroutines, but told
// of one at a time.
func TestFilesAreToldOfOneAtATime(t *testing.T) {
	u := open(t, 2, nil)
	r, w := io.Pipe()
	good := bundleStream(t, named(0, "a", "0"))
	both := bundleStream(t, named(0, "a", "0"), bundle.File{Header: bundle.Header{Index: 1, URL: "u", Error: &wire.Error{Code: job.CodeOriginStatus, Message: "404"}}})
	failed := make(chan struct{})
	u.o.Tell = func(f File) {
		if f.Err != nil {
			close(failed)
			return
		}
		if _, err := w.Write(both[len(good):]); err != nil { // returns when it has been read
			t.Error(err)
		}
		_ = w.Close() // never fails
		select {
		case <-failed:
			t.Error("a file is told of while another one is")
		case <-time.After(50 * time.Millisecond):
		}
	}
	go func() { _, _ = w.Write(good) }() // Read tells of an error
	if err := u.Read(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	select {
	case <-failed:
	default:
		t.Error("a file that failed was not told of")
	}
}

// What an object left out, the next one may hold.
func TestAloneNoMore(t *testing.T) {
	u := open(t, 1, nil)
	alone := bundleStream(t, bundle.File{Header: bundle.Header{Index: 0, URL: "u", Alone: true}})
	if err := u.Read(t.Context(), bytes.NewReader(alone)); err != nil || len(u.Alone()) != 1 {
		t.Fatalf("%v, %v", u.Alone(), err)
	}
	if err := u.Read(t.Context(), bytes.NewReader(bundleStream(t, named(0, "a", "0")))); err != nil || len(u.Alone()) != 0 || u.told[0].Err != nil {
		t.Errorf("%v, %v", u.Alone(), err)
	}
}

func TestUnpackRefusesWhatIsNoBundle(t *testing.T) {
	good := bundleStream(t, named(0, "a", "0"), named(1, "b", "1"))
	for name, s := range map[string][]byte{
		"something else": []byte(strings.Repeat("x", 100)),
		"a cut":          good[:len(good)-1],
		"more files":     bundleStream(t, named(0, "a", "0"), named(2, "c", "2")),
	} {
		u := open(t, 2, nil)
		if err := u.Read(t.Context(), bytes.NewReader(s)); !errors.Is(err, &job.Error{Code: job.CodeInternal}) {
			t.Errorf("%s: %v", name, err)
		}
		if got, _ := os.ReadFile(filepath.Join(u.dir, "a")); name != "something else" && (string(got) != "0" || u.told[0].Err != nil) {
			t.Errorf("%s: what came before it was lost", name)
		}
	}
}

// A run that ended anywhere is gone on with: what stands is not written again, and
// what was deleted since is asked for.
func TestUnpackGoesOn(t *testing.T) {
	u := open(t, 3, nil)
	dir := u.dir
	s := bundleStream(t, named(2, "c", "2"), named(0, "a", "0"), named(1, "b", "1"))
	cut := bytes.Index(s, []byte(`"name":"b"`))
	if err := u.Read(t.Context(), io.MultiReader(bytes.NewReader(s[:cut]), &failing{})); !errors.Is(err, errTorn) {
		t.Fatal(err)
	}
	_ = errors.Join(u.journal.close(), u.unlock())
	writeFile(t, u.o.Base+partial.StateSuffix, nil) // as a run leaves it that was killed
	writeFile(t, u.o.Base+".1", []byte("half"))
	again := func(u *unpacking) { u.dir = dir }
	u = open(t, 3, again)
	u.TellEarlier()
	if !u.GoesOn() || len(u.Wanted()) != 3 || len(u.told) != 2 || !u.told[0].Earlier {
		t.Errorf("goes on: %v, asked for %v, told %v", u.GoesOn(), u.Wanted(), u.told)
	}
	if err := u.Read(t.Context(), bytes.NewReader(s)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(u.o.Base + partial.StateSuffix); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	_ = errors.Join(u.journal.close(), u.unlock())

	u = open(t, 3, again)
	u.TellEarlier()
	if u.GoesOn() || !slices.Equal(u.Wanted(), []int{1}) {
		t.Errorf("goes on: %v, asked for %v", u.GoesOn(), u.Wanted())
	}
	if err := u.Read(t.Context(), bytes.NewReader(bundleStream(t, named(0, "b", "1")))); err != nil {
		t.Fatal(err)
	}
	if err := u.Close(); err != nil {
		t.Fatal(err)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 3 {
		t.Errorf("%v stand", entries)
	}
}

// Two runs of the same list into the same folder would place each file twice.
func TestTwoRunsOfOneBundle(t *testing.T) {
	u := open(t, 3, nil)
	if _, err := Open(u.o); partial.KindOf(err) != partial.KindInUse {
		t.Errorf("the second run: %v", err)
	}
	if err := u.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(u.o)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

var errTorn = errors.New("torn")

type failing struct{}

func (*failing) Read([]byte) (int, error) { return 0, errTorn }

// What a person asked for is said of each file alone.
func TestUnpackOutputs(t *testing.T) {
	u := open(t, 4, func(u *unpacking) {
		u.outputs[0].File = filepath.Join(u.dir, "zero")
		u.outputs[1].Checksums = map[string]string{"sha256": sha([]byte("other"))}
		u.outputs[2].OnExists = partial.Fail
		u.outputs[3].File = filepath.Join(u.dir, "no", "folder")
		writeFile(t, filepath.Join(u.dir, "c"), []byte("mine"))
	})
	if err := u.Read(t.Context(), bytes.NewReader(bundleStream(t, named(0, "a", "0"), named(1, "b", "1"), named(2, "c", "2"), named(3, "d", "3")))); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(filepath.Join(u.dir, "zero")); string(got) != "0" || u.told[0].SHA256 != sha(got) {
		t.Errorf("zero holds %q: %+v", got, u.told[0])
	}
	for i, want := range map[int]partial.Kind{1: partial.KindChecksum, 2: partial.KindExists, 3: partial.KindDir} {
		if kind := partial.KindOf(u.told[i].Err); kind != want {
			t.Errorf("file %d: %v, want %s", i, u.told[i].Err, want)
		}
	}
}
