package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"quant"
	"quant/internal/calendar"
	"quant/internal/metastore"
	"quant/internal/session"
)

// Repetition is a run held against its repetition.
type Repetition struct {
	RunID       string       `json:"run_id"`
	Kind        string       `json:"kind"`
	Same        bool         `json:"same"`
	Program     ProgramPair  `json:"program"`
	Comparisons []Comparison `json:"comparisons"`
}

// ProgramPair is the program that made a result, and the present one.
type ProgramPair struct {
	Recorded string `json:"recorded"`
	Now      string `json:"now"`
	Same     bool   `json:"same"`
}

// Err is Refused, with what differs, if not everything is the same.
func (r Repetition) Err() error {
	if r.Same {
		return nil
	}
	var differ []string
	hint := fmt.Sprintf("`quant lineage %s` shows what it came from", quant.ShortID(r.RunID))
	if r.modelsAlone() {
		hint = "it read the same: a program of another version may give a model other last digits, and so another id; compare the two models' files"
	}
	for _, c := range r.Comparisons {
		if !c.Same {
			differ = append(differ, fmt.Sprintf("%s (%s of %s)", c.Object, map[quant.Direction]string{quant.In: "input", quant.Out: "output"}[c.Direction], c.Stage))
		}
	}
	return quant.Errorf(quant.Refused, "run %s is not reproduced; other than on record: %s", quant.ShortID(r.RunID), firstOf(differ, 3)).
		WithHint("%s", hint)
}

// modelsAlone reports whether nothing differs but models that were trained, from
// inputs that are the same.
func (r Repetition) modelsAlone() bool {
	return !slices.ContainsFunc(r.Comparisons, func(c Comparison) bool {
		return !c.Same && (c.Direction == quant.In || c.Stage != string(StageTrain) || c.Now == "" || !strings.HasPrefix(c.Object, quant.IOModel+" "))
	})
}

// firstOf names at most so many of a list.
func firstOf(list []string, most int) string {
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return strings.Join(list[:most], ", ") + fmt.Sprintf(", ... (%d more)", len(list)-most)
}

// Comparison holds what a run recorded of one of its inputs or outputs against
// what the repetition of the run recorded.
type Comparison struct {
	Stage     string          `json:"stage"`     // kind of the run
	Direction quant.Direction `json:"direction"` // in or out
	Object    string          `json:"object"`
	Recorded  quant.Text      `json:"recorded"` // digest
	Now       quant.Text      `json:"now"`      // digest; null: not there
	Same      bool            `json:"same"`
}

// compare holds the digests that two runs of one kind recorded against each
// other: tables, files and models; inputs first. What has no digest cannot be
// told apart and is left out, and so is an input that only the repetition has.
// outputs reports whether at least one output was compared: without one,
// nothing was shown. A model is named by its digest, and held against the one that
// was trained instead.
func compare(kind string, recorded, now []quant.RunIO) (list []Comparison, outputs bool) {
	key := func(io quant.RunIO) string {
		if io.Direction == quant.Out && io.Kind == quant.IOModel {
			return string(io.Direction) + "\x00" + io.Kind
		}
		return string(io.Direction) + "\x00" + io.Kind + "\x00" + io.Name
	}
	have := map[string]quant.RunIO{}
	for _, io := range now {
		have[key(io)] = io
	}
	for _, io := range recorded {
		if io.Digest == "" || io.Kind == quant.IOStage || io.Kind == quant.IOState || io.Kind == quant.IOSnapshot {
			continue
		}
		if kind == RunKind && io.Direction == quant.Out {
			continue // its plan, which says what could be skipped in that lab
		}
		other := have[key(io)].Digest
		list = append(list, Comparison{
			Stage: kind, Direction: io.Direction, Object: io.Kind + " " + io.Name,
			Recorded: io.Digest, Now: other, Same: other == io.Digest,
		})
		outputs = outputs || io.Direction == quant.Out
	}
	slices.SortStableFunc(list, func(a, b Comparison) int {
		return cmp.Or(cmp.Compare(a.Direction, b.Direction), cmp.Compare(a.Object, b.Object))
	})
	return list, outputs
}

