package tracking

import (
	"context"
	"math"
	"slices"
	"strings"

	"quant"
	"quant/internal/metastore"
)

// DatasetCondition is a condition on the datasets of a run: that it has one whose
// Key compares so with the values.
type DatasetCondition struct {
	Key        string // name, digest or context
	Comparator string // =, !=, LIKE, ILIKE, IN, NOT IN
	Values     []string
}

// View says which experiments or runs are meant.
type View = metastore.Lifecycle

// RunSearch is a search of runs as a client asks for it.
type RunSearch struct {
	ExperimentIDs []string
	Filter        string
	OrderBy       []string
	View          View
	Max           int64 // of the page; 0: 1,000. More than 50,000 is 50,000
	Offset        int
	// After is the run_id of the last run of the page before, where that is known: a
	// page far behind is then found as fast as the first. Offset counts where no such
	// run is found any more.
	After string
}

// RunPage is a page of what a search found.
type RunPage struct {
	Runs []Run
	// Next is where the next page begins; 0: there is none.
	Next int
	// Last is the run_id of the last run.
	Last string
}

// limited is how many results a page has; most asked is more than anybody means.
func limited(asked int64, byDefault int) (int, error) {
	switch {
	case asked == 0:
		return byDefault, nil
	case asked < 0 || asked > mostAsked:
		return 0, invalidf("Invalid value %d for parameter 'max_results' supplied: It must be a positive integer of at most %d", asked, maxPage)
	}
	return int(min(asked, maxPage)), nil
}

// SearchRuns finds runs in the order of MLflow's server: by the keys of the order,
// then the newest first, then by id. Runs that another one continues are left out.
// Invalid for a filter, an order or a limit that cannot be.
func (t *Tracking) SearchRuns(ctx context.Context, s RunSearch) (RunPage, error) {
	limit, err := limited(s.Max, defaultRunsPage)
	if err != nil {
		return RunPage{}, err
	}
	parts, err := t.plan(ctx, s)
	if err != nil || len(parts) == 0 {
		return RunPage{}, err
	}
	ids, done, err := t.pageByID(ctx, parts[0], s, limit)
	if err == nil && !done {
		ids, err = t.page(ctx, parts, s, limit)
	}
	if err != nil || len(ids) == 0 {
		return RunPage{}, err
	}
	rows, err := t.Store.ClientRunsOf(ctx, ids)
	if err != nil {
		return RunPage{}, err
	}
	page := RunPage{}
	if len(ids) == limit {
		page.Next, page.Last = s.Offset+limit, ids[limit-1]
	}
	page.Runs, err = t.recorded(ctx, rows)
	return page, err
}

