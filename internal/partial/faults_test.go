package partial

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
)

// faultSize has a short last chunk. The tests below run it many hundred times.
const faultSize = 1<<20 + 12345

const memTarget = "dir/f.bin"

// wantRight is the independent checker: under the final name stand the right
// bytes, or nothing.
func wantRight(t *testing.T, m *memFS, obj object, mustExist bool) {
	t.Helper()
	got := m.bytesOf(memTarget)
	if got == nil && !mustExist {
		return
	}
	if !bytes.Equal(got, obj.data) {
		t.Fatalf("wrong bytes under the final name: %d, want %d", len(got), len(obj.data))
	}
}

func rerun(t *testing.T, m *memFS, obj object) result {
	t.Helper()
	res, err := download(Options{Target: memTarget, FS: m, OnExists: Fail}, obj)
	if err != nil {
		t.Fatalf("the next run: %v", err)
	}
	wantRight(t, m, obj, true)
	if left := m.leftovers(memTarget); len(left) > 0 {
		t.Fatalf("the next run leaves %q", left)
	}
	return res
}

// Each call fails in turn, once or from then on: EIO on sync, read-back and
// close, a full disk, EXDEV and EACCES on the rename. The run ends in an error or
// in the right file; the next run ends in the right file; and a power cut after
// that takes nothing away.
func TestFailEachCall(t *testing.T) {
	obj := newObject(faultSize, 1)
	for _, err := range []error{syscall.EIO, syscall.ENOSPC, syscall.EACCES, syscall.EXDEV} {
		sticky := err == syscall.ENOSPC || err == syscall.EIO
		t.Run(fmt.Sprint(err), func(t *testing.T) {
			for n := 1; ; n++ {
				if !failOne(t, obj, n, sticky, err) {
					t.Logf("%d calls", n-1)
					return
				}
			}
		})
	}
}

func failOne(t *testing.T, obj object, n int, sticky bool, fault error) (reached bool) {
	m := newMemFS()
	m.neverWrong(t, memTarget, obj.data)
	m.failAt, m.sticky, m.err = n, sticky, fault
	res, err := download(Options{Target: memTarget, FS: m, OnExists: Fail}, obj)
	op := ""
	if m.calls >= n {
		op = m.log[n-1]
	}
	defer func() {
		if t.Failed() {
			t.Logf("failed call %d was %q; first run: %v", n, op, err)
		}
	}()
	wantRight(t, m, obj, err == nil)
	if err != nil && KindOf(err) == "" {
		t.Errorf("an error without a kind: %v", err)
	}
	if res.path != "" && err == nil {
		m.reset()
		m.powerCut(nil)
		wantRight(t, m, obj, true)
		return op != ""
	}
	m.reset()
	if m.bytesOf(memTarget) == nil || m.bytesOf(memTarget+StateSuffix) != nil {
		rerun(t, m, obj)
	}
	m.powerCut(nil)
	wantRight(t, m, obj, true)
	return op != ""
}

