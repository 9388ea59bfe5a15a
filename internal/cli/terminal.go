package cli

import (
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
func askPassword(prompt string) (string, error) {
	tty, err := openTerminal()
	if err != nil {
		return "", usagef("a password is needed and there is no terminal to ask on").
			withHint("put it into a file and give --password-file FILE")
	}
	defer func() { _ = tty.Close() }()
	if _, err := fmt.Fprint(tty, progress.Printable(prompt)+": "); err != nil {
		return "", fmt.Errorf("asking for the password: %w", err)
	}
	b, err := term.ReadPassword(int(tty.Fd()))
	_, _ = fmt.Fprintln(tty)
	if err != nil {
		return "", fmt.Errorf("reading the password: %w", err)
	}
	return string(b), nil
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
