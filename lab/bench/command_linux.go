package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/jumpget/jumpget/lab/topo"
)

// command is a shell line on one of the hosts.
type command struct {
	topo  *topo.Topology
	host  topo.Host
	dir   string
	line  string
	env   []string
	state *os.ProcessState // once it has run
}

// command returns a shell line that is to run on the host, in dir, with a home of the host's own.
func (r *runner) command(h topo.Host, dir, line string) *command {
	return &command{topo: r.topo, host: h, dir: dir, line: line, env: r.servers.env(h)}
}

// errCut means that a line was ended because it took too long.
var errCut = errors.New("not finished")

// run runs the line to its end, or kills it with all it has started.
func (c *command) run(ctx context.Context, limit time.Duration) (err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	// A file and no pipe: what the line leaves behind may hold it open, and the
	// line's end would not be seen before the pipe's.
	said, err := os.CreateTemp(topo.WorkDir, "said-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, said.Close(), os.Remove(said.Name())) }()
	cmd := c.prepare(ctx)
	cmd.Stdout, cmd.Stderr = said, said
	err = cmd.Run()
	c.state = cmd.ProcessState
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w after %v", errCut, limit.Round(time.Second))
	case err == nil:
		return nil
	}
	return fmt.Errorf("%w: %s", err, says(end(said)))
}

// end returns the end of what a file holds.
func end(f *os.File) string {
	if info, err := f.Stat(); err == nil {
		_, _ = f.Seek(max(0, info.Size()-tailSize), io.SeekStart)
	}
	b, _ := io.ReadAll(f)
	return string(b)
}

func (c *command) prepare(ctx context.Context) *exec.Cmd {
	cmd := c.topo.Command(ctx, c.host, "sh", "-c", c.line)
	cmd.Dir, cmd.Env = c.dir, c.env
	return cmd
}

// tailSize is how much of what a program said is looked at.
const tailSize = 2000

// says returns the last lines of what a program said, in one.
func says(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines[max(0, len(lines)-3):], "; ")
}
