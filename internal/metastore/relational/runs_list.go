package relational

import (
	"context"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"quant"
	"quant/internal/metastore"
)

// ListRuns is documented at metastore.Runs. With several filters it costs what
// the strongest of them returns, taken as parent, then kind, then status, then
// the runs that may change something.
func (db *DB) ListRuns(ctx context.Context, f metastore.RunFilter) ([]metastore.RunDetail, error) {
	query, args, err := listRuns(f)
	if err != nil {
		return nil, err
	}
	return list(ctx, db, "list runs", query, args, scanDetail)
}

// listRuns chooses the index, by what the join begins with (CROSS JOIN keeps
// the order) and by the + that keeps a column from its index; left to itself
// the planner guesses, having no statistics.
func listRuns(f metastore.RunFilter) (query string, args []any, err error) {
	switch f.Status {
	case "", quant.Running, quant.Success, quant.Fail:
	default:
		return "", nil, quant.Errorf(quant.Invalid, "runs: status %q is none of RUNNING, SUCCESS, FAIL", f.Status)
	}
	if f.Limit < 0 {
		return "", nil, quant.Errorf(quant.Invalid, "runs: limit %d is negative", f.Limit)
	}
	var where []string
	add := func(clause string, arg any) {
		where = append(where, clause)
		args = append(args, arg)
	}
	from := `runs r LEFT JOIN run_process p ON p.run_id = r.run_id`
	key := "r.run_id"
	switch {
	case f.Parent != "":
		from, key = `run_process p CROSS JOIN runs r ON r.run_id = p.run_id`, "p.run_id"
		add(`p.parent_run_id = ?`, f.Parent)
		if f.Kind != "" {
			add(`r.kind = ?`, f.Kind)
		}
		if f.Status != "" {
			add(`r.status = ?`, string(f.Status))
		}
		if !f.All {
			where = append(where, `+p.changes = 1`)
		}
	case f.Kind != "" && f.Status != quant.Running:
		add(`r.kind = ?`, f.Kind)
		if f.Status != "" {
			add(`+r.status = ?`, string(f.Status))
		}
		if !f.All {
			where = append(where, `coalesce(p.changes, 1) = 1`)
		}
	case f.Status != "":
		add(`r.status = ?`, string(f.Status))
		if f.Kind != "" {
			add(`+r.kind = ?`, f.Kind)
		}
		if !f.All {
			where = append(where, `coalesce(p.changes, 1) = 1`)
		}
	case !f.All:
		from, key = `run_process p INDEXED BY run_process_changes CROSS JOIN runs r ON r.run_id = p.run_id`, "p.run_id"
		where = append(where, `p.changes = 1`)
	}
	if !f.Since.IsZero() {
		add(key+` >= ?`, firstID(f.Since.Time))
		add(`+r.started_at >= ?`, f.Since)
	}
	if f.Except != "" {
		add(`+`+key+` <> ?`, f.Except)
	}
	switch {
	case f.Deleted:
		where = append(where, `EXISTS (SELECT 1 FROM run_deletions d WHERE d.run_id = `+key+`)`)
	case f.Status != quant.Running: // a run that runs is never hidden
		where = append(where, `NOT EXISTS (SELECT 1 FROM run_deletions d WHERE d.run_id = `+key+`)`)
	}
	columns := detailColumns
	if f.Brief {
		columns = briefly(columns)
	}
	query = `SELECT ` + columns + ` FROM ` + from
	if len(where) > 0 {
		query += ` WHERE ` + strings.Join(where, ` AND `)
	}
	query += ` ORDER BY ` + key + ` DESC`
	if f.Limit > 0 {
		query += ` LIMIT ?`
		args = append(args, f.Limit)
	}
	return query, args, nil
}

// firstID is a lower bound of the ids of runs started at or after t. The head
// of an id is the time of its making in milliseconds, which may be read from
// the clock just before started_at; hence the second.
func firstID(t time.Time) string {
	ms := max(t.Add(-time.Second).UnixMilli(), 0)
	b := []byte{byte(ms >> 40), byte(ms >> 32), byte(ms >> 24), byte(ms >> 16), byte(ms >> 8), byte(ms)}
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:]
}

// clockSlack is what firstID takes off, and a second more: an id's clock is
// read just before that of started_at.
const clockSlack = 2 * time.Second

// endOfIDs is an upper bound of the ids of runs that ended before t.
func endOfIDs(t quant.Time) string { return firstID(t.Add(clockSlack)) }

// ResolveRun is documented at metastore.Runs. An empty ref, or one with
// anything but digits a-f and hyphens, names no run.
func (db *DB) ResolveRun(ctx context.Context, ref string) ([]string, error) {
	if ref == "" || strings.Trim(ref, "0123456789abcdef-") != "" || len(ref) > 36 {
		return nil, nil
	}
	const what = "resolve run"
	one := func(id *string) []any { return []any{id} }
	if len(ref) == 36 {
		return list(ctx, db, what, `SELECT run_id FROM runs WHERE run_id = ?`, []any{ref}, one)
	}
	query, args := db.resolveRun(ref)
	ids, err := list(ctx, db, what, query, args, one)
	if err != nil {
		return nil, err
	}
	slices.Sort(ids)
	slices.Reverse(ids)
	ids = slices.Compact(ids)
	return ids[:min(len(ids), 3)], nil
}

// resolveRun finds up to three ids by their beginning and three by their end.
// "g" is greater than any character of an id.
func (db *DB) resolveRun(ref string) (query string, args []any) {
	query = `SELECT * FROM (SELECT run_id FROM runs WHERE run_id >= ?1 AND run_id < ?1 || 'g' ORDER BY run_id DESC LIMIT 3) b`
	if len(ref) >= 4 {
		query += ` UNION ALL SELECT * FROM (SELECT run_id FROM runs WHERE ` + db.dialect.Last("run_id", "4") + ` = ` + db.dialect.Last("?1", "4") +
			` AND ` + db.dialect.Last("run_id", "length(?1)") + ` = ?1 ORDER BY run_id DESC LIMIT 3) e`
	}
	return query, []any{ref}
}

var selectRuns = `SELECT ` + detailColumns + ` FROM json_each(?) j
	CROSS JOIN runs r ON r.run_id = j.value LEFT JOIN run_process p ON p.run_id = r.run_id ORDER BY j.key`

// RunsOf is documented at metastore.Overview.
func (db *DB) RunsOf(ctx context.Context, ids []string) ([]metastore.RunDetail, error) {
	wanted := listed(ids)
	found, err := list(ctx, db, "read runs", selectRuns, []any{wanted}, scanDetail)
	if err != nil || len(found) == len(ids) {
		return found, err
	}
	for i, id := range ids {
		if i >= len(found) || found[i].RunID != id {
			return nil, quant.Errorf(quant.NotFound, "run %s does not exist", id)
		}
	}
	return found, nil
}
