package sshdial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// attempt is one ssh that was to reach the relay, and what came of it.
type attempt struct {
	mode    Mode
	reused  bool // a standing master was there to carry it
	alone   bool // it shares no connection
	proc    *process
	up      bool
	stalled bool   // a standing master did not answer in time; under the tunnel's mu
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

// tryForward tries ssh -W. A standing master that turns out to be dead costs a
// second try: over a new one, or past it if it is the user's own.
func (t *Tunnel) tryForward() (*attempt, error) {
	a := &attempt{mode: ModeForward, reused: t.plan.masterStands()}
	if err := t.try(a, t.plan.forward(false)); err != nil || a.up || !t.deadMaster(a) {
		return a, err
	}
	if t.plan.sharing == sharingOurs {
		if err := t.plan.retireMaster(t.ctx); err != nil {
			return a, err
		}
	}
	a = &attempt{mode: ModeForward, alone: t.plan.sharing == sharingUsers}
	return a, t.try(a, t.plan.forward(a.alone))
}

// deadMaster tells whether an attempt failed only for the master it went over.
func (t *Tunnel) deadMaster(a *attempt) bool {
	if !a.reused || t.ctx.Err() != nil {
		return false
	}
	if a.stalled {
		return true
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
	a.proc = proc
	t.attach(a)
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

// attach makes an attempt's ssh the tunnel's, and feeds it what is kept.
func (t *Tunnel) attach(a *attempt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.proc = a.proc
	t.unhook = context.AfterFunc(t.ctx, a.proc.abort)
	t.feeders.Add(1)
	go t.feed(a)
}

// detach gives an attempt up; what is kept stays for the next.
func (t *Tunnel) detach(a *attempt) {
	t.mu.Lock()
	t.proc = nil
	t.unhook()
	t.changed.Broadcast()
	t.mu.Unlock()
	a.proc.abort()
}

// stand settles the tunnel on an attempt, unless that was just given up.
func (t *Tunnel) stand(a *attempt) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a.stalled {
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
	defer t.feeders.Done()
	sent := 0
	for {
		chunk, more := t.nextKept(a.proc, sent)
		if !more {
			return
		}
		if a.reused && a.mode == ModeForward && sent == 0 {
			timer := time.AfterFunc(t.plan.cfg.StaleAfter, func() { t.stall(a) })
			defer timer.Stop()
		}
		n, err := a.proc.stdin.Write(chunk)
		sent += n
		if err != nil {
			t.feedFailed(a.proc)
			return
		}
	}
}

// nextKept waits for bytes that proc has not got yet; false means that none will
// come this way.
func (t *Tunnel) nextKept(proc *process, sent int) ([]byte, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.proc == proc && t.err == nil {
		if sent < len(t.kept) {
			return t.kept[sent:], true
		}
		if t.up {
			t.openDirect(proc)
			return nil, false
		}
		t.changed.Wait()
	}
	return nil, false
}

// feedFailed leaves the failure to the next Write if the tunnel stands.
func (t *Tunnel) feedFailed(proc *process) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.proc == proc && t.err == nil {
		if t.up {
			t.openDirect(proc)
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

// stall gives up an attempt over a master that does not answer.
func (t *Tunnel) stall(a *attempt) {
	t.mu.Lock()
	a.stalled = t.proc == a.proc && !t.up
	late := a.stalled
	t.mu.Unlock()
	if late {
		a.proc.abort()
	}
}

// explain tells why neither the forward nor the bridge led to a relay.
func (t *Tunnel) explain(why cause, bridge *attempt) error {
	switch {
	case bridge.strange == nil && bridge.exit == 255 && !noBridge(bridge.stderr, bridge.exit):
		return classify(t.plan.host, bridge.stderr, bridge.exit)
	case bridge.strange == nil && !noBridge(bridge.stderr, bridge.exit):
		return &Error{
			Kind:    NoRelay,
			Message: "the jumpget on " + t.plan.host.name() + " did not reach a relay",
			Hint:    "start it there: jumpget serve; if it runs, its socket has to be in the settings of this login there (local-socket)",
			Detail:  detail(bridge.stderr),
		}
	case why == causeUnknown:
		why = t.findCause()
	}
	return t.noRelay(why, bridge)
}

// findCause asks once more, past any master, because a master's clients are not
// told why a forward failed.
func (t *Tunnel) findCause() cause {
	limited, cancel := context.WithTimeout(t.ctx, t.plan.cfg.ConnectTimeout)
	defer cancel()
	a, err := t.plan.query(limited, t.plan.probe()...)
	if err != nil {
		return causeUnknown
	}
	if why := forwardCause(a.stderr); why != causeNone {
		return why
	}
	return causeUnknown
}

// noRelay is the error for a forward that failed where no bridge helped; bridge
// is nil if none was tried.
func (t *Tunnel) noRelay(why cause, bridge *attempt) *Error {
	host, target := t.plan.host.name(), t.plan.cfg.Target
	e := &Error{Kind: NoRelay, Hint: "start it there: jumpget serve"}
	switch why {
	case causeProhibited:
		e.Kind = ForwardRefused
		e.Message = host + " allows no forwarding and has no jumpget to go through instead"
		e.Hint = "allow it there (AllowTcpForwarding, PermitOpen " + target + "), or install jumpget there"
	case causeRefused:
		e.Message = fmt.Sprintf("no relay listens at %s on %s", target, host)
	case causeStranger:
		e.Message = fmt.Sprintf("what listens at %s on %s is no relay", target, host)
		e.Hint = "name the relay's port: --local-port"
	case causeHungUp:
		e.Message = fmt.Sprintf("what listens at %s on %s hung up without an answer", target, host)
		e.Hint = "look at the relay's log there: journalctl -u jumpget"
	default:
		e.Message = fmt.Sprintf("no relay was found at %s on %s: it does not run there, or forwarding is not allowed", target, host)
	}
	if bridge != nil {
		e.Detail = detail(bridge.stderr)
		if bridge.strange != nil {
			e.Detail = clean(fmt.Sprintf("its shell answered %q", excerpt(bridge.said)))
		}
	}
	return e
}
