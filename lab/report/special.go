package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Tables beside that of shares: of files so small that their time says more, of
// starts and ends, of lists of files, and of links drawn at random.

// smallSize is up to which size a file's time is told, not its share.
const smallSize = 2_000_000

func (c Cell) small() bool { return c.Files == 0 && c.Size <= smallSize && c.Drawn == "" }

// times writes the median seconds of each peer on each link, and how many round
// trips that is.
func times(b *strings.Builder, cells []Cell) {
	b.WriteString("Seconds of the whole command, and in brackets how many round trips of the link: the median; bold: first on that link.\n\n")
	peersByLinks(b, cells, func(c, best Cell) string {
		text := fmt.Sprintf("%.2f", c.Seconds.Median)
		if c.Peer == best.Peer {
			text = "**" + text + "**"
		}
		if c.Failed > 0 {
			text += "\\*"
		}
		return text + inRTT(" (%.1f)", c.Seconds.Median, c)
	}, func(c Cell) float64 { return -c.Seconds.Median })
	if slices.ContainsFunc(cells, func(c Cell) bool { return c.Failed > 0 }) {
		b.WriteString("\\* not every run ended with the right file.\n\n")
	}
}

// peersByLinks writes a table of peers by links; text gets a cell and the best of its link.
func peersByLinks(b *strings.Builder, cells []Cell, text func(c, best Cell) string, merit func(Cell) float64) {
	links, peers := unique(cells, linkOf), unique(cells, peerOf)
	row(b, "peer", links...)
	row(b, "---", rightAligned(len(links))...)
	best := bests(cells, merit)
	for _, p := range peers {
		var out []string
		for _, l := range links {
			c, ok := find(cells, l, p)
			switch {
			case !ok:
				out = append(out, "–")
			case c.Missing:
				out = append(out, "missing")
			case c.Failed == c.Runs && c.Share.Max == 0:
				out = append(out, "✗")
			default:
				out = append(out, text(c, best[l]))
			}
		}
		row(b, p, out...)
	}
	b.WriteString("\n")
}

// bests returns the best cell of each link among those that brought a file every time.
func bests(cells []Cell, merit func(Cell) float64) map[string]Cell {
	best := map[string]Cell{}
	for _, c := range cells {
		old, ok := best[c.Link]
		if c.Failed == 0 && c.Share.Max > 0 && (!ok || merit(c) > merit(old)) {
			best[c.Link] = c
		}
	}
	return best
}

func inRTT(format string, seconds float64, c Cell) string {
	if c.RTT == 0 {
		return ""
	}
	return fmt.Sprintf(format, seconds/c.RTT)
}

// ends writes what starts and ends cost, for who writes the file as it comes.
func ends(b *strings.Builder, cells []Cell) {
	cells = filter(cells, func(c Cell) bool { return c.Start.Median > 0 && c.RTT > 0 })
	if len(cells) == 0 {
		return
	}
	b.WriteString("<details><summary>Start and end, in round trips of the link (medians)</summary>\n\n" +
		"First data: when the file begins to arrive. Start and tail: what the download lost at its start, first data included, and at its end, " +
		"against one that goes all the while at the rate of its middle. Only for programs that write the file as it comes.\n\n")
	row(b, "link", "peer", "first data", "start", "tail")
	row(b, "---", append([]string{"---"}, rightAligned(3)...)...)
	for _, c := range cells {
		row(b, c.Link, c.Peer, inRTT("%.1f", c.First.Median, c), inRTT("%.1f", c.Start.Median, c), inRTT("%.1f", c.Tail.Median, c))
	}
	b.WriteString("\n</details>\n\n")
}

// lists writes how long lists of files took against one file of the same size.
func lists(b *strings.Builder, cells, all []Cell) {
	type pair struct{ list, one Cell }
	var pairs []pair
	for _, c := range cells {
		i := slices.IndexFunc(all, func(o Cell) bool {
			return o.Files == 0 && o.Size == c.Size && o.Link == c.Link && o.Peer == c.Peer && o.Scenario == c.Scenario && o.Failed == 0
		})
		if i >= 0 && c.Files > 0 && !c.Missing {
			pairs = append(pairs, pair{c, all[i]})
		}
	}
	if len(pairs) == 0 {
		return
	}
	b.WriteString("Against one file of the same size, in seconds:\n\n")
	row(b, "link", "peer", "one file", "the list", "times")
	row(b, "---", append([]string{"---"}, rightAligned(3)...)...)
	for _, p := range pairs {
		one, list := p.one.Seconds.Median, p.list.Seconds.Median
		row(b, p.list.Link, p.list.Peer, fmt.Sprintf("%.2f", one), fmt.Sprintf("%.2f", list), fmt.Sprintf("%.2f", list/one))
	}
	b.WriteString("\n")
}

// drawn writes a line for each link that was drawn at random, and what they are together.
func drawn(b *strings.Builder, cells []Cell) {
	links, peers := unique(cells, linkOf), unique(cells, peerOf)
	b.WriteString("Per cent of what each link can carry, the median. Against the best: JumpGet's share by that of the best other program.\n\n")
	row(b, "link", slices.Concat([]string{"what it is", "MB"}, peers, []string{"against the best"})...)
	row(b, "---", slices.Concat([]string{"---", "---:"}, rightAligned(len(peers)+1))...)
	var ratios []ratio
	for _, l := range links {
		var first Cell
		var out []string
		for _, p := range peers {
			c, ok := find(cells, l, p)
			if ok {
				first = c
			}
			out = append(out, share(c, ok, Cell{}))
		}
		r, ok := against(filter(cells, func(c Cell) bool { return c.Link == l }))
		text := "–"
		if ok {
			ratios = append(ratios, r)
			text = r.String()
		}
		row(b, l, slices.Concat([]string{first.Drawn, fmt.Sprintf("%g", float64(first.Size)/1e6)}, out, []string{text})...)
	}
	b.WriteString("\n")
	row(b, "peer", "worst %", "median %", "best %")
	row(b, "---", rightAligned(3)...)
	for _, p := range peers {
		var shares []float64
		for _, c := range cells {
			if c.Peer == p && !c.Missing {
				shares = append(shares, c.Share.Median)
			}
		}
		s := SpreadOf(shares)
		row(b, p, percent(s.Min), percent(s.Median), percent(s.Max))
	}
	b.WriteString("\n")
	if len(ratios) > 0 {
		worst := slices.MinFunc(ratios, func(a, b ratio) int { return cmp.Compare(a.value, b.value) })
		fmt.Fprintf(b, "JumpGet against the best other program, at its worst: %v, on %s.\n\n", worst, worst.link)
	}
}

// ratio is JumpGet's share by that of the best other program on a link.
type ratio struct {
	link, best string
	value      float64
}

func (r ratio) String() string { return fmt.Sprintf("%.2f (%s)", r.value, r.best) }

// against compares JumpGet, in a session if that was measured, with the best of
// the others, on one link.
func against(cells []Cell) (r ratio, ok bool) {
	var own, best Cell
	for _, c := range cells {
		if c.Peer == "jumpget-session" || c.Peer == "jumpget" && own.Peer == "" {
			own = c
		} else if !strings.HasPrefix(c.Peer, "jumpget") && c.Share.Median > best.Share.Median {
			best = c
		}
	}
	if own.Runs == 0 || best.Runs == 0 {
		return ratio{}, false
	}
	return ratio{own.Link, best.Peer, own.Share.Median / best.Share.Median}, true
}
