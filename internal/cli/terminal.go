package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/jumpget/jumpget/internal/progress"
)

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// renderer returns what shows the progress of downloads.
func (a *app) renderer() progress.Renderer {
	if a.json {
		return progress.NewJSON(a.jsonOut())
	}
	mode := progress.Mode(a.cfg.Client.Progress)
	if a.quiet {
		mode = progress.Quiet
	}
	return progress.New(a.proc.Err, progress.Options{
		Mode:     mode,
		Terminal: isTerminal(a.proc.Err),
		Term:     os.Getenv("TERM"),
		Color:    a.cfg.Client.Color,
		Verbose:  a.verbose,
	})
}

// askPassword asks on the terminal, without echo, even if standard input is
// something else.
func askPassword(ctx context.Context, prompt string) (string, error) {
	tty, err := openTerminal()
	if err != nil {
		return "", usagef("a password is needed and there is no terminal to ask on").
			withHint("put it into a file and give --password-file FILE")
	}
	defer func() { _ = tty.Close() }()
	if _, err := fmt.Fprint(tty, progress.Printable(prompt)+": "); err != nil {
		return "", fmt.Errorf("asking for the password: %w", err)
	}
	password, err := readHidden(ctx, int(tty.Fd()))
	_, _ = fmt.Fprintln(tty)
	if err != nil {
		return "", fmt.Errorf("reading the password: %w", err)
	}
	return password, nil
}

// readHidden reads a line without echo. A read of a terminal can't be
// interrupted, so when ctx ends it is left behind and the echo put back.
func readHidden(ctx context.Context, fd int) (string, error) {
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	type answer struct {
		line []byte
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		line, err := term.ReadPassword(fd)
		got <- answer{line, err}
	}()
	select {
	case a := <-got:
		return string(a.line), a.err
	case <-ctx.Done():
		return "", errors.Join(context.Cause(ctx), term.Restore(fd, before))
	}
}

// passwordFrom reads the first line of a file.
func passwordFrom(name string) (string, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("reading the password: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSuffix(line, "\r"), nil
}
