package topo_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jumpget/jumpget/lab/emu"
	"github.com/jumpget/jumpget/lab/labtest"
	"github.com/jumpget/jumpget/lab/link"
	"github.com/jumpget/jumpget/lab/netns"
	"github.com/jumpget/jumpget/lab/profile"
	"github.com/jumpget/jumpget/lab/topo"
)

// The tests of a topology run in a sandbox, those of the sandbox outside of one,
// with this test's binary as the lab.
const (
	standCommand = "stand"    // PREFIX LINK COMMAND...: a lab that runs a command on its client
	insideFlag   = "LAB_TEST" // in the environment: run the tests in a sandbox
)

func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 3 && os.Args[1] == standCommand:
		os.Exit(stand(os.Args[2], os.Args[3], os.Args[4:]))
	case os.Getenv(insideFlag) != "":
		os.Exit(labtest.Main(m))
	}
	if code, done := labtest.Emulate(); done {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// stand is a lab as `lab shell` makes it.
func stand(prefix, line string, command []string) int {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if !topo.Inside() {
		code, err := topo.Enter(context.Background(), prefix)
		if err != nil {
			return fail(err)
		}
		return code
	}
	if err := topo.PrepareSandbox(); err != nil {
		return fail(err)
	}
	p, err := profile.ParseLine(line)
	if err != nil {
		return fail(err)
	}
	t, err := topo.Up(context.Background(), p, 1)
	if err != nil {
		return fail(err)
	}
	cmd := t.Command(context.Background(), topo.Client, command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fail(err)
	}
	if err := t.Down(); err != nil {
		return fail(err)
	}
	return 0
}

// TestTopology runs the tests named TestInside... in a sandbox.
func TestTopology(t *testing.T) {
	labtest.Need(t)
	if topo.Inside() {
		t.Skip("it is what runs the others")
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestInside", "-test.v")
	cmd.Env = append(os.Environ(), insideFlag+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestInside") {
		t.Errorf("%v\n%s", err, out)
	}
}

func inside(t *testing.T) {
	t.Helper()
	if !topo.Inside() {
		t.Skip("TestTopology runs it in a sandbox")
	}
}

func up(t *testing.T, line string) *topo.Topology {
	t.Helper()
	p, err := profile.ParseLine(line)
	check(t, err)
	top, err := topo.Up(context.Background(), p, 1)
	check(t, err)
	t.Cleanup(func() { check(t, top.Down()) })
	return top
}

// roundTrip connects from a host to an address and returns the time it took: one
// round trip. Whatever listens there closes the connection again.
func roundTrip(t *testing.T, from topo.Host, addr string) (time.Duration, error) {
	t.Helper()
	start := time.Now()
	err := netns.Do(topo.NamespacePath(from), func() error {
		c, err := net.DialTimeout("tcp", addr, 5*time.Second)
		if err == nil {
			err = c.Close()
		}
		return err
	})
	return time.Since(start), err
}

// listen listens on a host and returns each connection's congestion control.
func listen(t *testing.T, h topo.Host, addr string) <-chan string {
	t.Helper()
	var l net.Listener
	check(t, netns.Do(topo.NamespacePath(h), func() (err error) {
		l, err = net.Listen("tcp", addr)
		return err
	}))
	t.Cleanup(func() { l.Close() })
	control := make(chan string, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			raw, _ := c.(*net.TCPConn).SyscallConn()
			_ = raw.Control(func(fd uintptr) {
				name, _ := unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
				control <- name
			})
			c.Close()
		}
	}()
	return control
}

func TestInsideHostsReachEachOther(t *testing.T) {
	inside(t)
	top := up(t, "x rate=100M rtt=60ms")
	control := map[topo.Host]<-chan string{
		topo.Origin: listen(t, topo.Origin, topo.OriginAddr+":80"), topo.Relay: listen(t, topo.Relay, topo.RelayAddr+":80"),
	}
	for _, c := range []struct {
		from, to topo.Host
		addr     string
		rtt      time.Duration
		control  string
	}{
		{topo.Client, topo.Origin, topo.OriginAddr, 60 * time.Millisecond, "cubic"},
		{topo.Client, topo.Relay, topo.RelayAddr, 60 * time.Millisecond, "bbr"},
		{topo.Neighbour, topo.Relay, topo.RelayAddr, 60 * time.Millisecond, "bbr"},
		{topo.Relay, topo.Origin, topo.OriginAddr, 0, "cubic"},
	} {
		took, err := roundTrip(t, c.from, c.addr+":80")
		check(t, err)
		if took < c.rtt || took > c.rtt+50*time.Millisecond {
			t.Errorf("from %s to %s: %v, want %v", c.from, c.to, took, c.rtt)
		}
		if got := <-control[c.to]; got != c.control {
			t.Errorf("the %s answers the %s with %s, want %s", c.to, c.from, got, c.control)
		}
	}
	a, err := top.Ask(emu.Command{})
	check(t, err)
	if a.Down.Guest == 0 || a.Down.Guest >= a.Down.OutBytes {
		t.Errorf("of %d bytes %d are the neighbour's", a.Down.OutBytes, a.Down.Guest)
	}
}

func TestInsideClientMoves(t *testing.T) {
	inside(t)
	top := up(t, "x rate=100M rtt=2ms")
	var l net.Listener
	check(t, netns.Do(topo.NamespacePath(topo.Origin), func() (err error) {
		l, err = net.Listen("tcp", topo.OriginAddr+":80")
		return err
	}))
	defer l.Close()
	for _, addr := range []string{topo.ClientAddr, topo.RoamedAddr, topo.ClientAddr} {
		check(t, top.Move(context.Background(), addr))
		_, err := roundTrip(t, topo.Client, topo.OriginAddr+":80")
		check(t, err)
		c, err := l.Accept()
		check(t, err)
		if got := c.RemoteAddr().(*net.TCPAddr).IP.String(); got != addr {
			t.Errorf("the client comes from %s, want %s", got, addr)
		}
		c.Close()
	}
}

func TestInsideLinkChangesAndGoesDown(t *testing.T) {
	inside(t)
	top := up(t, "x rate=100M rtt=2ms")
	listen(t, topo.Origin, topo.OriginAddr+":80")
	slow := link.Config{Rate: 100e6, Delay: 100 * time.Millisecond}
	_, err := top.Ask(emu.Command{Change: &emu.Configs{Down: slow, Up: slow}})
	check(t, err)
	// The pumps see it within their longest sleep; until then a trip is quick.
	for deadline := time.Now().Add(5 * time.Second); ; {
		took, err := roundTrip(t, topo.Client, topo.OriginAddr+":80")
		check(t, err)
		if took >= 200*time.Millisecond {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a round trip still takes %v", took)
		}
	}
	check(t, top.Down())
	for _, h := range []topo.Host{topo.Client, topo.Router, topo.Relay} {
		if _, err := os.Stat(topo.NamespacePath(h)); err == nil {
			t.Errorf("the namespace of the %s is still there", h)
		}
	}
}

func TestInsideEmulatorSaysWhatIsWrong(t *testing.T) {
	inside(t)
	up(t, "x rate=100M rtt=2ms")
	if _, err := topo.Up(context.Background(), profile.Profile{}, 1); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("a second topology in one sandbox: %v", err)
	}
}