// Explain is how the database finds what SearchRuns does.
func (t *Tracking) Explain(ctx context.Context, s RunSearch) ([]metastore.Statement, error) {
	parts, err := t.plan(ctx, s)
	if err != nil {
		return nil, err
	}
	var all []metastore.Statement
	for _, p := range parts {
		p.Limit = 100
		some, err := t.Store.ExplainSearch(ctx, p)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// plan makes searches of one: what they find, one after the other, is in order.
func (t *Tracking) plan(ctx context.Context, s RunSearch) ([]metastore.Search, error) {
	clauses, err := runGrammar.parse(s.Filter)
	if err != nil {
		return nil, err
	}
	orders, err := runGrammar.parseOrder(s.OrderBy)
	if err != nil {
		return nil, err
	}
	where, err := t.conditions(ctx, clauses)
	if err != nil {
		return nil, err
	}
	among, err := t.among(ctx, s.ExperimentIDs)
	if err != nil || among == nil {
		return nil, err
	}
	base := metastore.Search{
		// First what few runs meet: the rest is not looked up for the others.
		Where: append(where, among, metastore.IsNull{Field: clientField(metastore.ContinuedBy)}),
		All:   true, Deleted: s.View, Columns: []metastore.Field{runID, clientField(metastore.ClientID)},
	}
	for i, o := range orders {
		if o.kind == datasetKind {
			return nil, invalidf("Invalid identifier type 'dataset'")
		}
		key, err := orderKey(o)
		if err != nil {
			return nil, err
		}
		if key.Field == started {
			last := i == len(orders)-1 || orders[i+1].kind == attributeKind && orders[i+1].key == "run_id" && !orders[i+1].descending
			if last {
				base.Order = append(base.Order, byStart(base.Order, key.Desc))
				break
			}
			key.Field = clientField(metastore.ClientStarted)
		}
		if o.kind == metricKind && len(base.Order) > 0 {
			some, err := t.Store.HasNaN(ctx, o.key)
			if err != nil {
				return nil, err
			}
			if some { // what is no number comes between the values and those that have none
				key.Field.Agg = metastore.Shown
				nan := metastore.Field{Of: metastore.MetricOf, Name: o.key, Agg: metastore.IsNaN}
				base.Order = append(base.Order, key, metastore.OrderKey{Field: nan})
				continue
			}
		}
		base.Order = append(base.Order, key)
	}
	if !slices.ContainsFunc(orders, func(o order) bool { return o.kind == attributeKind && o.key == "start_time" }) {
		base.Order = append(base.Order, byStart(base.Order, true))
	} else if n := len(base.Order); base.Order[n-1].Field != started && base.Order[n-1].Field != clientField(metastore.ClientStarted) {
		base.Order = append(base.Order, metastore.OrderKey{Field: clientField(metastore.ClientID)})
	}
	if len(orders) == 0 {
		return []metastore.Search{base}, nil
	}
	return t.inParts(ctx, base, orders[0])
}

// byStart is the key of the start behind other ones. Alone it is the order of the
// ids, in which inOrder turns what began in one millisecond.
func byStart(others []metastore.OrderKey, descending bool) metastore.OrderKey {
	if len(others) == 0 {
		return metastore.OrderKey{Field: started, Desc: descending}
	}
	return metastore.OrderKey{Field: clientField(metastore.ClientStarted), Desc: descending}
}

var (
	runID   = metastore.Field{Name: "run_id"}
	started = metastore.Field{Name: "started"}
	status  = metastore.Field{Name: "status"}
	ended   = metastore.Field{Name: "ended"}
)

func clientField(name string) metastore.Field {
	return metastore.Field{Of: metastore.ClientOf, Name: name}
}

// among is the condition that a run is in one of the experiments; nil: there is none.
func (t *Tracking) among(ctx context.Context, ids []string) (metastore.Expr, error) {
	if err := t.prepare(ctx); err != nil {
		return nil, err
	}
	field := metastore.Field{Of: metastore.TagOf, Name: quant.ExperimentTag, Agg: metastore.AsText}
	var values []any
	seen := map[int64]bool{}
	for _, id := range ids {
		n, err := numberOf(id)
		if err != nil || seen[n] {
			continue // no run is in an experiment that does not exist
		}
		seen[n] = true
		e, err := t.row(ctx, id)
		if err != nil {
			continue
		}
		values = append(values, e.ExperimentID)
	}
	switch len(values) {
	case 0:
		return nil, nil
	case 1:
		return metastore.Compare{Field: field, Op: metastore.Eq, Value: values[0]}, nil
	}
	return metastore.In{Field: field, Values: values}, nil
}

// orderKey is a key of an order as the store has it.
func orderKey(o order) (metastore.OrderKey, error) {
	key := metastore.OrderKey{Desc: o.descending}
	switch o.kind {
	case metricKind:
		key.Field = metastore.Field{Of: metastore.MetricOf, Name: o.key}
	case paramKind:
		key.Field = metastore.Field{Of: metastore.ParamOf, Name: o.key, Agg: metastore.AsText}
	case tagKind:
		key.Field = tagField(o.key)
	default:
		f, ok := attributeField(o.key)
		if !ok {
			return key, invalidf("Invalid attribute key '%s' specified", o.key)
		}
		key.Field = f
		if o.key == "run_id" {
			key.Field = clientField(metastore.ClientID)
		}
	}
	return key, nil
}

// tagField is a tag of a client.
func tagField(key string) metastore.Field {
	return metastore.Field{Of: metastore.TagOf, Name: tagName(key), Agg: metastore.AsText}
}

// attributeField is an attribute of a client's run.
func attributeField(key string) (metastore.Field, bool) {
	switch key {
	case "start_time":
		return started, true
	case "end_time":
		return ended, true
	case "run_name":
		return tagField(runNameTag), true
	case "user_id":
		return metastore.Field{Name: "user"}, true
	case "status":
		return clientField(metastore.ClientStatus), true
	case "run_id":
		return clientField(metastore.ClientID), true
	case "artifact_uri":
		return clientField(metastore.ClientArtifactURI), true
	}
	return metastore.Field{}, false
}

// statusWords are the words of clients in the order of the alphabet, with the status
// of quant that each is one of.
var statusWords = []struct {
	word string
	of   quant.Status
}{{Failed, quant.Fail}, {Finished, quant.Success}, {Killed, quant.Fail}, {Running, quant.Running}, {Scheduled, quant.Running}}

// inParts takes a search apart where the values of its first key fall into few parts
// that stand one after the other: then each part is found in the order of an index.
func (t *Tracking) inParts(ctx context.Context, base metastore.Search, first order) ([]metastore.Search, error) {
	part := func(more ...metastore.Expr) metastore.Search {
		s := base
		s.Where = append(metastore.And(more), base.Where.(metastore.And)...)
		return s
	}
	without := func(s metastore.Search) metastore.Search { // all have the same value, or none
		s.Order = slices.Clone(base.Order[1:])
		if len(s.Order) == 1 && s.Order[0].Field == clientField(metastore.ClientStarted) {
			s.Order = []metastore.OrderKey{byStart(nil, s.Order[0].Desc)}
		}
		return s
	}
	value := base.Order[0].Field
	switch {
	case first.kind == attributeKind && first.key == "status":
		var parts []metastore.Search
		for _, w := range statusWords {
			parts = append(parts, without(part(statusIs(w.word))))
		}
		if first.descending {
			slices.Reverse(parts)
		}
		return parts, nil
	case first.kind == metricKind:
		some, err := t.Store.HasNaN(ctx, first.key)
		if err != nil {
			return nil, err
		}
		if !some {
			break
		}
		nan := metastore.Field{Of: metastore.MetricOf, Name: first.key, Agg: metastore.IsNaN}
		isNaN, none := metastore.Not{Expr: metastore.IsNull{Field: nan}}, metastore.IsNull{Field: nan}
		return []metastore.Search{
			part(none, metastore.Not{Expr: metastore.IsNull{Field: value}}),
			without(part(isNaN)),
			without(part(none, metastore.IsNull{Field: value})),
		}, nil
	}
	if value.Of != metastore.MetricOf && value.Of != metastore.ParamOf && value.Of != metastore.TagOf && value != ended {
		return []metastore.Search{base}, nil
	}
	return []metastore.Search{
		part(metastore.Not{Expr: metastore.IsNull{Field: value}}),
		without(part(metastore.IsNull{Field: value})),
	}, nil
}

// statusIs is the condition that a run's status is a word of clients.
func statusIs(word string) metastore.Expr {
	for _, w := range statusWords {
		if w.word == word {
			is := metastore.Compare{Field: status, Op: metastore.Eq, Value: string(w.of)}
			if w.of == quant.Success {
				return is
			}
			return metastore.And{is, metastore.Compare{Field: clientField(metastore.ClientStatus), Op: metastore.Eq, Value: word}}
		}
	}
	return metastore.Or{}
}

// listed is a run of a search, by its run_id and what clients call it by.
type listed struct{ id, clientID string }

// page returns the run_ids of a page: what is before it is passed over.
func (t *Tracking) page(ctx context.Context, parts []metastore.Search, s RunSearch, limit int) ([]string, error) {
	offset := s.Offset
	if offset+limit < 0 {
		return nil, invalidf("Invalid page token, the offset %d is too large", offset)
	}
	after, part, err := t.passed(ctx, parts, s.After)
	if err != nil {
		return nil, err
	}
	if after != nil {
		offset, parts = 0, parts[part:]
	}
	var found []string
	for _, p := range parts {
		left := offset + limit - len(found)
		if left <= 0 {
			break
		}
		ids, err := t.inOrder(ctx, p, left, after)
		if err != nil {
			return nil, err
		}
		found, after = append(found, ids...), nil
	}
	if len(found) <= offset {
		return nil, nil
	}
	return found[offset:min(len(found), offset+limit)], nil
}

// passed finds the part of a search in which a run is; nil: it is in none.
func (t *Tracking) passed(ctx context.Context, parts []metastore.Search, id string) (found *listed, part int, err error) {
	if id == "" {
		return nil, 0, nil
	}
	for i, p := range parts {
		p.Where = metastore.And{metastore.Compare{Field: runID, Op: metastore.Eq, Value: id}, p.Where}
		err := t.Store.SearchRuns(ctx, p, func(cells []any) error {
			found = listedOf(cells)
			return nil
		})
		if err != nil || found != nil {
			return found, i, err
		}
	}
	return nil, 0, nil
}

func listedOf(cells []any) *listed {
	var l listed
	l.id, _ = cells[0].(string)
	l.clientID, _ = cells[1].(string)
	return &l
}

// inOrder returns the first run_ids of a search, or the first behind a run of it. The
// store has the newest runs first, in the order of their ids; clients see those that
// began in one millisecond in the order of what they call them by.
func (t *Tracking) inOrder(ctx context.Context, s metastore.Search, n int, after *listed) ([]string, error) {
	turned := len(s.Order) == 1 && s.Order[0].Field == started
	switch {
	case after != nil && !turned:
		s.After = after.id
	case after != nil: // from its millisecond on
		from := metastore.Compare{Field: runID, Op: metastore.Ge, Value: moment(after.id)}
		if s.Order[0].Desc {
			from.Op, from.Value = metastore.Lt, moment(after.id)+"~" // behind every character of an id
		}
		s.Where = metastore.And{from, s.Where}
	}
	passed := func(l listed) bool {
		return turned && after != nil && moment(l.id) == moment(after.id) && l.clientID <= after.clientID
	}
	for ask := n; ; ask = 2*ask + 64 {
		s.Limit = ask
		if turned {
			s.Limit++
		}
		var found []listed
		if err := t.Store.SearchRuns(ctx, s, func(cells []any) error {
			found = append(found, *listedOf(cells))
			return nil
		}); err != nil {
			return nil, err
		}
		whole := !turned || len(found) < s.Limit // all there are
		at := 0
		for turned && at < len(found) {
			end := at + 1
			for end < len(found) && moment(found[end].id) == moment(found[at].id) {
				end++
			}
			if end == len(found) && !whole {
				break // more of that time may follow
			}
			slices.SortFunc(found[at:end], func(a, b listed) int { return strings.Compare(a.clientID, b.clientID) })
			at = end
		}
		if turned {
			found = found[:at]
		}
		found = slices.DeleteFunc(found, passed)
		if whole || len(found) >= n {
			ids := make([]string, min(n, len(found)))
			for i := range ids {
				ids[i] = found[i].id
			}
			return ids, nil
		}
	}
}

// moment is the millisecond at the head of a run_id.
func moment(id string) string { return id[:min(13, len(id))] }

// conditions are the clauses of a filter as the store has them.
func (t *Tracking) conditions(ctx context.Context, clauses []clause) (metastore.And, error) {
	var all metastore.And
	for _, c := range clauses {
		one, err := t.condition(ctx, c)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

func (t *Tracking) condition(ctx context.Context, c clause) (metastore.Expr, error) {
	switch c.kind {
	case metricKind:
		value := metastore.Field{Of: metastore.MetricOf, Name: c.key}
		n := numberOfText(c.values[0])
		is := metastore.Compare{Field: value, Op: metastore.Op(c.comparator), Value: n}
		some, err := t.Store.HasNaN(ctx, c.key)
		if err != nil || !some {
			return is, err
		}
		return metastore.And{is, metastore.IsNull{Field: metastore.Field{Of: metastore.MetricOf, Name: c.key, Agg: metastore.IsNaN}}}, nil
	case paramKind:
		return textCondition(metastore.Field{Of: metastore.ParamOf, Name: c.key, Agg: metastore.AsText}, c), nil
	case tagKind:
		return textCondition(tagField(c.key), c), nil
	case datasetKind:
		if t.Datasets == nil {
			return metastore.Or{}, nil
		}
		return t.Datasets(ctx, DatasetCondition{Key: c.key, Comparator: c.comparator, Values: c.values})
	}
	switch c.key {
	case "start_time":
		return timeCondition(started, c), nil
	case "end_time":
		return timeCondition(ended, c), nil
	case "run_id":
		if e, done, err := t.idCondition(ctx, c); done || err != nil {
			return e, err
		}
	case "artifact_uri":
		if c.comparator == "=" {
			return t.uriCondition(ctx, c.values[0])
		}
	case "status":
		if c.comparator == "=" {
			return statusIs(c.values[0]), nil
		}
	}
	f, ok := attributeField(c.key)
	if !ok {
		return nil, invalidf("Invalid attribute key '%s' specified", c.key)
	}
	return textCondition(f, c), nil
}

// textCondition compares a text.
func textCondition(f metastore.Field, c clause) metastore.Expr {
	switch c.comparator {
	case "IS NULL":
		return metastore.IsNull{Field: f}
	case "IS NOT NULL":
		return metastore.Not{Expr: metastore.IsNull{Field: f}}
	case "LIKE", "ILIKE":
		return metastore.Like{Field: f, Pattern: strings.ReplaceAll(c.values[0], `\`, `\\`), Fold: c.comparator == "ILIKE"}
	case "IN", "NOT IN":
		in := metastore.In{Field: f}
		for _, v := range c.values {
			in.Values = append(in.Values, v)
		}
		if c.comparator == "IN" {
			return in
		}
		return metastore.Not{Expr: in}
	}
	return metastore.Compare{Field: f, Op: metastore.Op(c.comparator), Value: c.values[0]}
}

// idCondition compares what clients call a run by with whole ids; done is false for
// a pattern.
func (t *Tracking) idCondition(ctx context.Context, c clause) (e metastore.Expr, done bool, err error) {
	var not bool
	switch c.comparator {
	case "=", "IN":
	case "!=", "NOT IN":
		not = true
	default:
		return nil, false, nil
	}
	found, err := t.Store.ClientRuns(ctx, c.values, true)
	if err != nil {
		return nil, true, err
	}
	in := metastore.In{Field: runID}
	for _, r := range found {
		in.Values = append(in.Values, r.RunID)
	}
	switch {
	case len(in.Values) == 0 && not:
		return metastore.And{}, true, nil
	case len(in.Values) == 0:
		return metastore.Or{}, true, nil
	case not:
		return metastore.Not{Expr: in}, true, nil
	}
	return in, true, nil
}

// uriCondition is the condition that the artifacts of a run are at a URI. It names
// the run, so that it is found by its key.
func (t *Tracking) uriCondition(ctx context.Context, uri string) (metastore.Expr, error) {
	clientID := strings.TrimSuffix(uri, "/artifacts")
	found, err := t.Store.ClientRuns(ctx, []string{clientID[strings.LastIndex(clientID, "/")+1:]}, true)
	if err != nil || len(found) == 0 || ArtifactURI(found[0].Number, found[0].ClientID) != uri {
		return metastore.Or{}, err
	}
	return metastore.Compare{Field: runID, Op: metastore.Eq, Value: found[0].RunID}, nil
}

// timeCondition compares a time with a number of milliseconds. What is stored is
// exact to the microsecond; clients see the millisecond that it is in.
func timeCondition(f metastore.Field, c clause) metastore.Expr {
	n := numberOfText(c.values[0])
	whole := math.Floor(n)
	isWhole := whole == n
	never, always := metastore.Or{}, metastore.Not{Expr: metastore.IsNull{Field: f}}
	at := func(op metastore.Op, ms float64) metastore.Expr {
		return metastore.Compare{Field: f, Op: op, Value: momentOf(ms)}
	}
	outside := whole < 0 || whole >= lastMillis // nothing is stored there
	switch metastore.Op(c.comparator) {
	case metastore.Eq:
		if !isWhole || outside {
			return never
		}
		return metastore.And{at(metastore.Ge, whole), at(metastore.Lt, whole+1)}
	case metastore.Ne:
		if !isWhole || outside {
			return always
		}
		return metastore.Or{at(metastore.Lt, whole), at(metastore.Ge, whole+1)}
	case metastore.Gt, metastore.Ge:
		from := math.Ceil(n)
		if c.comparator == ">" && isWhole {
			from++
		}
		switch {
		case from > lastMillis:
			return never
		case from <= 0:
			return always
		}
		return at(metastore.Ge, from)
	default:
		to := whole + 1 // the first that is too late
		if c.comparator == "<" && isWhole {
			to = whole
		}
		switch {
		case to > lastMillis:
			return always
		case to <= 0:
			return never
		}
		return at(metastore.Lt, to)
	}
}

func momentOf(ms float64) quant.Time {
	t, _ := timeOf("", int64(ms))
	return t
}

// ExperimentSearch is a search of experiments as a client asks for it.
type ExperimentSearch struct {
	Filter  string
	OrderBy []string
	View    View
	Max     int64 // of the page; 0: 1,000
	Offset  int
}

// SearchExperiments finds experiments; next is where the next page begins, 0: there
// is none. Invalid for a filter, an order or a limit that cannot be.
func (t *Tracking) SearchExperiments(ctx context.Context, s ExperimentSearch) (found []Experiment, next int, err error) {
	limit, err := limited(s.Max, defaultRunsPage)
	if err != nil {
		return nil, 0, err
	}
	clauses, err := experimentGrammar.parse(s.Filter)
	if err != nil {
		return nil, 0, err
	}
	orders, err := experimentGrammar.parseOrder(s.OrderBy)
	if err != nil {
		return nil, 0, err
	}
	if err := t.prepare(ctx); err != nil {
		return nil, 0, err
	}
	rows, err := t.Store.ListClientExperiments(ctx)
	if err != nil {
		return nil, 0, err
	}
	tags, err := t.Store.ExperimentTags(ctx, "")
	if err != nil {
		return nil, 0, err
	}
	ofExperiment := map[string][]metastore.ExperimentTag{}
	for _, tag := range tags {
		ofExperiment[tag.ExperimentID] = append(ofExperiment[tag.ExperimentID], tag)
	}
	for _, row := range rows {
		e := Experiment{row, ofExperiment[row.ExperimentID]}
		gone := !e.DeletedAt.IsZero()
		if gone && s.View == metastore.NotDeleted || !gone && s.View == metastore.OnlyDeleted {
			continue
		}
		if !slices.ContainsFunc(clauses, func(c clause) bool { return !e.satisfies(c) }) {
			found = append(found, e)
		}
	}
	sortExperiments(found, orders)
	if s.Offset >= len(found) {
		return nil, 0, nil
	}
	found = found[s.Offset:]
	if len(found) > limit {
		found, next = found[:limit], s.Offset+limit
	}
	return found, next, nil
}
