package cli

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"

	"github.com/jumpget/jumpget/internal/config"
	"github.com/jumpget/jumpget/internal/relayd"
)

func (a *app) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "run the relay (also: jumpget --server)",
		Long: `Runs the relay: a local API that clients reach over ssh, and the public door that
serves files to whoever has a job's token and a granted address.`,
		Example: "  jumpget serve\n  jumpget serve --ssh-listen :2222 --quota 20G --retain 2d",
		Args:    args(cobra.NoArgs),
		RunE:    a.withConfig(func(ctx context.Context, _ []string) error { return a.serve(ctx) }),
	}
	config.AddFlags(cmd.Flags(), config.ForRelay)
	return cmd
}

func (a *app) serve(ctx context.Context) error {
	log := a.logger(a.cfg.Relay.LogFormat, a.cfg.Relay.LogLevel)
	o := relayOptions(a.cfg.Relay)
	o.Version = programVersion(a.proc.Version)
	o.Log = log
	o.Ready = func(at relayd.Addresses) {
		log.Info("the relay is ready", "local", at.Local.String(), "socket", at.Socket, "public", at.Public.String(), "ssh", sshText(at.SSH), "pin", at.Pin)
	}
	return relayd.Run(ctx, o)
}

func sshText(at netip.AddrPort) string {
	if !at.IsValid() {
		return relayd.Off
	}
	return at.String()
}

// relayOptions turns settings into what the relay takes.
func relayOptions(c config.Relay) relayd.Options {
	o := relayd.Options{
		DataDir:             c.DataDir,
		LocalAddr:           relayd.Off,
		LocalSocket:         c.LocalSocket,
		LocalSecret:         c.LocalSecret,
		PublicAddr:          ":" + strconv.Itoa(c.PublicPort),
		PublicURL:           c.PublicURL,
		SSHListen:           c.SSHListen,
		AuthorizedKeys:      c.AuthorizedKeys,
		Sessions:            c.Sessions,
		Retain:              c.Retain,
		Quota:               c.Quota,
		MaxFile:             c.MaxFile,
		AllowPrivateOrigins: c.AllowPrivateOrigins,
		TrustedProxies:      c.TrustedProxies,
		Trace:               c.Trace,
	}
	if c.LocalPort > 0 {
		o.LocalAddr = net.JoinHostPort(c.LocalAddr.String(), strconv.Itoa(c.LocalPort))
	}
	if c.PublicAddr.IsValid() {
		o.PublicAddr = net.JoinHostPort(c.PublicAddr.String(), strconv.Itoa(c.PublicPort))
	}
	return o
}

// logger writes to standard error: for a person on a terminal, JSON elsewhere,
// unless format says which.
func (a *app) logger(format, level string) *slog.Logger {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		l = slog.LevelInfo // config has checked the word; empty is the default
	}
	terminal := isTerminal(a.proc.Err)
	if format == "json" || format != "text" && !terminal {
		return slog.New(slog.NewJSONHandler(a.proc.Err, &slog.HandlerOptions{Level: l}))
	}
	return slog.New(tint.NewTextHandler(a.proc.Err, &tint.Options{Level: l, TimeFormat: time.DateTime, NoColor: !terminal || !a.cfg.Client.Color}))
}
