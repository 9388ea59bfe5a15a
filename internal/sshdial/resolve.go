package sshdial

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Host is what the user's ssh config makes of a destination.
type Host struct {
	Alias     string // as it was asked for
	Hostname  string // the real host name or address
	User      string
	Port      int
	ProxyJump bool // ssh goes through another host or a proxy command

	hostKeyAlias  string
	controlMaster bool
	controlPath   string
	givenUser     string
	givenPort     int
	digest        string // of all that ssh -G said
}

// Resolve asks "ssh -G" what a destination means. No connection is made, and no
// file of ssh's is read by us. If the ssh command knows no -G, only what the
// Config says is filled in.
func Resolve(ctx context.Context, cfg Config) (Host, error) {
	p, err := newPlan(ctx, cfg)
	if err != nil {
		return Host{}, err
	}
	return p.host, nil
}

// queryLimit ends an ssh that should answer without the network but does not: a
// Match exec of the user's config, or a wrapper that ignores -G.
const queryLimit = 10 * time.Second

// resolve fills in p.host.
func (p *plan) resolve(ctx context.Context) error {
	given := Host{Alias: p.cfg.Host, Hostname: p.cfg.Host, User: p.cfg.User, Port: p.cfg.Port, givenUser: p.cfg.User, givenPort: p.cfg.Port}
	p.host = given
	args := append(p.identity(), "-G", "--", p.cfg.Host)
	out, err := p.query(ctx, args...)
	if err != nil {
		return err
	}
	if out.exit != 0 {
		if e := classify(given, out.stderr, out.exit); e.Kind == BadCommand {
			return e
		}
		return nil
	}
	p.host.parse(out.stdout)
	return nil
}

// parse takes the answer of ssh -G: lines of a lower-case keyword and a value.
func (h *Host) parse(answer string) {
	sum := sha256.Sum256([]byte(answer))
	h.digest = hex.EncodeToString(sum[:8])
	for line := range strings.Lines(answer) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch key {
		case "hostname":
			h.Hostname = value
		case "user":
			h.User = value
		case "port":
			h.Port, _ = strconv.Atoi(value)
		case "proxyjump", "proxycommand":
			h.ProxyJump = h.ProxyJump || value != "" && value != "none"
		case "hostkeyalias":
			h.hostKeyAlias = value
		case "controlpath":
			h.controlPath = value
		case "controlmaster":
			h.controlMaster = value != "false" && value != "no"
		}
	}
	if h.controlPath == "none" {
		h.controlPath = ""
	}
}

// answer is what a short-lived ssh said.
type answer struct {
	stdout, stderr string
	exit           int
}

// query runs ssh without input. Its exit code is no error; a failure to run it is.
func (p *plan) query(ctx context.Context, args ...string) (answer, error) {
	limited, cancel := context.WithTimeout(ctx, queryLimit)
	defer cancel()
	cmd := exec.CommandContext(limited, p.words[0], append(p.words[1:len(p.words):len(p.words)], args...)...)
	var stdout, stderr tail
	cmd.Stdout, cmd.Stderr, cmd.Env = &stdout, &stderr, p.cfg.Env
	cmd.WaitDelay = exitDelay
	err := cmd.Run()
	a := answer{stdout: stdout.String(), stderr: stderr.String(), exit: cmd.ProcessState.ExitCode()}
	if ctx.Err() != nil {
		return a, context.Cause(ctx)
	}
	if cmd.ProcessState == nil {
		return a, &Error{Kind: BadCommand, Message: "ssh can't be started: " + clean(err.Error()), Hint: "look at the ssh command (--ssh)", Err: err}
	}
	return a, nil
}

// SeenFrom returns the address that the relay's sshd sees us come from. It
// runs a command there, so it fails where none may run.
func SeenFrom(ctx context.Context, cfg Config) (netip.Addr, error) {
	p, err := newPlan(ctx, cfg)
	if err != nil {
		return netip.Addr{}, err
	}
	a, err := p.query(ctx, p.seenFrom()...)
	if err != nil {
		return netip.Addr{}, err
	}
	from, _, _ := strings.Cut(strings.TrimSpace(a.stdout), " ")
	addr, err := netip.ParseAddr(from)
	if err != nil || a.exit != 0 {
		return netip.Addr{}, classify(p.host, a.stderr, a.exit)
	}
	return addr.Unmap(), nil
}

// MasterAlive tells whether a shared connection of ours stands.
func MasterAlive(ctx context.Context, cfg Config) (bool, error) {
	p, err := newPlan(ctx, cfg)
	if err != nil || p.sharing != sharingOurs {
		return false, err
	}
	a, err := p.control(ctx, "check")
	return err == nil && a.exit == 0, err
}

// StopMaster ends the shared connection of ours, if one stands. A connection
// that the user's own ssh config shares is left alone.
func StopMaster(ctx context.Context, cfg Config) error {
	p, err := newPlan(ctx, cfg)
	if err != nil || p.sharing != sharingOurs {
		return err
	}
	a, err := p.control(ctx, "exit")
	if err != nil {
		return err
	}
	if a.exit != 0 && socketAnswers(p.socket) {
		return fmt.Errorf("the shared ssh connection to %s did not stop: %s", p.host.name(), detail(a.stderr))
	}
	return nil
}

// retireMaster makes the standing master take no more clients; what runs over it
// goes on. A master that does not even hear that loses its socket.
func (p *plan) retireMaster(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, err := p.control(limited, "stop"); err != nil && ctx.Err() != nil {
		return err
	}
	if err := os.Remove(p.socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("a dead shared ssh connection can't be removed: %w", err)
	}
	return nil
}

// control sends the master one of ssh -O's commands.
func (p *plan) control(ctx context.Context, command string) (answer, error) {
	args := append(p.identity(), "-S", percentQuote(p.socket), "-O", command, "--", p.cfg.Host)
	return p.query(ctx, args...)
}
