package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/jumpget/jumpget/internal/client"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/progress"
	"github.com/jumpget/jumpget/internal/wire"
)

const sessionsHelp = `After a run over ssh the relay gives this machine a session, in which the next
runs need no ssh. "jumpget sessions" lists yours; "jumpget sessions revoke" ends
one, and with it what is under way in it. Both go over ssh, since a session may
do neither. On the relay's machine its operator sees and ends everybody's with
--all-users.`

// shownSession is a session as it is listed.
type shownSession struct {
	wire.Session
	Here bool `json:"here"` // this machine keeps it
}

func (a *app) sessionsCommand() *cobra.Command {
	var everybody bool
	cmd := a.addRelay(&cobra.Command{
		Use:   "sessions",
		Short: "list your sessions at the relay, or revoke them",
		Long:  sessionsHelp,
		Args:  args(cobra.NoArgs),
		RunE: a.withConfig(func(ctx context.Context, _ []string) error {
			return a.withLogin(everybody, func(c *client.Client) error {
				all, err := c.Sessions(ctx, everybody)
				if err != nil {
					return withoutSessions(err)
				}
				return a.printSessions(marked(c, all), everybody)
			})
		}),
	})
	addEverybody(cmd, &everybody)
	cmd.AddCommand(a.revokeCommand())
	return cmd
}

func (a *app) revokeCommand() *cobra.Command {
	var everybody, all bool
	cmd := a.addRelay(&cobra.Command{
		Use:   "revoke [SESSION...]",
		Short: "end sessions, and what is under way in them",
		RunE: a.withConfig(func(ctx context.Context, names []string) error {
			if all == (len(names) > 0) {
				return usagef("name the sessions to revoke, or give --all").withHint("`jumpget sessions` lists them")
			}
			return a.withLogin(everybody, func(c *client.Client) error { return a.revoke(ctx, c, names, everybody) })
		}),
	})
	addEverybody(cmd, &everybody)
	cmd.Flags().BoolVar(&all, "all", false, "all of yours; with --all-users everybody's")
	return cmd
}

func addEverybody(cmd *cobra.Command, to *bool) {
	cmd.Flags().BoolVar(to, "all-users", false, "as the relay's operator, on its machine: everybody's")
}

// revoke ends the named sessions, or all if none is named.
func (a *app) revoke(ctx context.Context, c *client.Client, names []string, everybody bool) error {
	if len(names) == 0 {
		if err := c.Revoke(ctx, "", everybody); err != nil {
			return withoutSessions(err)
		}
		a.say("all sessions are revoked")
		return nil
	}
	for _, name := range names {
		id, err := findSession(ctx, c, name, everybody)
		if err != nil {
			return err
		}
		if err := c.Revoke(ctx, id, everybody); err != nil {
			return err
		}
		a.say("revoked %s", id)
	}
	return nil
}

// withLogin is withClient for what no session may do: it goes over ssh, or for
// the operator to the relay on this machine.
func (a *app) withLogin(operator bool, f func(*client.Client) error) error {
	a.cfg.Client.NoSession = true
	if !operator {
		return a.withClient(f)
	}
	return using(f)(client.New(client.Config{
		Tunnel:    func(ctx context.Context) (net.Conn, error) { return dialFirst(ctx, a.cfg.Relay.Sockets()) },
		NoSession: true, Version: programVersion(a.proc.Version), Timeout: a.cfg.Client.Timeout, Tries: 1,
	}))
}

// withoutSessions explains why a relay has no route for what lists or ends all.
func withoutSessions(err error) error {
	if errors.Is(err, &job.Error{Code: job.CodeNotFound}) {
		return job.Errorf(job.CodeNotFound, "this relay knows no sessions").WithHint("its version is older than this one: upgrade it")
	}
	return err
}

func marked(c *client.Client, all []wire.Session) []shownSession {
	kept, _ := c.KeptSession() // its ID is empty if there is none
	shown := make([]shownSession, len(all))
	for i, s := range all {
		shown[i] = shownSession{s, s.ID == kept.ID}
	}
	return shown
}

// findSession returns the session that a person means: a whole ID, or the
// beginning of one that fits a single session.
func findSession(ctx context.Context, c *client.Client, name string, everybody bool) (job.ID, error) {
	if id := job.ID(strings.ToLower(name)); id.Valid() {
		return id, nil
	}
	all, err := c.Sessions(ctx, everybody)
	if err != nil {
		return "", withoutSessions(err)
	}
	ids := make([]job.ID, len(all))
	for i, s := range all {
		ids[i] = s.ID
	}
	return fitting(ids, name, "session", job.Errorf(job.CodeNotFound, "the relay has no session %q", name).WithHint("`jumpget sessions` lists them"))
}

// printSessions writes a table, or one JSON object a line.
func (a *app) printSessions(all []shownSession, everybody bool) error {
	if a.json {
		for _, s := range all {
			if err := a.writeJSON(s); err != nil {
				return err
			}
		}
		return nil
	}
	if len(all) == 0 {
		a.say("no sessions at the relay")
		return nil
	}
	user := func(string) string { return "" }
	if everybody {
		user = func(name string) string { return name + "\t" }
	}
	w := tabwriter.NewWriter(a.proc.Out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(w, "SESSION\t%sMACHINE\tADDRESS\tUSED\tLEFT\tAT MOST\n", user("USER"))
	for _, s := range all {
		name, addr := s.Name, "-"
		if s.Here {
			name += " (this one)"
		}
		if s.Address.IsValid() {
			addr = s.Address.String()
		}
		_, _ = fmt.Fprintf(w, "%s\t%s%s\t%s\t%s\t%s\t%s\n", s.ID, user(progress.Printable(s.User)), progress.Printable(name), addr,
			s.Used.Local().Format(time.DateTime), timeLeft(s.Expires), timeLeft(s.Until))
	}
	return w.Flush()
}
