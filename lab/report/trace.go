package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"image/color"
	"io"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// traceRound is a block of a connection's trace, as docs/transport.md describes
// it: seconds, wire bytes a second, bytes, shares.
type traceRound struct {
	At       float64 `json:"at"`
	Arrived  float64 `json:"arrived"`
	Loss     float64 `json:"loss"`
	PathLoss float64 `json:"path_loss"`
	Queue    float64 `json:"queue"`
	RTT      float64 `json:"rtt"`
	BaseRTT  float64 `json:"base_rtt"`
	Capacity float64 `json:"capacity"`
	Pace     float64 `json:"pace"`
	Window   float64 `json:"window"`
	InFlight float64 `json:"in_flight"`
}

// Trace plots what the congestion controller of one connection believed and did,
// from the trace that `jumpget serve --trace` has written, into an SVG file.
func Trace(trace, svg, title string) error {
	rounds, err := readTrace(trace)
	if err != nil {
		return fmt.Errorf("%s: %w", trace, err)
	}
	panels, err := tracePanels(rounds)
	if err != nil {
		return err
	}
	panels[0].Title.Text = title
	panels[len(panels)-1].X.Label.Text = "seconds"
	column := make([][]*plot.Plot, len(panels))
	for i, p := range panels {
		p.X.Min, p.X.Max, p.Y.Min = 0, rounds[len(rounds)-1].At, 0
		p.Y.Max = max(p.Y.Max*1.05, 1) // an axis needs a length
		p.Legend.Top = true
		lines := plotter.NewGrid()
		lines.Vertical.Color, lines.Horizontal.Color = grid, grid
		p.Add(lines)
		column[i] = []*plot.Plot{p}
	}
	return saveSVG(svg, column, 640, vg.Length(len(panels))*150)
}

func readTrace(name string) (rounds []traceRound, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	dec := json.NewDecoder(f)
	var head struct {
		Remote string `json:"remote"`
	}
	if err := dec.Decode(&head); err != nil || head.Remote == "" {
		return nil, errors.New("it is no trace: the first line has no \"remote\"")
	}
	for {
		var r traceRound
		switch err := dec.Decode(&r); {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // of a relay that was killed
			if len(rounds) == 0 {
				return nil, errors.New("nothing was sent on this connection, so there is nothing to plot")
			}
			return rounds, nil
		case err != nil:
			return nil, fmt.Errorf("block %d: %w", len(rounds)+1, err)
		}
		rounds = append(rounds, r)
	}
}

// curve is a line of a panel.
type curve struct {
	name   string
	color  color.RGBA
	dashed bool
	of     func(traceRound) float64
}

// Whatever is believed is dashed; what was done or seen is not.
var (
	seenColor  = bbrColor
	doneColor  = jumpgetColor
	otherColor = color.RGBA{0xe1, 0x6f, 0x24, 0xff}
)

// tracePanels draws rate, bytes in flight, delay and loss.
func tracePanels(rounds []traceRound) ([]*plot.Plot, error) {
	mbit, kb, ms, percent := 8/1e6, 1e-3, 1e3, 100.
	var panels []*plot.Plot
	for _, panel := range []struct {
		unit   string
		curves []curve
	}{
		{"Mbit/s", []curve{
			{"passed", seenColor, false, func(r traceRound) float64 { return r.Arrived * mbit }},
			{"pace", doneColor, false, func(r traceRound) float64 { return r.Pace * mbit }},
			{"estimate", otherColor, true, func(r traceRound) float64 { return r.Capacity * mbit }},
		}},
		{"in flight, kB", []curve{
			{"window", otherColor, true, func(r traceRound) float64 { return r.Window * kb }},
			{"in flight", doneColor, false, func(r traceRound) float64 { return r.InFlight * kb }},
		}},
		{"delay, ms", []curve{
			{"RTT", seenColor, false, func(r traceRound) float64 { return r.RTT * ms }},
			{"queue", doneColor, false, func(r traceRound) float64 { return r.Queue * ms }},
			{"base RTT", otherColor, true, func(r traceRound) float64 { return r.BaseRTT * ms }},
		}},
		{"loss, %", []curve{
			{"lost", seenColor, false, func(r traceRound) float64 { return r.Loss * percent }},
			{"the path's own", otherColor, true, func(r traceRound) float64 { return r.PathLoss * percent }},
		}},
	} {
		p := newPlot("")
		p.Y.Label.Text = panel.unit
		for _, c := range panel.curves {
			if err := c.draw(p, rounds); err != nil {
				return nil, err
			}
		}
		panels = append(panels, p)
	}
	return panels, nil
}

func (c curve) draw(p *plot.Plot, rounds []traceRound) error {
	xys := make(plotter.XYs, len(rounds))
	for i, r := range rounds {
		xys[i] = plotter.XY{X: r.At, Y: c.of(r)}
	}
	line, err := plotter.NewLine(xys)
	if err != nil {
		return err
	}
	line.Color, line.Width = c.color, 1
	if c.dashed {
		line.Dashes = []vg.Length{3, 3}
	}
	p.Add(line)
	p.Legend.Add(c.name, line)
	return nil
}
