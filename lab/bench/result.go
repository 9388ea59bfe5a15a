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
	"time"

	"github.com/jumpget/jumpget/lab/emu"
)

// Result is one run of one peer.
type Result struct {
	Time     time.Time `json:"time"`
	Commit   string    `json:"commit"`
	Machine  string    `json:"machine"` // processors and kernel
	Version  string    `json:"version"` // of the peer
	Link     string    `json:"link"`
	Scenario string    `json:"scenario,omitempty"` // what changed in mid-run, or who else was on the link
	Peer     string    `json:"peer"`
	Size     int64     `json:"size"` // bytes of the file
	Rep      int       `json:"rep"`
	Seed     uint64    `json:"seed"`

	OK      bool    `json:"ok"`              // exit code 0 and the right SHA-256
	Error   string  `json:"error,omitempty"` // why not
	Seconds float64 `json:"seconds"`         // wall clock of the whole command
	Share   float64 `json:"share"`           // of what the link can carry: rate x (1 - loss)
	First   float64 `json:"first,omitempty"` // seconds until the file began to arrive

	QueueMean float64 `json:"queue_mean"`     // ms, downstream
	QueueP99  float64 `json:"queue_p99"`      // ms, downstream
	Down      float64 `json:"down_per_byte"`  // bytes sent downstream for each byte of the file
	Up        float64 `json:"up_per_byte"`    // bytes sent upstream for each byte of the file
	ClientCPU float64 `json:"client_cpu"`     // seconds per GB
	RelayCPU  float64 `json:"relay_cpu"`      // seconds per GB, of all servers on the relay
	ClientMem int64   `json:"client_mem"`     // bytes, the largest process
	RelayMem  int64   `json:"relay_mem"`      // bytes, the JumpGet relay
	PingP50   float64 `json:"ping,omitempty"` // ms, of a ping alongside

	Series []emu.Step `json:"series,omitempty"` // downstream, where it was asked for
}

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

// Read reads what Write wrote.
func Read(r io.Reader) ([]Result, error) {
	var rs []Result
	dec := json.NewDecoder(bufio.NewReader(r))
	for {
		var one Result
		switch err := dec.Decode(&one); {
		case errors.Is(err, io.EOF):
			return rs, nil
		case err != nil:
			return nil, fmt.Errorf("result %d: %w", len(rs)+1, err)
		}
		rs = append(rs, one)
	}
}
