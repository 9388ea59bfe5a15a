package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/jumpget/jumpget/internal/client"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/progress"
	"github.com/jumpget/jumpget/internal/wire"
)

func (a *app) lsCommand() *cobra.Command {
	return a.addRelay(&cobra.Command{
		Use:               "ls [JOB]",
		Short:             "list your jobs on the relay, or show one",
		Args:              args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: a.completeJobs,
		RunE: a.withConfig(func(ctx context.Context, args []string) error {
			return a.withClient(func(c *client.Client) error {
				if len(args) == 1 {
					return a.showJob(ctx, c, args[0])
				}
				jobs, err := c.Jobs(ctx)
				if err != nil {
					return err
				}
				return a.printJobs(jobs)
			})
		}),
	})
}

func (a *app) rmCommand() *cobra.Command {
	return a.addRelay(&cobra.Command{
		Use:               "rm JOB...",
		Short:             "remove jobs from the relay",
		Args:              args(cobra.MinimumNArgs(1)),
		ValidArgsFunction: a.completeJobs,
		RunE: a.withConfig(func(ctx context.Context, args []string) error {
			return a.eachJob(ctx, args, func(c *client.Client, id job.ID) error {
				if err := c.Remove(ctx, id); err != nil {
					return err
				}
				a.say("removed %s", id)
				return nil
			})
		}),
	})
}

func (a *app) extendCommand() *cobra.Command {
	var keep string
	cmd := a.addRelay(&cobra.Command{
		Use:               "extend JOB...",
		Short:             "keep jobs longer on the relay",
		Args:              args(cobra.MinimumNArgs(1)),
		ValidArgsFunction: a.completeJobs,
		RunE: a.withConfig(func(ctx context.Context, args []string) error {
			d, err := parseAge(keep)
			if err != nil {
				return err
			}
			return a.eachJob(ctx, args, func(c *client.Client, id job.ID) error {
				j, err := c.Extend(ctx, id, d)
				if err != nil {
					return err
				}
				if a.json {
					return a.writeJSON(j)
				}
				a.say("%s is kept until %s", j.ID, j.Expires.Local().Format(time.DateTime))
				return nil
			})
		}),
	})
	cmd.Flags().StringVar(&keep, "for", "12h", "how long from now on: a `TIME` such as 90m, 12h or 2d")
	return cmd
}

// eachJob calls f for each of the jobs named, until one fails.
func (a *app) eachJob(ctx context.Context, names []string, f func(*client.Client, job.ID) error) error {
	return a.withClient(func(c *client.Client) error {
		for _, name := range names {
			id, err := findJob(ctx, c, name)
			if err != nil {
				return err
			}
			if err := f(c, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// findJob returns the job that a person means: a whole ID, or the beginning of
// one that fits a single job.
func findJob(ctx context.Context, c *client.Client, name string) (job.ID, error) {
	if id := job.ID(strings.ToLower(name)); id.Valid() {
		return id, nil
	}
	jobs, err := c.Jobs(ctx)
	if err != nil {
		return "", err
	}
	ids := make([]job.ID, len(jobs))
	for i, j := range jobs {
		ids[i] = j.ID
	}
	return fitting(ids, name, "job", job.Errorf(job.CodeNotFound, "the relay has no job %q of yours", name).WithHint("`jumpget ls` lists them"))
}

// fitting returns the one ID that begins with what a person typed; none is the
// error if there is no such ID, and what says what it would be the ID of.
func fitting(ids []job.ID, name, what string, none error) (job.ID, error) {
	var found []job.ID
	for _, id := range ids {
		if name != "" && strings.HasPrefix(string(id), strings.ToLower(name)) {
			found = append(found, id)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", none
	}
	return "", usagef("%q fits %d %ss", name, len(found), what).withHint("give more characters of the %s's name", what)
}

func (a *app) showJob(ctx context.Context, c *client.Client, name string) error {
	id, err := findJob(ctx, c, name)
	if err != nil {
		return err
	}
	j, err := c.Job(ctx, id)
	if err != nil {
		return err
	}
	if a.json {
		return a.writeJSON(j)
	}
	rows := [][2]string{
		{"job", string(j.ID)},
		{"url", j.URL},
		{"state", string(j.State)},
		{"name", jobName(*j)},
		{"received", progress.Size(j.Received) + " of " + progress.Size(jobSize(*j))},
		{"created", j.Created.Local().Format(time.DateTime)},
		{"expires", j.Expires.Local().Format(time.DateTime)},
	}
	if j.Object != nil && j.Object.SHA256 != "" {
		rows = append(rows, [2]string{"sha256", j.Object.SHA256})
	}
	if j.Error != nil {
		rows = append(rows, [2]string{"error", j.Error.Message}, [2]string{"hint", j.Error.Hint})
	}
	w := tabwriter.NewWriter(a.proc.Out, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		_, _ = fmt.Fprintf(w, "%s\t%s\n", r[0], progress.Printable(r[1]))
	}
	return w.Flush()
}

// printJobs writes a table, or one JSON object a line.
func (a *app) printJobs(jobs []wire.Job) error {
	if a.json {
		for _, j := range jobs {
			if err := a.writeJSON(j); err != nil {
				return err
			}
		}
		return nil
	}
	if len(jobs) == 0 {
		a.say("no jobs on the relay")
		return nil
	}
	w := tabwriter.NewWriter(a.proc.Out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "JOB\tSTATE\tHAVE\tSIZE\tLEFT\tNAME")
	for _, j := range jobs {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", j.ID, j.State, progress.Size(j.Received),
			progress.Size(jobSize(j)), timeLeft(j.Expires), progress.Printable(jobName(j)))
	}
	return w.Flush()
}

func timeLeft(t time.Time) string {
	if d := time.Until(t); d > 0 {
		return progress.Duration(d)
	}
	return "over"
}

func jobSize(j wire.Job) int64 {
	if j.Object == nil {
		return job.UnknownSize
	}
	return j.Object.Size
}

func jobName(j wire.Job) string {
	if j.Object == nil {
		return j.URL
	}
	return j.Object.Name
}

// writeJSON writes one value as one line of JSON.
func (a *app) writeJSON(v any) error {
	if err := json.NewEncoder(a.jsonOut()).Encode(v); err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	return nil
}
