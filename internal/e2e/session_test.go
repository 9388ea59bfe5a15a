package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

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
	check(t, os.WriteFile(w.file("ssh.sh"), []byte(script), 0o700))
	w.command = w.file("ssh.sh") + strings.TrimPrefix(w.command, "ssh")
	w.origin.Add(origintest.File{Path: "/f.bin", Data: w.data, ETag: `"1"`})
	return w
}

// fetch brings the file and returns how often ssh was started for it.
func (w *sessionWorld) fetch(args ...string) int {
	w.t.Helper()
	ssh, _ := w.said(args...)
	return ssh
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

// said runs a client to its end like fetch, and returns what it told as well.
func (w *sessionWorld) said(args ...string) (ssh int, text string) {
	w.t.Helper()
	out := w.file("out.bin")
	check(w.t, os.RemoveAll(out))
	before := w.sshRuns()
	p := w.client(append([]string{"-o", out, w.origin.URL("/f.bin")}, args...)...)
	if code := p.wait(w.t); code != 0 {
		w.t.Fatalf("exit code %d\n%s\n--- relay ---\n%s", code, p.log(), w.relay.log())
	}
	got, err := os.ReadFile(out)
	check(w.t, err)
	if !bytes.Equal(got, w.data) {
		w.t.Errorf("%d wrong bytes", len(got))
	}
	return w.sshRuns() - before, p.log()
}

// id is that of the session that is kept.
func (w *sessionWorld) id() (id string) {
	w.edit(func(m map[string]any) { id, _ = m["id"].(string) })
	return id
}

// ids are those of the user's sessions at the relay.
func (w *sessionWorld) ids() []string {
	w.t.Helper()
	var ids []string
	for line := range strings.Lines(w.get("sessions", "--json")) {
		var s struct{ ID string }
		check(w.t, json.Unmarshal([]byte(line), &s))
		ids = append(ids, s.ID)
	}
	return ids
}

// endpoints changes those of the session's file.
func endpoints(m map[string]any, change func(e map[string]any)) {
	for _, e := range m["endpoints"].([]any) {
		change(e.(map[string]any))
	}
}

// What is wrong with a session that is kept costs one run over ssh, which brings
// the file all the same, and another session.
func TestSessionsThatDoNotServe(t *testing.T) {
	w := newSessionWorld(t)
	w.fetch()
	day := func(m map[string]any, field string, off time.Duration) {
		at, err := time.Parse(time.RFC3339, m[field].(string))
		check(t, err)
		m[field] = at.Add(off).Format(time.RFC3339)
	}
	for name, c := range map[string]struct {
		spoil func()
		ssh   bool   // is used
		same  bool   // the session stays
		told  string // to the user; empty: nothing of sessions
	}{
		"over": {spoil: func() { w.edit(func(m map[string]any) { day(m, "expires", -24*time.Hour) }) }, ssh: true},
		"over, by a clock that is a day off as it was": {spoil: func() {
			w.edit(func(m map[string]any) {
				day(m, "expires", -24*time.Hour)
				day(m, "until", -24*time.Hour)
				m["clock_off"] = -86400
			})
		}, same: true},
		"revoked elsewhere": {spoil: func() {
			b, err := os.ReadFile(w.kept())
			check(t, err)
			name := w.kept()
			w.get("sessions", "revoke", "--all")
			check(t, os.WriteFile(name, b, 0o600))
		}, ssh: true},
		"others can read it": {spoil: func() { check(t, os.Chmod(w.kept(), 0o644)) }, ssh: true, told: "others can read it"},
		"damaged":            {spoil: func() { check(t, os.WriteFile(w.kept(), []byte("{"), 0o600)) }, ssh: true, told: "it is damaged"},
		"another certificate": {spoil: func() {
			w.edit(func(m map[string]any) {
				endpoints(m, func(e map[string]any) {
					if e["scheme"] == "https" {
						e["pin"] = strings.Repeat("0", 64)
					} else {
						e["port"] = freePort(t)
					}
				})
			})
		}, ssh: true, told: "the certificate shown by"},
		"UDP is blocked": {spoil: func() {
			w.edit(func(m map[string]any) {
				endpoints(m, func(e map[string]any) {
					if e["scheme"] == "udp" {
						e["port"] = freePort(t)
					}
				})
			})
		}, same: true},
		"both are blocked": {spoil: func() {
			w.edit(func(m map[string]any) { endpoints(m, func(e map[string]any) { e["port"] = freePort(t) }) })
		}, ssh: true, same: true},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			check(t, os.RemoveAll(filepath.Dir(w.kept())))
			w.fetch() // a session that is as it should be
			old := w.id()
			c.spoil()
			ssh, text := w.said()
			if ssh > 0 != c.ssh {
				t.Errorf("ssh was started %d times", ssh)
			}
			if fresh := w.id(); (fresh == old) != c.same {
				t.Errorf("session %s, then %s", old, fresh)
			}
			if c.told == "" && strings.Contains(text, "session") || !strings.Contains(text, c.told) {
				t.Errorf("told: %q", text)
			}
			if c.same {
				return
			}
			if n := w.fetch(); n != 0 {
				t.Errorf("then ssh was started %d times", n)
			}
		})
	}
	w.t = t
}

