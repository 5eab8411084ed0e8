package tearsheet

import (
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"math"
	"sync"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	subpixel "golang.org/x/image/math/fixed"
	"golang.org/x/image/vector"

	"quant"
)

// Size of the picture, in pixels.
const (
	pictureWidth  = 1200
	pictureHeight = 760
)

var (
	paper    = color.RGBA{0xff, 0xff, 0xff, 0xff}
	ink      = color.RGBA{0x1f, 0x23, 0x28, 0xff}
	muted    = color.RGBA{0x66, 0x70, 0x79, 0xff}
	faint    = color.RGBA{0xe6, 0xe3, 0xdd, 0xff}
	blue     = color.RGBA{0x00, 0x72, 0xb2, 0xff}
	amber    = color.RGBA{0xc2, 0x7c, 0x0e, 0xff}
	vermeil  = color.RGBA{0xd5, 0x5e, 0x00, 0xff}
	softFill = color.RGBA{0x26, 0x11, 0x00, 0x2e} // vermeil, a fifth of it (premultiplied)
)

// letters is the font of the picture. It has Latin, Greek and Cyrillic letters.
var letters = sync.OnceValues(func() (*opentype.Font, error) { return opentype.Parse(goregular.TTF) })

// PNG writes equity against the benchmark, and the drawdown, as a picture. The
// same sheet gives the same bytes on the same machine. A name that the
// picture's font cannot write is left out; the run id is always there.
func (s *Sheet) PNG(w io.Writer) error {
	p, err := newPicture()
	if err != nil {
		return quant.Errorf(quant.Failed, "draw the picture: %w", err)
	}
	left, right := 70.0, float64(pictureWidth)-30
	title := s.StrategyID + " " + s.Version
	if !p.canWrite(title) {
		title = "Backtest"
	}
	p.text(p.large, ink, left, 46, title, 0)
	period := s.RunID
	if s.From != nil && s.To != nil {
		period = s.From.String() + " to " + s.To.String() + "   run " + s.RunID
	}
	p.text(p.small, muted, left, 72, period, 0)

	equity := s.equity()
	x := left
	for _, entry := range equity.Lines {
		c, name := lineColor(entry.Class), entry.Name
		if !p.canWrite(name) {
			name = "Benchmark"
		}
		p.stroke([]point{{x, 99}, {x + 26, 99}}, c, 2, dashes(entry.Class))
		x = p.text(p.small, muted, x+33, 104, name, 0) + 26
	}
	if equity.Log {
		p.text(p.small, muted, right, 104, "logarithmic scale", 1)
	}
	p.plot(equity, left, 122, right, 500)
	p.text(p.small, muted, left, 560, "Drawdown", 0)
	p.plot(s.drawdown(), left, 576, right, 720)
	return png.Encode(w, p.RGBA)
}

func lineColor(class string) color.RGBA {
	switch class {
	case "benchmark":
		return amber
	case "drawdown":
		return vermeil
	}
	return blue
}

func dashes(class string) []float64 {
	if class == "benchmark" {
		return []float64{8, 5}
	}
	return nil
}

// picture is an image that is drawn on with smooth lines.
type picture struct {
	*image.RGBA
	letters      *opentype.Font
	small, large font.Face
}

