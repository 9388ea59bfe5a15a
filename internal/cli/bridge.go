package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/wire"
)

// bridgeCommand is what a client runs on the relay's machine where sshd allows
// no forwarding. Its words are fixed; nothing of the user's stands in them.
func (a *app) bridgeCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "bridge",
		Short:  "connect standard input and output to the relay on this machine",
		Hidden: true,
		Args:   args(cobra.NoArgs),
		RunE: a.withConfig(func(ctx context.Context, _ []string) error {
			return a.bridge(ctx, a.cfg.Relay.Sockets(), os.Getenv("SSH_CONNECTION"))
		}),
	}
}

func (a *app) bridge(ctx context.Context, sockets []string, sshConnection string) error {
	conn, err := dialFirst(ctx, sockets)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if _, err := io.WriteString(conn, wire.BridgePreface+sshClient(sshConnection)+"\n"); err != nil {
		return fmt.Errorf("speaking to the relay: %w", err)
	}
	go func() {
		// The end of our input is the client's goodbye; the relay may still answer.
		_, _ = io.Copy(conn, a.proc.In)
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}()
	if _, err := io.Copy(a.proc.Out, conn); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("the relay's answer broke off: %w", err)
	}
	return nil
}

// sshClient returns the client's address from $SSH_CONNECTION, or "-".
func sshClient(sshConnection string) string {
	if addr, _, ok := strings.Cut(sshConnection, " "); ok && addr != "" {
		return addr
	}
	return "-"
}

// dialFirst connects to the first socket on which somebody listens.
func dialFirst(ctx context.Context, sockets []string) (net.Conn, error) {
	var d net.Dialer
	var errs []error
	for _, name := range sockets {
		conn, err := d.DialContext(ctx, "unix", name)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, job.Errorf(job.CodeUnavailable, "no relay listens on this machine: %w", errors.Join(errs...)).
		WithHint("start it: systemctl start jumpget, or jumpget serve")
}
