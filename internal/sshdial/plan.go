package sshdial

import (
	"context"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// sharing tells who lets several ssh use one connection.
type sharing int

const (
	sharingNone  sharing = iota // nobody
	sharingOurs                 // our control socket
	sharingUsers                // the user's own ssh config
)

// plan is a checked Config with all that is needed to write ssh's arguments.
type plan struct {
	cfg     Config
	words   []string // the program and the user's options
	host    Host
	sharing sharing
	socket  string // of a shared connection
}

// newPlan checks a config, finds ssh and asks it what the destination means.
func newPlan(ctx context.Context, cfg Config) (*plan, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	p := &plan{cfg: cfg}
	if p.words, err = program(cfg.Command); err != nil {
		return nil, err
	}
	if err := p.resolve(ctx); err != nil {
		return nil, err
	}
	p.share()
	return p, nil
}

// share decides about the control socket.
func (p *plan) share() {
	switch {
	case p.host.controlPath != "":
		p.sharing, p.socket = sharingUsers, p.host.controlPath
	case p.cfg.ControlDir != "" && p.host.digest != "" && canShare:
		if dir := controlDir(p.cfg.ControlDir); dir != "" {
			p.sharing, p.socket = sharingOurs, filepath.Join(dir, p.host.digest)
		}
	}
}

// identity is the part of the arguments that says who is called, in every call.
func (p *plan) identity() []string {
	var args []string
	if p.cfg.Port != 0 {
		args = append(args, "-p", strconv.Itoa(p.cfg.Port))
	}
	if p.cfg.User != "" {
		args = append(args, "-l", p.cfg.User)
	}
	if p.cfg.Identity != "" {
		args = append(args, "-i", p.cfg.Identity)
	}
	return args
}

// common are the arguments of each ssh that connects. They keep what the user
// configured about keys and ways, and switch off what costs a channel or writes
// into our stream: terminals, X11, agents, forwards, local and remote commands.
// LogLevel INFO is the lowest that tells why a forward failed.
func (p *plan) common() []string {
	args := append(p.identity(), "-T", "-x", "-a")
	for _, option := range []string{
		"LogLevel=INFO",
		"ClearAllForwardings=yes",
		"PermitLocalCommand=no",
		"RemoteCommand=none",
		"ConnectTimeout=" + wholeSeconds(p.cfg.ConnectTimeout),
		"ServerAliveInterval=10",
		"ServerAliveCountMax=3",
	} {
		args = append(args, "-o", option)
	}
	if p.cfg.Batch {
		args = append(args, "-o", "BatchMode=yes")
	}
	return args
}

// shared are the arguments for a connection that others may use.
func (p *plan) shared() []string {
	if p.sharing != sharingOurs {
		return nil
	}
	return []string{
		"-o", "ControlMaster=auto",
		"-o", `ControlPath="` + percentQuote(p.socket) + `"`,
		"-o", "ControlPersist=" + wholeSeconds(p.cfg.Persist),
	}
}

// forward are the arguments of ssh -W. Everything from the destination on stands
// behind "--" and can't be taken for an option.
func (p *plan) forward(alone bool) []string {
	args := append(p.common(), p.sharedUnless(alone)...)
	return append(args, "-W", p.cfg.Target, "--", p.cfg.Host)
}

// bridge are the arguments of the remote command, whose words are fixed.
func (p *plan) bridge(alone bool) []string {
	args := append(p.common(), p.sharedUnless(alone)...)
	return append(args, "--", p.cfg.Host, "jumpget", "bridge")
}

// hasten are the arguments of an ssh that runs a command which does nothing over
// the shared connection. Should that have gone, ssh would make one of its own:
// the ProxyCommand keeps it from getting anywhere.
func (p *plan) hasten() []string {
	args := append(p.common(), "-o", "ControlMaster=no", "-S", percentQuote(p.socket), "-o", "ProxyCommand=false", "-o", "BatchMode=yes", "-n")
	return append(args, "--", p.cfg.Host, "true")
}

// seenFrom are the arguments of a remote command that tells our address.
func (p *plan) seenFrom() []string {
	args := append(p.common(), p.shared()...)
	return append(args, "-n", "--", p.cfg.Host, "echo", "$SSH_CONNECTION")
}

// probe are the arguments of an ssh whose only purpose is to say why a forward
// fails, without asking a person anything.
func (p *plan) probe() []string {
	args := append(p.common(), "-S", "none", "-o", "BatchMode=yes")
	return append(args, "-W", p.cfg.Target, "--", p.cfg.Host)
}

func (p *plan) sharedUnless(alone bool) []string {
	if alone {
		return []string{"-S", "none"}
	}
	return p.shared()
}

// masterStands tells whether a shared connection will carry the next ssh. The
// socket's listener answers even while the network behind it is dead.
func (p *plan) masterStands() bool {
	switch p.sharing {
	case sharingOurs:
		return socketAnswers(p.socket)
	case sharingUsers: // older releases of ssh show the path as it is written
		return !strings.Contains(p.socket, "%") && socketAnswers(p.socket)
	}
	return false
}

func socketAnswers(path string) bool {
	d := net.Dialer{Timeout: time.Second}
	c, err := d.Dial("unix", path)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// percentQuote keeps ssh from expanding a path.
func percentQuote(path string) string { return strings.ReplaceAll(path, "%", "%%") }

// wholeSeconds rounds up: 0 means "for ever" to ssh.
func wholeSeconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}
