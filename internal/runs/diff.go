package runs

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"quant"
	"quant/internal/artifact"
	"quant/internal/metastore"
)

// Patch is config and code of two runs as unified diffs.
type Patch struct {
	A      string `json:"a"`
	B      string `json:"b"`
	Differ bool   `json:"differ"`
	Parts  []Part `json:"parts"`
}

// Part is one thing that the two runs have, or one of them.
type Part struct {
	Name    string     `json:"name"` // config, commit or code.diff
	Differs bool       `json:"differs"`
	Diff    string     `json:"diff"` // unified; empty if they are the same, or the note says why
	Note    quant.Text `json:"note"`
}

// Diff compares config and code of two runs line by line, as far as they are
// recorded. Errors: NotFound, Store.
func Diff(ctx context.Context, meta metastore.Store, contents artifact.Store, a, b string) (Patch, error) {
	d := Patch{A: a, B: b, Parts: []Part{}}
	var runs [2]metastore.RunDetail
	for i, id := range []string{a, b} {
		var err error
		if runs[i], err = meta.GetRun(ctx, id); err != nil {
			return d, err
		}
	}
	add := func(p Part) {
		d.Differ = d.Differ || p.Differs
		d.Parts = append(d.Parts, p)
	}
	add(unified("config", a, b, indented(runs[0].ConfigJSON), indented(runs[1].ConfigJSON)))

	var commits [2]string
	for i, r := range runs {
		if r.Process.GitCommit != "" {
			commits[i] = string(r.Process.GitCommit) + "\n"
		}
	}
	commit := unified("commit", a, b, commits[0], commits[1])
	if commit.Differs && commits[0] != "" && commits[1] != "" {
		commit.Note = quant.Text(fmt.Sprintf("git diff %.12s %.12s shows what was committed between them", commits[0], commits[1]))
	}
	add(commit)
	code, err := diffCode(ctx, meta, contents, runs)
	if err != nil {
		return d, err
	}
	add(code)
	return d, nil
}

// diffCode compares what of the code was not committed.
func diffCode(ctx context.Context, meta metastore.Store, contents artifact.Store, runs [2]metastore.RunDetail) (Part, error) {
	a, b := runs[0].RunID, runs[1].RunID
	found, err := meta.RecordsOf(ctx, []string{a, b})
	if err != nil {
		return Part{}, err
	}
	digests, sizes := map[string]string{}, map[string]int64{}
	for _, artifact := range found.Artifacts {
		if artifact.Name == quant.CodeDiff {
			digests[artifact.RunID], sizes[artifact.RunID] = artifact.Digest, artifact.Bytes
		}
	}
	same := Part{Name: quant.CodeDiff}
	if digests[a] == digests[b] {
		for _, r := range runs {
			if dirty := r.Process.GitDirty; dirty != nil && *dirty && digests[r.RunID] == "" {
				same.Note = quant.Text("of run " + quant.ShortID(r.RunID) + " the code had changes that were not recorded")
			}
		}
		return same, nil
	}
	differ := Part{Name: quant.CodeDiff, Differs: true}
	var texts [2]string
	for i, id := range []string{a, b} {
		switch {
		case digests[id] == "":
			continue
		case sizes[id] > maxText:
			differ.Note = quant.Text(fmt.Sprintf("they differ, and that of run %s is too long (%s) to be compared line by line; quant runs artifact %s %s writes it out",
				quant.ShortID(id), quant.Bytes(sizes[id]), quant.ShortID(id), quant.CodeDiff))
			return differ, nil
		}
		text, err := readText(ctx, contents, digests[id])
		if err != nil {
			differ.Note = quant.Text(fmt.Sprintf("they differ, and that of run %s cannot be read: %v", quant.ShortID(id), err))
			return differ, nil
		}
		texts[i] = text
	}
	return unified(quant.CodeDiff, a, b, texts[0], texts[1]), nil
}

// unified compares two texts by lines.
func unified(name, a, b, before, after string) Part {
	p := Part{Name: name, Differs: before != after}
	switch {
	case !p.Differs:
	case len(before) > maxText || len(after) > maxText:
		p.Note = quant.Text(fmt.Sprintf("they differ, and are too long (%s, %s) to be compared line by line", quant.Bytes(int64(len(before))), quant.Bytes(int64(len(after)))))
	default:
		var err error
		if p.Diff, err = udiff.ToUnified(a+"/"+name, b+"/"+name, before, udiff.Lines(before, after), udiff.DefaultContextLines); err != nil {
			p.Note = quant.Text("they differ; the comparison failed: " + err.Error())
		}
	}
	return p
}

// indented is a document as a text of lines, members in the order of their names.
func indented(doc quant.JSON) string {
	var v any
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	if len(doc) == 0 || dec.Decode(&v) != nil {
		return ""
	}
	var out strings.Builder
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if enc.Encode(v) != nil {
		return ""
	}
	return out.String()
}
