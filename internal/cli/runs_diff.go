package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/spf13/cobra"

	"quant"
	"quant/internal/exec"
	"quant/internal/metastore"
	"quant/internal/output"
)

func runsDiff(env *Env) Command {
	var exitCode bool
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Show config and code of two runs as a unified diff",
		Long: `Show in what two runs differ as a unified diff, which patch and its like read:
the config as recorded, its members in order, one a line; and the code, as far as
the runs recorded it: the commit, and the changes that were not committed
(artifact code.diff). What two commits have between them is git's to show; its
command line is in the diff's notes.

Like git diff it ends with 0 whether or not they differ; with --exit-code it ends
with 1 where they do.`,
		Args: wantArgs(2, 2, "two runs"),
		RunE: func(cmd *cobra.Command, args []string) error {
			meta, err := env.MetaDB()
			if err != nil {
				return err
			}
			var ids []string
			for _, ref := range args { // a run may be compared with itself
				id, err := env.resolveRun(cmd.Context(), meta, ref)
				if err != nil {
					return err
				}
				ids = append(ids, id)
			}
			d, err := env.diffRuns(cmd.Context(), meta, ids[0], ids[1])
			if err != nil {
				return err
			}
			if err := env.Print(d); err != nil {
				return err
			}
			if exitCode && d.Differ {
				return quant.Errorf(quant.Failed, "runs %s and %s differ", quant.ShortID(ids[0]), quant.ShortID(ids[1])).
					WithHint("without --exit-code this is no error")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "end with 1 if they differ")
	return Command{Command: cmd}
}

// diffedBytes is how long a text is at most that is compared line by line.
const diffedBytes = 1 << 20

// diffReport is the result of runs diff.
type diffReport struct {
	A      string     `json:"a"`
	B      string     `json:"b"`
	Differ bool       `json:"differ"`
	Parts  []diffPart `json:"parts"`
}

// diffPart is one thing that the two runs have, or one of them.
type diffPart struct {
	Name    string     `json:"name"` // config, commit or code.diff
	Differs bool       `json:"differs"`
	Diff    string     `json:"diff"` // unified; empty if they are the same, or the note says why
	Note    quant.Text `json:"note"`
}

func (d diffReport) CSVRows() any { return d.Parts }

func (d diffReport) Sections() []output.Section {
	var lines []string
	for _, p := range d.Parts {
		for line := range strings.Lines(p.Diff) {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
		if p.Note != "" {
			lines = append(lines, "# "+p.Name+": "+string(p.Note))
		}
	}
	if lines == nil {
		return []output.Section{{Lines: []string{"# config and code, as recorded, are the same"}}}
	}
	return []output.Section{{Lines: lines, Diff: true}}
}

func (e *Env) diffRuns(ctx context.Context, meta metastore.Store, a, b string) (diffReport, error) {
	d := diffReport{A: a, B: b, Parts: []diffPart{}}
	var runs [2]metastore.RunDetail
	for i, id := range []string{a, b} {
		var err error
		if runs[i], err = meta.GetRun(ctx, id); err != nil {
			return d, err
		}
	}
	add := func(p diffPart) {
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
	code, err := e.diffCode(ctx, meta, runs)
	if err != nil {
		return d, err
	}
	add(code)
	return d, nil
}

// diffCode compares what of the code was not committed.
func (e *Env) diffCode(ctx context.Context, meta metastore.Store, runs [2]metastore.RunDetail) (diffPart, error) {
	a, b := runs[0].RunID, runs[1].RunID
	found, err := meta.RecordsOf(ctx, []string{a, b})
	if err != nil {
		return diffPart{}, err
	}
	digests, sizes := map[string]string{}, map[string]int64{}
	for _, artifact := range found.Artifacts {
		if artifact.Name == exec.CodeDiff {
			digests[artifact.RunID], sizes[artifact.RunID] = artifact.Digest, artifact.Bytes
		}
	}
	same := diffPart{Name: exec.CodeDiff}
	if digests[a] == digests[b] {
		for _, r := range runs {
			if dirty := r.Process.GitDirty; dirty != nil && *dirty && digests[r.RunID] == "" {
				same.Note = quant.Text("of run " + quant.ShortID(r.RunID) + " the code had changes that were not recorded")
			}
		}
		return same, nil
	}
	differ := diffPart{Name: exec.CodeDiff, Differs: true}
	var texts [2]string
	for i, id := range []string{a, b} {
		switch {
		case digests[id] == "":
			continue
		case sizes[id] > diffedBytes:
			differ.Note = quant.Text(fmt.Sprintf("they differ, and that of run %s is too long (%s) to be compared line by line; quant runs artifact %s %s writes it out",
				quant.ShortID(id), byteSize(sizes[id]), quant.ShortID(id), exec.CodeDiff))
			return differ, nil
		}
		text, err := e.readArtifact(digests[id], diffedBytes)
		if err != nil {
			differ.Note = quant.Text(fmt.Sprintf("they differ, and that of run %s cannot be read: %v", quant.ShortID(id), err))
			return differ, nil
		}
		texts[i] = text
	}
	return unified(exec.CodeDiff, a, b, texts[0], texts[1]), nil
}

// readArtifact is a content of at most limit bytes as a text.
func (e *Env) readArtifact(digest string, limit int64) (string, error) {
	f, err := e.Artifacts().Open(digest)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return "", quant.Errorf(quant.Store, "read an artifact: %w", err)
	}
	if int64(len(text)) > limit {
		return "", quant.Errorf(quant.Refused, "the content %s is longer than %d bytes", digest, limit)
	}
	return strings.ToValidUTF8(string(text), "\uFFFD"), nil
}

// unified compares two texts by lines.
func unified(name, a, b, before, after string) diffPart {
	p := diffPart{Name: name, Differs: before != after}
	switch {
	case !p.Differs:
	case len(before) > diffedBytes || len(after) > diffedBytes:
		p.Note = quant.Text(fmt.Sprintf("they differ, and are too long (%s, %s) to be compared line by line", byteSize(int64(len(before))), byteSize(int64(len(after)))))
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
