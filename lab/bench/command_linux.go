package bench

import (
	"context"
	"errors"
	"fmt"
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
func (c *command) run(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var tail tailBuffer
	cmd := c.prepare(ctx)
	cmd.Stdout, cmd.Stderr = &tail, &tail
	err := cmd.Run()
	c.state = cmd.ProcessState
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w after %v", errCut, limit.Round(time.Second))
	case err == nil || c.state != nil && c.state.Success():
		return nil // it may have left a process behind that holds the pipe
	}
	return fmt.Errorf("%w: %s", err, says(tail.String()))
}

func (c *command) prepare(ctx context.Context) *exec.Cmd {
	cmd := c.topo.Command(ctx, c.host, "sh", "-c", c.line)
	cmd.Dir, cmd.Env = c.dir, c.env
	// A process that the peer leaves behind may hold the pipe; it is not waited for.
	cmd.WaitDelay = time.Second
	return cmd
}

// tailBuffer keeps the end of what is written to it: keep bytes, or tailSize.
type tailBuffer struct {
	b    []byte
	keep int
}

const tailSize = 2000

func (t *tailBuffer) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if keep := max(t.keep, tailSize); len(t.b) > keep {
		t.b = t.b[len(t.b)-keep:]
	}
	return len(p), nil
}

func (t *tailBuffer) String() string { return string(t.b) }

// says returns the last lines of what a program said, in one.
func says(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines[max(0, len(lines)-3):], "; ")
}
