package sshend

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func newKey(t testing.TB) ssh.Signer {
	t.Helper()
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// keyLine is a key as a line of authorized_keys.
func keyLine(s ssh.Signer) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.PublicKey())))
}

func TestParseLine(t *testing.T) {
	key := newKey(t)
	line, print := keyLine(key), ssh.FingerprintSHA256(key.PublicKey())
	for _, c := range []struct {
		line string
		want entry // user "" : refused
	}{
		{line + " ann@laptop", entry{user: "ann@laptop", any: true}},
		{line + " ann of the\tsecond floor ", entry{user: "ann of thesecond floor", any: true}},
		{line, entry{user: print, any: true}},
		{line + " \x1b\u202e\xff", entry{user: print, any: true}},
		{line + " " + strings.Repeat("ä", 100), entry{user: strings.Repeat("ä", 64), any: true}},
		{`restrict,no-pty,no-X11-forwarding,command="jumpget bridge" ` + line + " ann", entry{user: "ann", any: true}},
		{`from="192.0.2.1,2001:db8::/32" ` + line + " ann", entry{user: "ann", from: "192.0.2.1,2001:db8::/32"}},
		{`FROM="192.0.2.0/24",restrict ` + line + " ann", entry{user: "ann", from: "192.0.2.0/24"}},
		{`from="" ` + line, entry{}},
		{`from="*.example.org" ` + line, entry{}},
		{`from="192.0.2.1,!192.0.2.2" ` + line, entry{}},
		{`from="192.0.2.*" ` + line, entry{}},
		{`from="fe80::1%eth0" ` + line, entry{}},
		{`from="192.0.2.1",from="0.0.0.0/0" ` + line, entry{}},
		{`command="rm -rf /" ` + line, entry{}},
		{`command="jumpget bridge --x" ` + line, entry{}},
		{`environment="JUMPGET_USER=root" ` + line, entry{}},
		{`expiry-time="20200101" ` + line, entry{}},
		{`permitopen="127.0.0.1:80" ` + line, entry{}},
		{"cert-authority " + line, entry{}},
		{"no-touch-required " + line, entry{}},
		{"verify-required " + line, entry{}},
		{"no-pty=1 " + line, entry{}},
		{"ssh-ed25519 AAAA", entry{}},
		{"nonsense", entry{}},
	} {
		_, got, err := parseLine([]byte(c.line))
		if (err != nil) != (c.want == entry{}) || err == nil && got != c.want {
			t.Errorf("%s:\ngot %+v, %v", c.line, got, err)
		}
	}
}

// A bad line costs no good one, and is told by its number.
func TestParseKeys(t *testing.T) {
	a, b := newKey(t), newKey(t)
	content := "# mine\n\n" + keyLine(a) + " ann\nrubbish\n" + keyLine(a) + " eve\r\n" + `from="0.0.0.0/0" ` + keyLine(b) + " bob"
	entries, complaints := parseKeys([]byte(content))
	if len(entries) != 2 || entries[string(a.PublicKey().Marshal())].user != "ann" || entries[string(b.PublicKey().Marshal())].user != "bob" {
		t.Errorf("entries %+v", entries)
	}
	if fmt.Sprint(complaints) != "[{4 it is no public key} {5 the same key stands further up}]" {
		t.Errorf("complaints %v", complaints)
	}
}

func FuzzParseKeys(f *testing.F) {
	line := keyLine(newKey(f))
	f.Add([]byte(line + " ann\n"))
	f.Add([]byte(`from="192.0.2.1",restrict ` + line))
	f.Add([]byte(`command="a\"b" ` + line))
	f.Fuzz(func(t *testing.T, content []byte) {
		entries, complaints := parseKeys(content)
		if n := bytes.Count(content, []byte("\n")) + 1; len(entries)+len(complaints) > n {
			t.Errorf("%d lines gave %d entries and %d complaints", n, len(entries), len(complaints))
		}
		for _, e := range entries {
			if e.user == "" || strings.ContainsAny(e.user, "\n\r\x1b") || e.any == (e.from != "") {
				t.Errorf("entry %+v", e)
			}
		}
	})
}

func TestHasUser(t *testing.T) {
	path := filepath.Join(t.TempDir(), "authorized_keys")
	k := &keyring{path: path, log: slog.New(slog.DiscardHandler)}
	write := func(lines ...string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ann, bob := keyLine(newKey(t))+" ann", keyLine(newKey(t))+" bob"
	write(ann, bob)
	if !k.has("ann") || !k.has("bob") || k.has("eve") || k.has("") {
		t.Error("the wrong users are there")
	}
	write(bob)
	if k.has("ann") || !k.has("bob") {
		t.Error("a removed user is there")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if k.has("bob") {
		t.Error("without a file somebody is there")
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if !k.has("bob") {
		t.Error("a file that can't be read removes its users")
	}
}

func TestHostKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	first, err := hostKey(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	again, err := hostKey(path)
	if err != nil || keyLine(first) != keyLine(again) {
		t.Errorf("another key, %v", err)
	}
	if err := makeHostKey(path); err != nil { // a second relay in the same moment
		t.Error(err)
	}
	if again, err = hostKey(path); err != nil || keyLine(first) != keyLine(again) {
		t.Errorf("the key was replaced, %v", err)
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

// A damaged key is told, never replaced: its clients would see a changed one.
func TestHostKeyDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte("half a k"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := hostKey(path); err == nil {
		t.Error("taken")
	}
	if b, _ := os.ReadFile(path); string(b) != "half a k" {
		t.Errorf("it holds %q now", b)
	}
	if _, err := hostKey(filepath.Join(t.TempDir(), "no", "directory")); err == nil {
		t.Error("made without a directory")
	}
	if runtime.GOOS == "windows" {
		return
	}
	open := filepath.Join(t.TempDir(), "key")
	if _, err := hostKey(open); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := hostKey(open); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("readable by others: %v", err)
	}
}