// lab is a lab as a process of its own, with a command on its client that names
// it among the machine's processes.
type lab struct {
	*exec.Cmd
	prefix string
	out    strings.Builder
	ended  chan error
}

func startLab(t *testing.T, prefix string, command ...string) *lab {
	t.Helper()
	l := &lab{Cmd: exec.Command("/proc/self/exe", append([]string{standCommand, prefix, "x rate=100M rtt=40ms"}, command...)...), prefix: prefix, ended: make(chan error, 1)}
	l.Stdout, l.Stderr, l.WaitDelay = &l.out, &l.out, time.Second
	check(t, l.Start())
	go func() { l.ended <- l.Wait() }()
	t.Cleanup(func() { _ = l.Process.Kill() })
	return l
}

// endless is a command that runs until it is killed and is like no other.
func endless(t *testing.T) []string {
	return []string{"sleep", fmt.Sprint(100_000 + time.Now().UnixNano()%1_000_000)}
}

// running returns whether a process with these arguments is on this machine.
func running(command []string) bool {
	want := strings.Join(command, "\x00") + "\x00"
	dirs, _ := os.ReadDir("/proc")
	for _, d := range dirs {
		if line, err := os.ReadFile("/proc/" + d.Name() + "/cmdline"); err == nil && string(line) == want {
			return true
		}
	}
	return false
}

