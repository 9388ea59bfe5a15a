package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/jumpget/jumpget/lab/bench"
)

// Table writes the results as Markdown: for each size one table of shares (peers
// by links) and one of what they cost.
func Table(w io.Writer, rs []bench.Result) error {
	cells := Summarize(rs)
	var b strings.Builder
	for _, scenario := range unique(cells, func(c Cell) string { return c.Scenario }) {
		for _, size := range unique(cells, func(c Cell) int64 { return c.Size }) {
			part := filter(cells, func(c Cell) bool { return c.Scenario == scenario && c.Size == size })
			if len(part) == 0 {
				continue
			}
			title := fmt.Sprintf("%s, n = %s", megabytes(size), runs(part))
			if scenario != "" {
				title = scenario + ", " + title
			}
			fmt.Fprintf(&b, "### %s\n\n", title)
			shares(&b, part)
			costs(&b, part)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func filter(cells []Cell, keep func(Cell) bool) []Cell {
	var out []Cell
	for _, c := range cells {
		if keep(c) {
			out = append(out, c)
		}
	}
	return out
}

func megabytes(size int64) string { return fmt.Sprintf("%g MB", float64(size)/1e6) }

// runs says how many runs a median stands on.
func runs(cells []Cell) string {
	lo, hi := cells[0].Runs, cells[0].Runs
	for _, c := range cells {
		lo, hi = min(lo, c.Runs), max(hi, c.Runs)
	}
	if lo == hi {
		return fmt.Sprint(lo)
	}
	return fmt.Sprintf("%d to %d", lo, hi)
}

// shares writes the median share of each peer on each link in per cent, the best in bold.
func shares(b *strings.Builder, cells []Cell) {
	links, peers := unique(cells, func(c Cell) string { return c.Link }), unique(cells, func(c Cell) string { return c.Peer })
	b.WriteString("Per cent of what the link can carry, the median with the least and the largest; bold: first on that link.\n\n")
	row(b, "peer", links...)
	row(b, "---", repeat("---:", len(links))...)
	best := map[string]float64{}
	for _, c := range cells {
		if c.Failed == 0 {
			best[c.Link] = max(best[c.Link], c.Share.Median)
		}
	}
	for _, p := range peers {
		var out []string
		for _, l := range links {
			c, ok := find(cells, l, p)
			out = append(out, share(c, ok, best[l]))
		}
		row(b, p, out...)
	}
	b.WriteString("\n\\* did not finish within six times what the link needs; the share is that of what had arrived. ✗ no right file.\n\n")
}

func share(c Cell, ok bool, best float64) string {
	switch {
	case !ok:
		return "–"
	case c.Failed == c.Runs && c.Share.Median == 0:
		return "✗"
	}
	text := fmt.Sprintf("%.1f", c.Share.Median*100)
	if c.Failed == 0 && c.Share.Median == best {
		text = "**" + text + "**"
	}
	if c.Failed > 0 {
		text += "\\*"
	}
	if c.Runs > 1 {
		text += fmt.Sprintf(" <sub>%.0f–%.0f</sub>", c.Share.Min*100, c.Share.Max*100)
	}
	return text
}

// costs writes what the peers' downloads cost, link by link.
func costs(b *strings.Builder, cells []Cell) {
	b.WriteString("<details><summary>What it costs: queue, wire, processor and memory (medians)</summary>\n\n")
	row(b, "link", "peer", "seconds", "first data s", "queue mean ms", "queue p99 ms", "sent down per byte", "sent up MB per GB", "client CPU s/GB", "relay CPU s/GB", "client MiB", "relay MiB")
	row(b, "---", append([]string{"---"}, repeat("---:", 10)...)...)
	for _, c := range cells {
		row(b, c.Link, c.Peer,
			fmt.Sprintf("%.2f", c.Seconds.Median), fmt.Sprintf("%.2f", c.First.Median),
			fmt.Sprintf("%.1f", c.QueueMean.Median), fmt.Sprintf("%.1f", c.QueueP99.Median),
			fmt.Sprintf("%.3f", c.Down.Median), fmt.Sprintf("%.1f", c.Up.Median*1000),
			fmt.Sprintf("%.1f", c.ClientCPU.Median), fmt.Sprintf("%.1f", c.RelayCPU.Median),
			fmt.Sprintf("%.0f", c.ClientMem.Median/(1<<20)), fmt.Sprintf("%.0f", c.RelayMem.Median/(1<<20)))
	}
	b.WriteString("\n</details>\n\n")
}

func row(b *strings.Builder, first string, cells ...string) {
	b.WriteString("| " + first + " | " + strings.Join(cells, " | ") + " |\n")
}

func repeat(s string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = s
	}
	return out
}
