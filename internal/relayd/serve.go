package relayd

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/jumpget/jumpget/internal/httpd"
	"github.com/jumpget/jumpget/internal/job"
)

// grace is how long requests under way may go on when the relay shuts down. A
// client whose range is cut asks again after the restart, so it can be short.
const grace = 5 * time.Second

// serve runs every door until ctx ends or one of them fails.
func (d *daemon) serve(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.public.Serve(d.doors.public) })
	if d.udp != nil {
		g.Go(func() error { return d.udp.Serve(d.doors.udp) })
	}
	for _, l := range []net.Listener{d.doors.local, d.doors.socket} {
		if l != nil {
			g.Go(func() error { return d.local.Serve(l) })
		}
	}
	if d.ssh != nil {
		d.log.Info("the ssh endpoint's host key", "fingerprint", d.ssh.Fingerprint())
		g.Go(func() error { return d.ssh.Serve(d.doors.ssh) })
	}
	g.Go(func() error { d.relay.Run(ctx); return nil })
	g.Go(func() error {
		<-ctx.Done()
		d.log.Info("the relay is shutting down")
		d.shutdown(context.WithoutCancel(ctx))
		return nil
	})
	d.opts.Ready(d.addresses())
	return g.Wait()
}

// shutdown tells everybody at once, waits for a while, then cuts.
func (d *daemon) shutdown(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	servers := []interface{ Shutdown(context.Context) error }{d.public, d.local}
	if d.udp != nil {
		servers = append(servers, d.udp)
	}
	if d.ssh != nil {
		servers = append(servers, d.ssh)
	}
	var g errgroup.Group
	for _, s := range servers {
		g.Go(func() error {
			if err := s.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				d.log.Warn("a door did not close cleanly", "err", err)
			}
			return nil
		})
	}
	_ = g.Wait() // each has logged its own
}

// serveChannel leads a channel of the ssh endpoint to the local API.
func (d *daemon) serveChannel(conn net.Conn, user string, from netip.Addr) {
	if err := d.local.ServeConn(conn, httpd.Identity{User: user, Source: job.SourceKeys, Addr: from}); err != nil {
		d.log.Debug("an ssh channel ended", "user", user, "err", err)
	}
}
