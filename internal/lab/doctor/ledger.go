package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"path/filepath"
	"slices"
	"strings"

	"quant"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/registry"
)

// errNoRuns ends an examination of the ledger whose other side cannot be read, which
// has been told.
var errNoRuns = errors.New("the runs cannot be read")

// runsAgainstLedger holds every run that may have written facts against the
// ledger, and settles the dead runs whose facts were not checked. changes gives the
// runs of the ledger as factstore.DB.EachChange does; both sides come in the order
// of their ids, so that neither is ever in memory. The error is that of changes.
func (e *examination) runsAgainstLedger(ctx context.Context, changes func(ctx context.Context, fn func(runID string, tables []string) error) error) error {
	reset, err := e.lastReset(ctx)
	if err != nil {
		e.failed("run_io", err)
		return nil
	}
	next, stop := iter.Pull2(claims(ctx, e.Meta))
	defer stop()
	claim, err, more := next()
	// upTo judges the runs that are newer than one of the ledger, which does not have
	// them.
	upTo := func(id string) error {
		for more && err == nil && claim.RunID > id {
			e.judge(ctx, claim, nil, reset)
			claim, err, more = next()
		}
		if err != nil {
			e.failed("runs", err)
			return errNoRuns
		}
		return nil
	}
	ledgerErr := changes(ctx, func(id string, tables []string) error {
		if err := upTo(id); err != nil {
			return err
		}
		if !more || claim.RunID != id {
			e.unclaimed(ctx, id, tables)
			return nil
		}
		e.committed(claim.RunID, claim.Kind, claim.Status, tables)
		e.judge(ctx, claim, tables, reset)
		claim, err, more = next()
		return nil
	})
	if ledgerErr == nil {
		ledgerErr = upTo("")
	}
	e.sayElsewhere()
	if errors.Is(ledgerErr, errNoRuns) {
		return nil
	}
	return ledgerErr
}

// claims is EachClaim, one after the other.
func claims(ctx context.Context, meta metastore.Runs) iter.Seq2[metastore.Claim, error] {
	return func(yield func(metastore.Claim, error) bool) {
		enough := errors.New("enough")
		err := meta.EachClaim(ctx, func(c metastore.Claim) error {
			if !yield(c, nil) {
				return enough
			}
			return nil
		})
		if err != nil && !errors.Is(err, enough) {
			yield(metastore.Claim{}, err)
		}
	}
}

// unclaimed looks at a run of the ledger that says nothing of facts.
func (e *examination) unclaimed(ctx context.Context, id string, tables []string) {
	run, err := e.Meta.GetRun(ctx, id)
	switch {
	case errors.Is(err, quant.NotFound):
		e.add(Fault, "run "+id, "restore the Meta DB that knows it from a backup, or keep this as the only trace of it",
			"the ledger says that it changed %s, but no such run is recorded", names(tables))
	case err != nil:
		e.failed("run "+id, err)
	default:
		e.committed(id, run.Kind, run.Status, tables)
	}
}

// committed notes a run that failed although it had committed facts.
func (e *examination) committed(id, kind string, status quant.Status, tables []string) {
	if status == quant.Fail {
		e.add(Note, "run "+id, "", "%s ended as FAIL after it had committed %s", kind, names(tables))
	}
}

// judge holds what a run of this lab says against the tables that the ledger has of
// it. What a run before the reset wrote, and its ledger rows, are in the backup.
func (e *examination) judge(ctx context.Context, c metastore.Claim, tables []string, reset string) {
	if c.Imported || !c.Changes || c.RunID < reset || e.agrees(c, tables) {
		return
	}
	if e.factsElsewhere(ctx, c.RunID) {
		e.elsewhere++
		return
	}
	switch {
	case c.Status == quant.Success:
		e.wrote(c, tables)
	case c.Facts == quant.FactsNotChecked:
		e.settle(ctx, c, len(tables) > 0)
	case c.Facts == quant.FactsNone && len(tables) > 0, c.Facts == quant.FactsCommitted && len(tables) == 0:
		e.add(Fault, "run "+c.RunID, "the Fact DB or the Meta DB was replaced by another state of it; restore both from one backup",
			"its text says %q, the ledger says otherwise", registry.FactsClause(c.Facts))
	}
}

