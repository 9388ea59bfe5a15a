// Package profile names the links that everything is measured on. They stand in
// profiles.txt; to add one is to add a line there.
package profile

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jumpget/jumpget/lab/link"

	"github.com/jumpget/jumpget/lab/table"
)

//go:embed profiles.txt
var builtin string

// Profile is an access link: what reaches the client (Down) and what leaves it (Up).
type Profile struct {
	Name  string
	About string
	Drawn bool          // at random, see Random
	RTT   time.Duration // without queues
	Down  link.Config
	Up    link.Config
}

// Limit is the most a download can get in bit/s: rate x (1 - loss).
func (p Profile) Limit() float64 { return p.Down.Limit() }

// All returns the profiles of profiles.txt in their order.
func All() []Profile {
	ps, err := Parse(builtin)
	if err != nil {
		panic(err) // the embedded file is tested
	}
	return ps
}

// Find returns the named profiles; "all" or no names stand for every one.
func Find(names ...string) ([]Profile, error) {
	if len(names) == 0 {
		return All(), nil
	}
	return table.Find("link", All(), func(p Profile) string { return p.Name }, names...)
}

// Parse reads profiles in the form that profiles.txt explains.
func Parse(text string) ([]Profile, error) { return table.Parse(text, ParseLine) }

// minQueue keeps a thin or short link from having no queue at all: ten packets.
const minQueue = 15_000

// ParseLine reads one profile.
func ParseLine(line string) (Profile, error) {
	spec, about, _ := strings.Cut(line, "|")
	fields := strings.Fields(spec)
	if len(fields) == 0 {
		return Profile{}, fmt.Errorf("a link needs a name")
	}
	p := Profile{Name: fields[0], About: strings.TrimSpace(about)}
	b := builder{queue: 1, upLoss: -1, p: &p}
	for _, field := range fields[1:] {
		key, value, _ := strings.Cut(field, "=")
		set, ok := keys[key]
		if !ok {
			return Profile{}, fmt.Errorf("link %s: unknown key %q", p.Name, key)
		}
		if err := set(&b, value); err != nil {
			return Profile{}, fmt.Errorf("link %s: %s: %w", p.Name, field, err)
		}
	}
	if p.Down.Rate <= 0 || p.RTT < 0 {
		return Profile{}, fmt.Errorf("link %s: it needs a rate and an rtt", p.Name)
	}
	b.finish()
	return p, nil
}

// builder holds what can be worked out only when the whole line is known.
type builder struct {
	p      *Profile
	queue  float64 // in BDP
	upRate float64
	upLoss float64 // -1: half of the loss downstream
}

func (b *builder) finish() {
	p := b.p
	p.Up.Rate = p.Down.Rate
	if b.upRate > 0 {
		p.Up.Rate = b.upRate
	}
	p.Up.Loss = p.Down.Loss / 2
	if b.upLoss >= 0 {
		p.Up.Loss = b.upLoss
	}
	// Both directions get the downstream's queue in bytes, as in the emulator
	// that the first figures were made with.
	bdp := p.Down.Rate / 8 * p.RTT.Seconds()
	p.Down.Queue = max(int(bdp*b.queue), minQueue)
	p.Up.Queue = p.Down.Queue
	p.Down.Delay, p.Up.Delay = p.RTT/2, p.RTT/2
}

var keys = map[string]func(*builder, string) error{
	"rate":    func(b *builder, v string) (err error) { b.p.Down.Rate, err = parseRate(v); return },
	"up-rate": func(b *builder, v string) (err error) { b.upRate, err = parseRate(v); return },
	"rtt":     func(b *builder, v string) (err error) { b.p.RTT, err = time.ParseDuration(v); return },
	"loss":    func(b *builder, v string) (err error) { b.p.Down.Loss, err = parseShare(v); return },
	"up-loss": func(b *builder, v string) (err error) { b.upLoss, err = parseShare(v); return },
	"queue":   func(b *builder, v string) (err error) { b.queue, err = strconv.ParseFloat(v, 64); return },
	"reorder": func(b *builder, v string) (err error) { b.p.Down.Reorder, err = parseShare(v); return },
	"jitter": func(b *builder, v string) (err error) {
		b.p.Down.Jitter, err = time.ParseDuration(v)
		b.p.Up.Jitter = b.p.Down.Jitter
		return err
	},
	"mtu": func(b *builder, v string) (err error) {
		b.p.Down.MTU, err = strconv.Atoi(v)
		b.p.Up.MTU = b.p.Down.MTU
		return err
	},
	"burst": func(b *builder, v string) error {
		n, err := parseList(v, 3, parseShare)
		if err == nil {
			b.p.Down.Burst = link.Burst{Enter: n[0], Leave: n[1], Lose: n[2]}
		}
		return err
	},
	"police": func(b *builder, v string) error {
		n, err := parseList(v, 2, parseRate)
		if err == nil {
			b.p.Down.Police = link.Bucket{Rate: n[0], Depth: int(n[1])}
		}
		return err
	},
	"udp": func(b *builder, v string) (err error) {
		if v == "none" {
			b.p.Down.NoUDP, b.p.Up.NoUDP = true, true
			return nil
		}
		b.p.Down.UDP.Rate, err = parseRate(v)
		return err
	},
}

// parseRate reads a number with an optional k, M or G.
func parseRate(s string) (float64, error) {
	unit := 1.0
	switch {
	case strings.HasSuffix(s, "k"):
		unit = 1e3
	case strings.HasSuffix(s, "M"):
		unit = 1e6
	case strings.HasSuffix(s, "G"):
		unit = 1e9
	}
	n, err := strconv.ParseFloat(strings.TrimRight(s, "kMG"), 64)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("%q is not a rate such as 20M", s)
	}
	return n * unit, nil
}

// parseShare reads a probability.
func parseShare(s string) (float64, error) {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || n < 0 || n > 1 {
		return 0, fmt.Errorf("%q is not a share between 0 and 1", s)
	}
	return n, nil
}

func parseList(s string, n int, parse func(string) (float64, error)) ([]float64, error) {
	parts := strings.Split(s, ",")
	if len(parts) != n {
		return nil, fmt.Errorf("it needs %d numbers with commas between", n)
	}
	out := make([]float64, n)
	for i, part := range parts {
		v, err := parse(part)
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}
