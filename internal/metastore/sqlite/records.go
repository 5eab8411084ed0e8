package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"

	"quant"
	"quant/internal/metastore"
)

const (
	paramColumns    = `run_id, name, value, number`
	tagColumns      = `run_id, name, value, number`
	metricColumns   = `run_id, name, points, last_step, last, min, max`
	pointColumns    = `run_id, name, point, step, value, logged_at`
	noteColumns     = `run_id, note, text, logged_at`
	artifactColumns = `run_id, name, digest, bytes, logged_at`
	programColumns  = `run_id, path, child_pid, child_start, signal, user_us, system_us, max_rss_bytes, output_bytes, output_cut_bytes, environment_json`
)

func scanParam(p *quant.Param) []any { return []any{&p.RunID, &p.Name, &p.Value, &p.Number} }
func scanTag(t *quant.Tag) []any     { return []any{&t.RunID, &t.Name, &t.Value, &t.Number} }

func scanMetric(m *quant.Metric) []any {
	return []any{&m.RunID, &m.Name, &m.Points, &m.LastStep, &m.Last, &m.Min, &m.Max}
}

func scanPoint(p *quant.MetricPoint) []any {
	return []any{&p.RunID, &p.Name, &p.Point, &p.Step, &p.Value, &p.LoggedAt}
}

func scanNote(n *quant.Note) []any { return []any{&n.RunID, &n.Note, &n.Text, &n.LoggedAt} }

func scanArtifact(a *quant.Artifact) []any {
	return []any{&a.RunID, &a.Name, &a.Digest, &a.Bytes, &a.LoggedAt}
}

func scanProgram(p *quant.Program) []any {
	return []any{
		&p.RunID, &p.Path, &p.ChildPID, &p.ChildStart, &p.Signal, &p.UserUS, &p.SystemUS,
		&p.MaxRSSBytes, &p.OutputBytes, &p.OutputCutBytes, &p.EnvironmentJSON,
	}
}

// Log is documented at metastore.Records.
func (db *DB) Log(ctx context.Context, b metastore.Batch) error {
	if err := b.Validate(); err != nil || b.Len() == 0 {
		return err
	}
	return db.write(ctx, "log", "meta.log", func(ctx context.Context, q querier) error {
		return logBatch(ctx, q, b)
	})
}

func logBatch(ctx context.Context, q querier, b metastore.Batch) error {
	w := recorder{ctx: ctx, q: q, known: map[string]bool{}}
	for _, p := range b.Params {
		if err := w.param(p); err != nil {
			return err
		}
	}
	for _, t := range b.Tags {
		if err := w.tag(t); err != nil {
			return err
		}
	}
	if err := w.points(b.Metrics); err != nil {
		return err
	}
	for _, n := range b.Notes {
		if err := w.note(n); err != nil {
			return err
		}
	}
	for _, a := range b.Artifacts {
		if err := w.artifact(a); err != nil {
			return err
		}
	}
	return nil
}

// recorder stores the entries of one batch.
type recorder struct {
	ctx   context.Context
	q     querier
	known map[string]bool // runs that exist and are not deleted
}

func (w *recorder) run(id string) error {
	if w.known[id] {
		return nil
	}
	var deleted bool
	err := w.q.QueryRowContext(w.ctx, `SELECT d.run_id IS NOT NULL FROM runs r LEFT JOIN run_deletions d ON d.run_id = r.run_id WHERE r.run_id = ?`, id).Scan(&deleted)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return quant.Errorf(quant.NotFound, "run %s does not exist", id)
	case err != nil:
		return err
	case deleted:
		return quant.Errorf(quant.Conflict, "run %s is deleted", id).WithHint("quant runs restore %s brings it back", id)
	}
	w.known[id] = true
	return nil
}

func number(value string) *float64 {
	if f, ok := quant.ParseNumber(value); ok {
		return &f
	}
	return nil
}

func (w *recorder) param(p quant.Param) error {
	if err := w.run(p.RunID); err != nil {
		return err
	}
	var old string
	err := w.q.QueryRowContext(w.ctx, `SELECT value FROM run_params WHERE run_id = ? AND name = ?`, p.RunID, p.Name).Scan(&old)
	switch {
	case err == nil && old == p.Value:
		return nil
	case err == nil:
		return quant.Errorf(quant.Conflict, "run %s: param %q is %q already, and a param is written once", p.RunID, p.Name, clipped(old)).
			WithHint("record %q under another name, or as a tag, which may change", clipped(p.Value))
	case !errors.Is(err, sql.ErrNoRows):
		return err
	}
	_, err = w.q.ExecContext(w.ctx, `INSERT INTO run_params (`+paramColumns+`) VALUES (?, ?, ?, ?)`, p.RunID, p.Name, p.Value, number(p.Value))
	return err
}

