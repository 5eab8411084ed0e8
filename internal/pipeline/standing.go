package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"quant"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/metastore"
	"quant/internal/sqltext"
)

// A stage is skipped when running it could not change a fact. That is shown,
// never guessed:
//
//   - its fingerprint (command line, program, settings, digests of the files
//     that it reads, rows of the Meta DB, and for each table that it may read
//     the newest change) is that of a run that succeeded;
//   - what that run left behind still stands: no table that it writes has been
//     changed since, by anybody.
//
// The ledger has a row for every change of a table, with a time that is never
// used twice, so the newest one names the table's state without reading it.

// tableState is where the tables of a Fact DB stand.
type tableState struct {
	newest map[string]string // by table: the newest change, "<committed_at> <run_id>"
	own    map[string]bool   // runs that have rows in backtest_summary
}

// readState reads the state from the ledger; its cost does not depend on how
// many facts there are. Of tables whose rows belong to their run,
// only updates and deletions count as changes: another run's rows are no news.
func readState(ctx context.Context, db *factstore.DB) (tableState, error) {
	s := tableState{newest: map[string]string{}, own: map[string]bool{}}
	var perRun []string
	for _, t := range factstore.Tables() {
		if t.PerRun {
			perRun = append(perRun, t.Name)
		}
	}
	rows, err := db.Query(ctx, `SELECT table_name, max(strftime(committed_at, '%Y-%m-%dT%H:%M:%S.%fZ') || ' ' || run_id) FROM ledger
		WHERE table_name NOT IN (`+sqltext.Literals(perRun)+`) OR rows_updated > 0 OR rows_deleted > 0 GROUP BY table_name`)
	if err != nil {
		return s, err
	}
	defer rows.Close()
	for rows.Next() {
		var table, change string
		if err := rows.Scan(&table, &change); err != nil {
			return s, err
		}
		s.newest[table] = change
	}
	if err := rows.Err(); err != nil {
		return s, err
	}
	runs, err := db.Query(ctx, `SELECT DISTINCT run_id FROM ledger WHERE table_name = ?`, factstore.BacktestSummary)
	if err != nil {
		return s, err
	}
	defer runs.Close()
	for runs.Next() {
		var id string
		if err := runs.Scan(&id); err != nil {
			return s, err
		}
		s.own[id] = true
	}
	return s, runs.Err()
}

// stageInputs are what decides the result of a stage, beside the tables.
type stageInputs struct {
	Code     string            // the program, as exactly as it can be named
	Calendar string            // whose sessions count
	Files    map[string]string // by argument: digest of the bytes
	Meta     map[string]string // by name: digest of rows of the Meta DB
}

// stageNotes are recorded with a stage's run: its fingerprint, and where the tables
// that it writes stood before. Recorded when the run ends, in one commit with
// its status, they hold if and only if it succeeded.
func stageNotes(stage Stage, args []string, in stageInputs, state tableState) []quant.RunIO {
	notes := []quant.RunIO{{Direction: quant.In, Kind: quant.IOStage, Name: string(stage), Digest: quant.Text(fingerprint(stage, args, in, state))}}
	for _, table := range stage.Writes() {
		notes = append(notes, quant.RunIO{Direction: quant.In, Kind: quant.IOState, Name: table, Digest: quant.Text(state.at(table))})
	}
	return notes
}

func (s tableState) at(table string) string {
	if change := s.newest[table]; change != "" {
		return "ledger:" + change
	}
	return "ledger:none"
}

// fingerprint is sha256:<hex> of all that decides what a stage computes.
func fingerprint(stage Stage, args []string, in stageInputs, state tableState) string {
	tables := map[string]string{}
	for table, change := range state.newest {
		if stage.reads(table) {
			tables[table] = change
		}
	}
	args = slices.Clone(args)
	doc, err := json.Marshal([]any{stage, args, in.Code, in.Calendar, in.Files, in.Meta, tables}) // maps in key order
	if err != nil {
		panic(fmt.Sprintf("pipeline: texts have no JSON form: %v", err))
	}
	return durable.Digest(doc)
}

// lookBack is how many runs of a stage's kind are looked at for one whose
// results stand. A result that is older than so many runs is computed again.
const lookBack = 64

// standingRun returns the newest run whose results are those that the stage would
// have now, or "".
func standingRun(ctx context.Context, meta metastore.Store, stage Stage, args []string, in stageInputs, state tableState) (string, error) {
	runs, err := meta.ListRuns(ctx, metastore.RunFilter{Kind: string(stage), Status: quant.Success, Limit: lookBack, Brief: true})
	if err != nil {
		return "", err
	}
	want := fingerprint(stage, args, in, state)
	for _, run := range runs {
		noted, err := meta.RunIO(ctx, run.RunID)
		if err != nil {
			return "", err
		}
		if !stands(run.RunID, stage, want, in.Files, noted, state) {
			continue
		}
		whole, err := modelsExist(ctx, meta, noted)
		if err != nil {
			return "", err
		}
		if whole {
			return run.RunID, nil
		}
	}
	return "", nil
}

func stands(runID string, stage Stage, want string, files map[string]string, noted []quant.RunIO, state tableState) bool {
	same := false
	for _, io := range noted {
		switch {
		case io.Direction != quant.In:
		case io.Kind == quant.IOStage && io.Name == string(stage):
			if same = string(io.Digest) == want; !same {
				return false
			}
		case io.Kind == quant.IOFile:
			// A file may change after its digest was taken and before it is read:
			// what the run says that it read decides.
			if digest, known := files[io.Name]; known && digest != string(io.Digest) {
				return false
			}
		case io.Kind == quant.IOState:
			// A table that stands where it stood before the run was not changed
			// by it either.
			if now := state.at(io.Name); now != string(io.Digest) && !strings.HasSuffix(now, " "+runID) {
				return false
			}
		}
	}
	return same && (stage != StageBacktest || state.own[runID])
}

// modelsExist reports whether the models that a run made are still there.
func modelsExist(ctx context.Context, meta metastore.Store, noted []quant.RunIO) (bool, error) {
	for _, io := range noted {
		if io.Direction != quant.Out || io.Kind != quant.IOModel {
			continue
		}
		if _, err := meta.GetModel(ctx, io.Name); errors.Is(err, quant.NotFound) {
			return false, nil
		} else if err != nil {
			return false, err
		}
	}
	return true, nil
}

// modelOf returns the model that a train run made, or "".
func modelOf(noted []quant.RunIO) string {
	for _, io := range noted {
		if io.Direction == quant.Out && io.Kind == quant.IOModel {
			return io.Name
		}
	}
	return ""
}

// Changed is how many rows a run changed, of all tables: what its outputs say.
func Changed(noted []quant.RunIO) int64 {
	var n int64
	for _, io := range noted {
		if io.Direction == quant.Out && io.Rows != nil {
			n += *io.Rows
		}
	}
	return n
}
