package sshdial

import (
	"context"
	"errors"
	"io"
	"time"
)

// attempt is one ssh that was to reach the relay, and what came of it.
type attempt struct {
	mode    Mode
	reused  bool // a standing master was there to carry it
	alone   bool // it shares no connection
	proc    *process
	live    bool          // it may be fed; this and unhook under the tunnel's mu
	unhook  func() bool   // from the tunnel's context
	fed     chan struct{} // closed before the first byte goes to it
	up      bool
	said    []byte // the first bytes from the far side
	strange error  // why they are no relay's
	stderr  string
	exit    int
}

// establish tries the ways one after the other, and settles the tunnel.
func (t *Tunnel) establish() {
	err := t.reach()
	if err != nil && t.ctx.Err() != nil {
		err = context.Cause(t.ctx)
	}
	t.mu.Lock()
	t.err = err
	t.changed.Broadcast()
	t.mu.Unlock()
	close(t.ready)
}

// reach returns nil once one way stands.
func (t *Tunnel) reach() error {
	forward, err := t.tryForward()
	if err != nil || forward.up {
		return err
	}
	why := forwardCause(forward.stderr)
	switch {
	case forward.strange != nil:
		why = causeStranger
	case forward.exit == 0 && why == causeNone:
		why = causeHungUp
	case why == causeNone:
		return classify(t.plan.host, forward.stderr, forward.exit)
	}
	if why == causeHungUp {
		return t.noRelay(why, nil)
	}
	bridge := &attempt{mode: ModeBridge, reused: forward.reused, alone: forward.alone}
	if err := t.try(bridge, t.plan.bridge(bridge.alone)); err != nil || bridge.up {
		return err
	}
	return t.explain(why, bridge)
}

// tryForward tries ssh -W. A standing master that is dead costs a second try: over
// a new one, or past it if it is the user's own. One that says nothing may be dead
// without knowing it, or just slow: the second try begins beside the first, and
// whichever is answered counts.
func (t *Tunnel) tryForward() (*attempt, error) {
	a := &attempt{mode: ModeForward, reused: t.plan.masterStands(), fed: make(chan struct{})}
	if !a.reused {
		return a, t.try(a, t.plan.forward(false))
	}
	over := t.background(a, t.plan.forward(false))
	if err, ended := t.inTime(a, over); ended && (err != nil || a.up || !t.deadMaster(a)) {
		return a, err
	} else if ended {
		over = nil
	}
	if t.plan.sharing == sharingOurs {
		if err := t.plan.retireMaster(t.ctx); err != nil {
			t.drop(a, over)
			return a, err
		}
	}
	b := &attempt{mode: ModeForward, alone: t.plan.sharing == sharingUsers, fed: make(chan struct{})}
	fresh := t.background(b, t.plan.forward(b.alone))
	for {
		select {
		case err := <-over:
			if a.up {
				t.drop(b, fresh)
				return a, err
			}
			over = nil
		case err := <-fresh:
			if !b.up && t.standsOn(a) {
				return a, <-over
			}
			t.drop(a, over)
			return b, err
		}
	}
}

// standsOn tells whether the tunnel stands on an attempt.
func (t *Tunnel) standsOn(a *attempt) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.by == a
}

// background is try beside others.
func (t *Tunnel) background(a *attempt, args []string) <-chan error {
	over := make(chan error, 1)
	t.feeders.Go(func() { over <- t.try(a, args) })
	return over
}

// inTime waits for an attempt's end, but no longer than a standing master may
// take to answer what was written.
func (t *Tunnel) inTime(a *attempt, over <-chan error) (err error, ended bool) {
	select {
	case err = <-over:
		return err, true
	case <-a.fed:
	}
	timer := time.NewTimer(t.plan.cfg.StaleAfter)
	defer timer.Stop()
	select {
	case err = <-over:
		return err, true
	case <-timer.C:
		return nil, false
	}
}

// drop ends an attempt that another one has made unnecessary; over is nil if it
// has ended.
func (t *Tunnel) drop(a *attempt, over <-chan error) {
	if over != nil {
		t.detach(a)
		<-over //nolint:errcheck // the other one counts
	}
}

// deadMaster tells whether an attempt failed only for the master it went over.
func (t *Tunnel) deadMaster(a *attempt) bool {
	if !a.reused || t.ctx.Err() != nil {
		return false
	}
	return a.strange == nil && a.exit != 0 && forwardCause(a.stderr) == causeNone &&
		classify(t.plan.host, a.stderr, a.exit).Kind == Died
}

