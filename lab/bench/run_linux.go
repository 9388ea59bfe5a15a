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

// one runs a peer once on a fresh link and measures it.
func (r *runner) one(ctx context.Context, p peer.Peer, rep int) (Result, error) {
	seed := r.opt.Seed + uint64(rep)
	res := Result{
		Time: time.Now().UTC(), Commit: r.opt.Commit, Machine: r.machine, Version: r.versions[p.Name],
		Link: r.link.Name, Peer: p.Name, Size: r.opt.Size, Rep: rep, Seed: seed,
	}
	dir, err := os.MkdirTemp(topo.WorkDir, "run-")
	if err != nil {
		return res, err
	}
	defer os.RemoveAll(dir)
	vars := r.vars(rep, p)
	if p.Before != "" {
		if err := r.client(ctx, dir, vars.Expand(p.Before), 2*time.Minute, nil); err != nil {
			res.Error = "could not be made ready: " + err.Error()
			return res, nil
		}
	}
	if _, err := r.topo.Ask(emu.Command{Reset: true, Replace: &emu.Configs{Down: r.link.Down, Up: r.link.Up, Seed: seed}}); err != nil {
		return res, err
	}
	before := r.meters()
	var state *os.ProcessState
	start := time.Now()
	err = r.client(ctx, dir, vars.Expand(p.Command), r.limit(), &state)
	res.Seconds = time.Since(start).Seconds()
	answer, askErr := r.topo.Ask(emu.Command{})
	if askErr != nil {
		return res, askErr
	}
	if ctx.Err() != nil {
		return res, ctx.Err()
	}
	r.meters().since(before, state, &res)
	r.judge(&res, dir, err)
	fill(&res, answer, r.opt.Series)
	return res, nil
}

// limit is how long a peer may take: six times what the link needs for the
// file. Beyond that its share is that of what has arrived.
func (r *runner) limit() time.Duration {
	ideal := float64(r.opt.Size) * 8 / r.link.Limit()
	return max(20*time.Second, time.Duration(6*ideal*float64(time.Second)))
}

// client runs a shell line on the client, in dir.
func (r *runner) client(ctx context.Context, dir, line string, limit time.Duration, state **os.ProcessState) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := r.topo.Command(ctx, topo.Client, "sh", "-c", line)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), r.clientEnv()...)
	var tail tailBuffer
	cmd.Stdout, cmd.Stderr = &tail, &tail
	// A process that the peer leaves behind may hold the pipe; it is not waited for.
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if state != nil {
		*state = cmd.ProcessState
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("not finished after %v", limit.Round(time.Second))
	case errors.Is(err, os.ErrProcessDone) || err == nil || cmd.ProcessState.Success():
		return nil
	}
	return fmt.Errorf("%w: %s", err, strings.TrimSpace(tail.String()))
}

// judge compares the file with what was served and works the share out. A run
// that did not finish gets the share of the bytes that it has on disk.
func (r *runner) judge(res *Result, dir string, err error) {
	got := int64(0)
	switch {
	case err != nil:
		res.Error, got = err.Error(), bytesIn(dir)
	default:
		var sum string
		sum, got, err = sumFile(filepath.Join(dir, "out"))
		res.OK = err == nil && sum == r.sum
		if !res.OK {
			res.Error, got = "the file differs from the one served", 0
		}
	}
	res.Share = float64(min(got, res.Size)) * 8 / res.Seconds / r.link.Limit()
}

func sumFile(name string) (sum string, size int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
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
func fill(res *Result, a emu.Answer, series bool) {
	res.First = a.Down.FirstMS / 1000
	res.QueueMean, res.QueueP99 = a.Down.Queue.Mean, a.Down.Queue.P99
	res.Down = float64(a.Down.Bytes) / float64(res.Size)
	res.Up = float64(a.Up.Bytes) / float64(res.Size)
	if series {
		res.Series = a.Down.Series
	}
}

// vars fills in what a peer's command may name. Each run of JumpGet asks for a
// URL that its relay has not seen, so the relay has to fetch it as well.
func (r *runner) vars(rep int, p peer.Peer) peer.Vars {
	return peer.Vars{
		"origin":   "http://" + topo.OriginAddr + "/" + fileName,
		"relay":    "http://" + topo.RelayAddr + "/" + fileName,
		"relaydir": "http://" + topo.RelayAddr,
		"name":     fileName,
		"tiny":     "http://" + topo.OriginAddr + "/tiny",
		"fresh":    fmt.Sprintf("http://%s/%s?run=%s-%d-%d", topo.OriginAddr, fileName, p.Name, rep, time.Now().UnixNano()),
		"path":     filepath.Join(r.servers.www, fileName),
		"ssh":      r.servers.ssh(),
		"sshw":     r.servers.path("sshw"),
		"dest":     "root@" + topo.RelayAddr,
		"jumpget":  r.opt.JumpGet,
		"mbps":     fmt.Sprint(int(r.link.Down.Rate / 1e6)),
	}
}

// clientEnv makes JumpGet speak to the lab's relay without a word on its
// command line, from a home of its own.
func (r *runner) clientEnv() []string {
	return []string{
		"HOME=" + r.servers.path("home"),
		"XDG_STATE_HOME=" + r.servers.path("state"),
		"XDG_CONFIG_HOME=" + r.servers.path("config"),
		"JUMPGET_RELAY=root@" + topo.RelayAddr,
		"JUMPGET_SSH=" + r.servers.ssh(),
	}
}

// The names of the files that nginx serves.
const fileName = "file.bin"

// tailBuffer keeps the end of what is written to it.
type tailBuffer struct{ b []byte }

const tailSize = 500

func (t *tailBuffer) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if len(t.b) > tailSize {
		t.b = t.b[len(t.b)-tailSize:]
	}
	return len(p), nil
}

func (t *tailBuffer) String() string { return string(t.b) }