// Repeat runs what a run did again, by r in a copy of the lab that is deleted
// afterwards, and holds the digests of what it reads and writes against those on
// record. The lab itself is not changed. Where a source file is not what it was,
// nothing is run: the files are the comparisons. What differs is in the result, see
// Repetition.Err. Errors: those of session.Resolve and Replay; Refused, it failed
// this time or recorded nothing to compare; Usage, its files are named from another
// folder; Store, there is no room for the copy; the cause of ctx.
func Repeat(ctx context.Context, s *session.Session, r Runner, ref string) (Repetition, error) {
	none := Repetition{Comparisons: []Comparison{}}
	meta, err := s.MetaDB()
	if err != nil {
		return none, err
	}
	id, err := s.Resolve(ctx, ref)
	if err != nil {
		return none, err
	}
	run, err := meta.GetRun(ctx, id)
	if err != nil {
		return none, err
	}
	call, err := replayOf(ctx, s, run)
	if err != nil {
		return none, err
	}
	if s.Registry == nil {
		return none, quant.Errorf(quant.Store, "nothing can be run again while runs cannot be recorded").WithHint("run quant doctor")
	}
	recorded, err := recordedRuns(ctx, meta, run)
	if err != nil {
		return none, err
	}
	if call, err = withRecordedModel(ctx, s, run, recorded, call); err != nil {
		return none, err
	}
	build := s.Build()
	program := strings.TrimSpace(string(run.Process.BinaryVersion) + " " + string(run.Process.BinaryCommit))
	now := strings.TrimSpace(build.Version + " " + build.Commit)
	report := Repetition{RunID: id, Kind: run.Kind, Same: true, Program: ProgramPair{program, now, program == now}, Comparisons: []Comparison{}}
	if !report.Program.Same {
		s.Say().Warn("run %s was made by quant %s, and this is %s", quant.ShortID(id), program, now)
	}
	s.Record(quant.RunIO{Direction: quant.In, Kind: quant.IORun, Name: id})

	// A source that is not what it was explains every difference that follows.
	changed, err := changedFiles(recorded, s.DataDir, string(run.Process.WorkDir))
	if err != nil {
		return report, err
	}
	other, err := changedCalendar(s, recorded)
	if err != nil {
		return report, err
	}
	if changed = append(changed, other...); len(changed) > 0 {
		report.Same, report.Comparisons = false, changed
		return report, nil
	}
	repeated, err := repeatElsewhere(ctx, s, r, run, recorded, call)
	if err != nil {
		return report, err
	}
	outputs := false
	for _, old := range recorded {
		at := slices.IndexFunc(repeated, func(r recordedRun) bool { return r.kind == old.kind })
		again := recordedRun{}
		switch {
		case at >= 0:
			again = repeated[at]
			repeated = slices.Delete(repeated, at, at+1)
		case old.kind == string(StageIngest):
			s.Say().Notice("the provider is not asked again: the prices that it gave are taken as they were stored")
			continue
		}
		list, some := compare(old.kind, old.io, again.io)
		outputs = outputs || some
		report.Comparisons = append(report.Comparisons, list...)
	}
	if !outputs {
		return report, quant.Errorf(quant.Refused, "run %s recorded no digest of what it wrote: there is nothing to compare", quant.ShortID(id))
	}
	for _, c := range report.Comparisons {
		report.Same = report.Same && c.Same
	}
	return report, nil
}

