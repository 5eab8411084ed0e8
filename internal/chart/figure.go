package chart

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"image/color"
	"image/png"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/guptarohit/asciigraph"
)

// Figure is one or more lines on common axes.
type Figure struct {
	Title  string
	Lines  []*Series
	LogY   bool                 // values that are not positive are left out
	LabelX func(float64) string // nil: Compact
}

// scaled is a figure with its axes.
type scaled struct {
	lines [][]Point // in units of the data
	x, y  Axis
}

// scale reports false if there is nothing to draw.
func (f Figure) scale() (s scaled, ok bool) {
	var xs, ys []float64
	for _, line := range f.Lines {
		var points []Point
		for _, p := range line.Points() {
			if !f.LogY || p.Y > 0 {
				p.X, p.Y = bounded(p.X), bounded(p.Y)
				points = append(points, p)
				xs, ys = append(xs, p.X), append(ys, p.Y)
			}
		}
		s.lines = append(s.lines, points)
	}
	if len(xs) == 0 {
		return s, false
	}
	s.x, s.y = Axis{Low: math.Inf(1), High: math.Inf(-1)}, NewAxis(f.LogY, ys...)
	for _, x := range xs {
		s.x.Low, s.x.High = min(s.x.Low, x), max(s.x.High, x)
	}
	if s.x.Low == s.x.High {
		s.x = NewAxis(false, s.x.Low)
	}
	return s, true
}

// bounded keeps a value so far from the greatest numbers that an axis can reach
// around it.
func bounded(v float64) float64 {
	const most = math.MaxFloat64 / 8
	return min(max(v, -most), most)
}

func (f Figure) labelX() func(float64) string {
	if f.LabelX == nil {
		return Compact
	}
	return f.LabelX
}

// plot is the figure in the unit square; a line's class is its number.
func (f Figure) plot() (p Plot, ok bool) {
	s, ok := f.scale()
	p = Plot{Title: f.Title, Log: f.LogY}
	if !ok {
		return p, false
	}
	p.Y = s.y.Ticks(6, figureLabel(s.y))
	for _, t := range s.x.Ticks(8, f.labelX()) {
		p.X = append(p.X, Tick{1 - t.At, t.Label})
	}
	for i, points := range s.lines {
		line := Line{Class: strconv.Itoa(i), Name: f.Lines[i].Name, Points: make([]Point, len(points))}
		for k, at := range points {
			line.Points[k] = Point{1 - s.x.At(at.X), s.y.At(at.Y)}
		}
		p.Lines = append(p.Lines, line)
	}
	return p, true
}

// figureLabel writes values of an axis: in as many digits as tell its ticks
// apart.
func figureLabel(a Axis) func(float64) string {
	if span := a.High - a.Low; !a.Log && span > 0 && span < math.Max(math.Abs(a.Low), math.Abs(a.High))/100 {
		return func(v float64) string { return Minus(strconv.FormatFloat(v, 'g', 10, 64)) }
	}
	return func(v float64) string {
		if size := math.Abs(v); v != 0 && (size < 0.001 || size >= 1e15) {
			return Minus(strconv.FormatFloat(v, 'g', 4, 64))
		}
		return Compact(v)
	}
}

// colours of lines that who sees few colours can tell apart (Okabe and Ito).
func colours() []color.RGBA {
	return []color.RGBA{Blue, Vermeil, {0x00, 0x9e, 0x73, 0xff}, Amber, {0xcc, 0x79, 0xa7, 0xff}, {0x56, 0xb4, 0xe9, 0xff}, Ink}
}

// styleOf is how the line of that number is drawn: where the colours begin
// anew, the dashes change.
func styleOf(class string) (color.RGBA, []float64) {
	n, _ := strconv.Atoi(class)
	palette := colours()
	dashes := [][]float64{nil, {8, 5}, {2, 4}, {12, 4, 2, 4}}
	return palette[n%len(palette)], dashes[n/len(palette)%len(dashes)]
}

// Room around the plot of a figure, in pixels.
const (
	figureLeft   = 84
	figureRight  = 24
	figureTop    = 48
	figureBottom = 40
	legendLine   = 20
)

