//go:build unix

package sshend

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jumpget/jumpget/internal/sshdial"
	"golang.org/x/crypto/ssh"
)

// api serves HTTP/2 on what a Server hands over, as the relay does.
func api(t *testing.T) func(net.Conn, string, netip.Addr) {
	t.Helper()
	srv := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	})}
	srv.Protocols.SetUnencryptedHTTP2(true)
	l := &handover{conns: make(chan net.Conn), done: make(chan struct{})}
	served := make(chan struct{})
	go func() {
		_ = srv.Serve(l)
		close(served)
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-served
	})
	return func(conn net.Conn, _ string, _ netip.Addr) {
		w := &waiter{Conn: conn, closed: make(chan struct{})}
		l.conns <- w
		<-w.closed
	}
}

// handover is a listener for connections that are already there.
type handover struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *handover) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

func (h *handover) Addr() net.Addr { return &net.TCPAddr{} }

// waiter tells when it is closed.
type waiter struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (w *waiter) Close() error {
	w.once.Do(func() { close(w.closed) })
	return w.Conn.Close()
}

// sshFiles writes what the system's ssh needs to enter e, and returns ssh's words.
func (e *endpoint) sshFiles() []string {
	e.t.Helper()
	if _, err := exec.LookPath("ssh"); err != nil {
		e.t.Fatal("this test needs a real ssh: apt install openssh-client")
	}
	dir := e.t.TempDir()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		e.t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		e.t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		e.t.Fatal(err)
	}
	e.authorize(strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) + " ann")
	id, known := filepath.Join(dir, "id"), filepath.Join(dir, "known_hosts")
	for path, content := range map[string]string{id: string(pem.EncodeToMemory(block)), known: e.KnownHosts(e.addr) + "\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			e.t.Fatal(err)
		}
	}
	_, port, _ := net.SplitHostPort(e.addr)
	return []string{
		"ssh", "-F", "none", "-p", port, "-i", id, "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
		"-o", "UserKnownHostsFile=" + known, "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes",
	}
}

func TestOpenSSHThroughSSHDial(t *testing.T) {
	t.Parallel()
	for mode, port := range map[sshdial.Mode]int{sshdial.ModeForward: 4100, sshdial.ModeBridge: 9} {
		t.Run(string(mode), func(t *testing.T) {
			e := start(t, api(t), func(c *Config) { c.LocalPort = port })
			tunnel, err := sshdial.Dial(t.Context(), sshdial.Config{
				Host: "127.0.0.1", Command: strings.Join(e.sshFiles(), " "), Greeting: sshdial.GreetingHTTP2,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer tunnel.Close()
			tr := &http.Transport{
				Protocols:   new(http.Protocols),
				DialContext: func(context.Context, string, string) (net.Conn, error) { return tunnel, nil },
			}
			tr.Protocols.SetUnencryptedHTTP2(true)
			defer tr.CloseIdleConnections()
			const size = 8 << 20 // more than every window on the way
			resp, err := (&http.Client{Transport: tr}).Post("http://relay/", "text/plain", io.LimitReader(rand.Reader, size))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
			if tunnel.Mode() != mode {
				t.Errorf("mode %s", tunnel.Mode())
			}
		})
	}
}

// What the system's own ssh is told, where it asks for more than the API.
func TestOpenSSHIsRefused(t *testing.T) {
	t.Parallel()
	e := start(t, echo)
	words := e.sshFiles()
	for _, c := range []struct {
		name string
		args []string
		want string // in what ssh says
	}{
		{"shell", []string{"127.0.0.1"}, "no shell here"},
		{"shell with a terminal", []string{"-tt", "127.0.0.1"}, "no shell here"},
		{"command", []string{"127.0.0.1", "id"}, "no shell here"},
		{"other command of jumpget", []string{"127.0.0.1", "jumpget", "serve"}, "no shell here"},
		{"subsystem", []string{"-s", "127.0.0.1", "sftp"}, "subsystem request failed"},
		{"other forward", []string{"-W", "127.0.0.1:22", "127.0.0.1"}, "administratively prohibited"},
		{"remote forward", []string{"-N", "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1", "127.0.0.1"}, "remote port forwarding failed"},
		{"agent forward", []string{"-A", "127.0.0.1", "id"}, "no shell here"},
		{"wrong key", []string{"-i", "/nonexistent", "-o", "IdentityFile=none", "-o", "PubkeyAuthentication=no", "127.0.0.1"}, "Permission denied (publickey)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), words[0], append(words[1:len(words):len(words)], c.args...)...).CombinedOutput()
			if err == nil || !strings.Contains(string(out), c.want) {
				t.Errorf("%v, %q", err, out)
			}
		})
	}
	out, err := exec.CommandContext(t.Context(), words[0], append(words[1:len(words):len(words)], "127.0.0.1", "jumpget", "bridge")...).Output()
	if err != nil || string(out) != "ann from 127.0.0.1\n" {
		t.Errorf("bridge: %v, %q", err, out)
	}
	if got := e.Fingerprint(); !strings.HasPrefix(got, "SHA256:") {
		t.Errorf("fingerprint %q", got)
	}
}
