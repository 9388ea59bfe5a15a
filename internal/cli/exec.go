package cli

import (
	"context"
	"os"
	"os/exec"
	"strings"

	"github.com/jumpget/jumpget/internal/client"
	"github.com/jumpget/jumpget/internal/progress"
	"github.com/jumpget/jumpget/internal/sshdial"
)

// checkExec finds a command that can't be run before anything is fetched.
func (o outputFlags) checkExec(orders []order) error {
	if o.exec == "" {
		return nil
	}
	words, err := commandWords(o.exec)
	if err == nil {
		_, err = exec.LookPath(words[0])
	}
	if err != nil {
		return usagef("--exec can't be run: %w", err).withHint("write it like: --exec 'program --flag'; no shell reads it")
	}
	if toStdout(orders) {
		return usagef("--exec needs a file, and standard output is none").withHint("give the file a name with --output, or leave --exec out")
	}
	return nil
}

// finished takes note of a file that has come, and runs --exec with it as its last
// argument.
func (d *downloads) finished(ctx context.Context, n int, res *client.Result) error {
	if res.Path == "" || res.Skipped {
		return nil
	}
	d.stands(n, res.Path)
	if d.out.exec == "" {
		return nil
	}
	words, err := commandWords(d.out.exec)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, words[0], append(words[1:], argument(res.Path))...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = d.app.proc.In, d.app.proc.Out, d.app.proc.Err
	if d.app.json {
		cmd.Stdout = d.app.proc.Err // standard output is for JSON alone
	}
	if err := cmd.Run(); err != nil {
		return &execError{command: words[0], path: res.Path, err: err}
	}
	return nil
}

// stands warns of a file that took the place of another one of the same run: with
// --force the later of two that have one name is all that is left.
func (d *downloads) stands(n int, path string) {
	if _, replaced := d.stand.LoadOrStore(path, true); replaced {
		d.show.Report(progress.Note{
			Download: n, Level: progress.Warning,
			Text: path + " replaced another file of this run that has the same name; out= in a list names each, and without --force both are kept",
		})
	}
}

// execError tells that a file is there, but --exec failed.
type execError struct {
	command string
	path    string
	err     error
}

func (e *execError) Error() string {
	return "the file is complete, but " + e.command + " failed: " + e.err.Error()
}

func (e *execError) Unwrap() error { return e.err }

func (e *execError) hint() string { return "run it by hand on " + e.path }

// commandWords splits --exec as a shell would, quotes and all, unless the whole
// is a program. There is at least one word.
func commandWords(s string) ([]string, error) {
	if _, err := exec.LookPath(s); err == nil {
		return []string{s}, nil
	}
	words, err := sshdial.SplitWords(s)
	if err == nil && len(words) == 0 {
		words = []string{s}
	}
	return words, err
}

// argument keeps a file's name from being read as a flag.
func argument(path string) string {
	if strings.HasPrefix(path, "-") {
		return "." + string(os.PathSeparator) + path
	}
	return path
}
