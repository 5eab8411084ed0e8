// Package runs looks at what is recorded of runs: one run whole, several side by
// side, two line by line, all of a kind in sums, those that a query finds; and it deletes
// runs, restores and purges them. It shows nothing; a face makes tables or pages of
// its results.
package runs

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"strings"

	"quant"
	"quant/internal/artifact"
	"quant/internal/metastore"
)

// Row is a run as lists have it.
type Row struct {
	RunID       string       `json:"run_id"`
	Kind        string       `json:"kind"`
	Status      quant.Status `json:"status"`
	StartedAt   quant.Time   `json:"started_at"`
	EndedAt     quant.Time   `json:"ended_at"`
	DurationUS  *int64       `json:"duration_us"`
	ExitCode    *int64       `json:"exit_code"`
	Changes     bool         `json:"changes"`
	ParentRunID quant.Text   `json:"parent_run_id"`
	ErrorText   quant.Text   `json:"error_text"`
}

// NewRow is the row of a run.
func NewRow(r metastore.RunDetail) Row {
	return Row{
		RunID: r.RunID, Kind: r.Kind, Status: r.Status, StartedAt: r.StartedAt, EndedAt: r.EndedAt,
		DurationUS: r.Process.DurationUS, ExitCode: r.Process.ExitCode, Changes: r.Process.Changes,
		ParentRunID: r.Process.ParentRunID, ErrorText: r.ErrorText,
	}
}

// rows is a list that is never null in JSON.
func rows(list []metastore.RunDetail) []Row {
	out := []Row{}
	for _, r := range list {
		out = append(out, NewRow(r))
	}
	return out
}

// List returns the runs that f finds, newest first, at most limit of them (0: all),
// and whether there are more.
func List(ctx context.Context, meta metastore.Store, f metastore.RunFilter, limit int) (list []Row, more bool, err error) {
	if f.Limit = 0; limit > 0 {
		f.Limit = limit + 1
	}
	found, err := meta.ListRuns(ctx, f)
	if err != nil {
		return nil, false, err
	}
	if more = limit > 0 && len(found) > limit; more {
		found = found[:limit]
	}
	return rows(found), more, nil
}

// maxText is how long a text is at most that is compared line by line.
const maxText = 1 << 20

// readText is a content of at most maxText bytes as a text.
func readText(ctx context.Context, from artifact.Store, digest string) (string, error) {
	f, err := from.Open(ctx, digest)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err != nil {
		return "", quant.Errorf(quant.Store, "read an artifact: %w", err)
	}
	if len(text) > maxText {
		return "", quant.Errorf(quant.Refused, "the content %s is longer than %d bytes", digest, maxText)
	}
	return strings.ToValidUTF8(string(text), "\uFFFD"), nil
}

// Entry is one value of a JSON document, by the path that leads to it.
type Entry struct{ Name, Value string }

// Flatten lists the values of a document by their paths, in order; an array is
// one value, and what is no object has no name. What is no JSON has no values.
func Flatten(doc quant.JSON) []Entry {
	var value any
	dec := json.NewDecoder(strings.NewReader(string(doc)))
	dec.UseNumber()
	if dec.Decode(&value) != nil || value == nil {
		return nil
	}
	var out []Entry
	var walk func(path string, v any)
	walk = func(path string, v any) {
		object, is := v.(map[string]any)
		if !is || len(object) == 0 && path != "" {
			text, plain := v.(string)
			if !plain {
				b, err := json.Marshal(v)
				if err != nil {
					return
				}
				text = string(b)
			}
			out = append(out, Entry{path, text})
			return
		}
		keys := make([]string, 0, len(object))
		for key := range object {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		for _, key := range keys {
			name := key
			if path != "" {
				name = path + "." + key
			}
			walk(name, object[key])
		}
	}
	walk("", value)
	return out
}
