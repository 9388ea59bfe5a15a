package partial

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/span"
)

func TestDownloadToDisk(t *testing.T) {
	for _, size := range []int{0, 1, job.ChunkSize - 1, job.ChunkSize, 3*job.ChunkSize + 7} {
		dir := t.TempDir()
		obj := newObject(size, 1)
		target := filepath.Join(dir, "f.bin")
		res, err := download(Options{Target: target}, obj)
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if res.path != target {
			t.Errorf("the path is %s", res.path)
		}
		wantFile(t, target, obj.data)
		wantNames(t, dir, "f.bin")
		info, err := os.Stat(target)
		if err != nil {
			t.Fatal(err)
		}
		if info.ModTime().Unix() != 1e9 {
			t.Errorf("the modification time is %v", info.ModTime())
		}
		probe := filepath.Join(dir, "other")
		if err := os.WriteFile(probe, nil, 0o666); err != nil {
			t.Fatal(err)
		}
		if other, _ := os.Stat(probe); other.Mode() != info.Mode() {
			t.Errorf("the mode is %v, other files get %v", info.Mode(), other.Mode())
		}
	}
}

// A half-done download to go on from.
func interrupted(t *testing.T, target string, obj object, have int) {
	t.Helper()
	f := ready(t, Options{Target: target}, obj)
	mustWrite(t, f, obj, 0, have)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFlippedBitCostsOneChunk(t *testing.T) {
	obj := newObject(4<<20, 2)
	target := filepath.Join(t.TempDir(), "f.bin")
	interrupted(t, target, obj, 4<<20)
	b, err := os.ReadFile(target + PartSuffix)
	if err != nil {
		t.Fatal(err)
	}
	b[2<<20+99] ^= 4
	if err := os.WriteFile(target+PartSuffix, b, 0o600); err != nil {
		t.Fatal(err)
	}
	res, err := download(Options{Target: target}, obj)
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, target, obj.data)
	if res.fetched != job.ChunkSize || len(res.dropped) != 1 || res.dropped[0] != (Mismatch{2, true, 1}) {
		t.Errorf("fetched %d bytes, dropped %v; want chunk 2 alone", res.fetched, res.dropped)
	}
}

func TestDamagedStateIsNoLoss(t *testing.T) {
	obj := newObject(3<<20, 3)
	for name, damage := range map[string]func([]byte) []byte{
		"empty":     func([]byte) []byte { return nil },
		"truncated": func(b []byte) []byte { return b[:len(b)/2] },
		"garbage":   func([]byte) []byte { return []byte("\x00\xff garbage") },
		"claims more": func(b []byte) []byte {
			return []byte(strings.Replace(string(b), "[0,2097152]", "[0,3145728]", 1))
		},
		"one bit": func(b []byte) []byte { b[10] ^= 1; return b },
	} {
		t.Run(name, func(t *testing.T) {
			target := filepath.Join(t.TempDir(), "f.bin")
			interrupted(t, target, obj, 2<<20)
			b, err := os.ReadFile(target + StateSuffix)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(target+StateSuffix, damage(b), 0o600); err != nil {
				t.Fatal(err)
			}
			res, err := download(Options{Target: target}, obj)
			if err != nil {
				t.Fatal(err)
			}
			wantFile(t, target, obj.data)
			if res.fetched != 1<<20 {
				t.Errorf("fetched %d bytes, want the missing chunk", res.fetched)
			}
		})
	}
}

// A state may claim what is not in the file, with a good check: rehashing tells.
func TestStateThatLiesIsCaught(t *testing.T) {
	obj := newObject(3<<20, 4)
	target := filepath.Join(t.TempDir(), "f.bin")
	interrupted(t, target, obj, 1<<20)
	s, err := loadState(OS{}, target+StateSuffix)
	if err != nil {
		t.Fatal(err)
	}
	s.Stored = [][2]int64{{0, 1 << 40}, {-5, -1}}
	if err := saveState(OS{}, filepath.Dir(target), target+StateSuffix, s, false); err != nil {
		t.Fatal(err)
	}
	res, err := download(Options{Target: target}, obj)
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, target, obj.data)
	if res.fetched != 2<<20 {
		t.Errorf("fetched %d bytes, want two chunks", res.fetched)
	}
}

