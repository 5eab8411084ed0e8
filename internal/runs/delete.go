package runs

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"quant"
	"quant/internal/metastore"
	"quant/internal/session"
)

// What became of a run.
const (
	Deleted   = "deleted"
	Restored  = "restored"
	Purged    = "purged"
	Unchanged = "unchanged"
	Kept      = "kept" // it could not be purged
)

// Change is what became of a run.
type Change struct {
	RunID  string     `json:"run_id"`
	Kind   string     `json:"kind"`
	Change string     `json:"change"` // one of the constants above
	Reason quant.Text `json:"reason"` // why it was kept, or is unchanged
}

// Delete marks the runs that refs name as deleted, all or none: lists leave them
// out. With children, those that ran inside of them too. One that is marked already
// is Unchanged. Errors: those of Resolve; Conflict for the session's own run and one
// that is RUNNING.
func Delete(ctx context.Context, s *session.Session, refs []string, children bool) ([]Change, error) {
	list, err := named(ctx, s, refs, children)
	if err != nil {
		return nil, err
	}
	now := quant.NewTime(s.Now())
	var marks []quant.Deletion
	for _, run := range list {
		marks = append(marks, quant.Deletion{RunID: run.RunID, DeletedAt: now, ByRunID: quant.Text(s.RunID())})
	}
	marked, err := s.Meta.DeleteRuns(ctx, marks)
	if err != nil {
		return nil, err
	}
	return changed(s, "run_deletions", Deleted, list, marked), nil
}

// Restore undoes Delete, for all runs or none.
func Restore(ctx context.Context, s *session.Session, refs []string, children bool) ([]Change, error) {
	list, err := named(ctx, s, refs, children)
	if err != nil {
		return nil, err
	}
	restored, err := s.Meta.RestoreRuns(ctx, idsOf(list))
	if err != nil {
		return nil, err
	}
	return changed(s, "run_deletions", Restored, list, restored), nil
}

// Purge removes deleted runs for good, all or none. confirm is told how many
// before; its error ends it. Errors: those of Delete; Refused for a run that facts,
// a model or another run names; Conflict for one that is not deleted.
func Purge(ctx context.Context, s *session.Session, refs []string, children bool, confirm func(ctx context.Context, n int) error) ([]Change, error) {
	list, err := named(ctx, s, refs, children)
	if err != nil {
		return nil, err
	}
	tables, err := s.Facts().Naming(ctx, idsOf(list))
	if err != nil {
		return nil, err
	}
	for _, run := range list {
		if err := namedByFacts(run.RunID, tables); err != nil {
			return nil, err
		}
	}
	if err := confirm(ctx, len(list)); err != nil {
		return nil, err
	}
	if err := s.Meta.PurgeRuns(ctx, idsOf(list)); err != nil {
		return nil, err
	}
	return changed(s, "runs", Purged, list, idsOf(list)), nil
}

// PurgeDeleted removes for good those deleted runs that can go, children before
// their parents: all that are deleted, or those that were at least so long ago. What
// cannot go is Kept, with the reason. confirm is as for Purge, if there are any.
func PurgeDeleted(ctx context.Context, s *session.Session, older time.Duration, confirm func(ctx context.Context, n int) error) ([]Change, error) {
	meta, err := s.MetaDB()
	if err != nil {
		return nil, err
	}
	before := quant.Time{}
	if older > 0 {
		before = quant.NewTime(s.Now().Add(-older))
	}
	deletions, err := meta.Deletions(ctx, before)
	if err != nil {
		return nil, err
	}
	var list []metastore.RunDetail
	for _, d := range deletions {
		run, err := meta.GetRun(ctx, d.RunID)
		if errors.Is(err, quant.NotFound) {
			continue // purged meanwhile
		}
		if err != nil {
			return nil, err
		}
		list = append(list, run)
	}
	slices.SortFunc(list, func(a, b metastore.RunDetail) int { return strings.Compare(b.RunID, a.RunID) })
	changes := []Change{}
	if len(list) == 0 {
		return changes, nil
	}
	tables, err := s.Facts().Naming(ctx, idsOf(list))
	if err != nil {
		return nil, err
	}
	if err := confirm(ctx, len(list)); err != nil {
		return nil, err
	}
	purged := int64(0)
	defer func() { recordRows(s, "runs", purged) }()
	for _, run := range list {
		change := Change{RunID: run.RunID, Kind: run.Kind, Change: Purged}
		err := namedByFacts(run.RunID, tables)
		if err == nil {
			err = meta.PurgeRuns(ctx, []string{run.RunID})
		}
		switch {
		case err == nil:
			purged++
		case errors.Is(err, quant.Refused):
			change.Change, change.Reason = Kept, quant.Text(err.Error())
		case errors.Is(err, quant.NotFound), errors.Is(err, quant.Conflict): // purged or restored meanwhile
			change.Change, change.Reason = Unchanged, quant.Text(err.Error())
		default:
			return nil, err
		}
		changes = append(changes, change)
	}
	return changes, nil
}

// named returns the runs that the references name, each once, with those that ran
// inside of them on request.
func named(ctx context.Context, s *session.Session, refs []string, children bool) ([]metastore.RunDetail, error) {
	var list []metastore.RunDetail
	seen := map[string]bool{}
	add := func(run metastore.RunDetail) {
		if !seen[run.RunID] {
			seen[run.RunID] = true
			list = append(list, run)
		}
	}
	for _, ref := range refs {
		id, err := s.Resolve(ctx, ref)
		if err != nil {
			return nil, err
		}
		if id == s.RunID() {
			return nil, quant.Errorf(quant.Conflict, "run %s is this very command", id).WithHint("name another run")
		}
		run, err := s.Meta.GetRun(ctx, id)
		if err != nil {
			return nil, err
		}
		add(run)
	}
	for at := 0; children && at < len(list); at++ {
		for _, deleted := range []bool{false, true} {
			inside, err := s.Meta.ListRuns(ctx, metastore.RunFilter{All: true, Parent: list[at].RunID, Deleted: deleted, Brief: true, Except: s.RunID()})
			if err != nil {
				return nil, err
			}
			for _, run := range inside {
				add(run)
			}
		}
	}
	return list, nil
}

func namedByFacts(runID string, tables map[string][]string) error {
	if len(tables[runID]) == 0 {
		return nil
	}
	return quant.Errorf(quant.Refused, "run %s is named by facts (%s), and every number leads back to its run", runID, strings.Join(tables[runID], ", ")).
		WithHint("leave it deleted: lists do not show it")
}

func idsOf(list []metastore.RunDetail) []string {
	ids := make([]string, len(list))
	for i, run := range list {
		ids[i] = run.RunID
	}
	return ids
}

// changed records and returns what became of runs of which some were changed.
func changed(s *session.Session, table, change string, list []metastore.RunDetail, which []string) []Change {
	recordRows(s, table, int64(len(which)))
	done := make(map[string]bool, len(which))
	for _, id := range which {
		done[id] = true
	}
	changes := []Change{}
	for _, run := range list {
		c := Change{RunID: run.RunID, Kind: run.Kind, Change: Unchanged}
		if done[run.RunID] {
			c.Change = change
		}
		changes = append(changes, c)
	}
	return changes
}

// recordRows records how many rows of a table of the Meta DB the session's run
// changed.
func recordRows(s *session.Session, table string, rows int64) {
	if rows > 0 {
		s.Record(quant.RunIO{Direction: quant.Out, Kind: quant.IOMeta, Name: table, Rows: &rows})
	}
}
