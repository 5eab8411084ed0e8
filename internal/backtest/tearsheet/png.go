package tearsheet

import (
	"image/color"
	"image/png"
	"io"
	"slices"

	"quant"
	"quant/internal/chart"
)

// Size of the picture, in pixels.
const (
	pictureWidth  = 1200
	pictureHeight = 760
)

// PNG writes equity against the benchmark, and the drawdown, as a picture. The
// same sheet gives the same bytes on the same machine. A name that the
// picture's font cannot write is left out; the run id is always there.
func (s *Sheet) PNG(w io.Writer) error {
	p, err := chart.NewPicture(pictureWidth, pictureHeight)
	if err != nil {
		return quant.Errorf(quant.Failed, "draw the picture: %w", err)
	}
	left, right := 70.0, float64(pictureWidth)-30
	title := s.StrategyID + " " + s.Version
	if !p.CanWrite(title) {
		title = "Backtest"
	}
	p.Text(p.Large, chart.Ink, left, 46, title, 0)
	period := s.RunID
	if s.From != nil && s.To != nil {
		period = s.From.String() + " to " + s.To.String() + "   run " + s.RunID
	}
	p.Text(p.Small, chart.Muted, left, 72, period, 0)

	equity := s.equity()
	x := left
	for _, entry := range slices.Backward(equity.Lines) { // as in the page: what is drawn last, and on top, comes first
		c, dashes := lineStyle(entry.Class)
		name := entry.Name
		if !p.CanWrite(name) {
			name = "Benchmark"
		}
		p.Stroke([]point{{X: x, Y: 99}, {X: x + 26, Y: 99}}, c, 2, dashes)
		x = p.Text(p.Small, chart.Muted, x+33, 104, name, 0) + 26
	}
	if equity.Log {
		p.Text(p.Small, chart.Muted, right, 104, "logarithmic scale", 1)
	}
	p.Plot(equity, left, 122, right, 500, lineStyle)
	p.Text(p.Small, chart.Muted, left, 560, "Drawdown", 0)
	p.Plot(s.drawdown(), left, 576, right, 720, lineStyle)
	return png.Encode(w, p.RGBA)
}

func lineStyle(class string) (c color.RGBA, dashes []float64) {
	switch class {
	case "benchmark":
		return chart.Amber, []float64{8, 5}
	case "drawdown":
		return chart.Vermeil, nil
	}
	return chart.Blue, nil
}
