package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/jumpget/jumpget/internal/origintest"
)

// steps are the system calls after which something is durable that was not.
var steps = []string{"fsync", "fdatasync", "rename", "renameat", "renameat2", "linkat"}

// TestKilledAtEachStep kills the client just as it makes its first, second, third
// ... sync, rename and link. strace counts them by thread, so which one of all it
// is may vary. The same command has to end with the origin's bytes each time, and
// no other bytes may ever stand under the file's name.
func TestKilledAtEachStep(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes for some seconds")
	}
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("there is no strace on this machine: apt install strace")
	}
	if out, err := exec.Command(strace, "-qq", "-o", os.DevNull, "true").CombinedOutput(); err != nil {
		t.Skipf("strace may not trace here: %v: %s", err, out)
	}
	w := newWorld(t, false)
	w.command += " -o ControlPath=none" // strace would wait for a shared connection's master
	const size = 3<<20 + 77
	w.origin.Add(origintest.File{Path: "/f.bin", Size: size, Seed: 5, ETag: `"5"`})
	want := origintest.Random(size, 5).SHA256()
	deaths := 0
	for _, call := range steps {
		for n := 1; ; n++ {
			dir := t.TempDir()
			target := filepath.Join(dir, "f.bin")
			killed := w.killAtStep(strace, call, n, "-o", target, w.origin.URL("/f.bin"))
			if sum := sumOf(t, target); sum != "" && sum != want {
				t.Fatalf("after a death at %s %d the file has other bytes", call, n)
			}
			if !killed {
				break
			}
			deaths++
			// A death right after the file got its name leaves a finished file.
			w.get("--force", "-o", target, w.origin.URL("/f.bin"))
			if sum := sumOf(t, target); sum != want {
				t.Fatalf("after a death at %s %d the same command left %q", call, n, sum)
			}
			if rest := leftovers(t, dir); len(rest) > 0 {
				t.Errorf("after a death at %s %d: %v", call, n, rest)
			}
		}
	}
	t.Logf("%d deaths", deaths)
	if deaths < 3 {
		t.Error("are these the program's system calls?")
	}
}

// killAtStep runs a client that is killed at its n-th call of a kind; false
// means that it ended well before that.
func (w *world) killAtStep(strace, call string, n int, args ...string) bool {
	w.t.Helper()
	p := w.prepare(args...)
	inject := fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, n)
	p.cmd.Args = append([]string{strace, "-f", "-qq", "-o", os.DevNull, "-e", "trace=" + call, "-e", inject}, p.cmd.Args...)
	p.cmd.Path = strace
	p.run(w.t)
	code := p.wait(w.t)
	status, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case status.Signaled() && status.Signal() == syscall.SIGKILL:
		return true
	case code != 0:
		w.t.Fatalf("exit code %d at %s %d\n%s", code, call, n, p.log())
	}
	return false
}
