package bench

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jumpget/jumpget/lab/emu"
	"github.com/jumpget/jumpget/lab/peer"
	"github.com/jumpget/jumpget/lab/topo"
)

// prepareLimit is how long a peer may take for what stands before or after its run.
const prepareLimit = 2 * time.Minute

// one runs a peer once on a fresh link and measures it. An error is the lab's; a
// peer's own stands in the result.
func (r *runner) one(ctx context.Context, t turn) (res Result, err error) {
	res = Result{
		Time: time.Now().UTC().Truncate(time.Second), Commit: r.opt.Commit, Machine: r.system.machine, Kernel: r.system.kernel,
		Version: r.versions[t.peer.Name], Link: r.link.Name, Scenario: t.scenario.Name, Peer: t.peer.Name,
		Size: r.opt.Size, Rep: t.rep, Seed: r.opt.Seed + uint64(t.rep),
	}
	if missing := t.peer.Missing(); len(missing) > 0 {
		res.Missing, res.Error = true, "missing: "+strings.Join(missing, ", ")
		return res, nil
	}
	dir, err := os.MkdirTemp(topo.WorkDir, "run-")
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	vars := r.vars(t.peer.Name, t.rep)
	if t.peer.Before != "" {
		if err := r.command(topo.Client, dir, vars.Expand(t.peer.Before)).run(ctx, prepareLimit); err != nil {
			res.Error = "could not be made ready: " + err.Error()
			return res, ctx.Err()
		}
	}
	if err := r.measure(ctx, t, dir, vars, &res); err != nil {
		return res, err
	}
	if t.peer.After != "" {
		if err := r.command(topo.Client, dir, vars.Expand(t.peer.After)).run(ctx, prepareLimit); err != nil {
			r.opt.Note(fmt.Sprintf("%s could not tidy up: %v", t.peer.Name, err))
		}
	}
	return res, ctx.Err()
}

// measure lets the link fall silent, starts who else is on it, and runs the peer.
func (r *runner) measure(ctx context.Context, t turn, dir string, vars peer.Vars, res *Result) error {
	if err := r.silence(ctx); err != nil {
		return err
	}
	fresh := emu.Configs{Down: r.link.Down, Up: r.link.Up, Seed: res.Seed}
	if _, err := r.topo.Ask(emu.Command{Reset: true, Replace: &fresh}); err != nil {
		return err
	}
	others, err := r.startOthers(ctx, t)
	if err != nil {
		return err
	}
	defer others.stop()
	if _, err := r.topo.Ask(emu.Command{Reset: true}); err != nil {
		return err
	}
	meter := startMeter()
	changes := r.play(ctx, t.scenario)
	cmd := r.command(topo.Client, dir, vars.Expand(t.peer.Command))
	start := time.Now()
	runErr := cmd.run(ctx, r.limit())
	res.Seconds = time.Since(start).Seconds()
	answer, err := r.topo.Ask(emu.Command{})
	meter.stop(cmd.state, res)
	if err := errors.Join(err, changes.stop(), ctx.Err()); err != nil {
		return err
	}
	capacity := t.scenario.Capacity(r.link, time.Duration(res.Seconds*float64(time.Second)))
	arrived := min(bytesIn(dir), int64(answer.Down.OutBytes-answer.Down.Guest))
	r.judge(res, dir, runErr, arrived, capacity)
	r.fill(res, answer)
	others.fill(res, answer.Down.Series)
	return r.servers.check()
}

// limit is how long a peer may take: Patience times what the link needs for the
// file. Beyond that its share is that of what has arrived.
func (r *runner) limit() time.Duration {
	ideal := float64(r.opt.Size) * 8 / r.link.Limit()
	return max(20*time.Second, time.Duration(r.opt.Patience*ideal*float64(time.Second)))
}

// silence waits until nothing of an earlier run is on the link any more, such as
// the retransmissions of a connection whose other end was killed.
func (r *runner) silence(ctx context.Context) error {
	// What keeps a connection alive is less than this.
	const quiet = 4000
	window := max(2*r.link.RTT, 200*time.Millisecond)
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); {
		if _, err := r.topo.Ask(emu.Command{Reset: true}); err != nil {
			return err
		}
		select {
		case <-time.After(window):
		case <-ctx.Done():
			return ctx.Err()
		}
		a, err := r.topo.Ask(emu.Command{})
		if err != nil {
			return err
		}
		if a.Down.Bytes+a.Up.Bytes < quiet {
			return nil
		}
	}
	r.opt.Note(r.link.Name + ": the link did not fall silent after the run before")
	return nil
}

// judge compares the file with what was served and works the share out. A run
// that did not finish gets the share of what had arrived: the bytes on its disk, but
// not more than came over the link, since some programs reserve the whole file's room.
func (r *runner) judge(res *Result, dir string, err error, arrived int64, capacity float64) {
	var got int64
	switch {
	case err != nil:
		res.Error, got = err.Error(), arrived
	default:
		var sum string
		sum, got, err = sumFile(filepath.Join(dir, "out"))
		res.OK = err == nil && sum == r.sum
		if !res.OK {
			res.Error, got = "the file differs from the one served", 0
		}
	}
	if capacity > 0 {
		res.Share = float64(min(got, res.Size)) * 8 / capacity
	}
}

func sumFile(name string) (sum string, size int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = f.Close() }() // it was only read
	h := sha256.New()
	size, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), size, err
}

// bytesIn returns how many bytes the files in dir occupy; a hole counts nothing.
func bytesIn(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil //nolint:nilerr // a file that vanishes meanwhile has no bytes
		}
		if info, err := d.Info(); err == nil {
			n += min(info.Size(), info.Sys().(*syscall.Stat_t).Blocks*512)
		}
		return nil
	})
	return n
}

// fill takes over what the link has seen.
func (r *runner) fill(res *Result, a emu.Answer) {
	res.First = a.Down.FirstMS / 1000
	res.QueueMean, res.QueueP50, res.QueueP99 = a.Down.Queue.Mean, a.Down.Queue.P50, a.Down.Queue.P99
	res.Down = float64(a.Down.Bytes) / float64(res.Size)
	res.Up = float64(a.Up.Bytes) / float64(res.Size)
	res.Late = max(a.Down.Late.P99, a.Up.Late.P99)
	res.Drops = a.Down.Drops
	if r.opt.Series {
		res.Series = newSeries(a.Down.Series, a.Down.Guest > 0)
	}
}

// vars fills in what a peer's command may name. Each run of JumpGet asks for a
// URL that its relay has not seen, so the relay has to fetch it as well.
func (r *runner) vars(who string, rep int) peer.Vars {
	return peer.Vars{
		"origin":   "http://" + topo.OriginAddr + "/" + fileName,
		"endless":  "http://" + topo.OriginAddr + "/" + endlessName,
		"relay":    "http://" + topo.RelayAddr + "/" + fileName,
		"relaydir": "http://" + topo.RelayAddr,
		"name":     fileName,
		"fresh":    fmt.Sprintf("http://%s/%s?run=%s-%d-%d", topo.OriginAddr, fileName, who, rep, time.Now().UnixNano()),
		"path":     filepath.Join(r.servers.www, fileName),
		"ssh":      r.servers.ssh(),
		"sshw":     r.servers.path("sshw"),
		"dest":     "root@" + topo.RelayAddr,
		"jumpget":  r.opt.JumpGet,
	}
}
