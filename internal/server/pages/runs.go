package pages

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"quant"
	"quant/internal/metastore"
	"quant/internal/runs"
	"quant/internal/search"
)

// pageSize is how many runs a page has.
const pageSize = 100

// runRoutes are the pages of runs.
func (p *pages) runRoutes(mux *http.ServeMux) []section {
	p.handle(mux, "GET /runs", p.runList)
	p.handle(mux, "GET /runs/rows", p.runRows)
	p.handle(mux, "GET /runs/complete", p.completeSearch)
	p.pageRoutes(mux)
	return []section{{Name: "Runs", Path: "/runs", Key: "r"}}
}

// listRequest is what a list of runs is asked for, as its address says it.
type listRequest struct {
	Query   string // q
	Columns string // columns; "": those of a list and what the query speaks of
	Sort    string // sort: a field, after - the other way round; "": as the query says
	All     bool   // all: also the runs that only read
	From    string // from: where the page begins
}

func readListRequest(r *http.Request) listRequest {
	q := r.URL.Query()
	return listRequest{Query: q.Get("q"), Columns: q.Get("columns"), Sort: q.Get("sort"), All: q.Get("all") != "", From: q.Get("from")}
}

// url is the address of a list below a path.
func (l listRequest) url(path string) string {
	q := url.Values{}
	for name, value := range map[string]string{"q": l.Query, "columns": l.Columns, "sort": l.Sort, "from": l.From} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if l.All {
		q.Set("all", "1")
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// runTable is a page of a list.
type runTable struct {
	listRequest
	Heads   []head
	Rows    []runRow
	Running []runRow // what runs now and is not on the first page of all runs
	First   int      // number of the first row
	Next    string   // address of the next page
	Back    string   // of the first one, where this is not it
	Live    string   // where the table is asked for again
	Compare bool     // there is a page that compares
	Missing []runs.Unrecorded
}

// numbers tells whether a column shows numbers alone, as a param may.
func (t runTable) numbers(column int) (all bool) {
	for _, row := range t.Rows {
		switch row.Cells[column].Kind {
		case "number":
			all = true
		case "":
			if row.Cells[column].Text != "" {
				return false
			}
		default:
			return false
		}
	}
	return all
}

// Last is the number of the last row.
func (t runTable) Last() int { return t.First + len(t.Rows) - 1 }

// Size is how many runs a page has.
func (t runTable) Size() int { return pageSize }

// head is the head of a column.
type head struct {
	Name   string
	Sort   string // ascending, descending or ""
	Link   string // that sorts by it
	Number bool
}

// runRow is a run of a list.
type runRow struct {
	ID      string
	Name    string
	Starred bool
	Cells   []cell
}

// cell is a value in a list.
type cell struct {
	Text, Whole string // Whole, where Text is cut
	Kind        string // status, time, run, number, since or ""
	Value       string // of a time, as machines read it
}

func (p *pages) runList(w http.ResponseWriter, r *http.Request) error {
	l := readListRequest(r)
	data := struct {
		listRequest
		Table     *runTable
		Failure   *failure
		Suggested []string
	}{listRequest: l}
	v := view{File: "runs.html", Title: "Runs", Section: "/runs", Wide: true}
	table, err := p.runTable(r.Context(), l)
	switch {
	case quant.CodeOf(err) == quant.Usage:
		data.Failure = &failure{Message: err.Error(), Hint: quant.HintOf(err)}
	case err != nil:
		return err
	default:
		data.Table = &table
	}
	if data.Suggested, err = p.suggested(r.Context()); err != nil {
		return err
	}
	if l.Query != "" {
		v.Title = quant.Clip(l.Query, 60) + " · Runs"
	}
	v.Data = data
	return p.show(w, r, v)
}

// runRows answers with the table alone.
func (p *pages) runRows(w http.ResponseWriter, r *http.Request) error {
	table, err := p.runTable(r.Context(), readListRequest(r))
	if err != nil {
		return err
	}
	return p.part(w, r, "runs.html", "table", table)
}

// find is what a list asks the store for, and the columns that it shows.
func (p *pages) find(l listRequest) (runs.Find, error) {
	f, err := runs.ParseFind(l.Query, p.Now())
	if err != nil {
		return f, err
	}
	if l.Columns != "" {
		if f.Columns, err = search.ParseColumns(l.Columns); err != nil {
			return f, err
		}
	}
	if l.Sort != "" {
		if err := f.OrderBy(l.Sort); err != nil {
			return f, err
		}
		if l.Columns == "" && !slices.Contains(f.Columns, f.Order[0].Field) {
			f.Columns = append(f.Columns, f.Order[0].Field)
		}
	}
	f.All = f.All || l.All
	f.Except = p.RunID()
	return f, nil
}

func (p *pages) runTable(ctx context.Context, l listRequest) (runTable, error) {
	t := runTable{listRequest: l, Live: l.url("/runs/rows"), Compare: p.has("/compare")}
	f, err := p.find(l)
	if err != nil {
		return t, err
	}
	shown := slices.DeleteFunc(slices.Clone(f.Columns), func(f metastore.Field) bool { return f == nameField || f == metastore.Field{Name: "run_id"} })
	if l.Columns == "" { // what became of a run stands first, where a small window shows it
		slices.SortStableFunc(shown, func(a, b metastore.Field) int { return rankOf(a) - rankOf(b) })
	}
	for _, field := range shown {
		t.Heads = append(t.Heads, l.head(f, field))
	}
	meta, err := p.MetaDB()
	if err != nil {
		return t, err
	}
	f.Columns = append([]metastore.Field{nameField, starField}, shown...)
	page, err := f.Page(ctx, meta, l.From, pageSize)
	if err != nil {
		return t, err
	}
	for i, id := range page.IDs {
		t.Rows = append(t.Rows, newRunRow(id, shown, page.Cells[i]))
	}
	t.First = page.Passed + 1
	for i := range t.Heads {
		t.Heads[i].Number = t.Heads[i].Number || t.numbers(i)
	}
	if page.Next != "" {
		next := l
		next.From = page.Next
		t.Next = next.url("/runs")
	}
	if l.From != "" {
		first := l
		first.From = ""
		t.Back = first.url("/runs")
	}
	if l.From == "" && l.Query == "" {
		if t.Running, err = p.running(ctx, meta, shown, page.IDs); err != nil {
			return t, err
		}
	}
	if len(page.IDs) == 0 {
		if t.Missing, err = f.Unrecorded(ctx, meta); err != nil {
			return t, err
		}
	}
	return t, nil
}

// rankOf puts the status before all other fields.
func rankOf(f metastore.Field) int {
	if f == (metastore.Field{Name: "status"}) {
		return 0
	}
	return 1
}

var (
	nameField = metastore.Field{Of: metastore.TagOf, Name: quant.NameTag}
	starField = metastore.Field{Of: metastore.TagOf, Name: runs.StarTag}
)

// maxRunning is how many of the runs that run now stand above the others.
const maxRunning = 20

// running are the newest of the runs that have not ended and are not listed.
func (p *pages) running(ctx context.Context, meta metastore.Store, shown []metastore.Field, listed []string) (rows []runRow, err error) {
	f := runs.Find{Search: metastore.Search{
		Where: metastore.Compare{Field: metastore.Field{Name: "status"}, Op: metastore.Eq, Value: string(quant.Running)},
		Limit: maxRunning, Except: p.RunID(), Columns: append([]metastore.Field{nameField, starField}, shown...),
	}, Limited: true}
	page, err := f.Page(ctx, meta, "", maxRunning)
	for i, id := range page.IDs {
		if !slices.Contains(listed, id) {
			rows = append(rows, newRunRow(id, shown, page.Cells[i]))
		}
	}
	return rows, err
}

func (l listRequest) head(f runs.Find, field metastore.Field) head {
	h := head{Name: search.Name(field)}
	t, _ := field.Type()
	h.Number = t == metastore.Number || t == metastore.Duration
	l.From = ""
	by := "-" + h.Name // what is larger is what one looks for
	if t == metastore.Text || t == metastore.Mixed {
		by = h.Name
	}
	if len(f.Order) > 0 && f.Order[0].Field == field {
		h.Sort, by = "ascending", "-"+h.Name
		if f.Order[0].Desc {
			h.Sort, by = "descending", h.Name
		}
	}
	l.Sort = by
	h.Link = l.url("/runs")
	return h
}

// newRunRow makes a row of the cells of nameField, starField and what is shown.
func newRunRow(id string, shown []metastore.Field, cells []any) runRow {
	row := runRow{ID: id, Starred: cells[1] != nil}
	row.Name, _ = cells[0].(string)
	for i, field := range shown {
		row.Cells = append(row.Cells, newCell(field, cells[i+2]))
	}
	return row
}

// cellLetters is how long a text in a list is at most.
const cellLetters = 60

func newCell(f metastore.Field, v any) cell {
	attribute := f.Of == metastore.Attribute
	switch v := v.(type) {
	case nil:
		if attribute && f.Name == "duration" {
			return cell{Kind: "since"}
		}
		return cell{}
	case string:
		switch {
		case attribute && f.Name == "status":
			return cell{Text: v, Kind: "status"}
		case attribute && (f.Name == "run_id" || f.Name == "parent"):
			return cell{Text: quant.ShortID(v), Whole: v, Kind: "run"}
		case f.Of != metastore.Attribute:
			if _, is := quant.ParseNumber(v); is {
				return cell{Text: v, Kind: "number"}
			}
		}
		c := cell{Text: quant.Clip(quant.FirstLine(v), cellLetters)}
		if c.Text != v {
			c.Whole = quant.Clip(v, 1000)
		}
		return c
	case quant.Time:
		return cell{Text: moment(v), Value: stamp(v), Kind: "time"}
	case time.Duration:
		us := v.Microseconds()
		return cell{Text: quant.Micros(&us), Kind: "number"}
	case float64:
		return cell{Text: number(v), Whole: exact(v), Kind: "number"}
	case int64:
		return cell{Text: thousandsOf(f, v), Kind: "number"}
	case bool:
		if v {
			return cell{Text: "yes"}
		}
		return cell{Text: "no"}
	}
	return cell{}
}

// thousandsOf writes a whole number; what names something has no separators.
func thousandsOf(f metastore.Field, n int64) string {
	if f.Name == "pid" || f.Name == "exit_code" {
		return strings.ReplaceAll(thousands(n), ",", "")
	}
	return thousands(n)
}

// suggestedNames is how many names of a kind are offered as columns.
const suggestedNames = 20

// suggested are fields that a list may show, of what runs have recorded.
func (p *pages) suggested(ctx context.Context) (list []string, err error) {
	meta, err := p.MetaDB()
	if err != nil {
		return nil, err
	}
	for _, of := range []struct {
		names metastore.NameSource
		of    metastore.Source
	}{{metastore.MetricNames, metastore.MetricOf}, {metastore.ParamNames, metastore.ParamOf}, {metastore.TagNames, metastore.TagOf}} {
		names, err := meta.Names(ctx, of.names, "", suggestedNames)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if field := (metastore.Field{Of: of.of, Name: name}); field != nameField && field != starField {
				list = append(list, search.Name(field))
			}
		}
	}
	return list, nil
}

// completions is how many completions are offered.
const completions = 20

// completeSearch completes the last word of a query, or of columns.
func (p *pages) completeSearch(w http.ResponseWriter, r *http.Request) error {
	text := r.URL.Query().Get("text")
	meta, err := p.MetaDB()
	if err != nil {
		return err
	}
	found := []string{}
	if len(text) <= search.MaxBytes {
		found = append(found, search.Complete(text, func(of metastore.NameSource, prefix string) []string {
			names, failed := meta.Names(r.Context(), of, prefix, completions)
			if failed != nil {
				err = failed
			}
			return names
		})...)
	}
	if err != nil {
		return err
	}
	return p.json(w, r, found[:min(len(found), completions)])
}

// has reports whether there is a section at a path.
func (p *pages) has(path string) bool {
	return slices.ContainsFunc(p.sections, func(s section) bool { return s.Path == path })
}
