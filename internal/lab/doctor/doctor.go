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
	// FactSetting is the setting in which runs record where their Fact DB is.
	FactSetting string
	// DataSetting is the setting in which they record where their data folder is.
	DataSetting string
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
	e := &examination{Lab: f.Lab, Options: o, store: f, contents: map[string]bool{}}
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
	// elsewhere counts the runs whose facts are in another Fact DB.
	elsewhere int
	// contents are the runs whose artifacts are in another data folder.
	contents map[string]bool
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
		e.failed(e.ShownMeta(), e.MetaErr)
		return
	}
	problems, err := e.Meta.Check(ctx)
	if err != nil {
		e.failed(e.ShownMeta(), err)
	}
	for _, p := range problems {
		e.add(Fault, p.Object, p.Mend, "%s", p.What)
	}
	e.running(ctx)
}

// facts examines the Fact DB, and the runs against its ledger.
func (e *examination) facts(ctx context.Context) {
	e.unfinishedReset(ctx)
	if _, err := os.Lstat(e.FactPath); e.FactsURL == "" && errors.Is(err, fs.ErrNotExist) {
		e.add(Note, e.FactPath, "`quant init-db` or the first command that writes facts makes it", "there is no Fact DB yet")
		if e.Meta != nil {
			_ = e.runsAgainstLedger(ctx, func(context.Context, func(string, []string) error) error { return nil })
		}
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
		if e.Meta == nil {
			return nil
		}
		if err := e.runsAgainstLedger(ctx, db.EachChange); err != nil {
			return err
		}
		return e.symbols(ctx, db)
	})
	switch {
	case errors.Is(err, factstore.ErrMissing) && e.FactsURL != "":
		e.add(Note, e.ShownFacts(), "`quant init-db` or the first command that writes facts makes it", "there is no lake yet")
	case errors.Is(err, quant.Locked):
		e.partly = true
		e.add(Warning, e.ShownFacts(), "run `quant doctor` again when nobody writes, or with a longer --wait", "not examined: %v", err)
	case err != nil && ctx.Err() == nil:
		e.failed(e.ShownFacts(), err)
	}
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
