package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/config"
	"quant/internal/factstore"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/output"
	"quant/internal/pipeline"
)

func reproCommand(env *Env) Command {
	return Command{Command: &cobra.Command{
		Use:   "repro RUN",
		Short: "Run a run's command again, elsewhere, and compare what comes out",
		Long: `Run the recorded command of a run again, in a copy of the lab that is deleted
afterwards, and compare the digests of what it reads and writes with those on
record. Prices are those that the run read, whatever was ingested since; other
tables as they stand now. Runs of features, labels, train, score, recommend,
backtest and pipeline.run that succeeded can be reproduced. The lab itself is not
changed. It needs room for a copy of both databases in DATA-DIR/tmp.

Exit status: 0 everything is the same; 6 something differs, or the run cannot be
run again (a masked argument, a source file that was changed or is gone).`,
		Example: `  quant repro last
  quant repro 1a2b3c4d --output json`,
		Args: wantArgs(1, 1, "one run"),
		RunE: func(cmd *cobra.Command, args []string) error { return env.repro(cmd.Context(), args[0]) },
	}}
}

// reproReport is the result of repro.
type reproReport struct {
	RunID       string                `json:"run_id"`
	Kind        string                `json:"kind"`
	Same        bool                  `json:"same"`
	Program     programPair           `json:"program"`
	Comparisons []pipeline.Comparison `json:"comparisons"`
}

// programPair is the program that made a result, and the present one.
type programPair struct {
	Recorded string `json:"recorded"`
	Now      string `json:"now"`
	Same     bool   `json:"same"`
}

func (r reproReport) CSVRows() any { return r.Comparisons }

func (r reproReport) Sections() []output.Section {
	type row struct {
		Stage    string `json:"stage"`
		Object   string `json:"object"`
		Recorded string `json:"recorded"`
		Now      string `json:"now"`
		Same     string `json:"same"`
	}
	rows := []row{}
	for _, c := range r.Comparisons {
		line := row{Stage: c.Stage, Object: string(c.Direction) + " " + c.Object, Recorded: short(string(c.Recorded)), Now: "missing", Same: "no"}
		if c.Now != "" {
			line.Now = short(string(c.Now))
		}
		if c.Same {
			line.Same = "yes"
		}
		rows = append(rows, line)
	}
	verdict := "reproduced: every digest is the same"
	if !r.Same {
		verdict = "not reproduced"
	}
	return []output.Section{{Rows: rows}, {Lines: []string{fmt.Sprintf("%s %s: %s", r.Kind, quant.ShortID(r.RunID), verdict)}}}
}

// recordedRun is a run with what it read and wrote.
type recordedRun struct {
	Kind    string
	Inputs  []quant.RunIO
	Outputs []quant.RunIO
}

func (e *Env) repro(ctx context.Context, ref string) error {
	meta, err := e.MetaDB()
	if err != nil {
		return err
	}
	id, err := e.Resolve(ctx, ref)
	if err != nil {
		return err
	}
	run, err := meta.GetRun(ctx, id)
	if err != nil {
		return err
	}
	args, err := e.replayOf(run)
	if err != nil {
		return err
	}
	if e.Exec == nil {
		return quant.Errorf(quant.Store, "nothing can be run again while runs cannot be recorded").WithHint("run quant doctor")
	}
	recorded, err := recordedRuns(ctx, meta, run)
	if err != nil {
		return err
	}
	program := strings.TrimSpace(string(run.Process.BinaryVersion) + " " + string(run.Process.BinaryCommit))
	now := strings.TrimSpace(e.Build.Version + " " + e.Build.Commit)
	report := reproReport{RunID: id, Kind: run.Kind, Same: true, Program: programPair{program, now, program == now}, Comparisons: []pipeline.Comparison{}}
	if !report.Program.Same {
		e.Warn("run %s was made by quant %s, and this is %s", quant.ShortID(id), program, now)
	}
	e.record(quant.RunIO{Direction: quant.In, Kind: "run", Name: id})

	// A source that is not what it was explains every difference that follows.
	changed, err := changedFiles(recorded, e.Settings.Value(config.DataDir), string(run.Process.WorkDir))
	if err != nil {
		return err
	}
	if len(changed) > 0 {
		report.Same, report.Comparisons = false, changed
		return e.verdict(report)
	}
	repeated, err := e.replay(ctx, run, args)
	if err != nil {
		return err
	}
	outputs := false
	for _, old := range recorded {
		at := slices.IndexFunc(repeated, func(r recordedRun) bool { return r.Kind == old.Kind })
		again := recordedRun{}
		switch {
		case at >= 0:
			again = repeated[at]
			repeated = slices.Delete(repeated, at, at+1)
		case old.Kind == string(pipeline.StageIngest):
			e.Notice("the provider is not asked again: the prices that it gave are taken as they were stored")
			continue
		}
		list, some := pipeline.Compare(old.Kind, slices.Concat(old.Inputs, old.Outputs), slices.Concat(again.Inputs, again.Outputs))
		outputs = outputs || some
		report.Comparisons = append(report.Comparisons, list...)
	}
	if !outputs {
		return quant.Errorf(quant.Refused, "run %s recorded no digest of what it wrote: there is nothing to compare", quant.ShortID(id))
	}
	for _, c := range report.Comparisons {
		report.Same = report.Same && c.Same
	}
	return e.verdict(report)
}