func (w *recorder) tag(t quant.Tag) error {
	if err := w.run(t.RunID); err != nil {
		return err
	}
	_, err := w.q.ExecContext(w.ctx, `INSERT INTO run_tags (`+tagColumns+`) VALUES (?, ?, ?, ?)
		ON CONFLICT (run_id, name) DO UPDATE SET value = excluded.value, number = excluded.number`, t.RunID, t.Name, t.Value, number(t.Value))
	return err
}

// points stores points in their order and brings the sums up to date, each
// metric's once.
func (w *recorder) points(list []quant.MetricPoint) error {
	if len(list) == 0 {
		return nil
	}
	type key struct{ run, name string }
	sums := map[key]*quant.Metric{}
	var order []*quant.Metric
	rows := make([]any, 0, pointsAtOnce*6)
	flush := func() error {
		if len(rows) == 0 {
			return nil
		}
		_, err := w.q.ExecContext(w.ctx, insertPoints(len(rows)/6), rows...)
		rows = rows[:0]
		return err
	}
	for _, p := range list {
		sum := sums[key{p.RunID, p.Name}]
		if sum == nil {
			if err := w.run(p.RunID); err != nil {
				return err
			}
			sum = &quant.Metric{RunID: p.RunID, Name: p.Name, LastStep: -1}
			err := w.q.QueryRowContext(w.ctx, `SELECT `+metricColumns+` FROM run_metrics WHERE run_id = ? AND name = ?`, p.RunID, p.Name).Scan(scanMetric(sum)...)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return err
			}
			sums[key{p.RunID, p.Name}] = sum
			order = append(order, sum)
		}
		if p.Step == quant.AutoStep {
			if sum.LastStep == math.MaxInt64 {
				return quant.Errorf(quant.Invalid, "metric %q: there is no step after %d", p.Name, sum.LastStep)
			}
			p.Step = sum.LastStep + 1
		}
		sum.Points++
		if sum.Points == 1 {
			sum.LastStep, sum.Last, sum.Min, sum.Max = p.Step, p.Value, p.Value, p.Value
		}
		if p.Step >= sum.LastStep {
			sum.LastStep, sum.Last = p.Step, p.Value
		}
		sum.Min, sum.Max = min(sum.Min, p.Value), max(sum.Max, p.Value)
		rows = append(rows, p.RunID, p.Name, sum.Points, p.Step, p.Value, p.LoggedAt)
		if len(rows) == pointsAtOnce*6 {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	for _, m := range order {
		_, err := w.q.ExecContext(w.ctx, `INSERT INTO run_metrics (`+metricColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (run_id, name) DO UPDATE SET points = excluded.points, last_step = excluded.last_step,
				last = excluded.last, min = excluded.min, max = excluded.max`,
			m.RunID, m.Name, m.Points, m.LastStep, m.Last, m.Min, m.Max)
		if err != nil {
			return err
		}
	}
	return nil
}

// pointsAtOnce is how many points one statement inserts: many enough that the
// call of the statement costs little beside its rows.
const pointsAtOnce = 64

func insertPoints(n int) string {
	b := []byte(`INSERT INTO run_metric_points (` + pointColumns + `) VALUES (?, ?, ?, ?, ?, ?)`)
	for range n - 1 {
		b = append(b, `, (?, ?, ?, ?, ?, ?)`...)
	}
	return string(b)
}

func (w *recorder) note(n quant.Note) error {
	if err := w.run(n.RunID); err != nil {
		return err
	}
	_, err := w.q.ExecContext(w.ctx, `INSERT INTO run_notes (`+noteColumns+`)
		SELECT ?1, coalesce(max(note), 0) + 1, ?2, ?3 FROM run_notes WHERE run_id = ?1`, n.RunID, n.Text, n.LoggedAt)
	return err
}

func (w *recorder) artifact(a quant.Artifact) error {
	if err := w.run(a.RunID); err != nil {
		return err
	}
	var digest string
	err := w.q.QueryRowContext(w.ctx, `SELECT digest FROM run_artifacts WHERE run_id = ? AND name = ?`, a.RunID, a.Name).Scan(&digest)
	switch {
	case err == nil && digest == a.Digest:
		return nil
	case err == nil:
		return quant.Errorf(quant.Conflict, "run %s has an artifact %q already, with other content", a.RunID, a.Name).
			WithHint("give this one another name")
	case !errors.Is(err, sql.ErrNoRows):
		return err
	}
	_, err = w.q.ExecContext(w.ctx, `INSERT INTO run_artifacts (`+artifactColumns+`) VALUES (?, ?, ?, ?, ?)`,
		a.RunID, a.Name, a.Digest, a.Bytes, a.LoggedAt)
	return err
}

// clipped is a value short enough for a message.
func clipped(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:57]) + "..."
	}
	return s
}

// DeleteTag is documented at metastore.Records.
func (db *DB) DeleteTag(ctx context.Context, runID, name string) error {
	return db.write(ctx, "delete a tag", "", func(ctx context.Context, q querier) error {
		w := recorder{ctx: ctx, q: q, known: map[string]bool{}}
		if err := w.run(runID); err != nil {
			return err
		}
		res, err := q.ExecContext(ctx, `DELETE FROM run_tags WHERE run_id = ? AND name = ?`, runID, name)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n > 0 {
			return err
		}
		return quant.Errorf(quant.NotFound, "run %s has no tag %q", runID, name)
	})
}

// Params is documented at metastore.Records.
func (db *DB) Params(ctx context.Context, runID string) ([]quant.Param, error) {
	return list(ctx, db, "read params of run "+runID, `SELECT `+paramColumns+` FROM run_params WHERE run_id = ? ORDER BY name`, []any{runID}, scanParam)
}

// Tags is documented at metastore.Records.
func (db *DB) Tags(ctx context.Context, runID string) ([]quant.Tag, error) {
	return list(ctx, db, "read tags of run "+runID, `SELECT `+tagColumns+` FROM run_tags WHERE run_id = ? ORDER BY name`, []any{runID}, scanTag)
}

// Metrics is documented at metastore.Records.
func (db *DB) Metrics(ctx context.Context, runID string) ([]quant.Metric, error) {
	return list(ctx, db, "read metrics of run "+runID, `SELECT `+metricColumns+` FROM run_metrics WHERE run_id = ? ORDER BY name`, []any{runID}, scanMetric)
}

// MetricPoints is documented at metastore.Records.
func (db *DB) MetricPoints(ctx context.Context, runID, name string, limit int) ([]quant.MetricPoint, error) {
	query := `SELECT ` + pointColumns + ` FROM run_metric_points WHERE run_id = ? AND name = ? ORDER BY point`
	if limit > 0 {
		query = `SELECT * FROM (` + query + fmt.Sprintf(` DESC LIMIT %d) ORDER BY point`, limit)
	}
	return list(ctx, db, "read metric "+name+" of run "+runID, query, []any{runID, name}, scanPoint)
}

// Notes is documented at metastore.Records.
func (db *DB) Notes(ctx context.Context, runID string) ([]quant.Note, error) {
	return list(ctx, db, "read notes of run "+runID, `SELECT `+noteColumns+` FROM run_notes WHERE run_id = ? ORDER BY note`, []any{runID}, scanNote)
}

// Artifacts is documented at metastore.Records.
func (db *DB) Artifacts(ctx context.Context, runID string) ([]quant.Artifact, error) {
	return list(ctx, db, "read artifacts of run "+runID, `SELECT `+artifactColumns+` FROM run_artifacts WHERE run_id = ? ORDER BY name`, []any{runID}, scanArtifact)
}

// ArtifactUsed is documented at metastore.Records.
func (db *DB) ArtifactUsed(ctx context.Context, digest string) (bool, error) {
	found, err := list(ctx, db, "look for an artifact", `SELECT digest FROM run_artifacts WHERE digest = ? LIMIT 1`, []any{digest},
		func(s *string) []any { return []any{s} })
	return len(found) > 0, err
}

// TaggedRuns is documented at metastore.Records.
func (db *DB) TaggedRuns(ctx context.Context, name, value string, limit int) ([]string, error) {
	return list(ctx, db, "look for a tag", `SELECT run_id FROM run_tags t WHERE name = ? AND value = ?
		AND NOT EXISTS (SELECT 1 FROM run_deletions d WHERE d.run_id = t.run_id) ORDER BY run_id DESC LIMIT ?`,
		[]any{name, value, limit}, func(s *string) []any { return []any{s} })
}

// SaveProgram is documented at metastore.Records.
func (db *DB) SaveProgram(ctx context.Context, p quant.Program) error {
	if err := p.Validate(); err != nil {
		return err
	}
	return db.write(ctx, "save program of run "+p.RunID, "meta.program", func(ctx context.Context, q querier) error {
		return saveProgram(ctx, q, p)
	})
}

func saveProgram(ctx context.Context, q querier, p quant.Program) error {
	_, err := q.ExecContext(ctx, `INSERT OR REPLACE INTO run_programs (`+programColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		p.RunID, p.Path, p.ChildPID, p.ChildStart, p.Signal, p.UserUS, p.SystemUS, p.MaxRSSBytes, p.OutputBytes, p.OutputCutBytes, p.EnvironmentJSON)
	return err
}

// GetProgram is documented at metastore.Records.
func (db *DB) GetProgram(ctx context.Context, runID string) (quant.Program, error) {
	return get(ctx, db, "program of run "+runID, `SELECT `+programColumns+` FROM run_programs WHERE run_id = ?`, runID, scanProgram)
}
