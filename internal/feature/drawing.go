package feature

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strconv"
)

// RunningRankIC is the sum of RankIC up to each session that has one.
func (r FactorReport) RunningRankIC() (dates []string, sums []float64) {
	total := 0.0
	for _, d := range r.Daily {
		if d.RankIC != nil {
			total += *d.RankIC
			dates, sums = append(dates, d.Date.String()), append(sums, total)
		}
	}
	return dates, sums
}

// SVG draws the running sum of RankIC and the label's mean by quantile.
func (r FactorReport) SVG() []byte {
	const width, height, margin = 760.0, 360.0, 50.0
	var b bytes.Buffer
	text := func(x, y float64, s string) {
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" font-family="sans-serif" font-size="12">`, x, y)
		_ = xml.EscapeText(&b, []byte(s)) // a buffer takes everything
		b.WriteString("</text>\n")
	}
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n", width, 2*height)
	text(margin, 20, fmt.Sprintf("%s@%s against %s@%s: running sum of RankIC", r.Feature, r.FeatureVersion, r.Label, r.LabelVersion))
	dates, sums := r.RunningRankIC()
	if len(sums) > 1 {
		low, high := bounds(sums)
		at := func(v float64) float64 { return height - margin - (v-low)/(high-low)*(height-2*margin) }
		b.WriteString(`<polyline fill="none" stroke="steelblue" points="`)
		for k, v := range sums {
			fmt.Fprintf(&b, "%.1f,%.1f ", margin+float64(k)/float64(len(sums)-1)*(width-2*margin), at(v))
		}
		b.WriteString("\"/>\n")
		fmt.Fprintf(&b, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"gray\"/>\n", margin, width-margin, at(0), at(0))
		text(5, at(high), figure(&high))
		text(5, at(low), figure(&low))
		text(margin, height-margin+20, dates[0])
		text(width-margin-70, height-margin+20, dates[len(dates)-1])
	} else {
		text(margin, 60, fmt.Sprintf("fewer than 2 sessions have %d names", MinNames))
	}
	text(margin, height+20, "mean of the label by quantile of the feature")
	var means []float64
	for _, q := range r.Quantiles {
		if q.Mean != nil {
			means = append(means, *q.Mean)
		}
	}
	if len(means) > 0 {
		low, high := bounds(means)
		at := func(v float64) float64 { return 2*height - margin - (v-low)/(high-low)*(height-2*margin) }
		step := (width - 2*margin) / float64(len(r.Quantiles))
		for k, q := range r.Quantiles {
			x := margin + float64(k)*step
			if q.Mean != nil {
				fmt.Fprintf(&b, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"steelblue\"/>\n", x+step*0.1, min(at(*q.Mean), at(0)), step*0.8, max(at(*q.Mean), at(0))-min(at(*q.Mean), at(0)))
			}
			text(x+step*0.2, 2*height-margin+20, strconv.Itoa(q.Quantile)+": "+figure(q.Mean))
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// bounds are the least and the greatest of the values and 0, apart.
func bounds(values []float64) (low, high float64) {
	for _, v := range values {
		low, high = min(low, v), max(high, v)
	}
	if low == high {
		high++
	}
	return low, high
}

// figure is a number with 4 digits, - for NULL.
func figure(x *float64) string {
	if x == nil {
		return "-"
	}
	return strconv.FormatFloat(*x, 'g', 4, 64)
}
