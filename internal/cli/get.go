package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/jumpget/jumpget/internal/client"
	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/partial"
	"github.com/jumpget/jumpget/internal/progress"
)

func (a *app) getCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "get [flags] URL...",
		Short:   "bring files; this is what jumpget does without a command",
		Example: rootExample,
	}
	a.addDownload(cmd)
	return cmd
}

// get is the main job.
func (a *app) get(f *downloadFlags) action {
	return func(ctx context.Context, words []string) error {
		if err := refuseCommands(words); err != nil {
			return err
		}
		orders, err := a.orders(ctx, words, f)
		if err != nil {
			return err
		}
		a.stdoutIsData = toStdout(orders)
		if f.output.dryRun {
			return a.explain(orders)
		}
		return a.run(ctx, orders, f.output)
	}
}

// refuseCommands tells a mistyped command from a URL.
func refuseCommands(words []string) error {
	for _, w := range words {
		if looksLikeURL(w) || strings.Contains(w, ":") {
			continue // job.Request says what is wrong with it
		}
		err := usagef("%q is neither a command nor a URL", w)
		if near := nearestCommand(w); near != "" {
			return err.withHint("did you mean `jumpget %s`? see `jumpget --help`", near)
		}
		return err.withHint("write a URL as https://host/path; see `jumpget --help`")
	}
	return nil
}

func nearestCommand(word string) string {
	root := (&app{}).rootCommand()
	root.SuggestionsMinimumDistance = 2
	if near := root.SuggestionsFor(word); len(near) > 0 {
		return near[0]
	}
	return ""
}

// explain says what would be done. It touches neither network nor disk.
func (a *app) explain(orders []order) error {
	if _, err := a.sshConfig(); err != nil {
		return err
	}
	for _, o := range orders {
		to := o.target()
		switch o.output {
		case "-":
			to = "standard output"
		case "":
			to = "a file in " + folder(o.dir) + " that the relay names"
		}
		if _, err := fmt.Fprintf(a.proc.Out, "would bring %s through %s into %s\n",
			progress.Printable(job.StripUser(o.req.URL)), progress.Printable(a.cfg.Client.Dest.String()), progress.Printable(to)); err != nil {
			return err
		}
	}
	return nil
}

// prepareAll prepares each folder once.
func prepareAll(orders []order) error {
	type where struct{ dir, output string }
	ready := map[where]bool{}
	for _, o := range orders {
		at := where{o.dir, o.output}
		if ready[at] {
			continue
		}
		ready[at] = true
		if err := o.prepare(); err != nil {
			return err
		}
	}
	return nil
}

// prepare makes the folder that -d names, as wget and aria2 do, and finds one
// that can't be written to before anybody is asked for anything over the
// network.
func (o order) prepare() error {
	if o.output == "-" || o.output != "" && isStream(o.target()) {
		return nil
	}
	if o.dir != "" {
		if err := os.MkdirAll(o.dir, 0o777); err != nil { //nolint:gosec // as any folder, by the user's umask
			return &partial.Error{
				Kind: partial.KindDir, Message: "can't make the folder " + o.dir + ": " + reason(err),
				Hint: "choose another with --dir", Err: err,
			}
		}
	}
	if o.output == "" {
		return partial.CheckDir(folder(o.dir))
	}
	return nil // the client looks at a file's own folder
}

// reason is what the system said, without the path that a person knows.
func reason(err error) string {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		err = e.Err
	}
	return err.Error()
}

func folder(dir string) string {
	if dir == "" {
		return "."
	}
	return dir
}

// run brings all orders through the relay of the settings.
func (a *app) run(ctx context.Context, orders []order, out outputFlags) error {
	if err := out.checkExec(orders); err != nil {
		return err
	}
	if err := prepareAll(orders); err != nil {
		return err
	}
	show := a.renderer()
	c, err := a.client(show)
	if err != nil {
		return errors.Join(err, show.Close())
	}
	d := &downloads{app: a, client: c, show: show, out: out}
	codes := d.all(ctx, orders)
	err = errors.Join(c.Close(), show.Close())
	if code := combine(codes); code != exitOK {
		return &shownError{code} // each has been shown where it happened
	}
	return err
}

