package pages

import (
	"math"
	"net/http"

	"quant/internal/curator"
	"quant/internal/pipeline"
	"quant/internal/session"
)

func (p *pages) dataList(w http.ResponseWriter, r *http.Request, s *session.Session) error {
	from, err := fromOf(r, "start")
	if err != nil {
		return err
	}
	text := r.URL.Query().Get("q")
	list, matching, all, err := pipeline.PageSymbols(r.Context(), s, text, from, listSize)
	if err != nil {
		return err
	}
	return p.show(w, r, view{File: "research_data.html", Styles: []string{"research.css"}, Title: "Data", Section: "/data", Wide: true, Data: struct {
		List     []pipeline.SymbolState
		Text     string
		All      int
		Pager    pager
		Calendar string
	}{list, text, all, newPager(r, "start", from, len(list), listSize, int64(matching), "symbol"), s.CalendarName()}})
}

// candlePoints is how many candles are drawn at most.
const candlePoints = 1200

// candles are bars as lightweight-charts takes them; a bar of several sessions has the
// first open, the last close, the extremes and the sum of the volume.
type candles struct {
	Bars [][6]any `json:"bars"` // day, open, high, low, close, volume
}

// barsTogether makes candles of bars, so many sessions each.
func barsTogether(bars []curator.StoredBar, adjusted bool) (c candles, together int) {
	together = (len(bars) + candlePoints - 1) / candlePoints
	if together == 0 {
		return c, 1
	}
	for from := 0; from < len(bars); from += together {
		var day any
		var open, last *float64
		high, low, volume := math.Inf(-1), math.Inf(1), 0.0
		for _, b := range bars[from:min(from+together, len(bars))] {
			scale := 1.0
			if adjusted && b.AdjustedClose != nil && b.Close != nil && *b.Close != 0 {
				scale = *b.AdjustedClose / *b.Close
			}
			if b.Close == nil {
				continue
			}
			day = string(b.TS)
			at := func(v *float64) float64 {
				if v == nil {
					v = b.Close
				}
				return *v * scale
			}
			if open == nil {
				first := at(b.Open)
				open = &first
			}
			close := at(b.Close)
			last = &close
			high, low = max(high, at(b.High)), min(low, at(b.Low))
			if b.Volume != nil {
				volume += *b.Volume
			}
		}
		if open != nil {
			c.Bars = append(c.Bars, [6]any{day, short6(*open), short6(high), short6(low), short6(*last), short6(volume)})
		}
	}
	return c, together
}

// defaultSessions is how many sessions a symbol's page shows unless asked for others.
const defaultSessions = 520

func (p *pages) symbolPage(w http.ResponseWriter, r *http.Request, s *session.Session) error {
	q := r.URL.Query()
	first, last, err := daysOf(q)
	if err != nil {
		return err
	}
	from, err := fromOf(r, "revisions")
	if err != nil {
		return err
	}
	h, err := pipeline.ReadSymbol(r.Context(), s, r.PathValue("symbol"), first, last, from)
	if err != nil {
		return err
	}
	inRange := len(h.Bars)
	if first == nil && last == nil && q.Get("all") == "" && len(h.Bars) > defaultSessions {
		h.Bars = h.Bars[len(h.Bars)-defaultSessions:]
	}
	adjusted := h.Basis == "adjusted" && q.Get("raw") == ""
	drawn, together := barsTogether(h.Bars, adjusted)
	shown := ""
	switch {
	case len(h.Bars) < inRange:
		shown = "the last " + thousands(int64(len(h.Bars))) + " of " + thousands(int64(inRange)) + " sessions"
	case together > 1:
		shown = thousands(int64(len(drawn.Bars))) + " candles of " + thousands(int64(together)) + " sessions each"
	default:
		shown = thousands(int64(len(h.Bars))) + " sessions"
	}
	var newest *curator.StoredBar
	if n := len(h.Bars); n > 0 {
		newest = &h.Bars[n-1]
	}
	return p.show(w, r, view{
		File: "research_symbol.html", Title: h.Symbol, Section: "/data", Scripts: []string{"lightweight-charts.js", "research.js"}, Styles: []string{"research.css"},
		Data: struct {
			pipeline.SymbolHistory
			Candles         candles
			Shown           string
			Adjusted        bool
			Newest          *curator.StoredBar
			ShownFrom       string
			ShownTo         string
			Raw, WholeRange string
			Pager           pager
			Latest          []curator.StoredBar
		}{h, drawn, shown, adjusted, newest, q.Get("from"), q.Get("to"), linkWith(r, "raw", map[bool]string{true: "1", false: ""}[adjusted]), linkWith(r, "all", "1"),
			newPager(r, "revisions", from, len(h.Revisions), 50, h.Revised, "revision"), latest(h.Bars, 20)},
	})
}

// latest are the last n bars, the newest first.
func latest(bars []curator.StoredBar, n int) []curator.StoredBar {
	list := []curator.StoredBar{}
	for i := len(bars) - 1; i >= 0 && len(list) < n; i-- {
		list = append(list, bars[i])
	}
	return list
}
