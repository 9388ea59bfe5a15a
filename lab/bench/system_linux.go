package bench

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jumpget/jumpget/lab/peer"
)

// system is where the measurements are made.
type system struct{ machine, kernel string }

func thisSystem() system {
	var u unix.Utsname
	_ = unix.Uname(&u) // its fields stay empty
	return system{
		machine: fmt.Sprintf("%d x %s", runtime.NumCPU(), processorModel()),
		kernel:  fmt.Sprintf("Linux %s %s", unix.ByteSliceToString(u.Release[:]), runtime.GOARCH),
	}
}

func processorModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "processor"
}

// version asks the peer's first command for its version, one line.
func version(ctx context.Context, p peer.Peer, jumpget string) string {
	command, args := p.Needs[0], []string{"--version"}
	switch {
	case slices.Contains(p.Servers, peer.JumpGet):
		command, args = jumpget, []string{"version"}
	case command == "hysteria":
		args = []string{"version"}
	case command == "scp", command == "ssh":
		command, args = "ssh", []string{"-V"}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, _ := exec.CommandContext(ctx, command, args...).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); strings.ContainsAny(line, "0123456789") {
			return strings.Join(strings.Fields(line), " ")
		}
	}
	return built(command)
}

// built says what Go knows of a program that does not know its own version: that
// of its module, or of the QUIC library that it stands on.
func built(command string) string {
	path, err := exec.LookPath(command)
	if err != nil {
		return command
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return command
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return command + " " + v
	}
	for _, dep := range info.Deps {
		if strings.HasSuffix(dep.Path, "/quic-go") {
			return command + " on quic-go " + dep.Version
		}
	}
	return command
}
