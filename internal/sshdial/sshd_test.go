package sshdial

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// sshd is a real OpenSSH server on a free loopback port, with keys of its own
// and a client config that knows them.
type sshd struct {
	t    *testing.T
	dir  string
	port int
	pub  string // the host's public key
}

// startSSHD runs an sshd with more lines of config; it ends with the test.
func startSSHD(t *testing.T, lines ...string) *sshd {
	t.Helper()
	path := findSSHD(t)
	s := &sshd{t: t, dir: t.TempDir(), port: freePort(t)}
	s.pub = writeKey(t, s.file("hostkey"))
	s.write("authorized_keys", writeKey(t, s.file("id")))
	s.write("known_hosts", fmt.Sprintf("[127.0.0.1]:%d %s", s.port, s.pub))
	s.clientConfig()
	s.write("sshd.conf", strings.Join(append(lines,
		fmt.Sprintf("Port %d", s.port), "ListenAddress 127.0.0.1",
		"HostKey "+s.file("hostkey"), "AuthorizedKeysFile "+s.file("authorized_keys"),
		"StrictModes no", "UsePAM no", "PidFile none", "PasswordAuthentication no",
		"KbdInteractiveAuthentication no", "MaxStartups 100"), "\n"))
	cmd := exec.Command(path, "-D", "-e", "-f", s.file("sshd.conf"))
	var log tail
	cmd.Stderr, cmd.WaitDelay = &log, time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("sshd said:\n%s", log.String())
		}
	})
	s.awaitBanner(&log)
	return s
}

func findSSHD(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("sshd")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/sshd")
	}
	switch {
	case err != nil && runtime.GOOS != "linux":
		t.Skip("there is no sshd on this machine")
	case err != nil:
		t.Fatal("these tests need a real sshd: apt install openssh-server")
	}
	if os.Getuid() == 0 {
		// Debian's sshd wants it, and its service makes it at boot.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// awaitBanner returns once the server has spoken.
func (s *sshd) awaitBanner(log *tail) {
	s.t.Helper()
	for range 200 {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
		if err == nil {
			_, err = io.ReadFull(c, make([]byte, 4))
			_ = c.Close()
		}
		if err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond) // another process tells us nothing else
	}
	s.t.Fatalf("sshd does not answer:\n%s", log.String())
}

// clientConfig writes the file for ssh -F, with more lines for every host.
func (s *sshd) clientConfig(lines ...string) {
	all := append([]string{
		"Host *",
		"IdentitiesOnly yes", "IdentityAgent none",
		"IdentityFile " + s.file("id"),
		"UserKnownHostsFile " + s.file("known_hosts"), "GlobalKnownHostsFile none",
		"StrictHostKeyChecking yes", "UpdateHostKeys no",
	}, lines...)
	s.write("config", strings.Join(all, "\n"))
}

// config dials the server's target without a shared connection.
func (s *sshd) config(target string) Config {
	return Config{
		Host: "127.0.0.1", Port: s.port, User: me(s.t), Target: target, Batch: true,
		Command:  "ssh -F '" + s.file("config") + "'",
		Greeting: GreetingHTTP2, ConnectTimeout: 10 * time.Second,
	}
}

// sharing is config with a control directory; its master ends with the test.
func (s *sshd) sharing(target string) Config {
	cfg := s.config(target)
	cfg.ControlDir = shortDir(s.t)
	s.t.Cleanup(func() { stopMaster(s.t, cfg) })
	return cfg
}

func (s *sshd) file(name string) string { return filepath.Join(s.dir, name) }

func (s *sshd) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(s.file(name), []byte(content+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// bridgeTo is an sshd_config line with a PATH on which a "jumpget" stands that
// joins its streams to addr, after running a line of shell.
func bridgeTo(t *testing.T, addr, shell string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\n[ \"$*\" = bridge ] || exit 99\n%s\n%s=%s exec '%s'\n", shell, bridgeEnv, addr, self)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "jumpget"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return "SetEnv PATH=" + dir + ":/usr/bin:/bin"
}

// noBridgeThere is an sshd_config line with a PATH without any jumpget.
const noBridgeThere = "SetEnv PATH=/usr/bin:/bin"

// writeKey makes a key pair, and returns its public line.
func writeKey(t *testing.T, path string) string {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

func me(t *testing.T) string {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return u.Username
}

// shortDir is a temporary directory whose path leaves room for a socket's.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "jg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func freePort(t *testing.T) int {
	t.Helper()
	l := listen(t)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// wire is a TCP relay in front of a port that can be cut or frozen.
type wire struct {
	l      net.Listener
	mu     sync.Mutex
	conns  []net.Conn
	joined sync.WaitGroup
}

func newWire(t *testing.T, port int) *wire {
	w := &wire{l: listen(t)}
	w.joined.Go(func() {
		for {
			a, err := w.l.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				_ = a.Close()
				continue
			}
			w.join(a, b)
		}
	})
	t.Cleanup(func() {
		_ = w.l.Close()
		w.cut()
		w.joined.Wait()
	})
	return w
}

func (w *wire) join(a, b net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns = append(w.conns, a, b)
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		w.joined.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			_, _ = a.Close(), b.Close()
		})
	}
}

func (w *wire) port() int { return w.l.Addr().(*net.TCPAddr).Port }

// cut closes all that passes now.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}
