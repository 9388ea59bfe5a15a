package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/spf13/cobra"

	"github.com/jumpget/jumpget/lab/bench"
	"github.com/jumpget/jumpget/lab/peer"
	"github.com/jumpget/jumpget/lab/scenario"
	"github.com/jumpget/jumpget/lab/topo"
)

// Each link is measured in a lab of its own, its lane, and several lanes may run
// side by side. A lane is this same program in a sandbox: it reads an order
// from its standard input and writes news to its standard output. Only the
// program outside touches the file of results.

// order is what a lane is to measure, as JSON: Options with names in the place of
// what JSON can't carry.
type order struct {
	bench.Options
	Peers     []string
	Scenarios []string
}

// news is a line of a lane: one of the two.
type news struct {
	Result *bench.Result `json:"result,omitempty"`
	Note   string        `json:"note,omitempty"`
}

// laneCommand is what lanes start; nobody types it.
const laneCommand = "lane"

func newLaneCommand() *cobra.Command {
	return &cobra.Command{
		Use:    laneCommand,
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !topo.Inside() {
				return errors.New("a lane is started by `lab bench`")
			}
			if err := topo.PrepareSandbox(); err != nil {
				return err
			}
			err := follow(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
			if cmd.Context().Err() != nil {
				return exitError(1) // the program outside tells of it, once
			}
			return err
		},
	}
}

// follow carries an order out.
func follow(ctx context.Context, in io.Reader, out io.Writer) (err error) {
	var o order
	if err := json.NewDecoder(in).Decode(&o); err != nil {
		return fmt.Errorf("the lane's order: %w", err)
	}
	if o.Options.Peers, err = peer.Find(o.Peers...); err != nil {
		return err
	}
	if o.Options.Scenarios, err = scenario.Find(o.Scenarios...); err != nil {
		return err
	}
	enc := json.NewEncoder(out)
	o.Each = func(r bench.Result) error { return enc.Encode(news{Result: &r}) }
	o.Note = func(text string) { _ = enc.Encode(news{Note: text}) } // the next result would tell of a broken pipe
	return bench.Run(ctx, o.Options)
}

// lanes runs orders, one lane each.
type lanes struct {
	prefix string  // held already
	budget float64 // bit/s that the links of the lanes at work may have together; one may always work
	orders []order
	each   func(bench.Result) error
	note   func(string)

	mu    sync.Mutex // over the two functions, and told
	told  map[string]bool
	start func(ctx context.Context, name string, o order) error // runLane, but for tests
}

// weight is the rate in bit/s that a link lets through, lost packets included.
func (o order) weight() float64 {
	down := o.Links[0].Down
	if down.Police.Rate > 0 {
		return min(down.Rate, down.Police.Rate)
	}
	return down.Rate
}

// seconds is how long a file of each size takes on the order's link at the least.
func (o order) seconds() float64 {
	var bytes int64
	for _, size := range o.Sizes {
		bytes += size
	}
	return float64(bytes) * 8 / o.Links[0].Limit()
}

// run starts the lanes as the budget allows, those that last longest first, and
// returns when all have ended. The first error ends the others.
func (l *lanes) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if l.start == nil {
		l.start = l.runLane
	}
	waiting := slices.Clone(l.orders)
	if l.budget > 0 {
		slices.SortStableFunc(waiting, func(a, b order) int { return -cmp.Compare(a.seconds(), b.seconds()) })
	}
	type end struct {
		weight float64
		err    error
	}
	ends := make(chan end)
	var first error
	for used, working := 0.0, 0; working > 0 || len(waiting) > 0; {
		fits := func(o order) bool { return working == 0 || used+o.weight() <= l.budget }
		if i := slices.IndexFunc(waiting, fits); i >= 0 && first == nil {
			o := waiting[i]
			waiting = slices.Delete(waiting, i, i+1)
			used, working = used+o.weight(), working+1
			go func() { ends <- end{o.weight(), l.start(ctx, l.prefix+"-"+o.Links[0].Name, o)} }()
			continue
		}
		if working == 0 {
			break // there was an error
		}
		e := <-ends
		used, working = used-e.weight, working-1
		if e.err != nil && first == nil {
			first = e.err
			cancel()
		}
	}
	return first
}

// runLane runs one order in a sandbox of that name.
func (l *lanes) runLane(ctx context.Context, name string, o order) error {
	theirs, ours := io.Pipe()
	told := make(chan error, 1)
	go func() {
		err := l.hear(theirs)
		_ = theirs.CloseWithError(err)
		told <- err
	}()
	in, err := json.Marshal(o)
	if err != nil {
		return err
	}
	lane := topo.Sandbox{Prefix: name, Args: []string{laneCommand}, Stdin: bytes.NewReader(in), Stdout: ours, Stderr: os.Stderr}
	code, err := lane.Run(ctx)
	_ = ours.Close() // what was written has been read
	if err == nil && code != 0 {
		err = exitError(code)
	}
	return errors.Join(err, <-told)
}

// hear takes a lane's news.
func (l *lanes) hear(r io.Reader) error {
	for dec := json.NewDecoder(r); ; {
		var n news
		if err := dec.Decode(&n); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil // a lane that was killed says so by its exit code
		} else if err != nil {
			return fmt.Errorf("a lane's news: %w", err)
		}
		if err := l.tell(n); err != nil {
			return err
		}
	}
}

func (l *lanes) tell(n news) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n.Result != nil {
		return l.each(*n.Result)
	}
	if l.told == nil {
		l.told = map[string]bool{}
	}
	if !l.told[n.Note] { // every lane misses the same peers
		l.told[n.Note] = true
		l.note(n.Note)
	}
	return nil
}
