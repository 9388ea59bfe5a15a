package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jumpget/jumpget/lab/bench"
)

// Line tells of one run, for a person who waits.
func Line(r bench.Result) string {
	if r.Missing {
		return fmt.Sprintf("%-8s %-17s %s", r.Link, r.Peer, r.Error)
	}
	if r.From > 0 {
		return fmt.Sprintf("%-8s %-17s %s", r.Link, r.Peer, r.Error)
	}
	text := fmt.Sprintf("%-8s %-17s %6.2f s %5.1f %%  queue %5.1f/%5.1f ms  first %5.2f s",
		r.Link, r.Peer, r.Seconds, r.Share*100, r.QueueMean, r.QueueP99, r.First)
	if r.Scenario != "" {
		text = fmt.Sprintf("%-8s ", r.Scenario) + text
	}
	if r.Sharing != nil {
		text += fmt.Sprintf("  shares %.0f:%.0f", r.Sharing.Own*100, r.Sharing.Rival*100)
	}
	if r.Ping != nil {
		text += fmt.Sprintf("  ping %.0f/%.0f ms", r.Ping.Mean, r.Ping.P99)
	}
	if r.Late > lateLimit {
		text += fmt.Sprintf("  the lab itself was %.1f ms late", r.Late)
	}
	if r.Error != "" {
		text += "  " + r.Error
	}
	return strings.TrimRight(text, " ")
}

// lateLimit is how many ms the emulator may be late at the 99th percentile
// before its figures are called in question.
const lateLimit = 1

// Table writes the results as Markdown: for each scenario and size one table of
// shares (peers by links), or of times if the file is small; then what starts and ends cost, what the
// peers did to others where that was measured, and what they used.
func Table(w io.Writer, rs []bench.Result) error {
	var b strings.Builder
	all := Summarize(rs)
	tables(all, func(part []Cell) {
		title := fmt.Sprintf("%s, n = %s", sizeText(part[0]), runs(part))
		if part[0].Scenario != "" {
			title = "Scenario " + part[0].Scenario + ": " + title
		}
		fmt.Fprintf(&b, "### %s\n\n", title)
		switch {
		case part[0].Drawn != "":
			drawn(&b, part)
		case part[0].small():
			times(&b, part)
		default:
			shares(&b, part)
		}
		lists(&b, part, all)
		ends(&b, part)
		company(&b, part)
		costs(&b, part)
	})
	b.WriteString(measuredOn(rs))
	_, err := io.WriteString(w, b.String())
	return err
}

func megabytes(size int64) string { return fmt.Sprintf("%g MB", float64(size)/1e6) }

// sizeText says what was downloaded.
func sizeText(c Cell) string {
	switch {
	case c.Drawn != "":
		return "Links drawn at random"
	case c.Files > 0:
		return fmt.Sprintf("%d files, together %s", c.Files, megabytes(c.Size))
	}
	return megabytes(c.Size)
}

// runs says how many runs a median stands on.
func runs(cells []Cell) string {
	lo, hi := 0, 0
	for _, c := range cells {
		if c.Missing || c.Cut { // that stands in its cell
			continue
		}
		if lo == 0 {
			lo = c.Runs
		}
		lo, hi = min(lo, c.Runs), max(hi, c.Runs)
	}
	if lo == hi {
		return fmt.Sprint(max(1, lo))
	}
	return fmt.Sprintf("%d to %d", lo, hi)
}

// shares writes the median share of each peer on each link in per cent, the best in bold.
func shares(b *strings.Builder, cells []Cell) {
	b.WriteString("Per cent of what the link can carry: the median, and the least and the largest; bold: first on that link.\n\n")
	merit := func(c Cell) float64 { return c.Share.Median }
	peersByLinks(b, cells, func(c, best Cell) string { return share(c, true, best) }, merit)
	notes := []struct {
		applies func(Cell) bool
		text    string
	}{
		{func(c Cell) bool { return c.Failed > 0 && !c.Cut }, "\\* not every run ended with the right file in its time; the share is that of what had arrived. ✗ nothing had.\n\n"},
		{func(c Cell) bool { return c.Cut }, "† one run, which was ended because it took too long; the share is that of what had arrived. There was no second one, " +
			"nor one with a larger file, where the share is that with the smaller.\n\n"},
	}
	for _, n := range notes {
		if slices.ContainsFunc(cells, n.applies) {
			b.WriteString(n.text)
		}
	}
}

func share(c Cell, ok bool, best Cell) string {
	switch {
	case !ok:
		return "–"
	case c.Missing:
		return "missing"
	case c.Failed == c.Runs && c.Share.Max == 0:
		return "✗"
	case c.Share.Max == 0: // it brings no file
		return fmt.Sprintf("%.1f s", c.Seconds.Median)
	}
	text := percent(c.Share.Median)
	if c.Peer == best.Peer {
		text = "**" + text + "**"
	}
	switch {
	case c.Cut:
		text += "†"
	case c.Failed > 0:
		text += "\\*"
	}
	if c.Runs > 1 {
		text += fmt.Sprintf(" (%s–%s)", percent(c.Share.Min), percent(c.Share.Max))
	}
	return text
}

