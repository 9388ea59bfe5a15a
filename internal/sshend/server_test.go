package sshend

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// endpoint is a Server on loopback with one authorized key.
type endpoint struct {
	*Server
	t    *testing.T
	addr string
	keys string // the file
	key  ssh.Signer
}

// start runs a Server whose API is serve; it ends with the test.
func start(t *testing.T, serve func(net.Conn, string, netip.Addr), change ...func(*Config)) *endpoint {
	t.Helper()
	dir := t.TempDir()
	e := &endpoint{t: t, key: newKey(t), keys: filepath.Join(dir, "authorized_keys")}
	e.authorize(keyLine(e.key) + " ann")
	cfg := Config{
		HostKey: filepath.Join(dir, "host"), AuthorizedKeys: e.keys,
		Serve: serve, LocalSocket: "/run/jumpget/api.sock",
	}
	for _, f := range change {
		f(&cfg)
	}
	var err error
	if e.Server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e.addr = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- e.Serve(l) }()
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return e
}

func (e *endpoint) authorize(content string) {
	e.t.Helper()
	if err := os.WriteFile(e.keys, []byte(content), 0o600); err != nil {
		e.t.Fatal(err)
	}
}

// login connects as x/crypto's client, which shows more than ssh does.
func (e *endpoint) login(keys ...ssh.Signer) (*ssh.Client, error) {
	c, err := ssh.Dial("tcp", e.addr, &ssh.ClientConfig{
		User:            "whoever",
		Auth:            []ssh.AuthMethod{ssh.PublicKeys(keys...)},
		HostKeyCallback: ssh.FixedHostKey(e.Server.key.PublicKey()),
	})
	if err == nil {
		e.t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

func (e *endpoint) mustLogin() *ssh.Client {
	e.t.Helper()
	c, err := e.login(e.key)
	if err != nil {
		e.t.Fatal(err)
	}
	return c
}

// echo says who is there, and then repeats what it hears.
func echo(conn net.Conn, user string, from netip.Addr) {
	_, _ = io.WriteString(conn, user+" from "+from.String()+"\n")
	_, _ = io.Copy(conn, conn)
}

const echoed = "ann from 127.0.0.1\nhello"

// say writes hello, ends its side and returns all that comes back.
func say(t *testing.T, conn io.ReadWriter) string {
	t.Helper()
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Error(err)
	}
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Error(err)
	}
	b, err := io.ReadAll(conn)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

func TestWaysToTheAPI(t *testing.T) {
	t.Parallel()
	c := start(t, echo).mustLogin()
	for _, addr := range []string{"127.0.0.1:4100", "localhost:4100", "[::1]:4100"} {
		// x/crypto's client resolves names, so the payload is our own.
		host, _, _ := net.SplitHostPort(addr)
		ch, requests, err := c.OpenChannel("direct-tcpip", forwardTo(host, 4100))
		if err != nil {
			t.Fatal(addr, err)
		}
		go ssh.DiscardRequests(requests)
		if got := say(t, ch); got != echoed {
			t.Errorf("%s: got %q", addr, got)
		}
	}
	conn, err := c.Dial("unix", "/run/jumpget/api.sock")
	if err != nil {
		t.Fatal(err)
	}
	if got := say(t, conn); got != echoed {
		t.Errorf("socket: got %q", got)
	}
	session, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	session.Stdin = strings.NewReader("hello")
	if out, err := session.Output("jumpget bridge"); err != nil || string(out) != echoed {
		t.Errorf("bridge: got %q, %v", out, err)
	}
}

func forwardTo(host string, port uint32) []byte {
	return ssh.Marshal(struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}{host, port, "127.0.0.1", 1})
}

