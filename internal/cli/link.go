package cli

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/jumpget/jumpget/internal/client"
	"github.com/jumpget/jumpget/internal/job"
)

func (a *app) linkCommand() *cobra.Command {
	return a.addRelay(&cobra.Command{
		Use:   "link JOB",
		Short: "print a public link with its token, for a browser or phone",
		Long: `Prints a link to a job's file at the relay's public door. The link alone opens
nothing: the address that it is used from has to be granted too, see
"jumpget allow". Whoever has both has the file.`,
		Args:              args(cobra.ExactArgs(1)),
		ValidArgsFunction: a.completeJobs,
		RunE: a.withConfig(func(ctx context.Context, args []string) error {
			a.cfg.Client.NoSession = true // a link that is made in a session ends with it
			return a.withClient(func(c *client.Client) error { return a.link(ctx, c, args[0]) })
		}),
	})
}

func (a *app) link(ctx context.Context, c *client.Client, name string) error {
	id, err := findJob(ctx, c, name)
	if err != nil {
		return err
	}
	link, err := c.Link(ctx, id)
	if err != nil {
		return err
	}
	if a.json {
		return a.writeJSON(map[string]string{"job": string(id), "url": link})
	}
	if _, err := fmt.Fprintln(a.proc.Out, link); err != nil {
		return fmt.Errorf("writing the link: %w", err)
	}
	a.say("it works only from an address that you grant: jumpget allow %s ADDRESS", id)
	return nil
}

func (a *app) allowCommand() *cobra.Command {
	var keep string
	cmd := a.addRelay(&cobra.Command{
		Use:   "allow [JOB] ADDRESS",
		Short: "grant an address the use of a job's link, or of all your jobs'",
		Args:  args(cobra.RangeArgs(1, 2)),
		ValidArgsFunction: func(cmd *cobra.Command, given []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(given) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return a.completeJobs(cmd, given, word)
		},
		RunE: a.withConfig(func(ctx context.Context, args []string) error {
			var d time.Duration
			var err error
			if keep != "" {
				if d, err = parseAge(keep); err != nil {
					return err
				}
			}
			addr, err := netip.ParseAddr(args[len(args)-1])
			if err != nil || addr.Zone() != "" {
				return usagef("%q is not an address", args[len(args)-1]).withHint("give one like 203.0.113.7 or 2001:db8::7")
			}
			return a.withClient(func(c *client.Client) error { return a.allow(ctx, c, args[:len(args)-1], addr.Unmap(), d) })
		}),
	})
	cmd.Flags().StringVar(&keep, "for", "", "how long: a `TIME` such as 90m, 12h or 2d (default: as long as the job is kept)")
	return cmd
}

// allow grants addr for the named job; for all jobs if none is named.
func (a *app) allow(ctx context.Context, c *client.Client, name []string, addr netip.Addr, d time.Duration) error {
	var id job.ID
	if len(name) > 0 {
		var err error
		if id, err = findJob(ctx, c, name[0]); err != nil {
			return err
		}
	}
	if err := c.Allow(ctx, id, addr, d); err != nil {
		return err
	}
	if id == "" {
		a.say("%s may now use the links of all your jobs", addr)
		return nil
	}
	a.say("%s may now use the link of %s", addr, id)
	return nil
}
