package report

import (
	"image/color"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/jumpget/jumpget/lab/bench"
	"github.com/jumpget/jumpget/lab/emu"
)

// timelines groups the runs that have series: the first run of each of the first
// peers on one link with one size in one scenario.
func timelines(rs []bench.Result) [][]bench.Result {
	type group struct {
		scenario, link string
		size           int64
	}
	var order []group
	runs := map[group][]bench.Result{}
	for _, r := range rs {
		g := group{r.Scenario, r.Link, r.Size}
		known := slices.ContainsFunc(runs[g], func(o bench.Result) bool { return o.Peer == r.Peer })
		if known || len(runs[g]) == len(lineColors) || r.Series == nil || len(r.Series.Bytes) == 0 {
			continue
		}
		if runs[g] == nil {
			order = append(order, g)
		}
		runs[g] = append(runs[g], r)
	}
	out := make([][]bench.Result, len(order))
	for i, g := range order {
		out[i] = runs[g]
	}
	return out
}

// lineColors tell the runs of one timeline apart, on white and on black.
var lineColors = []color.RGBA{
	jumpgetColor, bbrColor, {0xe1, 0x6f, 0x24, 0xff}, hysteriaColor, {0xbf, 0x87, 0x00, 0xff}, {0xe2, 0x50, 0x9e, 0xff},
}

// smoothing is over how many steps the lines are means: half a second.
const smoothing = 5

// timeline draws throughput, queue and loss of several runs over time, one below
// the other. A rival's throughput is drawn dashed.
func timeline(name string, runs []bench.Result) error {
	rate, queue, loss := newPlot(runs[0].Link+", "+megabytes(runs[0].Size)), newPlot(""), newPlot("")
	rate.Y.Label.Text, queue.Y.Label.Text, loss.Y.Label.Text = "Mbit/s delivered", "queue, ms", "lost, packets/s"
	loss.X.Label.Text = "seconds"
	rate.Legend.Top = true
	for i, r := range runs {
		s := r.Series
		c := lineColors[i%len(lineColors)]
		for _, panel := range []struct {
			plot   *plot.Plot
			label  string
			dashed bool
			n      int
			at     func(step int) float64
		}{
			{rate, r.Peer, false, len(s.Bytes), func(i int) float64 { return megabits(s.Bytes[i]) - rival(s, i) }},
			{rate, "", true, len(s.Rival), func(i int) float64 { return rival(s, i) }},
			{queue, "", false, len(s.Queue), func(i int) float64 { return s.Queue[i] }},
			{loss, "", false, len(s.Lost), func(i int) float64 { return float64(s.Lost[i]+s.Dropped[i]) / stepSeconds }},
		} {
			if panel.n == 0 {
				continue
			}
			line, err := plotter.NewLine(smooth(panel.n, panel.at))
			if err != nil {
				return err
			}
			line.Color, line.Width = c, 1
			if panel.dashed {
				line.Dashes = []vg.Length{3, 3}
			}
			panel.plot.Add(line)
			if panel.label != "" {
				panel.plot.Legend.Add(panel.label, line)
			}
		}
	}
	end := max(rate.X.Max, queue.X.Max, loss.X.Max)
	var plots [][]*plot.Plot
	for _, p := range []*plot.Plot{rate, queue, loss} {
		p.X.Min, p.X.Max, p.Y.Min = 0, end, 0
		p.Y.Max = max(p.Y.Max, 1) // an axis needs a length
		lines := plotter.NewGrid()
		lines.Vertical.Color, lines.Horizontal.Color = grid, grid
		p.Add(lines)
		plots = append(plots, []*plot.Plot{p})
	}
	return saveSVG(name, plots, 640, 520)
}

var stepSeconds = emu.StepLength.Seconds()

func megabits(bytes uint32) float64 { return float64(bytes) * 8 / 1e6 / stepSeconds }

// rival returns the rival's rate in a step in Mbit/s.
func rival(s *bench.Series, i int) float64 {
	if i >= len(s.Rival) {
		return 0
	}
	return megabits(s.Rival[i])
}

// smooth returns the moving mean of n steps, by seconds.
func smooth(n int, at func(int) float64) plotter.XYs {
	xys := make(plotter.XYs, n)
	for i := range xys {
		from := max(0, i-smoothing+1)
		sum := 0.0
		for j := from; j <= i; j++ {
			sum += at(j)
		}
		xys[i] = plotter.XY{X: float64(i+1) * stepSeconds, Y: sum / float64(i-from+1)}
	}
	return xys
}
