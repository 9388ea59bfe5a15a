package bench

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
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
	Size      int64               // bytes of the file
	Reps      int
	Seed      uint64  // of the first repetition; each has the next one
	Patience  float64 // a run may take so many times what the link needs; see runner.limit
	JumpGet   string  // path of the program
	Commit    string
	Series    bool // keep each run's series
	// Done says which results there are already; their runs are left out. Nil
	// means none.
	Done func(k Key, rep int) bool
	// Each is called with every result as soon as there is one.
	Each func(Result) error
	// Note is called with what a person should know: a peer that is missing.
	Note func(string)
}

type runner struct {
	opt      Options
	link     profile.Profile
	topo     *topo.Topology
	servers  *servers
	rivals   []peer.Peer // of the scenarios
	sum      string      // SHA-256 of the file
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
	r := &runner{opt: o, system: thisSystem(), versions: map[string]string{}}
	if o.Done == nil {
		r.opt.Done = func(Key, int) bool { return false }
	}
	for _, p := range o.Peers {
		if missing := p.Missing(); len(missing) > 0 {
			o.Note(fmt.Sprintf("%s is missing: this machine has no %s; `make bench-setup` installs what there is", p.Name, strings.Join(missing, ", ")))
		} else {
			r.versions[p.Name] = version(ctx, p, o.JumpGet)
		}
	}
	for _, s := range o.Scenarios {
		if err := r.addRival(s); err != nil {
			return fmt.Errorf("scenario %s: %w", s.Name, err)
		}
	}
	www := filepath.Join(topo.WorkDir, "www")
	var err error
	if r.sum, err = makeFiles(www, o.Size); err != nil {
		return err
	}
	for _, r.link = range o.Links {
		if err := r.onLink(ctx, www); err != nil {
			return fmt.Errorf("link %s: %w", r.link.Name, err)
		}
	}
	return nil
}

// onLink runs every repetition of every peer in every scenario on the current link.
func (r *runner) onLink(ctx context.Context, www string) (err error) {
	todo := r.todo()
	if len(todo) == 0 {
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
	r.servers = &servers{topo: r.topo, dir: dir, www: www, jumpget: r.opt.JumpGet}
	if err := r.servers.start(ctx, r.link, slices.Concat(r.opt.Peers, r.rivals)); err != nil {
		return err
	}
	for _, turn := range todo {
		res, err := r.one(ctx, turn)
		if err != nil {
			return fmt.Errorf("%s: %w", turn.peer.Name, err)
		}
		if err := r.opt.Each(res); err != nil {
			return err
		}
	}
	return nil
}

// turn is one run to be made.
type turn struct {
	scenario scenario.Scenario
	peer     peer.Peer
	rep      int
}

// todo returns the runs on the current link in their order: A B C, A B C. One
// for a peer that is missing stands there once, so that the results tell of it.
func (r *runner) todo() []turn {
	var todo []turn
	for _, s := range r.opt.Scenarios {
		for rep := range r.opt.Reps {
			for _, p := range r.opt.Peers {
				missing := len(p.Missing()) > 0
				if !r.opt.Done(r.key(s, p), rep) && (!missing || rep == 0) {
					todo = append(todo, turn{s, p, rep})
				}
			}
		}
	}
	return todo
}

func (r *runner) key(s scenario.Scenario, p peer.Peer) Key {
	return Key{Scenario: s.Name, Size: r.opt.Size, Link: r.link.Name, Peer: p.Name}
}

// makeFiles writes the files that the servers serve and returns the SHA-256 of
// the large one. Its bytes are random, so nothing on the way can shrink it.
func makeFiles(dir string, size int64) (sum string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, tinyName), []byte("tiny\n"), 0o644); err != nil {
		return "", err
	}
	// A hole, so it takes no memory; the lab's links compress nothing.
	endless, err := os.Create(filepath.Join(dir, endlessName))
	if err != nil {
		return "", err
	}
	if err := errors.Join(endless.Truncate(endlessSize), endless.Close()); err != nil {
		return "", err
	}
	f, err := os.Create(filepath.Join(dir, fileName))
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.CopyN(io.MultiWriter(f, h), rand.NewChaCha8([32]byte{1}), size)
	return hex.EncodeToString(h.Sum(nil)), errors.Join(err, f.Close())
}

// What nginx serves.
const (
	fileName    = "file.bin"
	tinyName    = "tiny"
	endlessName = "endless"
	endlessSize = 1 << 40 // more than any rival gets
)
