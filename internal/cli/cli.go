// Package cli is the command layer: the only part of JumpGet that prints,
// asks or decides on an exit code. It turns arguments, environment and
// configuration into calls of the other packages, and what comes of them into
// lines for a person or JSON for a program.
//
// # The rules of the terminal
//
// Data and --json go to standard output, everything else to standard error;
// with -o - the JSON moves to standard error, because standard output is the
// file. An error is two lines: what happened, and what to do. Nothing that
// came from a URL, a header or another machine reaches the terminal before
// [progress.Printable] has made its control characters harmless. The exit code
// of every error stands in one table, in exit.go.
//
// # The flow
//
// [Run] builds the tree of commands (root.go) and executes one. A command loads
// the settings (package config), opens a client where it needs one (connect.go)
// and returns an error or nil; [Run] alone prints that error and makes an exit
// code of it.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/jumpget/jumpget/internal/config"
	"github.com/jumpget/jumpget/internal/progress"
)

// Process is what a command reads from and writes to.
type Process struct {
	In      io.Reader
	Out     io.Writer
	Err     io.Writer
	Version string // of the program; empty: what the build information says
}

// OS returns the process's own standard streams.
func OS(version string) Process {
	return Process{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Version: version}
}

// app is one execution of the program.
type app struct {
	proc Process
	cfg  *config.Config // nil until withConfig has loaded it

	quiet, verbose bool
	json           bool
	ipv4, ipv6     bool
	batch          bool // never ask for anything
	stdoutIsData   bool // a file goes to standard output, so nothing else may
}

// Run executes one command line (without the program's name) and returns the
// exit code. When ctx is cancelled the command ends soon, keeping what it has;
// a cause made by [SignalContext] decides between the codes 130 and 143.
func Run(ctx context.Context, args []string, proc Process) int {
	a := &app{proc: proc}
	root := a.rootCommand()
	root.SetArgs(serverFlag(args))
	root.SetIn(proc.In)
	root.SetOut(proc.Out)
	root.SetErr(proc.Err)
	return a.finish(ctx, root.ExecuteContext(ctx))
}

// serverFlag turns the original's `--server` into the command of today.
func serverFlag(args []string) []string {
	end := slices.Index(args, "--")
	if end < 0 {
		end = len(args)
	}
	i := slices.Index(args[:end], "--server")
	if i < 0 {
		return args
	}
	return append([]string{"serve"}, slices.Delete(slices.Clone(args), i, i+1)...)
}

// finish prints an error that nobody has shown yet and returns the exit code.
func (a *app) finish(ctx context.Context, err error) int {
	if err == nil {
		return exitOK
	}
	var shown *shownError
	if errors.As(err, &shown) {
		return shown.exit
	}
	f := classify(ctx, err)
	a.printFailure(f)
	return f.Exit
}

// printFailure shows a failure that belongs to no download.
func (a *app) printFailure(f failure) {
	if a.json {
		r := progress.NewJSON(a.jsonOut())
		r.Report(progress.Failed{Code: f.Code, Exit: f.Exit, Message: f.Message, Hint: f.Hint})
		_ = r.Close() // there is no other place to tell that telling failed
	}
	if !a.json || isTerminal(a.proc.Err) {
		_, _ = io.WriteString(a.proc.Err, progress.Error("", f.Message, f.Hint))
	}
}

// jsonOut is where --json goes.
func (a *app) jsonOut() io.Writer {
	if a.stdoutIsData {
		return a.proc.Err
	}
	return a.proc.Out
}

// say writes one line for a person to standard error, unless -q.
func (a *app) say(format string, args ...any) {
	if !a.quiet {
		_, _ = fmt.Fprintln(a.proc.Err, progress.Printable(fmt.Sprintf(format, args...)))
	}
}
