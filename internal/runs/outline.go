package runs

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"quant"
	"quant/internal/metastore"
	"quant/internal/session"
)

// Outline is what is known about a run, with the first of each of what it recorded:
// what a page shows at once, whatever the run has.
type Outline struct {
	metastore.RunDetail
	metastore.Marks
	Counts    metastore.RecordCounts
	Name      string
	Starred   bool
	Params    []quant.Param
	Tags      []quant.Tag
	Metrics   []quant.Metric
	Artifacts []quant.Artifact
	Notes     []quant.Note // the last
	Program   *quant.Program
	Inputs    []quant.RunIO // the first of Counts.Inputs
	Outputs   []quant.RunIO
	Children  []Row // the newest
	More      bool  // there are more children
	Parent    *Row
	Previous  *Row // the run of its kind before it
	// Again is the command line that runs it again, as a shell reads it.
	Again string
}

// OutlineOf reads the outline of a run, at most most of each list. The Fact DB is not
// opened. Errors: NotFound, Store.
func OutlineOf(ctx context.Context, s *session.Session, id string, most int) (Outline, error) {
	meta, err := s.MetaDB()
	if err != nil {
		return Outline{}, err
	}
	o := Outline{}
	if o.RunDetail, err = meta.GetRun(ctx, id); err != nil {
		return o, err
	}
	for _, read := range []func() error{
		func() error { o.Marks, err = meta.MarksOf(ctx, id); return err },
		func() error { o.Counts, err = meta.CountRecords(ctx, id); return err },
		func() error { o.Params, err = meta.ParamsAfter(ctx, id, "", most); return err },
		func() error { o.Tags, err = meta.TagsAfter(ctx, id, "", most); return err },
		func() error { o.Metrics, err = meta.MetricsAfter(ctx, id, "", most); return err },
		func() error { o.Artifacts, err = meta.ArtifactsAfter(ctx, id, "", most); return err },
		func() error { o.Notes, err = meta.LastNotes(ctx, id, most); return err },
		func() error { return o.readIO(ctx, meta, most) },
		func() error { return o.readFamily(ctx, meta, most) },
	} {
		if err := read(); err != nil {
			return o, err
		}
	}
	program, err := meta.GetProgram(ctx, id)
	switch {
	case err == nil:
		o.Program = &program
	case !errors.Is(err, quant.NotFound):
		return o, err
	}
	names, err := meta.NamesOf(ctx, []string{id})
	if err != nil {
		return o, err
	}
	o.Name = names[id]
	o.Again = again(o.RunDetail)
	switch _, err := meta.TagOf(ctx, id, StarTag); {
	case err == nil:
		o.Starred = true
	case !errors.Is(err, quant.NotFound):
		return o, err
	}
	return o, nil
}

func (o *Outline) readIO(ctx context.Context, meta metastore.Store, most int) error {
	all, err := meta.RunIO(ctx, o.RunID)
	if err != nil {
		return err
	}
	for _, io := range all {
		list := &o.Outputs
		if io.Direction == quant.In {
			list = &o.Inputs
		}
		if len(*list) < most {
			*list = append(*list, io)
		}
	}
	return nil
}

// readFamily reads the run inside which it ran, those that ran inside it, and the one
// of its kind before it.
func (o *Outline) readFamily(ctx context.Context, meta metastore.Store, most int) error {
	if parent := string(o.Process.ParentRunID); parent != "" {
		run, err := meta.GetRun(ctx, parent)
		switch {
		case err == nil:
			row := NewRow(run)
			o.Parent = &row
		case !errors.Is(err, quant.NotFound):
			return err
		}
	}
	children, err := meta.ListRuns(ctx, metastore.RunFilter{All: true, Parent: o.RunID, Brief: true, Limit: most + 1})
	if err != nil {
		return err
	}
	if o.More = len(children) > most; o.More {
		children = children[:most]
	}
	o.Children = rows(children)
	before := Find{Search: metastore.Search{
		Where: metastore.Compare{Field: metastore.Field{Name: "kind"}, Op: metastore.Eq, Value: o.Kind},
		All:   true, After: o.RunID, Limit: 1, Columns: []metastore.Field{{Name: "run_id"}},
	}, Limited: true}
	return meta.SearchRuns(ctx, before.Search, func(cells []any) error {
		id, _ := cells[0].(string)
		run, err := meta.GetRun(ctx, id)
		if err != nil {
			return err
		}
		row := NewRow(run)
		o.Previous = &row
		return nil
	})
}

// again is the command line of a run as a shell reads it; "" where none is recorded.
func again(r metastore.RunDetail) string {
	var argv []string
	if json.Unmarshal(r.Process.Argv, &argv) != nil || len(argv) == 0 {
		return ""
	}
	return ShellLine(argv)
}

// ShellLine is a command line as a POSIX shell reads it.
func ShellLine(argv []string) string {
	words := make([]string, len(argv))
	for i, word := range argv {
		words[i] = shellWord(word)
	}
	return strings.Join(words, " ")
}

// shellWord is a word as a POSIX shell reads it.
func shellWord(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./=:,@%+", r)
	}
	if word != "" && !slices.ContainsFunc([]rune(word), func(r rune) bool { return !plain(r) }) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
