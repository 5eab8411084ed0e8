package chart

import (
	"image"
	"image/color"
	"image/draw"
	"math"
	"sync"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	subpixel "golang.org/x/image/math/fixed"
	"golang.org/x/image/vector"
)

// The colours of charts. Lines can be told apart by who sees few colours.
var (
	Paper    = color.RGBA{0xff, 0xff, 0xff, 0xff}
	Ink      = color.RGBA{0x1f, 0x23, 0x28, 0xff}
	Muted    = color.RGBA{0x66, 0x70, 0x79, 0xff}
	Faint    = color.RGBA{0xe6, 0xe3, 0xdd, 0xff}
	Blue     = color.RGBA{0x00, 0x72, 0xb2, 0xff}
	Amber    = color.RGBA{0xc2, 0x7c, 0x0e, 0xff}
	Vermeil  = color.RGBA{0xd5, 0x5e, 0x00, 0xff}
	SoftFill = color.RGBA{0x26, 0x11, 0x00, 0x2e} // vermeil, a fifth of it (premultiplied)
)

// letters is the font of pictures. It has Latin, Greek and Cyrillic letters.
var letters = sync.OnceValues(func() (*opentype.Font, error) { return opentype.Parse(goregular.TTF) })

// Picture is an image that is drawn on with smooth lines.
type Picture struct {
	*image.RGBA
	Small, Large font.Face

	letters *opentype.Font
}

// NewPicture makes a white picture of so many pixels.
func NewPicture(width, height int) (*Picture, error) {
	p := &Picture{RGBA: image.NewRGBA(image.Rect(0, 0, width, height))}
	draw.Draw(p, p.Bounds(), image.NewUniform(Paper), image.Point{}, draw.Src)
	var err error
	if p.letters, err = letters(); err != nil {
		return nil, err
	}
	for _, face := range []struct {
		into *font.Face
		size float64
	}{{&p.Small, 15}, {&p.Large, 26}} {
		if *face.into, err = opentype.NewFace(p.letters, &opentype.FaceOptions{Size: face.size, DPI: 72, Hinting: font.HintingNone}); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// CanWrite reports whether the font has every letter of the text.
func (p *Picture) CanWrite(text string) bool {
	for _, r := range text {
		if i, err := p.letters.GlyphIndex(nil, r); err != nil || i == 0 {
			return false
		}
	}
	return true
}

// Text writes at the base line y and returns where it ended; align 0 begins at
// x, 0.5 is centred there, 1 ends there.
func (p *Picture) Text(face font.Face, c color.Color, x, y float64, text string, align float64) float64 {
	width := float64(font.MeasureString(face, text)) / 64
	x = min(max(x-align*width, 4), float64(p.Bounds().Dx())-4-width)
	d := font.Drawer{Dst: p.RGBA, Src: image.NewUniform(c), Face: face, Dot: subpixel.Point26_6{X: subpixel.Int26_6(x * 64), Y: subpixel.Int26_6(y * 64)}}
	d.DrawString(text)
	return x + width
}

// Plot draws a chart into a rectangle, with its ticks around it; style says in
// which colour a line of a class is drawn, and with which dashes (see Stroke).
func (p *Picture) Plot(c Plot, left, top, right, bottom float64, style func(class string) (color.RGBA, []float64)) {
	place := func(at Point) Point { return Point{left + at.X*(right-left), top + at.Y*(bottom-top)} }
	for _, t := range c.Y {
		a := place(Point{0, t.At})
		p.Stroke([]Point{a, {right, a.Y}}, Faint, 1, nil)
		p.Text(p.Small, Muted, left-10, a.Y+5, t.Label, 1)
	}
	for _, t := range c.X {
		p.Text(p.Small, Muted, place(Point{t.At, 1}).X, bottom+24, t.Label, 0.5)
	}
	for _, l := range c.Lines {
		points := make([]Point, len(l.Points))
		for i, at := range l.Points {
			points[i] = place(at)
		}
		if l.Filled && c.Zero != nil && len(points) > 1 {
			base := place(Point{0, *c.Zero}).Y
			p.fill(append(append([]Point{}, points...), Point{points[len(points)-1].X, base}, Point{points[0].X, base}), SoftFill)
		}
		c, dashes := style(l.Class)
		p.Stroke(points, c, 2, dashes)
	}
}

func (p *Picture) fill(polygon []Point, c color.Color) {
	r := vector.NewRasterizer(p.Bounds().Dx(), p.Bounds().Dy())
	trace(r, polygon)
	r.Draw(p.RGBA, p.Bounds(), image.NewUniform(c), image.Point{})
}

func trace(r *vector.Rasterizer, polygon []Point) {
	for i, at := range polygon {
		if i == 0 {
			r.MoveTo(float32(at.X), float32(at.Y))
		} else {
			r.LineTo(float32(at.X), float32(at.Y))
		}
	}
	r.ClosePath()
}

// Stroke draws a line of that width, with dashes of so many pixels on, off, and so
// on (none: a whole line): one rectangle a segment, one small disc a
// joint, all turning the same way, so that what overlaps is covered once.
func (p *Picture) Stroke(points []Point, c color.Color, width float64, dashes []float64) {
	r := vector.NewRasterizer(p.Bounds().Dx(), p.Bounds().Dy())
	for _, part := range dashed(points, dashes) {
		for i, at := range part {
			if len(part) == 1 || i > 0 && i < len(part)-1 {
				disc := make([]Point, 8)
				for k := range disc {
					sin, cos := math.Sincos(-2 * math.Pi * float64(k) / float64(len(disc)))
					disc[k] = Point{at.X + cos*width/2, at.Y + sin*width/2}
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
			trace(r, []Point{{from.X - nx, from.Y - ny}, {at.X - nx, at.Y - ny}, {at.X + nx, at.Y + ny}, {from.X + nx, from.Y + ny}})
		}
	}
	r.Draw(p.RGBA, p.Bounds(), image.NewUniform(c), image.Point{})
}

// dashed cuts a line into the parts that are drawn: pattern[0] on, pattern[1]
// off, and so on. Without a pattern it is one part.
func dashed(points []Point, pattern []float64) [][]Point {
	if len(pattern) == 0 || len(points) < 2 {
		return [][]Point{points}
	}
	var out [][]Point
	part := []Point{points[0]}
	k, left := 0, pattern[0]
	for i := 1; i < len(points); i++ {
		from, to := points[i-1], points[i]
		length := math.Hypot(to.X-from.X, to.Y-from.Y)
		for done := 0.0; done < length; {
			step := min(left, length-done)
			done, left = done+step, left-step
			at := Point{from.X + (to.X-from.X)*done/length, from.Y + (to.Y-from.Y)*done/length}
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
			part, left = []Point{at}, pattern[k%len(pattern)]
		}
	}
	if k%2 == 0 && len(part) > 1 {
		out = append(out, part)
	}
	return out
}
