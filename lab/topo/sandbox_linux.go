// Package topo builds the lab's little internet and takes it down again:
//
//	neighbour --+-- client --[ emulated access link ]-- router --+-- origin (CUBIC)
//	                                                             +-- relay  (BBR)
//
// Each of the five is a network namespace; the neighbour shares the client's
// access link. The lab runs inside a sandbox of its own PID, mount and network
// namespaces (Enter): when its first process ends, in whatever way, the kernel
// ends every other process in it and takes devices, namespaces and files away.
// So nothing can be left behind, several labs stand side by side without knowing
// of each other, and nothing of the host is changed. A lab's prefix is its name
// among those of the machine.
package topo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// insideEnv marks the process that is the sandbox's first, and holds the prefix.
const insideEnv = "LAB_SANDBOX"

// lifelineFD is where the sandbox's first process finds the read end of a pipe
// whose other end only its parent has.
const lifelineFD = 3

// grace is how long a sandbox has to end by itself once it was asked to.
const grace = 5 * time.Second

// Inside reports whether this process is in a sandbox already.
func Inside() bool { return os.Getenv(insideEnv) != "" && os.Getpid() == 1 }

// Sandbox says what to run in a sandbox of its own: this same program.
type Sandbox struct {
	Prefix         string // "" for the first free one
	Args           []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Enter runs this same program with the same arguments again as the first
// process of a new sandbox under prefix ("" for the first free one), and returns
// its exit code. When ctx ends the sandbox is asked to end.
func Enter(ctx context.Context, prefix string) (code int, err error) {
	return Sandbox{Prefix: prefix, Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}.Run(ctx)
}

// Run makes the sandbox and returns the exit code of its first process. When ctx
// ends the sandbox is asked to end.
func (s Sandbox) Run(ctx context.Context) (code int, err error) {
	if err := Check(); err != nil {
		return 1, err
	}
	prefix, claimed, err := claim(s.Prefix)
	if err != nil {
		return 1, err
	}
	defer func() { _ = claimed.Close() }()
	// The child's end is read only: it ends when this process does, however that is.
	theirs, ours, err := os.Pipe()
	if err != nil {
		return 1, err
	}
	defer func() { _, _ = ours.Close(), theirs.Close() }()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", s.Args...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.Stdin, s.Stdout, s.Stderr
	cmd.Env = append(os.Environ(), insideEnv+"="+prefix)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = grace
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET,
		Pdeathsig:  unix.SIGKILL,
	}
	err = runPinned(cmd)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	if err != nil && ctx.Err() == nil {
		return 1, fmt.Errorf("can't make the lab's sandbox: %w", err)
	}
	return 0, ctx.Err()
}

// runPinned runs cmd from one thread that lives as long as it does: a death
// signal is tied to the thread that started the process, not to the program.
func runPinned(cmd *exec.Cmd) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		result <- cmd.Run()
	}()
	return <-result
}

// PrepareSandbox gives the sandbox what every topology in it shares. It is to be
// called once, by the first process.
func PrepareSandbox() error {
	if !Inside() {
		return errors.New("topo: not inside a sandbox")
	}
	unix.CloseOnExec(lifelineFD)
	go holdOn(os.NewFile(lifelineFD, "lifeline"))
	return privateMounts()
}

// holdOn ends the sandbox when the process outside has gone. The death signal
// does the same, unless the parent died before it was asked for.
func holdOn(lifeline io.Reader) {
	if _, err := io.Copy(io.Discard, lifeline); err == nil {
		unix.Exit(1) // the kernel ends everything else in the sandbox
	}
}

// privateMounts gives the sandbox its own /proc and /run, so that process lists
// are true and named namespaces and files are nobody else's.
func privateMounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("can't make the sandbox's mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("can't mount /proc: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("can't mount a tmpfs on /run: %w", err)
	}
	return os.MkdirAll(WorkDir+"/tmp", 0o755)
}

// WorkDir is where the lab's own files stand: in a tmpfs that only the sandbox
// sees, so that no disk is measured.
const WorkDir = "/run/jumpget-lab"

// oldest is the first kernel with BBR (4.9) that also has what BBR needs to pace
// without the fq qdisc (4.13).
var oldest = [2]int{4, 13}

// Check tells in one line what this machine lacks for the lab, or returns nil.
func Check() error {
	if os.Geteuid() != 0 {
		return errors.New("the lab needs root, for network namespaces and TUN: run it with sudo")
	}
	if err := checkKernel(release()); err != nil {
		return err
	}
	tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("the lab needs TUN (modprobe tun, or --device /dev/net/tun for a container): %w", err)
	}
	if err := tun.Close(); err != nil {
		return err
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return errors.New("the lab needs the ip command: `make bench-setup`, or install iproute2")
	}
	if !hasBBR() {
		return errors.New("the relay's TCP needs BBR and this kernel has none: modprobe tcp_bbr, or a kernel built with CONFIG_TCP_CONG_BBR")
	}
	return nil
}

// release returns the kernel's release, such as "6.1.0-13-amd64".
func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

func checkKernel(release string) error {
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return nil // a release that is no number says nothing
	}
	if major < oldest[0] || major == oldest[0] && minor < oldest[1] {
		return fmt.Errorf("the lab needs Linux %d.%d or later, this is %s", oldest[0], oldest[1], release)
	}
	return nil
}

// hasBBR asks the kernel by choosing it for a socket.
func hasBBR() bool {
	choose := func() bool {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return false
		}
		defer func() { _ = unix.Close(fd) }()
		return unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "bbr") == nil
	}
	if choose() {
		return true
	}
	_ = exec.Command("modprobe", "-q", "tcp_bbr").Run() // the second answer counts
	return choose()
}

// Prefix returns the prefix of the lab that this process is in, or "".
func Prefix() string { return os.Getenv(insideEnv) }
