//go:build linux

// Lab measures downloads over links that drop packets, and puts a shell behind
// such a link. `lab help` lists what it does.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/jumpget/jumpget/lab/topo"
)

func main() {
	// Servers stand where an ordinary user's PATH does not look.
	path := os.Getenv("PATH") + ":/usr/sbin:/sbin"
	if err := os.Setenv("PATH", path); err != nil {
		say(os.Stderr, "lab: "+err.Error())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := exitCode(os.Stderr, command().ExecuteContext(ctx))
	stop()
	os.Exit(code)
}

// exitCode explains an error in a line, unless that has been done.
func exitCode(w io.Writer, err error) int {
	var code exitError
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode()
	case errors.Is(err, context.Canceled):
		say(w, "lab: interrupted")
		return 128 + int(syscall.SIGINT)
	}
	say(w, "lab: "+err.Error())
	return 1
}

// say writes a line for a person. One that can't be written has no one to miss it.
func say(w io.Writer, line string) { _, _ = fmt.Fprintln(w, line) }

// exitError is a process's exit code that has been explained already.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "lab",
		Short:         "Measure downloads over links that drop packets",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		listCommand(), checkCommand(), shellCommand(), benchCommand(), reportCommand(), compareCommand(), traceCommand(),
		psCommand(), enterCommand(), stopCommand(), emulateCommand(), newLaneCommand(),
	)
	return root
}

// sandboxed runs f inside the lab's sandbox: at once if this is its first
// process, else by running the whole program again in a new one.
func sandboxed(ctx context.Context, prefix string, f func() error) error {
	if !topo.Inside() {
		code, err := topo.Enter(ctx, prefix)
		if err == nil && code != 0 {
			err = exitError(code)
		}
		return err
	}
	if err := topo.PrepareSandbox(); err != nil {
		return err
	}
	return f()
}
