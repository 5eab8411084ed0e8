package tracking

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"quant/internal/metastore"
)

// A search in the order of what clients call runs by is two, which are merged: of the
// runs that clients made, through the index of those ids, and of quant's own, whose ids
// are in the order of their run_ids. An artifact_uri begins with the experiment's number
// and goes on with the id.

// pageByID is page for a search whose first key is run_id or artifact_uri: no other key
// counts, since no two runs share one. done is false for another search, and where
// there are runs of clients without an id of their own.
func (t *Tracking) pageByID(ctx context.Context, s metastore.Search, asked RunSearch, limit int) (ids []string, done bool, err error) {
	first := s.Order[0]
	byURI := first.Field == clientField(metastore.ClientArtifactURI)
	if !byURI && first.Field != clientField(metastore.ClientID) || asked.Offset+limit < 0 {
		return nil, false, nil
	}
	if named, err := t.allNamed(ctx); err != nil || !named {
		return nil, false, err
	}
	groups := [][]string{asked.ExperimentIDs}
	if byURI {
		if groups, err = t.byNumber(ctx, asked.ExperimentIDs, first.Desc); err != nil {
			return nil, true, err
		}
	}
	offset, behind := asked.Offset, ""
	if asked.After != "" {
		last, err := t.Store.ClientRunsOf(ctx, []string{asked.After})
		if err != nil {
			return nil, true, err
		}
		if len(last) == 1 {
			offset, behind = 0, last[0].ClientID
			for byURI && len(groups) > 1 && groups[0][0] != strconv.FormatInt(last[0].Number, 10) {
				groups = groups[1:]
			}
		}
	}
	// The experiments stand last among the conditions, before that the run is current.
	where := s.Where.(metastore.And)
	clauses, current := where[:len(where)-2], where[len(where)-1]
	var found []string
	for _, group := range groups {
		among, err := t.among(ctx, group)
		if err != nil {
			return nil, true, err
		}
		s.Where = append(slices.Clone(clauses), among, current)
		some, err := t.inIDOrder(ctx, s, first.Desc, behind, offset+limit-len(found))
		if err != nil {
			return nil, true, err
		}
		found, behind = append(found, some...), ""
		if len(found) == offset+limit {
			break
		}
	}
	return found[min(offset, len(found)):], true, nil
}

// allNamed tells whether clients know all of their runs by ids. It is looked for once:
// whatever makes such a run gives it one.
func (t *Tracking) allNamed(ctx context.Context) (bool, error) {
	t.ready.Lock()
	defer t.ready.Unlock()
	if t.named {
		return true, nil
	}
	named, err := t.Store.Named(ctx, Kind)
	t.named = err == nil && named
	return t.named, err
}

// byNumber is the ids of experiments that exist, each once, in a list of its own, in the
// order of their URIs.
func (t *Tracking) byNumber(ctx context.Context, ids []string, descending bool) ([][]string, error) {
	var known []string
	for _, id := range ids {
		n, err := numberOf(id)
		if err != nil {
			continue
		}
		if among, err := t.among(ctx, []string{id}); err != nil {
			return nil, err
		} else if among != nil {
			known = append(known, strconv.FormatInt(n, 10))
		}
	}
	slices.SortFunc(known, func(a, b string) int {
		n := cmp.Compare(a+"/", b+"/")
		if descending {
			return -n
		}
		return n
	})
	var groups [][]string
	for _, id := range slices.Compact(known) {
		groups = append(groups, []string{id})
	}
	return groups, nil
}

// inIDOrder returns the first run_ids of a search, by what clients call them by, behind
// one of those; "": from the beginning.
func (t *Tracking) inIDOrder(ctx context.Context, s metastore.Search, descending bool, behind string, n int) ([]string, error) {
	further := metastore.Gt
	if descending {
		further = metastore.Lt
	}
	name := clientField(metastore.ClientNamed)
	where := s.Where.(metastore.And)
	var all []listed
	for _, part := range []struct {
		field metastore.Field
		from  string
		is    metastore.Expr
	}{
		{name, behind, metastore.Not{Expr: metastore.IsNull{Field: name}}},
		{runID, hyphenated(behind), metastore.And{
			metastore.Compare{Field: metastore.Field{Name: "kind"}, Op: metastore.Ne, Value: Kind}, metastore.IsNull{Field: name},
		}},
	} {
		one := s
		one.Order, one.Limit = []metastore.OrderKey{{Field: part.field, Desc: descending}}, n
		conditions := metastore.And{part.is}
		if behind != "" {
			conditions = append(conditions, metastore.Compare{Field: part.field, Op: further, Value: part.from})
		}
		one.Where = append(conditions, where...)
		if err := t.Store.SearchRuns(ctx, one, func(cells []any) error {
			all = append(all, *listedOf(cells))
			return nil
		}); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, func(a, b listed) int {
		if descending {
			a, b = b, a
		}
		return strings.Compare(a.clientID, b.clientID)
	})
	ids := make([]string, min(n, len(all)))
	for i := range ids {
		ids[i] = all[i].id
	}
	return ids, nil
}

// hyphenated is an id without hyphens as it stands among run_ids: what comes before it
// there comes before it here.
func hyphenated(id string) string {
	var b strings.Builder
	for i := range len(id) {
		if i == 8 || i == 12 || i == 16 || i == 20 {
			b.WriteByte('-')
		}
		b.WriteByte(id[i])
	}
	return b.String()
}
