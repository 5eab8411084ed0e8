package runs

import (
	"context"
	"strconv"
	"strings"

	"quant"
	"quant/internal/metastore"
	"quant/internal/registry"
	"quant/internal/search"
)

// MaxPassed is how many runs a page may lie behind the first in an order that is not
// that of time: each page passes over all before it.
const MaxPassed = 10_000

// Page is one page of a search.
type Page struct {
	Fields []metastore.Field
	IDs    []string // of the runs, in their order
	Cells  [][]any  // a row for each, a cell for each of Fields
	Next   string   // where the next page begins; "": this is the last
	Passed int      // runs before it
	Cut    bool     // there are more, too far behind the first for another page
}

// Page finds size runs from a place on: "", the beginning, or Next of the page
// before. In the order of time its cost does not depend on how far the place is, and
// runs that begin meanwhile move nothing; in others it is at most that of passing
// over MaxPassed runs. A limit of the query is the end of all pages. Errors: Usage
// for a place that is none; those of a search.
func (f Find) Page(ctx context.Context, meta metastore.Store, from string, size int) (Page, error) {
	page := Page{Fields: f.Columns}
	s := f.Search
	s.Columns = append([]metastore.Field{{Name: "run_id"}}, f.Columns...)
	passed, err := strconv.Atoi("0" + strings.TrimPrefix(from, "+"))
	var after string
	byTime, desc := f.byTime()
	switch {
	case from == "":
	case strings.HasPrefix(from, "+") && err == nil && passed <= MaxPassed:
	case byTime && registry.IsRunID(from[strings.IndexByte(from, '.')+1:]):
		// N.ID: N runs stand before and including ID.
		count, id, _ := strings.Cut(from, ".")
		if passed, err = strconv.Atoi(count); err != nil || passed < 0 {
			return page, noPlace(from)
		}
		after = id
	default:
		return page, noPlace(from)
	}
	left := size
	if f.Limited {
		left = min(size, max(0, f.Limit-passed))
	}
	skip := passed
	if after != "" {
		skip = 0
		op := metastore.Gt
		if desc {
			op = metastore.Lt
		}
		beyond := metastore.Compare{Field: metastore.Field{Name: "run_id"}, Op: op, Value: after}
		s.Where = beyond
		if f.Where != nil {
			s.Where = metastore.And{f.Where, beyond}
		}
	}
	s.Limit = skip + left + 1
	found := 0
	more := false
	err = meta.SearchRuns(ctx, s, func(cells []any) error {
		found++
		switch {
		case found <= skip:
		case len(page.IDs) == left:
			more = true
		default:
			id, _ := cells[0].(string)
			page.IDs = append(page.IDs, id)
			page.Cells = append(page.Cells, cells[1:])
		}
		return nil
	})
	if err != nil {
		return page, err
	}
	page.Passed = passed
	reached := passed + len(page.IDs)
	switch {
	case !more, f.Limited && reached >= f.Limit:
	case byTime:
		page.Next = strconv.Itoa(reached) + "." + page.IDs[len(page.IDs)-1]
	case reached <= MaxPassed:
		page.Next = "+" + strconv.Itoa(reached)
	default:
		page.Cut = true
	}
	return page, nil
}

func noPlace(from string) error {
	return quant.Errorf(quant.Usage, "%q is no place in this list", quant.Clip(from, 60)).WithHint("begin with the first page")
}

// byTime tells whether the order is that of the ids, and its direction.
func (f Find) byTime() (is, desc bool) {
	if len(f.Order) == 0 {
		return true, true
	}
	return len(f.Order) == 1 && f.Order[0].Field == (metastore.Field{Name: "started"}), f.Order[0].Desc
}

// OrderBy replaces the order: a field as a query writes it, after - the other way
// round. Errors: Usage.
func (f *Find) OrderBy(text string) error {
	name, desc := strings.CutPrefix(text, "-")
	fields, err := search.ParseColumns(name)
	if err != nil {
		return err
	}
	if len(fields) != 1 {
		return quant.Errorf(quant.Usage, "runs are sorted by one field, not %d", len(fields))
	}
	f.Order = []metastore.OrderKey{{Field: fields[0], Desc: desc}}
	return nil
}