// A session that others may have read is ended at the relay, too.
func TestExposedSessionIsRevoked(t *testing.T) {
	w := newSessionWorld(t)
	w.fetch()
	old := w.id()
	check(t, os.Chmod(w.kept(), 0o644))
	w.fetch()
	if ids := w.ids(); slices.Contains(ids, old) || !slices.Contains(ids, w.id()) {
		t.Errorf("sessions %v; the exposed one was %s", ids, old)
	}
}

// Revoked in mid-file: streams and tokens end, and the client goes on over ssh.
func TestSessionRevokedInMidFile(t *testing.T) {
	for _, path := range []string{"auto", "udp", "tcp"} {
		t.Run(path, func(t *testing.T) {
			w := newSessionWorld(t)
			w.fetch()
			out := w.file("slow.bin")
			p := w.client("-o", out, "--limit-rate", "700k", "-v", "--json", "--path", path, w.origin.URL("/f.bin"))
			w.await(p, 300<<10)
			w.get("sessions", "revoke", "--all")
			if code := p.wait(t); code != 0 {
				t.Fatalf("exit code %d\n%s\n--- relay ---\n%s", code, p.log(), w.relay.log())
			}
			if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, w.data) {
				t.Errorf("%d wrong bytes, %v", len(got), err)
			}
			if !strings.Contains(p.out.String(), "way=ssh") && !strings.Contains(p.out.String(), "does not take the session") {
				t.Errorf("nothing was revoked:\n%s", p.out.String())
			}
		})
	}
}

var haveField = regexp.MustCompile(`"have":(\d+)`)

// await waits until a client that tells its progress in JSON has so many bytes.
func (w *sessionWorld) await(p *process, bytes int64) {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		for _, m := range haveField.FindAllStringSubmatch(p.out.String(), -1) {
			if have, err := strconv.ParseInt(m[1], 10, 64); err == nil && have >= bytes {
				return
			}
		}
		if p.exited() || time.Now().After(deadline) {
			w.t.Fatalf("it does not get there:\n%s%s", p.out.String(), p.log())
		}
		time.Sleep(5 * time.Millisecond) // it is another process; there is nothing to wait on
	}
}

// Two clients use one session at the same time.
func TestTwoClientsInOneSession(t *testing.T) {
	w := newSessionWorld(t)
	w.fetch()
	before := w.sshRuns()
	a := w.client("-o", w.file("a"), w.origin.URL("/f.bin"))
	b := w.client("-o", w.file("b"), w.origin.URL("/f.bin"))
	if ca, cb := a.wait(t), b.wait(t); ca != 0 || cb != 0 || w.sshRuns() != before {
		t.Errorf("exit codes %d, %d; ssh was started %d times\n%s%s", ca, cb, w.sshRuns()-before, a.log(), b.log())
	}
	if sumOf(t, w.file("a")) != sumOf(t, w.file("b")) {
		t.Error("the files differ")
	}
}

// The relay is restarted: the session counts on. It gives none any more: the one
// that there was ends, and nobody asks for another.
func TestSessionAndItsRelay(t *testing.T) {
	w := newSessionWorld(t)
	w.fetch()
	w.relay.kill()
	w.startRelay()
	if n := w.fetch(); n != 0 {
		t.Errorf("after a restart ssh was started %d times", n)
	}
	old := w.id()

	// Installed anew, it has another certificate, which ssh vouches for.
	w.relay.kill()
	check(t, os.RemoveAll(w.file("relay")))
	w.startRelay()
	n, text := w.said()
	if n == 0 || !strings.Contains(text, "the certificate shown by") {
		t.Errorf("ssh was started %d times, and told was %q", n, text)
	}
	if w.id() == old {
		t.Error("the session of the relay that is gone is kept")
	}
	if n := w.fetch(); n != 0 {
		t.Errorf("in the new session ssh was started %d times", n)
	}

	w.relay.kill()
	w.serve = []string{"--sessions", "off"}
	w.startRelay()
	for range 2 {
		if n, text := w.said(); n == 0 || strings.Contains(text, "session") {
			t.Errorf("ssh was started %d times, and told was %q", n, text)
		}
	}
	var declined bool
	w.edit(func(m map[string]any) { declined = m["declined"] != nil })
	if !declined {
		t.Error("it would be asked again and again")
	}
}