func TestStateHoldsNoSecret(t *testing.T) {
	target := filepath.Join(t.TempDir(), "f.bin")
	interrupted(t, target, newObject(1<<20, 5), 100)
	b, err := os.ReadFile(target + StateSuffix)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "secret") || !strings.Contains(string(b), "https://origin.example/dir/f.bin?...") {
		t.Errorf("the state is %s", b)
	}
	info, err := os.Stat(target + PartSuffix)
	if err != nil {
		t.Fatal(err)
	}
	if removeWhileOpen && info.Mode().Perm() != 0o600 {
		t.Errorf("the partial has mode %v", info.Mode())
	}
}

func TestStateOfAnotherURL(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "f.bin")
	interrupted(t, target, newObject(1<<20, 6), 100)
	_, err := Open(t.Context(), Options{Target: target, URL: otherURL, OnExists: Fail})
	wantKind(t, err, KindOtherURL)
	if e, _ := errors.AsType[*Error](err); e.Hint == "" || strings.Contains(e.Message, "secret") {
		t.Errorf("message %q, hint %q", e.Message, e.Hint)
	}
	wantNames(t, dir, "f.bin.jumpget-part", "f.bin.jumpget-state")
	f, err := Open(t.Context(), Options{Target: target, URL: otherURL})
	if err != nil {
		t.Fatal(err)
	}
	if f.Target() != target+".1" {
		t.Errorf("the target is %s", f.Target())
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, "f.bin.jumpget-part", "f.bin.jumpget-state")
}

