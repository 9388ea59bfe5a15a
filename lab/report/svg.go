package report

import (
	"bytes"
	"image/color"
	"os"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The plots have no background. What is text or a line of theirs has one of two
// colours, which a style in the SVG changes where the reader's page is dark.
// Colours of data are readable on both.
var (
	ink  = color.RGBA{0x24, 0x29, 0x2f, 0xff}
	grid = color.RGBA{0xd0, 0xd7, 0xde, 0xff}
)

const darkStyle = `<style>
@media (prefers-color-scheme: dark) {
[style*="fill:#24292F"] { fill: #e6edf3 !important }
[style*="stroke:#24292F"] { stroke: #e6edf3 !important }
[style*="stroke:#D0D7DE"] { stroke: #30363d !important }
}
</style>
`

var (
	plain  = font.Font{Typeface: "Liberation", Variant: "Sans", Size: 8}
	strong = font.Font{Typeface: "Liberation", Variant: "Sans", Size: 10}
)

// newPlot returns an empty plot in our colours and fonts.
func newPlot(title string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = color.Transparent
	p.Title.Text = title
	p.Title.TextStyle.Font, p.Title.TextStyle.Color = strong, ink
	p.Legend.TextStyle.Font, p.Legend.TextStyle.Color = plain, ink
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Label.TextStyle.Font, a.Label.TextStyle.Color = plain, ink
		a.Tick.Label.Font, a.Tick.Label.Color = plain, ink
		a.Color, a.Tick.Color = ink, ink
		a.Width, a.Tick.Width = .5, .5
		a.Tick.Marker = plainTicks{}
	}
	p.Legend.Padding, p.Legend.XOffs = vg.Points(3), -vg.Points(6)
	return p
}

// plainTicks are gonum's without zeros behind the point.
type plainTicks struct{ plot.DefaultTicks }

// Ticks implements plot.Ticker.
func (t plainTicks) Ticks(lo, hi float64) []plot.Tick {
	ticks := t.DefaultTicks.Ticks(lo, hi)
	for i := range ticks {
		if !ticks[i].IsMinor() {
			ticks[i].Label = strconv.FormatFloat(ticks[i].Value, 'g', 6, 64)
		}
	}
	return ticks
}

// saveSVG draws plots in rows and columns; nil leaves a place empty.
func saveSVG(name string, plots [][]*plot.Plot, width, height vg.Length) error {
	c := vgsvg.New(width, height)
	tiles := draw.Tiles{
		Rows: len(plots), Cols: len(plots[0]), PadX: vg.Points(14), PadY: vg.Points(14),
		PadTop: vg.Points(6), PadBottom: vg.Points(6), PadLeft: vg.Points(14), PadRight: vg.Points(14),
	}
	canvases := plot.Align(plots, tiles, draw.New(c))
	for i, line := range plots {
		for j, p := range line {
			if p != nil {
				p.Draw(canvases[i][j])
			}
		}
	}
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return err
	}
	return os.WriteFile(name, []byte(adapt(b.String())), 0o644)
}

// adapt makes an SVG follow the reader's colours, and names fonts that are there
// where Liberation is not.
func adapt(svg string) string {
	open := strings.Index(svg, "<svg")
	end := open + strings.IndexByte(svg[open:], '>') + 1
	svg = svg[:end] + "\n" + darkStyle + svg[end:]
	return strings.ReplaceAll(svg, "font-family:Liberation Sans;", "font-family:Liberation Sans,Arial,Helvetica,sans-serif;")
}