// await polls for what other processes do; there is nothing to wait on.
func await(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("in vain: " + what)
		}
	}
}

// host is what a lab could leave behind on the machine.
func host(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, args := range [][]string{{"ip", "-o", "link"}, {"ip", "netns", "list"}, {"ip", "-o", "addr"}} {
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		check(t, err)
		b.Write(out)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	check(t, err)
	b.Write(mounts)
	for _, dir := range []string{"/run", "/tmp", "/var/tmp"} {
		entries, err := os.ReadDir(dir)
		check(t, err)
		for _, e := range entries {
			if strings.Contains(e.Name(), "jumpget-lab") {
				b.WriteString(e.Name() + "\n")
			}
		}
	}
	return b.String()
}

func TestNothingIsLeftBehind(t *testing.T) {
	labtest.Need(t)
	if topo.Inside() {
		t.Skip("it is about the world outside")
	}
	for name, end := range map[string]func(*testing.T, *lab){
		"SIGKILL outside": func(t *testing.T, l *lab) { check(t, l.Process.Kill()) },
		"SIGTERM outside": func(t *testing.T, l *lab) { check(t, l.Process.Signal(unix.SIGTERM)) },
		"SIGKILL inside": func(t *testing.T, l *lab) {
			pid, err := topo.Lab{Prefix: l.prefix, PID: l.Process.Pid}.Init()
			check(t, err)
			check(t, syscall.Kill(pid, unix.SIGKILL))
		},
		"lab stop": func(t *testing.T, l *lab) {
			found, err := topo.Find(l.prefix)
			check(t, err)
			check(t, found.Stop())
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := host(t)
			command := endless(t)
			l := startLab(t, fmt.Sprintf("test-%d", os.Getpid()), command...)
			await(t, "the lab stands", func() bool { return running(command) })
			if during := host(t); during != before {
				t.Errorf("while a lab stands the host has changed:\n%s\nbefore:\n%s", during, before)
			}
			end(t, l)
			<-l.ended
			await(t, "its processes have gone", func() bool { return !running(command) })
			if _, err := topo.Find(l.prefix); err == nil {
				t.Error("it still holds its prefix")
			}
			if after := host(t); after != before {
				t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
			}
		})
	}
}

func TestLabsStandSideBySide(t *testing.T) {
	labtest.Need(t)
	if topo.Inside() {
		t.Skip("it is about the world outside")
	}
	first, second := endless(t), endless(t)
	a := startLab(t, fmt.Sprintf("test-a-%d", os.Getpid()), first...)
	await(t, "the first lab stands", func() bool { return running(first) })
	b := startLab(t, fmt.Sprintf("test-b-%d", os.Getpid()), second...)
	await(t, "the second lab stands", func() bool { return running(second) })
	labs, err := topo.Running()
	check(t, err)
	seen := 0
	for _, l := range labs {
		if l.Prefix == a.prefix && l.PID == a.Process.Pid || l.Prefix == b.prefix && l.PID == b.Process.Pid {
			seen++
		}
	}
	if seen != 2 {
		t.Errorf("of both labs %d are listed: %v", seen, labs)
	}
	// A third under a prefix that is taken is told so, in one line.
	c := startLab(t, a.prefix, "true")
	if err := <-c.ended; err == nil {
		t.Error("two labs under one prefix")
	}
	if text := strings.TrimSpace(c.out.String()); !strings.Contains(text, fmt.Sprintf("stands already (process %d)", a.Process.Pid)) || strings.Contains(text, "\n") {
		t.Errorf("the third says %q", text)
	}
	// The end of one is not the other's.
	check(t, a.Process.Kill())
	<-a.ended
	await(t, "the first has gone", func() bool { return !running(first) })
	if !running(second) {
		t.Error("the second lab went with the first")
	}
}

func TestBadPrefix(t *testing.T) {
	labtest.Need(t)
	for _, prefix := range []string{"a/b", "A", "-x", strings.Repeat("x", 40)} {
		if _, err := topo.Enter(context.Background(), prefix); err == nil || !strings.Contains(err.Error(), "no prefix") {
			t.Errorf("%q: %v", prefix, err)
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
