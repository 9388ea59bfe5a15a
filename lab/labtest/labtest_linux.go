// Package labtest lets the lab's tests run in a sandbox of the lab's own, so
// that they use real namespaces and leave nothing behind.
package labtest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/jumpget/jumpget/lab/emu"
	"github.com/jumpget/jumpget/lab/topo"
)

// Main is for TestMain: it runs all tests of a package inside a sandbox, or
// outside where there can be none; Need skips there. It returns the exit code.
func Main(m *testing.M) int {
	if code, done := Emulate(); done {
		return code
	}
	if topo.Inside() {
		if err := topo.PrepareSandbox(); err != nil {
			return fail(err)
		}
		return m.Run()
	}
	if topo.Check() != nil {
		return m.Run()
	}
	code, err := topo.Enter(context.Background(), "")
	if err != nil {
		return fail(err)
	}
	return code
}

// Emulate makes the test's process the emulator if package topo has started it as one.
func Emulate() (code int, done bool) {
	if len(os.Args) != 3 || os.Args[1] != topo.EmulatorCommand {
		return 0, false
	}
	var o emu.Options
	if err := json.Unmarshal([]byte(os.Args[2]), &o); err != nil {
		return fail(err), true
	}
	if err := emu.Serve(o, os.Stdin, os.Stdout); err != nil {
		return fail(err), true
	}
	return 0, true
}

func fail(err error) int {
	_, _ = fmt.Fprintln(os.Stderr, err)
	return 1
}

// Need skips a test that can't run here: without a sandbox, or without a command.
func Need(t *testing.T, commands ...string) {
	t.Helper()
	if err := topo.Check(); err != nil {
		t.Skip(err)
	}
	for _, c := range commands {
		if _, err := exec.LookPath(c); err != nil {
			t.Skipf("the test needs %s: `make bench-setup` installs it", c)
		}
	}
}