// downloads brings several files through one client.
type downloads struct {
	app    *app
	client *client.Client
	show   progress.Reporter
	out    outputFlags
	last   *client.Result // of a run with one order, for `try`
	late   failures
	stand  sync.Map // paths of the files that came in this run
}

// all brings the orders, several at once, and returns an exit code for each.
func (d *downloads) all(ctx context.Context, orders []order) []int {
	codes := make([]int, len(orders))
	units := d.units(orders)
	d.late.hold = len(units) < len(orders)
	var mu sync.Mutex
	var strays []stray
	var bundled []*client.BundleResult
	next := 2 * len(orders) // for the files of bundles that are pulled; no other number is as high
	d.each(len(units), func(k int) {
		u, n := units[k], units[k].orders[0]
		switch {
		case len(u.orders) > 1:
			res, left := d.several(ctx, u, orders, codes)
			if res != nil && len(left) == 0 {
				_ = res.Close() // it removes what nobody needs
				return
			}
			mu.Lock()
			defer mu.Unlock()
			strays = append(strays, left...)
			if res != nil {
				bundled = append(bundled, res)
			}
		case orders[n].files > 0:
			mu.Lock()
			first := next
			next += orders[n].files
			mu.Unlock()
			codes[n] = d.pulled(ctx, n, first, orders[n])
		default:
			_, codes[n] = d.one(ctx, n, orders[n])
		}
	})
	d.bringStrays(ctx, strays, orders, codes)
	for _, res := range bundled {
		_ = res.Close() // as above
	}
	d.late.tell(d.show)
	return codes
}

// each calls bring for 0 to n-1, as many at once as the settings say.
func (d *downloads) each(n int, bring func(k int)) {
	atOnce := max(1, d.app.cfg.Client.Jobs)
	if d.app.stdoutIsData {
		atOnce = 1 // or their bytes would mix
	}
	var group errgroup.Group
	group.SetLimit(atOnce)
	for k := range n {
		group.Go(func() error {
			bring(k)
			return nil
		})
	}
	_ = group.Wait() // the codes tell
}

// one brings one file and shows what came of it. Without a file the result is nil.
func (d *downloads) one(ctx context.Context, n int, o order) (*client.Result, int) {
	res, err := d.bring(ctx, n, o)
	if err == nil {
		d.last = res
		if res.Skipped {
			d.show.Report(progress.Note{Download: n, Text: "the file here is not older than the origin's; nothing was fetched"})
		}
		err = d.finished(ctx, n, res)
	}
	if err == nil {
		return res, exitOK
	}
	return res, d.failed(ctx, progress.Failed{Download: n, URL: job.StripUser(o.req.URL), File: o.target()}, err)
}

// failed shows a failure, now or at the end, and returns its exit code.
func (d *downloads) failed(ctx context.Context, e progress.Failed, err error) int {
	f := classify(ctx, err)
	e.Code, e.Exit, e.Message, e.Hint = f.Code, f.Exit, f.Message, f.Hint
	d.late.mu.Lock()
	defer d.late.mu.Unlock()
	if d.late.hold {
		d.late.list = append(d.late.list, e)
	} else {
		d.show.Report(e)
	}
	return f.Exit
}

// request turns an order into what the client takes.
func (d *downloads) request(n int, o order) client.Request {
	return client.Request{
		Request:  o.req,
		Job:      o.job,
		Download: n,
		Output: client.Output{
			File:      o.target(),
			Dir:       o.dir,
			OnExists:  d.out.policy(),
			Adopt:     d.out.adopt,
			Newer:     d.out.newer,
			NoTime:    d.out.noRemoteTime,
			Checksums: o.checksums,
		},
	}
}