func newPicture() (*picture, error) {
	p := &picture{RGBA: image.NewRGBA(image.Rect(0, 0, pictureWidth, pictureHeight))}
	draw.Draw(p, p.Bounds(), image.NewUniform(paper), image.Point{}, draw.Src)
	var err error
	if p.letters, err = letters(); err != nil {
		return nil, err
	}
	for _, face := range []struct {
		into *font.Face
		size float64
	}{{&p.small, 15}, {&p.large, 26}} {
		if *face.into, err = opentype.NewFace(p.letters, &opentype.FaceOptions{Size: face.size, DPI: 72, Hinting: font.HintingNone}); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// canWrite reports whether the font has every letter of the text.
func (p *picture) canWrite(text string) bool {
	for _, r := range text {
		if i, err := p.letters.GlyphIndex(nil, r); err != nil || i == 0 {
			return false
		}
	}
	return true
}

// text writes at the base line y and returns where it ended; align 0 begins at
// x, 0.5 is centred there, 1 ends there.
func (p *picture) text(face font.Face, c color.Color, x, y float64, text string, align float64) float64 {
	width := float64(font.MeasureString(face, text)) / 64
	x = min(max(x-align*width, 4), pictureWidth-4-width)
	d := font.Drawer{Dst: p.RGBA, Src: image.NewUniform(c), Face: face, Dot: subpixel.Point26_6{X: subpixel.Int26_6(x * 64), Y: subpixel.Int26_6(y * 64)}}
	d.DrawString(text)
	return x + width
}

// plot draws a chart into a rectangle, with its ticks around it.
func (p *picture) plot(c plot, left, top, right, bottom float64) {
	place := func(at point) point { return point{left + at.X*(right-left), top + at.Y*(bottom-top)} }
	for _, t := range c.Y {
		a := place(point{0, t.At})
		p.stroke([]point{a, {right, a.Y}}, faint, 1, nil)
		p.text(p.small, muted, left-10, a.Y+5, t.Label, 1)
	}
	for _, t := range c.X {
		p.text(p.small, muted, place(point{t.At, 1}).X, bottom+24, t.Label, 0.5)
	}
	for _, l := range c.Lines {
		points := make([]point, len(l.Points))
		for i, at := range l.Points {
			points[i] = place(at)
		}
		if l.Filled && c.Zero != nil && len(points) > 1 {
			base := place(point{0, *c.Zero}).Y
			p.fill(append(append([]point{}, points...), point{points[len(points)-1].X, base}, point{points[0].X, base}), softFill)
		}
		p.stroke(points, lineColor(l.Class), 2, dashes(l.Class))
	}
}

func (p *picture) fill(polygon []point, c color.Color) {
	r := vector.NewRasterizer(pictureWidth, pictureHeight)
	trace(r, polygon)
	r.Draw(p.RGBA, p.Bounds(), image.NewUniform(c), image.Point{})
}

func trace(r *vector.Rasterizer, polygon []point) {
	for i, at := range polygon {
		if i == 0 {
			r.MoveTo(float32(at.X), float32(at.Y))
		} else {
			r.LineTo(float32(at.X), float32(at.Y))
		}
	}
	r.ClosePath()
}

// stroke draws a line of that width: one rectangle a segment, one small disc a
// joint, all turning the same way, so that what overlaps is covered once.
func (p *picture) stroke(points []point, c color.Color, width float64, dashes []float64) {
	r := vector.NewRasterizer(pictureWidth, pictureHeight)
	for _, part := range dashed(points, dashes) {
		for i, at := range part {
			if len(part) == 1 || i > 0 && i < len(part)-1 {
				disc := make([]point, 8)
				for k := range disc {
					sin, cos := math.Sincos(-2 * math.Pi * float64(k) / float64(len(disc)))
					disc[k] = point{at.X + cos*width/2, at.Y + sin*width/2}
				}
				trace(r, disc)
			}
			if i == 0 {
				continue
			}
			from := part[i-1]
			length := math.Hypot(at.X-from.X, at.Y-from.Y)
			if length == 0 {
				continue
			}
			nx, ny := (at.Y-from.Y)/length*width/2, (from.X-at.X)/length*width/2
			trace(r, []point{{from.X - nx, from.Y - ny}, {at.X - nx, at.Y - ny}, {at.X + nx, at.Y + ny}, {from.X + nx, from.Y + ny}})
		}
	}
	r.Draw(p.RGBA, p.Bounds(), image.NewUniform(c), image.Point{})
}

// dashed cuts a line into the parts that are drawn: pattern[0] on, pattern[1]
// off, and so on. Without a pattern it is one part.
func dashed(points []point, pattern []float64) [][]point {
	if len(pattern) == 0 || len(points) < 2 {
		return [][]point{points}
	}
	var out [][]point
	part := []point{points[0]}
	k, left := 0, pattern[0]
	for i := 1; i < len(points); i++ {
		from, to := points[i-1], points[i]
		length := math.Hypot(to.X-from.X, to.Y-from.Y)
		for done := 0.0; done < length; {
			step := min(left, length-done)
			done, left = done+step, left-step
			at := point{from.X + (to.X-from.X)*done/length, from.Y + (to.Y-from.Y)*done/length}
			if k%2 == 0 {
				part = append(part, at)
			}
			if left > 0 {
				continue
			}
			if k%2 == 0 {
				out = append(out, part)
			}
			k++
			part, left = []point{at}, pattern[k%len(pattern)]
		}
	}
	if k%2 == 0 && len(part) > 1 {
		out = append(out, part)
	}
	return out
}
