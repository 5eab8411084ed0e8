package registry

import (
	"context"
	"strings"

	"quant"
	"quant/internal/metastore"
)

// The run references that are no part of an id.
const (
	Last     = "last"  // the newest run that `runs list` would show
	LastKind = "last:" // and a kind: the newest run of that kind, also one that only reads
	Named    = "@"     // and a name: the newest run of that name
)

// clientDigits is the length of the id by which clients of MLflow know a run.
const clientDigits = 32

// hintReference says what names a run.
const hintReference = "name a run by its id, a unique beginning or ending of it (at least 4 digits), `last`, `last:KIND` or `@NAME`"

// Resolve finds the run that ref names: a whole id, a unique prefix, a unique
// suffix of at least 4 digits, the 32 digits by which clients of MLflow know it
// (where they resumed it: its newest continuation), "last": the newest run that may
// change something, other than self, "last:KIND" or "@NAME". Deleted runs are named
// by their ids only. Errors: NotFound, or Invalid for a reference that is no id or
// that fits more than one run (the hint lists them).
func Resolve(ctx context.Context, store metastore.Store, ref, self string) (string, error) {
	if kind, found := strings.CutPrefix(ref, LastKind); found {
		runs, err := store.ListRuns(ctx, metastore.RunFilter{All: true, Kind: kind, Except: self, Brief: true, Limit: 1})
		if err != nil {
			return "", err
		}
		if kind == "" || len(runs) == 0 {
			return "", quant.Errorf(quant.NotFound, "there is no last run of kind %q", clipRef(kind)).
				WithHint("a kind is the words of a command, joined by dots: last:backtest, last:symbols.add")
		}
		return runs[0].RunID, nil
	}
	if name, found := strings.CutPrefix(ref, Named); found {
		ids, err := store.TaggedRuns(ctx, quant.NameTag, name, 2)
		if err != nil {
			return "", err
		}
		for _, id := range ids {
			if id != self {
				return id, nil
			}
		}
		return "", quant.Errorf(quant.NotFound, "no run is named %q", clipRef(name)).
			WithHint("`quant log tag --run RUN name=%s` names one", clipRef(name))
	}
	if ref == Last {
		runs, err := store.ListRuns(ctx, metastore.RunFilter{Except: self, Limit: 1})
		if err != nil {
			return "", err
		}
		if len(runs) == 0 {
			return "", quant.Errorf(quant.NotFound, "there is no last run: nothing that changes anything has run yet").
				WithHint("`quant runs list --all` also shows the runs that only read")
		}
		return runs[0].RunID, nil
	}
	id, err := runReference(ref)
	if err != nil {
		return "", err
	}
	if len(id) == clientDigits && !strings.Contains(id, "-") {
		// What a client of MLflow printed: of a resumed run, the newest under this id.
		known, err := store.ClientRuns(ctx, []string{id}, true)
		if err != nil {
			return "", err
		}
		if len(known) == 1 {
			return known[0].RunID, nil
		}
		id = strings.Join([]string{id[:8], id[8:12], id[12:16], id[16:20], id[20:]}, "-")
	}
	found, err := store.ResolveRun(ctx, id)
	if err != nil {
		return "", err
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", quant.Errorf(quant.NotFound, "no run %q", ref).
			WithHint("%s; `quant runs list --all` shows them", hintReference)
	}
	more := ""
	if len(found) > 2 {
		found, more = found[:2], ", ..."
	}
	return "", quant.Errorf(quant.Invalid, "run %q is not unique", ref).
		WithHint("give more digits: %s%s", strings.Join(found, ", "), more)
}

// runReference checks that ref can be part of a run id, and lower-cases it.
func runReference(ref string) (string, error) {
	id := strings.ToLower(strings.TrimSpace(ref))
	if id == "" || len(id) > 36 || strings.Trim(id, "0123456789abcdef-") != "" {
		return "", quant.Errorf(quant.Invalid, "%q cannot be a run", clipRef(ref)).
			WithHint("%s", hintReference)
	}
	return id, nil
}

func clipRef(s string) string {
	if len(s) > 60 {
		return strings.ToValidUTF8(s[:60], "") + "..."
	}
	return s
}