func TestTwoClientsOnOneTarget(t *testing.T) {
	obj := newObject(1<<20, 7)
	for _, policy := range []OnExists{Rename, Fail, Overwrite} {
		target := filepath.Join(t.TempDir(), "f.bin")
		first := ready(t, Options{Target: target, OnExists: policy}, obj)
		_, err := Open(t.Context(), Options{Target: target, URL: testURL, OnExists: policy})
		wantKind(t, err, KindInUse)
		if _, err := first.WriteAt(obj.data, 0); err != nil {
			t.Fatal(err)
		}
		if err := first.SetSums(0, obj.sums); err != nil {
			t.Fatal(err)
		}
		if _, _, err := first.Finish(t.Context(), FinishOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		wantFile(t, target, obj.data)
		wantNames(t, filepath.Dir(target), "f.bin")
	}
}

// dieAfterRename leaves what a client leaves that is killed right after the last
// rename: the file, and a state that announced it.
func dieAfterRename(t *testing.T, target string, obj object) {
	t.Helper()
	if _, err := download(Options{Target: target}, obj); err != nil {
		t.Fatal(err)
	}
	s := &state{
		Format: stateFormat, URLHash: hashURL(testURL), Size: obj.size(),
		Stored: [][2]int64{{0, obj.size()}},
		Final:  &final{Name: filepath.Base(target), SHA256: obj.sha},
	}
	if err := saveState(OS{}, filepath.Dir(target), target+StateSuffix, s, false); err != nil {
		t.Fatal(err)
	}
}

func TestKilledAfterTheLastRename(t *testing.T) {
	obj := newObject(1<<20+1, 20)
	for name, tc := range map[string]struct {
		then func(t *testing.T, target string)
		kind Kind
	}{
		"nothing else": {func(*testing.T, string) {}, ""},
		"renaming by link had one step to go": {func(t *testing.T, target string) {
			if err := os.Link(target, target+PartSuffix); err != nil {
				t.Skip(err)
			}
		}, ""},
		"the person has changed the file": {func(t *testing.T, target string) {
			if err := os.WriteFile(target, make([]byte, obj.size()), 0o600); err != nil {
				t.Fatal(err)
			}
		}, KindExists},
	} {
		t.Run(name, func(t *testing.T) {
			target := filepath.Join(t.TempDir(), "f.bin")
			dieAfterRename(t, target, obj)
			tc.then(t, target)
			res, err := download(Options{Target: target, OnExists: Fail}, obj)
			wantKind(t, err, tc.kind)
			if err != nil {
				wantFile(t, target, make([]byte, obj.size()))
				return
			}
			wantFile(t, target, obj.data)
			wantNames(t, filepath.Dir(target), "f.bin")
			if res.fetched > 0 {
				t.Errorf("fetched %d bytes", res.fetched)
			}
		})
	}
}

// Two URLs whose files have one name, fetched at once, do not hinder each other.
func TestTwoURLsWithOneName(t *testing.T) {
	target := filepath.Join(t.TempDir(), "f.bin")
	first := ready(t, Options{Target: target}, newObject(10, 8))
	second := ready(t, Options{Target: target, URL: otherURL}, newObject(20, 9))
	if first.Target() == second.Target() {
		t.Fatalf("both are %s", first.Target())
	}
}

func TestLockOfAKilledClientIsTaken(t *testing.T) {
	target := filepath.Join(t.TempDir(), "f.bin")
	if err := os.WriteFile(target+LockSuffix, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := download(Options{Target: target}, newObject(10, 1)); err != nil {
		t.Fatal(err)
	}
	wantNames(t, filepath.Dir(target), "f.bin")
}

func TestSymlinksAreNotFollowed(t *testing.T) {
	obj := newObject(1000, 10)
	for _, suffix := range []string{"", PartSuffix, StateSuffix, LockSuffix} {
		t.Run("at "+suffix, func(t *testing.T) {
			dir, victim := t.TempDir(), filepath.Join(t.TempDir(), "victim")
			if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
			target := filepath.Join(dir, "f.bin")
			if err := os.Symlink(victim, target+suffix); err != nil {
				t.Skip(err)
			}
			_, err := download(Options{Target: target, OnExists: Overwrite}, obj)
			wantFile(t, victim, []byte("precious"))
			if suffix == "" {
				if err != nil {
					t.Fatal(err)
				}
				wantFile(t, target, obj.data) // the link itself was replaced
				return
			}
			wantKind(t, err, KindIO)
			wantNames(t, dir, "f.bin"+suffix)
		})
	}
}

func TestDirectoryIsCheckedFirst(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	readOnly := readOnlyDir(t)
	for _, bad := range []string{filepath.Join(dir, "none"), file, readOnly} {
		if bad == "" {
			continue
		}
		wantKind(t, CheckDir(bad), KindDir)
		_, err := Open(t.Context(), Options{Target: filepath.Join(bad, "f"), URL: testURL})
		wantKind(t, err, KindDir)
		_, err = Temp(t.Context(), bad, Options{URL: testURL})
		wantKind(t, err, KindDir)
	}
	if err := CheckDir(dir); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, "file")
}

func TestTargetThatExists(t *testing.T) {
	obj := newObject(1000, 11)
	for _, tc := range []struct {
		policy OnExists
		kind   Kind
		path   string
		old    string // what f.bin is then
	}{
		{Rename, "", "f.bin.2", "old"},
		{Fail, KindExists, "", "old"},
		{Overwrite, "", "f.bin", string(obj.data)},
	} {
		dir := t.TempDir()
		target := filepath.Join(dir, "f.bin")
		for _, name := range []string{"f.bin", "f.bin.1"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		res, err := download(Options{Target: target, OnExists: tc.policy}, obj)
		wantKind(t, err, tc.kind)
		wantFile(t, target, []byte(tc.old))
		if err != nil {
			wantNames(t, dir, "f.bin", "f.bin.1")
			continue
		}
		if res.path != filepath.Join(dir, tc.path) {
			t.Errorf("the path is %s, want %s", res.path, tc.path)
		}
		wantFile(t, res.path, obj.data)
	}
}

func TestTargetThatIsADirectory(t *testing.T) {
	target := filepath.Join(t.TempDir(), "f.bin")
	if err := os.Mkdir(target, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), Options{Target: target, URL: testURL, OnExists: Overwrite})
	wantKind(t, err, KindExists)
}

// Another program takes the name while the file is being fetched.
func TestTargetThatAppears(t *testing.T) {
	obj := newObject(1000, 12)
	for _, policy := range []OnExists{Rename, Fail} {
		dir := t.TempDir()
		target := filepath.Join(dir, "f.bin")
		f := ready(t, Options{Target: target, OnExists: policy}, obj)
		mustWrite(t, f, obj, 0, 1000)
		if err := f.SetSums(0, obj.sums); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(target, []byte("other"), 0o600); err != nil {
			t.Fatal(err)
		}
		path, _, err := f.Finish(t.Context(), FinishOptions{})
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		wantFile(t, target, []byte("other"))
		if policy == Rename {
			if err != nil || path != target+".1" {
				t.Fatalf("path %s, error %v", path, err)
			}
			wantFile(t, path, obj.data)
			continue
		}
		wantKind(t, err, KindExists)
		if err := os.Remove(target); err != nil {
			t.Fatal(err)
		}
		res, err := download(Options{Target: target, OnExists: Fail}, obj)
		if err != nil || res.fetched > 0 {
			t.Fatalf("the next run: error %v, %d bytes fetched", err, res.fetched)
		}
		wantFile(t, target, obj.data)
	}
}

func TestAdopt(t *testing.T) {
	obj := newObject(3<<20+5, 13)
	bad := newObject(2<<20, 14)
	for name, tc := range map[string]struct {
		old     []byte
		fetched int64
		kind    Kind
	}{
		"a prefix":      {obj.data[:2<<20+100], 1<<20 + 5 - 100, ""},
		"the whole":     {obj.data, 0, ""},
		"nothing alike": {bad.data, obj.size(), ""},
		"too long":      {append(obj.data[:len(obj.data):len(obj.data)], 1), 0, KindExists},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			target := filepath.Join(dir, "f.bin")
			if err := os.WriteFile(target, tc.old, 0o640); err != nil {
				t.Fatal(err)
			}
			res, err := download(Options{Target: target, Adopt: true}, obj)
			wantKind(t, err, tc.kind)
			wantNames(t, dir, "f.bin")
			if err != nil {
				wantFile(t, target, tc.old)
				return
			}
			wantFile(t, target, obj.data)
			if res.fetched != tc.fetched {
				t.Errorf("fetched %d bytes, want %d", res.fetched, tc.fetched)
			}
		})
	}
}