// legendRows places the names of lines below the title, as many in a row as
// there is room for, by estimated widths, which serve both forms.
func legendRows(p Plot, width int) (rows [][]int) {
	left := 0.0
	for i, l := range p.Lines {
		need := 50 + 8.5*float64(len([]rune(l.Name)))
		if len(rows) == 0 || left+need > float64(width-figureLeft-figureRight) {
			rows, left = append(rows, nil), 0
		}
		rows[len(rows)-1] = append(rows[len(rows)-1], i)
		left += need
	}
	return rows
}

// PNG writes the figure as a picture of so many pixels. What the font cannot
// write is shown as a question mark. False: there is nothing to draw.
func (f Figure) PNG(w io.Writer, width, height int) (bool, error) {
	plot, ok := f.plot()
	if !ok {
		return false, nil
	}
	p, err := NewPicture(width, height)
	if err != nil {
		return true, err
	}
	p.Text(p.Large, Ink, figureLeft, 34, p.writable(f.Title), 0)
	top := float64(figureTop)
	for _, row := range legendRows(plot, width) {
		x := float64(figureLeft)
		for _, i := range row {
			c, dashes := styleOf(plot.Lines[i].Class)
			p.Stroke([]Point{{x, top + 5}, {x + 26, top + 5}}, c, 2, dashes)
			x = p.Text(p.Small, Muted, x+33, top+10, p.writable(plot.Lines[i].Name), 0) + 17
		}
		top += legendLine
	}
	p.Plot(plot, figureLeft, top+10, float64(width-figureRight), float64(height-figureBottom), styleOf)
	if f.LogY {
		p.Text(p.Small, Muted, float64(width-figureRight), 34, "logarithmic scale", 1)
	}
	return true, png.Encode(w, p.RGBA)
}

// writable is a text with a question mark for what the font does not have.
func (p *Picture) writable(text string) string {
	return strings.Map(func(r rune) rune {
		if !p.CanWrite(string(r)) {
			return '?'
		}
		return r
	}, text)
}

// SVG writes the figure as a page of its own: no script, no style sheet, nothing
// from elsewhere. False: there is nothing to draw.
func (f Figure) SVG(w io.Writer, width, height int) (bool, error) {
	plot, ok := f.plot()
	if !ok {
		return false, nil
	}
	var b bytes.Buffer
	text := func(x, y float64, anchor string, size int, c color.RGBA, s string) {
		fmt.Fprintf(&b, `<text x="%s" y="%s" text-anchor="%s" font-size="%d" fill="%s">`, Px(x), Px(y), anchor, size, hexOf(c))
		_ = xml.EscapeText(&b, []byte(s)) // a Buffer takes all
		b.WriteString("</text>\n")
	}
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif">`+"\n", width, height, width, height)
	b.WriteString("<title>")
	_ = xml.EscapeText(&b, []byte(f.Title))
	fmt.Fprintf(&b, "</title>\n<rect width=\"%d\" height=\"%d\" fill=\"%s\"/>\n", width, height, hexOf(Paper))
	text(figureLeft, 34, "start", 22, Ink, f.Title)
	if f.LogY {
		text(float64(width-figureRight), 34, "end", 13, Muted, "logarithmic scale")
	}
	top := float64(figureTop)
	stroke := func(class string) string {
		c, dashes := styleOf(class)
		s := fmt.Sprintf(`fill="none" stroke="%s" stroke-width="2" stroke-linejoin="round" stroke-linecap="round"`, hexOf(c))
		if dashes != nil {
			s += ` stroke-dasharray="` + strings.Trim(fmt.Sprint(dashes), "[]") + `"`
		}
		return s
	}
	for _, row := range legendRows(plot, width) {
		x := float64(figureLeft)
		for _, i := range row {
			fmt.Fprintf(&b, `<path d="M%s %sh26" %s/>`+"\n", Px(x), Px(top+5), stroke(plot.Lines[i].Class))
			text(x+33, top+10, "start", 13, Muted, plot.Lines[i].Name)
			x += 50 + 8.5*float64(len([]rune(plot.Lines[i].Name)))
		}
		top += legendLine
	}
	top += 10
	inner, down := float64(width-figureLeft-figureRight), float64(height-figureBottom)-top
	for _, t := range plot.Y {
		y := top + t.At*down
		fmt.Fprintf(&b, `<path d="M%d %sH%d" stroke="%s"/>`+"\n", figureLeft, Px(y), width-figureRight, hexOf(Faint))
		text(figureLeft-10, y+5, "end", 13, Muted, t.Label)
	}
	for _, t := range plot.X {
		text(figureLeft+t.At*inner, float64(height-figureBottom)+24, "middle", 13, Muted, t.Label)
	}
	fmt.Fprintf(&b, `<g transform="translate(%d %s)">`+"\n", figureLeft, Px(top))
	for _, l := range plot.Lines {
		if len(l.Points) > 0 {
			fmt.Fprintf(&b, `<path d="%s" %s/>`+"\n", LinePath(l.Points, inner, down), stroke(l.Class))
		}
	}
	b.WriteString("</g>\n</svg>\n")
	_, err := w.Write(b.Bytes())
	return true, err
}

