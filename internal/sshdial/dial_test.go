//go:build unix

package sshdial

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// relay is an HTTP/2 server that stands for the local API; /slow answers a byte
// and then nothing until its client is gone.
func relay(t *testing.T) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "relay")
		if r.URL.Path == "/slow" {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// open dials and makes an HTTP client of the tunnel; both end with the test.
func open(t *testing.T, cfg Config) (*Tunnel, *http.Client) {
	t.Helper()
	tunnel, err := Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{
		Protocols:   new(http.Protocols),
		DialContext: func(context.Context, string, string) (net.Conn, error) { return tunnel, nil },
	}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		closeTunnel(t, tunnel)
	})
	return tunnel, &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

func closeTunnel(t *testing.T, tunnel *Tunnel) {
	t.Helper()
	if err := tunnel.Close(); err != nil {
		t.Error(err)
	}
	tunnel.mu.Lock()
	defer tunnel.mu.Unlock()
	if tunnel.by != nil && tunnel.by.proc.cmd.ProcessState == nil {
		t.Error("Close left ssh unreaped")
	}
}

// hello asks the relay for its word.
func hello(client *http.Client) error {
	resp, err := client.Get("http://relay/")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && string(body) != "relay" {
		err = fmt.Errorf("got %q", body)
	}
	return err
}

// mustReach dials, says hello, and checks the way it went.
func mustReach(t *testing.T, cfg Config, mode Mode, reused bool) *Tunnel {
	t.Helper()
	tunnel, client := open(t, cfg)
	if err := hello(client); err != nil {
		t.Fatal(err, "\n", detailOf(err))
	}
	if tunnel.Mode() != mode || tunnel.Reused() != reused {
		t.Errorf("mode %s, reused %v; want %s, %v", tunnel.Mode(), tunnel.Reused(), mode, reused)
	}
	return tunnel
}

// mustFail dials and says hello in vain; each word has to stand in the message,
// hint or detail.
func mustFail(t *testing.T, cfg Config, kind Kind, words ...string) {
	t.Helper()
	tunnel, err := Dial(t.Context(), cfg)
	if err == nil {
		defer closeTunnel(t, tunnel)
		_ = tunnel.SetDeadline(time.Now().Add(30 * time.Second))
		_, err = tunnel.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"))
		if err == nil {
			_, err = tunnel.Read(make([]byte, 1))
		}
	}
	var e *Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Fatalf("got %v (%s), want an Error of kind %s", err, detailOf(err), kind)
	}
	all := e.Message + "\n" + e.Hint + "\n" + e.Detail
	for _, w := range words {
		if !strings.Contains(all, w) {
			t.Errorf("%q is missing in:\n%s", w, all)
		}
	}
	if e.Message == "" || e.Hint == "" || strings.ContainsAny(e.Message+e.Hint, "\n\r\x1b") {
		t.Errorf("unfit for a person: %q, %q", e.Message, e.Hint)
	}
}

func detailOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return string(e.Kind) + ": " + e.Detail
	}
	return fmt.Sprintf("%T", err)
}

// nothing is an address where nobody listens.
func nothing(t *testing.T) string { return fmt.Sprintf("127.0.0.1:%d", freePort(t)) }

func TestForward(t *testing.T) {
	t.Parallel()
	s := startSSHD(t)
	target := relay(t)
	mustReach(t, s.config(target), ModeForward, false)

	t.Run("port and key in the ssh command", func(t *testing.T) {
		s.write("config2", "UserKnownHostsFile "+s.file("known_hosts"))
		cfg := s.config(target)
		cfg.Port = 0
		cfg.Command = fmt.Sprintf(`ssh -F %s -p %d -i "%s"`, s.file("config2"), s.port, s.file("id"))
		mustReach(t, cfg, ModeForward, false)
	})
	t.Run("identity", func(t *testing.T) {
		s.write("config3", "UserKnownHostsFile "+s.file("known_hosts"))
		cfg := s.config(target)
		cfg.Command, cfg.Identity = "ssh -F "+s.file("config3"), s.file("id")
		mustReach(t, cfg, ModeForward, false)
	})
	t.Run("what the user's config would add is switched off", func(t *testing.T) {
		taken := listen(t).Addr().(*net.TCPAddr).Port
		s.clientConfig("RemoteCommand echo noise", "RequestTTY yes", "PermitLocalCommand yes",
			"LocalCommand echo noise", "ExitOnForwardFailure yes", "LogLevel QUIET",
			fmt.Sprintf("LocalForward %d 127.0.0.1:1", taken))
		defer s.clientConfig()
		mustReach(t, s.config(target), ModeForward, false)
	})
	t.Run("jump host", func(t *testing.T) {
		s.clientConfig("User "+me(t), fmt.Sprintf("Port %d", s.port),
			"Host behind", "HostName 127.0.0.1", "ProxyJump 127.0.0.1")
		defer s.clientConfig()
		cfg := s.config(target)
		cfg.Host, cfg.Port = "behind", 0
		tunnel := mustReach(t, cfg, ModeForward, false)
		if !tunnel.Host().ProxyJump {
			t.Error("the jump host is not told")
		}
	})
}

