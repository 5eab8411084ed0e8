package pipeline

import (
	"context"
	"os"
	"strings"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
	"quant/internal/lab"
	"quant/internal/lab/facts"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/session"
)

// repeatElsewhere runs a call in a copy of the lab, on the prices that the run read,
// and returns what that run and the runs inside it recorded.
func repeatElsewhere(ctx context.Context, s *session.Session, r Runner, run metastore.RunDetail, recorded []recordedRun, call Call) (_ []recordedRun, err error) {
	folder := s.ScratchDir()
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
			s.Say().Warn("the copy of the lab in %s could not be deleted: %v", scratch, gone)
		}
		_ = os.Remove(folder) // if nothing else is in it
	}()
	there := place.In(scratch)
	if err := copyLab(ctx, s, there, run, recorded, call); err != nil {
		return nil, err
	}
	o := s.Options
	o.Place, o.Facts = there, facts.Committed(there)
	elsewhere := lab.New(o)
	if err := elsewhere.Open(ctx, false); err != nil {
		return nil, err
	}
	defer func() { _ = elsewhere.Close() }() // it is deleted
	again := s.In(elsewhere, session.Quiet{Voice: s.Say()})
	id, err := r.Run(ctx, again, call, nil)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, quant.Errorf(quant.Refused, "run %s is not reproduced: its command failed this time: %s", quant.ShortID(run.RunID), strings.Join(s.Mask.Args(call.Command().Args), " ")).
			WithHint("what it said stands above")
	}
	return recordedBelow(ctx, elsewhere.Meta, id, there.DataDir, s.DataDir)
}

// recordedBelow is what a run and the runs inside it recorded in the copy of a lab,
// named as in the lab itself.
func recordedBelow(ctx context.Context, meta metastore.Store, id, copied, data string) ([]recordedRun, error) {
	queue, list := []string{id}, []recordedRun(nil)
	for len(queue) > 0 {
		run, err := meta.GetRun(ctx, queue[0])
		if err != nil {
			return nil, err
		}
		noted, err := meta.RunIO(ctx, run.RunID)
		if err != nil {
			return nil, err
		}
		for i := range noted {
			if rest, found := strings.CutPrefix(noted[i].Name, copied); found {
				noted[i].Name = data + rest
			}
		}
		list = append(list, recordedRun{run.RunID, run.Kind, noted})
		children, err := meta.ListRuns(ctx, metastore.RunFilter{All: true, Parent: run.RunID, Brief: true})
		if err != nil {
			return nil, err
		}
		queue = queue[1:]
		for _, c := range children {
			queue = append(queue, c.RunID)
		}
	}
	return list, nil
}

// copyLab copies both databases and the models. The copy has the prices that the
// run read, and nothing of what the repetition shall compute.
func copyLab(ctx context.Context, s *session.Session, to place.Place, run metastore.RunDetail, recorded []recordedRun, call Call) error {
	if err := s.CopyMeta(ctx, to.MetaPath); err != nil {
		return err
	}
	stages := []Stage{Stage(run.Kind)}
	if o, isPipeline := call.(RunOptions); isPipeline {
		stages = o.Stages
	}
	var changed bool
	err := s.ReadFacts(ctx, func(db *factstore.DB) (err error) {
		changed, err = db.CopyAsOf(ctx, to.FactPath, factstore.Past{RunID: run.RunID, Ended: run.EndedAt.Time, Without: emptied(stages)})
		return err
	})
	if err != nil {
		return err
	}
	if changed {
		s.Say().Notice("prices have changed since run %s: it is run again on those that it read", quant.ShortID(run.RunID))
	}
	if err := copyDelistings(ctx, s, to.DelistingsFile(), run); err != nil {
		return err
	}
	if err := copyUniverses(ctx, s, to.UniversesFile(), run, recorded); err != nil {
		return err
	}
	if changes, err := calendar.ReadChanges(s.CalendarFile()); err != nil {
		return err
	} else if len(changes) > 0 {
		if err := calendar.WriteChanges(to.CalendarFile(), changes); err != nil {
			return err
		}
	}
	models := s.ModelDir()
	if _, err := os.Stat(models); err != nil {
		return nil // none yet
	}
	if err := os.CopyFS(to.ModelDir(), os.DirFS(models)); err != nil {
		return quant.Errorf(quant.Store, "copy the models to %s: %w", to.DataDir, err)
	}
	return nil
}

// emptied are the tables in which a stage could find done what the repetition
// shall compute. Recommend and backtest compute everything in any case, and
// recommend needs the decisions before its own.
func emptied(stages []Stage) []string {
	var tables []string
	for _, stage := range stages {
		switch stage {
		case StageFeatures, StageLabels, StageScore:
			tables = append(tables, stage.Writes()...)
		}
	}
	return tables
}
