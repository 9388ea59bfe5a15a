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
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/jumpget/jumpget/lab/peer"
	"github.com/jumpget/jumpget/lab/profile"
	"github.com/jumpget/jumpget/lab/topo"
)

// Options say what to measure.
type Options struct {
	Links   []profile.Profile
	Peers   []peer.Peer
	Size    int64 // bytes of the file
	Reps    int
	Seed    uint64
	JumpGet string // path of the program
	Commit  string
	Series  bool // keep each run's series
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
	sum      string // SHA-256 of the file
	machine  string
	versions map[string]string
}

// Run measures every peer on every link. It must run inside a sandbox.
func Run(ctx context.Context, o Options) error {
	r := &runner{opt: o, machine: machine(), versions: map[string]string{}}
	o.Peers = slices.DeleteFunc(slices.Clone(o.Peers), func(p peer.Peer) bool {
		missing := p.Missing()
		if len(missing) > 0 {
			o.Note(fmt.Sprintf("%s is missing: no %s on the PATH; `make bench-setup` installs what Debian has", p.Name, strings.Join(missing, ", ")))
		} else {
			r.versions[p.Name] = version(p, o.JumpGet)
		}
		return len(missing) > 0
	})
	r.opt.Peers = o.Peers
	www := filepath.Join(topo.WorkDir, "www")
	var err error
	if r.sum, err = makeFiles(www, o.Size); err != nil {
		return err
	}
	for _, l := range o.Links {
		r.link = l
		if err := r.onLink(ctx, www); err != nil {
			return fmt.Errorf("%s: %w", l.Name, err)
		}
	}
	return nil
}

// onLink runs every repetition of every peer on the current link.
func (r *runner) onLink(ctx context.Context, www string) (err error) {
	if r.topo, err = topo.Up(ctx, r.link, r.opt.Seed); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.topo.Down()) }()
	dir, err := os.MkdirTemp(topo.WorkDir, "servers-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r.servers = &servers{topo: r.topo, dir: dir, www: www, jumpget: r.opt.JumpGet}
	if err := os.Mkdir(r.servers.path("home"), 0o700); err != nil {
		return err
	}
	if err := r.servers.start(ctx, r.link, r.opt.Peers); err != nil {
		return err
	}
	for rep := range r.opt.Reps {
		for _, p := range r.opt.Peers {
			res, err := r.one(ctx, p, rep)
			if err != nil {
				return fmt.Errorf("%s: %w", p.Name, err)
			}
			if err := r.opt.Each(res); err != nil {
				return err
			}
		}
	}
	return nil
}

// makeFiles writes the files that the servers serve and returns the SHA-256 of
// the large one. Its bytes are random, so nothing on the way can shrink it.
func makeFiles(dir string, size int64) (sum string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "tiny"), []byte("tiny\n"), 0o644); err != nil {
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

func machine() string {
	var u unix.Utsname
	_ = unix.Uname(&u)
	return fmt.Sprintf("%d processors, Linux %s, %s", runtime.NumCPU(), unix.ByteSliceToString(u.Release[:]), runtime.GOARCH)
}

// version asks the peer's first command for its version, one line.
func version(p peer.Peer, jumpget string) string {
	command, args := p.Needs[0], []string{"--version"}
	switch {
	case slices.Contains(p.Servers, peer.JumpGet):
		command, args = jumpget, []string{"version"}
	case command == "hysteria":
		args = []string{"version"}
	case command == "scp":
		command, args = "ssh", []string{"-V"}
	}
	out, _ := exec.Command(command, args...).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); strings.ContainsAny(line, "0123456789") {
			return line
		}
	}
	return ""
}