func TestBridge(t *testing.T) {
	t.Parallel()
	target := relay(t)
	s := startSSHD(t, "AllowTcpForwarding no", bridgeTo(t, target, ""))
	t.Run("forwarding refused", func(t *testing.T) { mustReach(t, s.config(target), ModeBridge, false) })
	t.Run("forwarding refused over a master", func(t *testing.T) {
		cfg := s.sharing(target)
		mustReach(t, cfg, ModeBridge, false)
		mustReach(t, cfg, ModeBridge, true)
	})
	t.Run("nothing listens", func(t *testing.T) {
		s := startSSHD(t, bridgeTo(t, target, ""))
		mustReach(t, s.config(nothing(t)), ModeBridge, false)
	})
	t.Run("another server listens", func(t *testing.T) {
		other := httptest.NewServer(http.NotFoundHandler())
		defer other.Close()
		s := startSSHD(t, bridgeTo(t, target, ""))
		mustReach(t, s.config(other.Listener.Addr().String()), ModeBridge, false)
	})
	t.Run("no relay behind it", func(t *testing.T) {
		s := startSSHD(t, bridgeTo(t, nothing(t), ""))
		mustFail(t, s.config(nothing(t)), NoRelay, "did not reach a relay", "no relay answers here", "jumpget serve")
	})
	t.Run("the remote shell talks", func(t *testing.T) {
		s := startSSHD(t, "AllowTcpForwarding no", bridgeTo(t, target, "echo Welcome to my machine"))
		mustFail(t, s.config(target), ForwardRefused, "Welcome to my machine")
	})
}

func TestNoWayToTheRelay(t *testing.T) {
	t.Parallel()
	target := relay(t)
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprintf("shared %v", shared), func(t *testing.T) {
			config := func(s *sshd, target string) Config {
				if shared {
					return s.sharing(target)
				}
				return s.config(target)
			}
			s := startSSHD(t, noBridgeThere)
			mustFail(t, config(s, nothing(t)), NoRelay, "no relay listens at", "jumpget serve")
			s = startSSHD(t, noBridgeThere, "AllowTcpForwarding no", "Banner /etc/passwd")
			mustFail(t, config(s, target), ForwardRefused, "allows no forwarding", "AllowTcpForwarding")
		})
	}
	t.Run("another server", func(t *testing.T) {
		other := httptest.NewServer(http.NotFoundHandler())
		defer other.Close()
		s := startSSHD(t, noBridgeThere)
		mustFail(t, s.config(other.Listener.Addr().String()), NoRelay, "is no relay", "--local-port")
	})
	t.Run("it hangs up", func(t *testing.T) {
		l := listen(t)
		go func() {
			if c, err := l.Accept(); err == nil {
				_ = c.Close()
			}
		}()
		s := startSSHD(t, noBridgeThere)
		mustFail(t, s.config(l.Addr().String()), NoRelay, "hung up")
	})
}

