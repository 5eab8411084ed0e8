package pipeline

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"quant"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/failpoint"
	"quant/internal/model"
	"quant/internal/session"
)

// A training with workers: each fold is learned by a process of its own, which reads the
// samples and stages what it learned and predicted. The training takes that in for the
// samples that it has read itself, judges and proves it, makes the final fit and stores
// the model, as it does without workers.

// planDigest is of what is asked for.
func (o TrainOptions) planDigest(s *session.Session, spec model.Spec) (string, error) {
	return planDigest(s, "a training is", spec)
}

// besideCode names the files that lie beside those of a program, by their sizes and
// times: it may read each of them, as a module or as data. What was learned before one
// changed is not taken over.
func besideCode(p *model.Program) []string {
	var list []string
	if p == nil {
		return nil
	}
	for _, code := range p.Code {
		entries, _ := os.ReadDir(filepath.Dir(code.Argument)) // one that cannot be read cannot be read by the program
		for _, e := range entries {
			if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
				list = append(list, fmt.Sprint(e.Name(), " ", info.Size(), " ", info.ModTime().UnixNano()))
			}
		}
	}
	return list
}

// dispatch has the folds learned by workers, and gives the samples what they learned.
// What it returns is called once the model is stored.
func (o TrainOptions) dispatch(ctx context.Context, s *session.Session, spec model.Spec, samples *model.Samples) (stored func(), err error) {
	tasks, err := samples.Tasks()
	if err != nil {
		return nil, err
	}
	plan, err := o.planDigest(s, spec)
	if err != nil {
		return nil, err
	}
	var units []*unit
	on := fmt.Sprint(plan, samples.Digest(), besideCode(spec.Program))
	for _, task := range tasks {
		one := o
		one.Importance = model.NoImportance
		one.Unit = UnitOf{Name: task, Plan: plan, Fingerprint: durable.Digest([]byte(on + task))}
		units = append(units, &unit{line: one.Command().Args, fingerprint: one.Unit.Fingerprint})
	}
	if err := s.ReadFacts(ctx, func(db *factstore.DB) error { return findStaged(ctx, s, db, units) }); err != nil {
		return nil, err
	}
	tellTakenOver(s, units, "fold", "learned by a training")
	if err := o.Dispatch.work(ctx, s, string(StageTrain), units); err != nil {
		return nil, err
	}
	failpoint.Hit("train.dispatched")
	var outputs []*factstore.Outputs
	err = s.ReadFacts(ctx, func(db *factstore.DB) error {
		var learned []model.LearnedFold
		for i, u := range units {
			if u.staged.RunID == "" {
				continue
			}
			out, err := db.OpenOutputs(ctx, u.staged.RunID, u.staged.Digest)
			if quant.CodeOf(err) == quant.NotFound {
				continue // the same training elsewhere has taken it in
			}
			if err != nil {
				return err
			}
			outputs = append(outputs, out)
			l, err := model.ReadLearned(ctx, db, out)
			if err != nil {
				return err
			}
			if l.Fold.TaskID != tasks[i] {
				return quant.Errorf(quant.Store, "the outputs of run %s are of the fold %s, and not of %s", quant.ShortID(u.staged.RunID), l.Fold.TaskID, tasks[i]).WithHint("run `quant gc`, and the command again")
			}
			if !l.IsKeptIn(s.ModelDir()) {
				s.Say().Notice("%s is learned here again: what the program kept of it is on the machine of run %s", tasks[i], quant.ShortID(u.staged.RunID))
				continue
			}
			learned = append(learned, l)
		}
		samples.Given(learned)
		return nil
	})
	return func() {
		for _, out := range outputs {
			out.Remove()
		}
	}, err
}

// learnFold learns one fold and stages it, for the training that asked for it.
// quant.Conflict: what this process finds to be asked for is something else.
func (o TrainOptions) learnFold(ctx context.Context, s *session.Session, spec model.Spec) error {
	s.KeepReads()
	plan, err := o.planDigest(s, spec)
	if err != nil {
		return err
	}
	if plan != o.Unit.Plan {
		return quant.Errorf(quant.Conflict, "the experiment %s, its program or the calendar has changed since the training began, or is another here", spec.ExperimentID).WithHint("train again")
	}
	var samples *model.Samples
	err = s.ReadFacts(ctx, func(db *factstore.DB) error {
		cal, err := openCalendar(ctx, s, db, factstore.OHLCV)
		if err != nil {
			return err
		}
		samples, err = model.LoadSamples(ctx, db, cal, spec)
		return err
	})
	if err != nil {
		return err
	}
	s.Record(model.Inputs(samples.Reads())...)
	learned, err := o.learn(ctx, s, spec, samples)
	if err != nil {
		return err
	}
	failpoint.Hit("train.unit.learned")
	return s.ReadFacts(ctx, func(db *factstore.DB) error {
		return stageUnit(ctx, s, db, o.Unit.Fingerprint, "fold", func(out *factstore.OutputsWriter) (int64, any, error) {
			rows, err := learned.Stage(ctx, out)
			return rows, learned, err
		})
	})
}

// learn is learnFold of samples, with or without a program.
func (o TrainOptions) learn(ctx context.Context, s *session.Session, spec model.Spec, samples *model.Samples) (l model.LearnedFold, err error) {
	if spec.Program == nil {
		return samples.LearnFold(ctx, nil, o.Unit.Name)
	}
	var wrote []model.Writes
	err = withProgram(ctx, s, *spec.Program, "", o.Timeout, func(work *model.Workshop) error {
		work.Wrote = func(task, name, path string) error {
			f, err := os.Open(path)
			if err != nil {
				return quant.Errorf(quant.Failed, "read %s: %w", name, err)
			}
			defer f.Close()
			data, err := io.ReadAll(io.LimitReader(f, programLog))
			wrote = append(wrote, model.Writes{Task: task, Name: name, Data: data})
			return err
		}
		l, err = samples.LearnFold(ctx, work, o.Unit.Name)
		return err
	})
	l.Wrote = append(l.Wrote, wrote...)
	return l, err
}
