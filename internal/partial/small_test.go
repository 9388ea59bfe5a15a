package partial

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// smalls are files for the folder dir; the last two want the same name.
func smalls(dir string, policy OnExists) []Small {
	var files []Small
	for i, name := range []string{"a", "b", "empty", "c", "c"} {
		data := bytes.Repeat([]byte{byte('0' + i)}, i*page+i)
		if name == "empty" {
			data = nil
		}
		files = append(files, Small{
			Target: filepath.Join(dir, name), Temp: filepath.Join(dir, fmt.Sprintf(".temp.%d", i)),
			OnExists: policy, Data: data, ModTime: time.Unix(1e9, 0),
		})
	}
	return files
}

// intents keeps what Place is going to do.
type intents map[string]int // file by path

func (in intents) keep(paths map[int]string) error {
	for i, path := range paths {
		in[path] = i
	}
	return nil
}

func TestPlace(t *testing.T) {
	dir := t.TempDir()
	files := smalls(dir, Rename)
	for name, text := range map[string]string{"b": "mine", "b.1": "mine too", ".temp.0": "left by a run that was killed"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	in := intents{}
	placed := Place(nil, files, in.keep)
	for i, want := range []string{"a", "b.2", "empty", "c", "c.1"} {
		path := filepath.Join(dir, want)
		if placed[i].Err != nil || placed[i].Path != path {
			t.Errorf("%s is at %s: %v", want, placed[i].Path, placed[i].Err)
			continue
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, files[i].Data) || in[path] != i {
			t.Errorf("%s: %v, %d bytes; told before: %v", want, err, len(got), in)
		}
		if info, err := os.Stat(path); err != nil || !info.ModTime().Equal(files[i].ModTime) {
			t.Errorf("%s: its time is not the origin's (%v)", want, err)
		}
	}
	for name, want := range map[string]string{"b": "mine", "b.1": "mine too"} {
		if got, _ := os.ReadFile(filepath.Join(dir, name)); string(got) != want {
			t.Errorf("%s was replaced", name)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".temp.*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestPlacePolicies(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	placed := Place(nil, smalls(dir, Fail)[:2], intents{}.keep)
	if KindOf(placed[0].Err) != KindExists || KindOf(placed[1].Err) != KindExists {
		t.Errorf("Fail: %+v", placed)
	}
	files := append(smalls(dir, Overwrite), Small{Target: filepath.Join(dir, "no", "x"), Temp: filepath.Join(dir, "no", "t")})
	files[2].Sums = map[string]string{"md5": strings.Repeat("0", 32)}
	placed = Place(nil, files, intents{}.keep)
	for i, want := range []Kind{"", KindExists, KindChecksum, "", "", KindDir} {
		if KindOf(placed[i].Err) != want || (want == "") != (placed[i].Err == nil) {
			t.Errorf("Overwrite, %s: %v, want %q", files[i].Target, placed[i].Err, want)
		}
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "a")); !bytes.Equal(got, files[0].Data) {
		t.Error("it was not replaced")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".temp.*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A name that somebody takes after it was chosen is never replaced, and the next
// one is told of before it appears.
func TestPlaceWhatAppearsMeanwhile(t *testing.T) {
	dir := t.TempDir()
	in := intents{}
	calls := 0
	placed := Place(nil, smalls(dir, Rename)[:1], func(paths map[int]string) error {
		if calls++; calls == 1 {
			return os.WriteFile(paths[0], []byte("somebody's"), 0o600)
		}
		return in.keep(paths)
	})
	if want := filepath.Join(dir, "a.1"); placed[0].Err != nil || placed[0].Path != want || len(in) != 1 || in[want] != 0 {
		t.Errorf("%+v, told before: %v", placed[0], in)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "a")); string(got) != "somebody's" {
		t.Errorf("it was replaced by %q", got)
	}
}

func TestPlaceNothingWithoutIntent(t *testing.T) {
	dir := t.TempDir()
	full := errors.New("no room to note it")
	for _, p := range Place(nil, smalls(dir, Rename), func(map[int]string) error { return full }) {
		if !errors.Is(p.Err, full) || p.Path != "" {
			t.Errorf("%+v", p)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Whichever call fails, or is the last one before the power is cut, no name stands
// before all of its bytes are durable, and none that was not told of.
func TestPlaceWithFaultsAtEachCall(t *testing.T) {
	files := smalls("/d", Rename)
	for n := 1; ; n++ {
		reached := false
		for _, cut := range []bool{false, true} {
			m := newMemFS()
			in := intents{}
			m.check = func(name string, got []byte) {
				if i, told := in[name]; !told || !bytes.Equal(got, files[i].Data) {
					t.Errorf("call %d: %s appears with %d bytes", n, name, len(got))
				}
			}
			if cut {
				m.diesAt = n
			} else {
				m.failAt, m.err = n, syscall.EIO
			}
			placed := Place(m, files, in.keep)
			reached = reached || m.calls >= n
			kept := maps.Clone(in)
			if cut {
				m.powerCut(rand.New(rand.NewPCG(uint64(n), 1)))
			}
			for path, i := range kept {
				if got := m.bytesOf(path); got != nil && !bytes.Equal(got, files[i].Data) {
					t.Errorf("call %d: %s has wrong bytes", n, path)
				}
			}
			for i, p := range placed {
				if p.Err == nil && !cut && m.bytesOf(p.Path) == nil {
					t.Errorf("call %d: file %d is said to stand at %s", n, i, p.Path)
				}
			}
		}
		if !reached {
			return
		}
	}
}

func TestDiscard(t *testing.T) {
	dir := t.TempDir()
	obj := newObject(3<<20, 9)
	f := ready(t, Options{Target: filepath.Join(dir, "x")}, obj)
	var n int64
	if err := feed(t.Context(), f, obj, &n); err != nil {
		t.Fatal(err)
	}
	f.Discard()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