// percent keeps a digit behind the point only where there is little before it.
func percent(share float64) string {
	if share < .0995 {
		return fmt.Sprintf("%.1f", share*100)
	}
	return fmt.Sprintf("%.0f", share*100)
}

// company writes what the peers did to others on the link, where it was measured.
func company(b *strings.Builder, cells []Cell) {
	cells = filter(cells, func(c Cell) bool { return c.hasPing || c.hasSharing })
	if len(cells) == 0 {
		return
	}
	b.WriteString("Others on the link. Shares are of what it can carry, on the wire; fairness is Jain's index of the two rates in the second half " +
		"of a run (1: the same, 0.5: one has all); converged: seconds until the newcomer has nine tenths of its later rate.\n\n")
	row(b, "link", "peer", "its share %", "the rival's %", "fairness", "converged s", "ping mean ms", "ping p99 ms", "pings lost %")
	row(b, "---", append([]string{"---"}, rightAligned(7)...)...)
	for _, c := range cells {
		out := []string{c.Peer, "–", "–", "–", "–", "–", "–", "–"}
		if c.hasSharing {
			out[1], out[2] = percent(c.Own.Median), percent(c.Rival.Median)
			out[3], out[4] = fmt.Sprintf("%.2f", c.Fairness.Median), fmt.Sprintf("%.1f", c.Converged.Median)
		}
		if c.hasPing {
			out[5], out[6] = fmt.Sprintf("%.0f", c.PingMean.Median), fmt.Sprintf("%.0f", c.PingP99.Median)
			out[7] = fmt.Sprintf("%.1f", c.PingLost.Median*100)
		}
		row(b, c.Link, out...)
	}
	b.WriteString("\n")
}

// costs writes what the peers' downloads cost, link by link.
func costs(b *strings.Builder, cells []Cell) {
	b.WriteString("<details><summary>What it costs: queue, wire, processor and memory (medians)</summary>\n\n")
	row(b, "link", "peer", "seconds", "first data s", "queue mean ms", "queue p99 ms", "sent down per byte", "sent up MB per GB", "client CPU s/GB", "relay CPU s/GB", "client MiB", "relay MiB")
	row(b, "---", append([]string{"---"}, rightAligned(10)...)...)
	for _, c := range cells {
		if c.Missing || c.Carried {
			continue
		}
		row(b, c.Link, c.Peer,
			fmt.Sprintf("%.2f", c.Seconds.Median), fmt.Sprintf("%.2f", c.First.Median),
			fmt.Sprintf("%.1f", c.QueueMean.Median), fmt.Sprintf("%.1f", c.QueueP99.Median),
			fmt.Sprintf("%.3f", c.Down.Median), fmt.Sprintf("%.1f", c.Up.Median*1000),
			fmt.Sprintf("%.1f", c.ClientCPU.Median), fmt.Sprintf("%.1f", c.RelayCPU.Median),
			fmt.Sprintf("%.0f", c.ClientMem.Median/(1<<20)), fmt.Sprintf("%.0f", c.RelayMem.Median/(1<<20)))
	}
	b.WriteString("\n</details>\n\n")
}

// measuredOn says when, where and with what the results were made.
func measuredOn(rs []bench.Result) string {
	if len(rs) == 0 {
		return ""
	}
	first, last := rs[0].Time, rs[0].Time
	var machines, kernels, commits, versions []string
	note := func(list *[]string, s string) {
		if s != "" && !slices.Contains(*list, s) {
			*list = append(*list, s)
		}
	}
	late := 0
	for _, r := range rs {
		if r.Time.Before(first) {
			first = r.Time
		}
		if r.Time.After(last) {
			last = r.Time
		}
		note(&machines, r.Machine)
		note(&kernels, r.Kernel)
		note(&commits, r.Commit)
		note(&versions, r.Version)
		if r.Late > lateLimit {
			late++
		}
	}
	days := first.Format("2006-01-02")
	if end := last.Format("2006-01-02"); end != days {
		days += " to " + end
	}
	text := fmt.Sprintf("Measured %s on %s, %s; JumpGet at %s. Peers: %s.\n",
		days, strings.Join(machines, " and "), strings.Join(kernels, " and "), strings.Join(commits, ", "), strings.Join(versions, "; "))
	if late > 0 {
		text += fmt.Sprintf("In %d of %d runs the lab itself was late by more than %d ms (99th percentile).\n", late, len(rs), lateLimit)
	}
	return text
}

func row(b *strings.Builder, first string, cells ...string) {
	b.WriteString("| " + first + " | " + strings.Join(cells, " | ") + " |\n")
}

func rightAligned(n int) []string { return slices.Repeat([]string{"---:"}, n) }
