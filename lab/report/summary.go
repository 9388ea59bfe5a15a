// Package report turns the results of runs into a Markdown table, plots and a
// comparison of two sets of results.
package report

import (
	"cmp"
	"slices"

	"github.com/jumpget/jumpget/lab/bench"
)

// Cell sums up every run of one peer on one link with one size.
type Cell struct {
	Link, Peer string
	Scenario   string
	Size       int64
	Runs       int
	Failed     int // runs without the right file at the end
	Share      Spread
	Seconds    Spread
	First      Spread
	QueueMean  Spread
	QueueP99   Spread
	Down, Up   Spread
	ClientCPU  Spread
	RelayCPU   Spread
	ClientMem  Spread
	RelayMem   Spread
}

// Spread is the least, the median and the largest of some runs.
type Spread struct{ Min, Median, Max float64 }

// SpreadOf returns the spread of xs; zero for none.
func SpreadOf(xs []float64) Spread {
	if len(xs) == 0 {
		return Spread{}
	}
	xs = slices.Sorted(slices.Values(xs))
	n := len(xs)
	return Spread{Min: xs[0], Median: (xs[(n-1)/2] + xs[n/2]) / 2, Max: xs[n-1]}
}

type key struct {
	scenario string
	size     int64
	link     string
	peer     string
}

func keyOf(r bench.Result) key { return key{r.Scenario, r.Size, r.Link, r.Peer} }

// Summarize gathers results into cells, in the order in which each link and
// peer first came up.
func Summarize(rs []bench.Result) []Cell {
	groups := map[key][]bench.Result{}
	var order []key
	for _, r := range rs {
		k := keyOf(r)
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], r)
	}
	cells := make([]Cell, 0, len(order))
	for _, k := range order {
		cells = append(cells, cellOf(k, groups[k]))
	}
	slices.SortStableFunc(cells, func(a, b Cell) int {
		return cmp.Or(cmp.Compare(a.Scenario, b.Scenario), cmp.Compare(a.Size, b.Size))
	})
	return cells
}

func cellOf(k key, rs []bench.Result) Cell {
	c := Cell{Link: k.link, Peer: k.peer, Scenario: k.scenario, Size: k.size, Runs: len(rs)}
	for _, r := range rs {
		if !r.OK {
			c.Failed++
		}
	}
	for _, f := range []struct {
		to   *Spread
		from func(bench.Result) float64
	}{
		{&c.Share, func(r bench.Result) float64 { return r.Share }},
		{&c.Seconds, func(r bench.Result) float64 { return r.Seconds }},
		{&c.First, func(r bench.Result) float64 { return r.First }},
		{&c.QueueMean, func(r bench.Result) float64 { return r.QueueMean }},
		{&c.QueueP99, func(r bench.Result) float64 { return r.QueueP99 }},
		{&c.Down, func(r bench.Result) float64 { return r.Down }},
		{&c.Up, func(r bench.Result) float64 { return r.Up }},
		{&c.ClientCPU, func(r bench.Result) float64 { return r.ClientCPU }},
		{&c.RelayCPU, func(r bench.Result) float64 { return r.RelayCPU }},
		{&c.ClientMem, func(r bench.Result) float64 { return float64(r.ClientMem) }},
		{&c.RelayMem, func(r bench.Result) float64 { return float64(r.RelayMem) }},
	} {
		xs := make([]float64, len(rs))
		for i, r := range rs {
			xs[i] = f.from(r)
		}
		*f.to = SpreadOf(xs)
	}
	return c
}

// sizes, links and peers return what the cells cover, each in its first order.
func unique[T comparable](cells []Cell, of func(Cell) T) []T {
	var out []T
	for _, c := range cells {
		if v := of(c); !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

func find(cells []Cell, link, peer string) (Cell, bool) {
	i := slices.IndexFunc(cells, func(c Cell) bool { return c.Link == link && c.Peer == peer })
	if i < 0 {
		return Cell{}, false
	}
	return cells[i], true
}
