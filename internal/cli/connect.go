package cli

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jumpget/jumpget/internal/client"
	"github.com/jumpget/jumpget/internal/config"
	"github.com/jumpget/jumpget/internal/progress"
	"github.com/jumpget/jumpget/internal/sshdial"
)

// sshConfig says how ssh is to reach the relay.
func (a *app) sshConfig() (sshdial.Config, error) {
	c := a.cfg.Client
	if c.Dest.Host == "" {
		return sshdial.Config{}, usagef("no relay is set").
			withHint("give --relay user@host, or put `relay: user@host` into ~/.jumpget.yaml; `jumpget try` needs none")
	}
	state, err := config.StateDir(os.Environ())
	if err != nil {
		return sshdial.Config{}, err
	}
	cfg := sshdial.Config{
		Host:       c.Dest.Host,
		User:       c.Dest.User,
		Port:       c.Dest.Port,
		Identity:   c.Identity,
		Command:    c.SSH,
		ControlDir: filepath.Join(state, "ssh"),
		Greeting:   sshdial.GreetingHTTP2,
		Batch:      a.batch,
	}
	if c.LocalPort > 0 {
		cfg.Target = net.JoinHostPort("127.0.0.1", strconv.Itoa(c.LocalPort))
	}
	return cfg, nil
}

// client returns a client for the relay that the settings name. It connects to
// nothing yet.
func (a *app) client(report progress.Reporter) (*client.Client, error) {
	ssh, err := a.sshConfig()
	if err != nil {
		return nil, err
	}
	state, err := config.StateDir(os.Environ())
	if err != nil {
		return nil, err
	}
	return client.New(a.clientConfig(ssh, state, report))
}

func (a *app) clientConfig(ssh sshdial.Config, state string, report progress.Reporter) client.Config {
	c := a.cfg.Client
	cfg := client.Config{
		Moved:       func(ctx context.Context) error { return sshdial.StopMaster(ctx, ssh) },
		Host:        resolver(ssh),
		Reporter:    report,
		Connections: c.Connections,
		Limit:       c.LimitRate,
		Version:     programVersion(a.proc.Version),
		Secret:      c.LocalSecret,
		StateDir:    state,
		Relay:       c.Dest.String(),
		Login:       strings.Join([]string{c.Identity, c.SSH, strconv.Itoa(c.LocalPort)}, "\n"),
		NoSession:   c.NoSession,
		Timeout:     c.Timeout,
		Tries:       c.Tries,
		Network:     a.network(),
		Log:         slog.New(&noteHandler{report: report}),
	}
	cfg.Tunnel = func(ctx context.Context) (net.Conn, error) {
		ssh := ssh
		ssh.StaleAfter = sshdial.StaleAfter(client.RememberedRTT(cfg))
		return sshdial.Dial(ctx, ssh)
	}
	for _, p := range c.Paths {
		if p != "auto" {
			cfg.Paths = append(cfg.Paths, client.Path(p))
		}
	}
	return cfg
}

// resolver asks ssh for the relay's real host name, which may be an alias'.
func resolver(ssh sshdial.Config) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		h, err := sshdial.Resolve(ctx, ssh)
		return h.Hostname, err
	}
}

func (a *app) network() string {
	switch {
	case a.ipv4 && !a.ipv6:
		return "tcp4"
	case a.ipv6 && !a.ipv4:
		return "tcp6"
	}
	return "tcp"
}

// withClient runs f with a client that reports no progress, and closes it.
func (a *app) withClient(f func(*client.Client) error) error { return using(f)(a.client(nil)) }

// using runs f with a client that was made, and closes it.
func using(f func(*client.Client) error) func(*client.Client, error) error {
	return func(c *client.Client, err error) error {
		if err != nil {
			return err
		}
		err = f(c)
		if cerr := c.Close(); err == nil {
			err = cerr
		}
		return err
	}
}
