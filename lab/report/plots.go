package report

import (
	"errors"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/jumpget/jumpget/lab/bench"
)

// Plots writes the results' plots into dir and returns their files' names with a
// word on each: for each size the shares as bars, link by link, and for each link and
// size of which there are series one of throughput, queue and loss over time.
func Plots(dir string, rs []bench.Result) ([]Plot, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var made []Plot
	var errs []error
	undisturbed := filter(Summarize(rs), func(c Cell) bool {
		return c.Scenario == "" && c.Files == 0 && c.Drawn == "" && !c.small() && (c.Missing || c.Share.Max > 0 || c.Failed > 0)
	})
	tables(undisturbed, func(part []Cell) {
		size := part[0].Size
		p := Plot{File: fileName("bars", "", size, ""), About: "Shares of each link, " + megabytes(size)}
		errs = append(errs, bars(filepath.Join(dir, p.File), part))
		made = append(made, p)
	})
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, runs := range timelines(rs) {
		r := runs[0]
		p := Plot{File: fileName("time", r.Scenario, r.Size, r.Link), About: fmt.Sprintf("%s over time, %s", r.Link, megabytes(r.Size))}
		if r.Scenario != "" {
			p.About += ", scenario " + r.Scenario
		}
		if r.Sharing != nil {
			p.About += ", the rival dashed"
		}
		if err := timeline(filepath.Join(dir, p.File), runs); err != nil {
			return nil, err
		}
		made = append(made, p)
	}
	return made, nil
}

// Plot is a file that Plots has made.
type Plot struct{ File, About string }

func fileName(kind, scenario string, size int64, link string) string {
	parts := []string{kind}
	for _, s := range []string{scenario, link, strings.ReplaceAll(megabytes(size), " ", "")} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, "-") + ".svg"
}

// The colours of the families of peers, readable on white and on black.
var (
	jumpgetColor  = color.RGBA{0x2d, 0xa4, 0x4e, 0xff}
	hysteriaColor = color.RGBA{0xa4, 0x75, 0xf9, 0xff}
	bbrColor      = color.RGBA{0x38, 0x8b, 0xfd, 0xff}
	cubicColor    = color.RGBA{0x8c, 0x95, 0x9f, 0xff}
)

func familyColor(peer string) color.RGBA {
	switch {
	case strings.HasPrefix(peer, "jumpget"):
		return jumpgetColor
	case strings.HasPrefix(peer, "hysteria"):
		return hysteriaColor
	case strings.HasSuffix(peer, "-bbr"):
		return bbrColor
	}
	return cubicColor
}

const (
	barColumns = 3
	barWidth   = vg.Length(6)
)

// bars draws the median share of every peer on every link, with its spread.
func bars(name string, cells []Cell) error {
	links := unique(cells, linkOf)
	peers := unique(filter(cells, func(c Cell) bool { return !c.Missing }), peerOf)
	slices.Reverse(peers) // the first is to stand on top
	columns := min(barColumns, len(links))
	plots := make([][]*plot.Plot, (len(links)+columns-1)/columns)
	for i := range plots {
		plots[i] = make([]*plot.Plot, columns)
	}
	for i, link := range links {
		p, err := barsOf(link, peers, cells)
		if err != nil {
			return err
		}
		plots[i/columns][i%columns] = p
	}
	height := vg.Length(len(peers))*1.7*barWidth + 60
	return saveSVG(name, plots, vg.Length(columns)*250, vg.Length(len(plots))*height)
}

// barsOf draws one link's bars.
func barsOf(link string, peers []string, cells []Cell) (*plot.Plot, error) {
	p := newPlot(link)
	p.X.Min, p.X.Max = 0, 100
	p.X.Label.Text = "% of what the link can carry"
	lines := plotter.NewGrid()
	lines.Horizontal.Width = 0
	lines.Vertical.Color, lines.Vertical.Width = grid, .5
	p.Add(lines)
	for i, peer := range peers {
		c, ok := find(cells, link, peer)
		if !ok || c.Missing {
			continue
		}
		bar, err := plotter.NewBarChart(plotter.Values{c.Share.Median * 100}, barWidth)
		if err != nil {
			return nil, err
		}
		bar.Horizontal, bar.XMin, bar.Color, bar.LineStyle.Width = true, float64(i), familyColor(peer), 0
		whisker, err := plotter.NewLine(plotter.XYs{{X: c.Share.Min * 100, Y: float64(i)}, {X: c.Share.Max * 100, Y: float64(i)}})
		if err != nil {
			return nil, err
		}
		whisker.Color, whisker.Width = ink, 1
		p.Add(bar, whisker)
	}
	p.NominalY(peers...)
	p.X.Min, p.X.Max = 0, 100
	return p, nil
}
