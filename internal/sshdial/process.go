package sshdial

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"sync"
	"time"
)

// exitDelay is how long an ended ssh's standard error is still read, when some
// other process holds it open, and how long ssh may take to end when told to.
const exitDelay = time.Second

// process is one running ssh and our ends of its streams.
type process struct {
	cmd    *exec.Cmd
	stdin  *os.File
	stdout *os.File
	stderr tail
	cancel context.CancelFunc
	done   chan struct{} // closed when the process is gone and reaped
	exit   int           // its code, once done is closed; -1 for a signal
	once   sync.Once
}

// startProcess starts ssh; it ends with ctx. The pipes are our own: those of
// package exec would be closed by Wait before everything was read.
func startProcess(ctx context.Context, p *plan, args []string) (*process, error) {
	ctx, cancel := context.WithCancel(ctx)
	proc := &process{cancel: cancel, done: make(chan struct{})}
	proc.cmd = exec.CommandContext(ctx, p.words[0], append(p.words[1:len(p.words):len(p.words)], args...)...)
	proc.cmd.Env = p.cfg.Env
	proc.cmd.Stderr = &proc.stderr
	proc.cmd.Cancel = func() error { return terminate(proc.cmd.Process) }
	proc.cmd.WaitDelay = exitDelay
	if err := proc.start(); err != nil {
		cancel()
		return nil, &Error{Kind: BadCommand, Message: "ssh can't be started: " + clean(err.Error()), Hint: "look at the ssh command (--ssh)", Err: err}
	}
	go proc.reap()
	return proc, nil
}

func (p *process) start() error {
	theirIn, ourIn, err := os.Pipe()
	if err != nil {
		return err
	}
	ourOut, theirOut, err := os.Pipe()
	if err != nil {
		return errors.Join(err, theirIn.Close(), ourIn.Close())
	}
	p.stdin, p.stdout = ourIn, ourOut
	p.cmd.Stdin, p.cmd.Stdout = theirIn, theirOut
	err = p.cmd.Start()
	_, _ = theirIn.Close(), theirOut.Close()
	if err != nil {
		return errors.Join(err, ourIn.Close(), ourOut.Close())
	}
	return nil
}

func (p *process) reap() {
	// The code and what ssh said tell more than Wait's error.
	_ = p.cmd.Wait()
	p.exit = p.cmd.ProcessState.ExitCode()
	p.cancel()
	close(p.done)
}

// abort ends the process and closes the streams. A master that serves this ssh
// holds the far ends, so only closing ours is sure to wake up a reader.
func (p *process) abort() {
	p.once.Do(func() {
		p.cancel()
		<-p.done
		_, _ = p.stdin.Close(), p.stdout.Close()
	})
}

// tail is a writer that keeps the last bytes it got.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailSize = 64 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - tailSize; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
