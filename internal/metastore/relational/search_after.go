package relational

import (
	"database/sql"
	"errors"

	"quant"
	"quant/internal/metastore"
)

// standing is where a run stands in the order of a search that goes on after it.
type standing struct {
	keys   []orderKey
	values []any // of the run, one for each key: as the database has them
}

// standingOf reads where the run stands after which a search goes on; nil: it begins
// at the beginning.
func (w *searcher) standingOf(s metastore.Search) (*standing, error) {
	if s.After == "" {
		return nil, nil
	}
	keys, err := orderKeys(s.Order)
	if err != nil {
		return nil, err
	}
	at := standing{keys: keys, values: make([]any, len(keys))}
	var columns fragment
	into := make([]any, len(keys))
	for i, k := range keys {
		if i > 0 {
			columns.sql += ", "
		}
		columns.sql += "(" + k.value.sql + ")"
		columns.args = append(columns.args, k.value.args...)
		into[i] = &at.values[i]
	}
	err = w.q.QueryRowContext(w.ctx, `SELECT `+columns.sql+` FROM runs r LEFT JOIN run_process p ON p.run_id = r.run_id WHERE r.run_id = ?`,
		append(columns.args, s.After)...).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, quant.Errorf(quant.NotFound, "search: run %q, after which it goes on, is gone", quant.Clip(s.After, 60)).WithHint("begin at the first page")
	}
	for i, v := range at.values {
		if b, isBytes := v.([]byte); isBytes {
			at.values[i] = string(b)
		}
	}
	return &at, err
}

// condition is true of the runs that come later.
func (at *standing) condition() fragment {
	last := len(at.keys) - 1
	beyond := func(k orderKey) string {
		if k.descending {
			return " < ?"
		}
		return " > ?"
	}
	f := fragment{at.keys[last].value.sql + beyond(at.keys[last]), append(append([]any{}, at.keys[last].value.args...), at.values[last])}
	for i := last - 1; i >= 0; i-- {
		k, v := at.keys[i], at.values[i]
		if v == nil {
			f = fragment{"(" + k.value.sql + " IS NULL AND " + f.sql + ")", append(append([]any{}, k.value.args...), f.args...)}
			continue
		}
		args := append(append([]any{}, k.value.args...), v)
		args = append(args, k.value.args...)
		args = append(append(append(args, k.value.args...), v), f.args...)
		f = fragment{"(" + k.value.sql + beyond(k) + " OR " + k.value.sql + " IS NULL OR (" + k.value.sql + " = ? AND " + f.sql + "))", args}
	}
	return f
}

// ids is what the standing says of the ids of later runs.
func (at *standing) ids() idRange {
	if at == nil || len(at.keys) > 1 {
		return idRange{}
	}
	id, _ := at.values[0].(string)
	if at.keys[0].descending {
		return idRange{high: id}
	}
	return idRange{low: id}
}

// probe narrows a walk through the values of the first key to those of later runs;
// ok is false where none has one.
func (at *standing) probe() (p probe, ok bool) {
	op := metastore.Ge
	if at.keys[0].descending {
		op = metastore.Le
	}
	return probe{kind: probeRange, op: op, values: at.values[:1]}, at.values[0] != nil
}
