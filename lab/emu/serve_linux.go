package emu

import (
	"encoding/json"
	"errors"
	"io"

	"github.com/jumpget/jumpget/lab/link"
)

// Command is one line to an emulator process.
type Command struct {
	Reset   bool     `json:"reset,omitempty"`   // start the statistics anew
	Change  *Configs `json:"change,omitempty"`  // describe the same link anew
	Replace *Configs `json:"replace,omitempty"` // start with a new link and its seed
}

// Configs describe both directions.
type Configs struct {
	Down link.Config `json:"down"`
	Up   link.Config `json:"up"`
	Seed uint64      `json:"seed,omitempty"`
}

// Answer is the emulator's line for every command, and one when it is ready.
type Answer struct {
	Error string `json:"error,omitempty"`
	Down  Stats  `json:"down"`
	Up    Stats  `json:"up"`
}

// Serve runs an emulator until in ends. Every line read is a Command; after it
// has been carried out an Answer with the statistics from before it is written.
// Since in ends when the other side dies in whatever way, nothing is left behind.
func Serve(o Options, in io.Reader, out io.Writer) (err error) {
	dedicate()
	enc, dec := json.NewEncoder(out), json.NewDecoder(in)
	e, err := Start(o)
	if err != nil {
		return errors.Join(err, enc.Encode(Answer{Error: err.Error()}))
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if err := enc.Encode(Answer{}); err != nil {
		return err
	}
	for {
		var c Command
		if err := dec.Decode(&c); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		down, up := e.Stats()
		if c.Change != nil {
			e.Change(c.Change.Down, c.Change.Up)
		}
		if r := c.Replace; r != nil {
			e.Replace(r.Down, r.Up, r.Seed)
		}
		if c.Reset {
			e.Reset()
		}
		if err := enc.Encode(Answer{Down: down, Up: up}); err != nil {
			return err
		}
	}
}