func TestLoginFailures(t *testing.T) {
	t.Parallel()
	s := startSSHD(t)
	target := relay(t)
	t.Run("changed host key", func(t *testing.T) {
		other := writeKey(t, s.file("other"))
		s.write("known_hosts", fmt.Sprintf("[127.0.0.1]:%d %s", s.port, other))
		defer s.write("known_hosts", fmt.Sprintf("[127.0.0.1]:%d %s", s.port, s.pub))
		mustFail(t, s.config(target), HostKeyChanged, "has changed", fmt.Sprintf("ssh-keygen -R '[127.0.0.1]:%d'", s.port))
	})
	t.Run("unknown host key", func(t *testing.T) {
		s.write("known_hosts", "")
		defer s.write("known_hosts", fmt.Sprintf("[127.0.0.1]:%d %s", s.port, s.pub))
		mustFail(t, s.config(target), HostKeyUnknown, "not known yet", fmt.Sprintf("ssh -p %d %s@127.0.0.1", s.port, me(t)))
	})
	t.Run("unauthorised key", func(t *testing.T) {
		cfg := s.config(target)
		writeKey(t, s.file("stranger"))
		s.write("config4", "IdentitiesOnly yes\nUserKnownHostsFile "+s.file("known_hosts"))
		cfg.Command, cfg.Identity = "ssh -F "+s.file("config4"), s.file("stranger")
		mustFail(t, cfg, AuthRefused, "does not accept this login", "--identity")
	})
	t.Run("wrong port", func(t *testing.T) {
		cfg := s.config(target)
		cfg.Port = freePort(t)
		mustFail(t, cfg, Unreachable, "refuses connections")
	})
	t.Run("unknown host", func(t *testing.T) {
		cfg := s.config(target)
		cfg.Host = strings.Repeat("a", 64) + ".invalid" // too long a label: asked of no name server
		mustFail(t, cfg, Unreachable, "is not known")
	})
	t.Run("no ssh server", func(t *testing.T) {
		cfg := s.config(target)
		_, port, _ := net.SplitHostPort(target)
		cfg.Port, _ = strconv.Atoi(port)
		mustFail(t, cfg, Cut, "before the login")
	})
	t.Run("jump host refuses", func(t *testing.T) {
		jump := startSSHD(t, "AllowTcpForwarding no")
		s.write("known_hosts", fmt.Sprintf("[127.0.0.1]:%d %s", jump.port, jump.pub))
		s.write("authorized_keys", "")
		s.clientConfig("User "+me(t), "Host behind", "HostName 127.0.0.1", fmt.Sprintf("Port %d", s.port),
			fmt.Sprintf("ProxyCommand ssh -F '%s' -W %%h:%%p -p %d 127.0.0.1", jump.file("config"), jump.port))
		cfg := s.config(target)
		cfg.Host, cfg.Port = "behind", 0
		mustFail(t, cfg, Cut, "jump host", "administratively prohibited")
	})
	t.Run("bad option in ssh's config", func(t *testing.T) {
		s.write("config5", "NoSuchOption yes")
		cfg := s.config(target)
		cfg.Command = "ssh -F " + s.file("config5")
		mustFail(t, cfg, BadCommand, "config", "nosuchoption")
	})
}

func TestConnectionDies(t *testing.T) {
	t.Parallel()
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprintf("shared %v", shared), func(t *testing.T) {
			s := startSSHD(t)
			cfg := s.config(relay(t))
			if shared {
				cfg = s.sharing(cfg.Target)
			}
			_, client := open(t, cfg)
			resp, err := client.Get("http://relay/slow")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			s.kill()
			_, err = io.ReadAll(resp.Body)
			if !errors.Is(err, &Error{Kind: Died}) {
				t.Fatalf("got %v (%s), want Died", err, detailOf(err))
			}
			mustReach(t, cfg, ModeForward, false)
		})
	}
}

func TestSharedConnection(t *testing.T) {
	t.Parallel()
	s := startSSHD(t)
	cfg := s.sharing(relay(t))
	first := mustReach(t, cfg, ModeForward, false)
	mustReach(t, cfg, ModeForward, true)
	closeTunnel(t, first)
	if alive, err := MasterAlive(t.Context(), cfg); err != nil || !alive {
		t.Fatalf("master alive: %v, %v", alive, err)
	}
	mustReach(t, cfg, ModeForward, true)

	other := cfg
	other.Batch = false // how we ask is no part of whom we ask
	if !mustPlan(t, other).masterStands() {
		t.Error("the same destination has another socket")
	}
	other.User = "somebody-else"
	if mustPlan(t, other).masterStands() {
		t.Error("another user goes over the same connection")
	}

	stopMaster(t, cfg)
	if alive, err := MasterAlive(t.Context(), cfg); err != nil || alive {
		t.Fatalf("master alive after StopMaster: %v, %v", alive, err)
	}
	if err := StopMaster(t.Context(), cfg); err != nil {
		t.Errorf("stopping no master: %v", err)
	}
	mustReach(t, cfg, ModeForward, false)
}

// A session that runs a command is what makes sshd answer without delay.
func TestSharedConnectionIsHastened(t *testing.T) {
	t.Parallel()
	s := startSSHD(t, "LogLevel VERBOSE")
	mustReach(t, s.sharing(relay(t)), ModeForward, false)
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(s.log.String(), "Starting session: command"); {
		if time.Now().After(deadline) {
			t.Fatal("no session has run a command")
		}
		time.Sleep(5 * time.Millisecond) // sshd tells nobody when
	}
}