// Nothing but the API can be reached, and nothing be started or listened on.
func TestOtherThingsAreRefused(t *testing.T) {
	t.Parallel()
	c := start(t, echo).mustLogin()
	for _, to := range []struct {
		host string
		port uint32
	}{{"127.0.0.1", 22}, {"127.0.0.1", 4101}, {"127.0.0.1", 4100 + 1<<16}, {"192.0.2.1", 4100}, {"127.0.0.2", 4100}, {"", 4100}, {"localhost.evil", 4100}} {
		mustReject(t, c, "direct-tcpip", forwardTo(to.host, to.port), ssh.Prohibited)
	}
	mustReject(t, c, "direct-tcpip", []byte("short"), ssh.Prohibited)
	for _, path := range []string{"", "/etc/passwd", "/run/jumpget/../jumpget/api.sock"} {
		payload := ssh.Marshal(struct {
			Path, Reserved string
			Reserved2      uint32
		}{Path: path})
		mustReject(t, c, "direct-streamlocal@openssh.com", payload, ssh.Prohibited)
	}
	for _, kind := range []string{"x11", "auth-agent@openssh.com", "forwarded-tcpip", "tun@openssh.com", ""} {
		mustReject(t, c, kind, nil, ssh.UnknownChannelType)
	}
	for request, ok := range map[string]bool{
		"tcpip-forward": false, "streamlocal-forward@openssh.com": false, "keepalive@openssh.com": true, "anything": false,
	} {
		if got, _, err := c.SendRequest(request, true, nil); err != nil || got != ok {
			t.Errorf("global request %s: %v, %v", request, got, err)
		}
	}
	for request, ok := range map[string]bool{
		"pty-req": true, "env": false, "x11-req": false, "auth-agent-req@openssh.com": false, "subsystem": false,
	} {
		session, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := session.SendRequest(request, true, nil); err != nil || got != ok {
			t.Errorf("session request %s: %v, %v", request, got, err)
		}
		_ = session.Close()
	}
	for _, command := range []string{"id", "", "jumpget bridge ", "jumpget bridge; id", "jumpget", "JUMPGET BRIDGE"} {
		var stderr strings.Builder
		session, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		session.Stderr = &stderr
		var exit *ssh.ExitError
		if err := session.Run(command); !errors.As(err, &exit) || exit.ExitStatus() != 1 || !strings.Contains(stderr.String(), "no shell here") {
			t.Errorf("%q: %v, %q", command, err, stderr.String())
		}
	}
}

func mustReject(t *testing.T, c *ssh.Client, kind string, payload []byte, reason ssh.RejectionReason) {
	t.Helper()
	_, _, err := c.OpenChannel(kind, payload)
	var refused *ssh.OpenChannelError
	if !errors.As(err, &refused) || refused.Reason != reason {
		t.Errorf("%s %q: %v", kind, payload, err)
	}
}

func TestSocketOnlyWhereThereIsOne(t *testing.T) {
	t.Parallel()
	c := start(t, echo, func(c *Config) { c.LocalSocket = "" }).mustLogin()
	payload := ssh.Marshal(struct {
		Path, Reserved string
		Reserved2      uint32
	}{})
	mustReject(t, c, "direct-streamlocal@openssh.com", payload, ssh.Prohibited)
}

func TestKeys(t *testing.T) {
	t.Parallel()
	e := start(t, echo)
	stranger := newKey(t)
	refused := func(what string, keys ...ssh.Signer) {
		t.Helper()
		if _, err := e.login(keys...); err == nil {
			t.Errorf("%s may enter", what)
		}
	}
	refused("a stranger", stranger)
	refused("nobody")
	e.authorize(`from="192.0.2.0/24" ` + keyLine(e.key))
	refused("a key from elsewhere", e.key)
	e.authorize(`from="192.0.2.1,127.0.0.0/8" ` + keyLine(e.key))
	e.mustLogin()
	e.authorize(keyLine(e.key) + "\n" + keyLine(stranger) + "\n")
	e.mustLogin()
	if _, err := e.login(stranger); err != nil {
		t.Errorf("a key that was added: %v", err)
	}
	e.authorize("# nobody\n")
	refused("a key that was removed", e.key)
	e.authorize(keyLine(e.key))
	e.mustLogin()
	if err := os.Remove(e.keys); err != nil {
		t.Fatal(err)
	}
	refused("anybody without a file", e.key)

	e.authorize(keyLine(e.key))
	many := []ssh.Signer{}
	for range maxAuthTries {
		many = append(many, newKey(t))
	}
	refused("the right key after too many wrong ones", append(many, e.key)...)
	for _, auth := range []ssh.AuthMethod{
		ssh.Password("secret"),
		ssh.KeyboardInteractive(func(string, string, []string, []bool) ([]string, error) { return nil, nil }),
	} {
		_, err := ssh.Dial("tcp", e.addr, &ssh.ClientConfig{User: "root", Auth: []ssh.AuthMethod{auth}, HostKeyCallback: ssh.FixedHostKey(e.Server.key.PublicKey())})
		if err == nil {
			t.Errorf("%T may enter", auth)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	t.Run("before authentication", func(t *testing.T) {
		e := start(t, echo, func(c *Config) { c.MaxPending = 2 })
		first, second := banner(t, e.addr), banner(t, e.addr)
		if first == nil || second == nil {
			t.Fatal("refused below the limit")
		}
		if banner(t, e.addr) != nil {
			t.Error("a third one was let in")
		}
		_ = first.Close()
		eventually(t, func() bool { return banner(t, e.addr) != nil })
	})
	t.Run("in all", func(t *testing.T) {
		e := start(t, echo, func(c *Config) { c.MaxConns = 2 })
		a := e.mustLogin()
		e.mustLogin()
		if banner(t, e.addr) != nil {
			t.Error("a third one was let in")
		}
		_ = a.Close()
		eventually(t, func() bool { return banner(t, e.addr) != nil })
	})
	t.Run("slow handshake", func(t *testing.T) {
		e := start(t, echo, func(c *Config) { c.HandshakeTimeout = 30 * time.Millisecond })
		c := banner(t, e.addr)
		if _, err := io.Copy(io.Discard, c); err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("it was not closed")
		}
	})
	t.Run("channels", func(t *testing.T) {
		c := start(t, echo).mustLogin()
		for range maxChannels {
			_, requests, err := c.OpenChannel("direct-tcpip", forwardTo("127.0.0.1", 4100))
			if err != nil {
				t.Fatal(err)
			}
			go ssh.DiscardRequests(requests)
		}
		mustReject(t, c, "direct-tcpip", forwardTo("127.0.0.1", 4100), ssh.ResourceShortage)
	})
}

// banner connects and reads the server's first bytes; nil if it closes instead.
func banner(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
		_ = c.Close()
		return nil
	}
	return c
}

