package bulkd

import (
	"bufio"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"time"

	"github.com/jumpget/jumpget/internal/bulk"
	"github.com/jumpget/jumpget/internal/congestion"
)

// trace is one connection's trace: a file of JSON lines, first a [traceHead],
// then a [traceRound] for each quarter of a round trip (docs/transport.md).
type trace struct {
	file *os.File
	buf  *bufio.Writer
	enc  *json.Encoder
	err  error // the first
}

type traceHead struct {
	Remote string    `json:"remote"`
	Began  time.Time `json:"began"`
}

// traceRound is a [congestion.Round]. Times are in seconds from the
// connection's start on, rates in bytes/s, sizes in bytes.
type traceRound struct {
	At       float64 `json:"at"`
	State    string  `json:"state"`
	Now      string  `json:"now"`
	Sent     float64 `json:"sent"`
	Arrived  float64 `json:"arrived"`
	Loss     float64 `json:"loss"`
	PathLoss float64 `json:"path_loss"`
	Queue    float64 `json:"queue"`
	Noise    float64 `json:"noise"`
	RTT      float64 `json:"rtt"`
	BaseRTT  float64 `json:"base_rtt"`
	Capacity float64 `json:"capacity"`
	Pace     float64 `json:"pace"`
	Window   int     `json:"window"`
	InFlight int     `json:"in_flight"`
	Limited  bool    `json:"limited"`
	Crowded  bool    `json:"crowded"`
}

// trace returns what opens a trace for each connection; nil if none is wanted.
func (c Config) trace() func(netip.AddrPort) bulk.Tracer {
	if c.Trace == "" {
		return nil
	}
	return func(remote netip.AddrPort) bulk.Tracer {
		t, err := newTrace(c.Trace, traceHead{Remote: remote.String(), Began: c.Clock()})
		if err != nil {
			c.Log.Warn("a trace can't be written", "err", err)
			return nil
		}
		return t
	}
}

func newTrace(dir string, head traceHead) (*trace, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(dir, head.Began.UTC().Format("20060102T150405.000")+"-*.jsonl")
	if err != nil {
		return nil, err
	}
	buf := bufio.NewWriter(f)
	t := &trace{file: f, buf: buf, enc: json.NewEncoder(buf)}
	t.err = t.enc.Encode(head)
	return t, nil
}

// Round writes one line.
func (t *trace) Round(r congestion.Round) {
	if t.err != nil {
		return
	}
	t.err = t.enc.Encode(traceRound{
		At: r.At.Seconds(), State: r.State.String(), Now: r.Now.String(), Sent: r.Sent, Arrived: r.Arrived,
		Loss: r.Loss, PathLoss: r.PathLoss, Queue: r.Queue.Seconds(), Noise: r.Noise.Seconds(),
		RTT: r.RTT.Seconds(), BaseRTT: r.BaseRTT.Seconds(), Capacity: r.Capacity, Pace: r.Pace,
		Window: r.Window, InFlight: r.InFlight, Limited: r.Limited, Crowded: r.Crowded,
	})
}

// Close returns the first error of all.
func (t *trace) Close() error {
	return errors.Join(t.err, t.buf.Flush(), t.file.Close())
}