// agrees tells whether there is nothing to say of a claim.
func (e *examination) agrees(c metastore.Claim, tables []string) bool {
	switch {
	case c.Status == quant.Success:
		return !slices.ContainsFunc(c.Tables, func(table string) bool { return !slices.Contains(tables, table) })
	case c.Facts == quant.FactsNotChecked:
		return false
	case c.Facts == quant.FactsNone:
		return len(tables) == 0
	case c.Facts == quant.FactsCommitted:
		return len(tables) > 0
	}
	return true
}

// factsElsewhere tells whether the facts of a run are in another Fact DB than this one:
// labs of several machines may share a Meta DB on a server, each with its facts in a
// file of its own.
func (e *examination) factsElsewhere(ctx context.Context, runID string) bool {
	return !e.FactsShared && e.isElsewhere(ctx, runID, e.FactSetting, e.FactPath)
}

// contentsElsewhere tells the same of the data folder, which has contents of artifacts.
// Facts on a lake are shared; a data folder need not be.
func (e *examination) contentsElsewhere(ctx context.Context, runID string) bool {
	return e.isElsewhere(ctx, runID, e.DataSetting, e.DataDir)
}

// isElsewhere tells whether a run was of another machine, or its setting led to another
// path than here.
func (e *examination) isElsewhere(ctx context.Context, runID, setting, here string) bool {
	if e.MetaURL == "" {
		return false
	}
	run, err := e.Meta.GetRun(ctx, runID)
	if err != nil {
		return false // what it is is said where it is looked for
	}
	if e.Registry == nil || string(run.Process.MachineID) != e.Registry.Process.MachineID {
		return true
	}
	var recorded struct {
		Settings map[string]string `json:"settings"`
	}
	_ = json.Unmarshal(run.ConfigJSON, &recorded) // a run that failed early has none
	path := recorded.Settings[setting]
	if path == "" {
		return false
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(string(run.Process.WorkDir), path)
	}
	here, err = filepath.Abs(here)
	return err == nil && place.Real(path) != place.Real(here)
}

// sayElsewhere tells how many runs were not held against a ledger, which is not here.
func (e *examination) sayElsewhere() {
	if e.elsewhere > 0 {
		e.add(Note, "runs", "run `quant doctor` there", "%s of this Meta DB wrote to a Fact DB of another machine or folder", quant.Count(e.elsewhere, "run"))
	}
}

// lastReset returns the newest run of this lab that made the Fact DB anew, "" for
// none.
func (e *examination) lastReset(ctx context.Context) (string, error) {
	backups, err := e.Meta.ListOutputs(ctx, quant.IOBackup) // newest run first
	if err != nil {
		return "", err
	}
	imports, err := e.Meta.Imports(ctx)
	if err != nil {
		return "", err
	}
	imported := make(map[string]bool, len(imports))
	for _, i := range imports {
		imported[i.RunID] = true
	}
	for _, io := range backups {
		if imported[io.RunID] {
			continue
		}
		run, err := e.Meta.GetRun(ctx, io.RunID)
		if err != nil {
			return "", err
		}
		if run.Kind != "init-db" || run.Status == quant.Running || !run.Process.Changes {
			continue
		}
		// One that failed has done so only if it had moved the Fact DB.
		if run.Status == quant.Success || filepath.Base(io.Name) == place.FactDB {
			return run.RunID, nil
		}
	}
	return "", nil
}

// wrote checks that a run that ended well has in the ledger what it says it
// wrote.
func (e *examination) wrote(c metastore.Claim, tables []string) {
	for _, table := range c.Tables {
		if !slices.Contains(tables, table) {
			e.add(Fault, "run "+c.RunID, "run it again, or restore the Fact DB from a backup",
				"%s ended as SUCCESS and says it changed %s, but the ledger does not have it", c.Kind, table)
		}
	}
}

func (e *examination) settle(ctx context.Context, c metastore.Claim, committed bool) {
	facts := quant.FactsNone
	if committed {
		facts = quant.FactsCommitted
	}
	text, clause := registry.ReplaceFacts(c.ErrorText, c.Facts, facts), registry.FactsClause(facts)
	if err := e.Meta.SettleFacts(ctx, c.RunID, facts, text); err != nil {
		e.add(Warning, "run "+c.RunID, quant.HintOf(err), "its facts were not checked: %s; its text could not be amended: %v", clause, err)
		return
	}
	e.add(Fixed, "run "+c.RunID, "", "its facts had not been checked: %s", clause)
}

func names(tables []string) string { return strings.Join(tables, ", ") }
