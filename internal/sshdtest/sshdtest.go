// Package sshdtest runs the system's own sshd for tests: on a free loopback
// port, with a host key of its own, without touching the machine's service.
//
// It accepts the connections itself and gives each to a process of its own
// ("sshd -i"), so that no port is guessed and nothing waits for a server to
// come up.
package sshdtest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// ErrMissing says that there is no sshd on this machine.
var ErrMissing = errors.New("there is no sshd on this machine: apt install openssh-server")

// Server is a running sshd.
type Server struct {
	User    string // who can log in: the user who runs the test
	Port    int    // on 127.0.0.1
	HostKey string // in authorized_keys form

	path, conf string
	listener   net.Listener
	log        *os.File
	mu         sync.Mutex
	running    []*exec.Cmd
	served     sync.WaitGroup
}

// Start runs an sshd that lets in the keys of an authorized_keys file, with more
// lines of configuration. What it writes goes to dir. The caller closes it.
func Start(dir, authorizedKeys string, lines ...string) (*Server, error) {
	path, err := find()
	if err != nil {
		return nil, err
	}
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	s := &Server{User: me.Username, path: path, conf: filepath.Join(dir, "sshd_config")}
	key := filepath.Join(dir, "sshd_host_key")
	if s.HostKey, err = MakeKey(key); err != nil {
		return nil, err
	}
	conf := strings.Join(append([]string{
		"HostKey " + key, "AuthorizedKeysFile " + authorizedKeys, "PidFile none", "StrictModes no", "UsePAM no",
		"PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitRootLogin yes",
	}, lines...), "\n") + "\n"
	if err := os.WriteFile(s.conf, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	if s.log, err = os.Create(filepath.Join(dir, "sshd.log")); err != nil {
		return nil, err
	}
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, errors.Join(err, s.log.Close())
	}
	s.Port = s.listener.Addr().(*net.TCPAddr).Port
	s.served.Go(s.accept)
	return s, nil
}

func find() (string, error) {
	for _, name := range []string{"sshd", "/usr/sbin/sshd"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		if os.Getuid() == 0 {
			// Debian's sshd wants this folder, which its service makes at boot.
			err = os.MkdirAll("/run/sshd", 0o755) //nolint:gosec // as Debian makes it
		}
		abs, absErr := filepath.Abs(path) // sshd runs itself again and insists
		return abs, errors.Join(err, absErr)
	}
	return "", ErrMissing
}

func (s *Server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		if err := s.serve(c.(*net.TCPConn)); err != nil {
			_, _ = fmt.Fprintln(s.log, "sshdtest:", err)
		}
	}
}

// serve gives a connection to an sshd of its own.
func (s *Server) serve(c *net.TCPConn) error {
	f, err := c.File()
	err = errors.Join(err, c.Close())
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	cmd := exec.Command(s.path, "-i", "-e", "-f", s.conf)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = f, f, s.log, time.Second
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	s.running = append(s.running, cmd)
	s.served.Go(func() { _ = cmd.Wait() })
	return nil
}

// Drop cuts every connection that stands, as a crash would.
func (s *Server) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, cmd := range s.running {
		_ = cmd.Process.Kill()
	}
	s.running = nil
}

// Close ends the server and its connections.
func (s *Server) Close() {
	_ = s.listener.Close()
	s.Drop()
	s.served.Wait()
	_ = s.log.Close()
}

// MakeKey writes a fresh private key to a file and returns its public half in
// authorized_keys form, without a newline.
func MakeKey(name string) (string, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
		return "", err
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))), nil
}

// Command is an ssh command that knows nothing of the real user's ssh, trusts
// the given host key alone for a port on 127.0.0.1, and shares no connection
// that would outlive a test. known is the file it writes that to.
func Command(known string, port int, hostKey string) (string, error) {
	line := fmt.Sprintf("[127.0.0.1]:%d %s\n", port, strings.TrimSpace(hostKey))
	if err := os.WriteFile(known, []byte(line), 0o600); err != nil {
		return "", err
	}
	return "ssh -F none -o IdentityAgent=none -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes" +
		" -o ControlMaster=no -o ControlPath=none -o GlobalKnownHostsFile=none -o UserKnownHostsFile=" + known, nil
}
