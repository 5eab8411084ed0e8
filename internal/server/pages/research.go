package pages

import (
	"errors"
	"math"
	"net/http"
	"net/url"
	"strconv"

	"quant"
	"quant/internal/factstore"
	"quant/internal/session"
)

// researchRoutes are the pages of strategies, backtests, factors, models and data.
func (p *pages) researchRoutes(mux *http.ServeMux) []section {
	for pattern, h := range map[string]factHandler{
		"GET /strategies":             p.strategyList,
		"GET /strategies/{id}":        p.strategyPage,
		"GET /backtests":              p.backtestList,
		"GET /backtests/{run}":        p.backtestPage,
		"GET /backtests/{run}/trades": p.backtestTrades,
		"GET /factors":                p.factorList,
		"GET /factors/report":         p.factorReport,
		"GET /models":                 p.modelList,
		"GET /models/{id}":            p.modelPage,
		"GET /data":                   p.dataList,
		"GET /data/{symbol}":          p.symbolPage,
	} {
		p.handle(mux, pattern, p.facts(h))
	}
	return []section{
		{Name: "Strategies", Path: "/strategies", Key: "s"}, {Name: "Backtests", Path: "/backtests", Key: "b"},
		{Name: "Factors", Path: "/factors", Key: "f"}, {Name: "Models", Path: "/models", Key: "m"}, {Name: "Data", Path: "/data", Key: "d"},
	}
}

// factHandler answers from the facts. s is a session of the request's own, without a
// run: looking is not recorded, and what is noted of it goes nowhere.
type factHandler func(w http.ResponseWriter, r *http.Request, s *session.Session) error

// againAfter is in how many seconds a page that met a writer asks again.
const againAfter = "2"

// facts is a handler that says where there are no facts yet, and asks again by itself
// when a writer has them.
func (p *pages) facts(h factHandler) func(w http.ResponseWriter, r *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := h(w, r, p.looking())
		switch {
		case errors.Is(err, factstore.ErrMissing):
			return p.show(w, r, view{File: "research_empty.html", Styles: []string{"research.css"}, Title: "No facts yet", Data: quant.HintOf(err)})
		case quant.CodeOf(err) == quant.Locked:
			w.Header().Set("Retry-After", againAfter)
			if r.Header.Get("HX-Request") != "true" {
				w.Header().Set("Refresh", againAfter)
			}
		}
		return err
	}
}

// looking is a session that reads.
func (p *pages) looking() *session.Session { return p.In(p.Lab, session.Silent{}) }

// listSize is how many rows a list of facts shows at once.
const listSize = 100

// pager is a part of a list.
type pager struct {
	From, Shown int // the first, from 0, and how many
	Total       int64
	Noun        string // of one
	Before      string // address of the part before; "": this is the first
	After       string
}

// First and Last are numbers from 1.
func (p pager) First() int { return p.From + 1 }

// Last is the number of the last one shown.
func (p pager) Last() int { return p.From + p.Shown }

// newPager describes a part of what a request asks for; its parameter name says where it
// begins.
func newPager(r *http.Request, name string, from, shown, size int, total int64, noun string) pager {
	p := pager{From: from, Shown: shown, Total: total, Noun: noun}
	if from > 0 {
		p.Before = linkWith(r, name, offsetText(max(from-size, 0)))
	}
	if int64(from+shown) < total {
		p.After = linkWith(r, name, strconv.Itoa(from+size))
	}
	return p
}

func offsetText(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// linkWith is the address of a request with one parameter changed; "" takes it away.
func linkWith(r *http.Request, name, value string) string {
	q := r.URL.Query()
	if q.Set(name, value); value == "" {
		q.Del(name)
	}
	if len(q) == 0 {
		return r.URL.EscapedPath()
	}
	return r.URL.EscapedPath() + "?" + q.Encode()
}

// fromOf reads where a list begins.
func fromOf(r *http.Request, name string) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > math.MaxInt32 {
		return 0, quant.Errorf(quant.Usage, "%s %q is no place in a list", name, text).WithHint("begin at the first page")
	}
	return n, nil
}

