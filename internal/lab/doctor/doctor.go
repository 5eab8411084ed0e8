// Package doctor examines a lab: each database by itself, and whether the two
// agree. It says what is wrong and how to mend it, and mends what is safe: it
// never deletes and never changes a fact. What is wrong inside one database is
// that store's to find (metastore, factstore); what only both together show is
// found here.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"quant"
	"quant/internal/factstore"
	"quant/internal/lab"
	"quant/internal/lab/facts"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/registry"
)

// Severity is how bad a finding is.
type Severity string

// Only a Fault makes doctor fail.
const (
	Fault   Severity = "fault"
	Warning Severity = "warning"
	Note    Severity = "note"
	Fixed   Severity = "fixed"
)

// Finding is one thing that doctor found.
type Finding struct {
	Severity Severity   `json:"severity"`
	Object   string     `json:"object"`
	What     string     `json:"what"`
	Mend     quant.Text `json:"mend"`
}

// Options say how far an examination goes.
type Options struct {
	Fix  bool // mend what is safe
	Deep bool // also read the contents of all artifacts
}

// minFree is the free space, in bytes, below which a lab is in danger.
const (
	minFree  = 100 << 20
	wantFree = 1 << 30
)

// Report is the result of an examination.
type Report struct {
	Findings []Finding // worst first, after what the opening of the lab mended
	Faults   int
	Whole    bool // everything could be examined
}

// Healthy tells whether everything could be examined and there is no fault.
func (r Report) Healthy() bool { return r.Whole && r.Faults == 0 }

// Examine examines a lab that is open, as far as it can be: what is wrong is a
// finding. It waits for the lock of the Fact DB as f does. The error is ctx's only.
func Examine(ctx context.Context, f *facts.Store, o Options) (Report, error) {
	e := &examination{Lab: f.Lab, Options: o, store: f}
	e.files()
	e.aside(ctx)
	e.restored()
	e.meta(ctx)
	e.checkFiles(ctx)
	e.facts(ctx)
	rank := map[Severity]int{Fault: 0, Warning: 1, Fixed: 2, Note: 3}
	slices.SortStableFunc(e.found, func(a, b Finding) int { return rank[a.Severity] - rank[b.Severity] })
	r := Report{Findings: append(e.opened(), e.found...), Whole: !e.partly}
	for _, finding := range r.Findings {
		if finding.Severity == Fault {
			r.Faults++
		}
	}
	return r, ctx.Err()
}

type examination struct {
	*lab.Lab
	Options
	store  *facts.Store
	found  []Finding
	partly bool // something could not be examined
	// unsalvaged is a Meta DB that was moved aside and may know runs that this one
	// does not.
	unsalvaged string
}

func (e *examination) add(s Severity, object, mend, format string, args ...any) {
	e.found = append(e.found, Finding{s, object, fmt.Sprintf(format, args...), quant.Text(mend)})
}

func (e *examination) failed(object string, err error) {
	e.partly = true
	e.add(Fault, object, quant.HintOf(err), "%v", err)
}

// files looks at folders, permissions, free space and what a kill left behind.
func (e *examination) files() {
	var space unix.Statfs_t
	if err := unix.Statfs(e.DataDir, &space); err == nil {
		free := uint64(space.Bavail) * uint64(space.Bsize)
		switch {
		case free < minFree:
			e.add(Fault, e.DataDir, "make room, or move the lab and give --data-dir", "only %d MiB are free", free>>20)
		case free < wantFree:
			e.add(Warning, e.DataDir, "make room before a large ingest", "only %d MiB are free", free>>20)
		}
	}
	if err := unix.Access(e.DataDir, unix.W_OK); err != nil {
		e.add(Fault, e.DataDir, "make the folder writable for you: nothing can be recorded as it is", "the data folder cannot be written (%v)", err)
	}
	e.private(e.DataDir, 0o700)
	e.private(e.MetaPath, 0o600)
	e.private(e.FactPath, 0o600)
	aside, _ := filepath.Glob(place.Literal(e.FactPath) + place.Broken + "*")
	for _, old := range aside {
		if lab.IsAside(filepath.Base(e.FactPath), filepath.Base(old)) {
			e.add(Note, old, noNeed, "a database that was moved aside")
		}
	}
}

// private checks that nobody but the owner can write to a file or folder.
func (e *examination) private(path string, want fs.FileMode) {
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o022 == 0 {
		return
	}
	if e.Fix {
		if err := os.Chmod(path, want); err == nil {
			e.add(Fixed, path, "", "others could write to it; its mode is %v now", want)
			return
		}
	}
	e.add(Warning, path, fmt.Sprintf("chmod %o %s, or run `quant doctor --fix`", want, path), "others can write to it (mode %v)", info.Mode().Perm())
}

