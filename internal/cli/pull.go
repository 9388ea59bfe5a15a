package cli

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"github.com/spf13/cobra"

	"github.com/jumpget/jumpget/internal/client"
	"github.com/jumpget/jumpget/internal/config"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/progress"
	"github.com/jumpget/jumpget/internal/wire"
)

func (a *app) addCommand() *cobra.Command {
	f := &downloadFlags{}
	cmd := a.addRelay(&cobra.Command{
		Use:   "add URL...",
		Short: "have the relay bring files, and leave; `jumpget pull` fetches them later",
		Args:  cobra.ArbitraryArgs,
	})
	f.origin.add(cmd.Flags())
	addLists(cmd.Flags(), &f.lists)
	cmd.RunE = a.withConfig(func(ctx context.Context, words []string) error {
		if len(words) == 0 && len(f.lists) == 0 {
			return usagef("no URL is given").withHint("usage: %s", cmd.UseLine())
		}
		orders, err := a.orders(ctx, words, f)
		if err != nil {
			return err
		}
		return a.withClient(func(c *client.Client) error { return a.add(ctx, c, orders) })
	})
	return cmd
}

// addAtOnce is how many submissions are under way at a time: each takes a round trip.
const addAtOnce = 16

// added is what became of one submission.
type added struct {
	job *wire.Job
	err error
}

// add submits every order, even if one fails, and tells of them in order.
func (a *app) add(ctx context.Context, c *client.Client, orders []order) error {
	var codes []int
	for came := range submitAll(ctx, c, orders) {
		j, err := came.job, came.err
		switch {
		case err != nil:
			f := classify(ctx, err)
			codes = append(codes, f.Exit)
			a.printFailure(f)
		case a.json:
			err = a.writeJSON(j)
		default:
			_, err = fmt.Fprintf(a.proc.Out, "%s  %s\n", j.ID, progress.Printable(j.URL))
		}
		if err != nil && len(codes) == 0 {
			return err
		}
	}
	if code := combine(codes); code != exitOK {
		return &shownError{code}
	}
	return nil
}

// submitAll submits several orders at a time and yields what became of each, in
// their order.
func submitAll(ctx context.Context, c *client.Client, orders []order) iter.Seq[added] {
	return func(yield func(added) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var group sync.WaitGroup
		defer group.Wait()
		defer cancel() // if nobody wants to hear more
		slots := make(chan struct{}, addAtOnce)
		results := make([]chan added, len(orders))
		for i := range results {
			results[i] = make(chan added, 1)
		}
		group.Go(func() {
			for i, o := range orders {
				slots <- struct{}{}
				group.Go(func() {
					defer func() { <-slots }()
					j, err := c.Add(ctx, o.req)
					results[i] <- added{j, err}
				})
			}
		})
		for _, result := range results {
			if !yield(<-result) {
				return
			}
		}
	}
}

func (a *app) pullCommand() *cobra.Command {
	out := outputFlags{}
	cmd := &cobra.Command{
		Use:               "pull [JOB...]",
		Short:             "fetch jobs that were added before; all ready ones if none is named",
		ValidArgsFunction: a.completeJobs,
		Args:              cobra.ArbitraryArgs,
	}
	out.add(cmd.Flags())
	config.AddFlags(cmd.Flags(), config.ForClient)
	a.addCommon(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, words []string) error {
		out.name = outputName(out.name)
		a.stdoutIsData = out.name == "-"
		return a.withConfig(func(ctx context.Context, words []string) error { return a.pull(ctx, words, out) })(cmd, words)
	}
	return cmd
}

func (a *app) pull(ctx context.Context, names []string, out outputFlags) error {
	if out.name != "" && out.name != "-" && len(names) != 1 {
		return usagef("-o names one file").withHint("name one job, or use -d DIR")
	}
	dir := a.cfg.Client.Dir
	if out.dir != "" {
		dir = out.dir
	}
	sums, err := parseChecksums(out.checksums)
	if err != nil {
		return err
	}
	var orders []order
	err = a.withClient(func(c *client.Client) error {
		jobs, err := a.wanted(ctx, c, names)
		for _, j := range jobs {
			if j.Files > 0 && out.name != "" {
				return usagef("the job %s is a bundle of %d files, and -o names one", j.ID, j.Files).withHint("use -d DIR")
			}
			orders = append(orders, order{job: j.ID, files: j.Files, req: job.Request{URL: j.URL}, dir: dir, output: out.name, checksums: sums})
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case len(orders) == 0:
		a.say("no job is ready on the relay; `jumpget ls` lists them all")
		return nil
	case out.dryRun:
		return a.explain(orders)
	}
	return a.run(ctx, orders, out)
}

// wanted returns the jobs named, or all that are ready. Of several jobs for the
// same bytes, as when a URL was submitted twice, it takes one.
func (a *app) wanted(ctx context.Context, c *client.Client, names []string) ([]wire.Job, error) {
	var found []wire.Job
	for _, name := range names {
		id, err := findJob(ctx, c, name)
		if err != nil {
			return nil, err
		}
		j, err := c.Job(ctx, id)
		if err != nil {
			return nil, err
		}
		found = append(found, *j)
	}
	if len(names) > 0 {
		return found, nil
	}
	all, err := c.Jobs(ctx)
	seen := map[job.ID]bool{}
	for _, j := range all {
		if j.State == job.Ready && j.Object != nil && !seen[j.Object.ID] {
			seen[j.Object.ID] = true
			found = append(found, j)
		}
	}
	return found, err
}