// dayOf reads a day; nil where none is given.
func dayOf(q url.Values, name string) (*quant.Date, error) {
	text := q.Get(name)
	if text == "" {
		return nil, nil
	}
	d, err := quant.ParseDate(text)
	if err != nil {
		return nil, quant.Errorf(quant.Usage, "%s: %w", name, err).WithHint("write a day as 2024-01-31")
	}
	return &d, nil
}

// daysOf reads two days that may bound what is shown.
func daysOf(q url.Values) (from, to *quant.Date, err error) {
	if from, err = dayOf(q, "from"); err != nil {
		return nil, nil, err
	}
	if to, err = dayOf(q, "to"); err != nil {
		return nil, nil, err
	}
	if from != nil && to != nil && *from > *to {
		return nil, nil, quant.Errorf(quant.Usage, "from %s is after to %s", *from, *to).WithHint("exchange them")
	}
	return from, to, nil
}

// sortHead is the head of a column that sorts a list.
type sortHead struct {
	Name, Label string
	Number      bool
	Sort        string // ascending, descending or ""
	Link        string
}

// sortable are the heads of a list; one without a name does not sort. sort is the
// parameter: the name of a column, after - the greatest first.
func sortable(r *http.Request, heads []sortHead) (list []sortHead, order string, descending bool) {
	sort := r.URL.Query().Get("sort")
	order = sort
	if order != "" && order[0] == '-' {
		order, descending = order[1:], true
	}
	for _, h := range heads {
		if h.Name != "" {
			next := h.Name
			if h.Number {
				next = "-" + next
			}
			if h.Name == order {
				h.Sort, next = "ascending", "-"+h.Name
				if descending {
					h.Sort, next = "descending", h.Name
				}
			}
			h.Link = linkWith(withoutFrom(r), "sort", next)
		}
		list = append(list, h)
	}
	return list, order, descending
}

func withoutFrom(r *http.Request) *http.Request {
	again := *r
	u := *r.URL
	q := u.Query()
	q.Del("start")
	u.RawQuery, again.URL = q.Encode(), &u
	return &again
}

// percentText is a share in words, – for NULL.
func percentText(v *float64) string {
	if v == nil {
		return "–"
	}
	return strconv.FormatFloat(*v*100, 'f', 2, 64) + " %"
}

// figureText is a number in 4 digits, – for NULL.
func figureText(v any) string {
	switch v := v.(type) {
	case *float64:
		if v == nil {
			return "–"
		}
		return figureText(*v)
	case float64:
		if math.Abs(v) >= 1000 && math.Abs(v) < 1e15 {
			return thousands(int64(math.Round(v)))
		}
		return strconv.FormatFloat(v, 'g', 4, 64)
	case *int64:
		if v == nil {
			return "–"
		}
		return thousands(*v)
	case int64:
		return thousands(v)
	case int:
		return thousands(int64(v))
	}
	return "–"
}

// dayText is a day that may be none.
func dayText(v any) string {
	switch v := v.(type) {
	case *quant.Date:
		if v != nil {
			return v.String()
		}
	case quant.Date:
		return v.String()
	}
	return "–"
}

// heatClass is the class of a return in a map of them: n4 to p4, by its size.
func heatClass(v *float64) string {
	if v == nil {
		return ""
	}
	step := 1
	for _, bound := range []float64{0.01, 0.03, 0.06} {
		if math.Abs(*v) >= bound {
			step++
		}
	}
	switch {
	case *v > 0:
		return "p" + strconv.Itoa(step)
	case *v < 0:
		return "n" + strconv.Itoa(step)
	}
	return ""
}

// sumOf adds what is known; nil: nothing is.
func sumOf(a, b *float64) *float64 {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	sum := *a + *b
	return &sum
}
