package cli

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/jumpget/jumpget/internal/config"
	"github.com/jumpget/jumpget/internal/progress"
	"github.com/jumpget/jumpget/internal/sshdial"
)

// completeJobs offers the user's jobs to the shell. It uses a shared ssh
// connection that stands already and makes none: a person who presses TAB waits
// for no handshake and is asked for no password.
func (a *app) completeJobs(cmd *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	const nothing = cobra.ShellCompDirectiveNoFileComp
	ctx, stop := context.WithTimeout(cmd.Context(), 2*time.Second)
	defer stop()
	cfg, err := config.Load(config.System(cmd.Flags()))
	if err != nil {
		return nil, nothing
	}
	a.cfg, a.batch = cfg, true
	ssh, err := a.sshConfig()
	if err != nil {
		return nil, nothing
	}
	if alive, err := sshdial.MasterAlive(ctx, ssh); err != nil || !alive {
		return nil, nothing
	}
	c, err := a.client(nil)
	if err != nil {
		return nil, nothing
	}
	defer func() { _ = c.Close() }()
	jobs, err := c.Jobs(ctx)
	if err != nil {
		return nil, nothing
	}
	var offers []string
	for _, j := range jobs {
		if !slices.Contains(given, string(j.ID)) {
			offers = append(offers, string(j.ID)+"\t"+progress.Printable(jobName(j)))
		}
	}
	return offers, nothing
}
