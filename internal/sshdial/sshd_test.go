//go:build unix

package sshdial

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
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
// and a client config that knows them. The test accepts the connections and gives
// each to a process of its own ("sshd -i"), so no port is guessed, nothing waits
// for a server to come up, and a single connection's server can be killed.
type sshd struct {
	t    *testing.T
	path string
	dir  string
	port int
	pub  string // the host's public key
	l    net.Listener
	log  tail

	mu      sync.Mutex
	running []*exec.Cmd
	served  sync.WaitGroup
}

// startSSHD runs an sshd with more lines of config; it ends with the test.
func startSSHD(t *testing.T, lines ...string) *sshd {
	t.Helper()
	s := &sshd{t: t, path: findSSHD(t), dir: t.TempDir(), l: listen(t)}
	s.port = s.l.Addr().(*net.TCPAddr).Port
	s.pub = writeKey(t, s.file("hostkey"))
	s.write("authorized_keys", writeKey(t, s.file("id")))
	s.write("known_hosts", fmt.Sprintf("[127.0.0.1]:%d %s", s.port, s.pub))
	s.clientConfig()
	s.write("sshd.conf", strings.Join(append(lines,
		"HostKey "+s.file("hostkey"), "AuthorizedKeysFile "+s.file("authorized_keys"),
		"StrictModes no", "UsePAM no", "PidFile none", "PasswordAuthentication no",
		"KbdInteractiveAuthentication no"), "\n"))
	s.served.Go(s.accept)
	t.Cleanup(func() {
		_ = s.l.Close()
		s.kill()
		s.served.Wait()
		if t.Failed() {
			t.Logf("sshd said:\n%s", s.log.String())
		}
	})
	return s
}

func (s *sshd) accept() {
	for {
		c, err := s.l.Accept()
		if err != nil {
			return
		}
		s.serve(c.(*net.TCPConn))
	}
}

// serve gives a connection to an sshd of its own.
func (s *sshd) serve(c *net.TCPConn) {
	f, err := c.File()
	_ = c.Close()
	if err != nil {
		s.t.Error(err)
		return
	}
	defer f.Close()
	cmd := exec.Command(s.path, "-i", "-e", "-f", s.file("sshd.conf"))
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = f, f, &s.log, time.Second
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmd.Start(); err != nil {
		s.t.Error(err)
		return
	}
	s.running = append(s.running, cmd)
	s.served.Go(func() { _ = cmd.Wait() })
}

// kill ends every connection's server at once.
func (s *sshd) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, cmd := range s.running {
		_ = cmd.Process.Kill()
	}
	s.running = nil
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
	cfg.ControlDir = filepath.Join(shortDir(s.t), "a %h") // ssh expands and splits
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
func writeKey(t *testing.T, path string) string { return writeLockedKey(t, path, "") }

// writeLockedKey is writeKey with a passphrase.
func writeLockedKey(t *testing.T, path, passphrase string) string {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(priv, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(priv, "", []byte(passphrase))
	}
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
