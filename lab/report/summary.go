// Package report turns the results of runs into Markdown tables, plots and a
// comparison of two sets of results.
package report

import (
	"cmp"
	"slices"

	"github.com/jumpget/jumpget/lab/bench"
	"github.com/jumpget/jumpget/lab/peer"
	"github.com/jumpget/jumpget/lab/profile"
)

// Cell sums up every run of one peer on one link with one size.
type Cell struct {
	bench.Key
	Missing bool // this machine does not have the peer
	Runs    int
	Failed  int     // runs without the right file at the end
	Cut     bool    // its first run took too long, so there are no more
	Carried bool    // and that was with a smaller file
	RTT     float64 // seconds, of the link
	Drawn   string  // what the link is, if it was drawn at random

	Share, Seconds, First           Spread
	Start, Tail                     Spread
	QueueMean, QueueP99             Spread
	Down, Up                        Spread
	ClientCPU, RelayCPU             Spread
	ClientMem, RelayMem             Spread
	PingMean, PingP99, PingLost     Spread
	Own, Rival, Fairness, Converged Spread
	Late                            Spread
	hasPing, hasSharing             bool
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

// Summarize gathers results into cells, in the order of the lab's tables: links
// that are measured side by side come up in any.
func Summarize(rs []bench.Result) []Cell {
	groups := map[bench.Key][]bench.Result{}
	var order []bench.Key
	for _, r := range rs {
		k := r.Key()
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], r)
	}
	cells := make([]Cell, 0, len(order))
	for _, k := range order {
		cells = append(cells, cellOf(k, groups[k]))
	}
	links, peers := ranks(profile.All(), func(p profile.Profile) string { return p.Name }), ranks(peer.All(), func(p peer.Peer) string { return p.Name })
	slices.SortStableFunc(cells, func(a, b Cell) int {
		return cmp.Or(
			cmp.Compare(a.Scenario, b.Scenario), cmp.Compare(a.Files, b.Files), compareSizes(a, b),
			cmp.Compare(links(a.Link), links(b.Link)), compareDrawn(a, b), cmp.Compare(peers(a.Peer), peers(b.Peer)),
		)
	})
	return cells
}

// ranks returns the place of each name in a table; others come behind.
func ranks[T any](table []T, nameOf func(T) string) func(name string) int {
	rank := map[string]int{}
	for i, e := range table {
		rank[nameOf(e)] = i
	}
	return func(name string) int {
		if i, ok := rank[name]; ok {
			return i
		}
		return len(table)
	}
}

// compareDrawn orders links drawn at random by their numbers.
func compareDrawn(a, b Cell) int {
	if a.Drawn == "" || b.Drawn == "" {
		return 0
	}
	return cmp.Or(cmp.Compare(len(a.Link), len(b.Link)), cmp.Compare(a.Link, b.Link))
}

// compareSizes orders by size; the sizes of links drawn at random fit each link and
// stand in one table.
func compareSizes(a, b Cell) int {
	if a.Drawn != "" || b.Drawn != "" {
		return cmp.Compare(min(len(a.Drawn), 1), min(len(b.Drawn), 1)) // they stand at the end
	}
	return cmp.Compare(a.Size, b.Size)
}

func cellOf(k bench.Key, rs []bench.Result) Cell {
	c := Cell{Key: k}
	// One who was missing at first may have come later.
	rs = slices.DeleteFunc(slices.Clone(rs), func(r bench.Result) bool { return r.Missing })
	c.Missing, c.Runs = len(rs) == 0, len(rs)
	for _, r := range rs {
		if !r.OK {
			c.Failed++
		}
		c.Cut, c.Carried = r.Cut && len(rs) == 1, r.From > 0
		c.RTT, c.Drawn = r.RTT, r.Drawn
		c.hasPing = c.hasPing || r.Ping != nil
		c.hasSharing = c.hasSharing || r.Sharing != nil
	}
	for _, m := range c.measures() {
		var xs []float64
		for _, r := range rs {
			if x, ok := m.from(r); ok {
				xs = append(xs, x)
			}
		}
		*m.to = SpreadOf(xs)
	}
	return c
}