// The client is killed at each call, and the same command follows.
func TestKillAtEachCall(t *testing.T) {
	obj := newObject(faultSize, 2)
	for n := 1; ; n++ {
		m := newMemFS()
		m.neverWrong(t, memTarget, obj.data)
		m.diesAt = n
		_, err := download(Options{Target: memTarget, FS: m, OnExists: Fail}, obj)
		reached := m.calls >= n
		wantRight(t, m, obj, false)
		m.reset()
		if !reached {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		if m.bytesOf(memTarget) != nil && m.bytesOf(memTarget+StateSuffix) == nil {
			continue // it was as good as done
		}
		res, err := download(Options{Target: memTarget, FS: m, OnExists: Fail}, obj)
		if err != nil {
			t.Fatalf("killed at call %d, the next run: %v", n, err)
		}
		wantRight(t, m, obj, true)
		for _, d := range res.dropped {
			t.Errorf("killed at call %d, chunk %d did not match", n, d.Chunk)
		}
	}
}

// The power is cut at each call: data that was not synced is gone while names
// survive, and at random. The state never makes the next run trust lost data.
func TestPowerCutAtEachCall(t *testing.T) {
	obj := newObject(faultSize, 3)
	for n := 1; ; n++ {
		for seed := range uint64(3) {
			m := newMemFS()
			m.neverWrong(t, memTarget, obj.data)
			m.diesAt = n
			o := Options{Target: memTarget, FS: m, OnExists: Fail, checkpointBytes: 1}
			_, err := download(o, obj)
			if m.calls < n {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var rng *rand.Rand
			if seed > 0 {
				rng = rand.New(rand.NewPCG(seed, uint64(n)))
			}
			m.powerCut(rng)
			wantRight(t, m, obj, false)
			if m.bytesOf(memTarget) != nil && m.bytesOf(memTarget+StateSuffix) == nil {
				continue
			}
			if _, err := download(o, obj); err != nil {
				t.Fatalf("power cut at call %d, the next run: %v", n, err)
			}
			m.powerCut(rng)
			wantRight(t, m, obj, true)
		}
	}
}

// A failed sync is not tried again, and the next run does not believe the page
// cache: what was not safe before is written anew, without being fetched.
func TestFailedSyncIsNotRetriedOnTheSamePages(t *testing.T) {
	obj := newObject(faultSize, 4)
	m := newMemFS()
	f, err := Open(t.Context(), Options{Target: memTarget, FS: m, OnExists: Fail, URL: testURL})
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	if err := feed(t.Context(), f, obj, &n); err != nil {
		t.Fatal(err)
	}
	await(t, f, func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.hashedLocked() })
	failFrom := m.failNext("sync .jumpget-part", syscall.EIO)
	_, _, err = f.Finish(t.Context(), FinishOptions{})
	wantKind(t, err, KindIO)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if again := m.count("sync .jumpget-part", failFrom); again != 1 {
		t.Errorf("synced %d times, want once", again)
	}
	m.reset()
	if res := rerun(t, m, obj); res.fetched > 0 {
		t.Errorf("the next run fetched %d bytes", res.fetched)
	}
	m.powerCut(nil)
	wantRight(t, m, obj, true)
}

// What was verified before a kill is not fetched again, checkpoint or not.
func TestKilledRunFetchesNoVerifiedChunkAgain(t *testing.T) {
	obj := newObject(5<<20+1, 5)
	m := newMemFS()
	f, err := Open(t.Context(), Options{Target: memTarget, FS: m, URL: testURL})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.SetObject(obj.id, obj.size()); err != nil {
		t.Fatal(err)
	}
	if err := f.SetSums(0, obj.sums); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, f, obj, 0, 1<<20)
	mustWrite(t, f, obj, 3<<20, 5<<20+1)
	mustWrite(t, f, obj, 1<<20, 1<<20+100)
	await(t, f, func() bool { return f.Verified() == 3<<20+1 })
	m.mu.Lock()
	m.diesAt = m.calls + 1
	m.mu.Unlock()
	_ = f.Close() // has no effect on the disk any more
	m.reset()
	res := rerun(t, m, obj)
	if res.fetched != 2<<20 {
		t.Errorf("fetched %d bytes, want the two chunks that were missing", res.fetched)
	}
	if len(res.dropped) > 0 {
		t.Errorf("dropped %v", res.dropped)
	}
}

// Faults of every sort follow one another on one download, and in between it
// gets on. Whatever the order, it ends in the right file.
func TestFaultsInARow(t *testing.T) {
	obj := newObject(faultSize, 6)
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 6))
		m := newMemFS()
		m.neverWrong(t, memTarget, obj.data)
		o := Options{Target: memTarget, FS: m, OnExists: Fail, checkpointBytes: 1 << rng.IntN(22)}
		var done bool
		for range 5 {
			kind := rng.IntN(3)
			at := 1 + rng.IntN(45)
			if kind == 0 {
				m.failAt, m.sticky, m.err = at, rng.IntN(2) == 0, syscall.EIO
			} else {
				m.diesAt = at
			}
			_, err := download(o, obj)
			wantRight(t, m, obj, err == nil)
			if kind == 2 {
				m.powerCut(rng)
			}
			m.reset()
			wantRight(t, m, obj, false)
			done = m.bytesOf(memTarget) != nil && m.bytesOf(memTarget+StateSuffix) == nil
			if err == nil || done {
				break
			}
		}
		if !done {
			if _, err := download(o, obj); err != nil {
				t.Fatalf("seed %d: the last run: %v", seed, err)
			}
		}
		m.powerCut(nil)
		wantRight(t, m, obj, true)
	}
}

// A file that is adopted is the person's: whatever fails, its bytes stand under
// its name or in the partial until the whole takes its place.
func TestFailEachCallWhileAdopting(t *testing.T) {
	obj := newObject(faultSize, 7)
	prefix := obj.data[:1<<20+10]
	for n := 1; ; n++ {
		m := newMemFS()
		h, err := m.OpenFile(memTarget, syscall.O_CREAT, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.WriteAt(prefix, 0); err != nil {
			t.Fatal(err)
		}
		m.reset()
		m.failAt, m.sticky, m.err = n, n%2 == 0, syscall.EIO
		o := Options{Target: memTarget, FS: m, Adopt: true}
		_, err = download(o, obj)
		reached := m.calls >= n
		m.reset()
		kept := bytes.HasPrefix(m.bytesOf(memTarget), prefix) || bytes.HasPrefix(m.bytesOf(memTarget+PartSuffix), prefix)
		if !kept {
			t.Fatalf("failing call %d lost the person's bytes", n)
		}
		if !reached {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		res, err := download(o, obj)
		if err != nil {
			t.Fatalf("after failing call %d: %v", n, err)
		}
		wantRight(t, m, obj, true)
		if res.fetched > obj.size()-1<<20 {
			t.Errorf("after failing call %d the adopted bytes were fetched", n)
		}
	}
}
