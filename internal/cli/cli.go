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
// [progress.Clean] has taken its control characters away. The exit code of every
// error stands in one table, in exit.go.
package cli

import (
	"context"
	"io"
	"os"
)

// Stdio is what a command reads from and writes to.
type Stdio struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// OS returns the process's own standard streams.
func OS() Stdio { return Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr} }

// Run executes one command line (without the program's name) and returns the
// exit code. When ctx is cancelled the command ends soon, keeping what it has;
// a cause made by [SignalContext] decides between the codes 130 and 143.
func Run(ctx context.Context, args []string, stdio Stdio) int {
	return 0
}