// try runs one ssh until the far side has said enough to judge it, or has ended.
// The error is for what no other way can mend.
func (t *Tunnel) try(a *attempt, args []string) error {
	proc, err := startProcess(t.ctx, t.plan, args)
	if err != nil {
		return err
	}
	if !t.attach(a, proc) {
		proc.abort()
		return nil // another one was answered meanwhile
	}
	a.said, err = t.readFirst(proc.stdout)
	if len(a.said) > 0 {
		if a.strange = t.judge(a.said); a.strange == nil && t.stand(a) {
			t.hasten(a)
			return nil
		}
	}
	if errors.Is(err, io.EOF) {
		waitFor(proc.done, 2*exitDelay) // so that it can say why
	}
	t.detach(a)
	if t.ctx.Err() != nil {
		return context.Cause(t.ctx)
	}
	a.stderr, a.exit = proc.stderr.String(), proc.exit
	if a.exit == 0 && t.masterGone(a) {
		a.exit = -1
	}
	return nil
}

// hasten has sshd send small answers at once. OpenSSH's server sets TCP_NODELAY
// when a session runs its first command, and never for forwards alone: there
// Nagle's algorithm holds an answer's second write back until the first is
// acknowledged, for a round trip. One `true` mends that for the connection's
// life, which later runs share. Where no command may run, nothing changes.
func (t *Tunnel) hasten(a *attempt) {
	if a.mode != ModeForward || a.alone || t.plan.sharing != sharingOurs {
		return
	}
	t.feeders.Go(func() { _, _ = t.plan.query(t.ctx, t.plan.hasten()...) }) // it helps or it does not
}

// masterGone tells whether an ssh -W that ended without a fault lost its master:
// a master's client ends the same way for a closed forward and for a dead master.
func (t *Tunnel) masterGone(a *attempt) bool {
	if a.mode != ModeForward || a.alone || t.plan.sharing == sharingNone {
		return false
	}
	answer, err := t.plan.control(t.ctx, "check")
	return err == nil && answer.exit != 0
}

func waitFor(done <-chan struct{}, limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// readFirst reads what Greeting needs to see.
func (t *Tunnel) readFirst(r io.Reader) ([]byte, error) {
	need := 1
	if t.plan.cfg.Greeting != nil {
		need = GreetingSize
	}
	buf := make([]byte, 4<<10)
	n, err := io.ReadAtLeast(r, buf, need)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return buf[:n], err
}

func (t *Tunnel) judge(first []byte) error {
	if t.plan.cfg.Greeting == nil {
		return nil
	}
	return t.plan.cfg.Greeting(first)
}

// attach makes an attempt's ssh one of the tunnel's, and feeds it what is kept.
func (t *Tunnel) attach(a *attempt, proc *process) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.up {
		return false
	}
	a.proc, a.live = proc, true
	a.unhook = context.AfterFunc(t.ctx, proc.abort)
	t.feeders.Go(func() { t.feed(a) })
	return true
}

// detach gives an attempt up; what is kept stays for the next.
func (t *Tunnel) detach(a *attempt) {
	t.mu.Lock()
	proc := a.proc
	if a.live {
		a.live = false
		a.unhook()
	}
	t.changed.Broadcast()
	t.mu.Unlock()
	if proc != nil { // it has begun
		proc.abort() // waits also for somebody else's
	}
}

// stand settles the tunnel on an attempt, unless that was just given up or another
// was faster.
func (t *Tunnel) stand(a *attempt) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !a.live || t.up {
		return false
	}
	a.up = true
	t.up, t.first, t.by = true, a.said, a
	// The writing deadline follows with the feeder's end; pipes of Windows
	// have none, as Tunnel's comment says.
	_ = a.proc.stdout.SetReadDeadline(t.readBy)
	t.changed.Broadcast()
	return true
}

// feed writes what is kept to ssh until the tunnel stands and nothing is left;
// then the caller's Writes go there by themselves.
func (t *Tunnel) feed(a *attempt) {
	sent := 0
	for {
		chunk, more := t.nextKept(a, sent)
		if !more {
			return
		}
		if a.fed != nil && sent == 0 {
			close(a.fed)
		}
		n, err := a.proc.stdin.Write(chunk)
		sent += n
		if err != nil {
			t.feedFailed(a)
			return
		}
	}
}

// nextKept waits for bytes that an attempt has not got yet; false means that none
// will come this way.
func (t *Tunnel) nextKept(a *attempt, sent int) ([]byte, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.feeds(a) {
		if sent < len(t.kept) {
			return t.kept[sent:], true
		}
		if t.up {
			t.openDirect(a.proc)
			return nil, false
		}
		t.changed.Wait()
	}
	return nil, false
}

// feeds tells whether an attempt still takes what is kept; the lock is held.
func (t *Tunnel) feeds(a *attempt) bool {
	return a.live && t.err == nil && (!t.up || t.by == a)
}

// feedFailed leaves the failure to the next Write if the tunnel stands.
func (t *Tunnel) feedFailed(a *attempt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.feeds(a) {
		if t.up {
			t.openDirect(a.proc)
			return
		}
		t.changed.Wait()
	}
}

func (t *Tunnel) openDirect(proc *process) {
	t.kept, t.direct = nil, true
	_ = proc.stdin.SetWriteDeadline(t.writeBy) // see stand
	t.changed.Broadcast()
}
