package pages

import (
	"fmt"
	"math"
	"strconv"

	"quant"
	"quant/internal/chart"
)

// plotPoints is how many points a line shows at most.
const plotPoints = 600

// factPlot is a chart as research.js draws it.
type factPlot struct {
	Time   bool       `json:"time"` // x are seconds since 1970
	X      []float64  `json:"x"`
	XName  string     `json:"xname,omitempty"` // what a whole number on it is
	Lines  []plotLine `json:"lines"`
	Unit   string     `json:"unit,omitempty"` // % multiplies by 100
	Height int        `json:"height,omitempty"`
	Sync   string     `json:"sync,omitempty"`  // charts of one name move together
	Stack  bool       `json:"stack,omitempty"` // each line stands on the one before
	Log    bool       `json:"log,omitempty"`
	Marks  []plotMark `json:"marks,omitempty"`
}

// plotLine is a line of a drawing; nil is a gap.
type plotLine struct {
	Name  string `json:"name"`
	Y     []any  `json:"y"`
	Color string `json:"color"` // of the style sheet: c1 to c8, soft, good, bad
	Kind  string `json:"kind,omitempty"`
}

// The kinds of lines beside the plain one.
const (
	areaLine = "area"
	barLine  = "bars"
	dashLine = "dash"
)

// plotMark is something that happened at a point.
type plotMark struct {
	X     float64 `json:"x"`
	Y     any     `json:"y"`
	Kind  string  `json:"kind"` // entry or exit
	Title string  `json:"title"`
}

// plotFigure is a drawing with its words.
type plotFigure struct {
	factPlot
	Title   string
	Summary string // for who does not see it
	Shown   string // "600 of 2,516 sessions shown"; "": all are
}

// thinnedText says how many of how many are shown.
func thinnedText(shown, all int, noun string) string {
	if shown >= all {
		return ""
	}
	return thousands(int64(shown)) + " of " + thousands(int64(all)) + " " + noun + "s shown: the highest and the lowest of each stretch"
}

// secondsOf is a day on the axis of time.
func secondsOf(d quant.Date) float64 { return float64(d.Time().Unix()) }

// short6 is a number in 6 digits, nil for what is none.
func short6(v float64) any {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 6, 64), 64)
	if err != nil {
		return nil
	}
	return rounded
}

func shortOf(v *float64) any {
	if v == nil {
		return nil
	}
	return short6(*v)
}

// overDays draws lines over days, thinned by the first of them.
func overDays(days []quant.Date, lines []plotLine, of []func(i int) any) factPlot {
	d := factPlot{Time: true, Lines: lines}
	chosen := chart.Thin(len(days), plotPoints, func(i int) float64 {
		v, _ := of[0](i).(float64)
		return v
	})
	for _, i := range chosen {
		d.X = append(d.X, secondsOf(days[i]))
		for k := range lines {
			d.Lines[k].Y = append(d.Lines[k].Y, of[k](i))
		}
	}
	return d
}

// lineEnds are the first and the last value of a line, for its words.
func lineEnds(name string, y []any) string {
	first, last := any(nil), any(nil)
	for _, v := range y {
		if v == nil {
			continue
		}
		if first == nil {
			first = v
		}
		last = v
	}
	if first == nil {
		return name + ": nothing"
	}
	return fmt.Sprintf("%s from %v to %v", name, first, last)
}
