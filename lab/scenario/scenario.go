// Package scenario names what happens on a link while a file comes: changes in
// mid-run and competitors. They stand in scenarios.txt; to add one is to add a
// line there.
package scenario

import (
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jumpget/jumpget/lab/link"
	"github.com/jumpget/jumpget/lab/profile"

	"github.com/jumpget/jumpget/lab/table"
)

//go:embed scenarios.txt
var builtin string

// Scenario is what happens beside the measured download. The zero value is
// nothing at all.
type Scenario struct {
	Name   string
	About  string
	Rival  string  // a peer's name, Cubic, or "" for nobody
	Ping   bool    // a ping runs alongside
	Events []Event // in the order of their times
}

// Cubic is the rival that is no peer: one TCP connection from the origin that
// does not end.
const Cubic = "cubic"

// Event is a change of the link.
type Event struct {
	At   time.Duration // since the start of the run
	Roam bool          // the client's address changes; nothing else does
	text string        // as in the file
	edit func(down, up *link.Config)
}

func (e Event) String() string { return fmt.Sprintf("%v:%s", e.At, e.text) }

// Apply returns the link as the event leaves it.
func (e Event) Apply(down, up link.Config) (newDown, newUp link.Config) {
	if e.edit != nil {
		e.edit(&down, &up)
	}
	return down, up
}

// Capacity returns how many bits the link could have brought downstream in the
// first d of a run: the integral of rate x (1 - loss).
func (s Scenario) Capacity(p profile.Profile, d time.Duration) float64 {
	down, up := p.Down, p.Up
	bits, from := 0.0, time.Duration(0)
	for _, e := range s.Events {
		at := min(e.At, d)
		bits += limit(down) * (at - from).Seconds()
		from = at
		down, up = e.Apply(down, up)
	}
	return bits + limit(down)*(d-from).Seconds()
}

func limit(c link.Config) float64 {
	if c.Down {
		return 0
	}
	return c.Limit()
}

// All returns the scenarios of scenarios.txt in their order.
func All() []Scenario {
	all, err := Parse(builtin)
	if err != nil {
		panic(err) // the embedded file is tested
	}
	return all
}

// Find returns the named scenarios, "all" for every one, and for no names the
// zero scenario alone.
func Find(names ...string) ([]Scenario, error) {
	if len(names) == 0 {
		return []Scenario{{}}, nil
	}
	return table.Find("scenario", All(), func(s Scenario) string { return s.Name }, names...)
}

// Parse reads scenarios in the form that scenarios.txt explains.
func Parse(text string) ([]Scenario, error) { return table.Parse(text, ParseLine) }

// ParseLine reads one scenario.
func ParseLine(line string) (Scenario, error) {
	spec, about, _ := strings.Cut(line, "|")
	fields := strings.Fields(spec)
	if len(fields) == 0 {
		return Scenario{}, fmt.Errorf("a scenario needs a name")
	}
	s := Scenario{Name: fields[0], About: strings.TrimSpace(about)}
	for _, field := range fields[1:] {
		if err := s.add(field); err != nil {
			return Scenario{}, fmt.Errorf("scenario %s: %s: %w", s.Name, field, err)
		}
	}
	if !slices.IsSortedFunc(s.Events, func(a, b Event) int { return int(a.At - b.At) }) {
		return Scenario{}, fmt.Errorf("scenario %s: its events are not in the order of their times", s.Name)
	}
	return s, nil
}

func (s *Scenario) add(field string) error {
	if rival, ok := strings.CutPrefix(field, "rival="); ok {
		s.Rival = rival
		return nil
	}
	if field == "ping" {
		s.Ping = true
		return nil
	}
	at, text, ok := strings.Cut(field, ":")
	if !ok {
		return fmt.Errorf("it is neither rival=PEER nor ping nor TIME:EVENT")
	}
	e := Event{text: text, Roam: text == "roam"}
	var err error
	if e.At, err = time.ParseDuration(at); err != nil || e.At < 0 {
		return fmt.Errorf("%q is not a time such as 3s", at)
	}
	if e.edit, err = parseEdit(text); err != nil {
		return err
	}
	s.Events = append(s.Events, e)
	return nil
}

// parseEdit returns what an event does to the link.
func parseEdit(text string) (func(down, up *link.Config), error) {
	key, value, _ := strings.Cut(text, "=")
	switch key {
	case "roam":
		return nil, nil
	case "gone", "back":
		return func(down, up *link.Config) { down.Down, up.Down = key == "gone", key == "gone" }, nil
	case "udp":
		if value != "none" && value != "open" {
			return nil, fmt.Errorf("%q is neither none nor open", value)
		}
		return func(down, up *link.Config) { down.NoUDP, up.NoUDP = value == "none", value == "none" }, nil
	case "loss":
		loss, err := strconv.ParseFloat(value, 64)
		if err != nil || loss < 0 || loss > 1 {
			return nil, fmt.Errorf("%q is not a share between 0 and 1", value)
		}
		return func(down, up *link.Config) { down.Loss, up.Loss = loss, loss/2 }, nil
	case "rate":
		times, err := strconv.ParseFloat(strings.TrimPrefix(value, "x"), 64)
		if err != nil || times <= 0 || !strings.HasPrefix(value, "x") {
			return nil, fmt.Errorf("%q is not a factor such as x0.5", value)
		}
		return func(down, up *link.Config) { down.Rate *= times; up.Rate *= times }, nil
	}
	return nil, fmt.Errorf("there is no event %q", key)
}
