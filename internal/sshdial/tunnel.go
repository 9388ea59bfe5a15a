package sshdial

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Mode is the way a tunnel reaches the relay.
type Mode string

// The modes.
const (
	ModeForward Mode = "forward" // ssh -W
	ModeBridge  Mode = "bridge"  // the remote command "jumpget bridge"
)

// maxKept is how many bytes may be written before the relay has answered its
// first; a Write beyond it waits.
const maxKept = 256 << 10

// Tunnel is a net.Conn to the relay's local API over the standard streams of an
// ssh process. Errors of Read and Write are [*Error] wherever ssh failed. On
// Windows deadlines hold only until the tunnel stands.
type Tunnel struct {
	plan   *plan
	ctx    context.Context
	cancel context.CancelCauseFunc
	ready  chan struct{} // closed once the tunnel stands or every way has failed

	mu      sync.Mutex
	changed *sync.Cond // any field below has changed
	kept    []byte     // written, and not surely on its way
	direct  bool       // kept is given away: Write goes straight to ssh
	first   []byte     // read to settle the way, and not handed out yet
	up      bool
	err     error
	by      *attempt // what made it stand
	readBy  time.Time
	writeBy time.Time

	feeders sync.WaitGroup
}

var _ net.Conn = (*Tunnel)(nil)

// Dial starts ssh and returns at once. ctx ends the tunnel's whole life, as with
// exec.CommandContext, so a dialer's short-lived context is the wrong one. Only
// what shows without a connection fails here: a bad Config, no ssh program, an
// ssh config that ssh can't read. The package comment says how the rest shows.
// A Tunnel has to be closed.
func Dial(ctx context.Context, cfg Config) (*Tunnel, error) {
	p, err := newPlan(ctx, cfg)
	if err != nil {
		return nil, err
	}
	t := &Tunnel{plan: p, ready: make(chan struct{})}
	t.changed = sync.NewCond(&t.mu)
	t.ctx, t.cancel = context.WithCancelCause(ctx)
	go t.establish()
	return t, nil
}

// Confirm waits until the relay's first bytes are here or every way has failed.
// The caller has to have written something that the relay answers.
func (t *Tunnel) Confirm(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.ready:
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// Mode tells which way the tunnel goes; it is "" until Confirm would return.
func (t *Tunnel) Mode() Mode {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by == nil {
		return ""
	}
	return t.by.mode
}

// Reused tells whether an ssh connection that already stood carries the tunnel.
// It is settled when Mode is.
func (t *Tunnel) Reused() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.by != nil && t.by.reused
}

// Host is what the user's ssh config made of the destination.
func (t *Tunnel) Host() Host { return t.plan.host }

// Read returns io.EOF only after the relay has closed its side in order.
func (t *Tunnel) Read(b []byte) (int, error) {
	t.mu.Lock()
	for !t.up && t.err == nil && !passed(t.readBy) {
		t.changed.Wait()
	}
	switch {
	case t.err != nil:
		defer t.mu.Unlock()
		return 0, t.err
	case passed(t.readBy):
		defer t.mu.Unlock()
		return 0, os.ErrDeadlineExceeded
	case len(t.first) > 0:
		defer t.mu.Unlock()
		n := copy(b, t.first)
		t.first = t.first[n:]
		return n, nil
	}
	by := t.by
	t.mu.Unlock()
	n, err := by.proc.stdout.Read(b)
	if err != nil {
		err = t.broken(by, err)
	}
	return n, err
}

// Write returns as soon as ssh has the bytes or the tunnel keeps them.
func (t *Tunnel) Write(b []byte) (int, error) {
	t.mu.Lock()
	for !t.direct && t.err == nil && len(t.kept) >= maxKept && !passed(t.writeBy) {
		t.changed.Wait()
	}
	switch {
	case t.err != nil:
		defer t.mu.Unlock()
		return 0, writeError(t.err)
	case passed(t.writeBy):
		defer t.mu.Unlock()
		return 0, os.ErrDeadlineExceeded
	case !t.direct:
		defer t.mu.Unlock()
		t.kept = append(t.kept, b...)
		t.changed.Broadcast()
		return len(b), nil
	}
	by := t.by
	t.mu.Unlock()
	n, err := by.proc.stdin.Write(b)
	if err != nil {
		err = writeError(t.broken(by, err))
	}
	return n, err
}

// writeError is what a Write returns where a Read would return err.
func writeError(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrClosedPipe
	}
	return err
}

// broken tells why a stream of a tunnel that stood has ended. It is not kept:
// a Write that fails must not cut off what is still to be read.
func (t *Tunnel) broken(by *attempt, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	gone := true
	select {
	case <-by.proc.done:
	case <-t.ctx.Done():
	case <-time.After(2 * exitDelay):
		gone = false
	}
	switch {
	case t.ctx.Err() != nil:
		return context.Cause(t.ctx)
	case !gone, by.proc.exit == 0 && !t.masterGone(by):
		return io.EOF
	}
	return &Error{
		Kind:    Died,
		Message: "the ssh connection to " + t.plan.host.name() + " broke",
		Hint:    "run the same command again: it goes on from there",
		Detail:  detail(by.proc.stderr.String()),
		Err:     err,
	}
}

// Close ends ssh, waits until it is gone, and leaves a shared connection to its
// other users.
func (t *Tunnel) Close() error {
	t.cancel(net.ErrClosed)
	<-t.ready
	t.mu.Lock()
	if t.err == nil {
		t.err = net.ErrClosed
	}
	t.changed.Broadcast()
	by := t.by
	t.mu.Unlock()
	if by != nil { // all others have ended
		t.detach(by)
	}
	t.feeders.Wait()
	return nil
}

// LocalAddr names this end.
func (t *Tunnel) LocalAddr() net.Addr { return address("local") }

// RemoteAddr names the relay's local API behind its host.
func (t *Tunnel) RemoteAddr() net.Addr {
	return address(t.plan.cfg.Host + "/" + t.plan.cfg.Target)
}

// SetDeadline sets both deadlines.
func (t *Tunnel) SetDeadline(d time.Time) error {
	return errors.Join(t.SetReadDeadline(d), t.SetWriteDeadline(d))
}

// SetReadDeadline ends waiting Reads at d; zero is never.
func (t *Tunnel) SetReadDeadline(d time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.readBy = d
	if t.up {
		return t.by.proc.stdout.SetReadDeadline(d)
	}
	t.wakeAt(d)
	return nil
}

// SetWriteDeadline ends waiting Writes at d; zero is never.
func (t *Tunnel) SetWriteDeadline(d time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.writeBy = d
	if t.direct {
		return t.by.proc.stdin.SetWriteDeadline(d)
	}
	t.wakeAt(d)
	return nil
}

// wakeAt lets those who wait for the tunnel to stand look at the clock at d.
func (t *Tunnel) wakeAt(d time.Time) {
	t.changed.Broadcast()
	if wait := time.Until(d); !d.IsZero() && wait > 0 {
		time.AfterFunc(wait, t.changed.Broadcast)
	}
}

func passed(d time.Time) bool { return !d.IsZero() && !time.Now().Before(d) }