// eventually waits for what another goroutine of the server does soon.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for range 500 {
		if ok() {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Error("it did not happen")
}

func TestShutdown(t *testing.T) {
	t.Parallel()
	t.Run("waits for channels", func(t *testing.T) {
		e := start(t, echo)
		idle, busy := e.mustLogin(), e.mustLogin()
		half := banner(t, e.addr)
		ch, requests, err := busy.OpenChannel("direct-tcpip", forwardTo("127.0.0.1", 4100))
		if err != nil {
			t.Fatal(err)
		}
		go ssh.DiscardRequests(requests)
		done := make(chan error, 1)
		go func() { done <- e.Shutdown(context.Background()) }()
		_ = idle.Wait()
		if _, err := io.Copy(io.Discard, half); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("a connection without a login stays")
		}
		mustReject(t, busy, "direct-tcpip", forwardTo("127.0.0.1", 4100), ssh.ResourceShortage)
		if _, err := net.Dial("tcp", e.addr); err == nil {
			t.Error("it still listens")
		}
		if got := say(t, ch); got != echoed {
			t.Errorf("got %q", got)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = busy.Wait()
	})
	t.Run("not for ever", func(t *testing.T) {
		e := start(t, echo)
		c := e.mustLogin()
		_, requests, err := c.OpenChannel("direct-tcpip", forwardTo("127.0.0.1", 4100))
		if err != nil {
			t.Fatal(err)
		}
		go ssh.DiscardRequests(requests)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := e.Shutdown(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Serve(l); err != nil {
			t.Errorf("Serve after Shutdown: %v", err)
		}
	})
}

// A client that stands but answers nothing is given up.
func TestSilentClient(t *testing.T) {
	t.Parallel()
	for _, silent := range []bool{false, true} {
		gone := make(chan struct{})
		e := start(t, func(conn net.Conn, _ string, _ netip.Addr) {
			_, _ = io.Copy(io.Discard, conn)
			close(gone)
		})
		e.askEvery, e.answerWithin = 5*time.Millisecond, map[bool]time.Duration{true: 50 * time.Millisecond, false: time.Minute}[silent]
		w := &freezer{}
		nc, err := net.Dial("tcp", e.addr)
		if err != nil {
			t.Fatal(err)
		}
		w.Conn = nc
		defer nc.Close()
		conn, chans, requests, err := ssh.NewClientConn(w, e.addr, &ssh.ClientConfig{
			Auth: []ssh.AuthMethod{ssh.PublicKeys(e.key)}, HostKeyCallback: ssh.FixedHostKey(e.Server.key.PublicKey()),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		go ssh.DiscardRequests(requests)
		go func() {
			for range chans {
			}
		}()
		if _, _, err := conn.OpenChannel("direct-tcpip", forwardTo("127.0.0.1", 4100)); err != nil {
			t.Fatal(err)
		}
		w.freeze(silent)
		select {
		case <-gone:
			if !silent {
				t.Error("a client that answers was given up")
			}
		case <-time.After(map[bool]time.Duration{true: 5 * time.Second, false: 200 * time.Millisecond}[silent]):
			if silent {
				t.Error("a silent client stays")
			}
		}
	}
}

// freezer swallows what is written once it is frozen.
type freezer struct {
	net.Conn
	mu     sync.Mutex
	frozen bool
}

func (f *freezer) freeze(frozen bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frozen = frozen
}

func (f *freezer) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.frozen {
		return len(b), nil
	}
	return f.Conn.Write(b)
}

func TestNewNeedsItsFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := Config{HostKey: filepath.Join(dir, "host"), AuthorizedKeys: filepath.Join(dir, "keys"), Serve: echo}
	if _, err := New(good); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without authorized keys: %v", err)
	}
	if _, err := New(Config{}); err == nil {
		t.Error("an empty config was taken")
	}
}
