package client

import (
	"fmt"
	"time"

	"github.com/jumpget/jumpget/internal/contest"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/progress"
	"github.com/jumpget/jumpget/internal/schedule"
)

// sshHeadStart is what UDP and TCP get of ssh, at least.
const sshHeadStart = 400 * time.Millisecond

// govern lets the governor decide which paths take on work, and sees to it.
func (d *download) govern() {
	e := d.current
	before := d.gov.State()
	udp, tcp := d.gov.Look(time.Since(d.started), d.sight(e))
	if e.permit(PathUDP, udp) && udp == schedule.None {
		e.dropPath(PathUDP) // its connection sees that, and cancels them
	}
	e.permit(PathTCP, tcp)
	if tcp == schedule.None && d.tcp == schedule.Full {
		d.door.reconnect() // what was asked for over TCP would take UDP's room for a long time
	}
	d.tcp = tcp
	d.udp.wanted.put(udp != schedule.None || d.gov.State() == contest.Trying)
	if before == d.gov.State() {
		return
	}
	d.c.cfg.Log.Info("the contest between UDP and TCP has a new state", "state", d.gov.State().String())
	if before != contest.Beaten && d.gov.State() == contest.Trying {
		d.udp.hangUp()
	}
}

// sight gathers what the governor wants to know.
func (d *download) sight(e *engine) contest.Sight {
	s := contest.Sight{Bytes: contest.Bytes{UDP: d.udp.bytes.Load(), TCP: d.door.bytes.Load()}, Left: e.left(), RTT: d.door.inspect().RTT, Ticket: d.ticketAt}
	if c := d.udp.alive.Load(); c != nil {
		stats := c.conn.Stats()
		s.Up, s.Silent, s.Waiting = true, stats.Silent, stats.Waiting
		s.Loss = stats.Loss()
		if stats.RTT > 0 {
			s.RTT = stats.RTT
		}
	}
	return s
}

// sshPatience is how long the other paths get for their first byte before ssh
// helps out: over ssh it would only be in their way. In a session there is no ssh,
// and its stream goes the same ways as they do.
func (d *download) sshPatience() time.Duration {
	if d.c.api.tunnel.inSession() {
		return d.ticketAt + doorSilence
	}
	if !d.gov.MayUDP() {
		return 0
	}
	return d.ticketAt + max(sshHeadStart, 3*d.door.inspect().RTT)
}

// udpRate is what the next run is to know of UDP, see contest.Options.Known.
func (d *download) udpRate(last int64) int64 {
	now := time.Since(d.started)
	mean := float64(d.udp.bytes.Load()) / now.Seconds()
	return int64(d.gov.Learned(now, d.sight(d.current), float64(last), mean))
}

// doorGrace is how long a download lets its relay's public door be unreachable
// before it says so.
const doorGrace = 2 * time.Second

// Times within which somebody who allows UDP alone hears that nothing answers.
const (
	udpGrace = 3 * time.Second
	udpLimit = 15 * time.Second
)

// needUDP is for downloads that may use UDP alone: it says soon that nothing
// answers, and ends those to which nothing ever has.
func (d *download) needUDP() {
	if d.c.allowed(PathTCP) || d.c.allowed(PathSSH) || d.ticketAt == 0 || d.udp.bytes.Load() > 0 {
		return
	}
	t, _, _ := d.ticket.get()
	at, speaks := udpEndpoint(t)
	waited := time.Since(d.started) - d.ticketAt
	where := fmt.Sprintf("%s, UDP port %d", at.Host, at.Port)
	switch up := d.udp.alive.Load() != nil; {
	case !speaks:
		d.fail(job.Errorf(job.CodeUnavailable, "this relay offers no UDP, and no other path is allowed").
			WithHint("leave `--path udp` away"))
	case up: // an origin may take its time
	case waited >= d.c.udpLimit:
		d.fail(job.Errorf(job.CodeUnavailable, "no answer from %s in %v, and no other path is allowed", where, d.c.udpLimit).
			WithHint("leave `--path udp` away if a network on the way blocks UDP, or open the port in the relay's firewall; `jumpget doctor` tells more"))
	case waited >= udpGrace && !d.warned:
		d.warned = true
		d.report.note(progress.Warning, fmt.Sprintf("no answer yet from %s, the only path that is allowed: trying for %v in all", where, d.c.udpLimit))
	}
}

// warnOfDoor says once that the public door can't be reached, where nothing
// but ssh is left or not even that.
func (d *download) warnOfDoor() {
	err := d.door.why()
	if err == nil || d.warned || d.udp.delivering() || d.ticketAt == 0 || time.Since(d.started)-d.ticketAt < doorGrace {
		return
	}
	d.warned = true
	rest := "trying again and again"
	if d.c.allowed(PathSSH) {
		rest = "going over ssh, which is slower"
	}
	d.report.note(progress.Warning, fmt.Sprintf("the relay's public door can't be reached: %v; %s. `jumpget doctor` tells more", err, rest))
}

// delivering tells whether UDP brings bytes at the moment.
func (p *udpPath) delivering() bool {
	c := p.alive.Load()
	return c != nil && p.bytes.Load() > 0 && c.conn.Stats().Silent < time.Second
}
