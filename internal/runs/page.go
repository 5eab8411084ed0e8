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

// Page is one page of a search.
type Page struct {
	Fields []metastore.Field
	IDs    []string // of the runs, in their order
	Cells  [][]any  // a row for each, a cell for each of Fields
	Next   string   // where the next page begins; "": this is the last
	Passed int      // how many runs stood on the pages before
}

// Page finds size runs from a place on: "", the beginning, or Next of the page
// before. A page costs what the first one does, and runs that begin meanwhile move
// nothing. A limit of the query is the end of all pages. Errors: Usage for a place
// that is none; those of a search.
func (f Find) Page(ctx context.Context, meta metastore.Store, from string, size int) (Page, error) {
	page := Page{Fields: f.Columns}
	s := f.Search
	s.Columns = append([]metastore.Field{{Name: "run_id"}}, f.Columns...)
	if from != "" {
		// N-ID: ID is the Nth run of the search.
		passed, id, _ := strings.Cut(from, "-")
		var err error
		if page.Passed, err = strconv.Atoi(passed); err != nil || page.Passed < 0 || !registry.IsRunID(id) {
			return page, quant.Errorf(quant.Usage, "%q is no place in this list", quant.Clip(from, 60)).WithHint("begin with the first page")
		}
		s.After = id
	}
	left, limited := size, f.Limited && f.Limit > 0
	if limited {
		if left = min(size, f.Limit-page.Passed); left <= 0 {
			return page, nil
		}
	}
	s.Limit = left + 1
	more := false
	err := meta.SearchRuns(ctx, s, func(cells []any) error {
		if more = len(page.IDs) == left; more {
			return nil
		}
		id, _ := cells[0].(string)
		page.IDs = append(page.IDs, id)
		page.Cells = append(page.Cells, cells[1:])
		return nil
	})
	if err != nil {
		return page, err
	}
	if reached := page.Passed + len(page.IDs); more && !(limited && reached >= f.Limit) {
		page.Next = strconv.Itoa(reached) + "-" + page.IDs[len(page.IDs)-1]
	}
	return page, nil
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
