package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	megabytes               []float64
	seconds                 float64
	random                  int
	out, prefix             string
	resume                  bool
	parallel                float64 // Mbit/s
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
			for _, note := range otherLabs(b.prefix) {
				say(cmd.ErrOrStderr(), "lab: "+note)
			}
			return runBench(cmd, o, b)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&b.links, "links", nil, "the links, with commas between (default all)")
	f.IntVar(&b.random, "random", 0, "instead, so many links drawn at random, from --seed on")
	f.StringSliceVar(&b.peers, "peers", nil, "the peers, with commas between (default all)")
	f.StringSliceVar(&b.scenarios, "scenarios", nil, "what happens meanwhile, with commas between, or all (default nothing)")
	f.Float64SliceVar(&b.megabytes, "mb", []float64{30}, "size of the file in MB, or several with commas between")
	f.Float64Var(&b.seconds, "seconds", 0, "instead, the size that each link can carry in so many seconds")
	f.IntVar(&o.Files, "files", 0, "fetch a list of so many files, which have that size together")
	f.IntVarP(&o.Reps, "reps", "n", 3, "how often each peer runs on each link")
	f.Uint64Var(&o.Seed, "seed", 1, "the random seed of the links drawn, and of the first repetition's losses")
	f.Float64Var(&o.Patience, "patience", 4, "end a run after 20 s and so many times what the link needs; a peer other than JumpGet is then not run again")
	f.StringVar(&o.JumpGet, "jumpget", "bin/jumpget", "the program to measure")
	f.BoolVar(&o.Series, "series", false, "keep throughput, queue and loss over time")
	f.Float64Var(&b.parallel, "parallel-rate", 0, "measure several links at the same time, as long as their rates come to no more than so many Mbit/s (default one at a time)")
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
	if b.random > 0 {
		if len(b.links) > 0 {
			return errors.New("--links and --random are two choices")
		}
		o.Links = nil
		for i := range b.random {
			o.Links = append(o.Links, profile.Random(o.Seed+uint64(i)))
		}
	}
	if o.Peers, err = peer.Find(b.peers...); err != nil {
		return err
	}
	if o.Scenarios, err = scenario.Find(b.scenarios...); err != nil {
		return err
	}
	slices.Sort(b.megabytes)
	if len(b.megabytes) == 0 || b.megabytes[0] <= 0 || b.seconds < 0 || o.Reps <= 0 || o.Patience <= 1 {
		return errors.New("--mb and --reps have to be above 0, --patience above 1")
	}
	if o.Files < 0 || o.Files > maxFiles {
		return fmt.Errorf("--files takes up to %d", maxFiles)
	}
	if o.JumpGet, err = filepath.Abs(o.JumpGet); err != nil {
		return err
	}
	if _, err := os.Stat(o.JumpGet); err != nil {
		return fmt.Errorf("there is no JumpGet at %s: build it with `make build`", o.JumpGet)
	}
	o.Commit = commit()
	return bench.Check()
}

// maxFiles is what the names of a list's files have room for.
const maxFiles = 100_000

// sizes returns the sizes of the files that a link is measured with, in bytes.
func (b *benchFlags) sizes(p profile.Profile) []int64 {
	if b.seconds > 0 {
		// Two digits are enough, and can be read.
		bytes := b.seconds * p.Limit() / 8
		unit := math.Pow(10, math.Floor(math.Log10(bytes))-1)
		return []int64{int64(math.Round(bytes/unit) * unit)}
	}
	var sizes []int64
	for _, mb := range b.megabytes {
		sizes = append(sizes, int64(math.Round(mb*1e6)))
	}
	return slices.Compact(sizes)
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
	prefix, release, err := topo.Claim(b.prefix)
	if err != nil {
		return err
	}
	defer release()
	l := lanes{prefix: prefix, budget: b.parallel * 1e6}
	for _, p := range o.Links {
		one := order{Options: o, Scenarios: b.scenarios}
		one.Links, one.Sizes = []profile.Profile{p}, b.sizes(p)
		for _, p := range o.Peers {
			one.Peers = append(one.Peers, p.Name)
		}
		if b.resume {
			one.Have = done(results, o.Commit, p.Name)
		}
		l.orders = append(l.orders, one)
	}
	l.note = func(text string) { say(progress, "lab: "+text) }
	l.each = func(r bench.Result) error {
		say(progress, report.Line(r))
		results = append(results, r)
		return bench.Write(file, r)
	}
	if err := l.run(cmd.Context()); err != nil {
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

// done returns the results of this commit on a link.
func done(results []bench.Result, commit, link string) []bench.Result {
	var have []bench.Result
	for _, r := range results {
		if r.Commit == commit && r.Link == link {
			r.Series = nil // nobody asks for it
			have = append(have, r)
		}
	}
	return have
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
