// Package bench runs peers over links and keeps what it measured: for each link
// the topology is built once, and each repetition starts every peer in turn on a
// link that has been made anew with the repetition's seed, so all see the same losses
// and a drift of the machine's speed strikes all alike.
package bench

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/jumpget/jumpget/lab/emu"
)

// Result is one run of one peer.
type Result struct {
	Time     time.Time `json:"time"`
	Commit   string    `json:"commit"`
	Machine  string    `json:"machine"` // its processors
	Kernel   string    `json:"kernel"`
	Version  string    `json:"version"` // of the peer
	Link     string    `json:"link"`
	Drawn    string    `json:"drawn,omitempty"`    // what the link is, if it was drawn at random
	RTT      float64   `json:"rtt,omitempty"`      // seconds, of the link without queues
	Scenario string    `json:"scenario,omitempty"` // what changed in mid-run, and who else was on the link
	Peer     string    `json:"peer"`
	Size     int64     `json:"size"`            // bytes of the file, or of all files
	Files    int       `json:"files,omitempty"` // how many; 0 for a single one
	Rep      int       `json:"rep"`
	Seed     uint64    `json:"seed"`

	Missing bool    `json:"missing,omitempty"` // the peer is not on this machine; all below is zero
	Cut     bool    `json:"cut,omitempty"`     // it needed more time than Patience gives
	From    int64   `json:"from,omitempty"`    // not run: the share is that of the run with a file of this size, which was cut
	OK      bool    `json:"ok"`                // exit code 0 and the right SHA-256
	Error   string  `json:"error,omitempty"`   // why not
	Seconds float64 `json:"seconds"`           // wall clock of the whole command
	Share   float64 `json:"share"`             // of what the link can carry: rate x (1 - loss)
	First   float64 `json:"first,omitempty"`   // seconds until the file began to arrive
	Start   float64 `json:"start,omitempty"`   // seconds lost before it came at its full rate, First among them; see ends
	Tail    float64 `json:"tail,omitempty"`    // seconds lost at its end

	QueueMean float64 `json:"queue_mean"`    // ms, downstream
	QueueP50  float64 `json:"queue_p50"`     // ms, downstream
	QueueP99  float64 `json:"queue_p99"`     // ms, downstream
	Down      float64 `json:"down_per_byte"` // bytes sent downstream for each byte of the file
	Up        float64 `json:"up_per_byte"`   // bytes sent upstream for each byte of the file
	ClientCPU float64 `json:"client_cpu"`    // seconds per GB
	RelayCPU  float64 `json:"relay_cpu"`     // seconds per GB, of all servers on the relay
	ClientMem int64   `json:"client_mem"`    // bytes, the peak of the largest process
	RelayMem  int64   `json:"relay_mem"`     // bytes, the peak of the largest server on the relay
	Late      float64 `json:"late_p99"`      // ms that the emulator itself was late, either direction

	Drops   map[string]uint64 `json:"drops,omitempty"`   // packets downstream, by cause
	Ping    *Ping             `json:"ping,omitempty"`    // of one alongside, where the scenario has it
	Sharing *Sharing          `json:"sharing,omitempty"` // with a rival, where the scenario has one
	Series  *Series           `json:"series,omitempty"`  // where it was asked for
}

// Ping is what the user's other traffic met: round trips from the neighbour to
// the origin, ten a second.
type Ping struct {
	N    int     `json:"n"` // answered
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	Lost float64 `json:"lost"` // share
}

// Series is a run in steps of emu.StepLength, downstream. All slices have one length.
type Series struct {
	Bytes   []uint32  `json:"bytes"`           // delivered, the rival's among them
	Rival   []uint32  `json:"rival,omitempty"` // the rival's bytes of them
	Lost    []uint32  `json:"lost"`            // packets lost on the wire
	Dropped []uint32  `json:"dropped"`         // packets dropped before it
	Queue   []float64 `json:"queue"`           // mean wait in ms
}

// newSeries turns the emulator's rows into columns, which are a quarter the size as JSON.
func newSeries(steps []emu.Step, rival bool) *Series {
	s := &Series{}
	for _, step := range steps {
		s.Bytes = append(s.Bytes, step.OutBytes)
		s.Lost = append(s.Lost, step.Lost)
		s.Dropped = append(s.Dropped, step.Dropped)
		s.Queue = append(s.Queue, math.Round(step.QueueMS*10)/10)
		if rival {
			s.Rival = append(s.Rival, step.Guest)
		}
	}
	return s
}

// Key names what was measured, but not when: results with one key are repetitions.
type Key struct {
	Scenario string
	Size     int64
	Files    int
	Link     string
	Peer     string
}

// Key returns the result's key.
func (r Result) Key() Key { return Key{r.Scenario, r.Size, r.Files, r.Link, r.Peer} }

// Write appends results to w, one JSON object a line.
func Write(w io.Writer, rs ...Result) error {
	enc := json.NewEncoder(w)
	for _, r := range rs {
		if err := enc.Encode(r); err != nil {
			return err
		}
	}
	return nil
}

// Read reads what Write wrote. A last line that was cut short, as by a killed
// run, ends it without an error.
func Read(r io.Reader) ([]Result, error) {
	var rs []Result
	dec := json.NewDecoder(bufio.NewReader(r))
	for {
		var one Result
		switch err := dec.Decode(&one); {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return rs, nil
		case err != nil:
			return nil, fmt.Errorf("result %d: %w", len(rs)+1, err)
		}
		rs = append(rs, one)
	}
}