func hexOf(c color.RGBA) string { return fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B) }

// marks are what lines are drawn with in letters, in their order.
const marks = "\u2500\u00b7+x*o#%"

// Text draws the figure in letters, in so many columns and lines beside the
// title, the x axis and the names. nil: there is nothing to draw.
func (f Figure) Text(width, height int) []string {
	s, ok := f.scale()
	if !ok {
		return nil
	}
	const labels = 12
	columns := max(width-labels, 10)
	var series [][]float64
	var chars []asciigraph.CharSet
	lines := []string{f.Title}
	for i := len(s.lines) - 1; i >= 0; i-- { // where lines meet, the first is seen
		series = append(series, s.letters(s.lines[i], columns))
		if i%len([]rune(marks)) == 0 {
			chars = append(chars, asciigraph.DefaultCharSet)
		} else {
			chars = append(chars, asciigraph.CreateCharSet(string([]rune(marks)[i%len([]rune(marks))])))
		}
	}
	// From 0 to 1, whatever the values: what draws counts lines by dividing.
	value := func(v float64) float64 { return s.y.Low + v*(s.y.High-s.y.Low) }
	if f.LogY {
		linear := value
		value = func(v float64) float64 { return math.Exp(linear(v)) }
		lines[0] += "   logarithmic scale"
	}
	label := figureLabel(s.y)
	drawn := asciigraph.PlotMany(series, asciigraph.Height(max(height, 2)), asciigraph.SeriesChars(chars...), asciigraph.LowerBound(0), asciigraph.UpperBound(1),
		asciigraph.YAxisValueFormatter(func(v float64) string { return label(significant(value(v), 4)) }))
	indent := ""
	for _, line := range strings.Split(drawn, "\n") {
		lines = append(lines, strings.TrimRight(line, " "))
		if at := strings.IndexAny(line, "\u2524\u253c"); at >= 0 && indent == "" { // the axis
			indent = strings.Repeat(" ", len([]rune(line[:at]))+1)
		}
	}
	first, last := f.labelX()(s.x.Low), f.labelX()(s.x.High)
	lines = append(lines, indent+first+strings.Repeat(" ", max(1, columns-len([]rune(first))-len([]rune(last))))+last)
	for i, line := range f.Lines {
		lines = append(lines, indent+string([]rune(marks)[i%len([]rune(marks))])+" "+line.Name)
	}
	return lines
}

// letters has one value a column: of several the one furthest from their mean,
// so that a spike is seen; between values a straight line, beyond them nothing.
func (s scaled) letters(points []Point, columns int) []float64 {
	out := make([]float64, columns)
	for i := range out {
		out[i] = math.NaN()
	}
	at := func(p Point) int {
		return min(max(int((1-s.x.At(p.X))*float64(columns-1)+0.5), 0), columns-1)
	}
	last := -1
	for i := 0; i < len(points); {
		c, sum, end := at(points[i]), 0.0, i
		for ; end < len(points) && at(points[end]) == c; end++ {
			sum += s.height(points[end].Y)
		}
		mean := sum / float64(end-i)
		far := s.height(points[i].Y)
		for _, p := range points[i:end] {
			if v := s.height(p.Y); math.Abs(v-mean) > math.Abs(far-mean) {
				far = v
			}
		}
		out[c] = far
		for k := last + 1; last >= 0 && k < c; k++ {
			part := float64(k-last) / float64(c-last)
			out[k] = out[last]*(1-part) + far*part
		}
		last, i = c, end
	}
	return out
}

func (s scaled) height(y float64) float64 { return 1 - s.y.At(y) }

// significant rounds to so many digits.
func significant(v float64, digits int) float64 {
	if v == 0 {
		return 0
	}
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', digits, 64), 64)
	if err != nil {
		return v
	}
	return rounded
}
