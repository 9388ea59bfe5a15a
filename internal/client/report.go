package client

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/jumpget/jumpget/internal/job"
	"github.com/jumpget/jumpget/internal/progress"
)

// reporter turns what a download does into progress events.
type reporter struct {
	d     *download
	total *progress.Meter
	paths map[Path]*progress.Meter
	seen  map[Path]int64 // bytes that the meters know of

	mu     sync.Mutex
	states map[Path]pathState
}

type pathState struct {
	state  progress.PathState
	reason string
}

func newReporter(d *download) *reporter {
	return &reporter{
		d: d, total: progress.NewMeter(nil),
		paths:  map[Path]*progress.Meter{PathUDP: progress.NewMeter(nil), PathTCP: progress.NewMeter(nil), PathSSH: progress.NewMeter(nil)},
		seen:   map[Path]int64{},
		states: map[Path]pathState{},
	}
}

func (r *reporter) send(e progress.Event) { r.d.c.cfg.Reporter.Report(e) }

func (r *reporter) submitted(id job.ID) {
	r.send(progress.Submitted{Download: r.d.req.Download, URL: job.StripUser(r.d.url()), Job: string(id), Relay: r.d.c.cfg.Relay})
}

func (r *reporter) note(level progress.Level, text string) {
	r.send(progress.Note{Download: r.d.req.Download, Text: text, Level: level})
}

// path tells of a path's state, if it is another than before.
func (r *reporter) path(p Path, state progress.PathState, reason string) {
	r.mu.Lock()
	old, known := r.states[p]
	r.states[p] = pathState{state, reason}
	r.mu.Unlock()
	if !known || old.state != state {
		r.send(progress.PathChange{Download: r.d.req.Download, Path: string(p), State: state, Reason: reason})
	}
}

// carried is the number of bytes that came in this run.
func (r *reporter) carried() int64 {
	return r.d.udp.bytes.Load() + r.d.door.bytes.Load() + r.d.ssh.bytes.Load()
}

// progress sends a snapshot. It is for the main loop alone.
func (r *reporter) progress() {
	d := r.d
	s := progress.Snapshot{Download: d.req.Download, Size: progress.Unknown, ETA: -1}
	s.Origin = progress.Origin{State: string(d.status.State), Received: d.status.Received, Size: progress.Unknown, Rate: d.status.Rate}
	if o := d.status.Object; o != nil {
		s.Name, s.Size, s.Origin.Size = o.Name, o.Size, o.Size
	}
	if u := d.req.unpack; u != nil {
		s.Files, s.FilesDone = u.Progress(d.status.Files)
	}
	r.feed(PathUDP, d.udp.bytes.Load())
	r.feed(PathTCP, d.door.bytes.Load())
	r.feed(PathSSH, d.ssh.bytes.Load())
	if d.current != nil {
		s.Have, s.Verified, s.Resumed = d.file.Have(), d.file.Verified(), d.file.Resumed()
		s.Rate = r.total.Rate()
		if s.Size >= 0 {
			s.ETA = r.total.ETA(s.Size - s.Have)
		}
	}
	s.Paths = r.pathsNow()
	r.send(progress.Progress{Snapshot: s})
}

// feed brings the meters up to date.
func (r *reporter) feed(p Path, bytes int64) {
	n := bytes - r.seen[p]
	r.seen[p] = bytes
	r.paths[p].Add(n)
	r.total.Add(n)
}

func (r *reporter) pathsNow() []progress.Path {
	var out []progress.Path
	if c := r.d.udp.alive.Load(); c != nil || r.seen[PathUDP] > 0 {
		p := progress.Path{Name: progress.PathUDP, Rate: r.paths[PathUDP].Rate(), Bytes: r.seen[PathUDP], Loss: -1}
		if c != nil {
			st := c.conn.Stats()
			p.Conns, p.RTT = 1, st.RTT
			if st.Packets > 0 {
				p.Loss = st.Loss()
			}
		}
		out = append(out, p)
	}
	if n := r.d.door.open(); n > 0 || r.seen[PathTCP] > 0 {
		out = append(out, progress.Path{
			Name: progress.PathTCP, Conns: n, Rate: r.paths[PathTCP].Rate(), Bytes: r.seen[PathTCP], RTT: r.d.door.inspect().RTT, Loss: -1,
		})
	}
	if r.seen[PathSSH] > 0 {
		conns := 0
		if on, _, _ := r.d.ssh.wanted.get(); on {
			conns = 1
		}
		out = append(out, progress.Path{Name: progress.PathSSH, Conns: conns, Rate: r.paths[PathSSH].Rate(), Bytes: r.seen[PathSSH], Loss: -1})
	}
	return out
}

// done tells of the finished file.
func (r *reporter) done(res *Result, verified, resumed int64) {
	file := cmp.Or(res.Path, r.d.req.Output.File, "-") // a device or pipe has its name, standard output none
	r.send(progress.Done{
		Download: r.d.req.Download, URL: job.StripUser(r.d.url()), File: file,
		Size: res.Size, SHA256: res.SHA256, Rate: r.mean(res.Elapsed), Duration: res.Elapsed,
		Verified: job.Chunks(verified), Resumed: resumed, Paths: r.uses(), LengthVerified: res.LengthVerified,
	})
}

func (r *reporter) mean(elapsed time.Duration) float64 {
	if elapsed <= 0 {
		return 0
	}
	return float64(r.carried()) / elapsed.Seconds()
}

func (r *reporter) uses() []progress.PathUse {
	udp := progress.PathUse{Name: progress.PathUDP, Bytes: r.d.udp.bytes.Load(), Conns: 1}
	tcp := progress.PathUse{Name: progress.PathTCP, Bytes: r.d.door.bytes.Load(), Conns: r.d.door.peak}
	ssh := progress.PathUse{Name: progress.PathSSH, Bytes: r.d.ssh.bytes.Load(), Conns: 1}
	uses := []progress.PathUse{udp, tcp, ssh}
	slices.SortStableFunc(uses, func(a, b progress.PathUse) int { return cmp.Compare(b.Bytes, a.Bytes) })
	out := uses[:0]
	for _, u := range uses {
		if u.Bytes > 0 {
			out = append(out, u)
		}
	}
	return out
}