// The origin refuses before an object is known: the person's file is untouched.
func TestAdoptLeavesTheFileUntilTheObjectIsKnown(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "f.bin")
	if err := os.WriteFile(target, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(t.Context(), Options{Target: target, URL: testURL, Adopt: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, target, []byte("mine"))
	wantNames(t, dir, "f.bin")
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	if got, ok := Find(dir, testURL); ok {
		t.Fatalf("found %s in an empty directory", got)
	}
	target := filepath.Join(dir, "name from the relay")
	interrupted(t, target, newObject(1<<20, 15), 100)
	if err := os.WriteFile(filepath.Join(dir, "x"+StateSuffix), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, ok := Find(dir, testURL); !ok || got != target {
		t.Errorf("found %q", got)
	}
	if got, ok := Find(dir, otherURL); ok {
		t.Errorf("found %q for another URL", got)
	}
}

func TestCloseWithoutBytesLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	f := ready(t, Options{Target: filepath.Join(dir, "f.bin")}, newObject(5<<20, 16))
	for range 2 {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	wantNames(t, dir)
	if _, err := f.WriteAt([]byte{1}, 0); KindOf(err) != KindClosed {
		t.Errorf("writing after Close: %v", err)
	}
}

func TestTempLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	obj := newObject(2<<20+9, 17)
	f, err := Temp(t.Context(), dir, Options{URL: testURL})
	if err != nil {
		t.Fatal(err)
	}
	if removeWhileOpen {
		wantNames(t, dir) // not even if killed now
	}
	var n int64
	if err := feed(t.Context(), f, obj, &n); err != nil {
		t.Fatal(err)
	}
	if path, sum, err := f.Finish(t.Context(), FinishOptions{}); path != "" || sum != obj.sha || err != nil {
		t.Errorf("Finish: %q, %s, %v", path, sum, err)
	}
	if got := readAll(t, f, obj.size()); string(got) != string(obj.data) {
		t.Error("wrong bytes after Finish")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir)
}

// Real disks: a full one shows when the object is known, or while writing if
// its size is not.
func TestDiskFull(t *testing.T) {
	dir := smallDisk(t)
	target := filepath.Join(dir, "f.bin")
	f := ready(t, Options{Target: target}, newObject(1000, 18))
	wantKind(t, f.SetObject(job.NewID(), 64<<20), KindDiskFull)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir)

	f = ready(t, Options{Target: target}, object{id: job.NewID()})
	if err := f.SetObject(job.NewID(), job.UnknownSize); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<20)
	var err error
	for off := int64(0); off < 8<<20 && err == nil; off += 1 << 20 {
		_, err = f.WriteAt(buf, off)
	}
	wantKind(t, err, KindDiskFull)
	if got := f.Missing(span.Span{End: 1 << 20}); len(got) > 0 {
		t.Errorf("what was written before is gone: %v", got)
	}
}
