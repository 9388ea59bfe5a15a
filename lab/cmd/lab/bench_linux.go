package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jumpget/jumpget/lab/bench"
	"github.com/jumpget/jumpget/lab/peer"
	"github.com/jumpget/jumpget/lab/profile"
)

func benchCommand() *cobra.Command {
	var (
		o            bench.Options
		links, peers []string
		megabytes    float64
		out          string
	)
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure peers over links, in turns",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.Links, err = profile.Find(links...); err != nil {
				return err
			}
			if o.Peers, err = peer.Find(peers...); err != nil {
				return err
			}
			if o.JumpGet, err = filepath.Abs(o.JumpGet); err != nil {
				return err
			}
			if _, err := os.Stat(o.JumpGet); err != nil {
				return fmt.Errorf("there is no JumpGet at %s: build it with `make build`", o.JumpGet)
			}
			o.Size, o.Commit = int64(megabytes*1e6), commit()
			return sandboxed(func() error { return runBench(cmd, o, out) })
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&links, "links", nil, "the links, with commas between (default all)")
	f.StringSliceVar(&peers, "peers", nil, "the peers, with commas between (default all)")
	f.Float64Var(&megabytes, "mb", 30, "size of the file in MB")
	f.IntVarP(&o.Reps, "reps", "n", 3, "how often each peer runs on each link")
	f.Uint64Var(&o.Seed, "seed", 1, "the losses' random seed of the first repetition")
	f.StringVar(&o.JumpGet, "jumpget", "bin/jumpget", "the program to measure")
	f.BoolVar(&o.Series, "series", false, "keep throughput, queue and loss over time")
	f.StringVar(&out, "out", "", "append the results to this file, as JSON lines")
	return cmd
}

func runBench(cmd *cobra.Command, o bench.Options, out string) error {
	file := os.Stdout
	progress := cmd.ErrOrStderr()
	if out != "" {
		f, err := os.OpenFile(out, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		file = f
	}
	o.Note = func(text string) { fmt.Fprintln(progress, text) }
	o.Each = func(r bench.Result) error {
		fmt.Fprintf(progress, "%-8s %-17s %6.2f s %5.1f %%  queue %5.1f/%5.1f ms  first %5.2f s  %s\n",
			r.Link, r.Peer, r.Seconds, r.Share*100, r.QueueMean, r.QueueP99, r.First, r.Error)
		return bench.Write(file, r)
	}
	return bench.Run(cmd.Context(), o)
}

// commit names the state of the tree that is measured.
func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