// meta examines the Meta DB and the runs that it calls RUNNING.
func (e *examination) meta(ctx context.Context) {
	if e.Meta == nil {
		e.failed(e.MetaPath, e.MetaErr)
		return
	}
	problems, err := e.Meta.Check(ctx)
	if err != nil {
		e.failed(e.MetaPath, err)
	}
	for _, p := range problems {
		e.add(Fault, p.Object, p.Mend, "%s", p.What)
	}
	e.running(ctx)
}

// facts examines the Fact DB, and the runs against its ledger.
func (e *examination) facts(ctx context.Context) {
	e.unfinishedReset(ctx)
	if _, err := os.Lstat(e.FactPath); errors.Is(err, fs.ErrNotExist) {
		e.add(Note, e.FactPath, "`quant init-db` or the first command that writes facts makes it", "there is no Fact DB yet")
		e.runsAgainstLedger(ctx, nil)
		return
	}
	err := e.store.Read(ctx, func(db *factstore.DB) error {
		problems, err := db.Check(ctx)
		if err != nil {
			return err
		}
		for _, p := range problems {
			e.add(Fault, p.Object, p.Mend, "%s", p.What)
		}
		ledger, err := db.Ledger(ctx, "")
		if err != nil {
			return err
		}
		if e.Meta != nil {
			e.runsAgainstLedger(ctx, ledger)
			return e.symbols(ctx, db)
		}
		return nil
	})
	switch {
	case errors.Is(err, quant.Locked):
		e.partly = true
		e.add(Warning, e.FactPath, "run `quant doctor` again when nobody writes, or with a longer --wait", "not examined: %v", err)
	case err != nil && ctx.Err() == nil:
		e.failed(e.FactPath, err)
	}
}

// runsAgainstLedger holds every run that may have written facts against the
// ledger, and settles the dead runs whose facts were not checked.
func (e *examination) runsAgainstLedger(ctx context.Context, ledger []factstore.LedgerRow) {
	if e.Meta == nil {
		return
	}
	committed := map[string]map[string]bool{} // run, table
	for _, row := range ledger {
		if committed[row.RunID] == nil {
			committed[row.RunID] = map[string]bool{}
		}
		committed[row.RunID][row.Table] = true
	}
	runs, err := e.Meta.ListRuns(ctx, metastore.RunFilter{Brief: true})
	if err != nil {
		e.failed("runs", err)
		return
	}
	// Deleted ones count: lists only do not show them.
	deleted, err := e.Meta.ListRuns(ctx, metastore.RunFilter{Brief: true, Deleted: true})
	if err != nil {
		e.failed("runs", err)
		return
	}
	if len(deleted) > 0 {
		runs = append(runs, deleted...)
		slices.SortFunc(runs, func(a, b metastore.RunDetail) int { return strings.Compare(b.RunID, a.RunID) })
	}
	byID := make(map[string]metastore.RunDetail, len(runs))
	for _, run := range runs {
		byID[run.RunID] = run
	}
	for id, tables := range committed {
		run, known := byID[id]
		if !known { // one that says it only reads, or none
			var err error
			switch run, err = e.Meta.GetRun(ctx, id); {
			case errors.Is(err, quant.NotFound):
				e.add(Fault, "run "+id, "restore the Meta DB that knows it from a backup, or keep this as the only trace of it",
					"the ledger says that it changed %s, but no such run is recorded", names(tables))
				continue
			case err != nil:
				e.failed("run "+id, err)
				continue
			}
		}
		if run.Status == quant.Fail {
			e.add(Note, "run "+id, "", "%s ended as FAIL after it had committed %s", run.Kind, names(tables))
		}
	}
	if runs, err = e.ownRuns(ctx, runs); err != nil {
		e.failed("run_imports", err)
		return
	}
	written, err := e.outputs(ctx, quant.IOTable)
	if err != nil {
		e.failed("run_io", err)
		return
	}
	reset, err := e.lastReset(ctx, runs)
	if err != nil {
		e.failed("run_io", err)
		return
	}
	for _, run := range runs {
		if run.RunID < reset {
			continue // what it wrote, and its ledger rows, are in the backup
		}
		tables := committed[run.RunID]
		facts := run.Process.Facts
		switch {
		case run.Status == quant.Success:
			e.wrote(run, written[run.RunID], tables)
		case facts == quant.FactsNotChecked:
			e.settle(ctx, run, len(tables) > 0)
		case facts == quant.FactsNone && len(tables) > 0, facts == quant.FactsCommitted && len(tables) == 0:
			e.add(Fault, "run "+run.RunID, "the Fact DB or the Meta DB was replaced by another state of it; restore both from one backup",
				"its text says %q, the ledger says otherwise", registry.FactsClause(facts))
		}
	}
}

