package progress

import (
	"fmt"
	"strings"

	"github.com/mattn/go-runewidth"
)

const (
	minName = 12 // columns that a name keeps before fields give way
	minBar  = 10 // columns of the shortest bar, brackets included
	maxBar  = 40
)

// drawMain returns a download's first line: its name, a bar and the leg from
// the relay to here. It is never wider than width columns; what matters less
// gives way first: the bar, then sizes, then the time left, then the rate.
func drawMain(s Snapshot, width int, color bool) string {
	name := Printable(s.Name)
	fields := fit(mainFields(s), width-minName)
	room := width - runewidth.StringWidth(fields)
	nameWidth := min(runewidth.StringWidth(name), room)
	bar := ""
	if spare := room - nameWidth - 1; spare >= minBar {
		bar = " " + drawBar(s, min(spare, maxBar), color)
		room -= 1 + min(spare, maxBar)
	} else if spare = room - minName - 1; s.Size > 0 && spare >= minBar+minName {
		// A long name shares the room with the bar.
		bar = " " + drawBar(s, minBar, color)
		room -= 1 + minBar
	}
	return pad(name, room) + bar + fields
}

// field is one column of the first line; keep tells how much it matters.
type field struct {
	text  string
	width int
	keep  int
}

func mainFields(s Snapshot) []field {
	size := Size(s.Have)
	if s.Size >= 0 {
		size += " / " + Size(s.Size)
	}
	return []field{
		{percent(s.Have, s.Size), 5, 4},
		{size, 19, 1},
		{Rate(s.Rate), 9, 3},
		{left(s.ETA), 16, 2},
	}
}

// fit joins the fields, right-aligned so that they stand still, without those
// that matter least until they fit into width.
func fit(fields []field, width int) string {
	for least := 1; least <= 5; least++ {
		var b strings.Builder
		for _, f := range fields {
			if f.keep >= least {
				b.WriteString("  " + runewidth.FillLeft(f.text, f.width))
			}
		}
		if s := b.String(); runewidth.StringWidth(s) <= width {
			return s
		}
	}
	return ""
}

// pad makes s exactly width columns wide.
func pad(s string, width int) string {
	return runewidth.FillRight(runewidth.Truncate(s, width, "…"), width)
}

// drawBar returns a bar of width columns. "=" is here and verified, "-" is here,
// "." is on the relay.
func drawBar(s Snapshot, width int, color bool) string {
	inner := width - 2
	cells := func(n int64) int { return int(share(n, s.Size) * float64(inner)) }
	verified := cells(min(s.Verified, s.Have))
	have := max(verified, cells(s.Have))
	relay := max(have, cells(s.Origin.Received))
	if s.Size < 0 {
		verified, have, relay = 0, 0, 0
	}
	return "[" + paint(color, green, strings.Repeat("=", verified)) +
		strings.Repeat("-", have-verified) +
		paint(color, dim, strings.Repeat(".", relay-have)) +
		strings.Repeat(" ", inner-relay) + "]"
}

// drawLegs returns a download's second line: the leg from the origin to the
// relay, and each path from there to here.
func drawLegs(s Snapshot, width int, color bool) string {
	var legs []string
	if f := filesText(s); f != "" {
		legs = append(legs, f)
	}
	if r := relayLeg(s.Origin); r != "" {
		legs = append(legs, r)
	}
	for _, p := range s.Paths {
		legs = append(legs, pathLeg(p))
	}
	line := "  " + strings.Join(legs, " | ")
	return paint(color, dim, runewidth.Truncate(line, width, "…"))
}

// pathLeg tells how a path does: "8 TLS 24.9 MB/s, 31 ms, 0.4 % loss".
func pathLeg(p Path) string {
	name := map[string]string{PathTCP: "TLS", PathHTTP: "HTTP", PathUDP: "UDP"}[p.Name]
	if name == "" {
		name = Printable(p.Name)
	}
	if p.Conns > 1 {
		name = fmt.Sprintf("%d %s", p.Conns, name)
	}
	s := name + " " + Rate(p.Rate)
	if p.RTT > 0 {
		s += fmt.Sprintf(", %.0f ms", p.RTT.Seconds()*1000)
	}
	if p.Loss > 0 {
		s += fmt.Sprintf(", %.1f %% loss", p.Loss*100)
	}
	return s
}