func TestDeadMaster(t *testing.T) {
	t.Parallel()
	target := relay(t)
	t.Run("killed", func(t *testing.T) {
		s := startSSHD(t)
		cfg := s.sharing(target)
		mustReach(t, cfg, ModeForward, false)
		signalMaster(t, cfg, syscall.SIGKILL)
		mustReach(t, cfg, ModeForward, false)
		mustReach(t, cfg, ModeForward, true)
	})
	t.Run("silent", func(t *testing.T) {
		s := startSSHD(t)
		cfg := s.sharing(target)
		cfg.StaleAfter = 500 * time.Millisecond
		mustReach(t, cfg, ModeForward, false)
		silenceMaster(t, cfg)
		mustReach(t, cfg, ModeForward, false)
		mustReach(t, cfg, ModeForward, true)
	})
	t.Run("slow", func(t *testing.T) { // whichever of the two is answered first
		s := startSSHD(t)
		cfg := s.sharing(target)
		cfg.StaleAfter = 100 * time.Millisecond
		mustReach(t, cfg, ModeForward, false)
		pid := silenceMaster(t, cfg)
		time.AfterFunc(2*cfg.StaleAfter, func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
		_, client := open(t, cfg)
		if err := hello(client); err != nil {
			t.Fatal(err, "\n", detailOf(err))
		}
	})
	t.Run("silent, and the fresh one fails", func(t *testing.T) {
		s := startSSHD(t)
		cfg := s.sharing(target)
		cfg.StaleAfter = 100 * time.Millisecond
		mustReach(t, cfg, ModeForward, false)
		silenceMaster(t, cfg)
		if err := s.l.Close(); err != nil { // nobody lets us in any more
			t.Fatal(err)
		}
		mustFail(t, cfg, Unreachable)
	})
}

func TestUsersOwnSharing(t *testing.T) {
	t.Parallel()
	s := startSSHD(t)
	dir := shortDir(t)
	s.clientConfig("ControlMaster auto", "ControlPersist 60", "ControlPath "+dir+"/%C")
	cfg := s.config(relay(t))
	cfg.ControlDir = shortDir(t)
	mustReach(t, cfg, ModeForward, false)
	users := mustPlan(t, cfg)
	t.Cleanup(func() { _, _ = users.control(context.Background(), "exit") })
	mustReach(t, cfg, ModeForward, true)
	if err := StopMaster(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	mustReach(t, cfg, ModeForward, true)
	if ours, err := os.ReadDir(cfg.ControlDir); err != nil || len(ours) > 0 {
		t.Errorf("our directory holds %v, %v", ours, err)
	}

	cfg.Command += " -S none"
	mustReach(t, cfg, ModeForward, false)
}

func TestResolve(t *testing.T) {
	t.Parallel()
	s := startSSHD(t)
	s.clientConfig("Host alias", "HostName 192.0.2.1", "Port 2222", "User ann", "ProxyJump other")
	cfg := s.config("")
	cfg.Host, cfg.Port, cfg.User = "alias", 0, ""
	got, err := Resolve(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got.Alias != "alias" || got.Hostname != "192.0.2.1" || got.Port != 2222 || got.User != "ann" || !got.ProxyJump {
		t.Errorf("got %+v", got)
	}
	cfg.Host = "127.0.0.1"
	if got, err = Resolve(t.Context(), cfg); err != nil || got.ProxyJump || got.Port != 22 {
		t.Errorf("got %+v, %v", got, err)
	}
}

// A server that never says a word must hold nobody who wants to leave.
func TestLeaving(t *testing.T) {
	t.Parallel()
	s := startSSHD(t)
	mute := listen(t)
	cfg := s.config("")
	cfg.Port = mute.Addr().(*net.TCPAddr).Port
	t.Run("Close", func(t *testing.T) {
		tunnel, err := Dial(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		read := make(chan error)
		go func() {
			_, err := tunnel.Read(make([]byte, 1))
			read <- err
		}()
		closeTunnel(t, tunnel)
		if err := <-read; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read: %v", err)
		}
		if _, err := tunnel.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write: %v", err)
		}
		closeTunnel(t, tunnel)
	})
	t.Run("context", func(t *testing.T) {
		why := errors.New("interrupted")
		ctx, cancel := context.WithCancelCause(t.Context())
		tunnel, err := Dial(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer closeTunnel(t, tunnel)
		cancel(why)
		if _, err := tunnel.Read(make([]byte, 1)); !errors.Is(err, why) {
			t.Errorf("Read: %v", err)
		}
	})
	t.Run("deadlines", func(t *testing.T) {
		tunnel, err := Dial(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer closeTunnel(t, tunnel)
		if err := tunnel.SetDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := tunnel.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read: %v", err)
		}
		if err := tunnel.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if n, err := tunnel.Write(make([]byte, maxKept)); n != maxKept || err != nil {
			t.Errorf("Write: %d, %v", n, err)
		}
		if err := tunnel.SetWriteDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := tunnel.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write: %v", err)
		}
	})
	t.Run("context of a tunnel that stands", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cfg := s.sharing(relay(t))
		mustReach(t, cfg, ModeForward, false)
		tunnel, err := Dial(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer closeTunnel(t, tunnel)
		if _, err := tunnel.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
			t.Fatal(err)
		}
		if err := tunnel.Confirm(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := tunnel.SetReadDeadline(time.Now()); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, tunnel); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read: %v", err)
		}
		if err := tunnel.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		cancel()
		if _, err := io.Copy(io.Discard, tunnel); !errors.Is(err, context.Canceled) {
			t.Errorf("Read: %v", err)
		}
	})
}

