package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jumpget/jumpget/lab/bench"
	"github.com/jumpget/jumpget/lab/peer"
	"github.com/jumpget/jumpget/lab/profile"
	"github.com/jumpget/jumpget/lab/report"
	"github.com/jumpget/jumpget/lab/scenario"
	"github.com/jumpget/jumpget/lab/topo"
)

// benchFlags are the flags of `lab bench` as they were given.
type benchFlags struct {
	links, peers, scenarios []string
	megabytes               float64
	out, prefix             string
	resume                  bool
}

func benchCommand() *cobra.Command {
	var o bench.Options
	var b benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure peers over links, in turns",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := b.options(&o); err != nil {
				return err
			}
			if !topo.Inside() {
				for _, note := range otherLabs(b.prefix) {
					say(cmd.ErrOrStderr(), "lab: "+note)
				}
			}
			return sandboxed(cmd.Context(), b.prefix, func() error { return runBench(cmd, o, b) })
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&b.links, "links", nil, "the links, with commas between (default all)")
	f.StringSliceVar(&b.peers, "peers", nil, "the peers, with commas between (default all)")
	f.StringSliceVar(&b.scenarios, "scenarios", nil, "what happens meanwhile, with commas between, or all (default nothing)")
	f.Float64Var(&b.megabytes, "mb", 30, "size of the file in MB")
	f.IntVarP(&o.Reps, "reps", "n", 3, "how often each peer runs on each link")
	f.Uint64Var(&o.Seed, "seed", 1, "the losses' random seed of the first repetition")
	f.Float64Var(&o.Patience, "patience", 4, "end a run after so many times what the link needs (20 s at least)")
	f.StringVar(&o.JumpGet, "jumpget", "bin/jumpget", "the program to measure")
	f.BoolVar(&o.Series, "series", false, "keep throughput, queue and loss over time")
	f.StringVar(&b.out, "out", "", "append the results to this file, as JSON lines, and print their table at the end")
	f.BoolVar(&b.resume, "resume", false, "leave out the runs of this commit whose results are in the file already")
	addPrefix(cmd, &b.prefix)
	return cmd
}

// options checks the flags before anything is set up.
func (b *benchFlags) options(o *bench.Options) (err error) {
	if o.Links, err = profile.Find(b.links...); err != nil {
		return err
	}
	if o.Peers, err = peer.Find(b.peers...); err != nil {
		return err
	}
	if o.Scenarios, err = scenario.Find(b.scenarios...); err != nil {
		return err
	}
	if b.megabytes <= 0 || o.Reps <= 0 || o.Patience <= 1 {
		return errors.New("--mb and --reps have to be above 0, --patience above 1")
	}
	if o.JumpGet, err = filepath.Abs(o.JumpGet); err != nil {
		return err
	}
	if _, err := os.Stat(o.JumpGet); err != nil {
		return fmt.Errorf("there is no JumpGet at %s: build it with `make build`", o.JumpGet)
	}
	o.Size, o.Commit = int64(b.megabytes*1e6), commit()
	return nil
}

func runBench(cmd *cobra.Command, o bench.Options, b benchFlags) (err error) {
	file := cmd.OutOrStdout()
	progress := cmd.ErrOrStderr()
	var results []bench.Result
	if b.out != "" {
		f, err := openResults(b.out)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		if results, err = bench.Read(f); err != nil {
			return fmt.Errorf("%s: %w", b.out, err)
		}
		file = f
	}
	if b.resume {
		o.Done = done(results, o.Commit)
	}
	o.Note = func(text string) { say(progress, "lab: "+text) }
	o.Each = func(r bench.Result) error {
		say(progress, report.Line(r))
		results = append(results, r)
		return bench.Write(file, r)
	}
	if err := bench.Run(cmd.Context(), o); err != nil {
		return err
	}
	if b.out == "" {
		return nil
	}
	return report.Table(cmd.OutOrStdout(), results)
}

// openResults opens a file of results to be read and then appended to. A last
// line that was cut short by a killed run is taken away.
func openResults(name string) (*os.File, error) {
	b, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(int64(bytes.LastIndexByte(b, '\n') + 1)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// done tells which runs have a result of this commit.
func done(results []bench.Result, commit string) func(bench.Key, int) bool {
	type run struct {
		key bench.Key
		rep int
	}
	have := map[run]bool{}
	for _, r := range results {
		if r.Commit == commit && !r.Missing {
			have[run{r.Key(), r.Rep}] = true
		}
	}
	return func(k bench.Key, rep int) bool { return have[run{k, rep}] }
}

// commit names the state of the tree that is measured. The documents, where
// results go, are no part of it.
func commit() string {
	out, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	name := strings.TrimSpace(string(out))
	changed, err := exec.Command("git", "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)docs").Output()
	if err != nil || len(changed) > 0 {
		name += "-dirty"
	}
	return name
}
