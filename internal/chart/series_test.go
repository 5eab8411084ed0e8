package chart

import (
	"bytes"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestASeriesKeepsEveryExtremeInBoundedRoom(t *testing.T) {
	t.Parallel()
	s := NewSeries("loss", 100, 1)
	for i := range 1_000_000 {
		y := math.Sin(float64(i) / 1e5)
		switch i {
		case 123_456:
			y = 50
		case 654_321:
			y = -50
		}
		s.Add(float64(i), y)
	}
	points := s.Points()
	if s.Added() != 1_000_000 || len(points) > 400 || len(points) < 100 {
		t.Errorf("%d added, %d kept", s.Added(), len(points))
	}
	high, low := false, false
	for i, p := range points {
		high, low = high || p == Point{123_456, 50}, low || p == Point{654_321, -50}
		if i > 0 && p.X < points[i-1].X {
			t.Fatal("out of order")
		}
	}
	if !high || !low || points[0] != (Point{0, 0}) || points[len(points)-1].X != 999_999 {
		t.Error("an extreme or an end is lost")
	}
}

func TestFewValuesAreAllKept(t *testing.T) {
	t.Parallel()
	s := NewSeries("x", 10, 1)
	for _, p := range []Point{{5, 1}, {2, 2}, {2, 3}, {-7, 4}, {9, math.NaN()}, {math.Inf(1), 0}} {
		s.Add(p.X, p.Y)
	}
	want := []Point{{-7, 4}, {2, 2}, {2, 3}, {5, 1}}
	if got := s.Points(); len(got) != len(want) || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] || got[3] != want[3] {
		t.Error(got)
	}
}

// FuzzAFigure draws whatever values, in every form: no panic, valid XML, and
// lines that keep their ends and extremes.
func FuzzAFigure(f *testing.F) {
	for _, values := range [][]float64{{}, {1}, {0, 0}, {-1, 1}, {math.MaxFloat64, -math.MaxFloat64}, {5e-324}, {1e300, 1e300 * (1 + 1e-15)}, {1e18, 1, 1e18 + 1}} {
		var b []byte
		for _, v := range values {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
		}
		f.Add(b, "loss", true)
		f.Add(b, "<a>\x1b\u202e\xff한글", false)
	}
	f.Fuzz(func(t *testing.T, b []byte, title string, log bool) {
		s := NewSeries(title, 20, 1)
		low, high := math.Inf(1), math.Inf(-1)
		for i := 0; i+8 <= len(b) && i < 4096; i += 8 {
			v := math.Float64frombits(binary.LittleEndian.Uint64(b[i:]))
			s.Add(float64(i)*float64(b[i]), v)
			if v-v == 0 {
				low, high = min(low, v), max(high, v)
			}
		}
		var values []float64
		seen := [2]bool{}
		for _, p := range s.Points() {
			values = append(values, p.Y)
			seen[0], seen[1] = seen[0] || p.Y == low, seen[1] || p.Y == high
		}
		if s.Added() > 0 && (!seen[0] || !seen[1]) {
			t.Fatal("an extreme is lost")
		}
		if line := Sparkline(values); utf8.RuneCountInString(line) != len(values) {
			t.Fatalf("%q has not %d bars", line, len(values))
		}
		figure := Figure{Title: title, Lines: []*Series{s, NewSeries("none", 20, 1)}, LogY: log}
		var svg bytes.Buffer
		drawn, err := figure.SVG(&svg, 300, 200)
		if err != nil {
			t.Fatal(err)
		}
		if letters := figure.Text(40, 6); (letters != nil) != drawn {
			t.Fatalf("drawn: %v, letters %q", drawn, letters)
		}
		if !drawn {
			return
		}
		if strings.Contains(svg.String(), "NaN") && !strings.Contains(title, "NaN") {
			t.Fatalf("no place on the page: %s", svg.String())
		}
		for dec := xml.NewDecoder(&svg); ; {
			if _, err := dec.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestASparklineShowsTheCourse(t *testing.T) {
	t.Parallel()
	for want, values := range map[string][]float64{
		"": nil, "▄▄": {7, 7}, "▁▃▆█": {1, 2, 3, 4}, "█ ▁": {1, math.NaN(), -1}, "▁█": {-math.MaxFloat64, math.MaxFloat64},
	} {
		if got := Sparkline(values); got != want {
			t.Errorf("%v: %q, want %q", values, got, want)
		}
	}
}