// More bytes than the tunnel keeps go both ways in order, also when the bridge
// gets them after a forward failed, and the end of the relay's side is io.EOF.
func TestBytes(t *testing.T) {
	t.Parallel()
	l := listen(t)
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.CopyN(c, c, int64(len(data)))
			}()
		}
	}()
	for _, mode := range []Mode{ModeForward, ModeBridge} {
		t.Run(string(mode), func(t *testing.T) {
			allow := map[Mode]string{ModeForward: "yes", ModeBridge: "no"}[mode]
			s := startSSHD(t, "AllowTcpForwarding "+allow, bridgeTo(t, l.Addr().String(), ""))
			cfg := s.config(l.Addr().String())
			cfg.Greeting = nil
			tunnel, err := Dial(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer closeTunnel(t, tunnel)
			wrote := make(chan error)
			go func() {
				for rest := data; len(rest) > 0; rest = rest[10000:] {
					if len(rest) < 10000 {
						_, err := tunnel.Write(rest)
						wrote <- err
						return
					}
					if _, err := tunnel.Write(rest[:10000]); err != nil {
						wrote <- err
						return
					}
				}
			}()
			got, err := io.ReadAll(tunnel)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d of %d bytes, %v", len(got), len(data), err)
			}
			if err := <-wrote; err != nil {
				t.Errorf("Write: %v", err)
			}
			if tunnel.Mode() != mode {
				t.Errorf("mode %s", tunnel.Mode())
			}
		})
	}
}

// A key's passphrase is asked for, unless Batch forbids it.
func TestPrompt(t *testing.T) {
	t.Parallel()
	s := startSSHD(t)
	s.write("authorized_keys", writeLockedKey(t, s.file("id"), "correct horse"))
	s.write("askpass", "#!/bin/sh\necho correct horse")
	if err := os.Chmod(s.file("askpass"), 0o700); err != nil {
		t.Fatal(err)
	}
	cfg := s.config(relay(t))
	cfg.Env = append(os.Environ(), "SSH_ASKPASS="+s.file("askpass"), "SSH_ASKPASS_REQUIRE=force")
	mustFail(t, cfg, AuthRefused)
	cfg.Batch = false
	mustReach(t, cfg, ModeForward, false)
}

func TestNoSSH(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	mustFail(t, Config{Host: "relay"}, NoSSH, "no ssh program")
	mustFail(t, Config{Host: "relay", Command: "nossh -p 1"}, BadCommand, "nossh")
}

func mustPlan(t *testing.T, cfg Config) *plan {
	t.Helper()
	p, err := newPlan(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func stopMaster(t *testing.T, cfg Config) {
	t.Helper()
	if err := StopMaster(context.Background(), cfg); err != nil {
		t.Error(err)
	}
}

var masterPID = regexp.MustCompile(`pid=(\d+)`)

// silenceMaster lets the master of a shared connection say nothing any more; it ends
// with the test.
func silenceMaster(t *testing.T, cfg Config) (pid int) {
	t.Helper()
	pid = signalMaster(t, cfg, syscall.SIGSTOP)
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	return pid
}

// signalMaster signals the master of a shared connection, and waits for the end
// of one that it kills.
func signalMaster(t *testing.T, cfg Config, sig syscall.Signal) int {
	t.Helper()
	a, err := mustPlan(t, cfg).control(t.Context(), "check")
	m := masterPID.FindStringSubmatch(a.stderr)
	if err != nil || m == nil {
		t.Fatalf("no master: %v %s", err, a.stderr)
	}
	pid, err := strconv.Atoi(m[1])
	if err == nil {
		err = syscall.Kill(pid, sig)
	}
	if err != nil {
		t.Fatal(err)
	}
	for sig == syscall.SIGKILL && socketAnswers(mustPlan(t, cfg).socket) {
		time.Sleep(time.Millisecond) // it is no child of ours
	}
	return pid
}
