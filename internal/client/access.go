package client

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/wire"
)

// access has addresses granted and tickets renewed over ssh, once for all the
// workers that run into the same refusal.
type access struct {
	d       *download
	busy    chan struct{} // held while asking
	granted map[netip.Addr]time.Time
	seen    netip.Addr // the last address that was granted
}

func newAccess(d *download) *access {
	return &access{d: d, busy: make(chan struct{}, 1), granted: map[netip.Addr]time.Time{}}
}

func (a *access) lock(ctx context.Context) error {
	select {
	case a.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (a *access) unlock() { <-a.busy }

// grant has an address allowed that refused a request made at the time asked.
// If somebody had it allowed since then, that will do.
func (a *access) grant(ctx context.Context, addr netip.Addr, asked time.Time) error {
	if err := a.lock(ctx); err != nil {
		return err
	}
	defer a.unlock()
	if a.granted[addr].After(asked) {
		return nil
	}
	t, _, _ := a.d.ticket.get()
	if err := a.d.c.Allow(ctx, t.Job, addr, 0); err != nil {
		return err
	}
	a.d.c.cfg.Log.Info("had our address allowed at the relay", "address", addr)
	a.granted[addr] = time.Now()
	a.seen = addr
	return nil
}

// address returns the last address that was granted; invalid if none was.
func (a *access) address(ctx context.Context) netip.Addr {
	if a.lock(ctx) != nil {
		return netip.Addr{}
	}
	defer a.unlock()
	return a.seen
}

// renew gets a fresh ticket in place of one whose token was refused. If there
// is another one by now, that will do.
func (a *access) renew(ctx context.Context, refused string) error {
	if err := a.lock(ctx); err != nil {
		return err
	}
	defer a.unlock()
	t, _, _ := a.d.ticket.get()
	if t.Token != refused {
		return nil
	}
	var fresh wire.Ticket
	if err := a.d.c.api.call(ctx, http.MethodPost, wire.JobPath(t.Job, "/ticket"), nil, &fresh); err != nil {
		return err
	}
	next := fresh.Ticket()
	next.Endpoints = a.d.c.complete(next.Endpoints)
	a.d.ticket.put(next)
	a.d.c.cfg.Log.Info("the token was renewed")
	return nil
}

// waitTicket returns the ticket once there is one.
func (d *download) waitTicket(ctx context.Context) (job.Ticket, error) {
	return d.ticket.wait(ctx, anything)
}
