package sshdial

import (
	"context"
	"fmt"
)

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