// replayOf is what the repetition is asked for. A pipeline is asked for what its
// plan says: the command line may only say --resume.
func replayOf(ctx context.Context, s *session.Session, run metastore.RunDetail) (Call, error) {
	if err := repeatable(run); err != nil {
		return nil, err
	}
	if run.Kind != RunKind {
		return Replay(run)
	}
	plan, err := readPlan(ctx, s, run.RunID)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, quant.Errorf(quant.NotFound, "the plan of run %s is gone", quant.ShortID(run.RunID)).WithHint("reproduce the runs of its stages one by one")
	} else if err != nil {
		return nil, err
	}
	if !run.Process.Changes {
		return nil, quant.Errorf(quant.Refused, "run %s was a dry run: it has no result", quant.ShortID(run.RunID))
	}
	o := RunOptions{Arguments: plan.Arguments, Force: true}
	o.Provider = "" // it is not asked again
	return o, nil
}

// recordedRun is a run with what it read and wrote.
type recordedRun struct {
	id, kind string
	io       []quant.RunIO
}

// recordedRuns are the run itself and, of a pipeline, the runs of its stages,
// those included whose results it found standing.
func recordedRuns(ctx context.Context, meta metastore.Store, run metastore.RunDetail) ([]recordedRun, error) {
	own, err := meta.RunIO(ctx, run.RunID)
	list := []recordedRun{{run.RunID, run.Kind, own}}
	if err != nil || run.Kind != RunKind {
		return list, err
	}
	children, err := meta.ListRuns(ctx, metastore.RunFilter{Parent: run.RunID, Status: quant.Success, Brief: true})
	if err != nil {
		return nil, err
	}
	for _, io := range own {
		if io.Direction != quant.In || io.Kind != quant.IORun {
			continue
		}
		standing, err := meta.GetRun(ctx, io.Name)
		if errors.Is(err, quant.NotFound) || err == nil && standing.Kind == RunKind {
			continue
		} else if err != nil {
			return nil, err
		}
		children = append(children, standing)
	}
	for _, stage := range Stages() {
		for _, c := range children {
			if c.Kind != string(stage) {
				continue
			}
			noted, err := meta.RunIO(ctx, c.RunID)
			if err != nil {
				return nil, err
			}
			list = append(list, recordedRun{c.RunID, c.Kind, noted})
		}
	}
	return list, nil
}

// countsSessions reports whether a stage counts the sessions of a calendar.
func countsSessions(kind string) bool {
	switch Stage(kind) {
	case StageFeatures, StageLabels, StageTrain, StageRecommend, StageBacktest:
		return true
	}
	return false
}

// changedCalendar is what the lab's own file changed of the calendar when the runs
// were made, where it changes something else now.
func changedCalendar(s *session.Session, recorded []recordedRun) ([]Comparison, error) {
	if s.CalendarName() == calendar.Data {
		return nil, nil
	}
	cal, err := exchangeCalendar(s)
	if err != nil {
		return nil, err
	}
	var changed []Comparison
	for _, r := range recorded {
		if !countsSessions(r.kind) {
			continue
		}
		then := quant.Text("")
		for _, io := range r.io {
			if io.Direction == quant.In && io.Kind == quant.IOCalendar && io.Name == cal.Name() {
				then = io.Digest
			}
		}
		if string(then) != cal.Digest() {
			changed = append(changed, Comparison{Stage: r.kind, Direction: quant.In, Object: quant.IOCalendar + " " + cal.Name(), Recorded: then, Now: quant.Text(cal.Digest())})
		}
	}
	return changed, nil
}

// changedFiles are the source files that are not what they were. Models are
// named from the data folder on, other files as they were given.
func changedFiles(recorded []recordedRun, dataDir, workDir string) ([]Comparison, error) {
	here, err := os.Getwd()
	if err != nil {
		return nil, quant.Errorf(quant.Failed, "find the working directory: %w", err)
	}
	var changed []Comparison
	for _, r := range recorded {
		for _, io := range r.io {
			if io.Direction != quant.In || io.Kind != quant.IOFile || io.Digest == "" {
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
				changed = append(changed, Comparison{Stage: r.kind, Direction: quant.In, Object: quant.IOFile + " " + io.Name, Recorded: io.Digest, Now: quant.Text(digest)})
			}
		}
	}
	return changed, nil
}