func (e *Env) verdict(r reproReport) error {
	if err := e.Print(r); err != nil || r.Same {
		return err
	}
	var differ []string
	for _, c := range r.Comparisons {
		if !c.Same {
			// With its colon, targets:S@1.0.0 would be taken for a user and a password.
			differ = append(differ, fmt.Sprintf("%s (%s of %s)", strings.Replace(c.Object, ":", " ", 1), map[quant.Direction]string{quant.In: "input", quant.Out: "output"}[c.Direction], c.Stage))
		}
	}
	return quant.Errorf(quant.Refused, "run %s is not reproduced; other than on record: %s", quant.ShortID(r.RunID), someOf(differ, 3)).
		WithHint("`quant lineage %s` shows what it came from", quant.ShortID(r.RunID))
}

// replayOf is the command line of the repetition.
func (e *Env) replayOf(run metastore.RunDetail) ([]string, error) {
	args, err := pipeline.Replay(run)
	if err != nil || run.Kind != "pipeline.run" {
		return args, err
	}
	// The plan, not the command line: that may only say --resume.
	c := &chain{Env: e}
	doc, err := os.ReadFile(c.PlanFile(run.RunID))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, quant.Errorf(quant.NotFound, "the plan of run %s is gone", quant.ShortID(run.RunID)).WithHint("reproduce the runs of its stages one by one")
	} else if err != nil {
		return nil, quant.Errorf(quant.Store, "read the plan of run %s: %w", quant.ShortID(run.RunID), err)
	}
	plan, err := pipeline.ParsePlan(doc)
	if err != nil {
		return nil, err
	}
	if !run.Process.Changes {
		return nil, quant.Errorf(quant.Refused, "run %s was a dry run: it has no result", quant.ShortID(run.RunID))
	}
	return plan.Arguments.Again(), nil
}

// recordedRuns are the run itself and, of a pipeline, the runs of its stages,
// those included whose results it found standing.
func recordedRuns(ctx context.Context, meta metastore.Store, run metastore.RunDetail) ([]recordedRun, error) {
	read := func(id, kind string) (recordedRun, error) {
		r := recordedRun{Kind: kind}
		all, err := meta.RunIO(ctx, id)
		for _, io := range all {
			if io.Direction == quant.In {
				r.Inputs = append(r.Inputs, io)
			} else {
				r.Outputs = append(r.Outputs, io)
			}
		}
		return r, err
	}
	own, err := read(run.RunID, run.Kind)
	if err != nil || run.Kind != "pipeline.run" {
		return []recordedRun{own}, err
	}
	list := []recordedRun{own}
	children, err := meta.ListRuns(ctx, metastore.RunFilter{Parent: run.RunID, Status: quant.Success, Brief: true})
	if err != nil {
		return nil, err
	}
	for _, io := range own.Inputs {
		if io.Kind != "run" {
			continue
		}
		standing, err := meta.GetRun(ctx, io.Name)
		if errors.Is(err, quant.NotFound) || err == nil && standing.Kind == "pipeline.run" {
			continue
		} else if err != nil {
			return nil, err
		}
		children = append(children, standing)
	}
	for _, stage := range pipeline.Stages() {
		for _, c := range children {
			if c.Kind != string(stage) {
				continue
			}
			r, err := read(c.RunID, c.Kind)
			if err != nil {
				return nil, err
			}
			list = append(list, r)
		}
	}
	return list, nil
}

// changedFiles are the source files that are not what they were. Models are
// named from the data folder on, other files as they were given.
func changedFiles(recorded []recordedRun, dataDir, workDir string) ([]pipeline.Comparison, error) {
	here, err := os.Getwd()
	if err != nil {
		return nil, quant.Errorf(quant.Failed, "find the working directory: %w", err)
	}
	var changed []pipeline.Comparison
	for _, r := range recorded {
		for _, io := range r.Inputs {
			if io.Kind != "file" || io.Digest == "" {
				continue
			}
			if digest, err := digestOfFile(filepath.Join(dataDir, io.Name)); err == nil && digest == string(io.Digest) {
				continue
			}
			if !filepath.IsAbs(io.Name) && workDir != "" && workDir != here {
				return nil, quant.Errorf(quant.Usage, "the run read %s, and was made in another folder", io.Name).WithHint("cd %s, and give --data-dir", workDir)
			}
			digest, err := digestOfFile(io.Name)
			if err != nil && !errors.Is(err, quant.NotFound) {
				return nil, err
			}
			if digest != string(io.Digest) {
				changed = append(changed, pipeline.Comparison{Stage: r.Kind, Direction: quant.In, Object: "file " + io.Name, Recorded: io.Digest, Now: quant.Text(digest)})
			}
		}
	}
	return changed, nil
}

