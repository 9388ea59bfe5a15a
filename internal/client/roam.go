package client

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/jumpget/jumpget/internal/progress"
	"github.com/jumpget/jumpget/internal/reach"
	"github.com/jumpget/jumpget/internal/wire"
)

const (
	// ownAddressWait bounds the look-up of the relay's name; a cold ssh, which
	// does the same, takes longer.
	ownAddressWait = 250 * time.Millisecond

	roamEvery = time.Second // between two looks at our own address
)

// ownAddress is the address that this machine would use towards the relay, which
// is also what the relay sees unless the network translates it. Nothing is sent.
func (c *Client) ownAddress(ctx context.Context) netip.Addr {
	at := c.relayAt.Load()
	if at == nil {
		host, err := c.host()
		if err != nil || host == "" {
			return netip.Addr{}
		}
		s := net.JoinHostPort(host, strconv.Itoa(wire.DefaultPublicPort))
		at = &s
	}
	d := net.Dialer{Timeout: ownAddressWait}
	conn, err := d.DialContext(ctx, "udp"+strings.TrimPrefix(c.cfg.Network, "tcp"), *at)
	if err != nil {
		return netip.Addr{}
	}
	defer func() { _ = conn.Close() }() // nothing was written
	found := conn.RemoteAddr().String()
	c.relayAt.Store(&found) // so that the name is looked up once
	own, _ := netip.ParseAddrPort(conn.LocalAddr().String())
	if own.Addr().IsLoopback() || own.Addr().IsLinkLocalUnicast() {
		return netip.Addr{} // it names another machine over there
	}
	return own.Addr().Unmap()
}

// roaming notices when this machine's address changes: every connection is dead
// then, without a word, and each would be waited for in vain.
type roaming struct {
	own    func(context.Context) netip.Addr
	last   netip.Addr
	looked time.Duration
}

// look returns the new address if it has changed since the last look.
func (r *roaming) look(ctx context.Context, now time.Duration) (netip.Addr, bool) {
	if r.looked > 0 && now-r.looked < roamEvery {
		return netip.Addr{}, false
	}
	r.looked = now
	addr := r.own(ctx)
	if !addr.IsValid() || addr == r.last {
		return addr, false
	}
	moved := r.last.IsValid()
	r.last = addr
	return addr, moved
}

// moved makes everything anew from another address. UDP finds its way by itself,
// also as a session's stream.
func (d *download) moved(ctx context.Context, addr netip.Addr) {
	d.report.note(progress.Info, "this machine has a new address: connecting again")
	d.wg.Go(func() {
		way := d.c.api.tunnel.way()
		if d.c.cfg.Moved != nil && way == reach.SSH {
			if err := d.c.cfg.Moved(ctx); err != nil {
				d.c.cfg.Log.Debug("the old ssh connection could not be ended", "error", err)
			}
		}
		if way != reach.UDP {
			d.c.api.tunnel.abandon(time.Now())
		}
		if err := d.access.grant(ctx, addr, time.Now()); err != nil && ctx.Err() == nil {
			d.c.cfg.Log.Debug("our new address could not be allowed", "address", addr, "error", err)
		}
	})
	d.door.reconnect()
}
