package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"quant"
	"quant/internal/factstore"
	"quant/internal/lab"
	"quant/internal/lab/place"
	"quant/internal/metastore"
)

const noNeed = "delete it once you need nothing in it any more"

// opened is what the opening of the lab mended, and what it could not save.
func (e *examination) opened() []Finding {
	old := e.Opening.MovedAside
	if old == "" {
		return []Finding{}
	}
	taken, missing := said(e.Opening.Salvaged)
	found := []Finding{{Fixed, e.MetaPath, fmt.Sprintf("it could not be used and is now at %s; %s", old, taken), ""}}
	if missing != "" {
		found = append(found, Finding{Warning, old, missing, restOf})
	}
	return found
}

const restOf = "bring the rest back from a backup with `quant restore`; while this file stands there, `quant gc` removes no artifact and no log"

// said tells what was taken over from a Meta DB that was moved aside, and what was
// not, "" for nothing. It claims no more than what was read.
func said(t lab.Taken) (taken, missing string) {
	var rows []string
	for _, table := range slices.Sorted(maps.Keys(t.Rows)) {
		rows = append(rows, fmt.Sprintf("%d %s", t.Rows[table], table))
	}
	taken = "taken over from it: " + strings.Join(rows, ", ")
	switch {
	case rows == nil && t.Whole():
		taken = "it held no row that was not here, 0 rows lost"
	case rows == nil:
		taken = "nothing was taken over from it"
	case t.Whole():
		taken += ", 0 rows lost"
	}
	if !t.Whole() {
		missing = "not all of it was taken over: " + t.Missing()
	}
	return taken, missing
}

// aside names the Meta DBs that were moved aside, and with Fix takes over what a
// remedy that was cut short did not.
func (e *examination) aside(ctx context.Context) {
	told := []string{}
	if old, err := filepath.Abs(e.Opening.MovedAside); err == nil {
		told = append(told, old)
	}
	if e.Fix && e.Registry != nil {
		taken, err := e.TakeUp(ctx)
		for _, a := range taken {
			what, missing := said(*a.Taken)
			e.add(Fixed, a.Path, "", "it was moved aside by a remedy that was cut short; %s", what)
			if missing != "" {
				e.add(Warning, a.Path, restOf, "%s", missing)
			}
			if path, err := filepath.Abs(a.Path); err == nil {
				told = append(told, path)
			}
		}
		if err != nil && ctx.Err() == nil {
			e.failed(e.MetaPath+place.Broken+"*", err)
		}
	}
	all, err := e.Asides()
	if err != nil {
		e.failed(e.MetaPath, err)
		return
	}
	for _, a := range all {
		abs, err := filepath.Abs(a.Path)
		here := err == nil && slices.Contains(told, abs) // what is missing is said already
		switch {
		case a.Taken == nil:
			e.unsalvaged = a.Path
			e.add(Warning, a.Path, "`quant doctor --fix` takes over what can be read; if you need nothing in it, delete it",
				"a Meta DB that was moved aside, and nothing says that anything was taken over from it: its runs may be missing here")
		case !a.Taken.Whole() && here:
			e.unsalvaged = a.Path
			e.add(Note, a.Path, noNeed, "a database that was moved aside")
		case !a.Taken.Whole():
			e.unsalvaged = a.Path
			e.add(Note, a.Path, noNeed+"; until then `quant gc` removes no artifact and no log", "a database that was moved aside; not all of it was taken over: %s", a.Taken.Missing())
		default:
			e.add(Note, a.Path, noNeed, "a database that was moved aside")
		}
	}
}

// unfinishedReset finds the Fact DB that a reset had moved away when it was killed,
// before it had reset anything: no run says that it is a backup. With Fix it comes
// back, if no other has been made since.
func (e *examination) unfinishedReset(ctx context.Context) {
	if e.Meta == nil {
		return
	}
	options := e.store.Options(ctx)
	folder := place.BackupDir(place.Real(options.Path))
	moved, _ := filepath.Glob(filepath.Join(place.Literal(folder), "*", place.FactDB))
	if moved == nil {
		return
	}
	running, err := e.Meta.ListRuns(ctx, metastore.RunFilter{All: true, Kind: "init-db", Status: quant.Running, Except: e.store.Self, Brief: true})
	if err != nil || len(running) > 0 {
		return // it may be under way; e.meta says what is wrong
	}
	backups, err := e.Meta.ListOutputs(ctx, quant.IOBackup)
	if err != nil {
		e.failed("run_io", err)
		return
	}
	named := map[string]bool{}
	for _, io := range backups {
		named[filepath.Join(filepath.Base(filepath.Dir(io.Name)), filepath.Base(io.Name))] = true
	}
	for _, path := range moved {
		folder := filepath.Base(filepath.Dir(path))
		if named[filepath.Join(folder, filepath.Base(path))] || !e.diedIn(ctx, folder) {
			continue
		}
		_, err := os.Lstat(options.Path)
		missing := errors.Is(err, fs.ErrNotExist)
		if e.Fix && missing {
			if err := factstore.MoveBack(ctx, options, path); err != nil {
				e.failed(path, err)
				continue
			}
			_ = os.Remove(filepath.Dir(path)) // if nothing else is in it
			e.add(Fixed, e.FactPath, "", "a reset that was cut short had moved it to %s; it is back", path)
			continue
		}
		if missing {
			e.add(Fault, path, "`quant doctor --fix` brings it back", "the Fact DB: a reset that was cut short had moved it there")
			continue
		}
		e.add(Warning, path, "keep it as a backup, or delete it once you need nothing in it any more", "a Fact DB that a reset had moved there when it was cut short; another has been made since")
	}
}

// diedIn tells whether the reset that made this folder of backups, and ended its
// name with the short form of its run, is recorded as one that failed.
func (e *examination) diedIn(ctx context.Context, folder string) bool {
	ids, err := e.Meta.ResolveRun(ctx, folder[strings.LastIndexByte(folder, '-')+1:])
	if err != nil {
		return false
	}
	return slices.ContainsFunc(ids, func(id string) bool {
		run, err := e.Meta.GetRun(ctx, id)
		return err == nil && run.Kind == "init-db" && run.Status == quant.Fail
	})
}
