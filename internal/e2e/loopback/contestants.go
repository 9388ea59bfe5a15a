//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// timed runs a command that writes the file out, judges that file afterwards,
// outside of the time, and removes it.
func (b *bench) timed(ctx context.Context, name string, cmd *exec.Cmd, more func() error) (time.Duration, error) {
	syscall.Sync() // nobody pays for what another one wrote
	start := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	if more != nil {
		if err := more(); err != nil {
			return 0, err
		}
	}
	took := time.Since(start)
	want, err := sum(b.path("www/" + name))
	if err != nil {
		return 0, err
	}
	got, err := sum(b.path("out"))
	if err == nil && got != want {
		err = errors.New("the file is not the origin's")
	}
	return took, errors.Join(err, os.Remove(b.path("out")), ctx.Err())
}

func (b *bench) curlCommand(ctx context.Context) *exec.Cmd {
	return exec.CommandContext(ctx, "curl", "-sS", "-k", "-o", b.path("out"), fmt.Sprintf("https://127.0.0.1:%d/timed", b.tls))
}

func (b *bench) curl(ctx context.Context) (time.Duration, error) {
	return b.timed(ctx, "timed", b.curlCommand(ctx), nil)
}

// curlChecked does what jumpget does by itself.
func (b *bench) curlChecked(ctx context.Context) (time.Duration, error) {
	return b.timed(ctx, "timed", b.curlCommand(ctx), func() error {
		if err := exec.CommandContext(ctx, "sync", b.path("out")).Run(); err != nil {
			return err
		}
		return exec.CommandContext(ctx, "sha256sum", b.path("out")).Run()
	})
}

func (b *bench) client(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, b.program, append([]string{
		"--relay", fmt.Sprintf("%s@127.0.0.1:%d", b.sshd.User, b.sshd.Port), "--identity", b.path("key"), "--ssh", b.ssh,
		"--local-port", strconv.Itoa(b.local), "--progress", "none",
	}, args...)...)
	cmd.Env = b.environ()
	return cmd
}

func (b *bench) url(name string) string { return fmt.Sprintf("http://127.0.0.1:%d/%s", b.plain, name) }

func (b *bench) jumpget(name string) func(context.Context) (time.Duration, error) {
	return func(ctx context.Context) (time.Duration, error) {
		return b.timed(ctx, name, b.client(ctx, "-o", b.path("out"), b.url(name)), nil)
	}
}

// fill makes sure that the relay has the file.
func (b *bench) fill(ctx context.Context) error {
	_, err := b.jumpget("timed")(ctx)
	return err
}

// empty makes the relay forget every job.
func (b *bench) empty(ctx context.Context) error {
	out, err := b.client(ctx, "ls").Output()
	if err != nil {
		return fmt.Errorf("jumpget ls: %w", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	for _, line := range lines[1:] {
		if err := b.client(ctx, "rm", strings.Fields(line)[0]).Run(); err != nil {
			return fmt.Errorf("jumpget rm: %w", err)
		}
	}
	return nil
}

// jumpgetMemory returns the client's peak resident set in KiB.
func (b *bench) jumpgetMemory(ctx context.Context, name string) (int64, error) {
	cmd := b.client(ctx, "-o", b.path("out"), b.url(name))
	if _, err := b.timed(ctx, name, cmd, nil); err != nil {
		return 0, err
	}
	return cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss, nil
}

// relayMemory returns the running relay's, in KiB.
func (b *bench) relayMemory() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.relay.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			return strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		}
	}
	return 0, errors.New("the system tells no peak of memory")
}

func sum(path string) (s [sha256.Size]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return s, err
	}
	defer func() { _ = f.Close() }() // only read
	h := sha256.New()
	_, err = io.Copy(h, f)
	return [sha256.Size]byte(h.Sum(nil)), err
}
