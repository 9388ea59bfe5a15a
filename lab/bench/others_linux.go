package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jumpget/jumpget/lab/emu"
	"github.com/jumpget/jumpget/lab/peer"
	"github.com/jumpget/jumpget/lab/scenario"
	"github.com/jumpget/jumpget/lab/topo"
)

// others is who else is on the link during a run: a rival's downloads and a
// ping, both from the neighbour.
type others struct {
	limit  float64 // bit/s of the link
	rival  *topo.Process
	dir    string // where the rival downloads to
	tidy   func()
	ping   *topo.Process
	pinged *bytes.Buffer
}

// headStart is how long the rival has the link for itself before the measured
// peer comes.
const headStart = 5 * time.Second

// addRival finds the scenario's rival in the table of peers.
func (r *runner) addRival(s scenario.Scenario) error {
	if s.Rival == "" || s.Rival == scenario.Cubic {
		return nil
	}
	found, err := peer.Find(s.Rival)
	if err != nil {
		return err
	}
	if missing := found[0].Missing(); len(missing) > 0 {
		return fmt.Errorf("the rival %s needs %s: `make bench-setup` installs what there is", s.Rival, strings.Join(missing, ", "))
	}
	if !slices.ContainsFunc(r.rivals, func(p peer.Peer) bool { return p.Name == s.Rival }) {
		r.rivals = append(r.rivals, found[0])
	}
	return nil
}

// rival returns the scenario's rival, which addRival has found.
func (r *runner) rival(s scenario.Scenario) peer.Peer {
	return r.rivals[slices.IndexFunc(r.rivals, func(p peer.Peer) bool { return p.Name == s.Rival })]
}

// rivalLine returns the shell line with which a rival downloads until it is killed.
func (r *runner) rivalLine(s scenario.Scenario) string {
	vars := r.vars("rival", 0)
	if s.Rival == scenario.Cubic {
		return vars.Expand("exec curl -sSf -o /dev/null {endless}")
	}
	p := r.rival(s)
	vars["fresh"] += "-$n" // the shell counts the rounds
	round := p.Command + " || exit; rm -f out; " + p.After
	return vars.Expand("n=0; " + p.Before + "; while n=$((n+1)); do " + strings.ReplaceAll(round, "{fresh}", `"{fresh}"`) + "\ndone")
}

// startOthers starts the scenario's rival and ping, and waits for the head start.
func (r *runner) startOthers(ctx context.Context, t turn) (_ *others, err error) {
	o := &others{limit: r.link.Limit(), tidy: func() {}}
	defer func() {
		if err != nil {
			o.stop()
		}
	}()
	s := t.scenario
	if s.Rival != "" {
		if o.dir, err = os.MkdirTemp(topo.WorkDir, "rival-"); err != nil {
			return nil, err
		}
		cmd := r.command(topo.Neighbour, o.dir, r.rivalLine(s)).prepare(ctx)
		if o.rival, err = r.topo.Start(cmd); err != nil {
			return nil, fmt.Errorf("rival: %w", err)
		}
		if s.Rival != scenario.Cubic {
			o.tidy = func() { r.tidyRival(ctx, s, o.dir) }
		}
		select {
		case <-time.After(headStart):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if o.rival.Ended() {
			return nil, fmt.Errorf("the rival %s has ended by itself", s.Rival)
		}
	}
	if s.Ping {
		o.pinged = &bytes.Buffer{}
		cmd := r.topo.Command(ctx, topo.Neighbour, "ping", "-n", "-i", "0.1", topo.OriginAddr)
		cmd.Stdout = o.pinged
		if o.ping, err = r.topo.Start(cmd); err != nil {
			return nil, fmt.Errorf("ping: %w", err)
		}
	}
	return o, nil
}

// tidyRival removes what the rival has left on the relay.
func (r *runner) tidyRival(ctx context.Context, s scenario.Scenario, dir string) {
	if line := r.rival(s).After; line != "" {
		if err := r.command(topo.Neighbour, dir, r.vars("rival", 0).Expand(line)).run(ctx, prepareLimit); err != nil {
			r.opt.Note(fmt.Sprintf("the rival %s could not tidy up: %v", s.Rival, err))
		}
	}
}

// stop ends them. It may be called twice.
func (o *others) stop() {
	if o.ping != nil {
		o.ping.Signal(unix.SIGINT)
		o.ping.End()
	}
	if o.rival != nil {
		o.rival.End()
		o.tidy()
		o.rival = nil
	}
	if o.dir != "" {
		_ = os.RemoveAll(o.dir) // it is in the sandbox's memory, which goes as well
	}
}

// fill stops them and puts what they met into res.
func (o *others) fill(res *Result, series []emu.Step) {
	shared := o.rival != nil
	o.stop()
	if o.ping != nil {
		res.Ping = parsePing(o.pinged.String())
	}
	if shared {
		res.Sharing = sharing(series, o.limit)
	}
}

// parsePing reads the replies from ping's output. What was sent after the last
// reply may still be under way and counts as neither lost nor answered.
func parsePing(out string) *Ping {
	var times []float64
	last := 0
	for line := range strings.Lines(out) {
		seq, ok := numberAfter(line, "icmp_seq=")
		ms, ok2 := numberAfter(line, "time=")
		if ok && ok2 {
			times = append(times, ms)
			last = max(last, int(seq))
		}
	}
	p := &Ping{N: len(times)}
	if len(times) == 0 {
		p.Lost = 1
		return p
	}
	slices.Sort(times)
	for _, ms := range times {
		p.Mean += ms / float64(len(times))
	}
	p.P50, p.P99 = quantile(times, .5), quantile(times, .99)
	p.Lost = math.Round(float64(last-len(times))/float64(last)*1e4) / 1e4
	return p
}

// quantile returns the q-quantile of sorted numbers.
func quantile(sorted []float64, q float64) float64 {
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func numberAfter(line, key string) (float64, bool) {
	_, rest, ok := strings.Cut(line, key)
	if !ok {
		return 0, false
	}
	word, _, _ := strings.Cut(rest, " ")
	n, err := strconv.ParseFloat(strings.TrimSpace(word), 64)
	return n, err == nil
}

// changes plays a scenario's events while a peer runs.
type changes struct {
	cancel context.CancelFunc
	ended  chan error
}

func (r *runner) play(ctx context.Context, s scenario.Scenario) *changes {
	ctx, cancel := context.WithCancel(ctx)
	c := &changes{cancel, make(chan error, 1)}
	go func() { c.ended <- r.playEvents(ctx, s) }()
	return c
}

func (r *runner) playEvents(ctx context.Context, s scenario.Scenario) (err error) {
	start := time.Now()
	down, up := r.link.Down, r.link.Up
	for _, e := range s.Events {
		select {
		case <-time.After(e.At - time.Since(start)):
		case <-ctx.Done():
			return err
		}
		if e.Roam {
			if err := r.topo.Move(ctx, topo.RoamedAddr); err != nil {
				return err
			}
			// The next run starts at home again.
			defer func() { err = errors.Join(err, r.topo.Move(context.WithoutCancel(ctx), topo.ClientAddr)) }()
			continue
		}
		down, up = e.Apply(down, up)
		if _, err := r.topo.Ask(emu.Command{Change: &emu.Configs{Down: down, Up: up}}); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return err
}

// stop ends the play and returns what went wrong in it.
func (c *changes) stop() error {
	c.cancel()
	return <-c.ended
}