// replay runs a command line in a copy of the lab, and returns what that run
// and the runs inside it recorded.
func (e *Env) replay(ctx context.Context, run metastore.RunDetail, args []string) (_ []recordedRun, err error) {
	data := e.Settings.Value(config.DataDir)
	folder := e.ScratchDir()
	failed := func(err error) error {
		return quant.Errorf(quant.Store, "copy the lab to %s: %w", folder, err).WithHint("make room there, or check that you may write")
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, failed(err)
	}
	scratch, err := os.MkdirTemp(folder, place.Repetition+"*")
	if err != nil {
		return nil, failed(err)
	}
	defer func() {
		if gone := os.RemoveAll(scratch); gone != nil {
			e.Warn("the copy of the lab in %s could not be deleted: %v", scratch, gone)
		}
		_ = os.Remove(folder) // if nothing else is in it
	}()
	if err := e.copyLab(ctx, scratch, run, args); err != nil {
		return nil, err
	}
	lab := []string{
		"--data-dir", scratch, "--sqlite", place.In(scratch).MetaPath, "--duckdb", place.In(scratch).FactPath,
		"--output", "json", "--quiet", "--wait", e.tree.Globals.Wait.String(),
	}
	var out bytes.Buffer
	id, err := e.Exec(ctx, append(slices.Clone(lab), args...), &out)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, quant.Errorf(quant.Refused, "run %s is not reproduced: its command failed this time: %s", quant.ShortID(run.RunID), strings.Join(e.Mask.Args(args), " ")).
			WithHint("what it said stands above")
	}
	queue, list := []string{id}, []recordedRun(nil)
	for len(queue) > 0 {
		out.Reset()
		if _, err := e.Exec(ctx, append(slices.Clone(lab), "runs", "show", queue[0]), &out); err != nil {
			return nil, quant.Errorf(quant.CodeOf(err), "read what the repetition recorded: %w", err)
		}
		var shown struct {
			Kind            string
			Inputs, Outputs []quant.RunIO
			Children        []struct {
				RunID string `json:"run_id"`
			}
		}
		if err := json.Unmarshal(out.Bytes(), &shown); err != nil {
			return nil, quant.Errorf(quant.Failed, "read what the repetition recorded: %w", err)
		}
		list = append(list, recordedRun{shown.Kind, inLab(shown.Inputs, scratch, data), inLab(shown.Outputs, scratch, data)})
		queue = queue[1:]
		for _, c := range shown.Children {
			queue = append(queue, c.RunID)
		}
	}
	return list, nil
}

// inLab names what stands in the copy as it is named in the lab itself.
func inLab(list []quant.RunIO, scratch, data string) []quant.RunIO {
	for i := range list {
		if rest, found := strings.CutPrefix(list[i].Name, scratch); found {
			list[i].Name = data + rest
		}
	}
	return list
}

// copyLab copies both databases and the models. The copy has the prices that the
// run read, and nothing of what the repetition shall compute.
func (e *Env) copyLab(ctx context.Context, scratch string, run metastore.RunDetail, args []string) error {
	meta, err := metastore.AsFile(e.Meta)
	if err != nil {
		return err
	}
	if err := meta.Backup(ctx, place.In(scratch).MetaPath); err != nil {
		return err
	}
	kinds := []string{run.Kind}
	if stages := after(args, "--stages"); run.Kind == "pipeline.run" {
		kinds = strings.Split(stages, ",")
	}
	var changed bool
	err = e.ReadFacts(ctx, func(db *factstore.DB) (err error) {
		changed, err = db.CopyAsOf(ctx, place.In(scratch).FactPath, factstore.Past{RunID: run.RunID, Ended: run.EndedAt.Time, Without: emptied(kinds)})
		return err
	})
	if err != nil {
		return err
	}
	if changed {
		e.Notice("prices have changed since run %s: it is run again on those that it read", quant.ShortID(run.RunID))
	}
	models := e.ModelDir()
	if _, err := os.Stat(models); err != nil {
		return nil // none yet
	}
	if err := os.CopyFS(place.In(scratch).ModelDir(), os.DirFS(models)); err != nil {
		return quant.Errorf(quant.Store, "copy the models to %s: %w", scratch, err)
	}
	return nil
}

// emptied are the tables in which a command of the kind could find done what the
// repetition shall compute. Recommend and backtest compute everything in any
// case, and recommend needs the decisions before its own.
func emptied(kinds []string) []string {
	var tables []string
	for _, kind := range kinds {
		switch pipeline.Stage(kind) {
		case pipeline.StageFeatures, pipeline.StageLabels, pipeline.StageScore:
			tables = append(tables, pipeline.Stage(kind).Writes()...)
		}
	}
	return tables
}