// ownRuns leaves out the runs that came from another lab: what they wrote is in
// that lab's Fact DB, and their texts stay as they are.
func (e *examination) ownRuns(ctx context.Context, runs []metastore.RunDetail) ([]metastore.RunDetail, error) {
	imports, err := e.Meta.Imports(ctx)
	if err != nil {
		return nil, err
	}
	imported := make(map[string]bool, len(imports))
	for _, i := range imports {
		imported[i.RunID] = true
	}
	return slices.DeleteFunc(runs, func(r metastore.RunDetail) bool { return imported[r.RunID] }), nil
}

// outputs returns what every run wrote of one kind, by run.
func (e *examination) outputs(ctx context.Context, kind string) (map[string][]quant.RunIO, error) {
	all, err := e.Meta.ListOutputs(ctx, kind)
	if err != nil {
		return nil, err
	}
	byRun := map[string][]quant.RunIO{}
	for _, io := range all {
		byRun[io.RunID] = append(byRun[io.RunID], io)
	}
	return byRun, nil
}

// lastReset returns the newest run that made the Fact DB anew, "" for none.
// runs are newest first.
func (e *examination) lastReset(ctx context.Context, runs []metastore.RunDetail) (string, error) {
	backups, err := e.outputs(ctx, quant.IOBackup)
	if err != nil {
		return "", err
	}
	for _, run := range runs {
		if run.Kind != "init-db" || run.Status == quant.Running {
			continue
		}
		for _, io := range backups[run.RunID] {
			// One that failed has done so only if it had moved the Fact DB.
			if run.Status == quant.Success || filepath.Base(io.Name) == place.FactDB {
				return run.RunID, nil
			}
		}
	}
	return "", nil
}

// wrote checks that a run that ended well has in the ledger what it says it
// wrote.
func (e *examination) wrote(run metastore.RunDetail, says []quant.RunIO, tables map[string]bool) {
	for _, io := range says {
		if io.Rows != nil && *io.Rows > 0 && !tables[io.Name] {
			e.add(Fault, "run "+run.RunID, "run it again, or restore the Fact DB from a backup",
				"%s ended as SUCCESS and says it changed %s, but the ledger does not have it", run.Kind, io.Name)
		}
	}
}

func (e *examination) settle(ctx context.Context, run metastore.RunDetail, committed bool) {
	facts := quant.FactsNone
	if committed {
		facts = quant.FactsCommitted
	}
	text, clause := registry.ReplaceFacts(string(run.ErrorText), run.Process.Facts, facts), registry.FactsClause(facts)
	if err := e.Meta.SettleFacts(ctx, run.RunID, facts, text); err != nil {
		e.add(Warning, "run "+run.RunID, quant.HintOf(err), "its facts were not checked: %s; its text could not be amended: %v", clause, err)
		return
	}
	e.add(Fixed, "run "+run.RunID, "", "its facts had not been checked: %s", clause)
}

func names(tables map[string]bool) string {
	var list []string
	for t := range tables {
		list = append(list, t)
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// symbols checks that every symbol with prices is in symbols.
func (e *examination) symbols(ctx context.Context, db *factstore.DB) error {
	priced, err := db.Symbols(ctx)
	if err != nil {
		return err
	}
	known, err := e.Meta.ListSymbols(ctx, metastore.SymbolFilter{})
	if err != nil {
		return err
	}
	have := make(map[string]bool, len(known))
	for _, s := range known {
		have[s.Symbol] = true
	}
	var missing []string
	for _, s := range priced {
		if !have[s] {
			missing = append(missing, s)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	some := strings.Join(missing[:min(5, len(missing))], ", ")
	if e.Fix {
		if _, err := e.Meta.EnsureSymbols(ctx, missing); err != nil {
			return err
		}
		e.add(Fixed, "symbols", "", "%d symbols with prices were missing and have been added: %s", len(missing), some)
		return nil
	}
	e.add(Warning, "symbols", "`quant doctor --fix` adds them", "%d symbols have prices but are not in symbols: %s", len(missing), some)
	return nil
}