// measure is one of a cell's spreads and what it is the spread of.
type measure struct {
	to   *Spread
	from func(bench.Result) (x float64, ok bool)
}

func (c *Cell) measures() []measure {
	always := func(to *Spread, f func(bench.Result) float64) measure {
		return measure{to, func(r bench.Result) (float64, bool) { return f(r), true }}
	}
	ping := func(to *Spread, f func(*bench.Ping) float64) measure {
		return measure{to, func(r bench.Result) (float64, bool) {
			if r.Ping == nil {
				return 0, false
			}
			return f(r.Ping), true
		}}
	}
	sharing := func(to *Spread, f func(*bench.Sharing) float64) measure {
		return measure{to, func(r bench.Result) (float64, bool) {
			if r.Sharing == nil {
				return 0, false
			}
			return f(r.Sharing), true
		}}
	}
	return []measure{
		always(&c.Share, func(r bench.Result) float64 { return r.Share }),
		always(&c.Seconds, func(r bench.Result) float64 { return r.Seconds }),
		{&c.First, func(r bench.Result) (float64, bool) { return r.First, r.First > 0 }},
		{&c.Start, func(r bench.Result) (float64, bool) { return r.Start, r.Start > 0 }},
		{&c.Tail, func(r bench.Result) (float64, bool) { return r.Tail, r.Start > 0 }},
		always(&c.QueueMean, func(r bench.Result) float64 { return r.QueueMean }),
		always(&c.QueueP99, func(r bench.Result) float64 { return r.QueueP99 }),
		always(&c.Down, func(r bench.Result) float64 { return r.Down }),
		always(&c.Up, func(r bench.Result) float64 { return r.Up }),
		always(&c.ClientCPU, func(r bench.Result) float64 { return r.ClientCPU }),
		always(&c.RelayCPU, func(r bench.Result) float64 { return r.RelayCPU }),
		always(&c.ClientMem, func(r bench.Result) float64 { return float64(r.ClientMem) }),
		always(&c.RelayMem, func(r bench.Result) float64 { return float64(r.RelayMem) }),
		always(&c.Late, func(r bench.Result) float64 { return r.Late }),
		ping(&c.PingMean, func(p *bench.Ping) float64 { return p.Mean }),
		ping(&c.PingP99, func(p *bench.Ping) float64 { return p.P99 }),
		ping(&c.PingLost, func(p *bench.Ping) float64 { return p.Lost }),
		sharing(&c.Own, func(s *bench.Sharing) float64 { return s.Own }),
		sharing(&c.Rival, func(s *bench.Sharing) float64 { return s.Rival }),
		sharing(&c.Fairness, func(s *bench.Sharing) float64 { return s.Fairness }),
		sharing(&c.Converged, func(s *bench.Sharing) float64 { return s.Converged }),
	}
}

// unique returns what the cells cover, each in its first order.
func unique[T comparable](cells []Cell, of func(Cell) T) []T {
	var out []T
	for _, c := range cells {
		if v := of(c); !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

func linkOf(c Cell) string { return c.Link }
func peerOf(c Cell) string { return c.Peer }

// tables calls f with the cells that stand in one table: those of each scenario
// and size, and all of links drawn at random together.
func tables(cells []Cell, f func([]Cell)) {
	type table struct {
		scenario string
		files    int
		size     int64
		drawn    bool
	}
	of := func(c Cell) table {
		if c.Drawn != "" {
			return table{c.Scenario, c.Files, 0, true}
		}
		return table{c.Scenario, c.Files, c.Size, false}
	}
	for _, t := range unique(cells, of) {
		f(filter(cells, func(c Cell) bool { return of(c) == t }))
	}
}

func filter(cells []Cell, keep func(Cell) bool) []Cell {
	return slices.DeleteFunc(slices.Clone(cells), func(c Cell) bool { return !keep(c) })
}

func find(cells []Cell, link, peer string) (Cell, bool) {
	i := slices.IndexFunc(cells, func(c Cell) bool { return c.Link == link && c.Peer == peer })
	if i < 0 {
		return Cell{}, false
	}
	return cells[i], true
}
