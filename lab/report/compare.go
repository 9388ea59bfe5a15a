package report

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"

	"github.com/aclements/go-moremath/stats"

	"github.com/jumpget/jumpget/lab/bench"
)

// alpha is the chance of calling noise a change that Compare accepts.
const alpha = 0.05

// Compare writes what changed from one set of results to another.
//
// For each link, peer and size that both sets have it tests the two samples of
// shares by Mann-Whitney's U. Few runs can't show a small difference there: with three
// on each side no p is below 0.1. So for each peer a second test asks all links
// at once: the mean over links of the change in the mean logarithm of the share,
// against what it would be if the labels "before" and "after" were dealt out
// anew within each link (a stratified permutation test).
func Compare(w io.Writer, before, after []bench.Result) error {
	old, now := shareGroups(before), shareGroups(after)
	var b strings.Builder
	row(&b, "scenario", "size", "link", "peer", "before %", "after %", "change", "p")
	row(&b, "---", "---:", "---", "---", "---:", "---:", "---:", "---:")
	strata := map[string][]stratum{}
	var peers []string
	tests := 0
	for _, c := range Summarize(after) {
		s := stratum{old[c.Key], now[c.Key]}
		if len(s.before) == 0 || len(s.after) == 0 {
			continue
		}
		if strata[c.Peer] == nil {
			peers = append(peers, c.Peer)
		}
		strata[c.Peer] = append(strata[c.Peer], s)
		change, p := s.verdict()
		row(&b, orDash(c.Scenario), megabytes(c.Size), c.Link, c.Peer, s.before.String(), s.after.String(), change, p)
		tests++
	}
	if tests == 0 {
		return errors.New("the two sets have no link, peer and size in common")
	}
	fmt.Fprintf(&b, "\n~: the runs can't tell the change from noise (p > %.2f). Of %d comparisons of nothing with nothing about %.1f would show a change.\n\n",
		alpha, tests, alpha*float64(tests))
	row(&b, "peer, all links", "change", "p")
	row(&b, "---", "---:", "---:")
	for _, peer := range peers {
		change, p := overall(strata[peer])
		row(&b, peer, change, p)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

// sample is the shares of the runs of one peer on one link.
type sample []float64

func (s sample) String() string {
	return fmt.Sprintf("%.1f (n %d)", SpreadOf(s).Median*100, len(s))
}

func shareGroups(rs []bench.Result) map[bench.Key]sample {
	groups := map[bench.Key]sample{}
	for _, r := range rs {
		if !r.Missing && r.From == 0 {
			groups[r.Key()] = append(groups[r.Key()], r.Share)
		}
	}
	return groups
}

// stratum is one peer on one link with one size, before and after.
type stratum struct{ before, after sample }

// verdict returns the relative change of the median, or ~ if the runs can't
// tell it from noise, and the test's p.
func (s stratum) verdict() (change, p string) {
	u, err := stats.MannWhitneyUTest(s.before, s.after, stats.LocationDiffers)
	if err != nil {
		return "~", "–" // all runs alike
	}
	p = fmt.Sprintf("%.3f", u.P)
	if u.P > alpha {
		return "~", p
	}
	a, b := SpreadOf(s.before).Median, SpreadOf(s.after).Median
	if a == 0 {
		return "from nothing", p
	}
	return fmt.Sprintf("%+.1f %%", (b/a-1)*100), p
}

// shuffles is how often overall deals the labels anew: p is right to about 0.002 near alpha.
const shuffles = 10_000

// smallest stands for a share of zero, which has no logarithm.
const smallest = 1e-4

// overall tests all strata at once and returns the geometric mean of the change.
func overall(strata []stratum) (change, p string) {
	logs := make([]stratum, len(strata))
	for i, s := range strata {
		logs[i] = stratum{logsOf(s.before), logsOf(s.after)}
	}
	observed := meanShift(logs)
	r := rand.New(rand.NewPCG(1, 2)) // the same results give the same p
	extreme := 1                     // what was observed is one of the deals
	for range shuffles {
		for i := range logs {
			logs[i].deal(r)
		}
		if math.Abs(meanShift(logs)) >= math.Abs(observed)-1e-12 {
			extreme++
		}
	}
	chance := float64(extreme) / (shuffles + 1)
	p = fmt.Sprintf("%.4f", chance)
	if chance > alpha {
		return "~", p
	}
	return fmt.Sprintf("%+.1f %%", (math.Exp(observed)-1)*100), p
}

func logsOf(s sample) sample {
	out := make(sample, len(s))
	for i, x := range s {
		out[i] = math.Log(max(x, smallest))
	}
	return out
}

// meanShift is the mean over the strata of the change of their mean.
func meanShift(logs []stratum) float64 {
	sum := 0.0
	for _, s := range logs {
		sum += stats.Mean(s.after) - stats.Mean(s.before)
	}
	return sum / float64(len(logs))
}

// deal puts the runs into before and after at random.
func (s stratum) deal(r *rand.Rand) {
	n := len(s.before)
	at := func(i int) *float64 {
		if i < n {
			return &s.before[i]
		}
		return &s.after[i-n]
	}
	r.Shuffle(n+len(s.after), func(i, j int) { *at(i), *at(j) = *at(j), *at(i) })
}
