package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jumpget/jumpget/lab/peer"
	"github.com/jumpget/jumpget/lab/profile"
	"github.com/jumpget/jumpget/lab/scenario"
	"github.com/jumpget/jumpget/lab/topo"
)

// Options say what to measure.
type Options struct {
	Links     []profile.Profile
	Peers     []peer.Peer
	Scenarios []scenario.Scenario // the zero Scenario for an undisturbed download
	Sizes     []int64             // bytes of the file, or of all files; from small to large
	Files     int                 // fetch a list of so many files; 0 for a single one
	Reps      int
	Seed      uint64  // of the first repetition; each has the next one
	Patience  float64 // a run may take so many times what the link needs; see runner.limit
	JumpGet   string  // path of the program
	Commit    string
	Series    bool // keep each run's series
	// Have are the results that there are already. Their runs are left out, and so
	// are those that they show to be hopeless.
	Have []Result
	// Each is called with every result as soon as there is one.
	Each func(Result) error `json:"-"`
	// Note is called with what a person should know: a peer that is missing.
	Note func(string) `json:"-"`
}

type runner struct {
	opt      Options
	link     profile.Profile
	topo     *topo.Topology
	servers  *servers
	ledger   *ledger
	rivals   []peer.Peer // of the scenarios
	www      *www
	system   system
	versions map[string]string
}

// Check tells in one line what this machine lacks for measuring, or returns nil.
func Check() error {
	if err := topo.Check(); err != nil {
		return err
	}
	for _, command := range []string{"nginx", "ping"} {
		if _, err := exec.LookPath(command); err != nil {
			return fmt.Errorf("the lab needs %s: `make bench-setup` installs it", command)
		}
	}
	return nil
}

// Run measures every peer on every link in every scenario. It must run inside a
// sandbox.
func Run(ctx context.Context, o Options) error {
	if err := Check(); err != nil {
		return err
	}
	r := &runner{opt: o, system: thisSystem(), versions: map[string]string{}, www: &www{dir: filepath.Join(topo.WorkDir, "www")}}
	r.ledger = newLedger(o.Have, ourOwn(o.Peers))
	for _, p := range o.Peers {
		if missing := p.Missing(); len(missing) > 0 {
			o.Note(fmt.Sprintf("%s is missing: this machine has no %s; `make bench-setup` installs what there is", p.Name, strings.Join(missing, ", ")))
		} else {
			r.versions[p.Name] = version(ctx, p, o.JumpGet)
		}
		if o.Files > 0 && p.Many == "" {
			o.Note(p.Name + " does not fetch lists of files and is left out")
		}
	}
	for _, s := range o.Scenarios {
		if err := r.addRival(s); err != nil {
			return fmt.Errorf("scenario %s: %w", s.Name, err)
		}
	}
	for _, r.link = range o.Links {
		if err := r.onLink(ctx); err != nil {
			return fmt.Errorf("link %s: %w", r.link.Name, err)
		}
	}
	return nil
}

// ourOwn returns the names of the peers that are JumpGet.
func ourOwn(peers []peer.Peer) map[string]bool {
	own := map[string]bool{}
	for _, p := range peers {
		own[p.Name] = slices.Contains(p.Servers, peer.JumpGet)
	}
	return own
}

// onLink runs every repetition of every peer in every scenario on the current link.
func (r *runner) onLink(ctx context.Context) (err error) {
	turns := r.turns()
	if !slices.ContainsFunc(turns, func(t turn) bool { return !r.ledger.done(r.key(t), t.rep) }) {
		return nil
	}
	if r.topo, err = topo.Up(ctx, r.link, r.opt.Seed); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.topo.Down()) }()
	dir, err := os.MkdirTemp(topo.WorkDir, "servers-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := r.www.create(); err != nil {
		return err
	}
	r.servers = &servers{topo: r.topo, dir: dir, www: r.www.dir, jumpget: r.opt.JumpGet}
	if err := r.servers.start(ctx, r.link, slices.Concat(r.opt.Peers, r.rivals)); err != nil {
		return err
	}
	for _, t := range turns {
		if r.ledger.done(r.key(t), t.rep) {
			continue
		}
		res, err := r.take(ctx, t)
		if err != nil {
			return fmt.Errorf("%s: %w", t.peer.Name, err)
		}
		r.ledger.add(res)
		if err := r.opt.Each(res); err != nil {
			return err
		}
	}
	return nil
}

// take makes a run, unless one with a smaller file has shown how it would end.
func (r *runner) take(ctx context.Context, t turn) (Result, error) {
	small, hopeless := r.ledger.smaller(r.key(t))
	if !hopeless {
		return r.one(ctx, t)
	}
	res := r.blank(t)
	res.Cut, res.From, res.Share = true, small.Size, small.Share
	res.Error = fmt.Sprintf("left out: %g MB were too much already", float64(small.Size)/1e6)
	return res, nil
}

// turn is one run to be made.
type turn struct {
	scenario scenario.Scenario
	size     int64
	peer     peer.Peer
	rep      int
}

// turns returns the runs on the current link in their order: A B C, A B C. One
// for a peer that is missing stands there once, so that the results tell of it.
func (r *runner) turns() []turn {
	var turns []turn
	for _, s := range r.opt.Scenarios {
		for _, size := range r.opt.Sizes {
			for rep := range r.opt.Reps {
				for _, p := range r.opt.Peers {
					if r.opt.Files > 0 && p.Many == "" || rep > 0 && len(p.Missing()) > 0 {
						continue
					}
					turns = append(turns, turn{s, size, p, rep})
				}
			}
		}
	}
	return turns
}

func (r *runner) key(t turn) Key {
	return Key{Scenario: t.scenario.Name, Size: t.size, Files: r.opt.Files, Link: r.link.Name, Peer: t.peer.Name}
}
