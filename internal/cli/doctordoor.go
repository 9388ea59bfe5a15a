package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/jumpget/jumpget/internal/client"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/span"
	"github.com/jumpget/jumpget/internal/sshdial"
	"github.com/jumpget/jumpget/internal/transport"
	"github.com/jumpget/jumpget/internal/wire"
)

// knockTimeout bounds one attempt at the public door.
const knockTimeout = 10 * time.Second

// door knocks at every endpoint of the public door and asks it which address
// it sees.
func (e *examination) door(ctx context.Context, c *client.Client, s *wire.Status) {
	ssh, err := e.app.sshConfig()
	if err != nil {
		e.bad(ctx, "door", err)
		return
	}
	open := false
	doors := job.HTTPEndpoints(wire.ToEndpoints(s.Endpoints))
	for _, at := range doors {
		if at.Host == "" {
			host, err := sshdial.Resolve(ctx, ssh)
			if err != nil {
				e.bad(ctx, "door", err)
				return
			}
			at.Host = host.Hostname
		}
		open = e.knock(ctx, at) || open
	}
	switch {
	case len(doors) == 0:
		e.note("door", "everything goes through ssh", "the relay has no public door")
	case open:
		e.address(ctx, c, s.Observed)
	}
}

// knock connects to one endpoint and checks its certificate.
func (e *examination) knock(ctx context.Context, at job.Endpoint) bool {
	ctx, stop := context.WithTimeout(ctx, knockTimeout)
	defer stop()
	begin := time.Now()
	d := transport.Dialer{Network: e.app.network()}
	conn, err := d.Dial(ctx, at)
	if err != nil {
		f := classify(ctx, err)
		if f.Code == "network" {
			f.Hint = fmt.Sprintf("open port %d in the relay's firewall; until then everything goes over ssh", at.Port)
		}
		e.tell(finding{What: "door", Verdict: findBad, Text: f.Message, Hint: f.Hint, Exit: f.Exit})
		return false
	}
	_ = conn.Close() // nothing was sent
	how := "the pin is right"
	switch {
	case at.Scheme == "http":
		how = "no TLS"
	case at.Pin == "":
		how = "the certificate is trusted"
	}
	e.ok("door", "%s is open, connected in %s, %s", net.JoinHostPort(at.Host, strconv.Itoa(at.Port)), time.Since(begin).Round(time.Millisecond), how)
	return true
}

// address tells which address of ours ssh and the public door see. The door
// answers only to a token, so it takes a job to ask with.
func (e *examination) address(ctx context.Context, c *client.Client, bySSH netip.Addr) {
	ticket, name, err := e.anyTicket(ctx, c)
	switch {
	case err != nil:
		e.bad(ctx, "address", err)
		return
	case ticket == nil:
		e.note("address", "run it again when `jumpget ls` shows a job", "ssh sees %s; the door answers only about a job, and you have none there", addrText(bySSH))
		return
	}
	e.udp(ctx, c, *ticket)
	if !bySSH.IsValid() { // a forward does not tell the relay
		if cfg, err := e.app.sshConfig(); err == nil {
			bySSH, _ = sshdial.SeenFrom(ctx, cfg) // not every login may run a command
		}
	}
	byDoor, err := e.seenBy(ctx, *ticket, name)
	var refused *transport.NotGrantedError
	switch {
	case err == nil:
		e.ok("address", "ssh sees %s; the door lets you in", addrText(bySSH))
	case errors.As(err, &refused) && byDoor == bySSH:
		e.ok("address", "ssh and the door both see %s", addrText(bySSH))
	case errors.As(err, &refused) && byDoor.IsValid():
		e.note("address", "nothing to do: downloads have the second one granted over ssh", "ssh sees %s, the door sees %s", addrText(bySSH), byDoor)
	default:
		e.bad(ctx, "address", err)
	}
}

// udp asks for a byte over UDP, which is what makes lossy links fast.
func (e *examination) udp(ctx context.Context, c *client.Client, t job.Ticket) {
	ctx, stop := context.WithTimeout(ctx, knockTimeout)
	defer stop()
	k, err := c.KnockUDP(ctx, t)
	switch {
	case err != nil:
		e.note("udp", "open the relay's public port for UDP too; over TCP a lossy link is slower", "it does not answer: %v", err)
	case k == nil:
		e.note("udp", "the relay's log says why", "the relay has no UDP")
	case k.Refused.IsValid():
		e.ok("udp", "port %d answers in %s; it sees %s", k.Endpoint.Port, k.Answer.Round(time.Millisecond), k.Refused)
	default:
		e.ok("udp", "port %d answers in %s, in packets of up to %d bytes", k.Endpoint.Port, k.Answer.Round(time.Millisecond), k.Datagram)
	}
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return "an address that it does not tell"
	}
	return a.String()
}

// anyTicket returns a fresh ticket for some job with bytes to ask for.
func (e *examination) anyTicket(ctx context.Context, c *client.Client) (*job.Ticket, string, error) {
	jobs, err := c.Jobs(ctx)
	if err != nil {
		return nil, "", err
	}
	for _, j := range jobs {
		if j.State == job.Ready && j.Object != nil && j.Object.Size > 0 {
			t, err := c.Ticket(ctx, j.ID)
			return t, j.Object.Name, err
		}
	}
	return nil, "", nil
}

// seenBy asks the public door for a job's first byte. The address it returns is
// ours as the door sees it, if it refused us for that.
func (e *examination) seenBy(ctx context.Context, t job.Ticket, name string) (netip.Addr, error) {
	ctx, stop := context.WithTimeout(ctx, knockTimeout)
	defer stop()
	var last error
	for _, at := range job.HTTPEndpoints(t.Endpoints) {
		err := e.askByte(ctx, at, t, name)
		var refused *transport.NotGrantedError
		if err == nil || errors.As(err, &refused) {
			if refused != nil {
				return refused.Addr, err
			}
			return netip.Addr{}, nil
		}
		last = err
	}
	return netip.Addr{}, last
}

func (e *examination) askByte(ctx context.Context, at job.Endpoint, t job.Ticket, name string) error {
	d := transport.Dialer{Network: e.app.network()}
	conn, err := d.Dial(ctx, at)
	if err != nil {
		return err
	}
	c := transport.NewRangeConn(conn, transport.RangeOptions{Stall: knockTimeout})
	defer func() { _ = c.Close() }()
	err = c.Request(transport.Get{
		Host:  net.JoinHostPort(at.Host, strconv.Itoa(at.Port)),
		Path:  at.Path + wire.PublicPath(t.Job, name),
		Token: t.Token,
		Span:  span.Span{Start: 0, End: 1},
	})
	if err != nil {
		return err
	}
	_, err = c.Receive(func(off int64, p []byte) (int64, error) { return off + int64(len(p)), nil })
	return err
}
