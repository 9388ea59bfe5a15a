package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jumpget/jumpget/lab/emu"
	"github.com/jumpget/jumpget/lab/peer"
	"github.com/jumpget/jumpget/lab/topo"
)

// prepareLimit is how long a peer may take for what stands before or after its run.
const prepareLimit = 2 * time.Minute

// blank returns a turn's result before anything was measured.
func (r *runner) blank(t turn) Result {
	res := Result{
		Time: time.Now().UTC().Truncate(time.Second), Commit: r.opt.Commit, Machine: r.system.machine, Kernel: r.system.kernel,
		Version: r.versions[t.peer.Name], Link: r.link.Name, RTT: r.link.RTT.Seconds(), Scenario: t.scenario.Name, Peer: t.peer.Name,
		Size: t.size, Files: r.opt.Files, Rep: t.rep, Seed: r.opt.Seed + uint64(t.rep),
	}
	if r.link.Drawn {
		res.Drawn = r.link.About
	}
	return res
}

// one runs a peer once on a fresh link and measures it. An error is the lab's; a
// peer's own stands in the result.
func (r *runner) one(ctx context.Context, t turn) (res Result, err error) {
	res = r.blank(t)
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
	if err := errors.Join(r.www.fill(t.size, r.opt.Files), r.lists(vars)); err != nil {
		return res, err
	}
	if t.peer.Before != "" {
		if err := r.command(topo.Client, dir, vars.Expand(t.peer.Before)).run(ctx, prepareLimit); err != nil {
			res.Error = "could not be made ready: " + err.Error()
			return res, ctx.Err()
		}
	}
	if t.peer.Afresh {
		if err := r.servers.restartJumpGet(ctx); err != nil {
			return res, err
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
	line := t.peer.Command
	if r.opt.Files > 0 {
		line = t.peer.Many
	}
	cmd := r.command(topo.Client, dir, vars.Expand(line))
	start := time.Now()
	growth := watchGrowth(dir, start, r.opt.Files == 0)
	runErr := cmd.run(ctx, r.limit(t.size))
	res.Seconds = time.Since(start).Seconds()
	growth.stop()
	answer, err := r.topo.Ask(emu.Command{})
	meter.stop(cmd.state, res)
	if err := errors.Join(err, changes.stop(), ctx.Err()); err != nil {
		return err
	}
	capacity := t.scenario.Capacity(r.link, time.Duration(res.Seconds*float64(time.Second)))
	arrived := min(bytesIn(dir), int64(answer.Down.OutBytes-answer.Down.Guest))
	r.judge(res, t, dir, runErr, arrived, capacity)
	r.fill(res, answer)
	if res.OK && !t.peer.NoFile {
		res.Start, res.Tail = growth.ends(t.size, res.Seconds, float64(t.size)*8/r.link.Limit(), res.RTT)
	}
	others.fill(res, answer.Down.Series)
	return r.servers.check()
}

// allowance is what a run may take beyond what its bytes need: logins and first
// packets over a bad link.
const allowance = 20 * time.Second

// limit is how long a peer may take: the allowance and Patience times what the link
// needs for the bytes. Beyond that its share is that of what has arrived.
func (r *runner) limit(size int64) time.Duration {
	ideal := float64(size) * 8 / r.link.Limit()
	return allowance + time.Duration(r.opt.Patience*ideal*float64(time.Second))
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
func (r *runner) judge(res *Result, t turn, dir string, err error, arrived int64, capacity float64) {
	got := t.size
	switch {
	case err != nil:
		res.Error, res.Cut, got = err.Error(), errors.Is(err, errCut), arrived
	case t.peer.NoFile:
		res.OK, got = true, 0
	case r.www.right(filepath.Join(dir, "out")):
		res.OK = true
	default:
		res.Error, got = "what came differs from what was served", 0
	}
	if capacity > 0 {
		res.Share = float64(min(got, t.size)) * 8 / capacity
	}
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
	vars := peer.Vars{
		"origin":    "http://" + topo.OriginAddr + "/" + fileName,
		"endless":   "http://" + topo.OriginAddr + "/" + endlessName,
		"relay":     "http://" + topo.RelayAddr + "/" + fileName,
		"relaydir":  "http://" + topo.RelayAddr,
		"origindir": "http://" + topo.OriginAddr,
		"name":      fileName,
		"run":       fmt.Sprintf("run=%s-%d-%d", who, rep, time.Now().UnixNano()),
		"path":      filepath.Join(r.servers.www, fileName),
		"many":      filepath.Join(r.servers.www, manyName),
		"ssh":       r.servers.ssh(),
		"sshw":      r.servers.path("sshw"),
		"dest":      "root@" + topo.RelayAddr,
		"jumpget":   r.opt.JumpGet,
	}
	vars["fresh"] = vars["origin"] + "?" + vars["run"]
	vars["tiny"] = vars["origindir"] + "/" + tinyName + "?" + vars["run"]
	vars["learn"] = vars["origindir"] + "/" + learnName + "?" + vars["run"]
	for name := range peer.Lists {
		vars[name] = r.servers.path(name)
	}
	return vars
}

// lists writes the lists of URLs that the variables name.
func (r *runner) lists(vars peer.Vars) error {
	if r.opt.Files == 0 {
		return nil
	}
	var errs []error
	for name, l := range peer.Lists {
		errs = append(errs, r.www.list(vars[name], vars.Expand(l.Before)+"/"+manyName+"/", vars.Expand(l.After)))
	}
	return errors.Join(errs...)
}
