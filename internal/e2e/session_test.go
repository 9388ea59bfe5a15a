package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jumpget/jumpget/internal/origintest"
)

// sessionWorld is a world behind a real sshd whose clients' uses of ssh are
// counted.
type sessionWorld struct {
	*world
	data []byte
}

func newSessionWorld(t *testing.T) *sessionWorld {
	t.Helper()
	w := &sessionWorld{world: newWorld(t, true), data: bytes.Repeat([]byte("0123456789abcdef"), 128<<10)}
	script := "#!/bin/sh\necho \"$@\" >>" + w.file("ssh.log") + "\nexec ssh \"$@\"\n"
	check(t, os.WriteFile(w.file("ssh.sh"), []byte(script), 0o700)) //nolint:gosec // a script needs its x
	w.command = w.file("ssh.sh") + strings.TrimPrefix(w.command, "ssh")
	w.origin.Add(origintest.File{Path: "/f.bin", Data: w.data, ETag: `"1"`})
	return w
}

// fetch brings the file and returns how often ssh was started for it.
func (w *sessionWorld) fetch(args ...string) int {
	w.t.Helper()
	out := w.file("out.bin")
	check(w.t, os.RemoveAll(out))
	before := w.sshRuns()
	w.get(append([]string{"-o", out, w.origin.URL("/f.bin")}, args...)...)
	got, err := os.ReadFile(out)
	check(w.t, err)
	if !bytes.Equal(got, w.data) {
		w.t.Errorf("%d wrong bytes", len(got))
	}
	return w.sshRuns() - before
}

func (w *sessionWorld) sshRuns() int {
	b, err := os.ReadFile(w.file("ssh.log"))
	if err != nil && !os.IsNotExist(err) {
		w.t.Fatal(err)
	}
	return bytes.Count(b, []byte("\n"))
}

// kept is the session's file; "" if there is none.
func (w *sessionWorld) kept() string {
	w.t.Helper()
	names, err := filepath.Glob(w.file("state/jumpget/sessions/*.json"))
	check(w.t, err)
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

// edit changes a field of the session's file.
func (w *sessionWorld) edit(change func(map[string]any)) {
	w.t.Helper()
	b, err := os.ReadFile(w.kept())
	check(w.t, err)
	var m map[string]any
	check(w.t, json.Unmarshal(b, &m))
	change(m)
	b, err = json.Marshal(m)
	check(w.t, err)
	check(w.t, os.WriteFile(w.kept(), b, 0o600))
}

// The first run logs in and gets a session; the next ones start no ssh at all.
func TestSessionNeedsNoSSH(t *testing.T) {
	w := newSessionWorld(t)
	if n := w.fetch(); n == 0 {
		t.Fatal("the first run started no ssh")
	}
	if w.kept() == "" {
		t.Fatalf("no session is kept\n--- relay ---\n%s", w.relay.log())
	}
	if info, err := os.Stat(w.kept()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the session's file has mode %v, %v", info.Mode(), err)
	}
	for range 2 {
		if n := w.fetch(); n != 0 {
			t.Errorf("ssh was started %d times in a session", n)
		}
	}
	for _, path := range []string{"udp", "tcp"} {
		if n := w.fetch("--path", path); n != 0 {
			t.Errorf("over %s ssh was started %d times", path, n)
		}
	}
	if n := w.fetch("--no-session"); n == 0 {
		t.Error("--no-session started no ssh")
	}
	if n := w.fetch("--path", "ssh"); n == 0 {
		t.Error("--path ssh started no ssh")
	}
}
