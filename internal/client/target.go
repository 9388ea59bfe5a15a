package client

import (
	"context"
	"errors"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/wire"
)

// target is where a slot connects to.
type target struct {
	endpoint job.Endpoint
	guess    bool
	pin      func(context.Context) (string, error) // nil: the endpoint's
}

// errElsewhere says that a guess at the door's place was wrong.
var errElsewhere = errors.New("the relay's public door is elsewhere")

// target returns the endpoint to connect to. With may and without a ticket it
// is a guess, whose pin the ticket has to bring.
func (o *door) target(ctx context.Context, may bool) (target, error) {
	if may {
		if e, ok := o.guess(); ok {
			return target{endpoint: e, guess: true, pin: func(ctx context.Context) (string, error) { return o.pinOf(ctx, e) }}, nil
		}
	}
	t, err := o.d.waitTicket(ctx)
	if err != nil {
		return target{}, err
	}
	doors := job.HTTPEndpoints(t.Endpoints)
	if len(doors) == 0 {
		return target{}, job.Errorf(job.CodeUnavailable, "the relay has told no public door")
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return target{endpoint: doors[o.endpoint%len(doors)]}, nil
}

// first is the endpoint that comes first; its host is empty if there is none.
func (o *door) first() job.Endpoint {
	t, _, _ := o.d.ticket.get()
	if doors := job.HTTPEndpoints(t.Endpoints); len(doors) > 0 {
		return doors[0]
	}
	return job.Endpoint{}
}

// guess is where the door probably is: where the session says, where it was the
// last time, or the default port of the machine that ssh reaches.
func (o *door) guess() (job.Endpoint, bool) {
	if _, has, _ := o.d.ticket.get(); has {
		return job.Endpoint{}, false
	}
	if e, ok := o.d.advance.door(); ok {
		return e, true
	}
	if r, ok := o.d.c.memory.load(); ok {
		return job.Endpoint{Scheme: r.Scheme, Host: r.Host, Port: r.Port}, true
	}
	host, err := o.d.c.host()
	if err != nil || host == "" {
		return job.Endpoint{}, false
	}
	return job.Endpoint{Scheme: "https", Host: host, Port: wire.DefaultPublicPort}, true
}

// pinOf waits for the ticket and returns the pin of the door at e. A session has
// told it: the handshake can end before there is a ticket, whose pin has to be the
// same for the connection to be used.
func (o *door) pinOf(ctx context.Context, e job.Endpoint) (string, error) {
	if known, ok := o.d.advance.door(); ok && sameDoor(known, e) {
		return known.Pin, nil
	}
	t, err := o.d.waitTicket(ctx)
	if err != nil {
		return "", err
	}
	for _, known := range t.Endpoints {
		if sameDoor(known, e) {
			return known.Pin, nil
		}
	}
	return "", errElsewhere
}

func sameDoor(a, b job.Endpoint) bool {
	return a.Scheme == b.Scheme && a.Host == b.Host && a.Port == b.Port
}
