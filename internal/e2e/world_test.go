package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jumpget/jumpget/internal/cli"
	"github.com/jumpget/jumpget/internal/origintest"
	"github.com/jumpget/jumpget/internal/sshdtest"
)

// asProgram in the environment makes the test binary the program.
const asProgram = "E2E_JUMPGET_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) == "" {
		os.Exit(m.Run())
	}
	ctx, stop := cli.SignalContext(context.Background())
	code := cli.Run(ctx, os.Args[1:], cli.OS("v0-e2e"))
	stop()
	os.Exit(code)
}

// world is an origin, a relay as a process, and all that a client needs to
// reach it. A relay that is killed and started again keeps its ports, as a real
// one does.
type world struct {
	t      *testing.T
	dir    string
	origin *origintest.Server
	sshd   *sshdtest.Server // nil: the relay's own ssh endpoint

	local, public, ssh int // ports
	command            string
	user               string
	serve              []string // more flags of the relay

	mu    sync.Mutex
	relay *process
}

// newWorld starts a relay, behind a real sshd if asked.
func newWorld(t *testing.T, realSSHD bool) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), origin: origintest.New(t), local: freePort(t), public: freePort(t), ssh: freePort(t), user: "you"}
	public, err := sshdtest.MakeKey(w.file("key"))
	check(t, err)
	keys := w.file("authorized_keys")
	check(t, os.WriteFile(keys, []byte(public+" you\n"), 0o600))
	var hostKey string
	if realSSHD {
		w.sshd, err = sshdtest.Start(w.dir, keys)
		check(t, err)
		t.Cleanup(w.sshd.Close)
		w.user, w.ssh, hostKey = w.sshd.User, w.sshd.Port, w.sshd.HostKey
	} else {
		// Its host key is made ahead, so that the client can know it.
		check(t, os.MkdirAll(w.file("relay"), 0o700))
		hostKey, err = sshdtest.MakeKey(w.file("relay/ssh_host_ed25519_key"))
		check(t, err)
	}
	w.command, err = sshdtest.Command(w.file("known_hosts"), w.ssh, hostKey)
	check(t, err)
	w.startRelay()
	t.Cleanup(func() { w.relay.kill() })
	return w
}

func (w *world) file(name string) string { return filepath.Join(w.dir, filepath.FromSlash(name)) }

// startRelay returns when the relay answers at its public door.
func (w *world) startRelay() {
	w.t.Helper()
	args := []string{
		"serve", "--data-dir", w.file("relay"), "--local-port", strconv.Itoa(w.local), "--local-socket", "off",
		"--public-addr", "127.0.0.1", "--public-port", strconv.Itoa(w.public), "--allow-private-origins", "127.0.0.0/8",
		"--log-format", "text",
	}
	if w.sshd == nil {
		args = append(args, "--ssh-listen", "127.0.0.1:"+strconv.Itoa(w.ssh), "--authorized-keys", w.file("authorized_keys"))
	}
	p := w.program(append(args, w.serve...)...)
	p.run(w.t)
	w.mu.Lock()
	w.relay = p
	w.mu.Unlock()
	for deadline := time.Now().Add(20 * time.Second); ; {
		conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(w.public)))
		if err == nil {
			_ = conn.Close()
			return
		}
		if p.exited() || time.Now().After(deadline) {
			w.t.Fatalf("the relay does not start:\n%s", p.log())
		}
		time.Sleep(5 * time.Millisecond) // it is another process; there is nothing to wait on
	}
}

// client starts the program with the settings of this world.
func (w *world) client(args ...string) *process {
	p := w.prepare(args...)
	p.run(w.t)
	return p
}

// prepare is client without the start.
func (w *world) prepare(args ...string) *process {
	w.t.Helper()
	return w.program(append([]string{
		"--relay", fmt.Sprintf("%s@127.0.0.1:%d", w.user, w.ssh), "--identity", w.file("key"), "--ssh", w.command,
		"--local-port", strconv.Itoa(w.local), "--progress", "none",
	}, args...)...)
}

// get runs a client to its end and fails the test unless it succeeds.
func (w *world) get(args ...string) string {
	w.t.Helper()
	p := w.client(args...)
	if code := p.wait(w.t); code != 0 {
		w.t.Fatalf("exit code %d of %v\n%s\n--- relay ---\n%s", code, args, p.log(), w.relay.log())
	}
	return p.out.String()
}

// program is the program with its arguments, not running yet.
func (w *world) program(args ...string) *process {
	w.t.Helper()
	exe, err := os.Executable()
	check(w.t, err)
	p := &process{cmd: exec.Command(exe, args...), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), asProgram+"=1", "HOME="+w.dir, "XDG_CONFIG_HOME="+w.file("config"), "XDG_STATE_HOME="+w.file("state"))
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.WaitDelay = &p.out, &p.err, time.Second
	return p
}

// run starts it; it ends with the test at the latest.
func (p *process) run(t *testing.T) {
	t.Helper()
	check(t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait() // ProcessState tells
		close(p.done)
	}()
	t.Cleanup(p.kill)
}

// process is the program running.
type process struct {
	cmd      *exec.Cmd
	out, err buffer
	done     chan struct{}
}

// kill ends it as a power cut would, and returns when it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

func (p *process) exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) log() string { return p.err.String() }

// wait returns the exit code.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(60 * time.Second):
		p.kill()
		t.Fatalf("it hangs:\n%s", p.log())
		return -1
	}
}

// buffer is a bytes.Buffer for a process and a test at once.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// sumOf returns the SHA-256 of a file, or "" if it is not there. It is the one
// judge of what a client left.
func sumOf(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	check(t, err)
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	check(t, err)
	return hex.EncodeToString(h.Sum(nil))
}

// leftovers returns what stands beside a finished file and should not.
func leftovers(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	check(t, err)
	var names []string
	for _, e := range entries {
		if strings.Contains(e.Name(), ".jumpget-") {
			names = append(names, e.Name())
		}
	}
	return names
}

// freePort returns a port that nobody has now. A relay has to keep its port
// over a restart, so it can't choose one by itself.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
