package doctor

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"quant/internal/lab"
	"quant/internal/lab/place"
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
