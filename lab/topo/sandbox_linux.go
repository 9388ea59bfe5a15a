// Package topo builds the lab's little internet and takes it down again:
//
//	client --[ emulated access link ]-- router --+-- origin (CUBIC)
//	                                             +-- relay  (BBR)
//
// Each of the four is a network namespace. The lab runs inside a sandbox of its
// own PID, mount and network namespaces (Enter): when its first process ends, in
// whatever way, the kernel ends every other process in it and takes devices,
// namespaces and files away. So nothing can be left behind, several labs stand
// side by side without knowing of each other, and nothing of the host is changed.
package topo

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// insideEnv marks the process that is the sandbox's first.
const insideEnv = "JUMPGET_LAB_INSIDE"

// Inside reports whether this process is in a sandbox already.
func Inside() bool { return os.Getenv(insideEnv) != "" && os.Getpid() == 1 }

// Enter runs this same program with the same arguments again as the first
// process of a new sandbox, and returns its exit code. Signals go to both, since
// they share the terminal's process group.
func Enter() (code int, err error) {
	if err := Check(); err != nil {
		return 1, err
	}
	self, err := os.Executable()
	if err != nil {
		return 1, err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET,
		Pdeathsig:  unix.SIGKILL,
	}
	err = runPinned(cmd)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 1, fmt.Errorf("can't make the lab's sandbox: %w", err)
	}
	return 0, nil
}

// Check tells in one line what this machine lacks for the lab, or returns nil.
func Check() error {
	if os.Geteuid() != 0 {
		return errors.New("the lab needs root, for network namespaces and TUN: run it with sudo")
	}
	tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("the lab needs /dev/net/tun (modprobe tun, or --device /dev/net/tun for a container): %w", err)
	}
	if err := tun.Close(); err != nil {
		return err
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return errors.New("the lab needs the ip command: apt-get install iproute2")
	}
	if !hasBBR() {
		return errors.New("the relay's TCP needs BBR and this kernel has none: modprobe tcp_bbr, or a kernel of 4.9 or later with CONFIG_TCP_CONG_BBR")
	}
	return nil
}

// hasBBR asks the kernel by choosing it for a socket.
func hasBBR() bool {
	_ = exec.Command("modprobe", "-q", "tcp_bbr").Run() // built in where this fails
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "bbr") == nil
}

// privateMounts gives the sandbox its own /proc, /run and /tmp, so that process
// lists are true and named namespaces and files are nobody else's.
func privateMounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("can't make the sandbox's mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("can't mount /proc: %w", err)
	}
	for _, dir := range []string{"/run", WorkDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("can't mount a tmpfs on %s: %w", dir, err)
		}
	}
	return nil
}

// WorkDir is where the lab's own files stand: a tmpfs that only the sandbox
// sees, so that no disk is measured.
const WorkDir = "/var/tmp/jumpget-lab"
