package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/aclements/go-moremath/stats"

	"github.com/jumpget/jumpget/lab/bench"
)

// alpha is the chance of calling noise a change that Compare accepts.
const alpha = 0.05

// Compare writes, for each link, peer and size that both sets of results have,
// the medians of the share before and after and whether they differ by the
// Mann-Whitney U test. Few runs can't show a small difference: with three on
// each side no difference is significant, however large.
func Compare(w io.Writer, before, after []bench.Result) error {
	old := shareGroups(before)
	var b strings.Builder
	row(&b, "size", "link", "peer", "before %", "after %", "change", "p")
	row(&b, "---:", "---", "---", "---:", "---:", "---:", "---:")
	both := 0
	for _, c := range Summarize(after) {
		k := key{c.Scenario, c.Size, c.Link, c.Peer}
		was, now := old[k], shareGroups(after)[k]
		if len(was) == 0 {
			continue
		}
		both++
		change, p := verdict(was, now)
		row(&b, megabytes(c.Size), c.Link, c.Peer,
			fmt.Sprintf("%.1f (n %d)", SpreadOf(was).Median*100, len(was)),
			fmt.Sprintf("%.1f (n %d)", SpreadOf(now).Median*100, len(now)), change, p)
	}
	if both == 0 {
		return fmt.Errorf("the two sets have no link, peer and size in common")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func shareGroups(rs []bench.Result) map[key][]float64 {
	groups := map[key][]float64{}
	for _, r := range rs {
		groups[keyOf(r)] = append(groups[keyOf(r)], r.Share)
	}
	return groups
}

// verdict returns the relative change of the median, or ~ if the runs can't
// tell it from noise, and the test's p.
func verdict(was, now []float64) (change, p string) {
	u, err := stats.MannWhitneyUTest(was, now, stats.LocationDiffers)
	if err != nil {
		return "~", "–" // all runs alike, or too few
	}
	p = fmt.Sprintf("%.3f", u.P)
	if u.P > alpha {
		return "~", p
	}
	a, b := SpreadOf(was).Median, SpreadOf(now).Median
	return fmt.Sprintf("%+.1f %%", (b/a-1)*100), p
}
