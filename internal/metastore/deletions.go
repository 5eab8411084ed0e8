package metastore

import (
	"context"

	"quant"
)

// Deletions is the repository of deleted runs, and of what goes for good.
type Deletions interface {
	// DeleteRuns marks runs as deleted, all or none: lists leave them out, their
	// rows stay. One that is deleted already keeps its mark. It returns those it
	// marked. Errors: NotFound; Conflict for a RUNNING run.
	DeleteRuns(ctx context.Context, deletions []quant.Deletion) ([]string, error)
	// RestoreRuns takes the mark away, of all or none, and returns those that had
	// one. NotFound for a run that does not exist.
	RestoreRuns(ctx context.Context, runIDs []string) ([]string, error)
	// PurgeRuns removes deleted runs with their companions, all or none. Errors:
	// NotFound; Conflict for a run that is not deleted; Refused for one that a run
	// outside of runIDs has as its parent, that made a model that is there, or that
	// reset the databases.
	PurgeRuns(ctx context.Context, runIDs []string) error
	// Deletions returns the marks set before a time, oldest first; the zero time:
	// all of them.
	Deletions(ctx context.Context, before quant.Time) ([]quant.Deletion, error)
	// ClearReads removes runs that only read, ended before a time, and have
	// nothing but themselves to tell: no params, tags, metrics, notes, artifacts
	// or program, no child, no mark of deletion or import. It looks at no more
	// than limit runs that follow after in order of id ("" begins), in one commit.
	// It returns how many went and where to go on; "" when none are left.
	ClearReads(ctx context.Context, before quant.Time, after string, limit int) (gone int64, next string, err error)
	// CountReads counts what ClearReads would remove in all.
	CountReads(ctx context.Context, before quant.Time) (int64, error)
	// StoredArtifacts returns the artifacts of all runs, deleted ones included, and
	// the files of clients that are no run's (their run_id is ""), one for each
	// digest, in the order of digests.
	StoredArtifacts(ctx context.Context) ([]quant.Artifact, error)
}
