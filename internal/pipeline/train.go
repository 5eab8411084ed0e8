package pipeline

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"quant"
	"quant/internal/factstore"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/model"
	"quant/internal/session"
	"quant/internal/stated"
)

// TrainOptions say what to train.
type TrainOptions struct {
	Experiment string
	Algo       model.Algo // "": the experiment's
	Alphas     []float64  // to choose from; nil: the experiment's
}

// Command is what a run with these options is recorded as.
func (o TrainOptions) Command() session.Command {
	c := command(StageTrain)
	c.text("experiment", o.Experiment)
	c.text("algo", string(o.Algo))
	var params []string
	if o.Alphas != nil {
		params = []string{"alpha=" + decimals(o.Alphas)}
	}
	c.each("param", params)
	return c.Command
}

// ParseParams reads parameters as a command line gives them, such as
// alpha=1,10,100; nil alphas: they are not given. Usage: a parameter is not known,
// or no number.
func ParseParams(params []string) (alphas []float64, err error) {
	for _, param := range params {
		name, value, _ := strings.Cut(param, "=")
		if name != "alpha" {
			return nil, quant.Errorf(quant.Usage, "--param %q is not known", name).WithHint("there is one: --param alpha=1,10,100")
		}
		alphas = nil
		for part := range strings.SplitSeq(value, ",") {
			alpha, err := strconv.ParseFloat(strings.TrimSpace(part), 64)
			if err != nil {
				return nil, quant.Errorf(quant.Usage, "alpha %q is not a number", part).WithHint("such as --param alpha=1,10,100")
			}
			alphas = append(alphas, alpha)
		}
	}
	return alphas, nil
}

// TrainReport is the model that was trained.
type TrainReport struct {
	ModelID      string        `json:"model_id"`
	ExperimentID string        `json:"experiment_id"`
	Algo         model.Algo    `json:"algo"`
	Change       string        `json:"change"` // created, updated or unchanged
	Digest       string        `json:"digest"`
	File         string        `json:"file"` // from the data folder
	TrainRange   string        `json:"train_range"`
	Samples      int           `json:"samples"`
	LeftOut      int64         `json:"left_out"` // labels whose day lacks a feature
	Symbols      int64         `json:"symbols"`
	Alpha        float64       `json:"alpha"` // of the final model
	Metrics      model.Metrics `json:"metrics"`
	KnownAt      quant.Text    `json:"known_at"` // where a feature was imported: as its source states; null: proved
	Notices      []string      `json:"notices"`
}

// Train trains the model of an experiment, judges it out of sample, and keeps its
// file and its row; what it read and made is recorded. Errors: NotFound: there is
// no such experiment. Usage: the algorithm or an alpha cannot be used. Refused: a
// feature moves with the price level. Those of model.Train.
func Train(ctx context.Context, s *session.Session, o TrainOptions) (TrainReport, error) {
	if o.Experiment == "" {
		return TrainReport{}, quant.Errorf(quant.Usage, "no experiment is named").WithHint("quant train --experiment ID; `quant experiments list` shows them")
	}
	found, err := GetExperiment(ctx, s, o.Experiment)
	if err != nil {
		return TrainReport{}, err
	}
	spec, err := specOf(found)
	if err != nil {
		return TrainReport{}, err
	}
	choose(&spec, o.Algo, o.Alphas)
	if err := spec.Validate(); err != nil {
		return TrainReport{}, err
	}
	sets, err := setsFor(ctx, s, versionsOf(spec.Features)...)
	if err != nil {
		return TrainReport{}, err
	}
	if err := refusePriceLevels(spec.Features, sets); err != nil {
		return TrainReport{}, err
	}
	logParams(s, "experiment_id", spec.ExperimentID, "algo", string(spec.Algo), "label", spec.Label.String(), "features", listOf(spec.Features),
		"alphas", decimals(spec.Alphas), "seed", strconv.FormatInt(spec.Seed, 10), "folds", strconv.Itoa(spec.Policy.Folds),
		"horizon", strconv.Itoa(spec.Policy.Horizon), "embargo", strconv.Itoa(spec.Policy.Embargo), "min_train_sessions", strconv.Itoa(spec.Policy.MinTrainSessions))
	s.Log(metastore.Batch{Tags: []quant.Tag{{Name: quant.ExperimentTag, Value: o.Experiment}}})
	var trained model.Trained
	knownAt := ""
	err = s.ReadFacts(ctx, func(db *factstore.DB) error {
		cal, err := openCalendar(ctx, s, db, factstore.OHLCV)
		if err != nil {
			return err
		}
		if trained, err = model.Train(ctx, db, cal, spec); err != nil {
			return err
		}
		var versions []string
		for _, f := range spec.Features {
			versions = append(versions, f.Version)
		}
		by, err := statedBy(ctx, db, nil, versions, "")
		if by != "" {
			knownAt, trained.Notices = stated.KnownAt, append([]string{statedNotice(by)}, trained.Notices...)
		}
		return err
	})
	s.Record(model.Inputs(trained.Reads)...)
	if err != nil {
		return TrainReport{}, err
	}
	report, err := storeTrained(ctx, s, trained)
	report.KnownAt = quant.Text(knownAt)
	if err != nil {
		return report, err
	}
	logMeasured(s, "", 0, trained.Metrics.Overall)
	logMeasured(s, "", 0, struct {
		Alpha float64 `json:"alpha"`
	}{report.Alpha})
	for i, fold := range trained.Metrics.Folds {
		logMeasured(s, "fold.", i, fold.Measures)
	}
	for _, notice := range trained.Notices {
		s.Say().Notice("%s", notice)
	}
	return report, nil
}

// storeTrained writes the model's file and then its row: a file without a row
// harms nothing.
func storeTrained(ctx context.Context, s *session.Session, t model.Trained) (TrainReport, error) {
	doc := t.Document
	digest, err := model.Save(s.ModelDir(), doc)
	if err != nil {
		return TrainReport{}, err
	}
	name, err := model.FileName(digest)
	if err != nil {
		return TrainReport{}, err
	}
	report := TrainReport{
		ModelID: model.ID(doc.Algo, digest), ExperimentID: doc.ExperimentID, Algo: doc.Algo, Digest: digest, File: place.ModelName(name),
		TrainRange: doc.Final.TrainFrom.String() + ".." + doc.Final.TrainTo.String(), Samples: t.Samples, LeftOut: t.LeftOut, Symbols: t.Symbols,
		Alpha: doc.Final.Alpha, Metrics: t.Metrics, Notices: append([]string{}, t.Notices...),
	}
	var versions []string
	for _, f := range doc.Features {
		if !slices.Contains(versions, f.Version) {
			versions = append(versions, f.Version)
		}
	}
	m := quant.Model{
		ModelID: report.ModelID, ExperimentID: quant.Text(doc.ExperimentID), Algo: quant.Text(doc.Algo), TrainRange: quant.Text(report.TrainRange),
		FeatureVersion: quant.Text(strings.Join(versions, ",")), LabelVersion: quant.Text(doc.Label.Version), CreatedAt: quant.NewTime(s.Now()),
	}
	if m.ParamsJSON, err = quant.NewJSON(modelParams{digest, report.File, doc.Alphas, doc.Final.Alpha, doc.Seed, doc.Calendar, t.Samples}); err != nil {
		return report, err
	}
	if m.MetricsJSON, err = quant.NewJSON(t.Metrics); err != nil {
		return report, err
	}
	if report.Change, err = storeModel(ctx, s.Meta, m); err != nil {
		return report, err
	}
	if report.Change != "unchanged" {
		recordMeta(s, "models", 1)
	}
	s.Record(quant.RunIO{
		Direction: quant.Out, Kind: quant.IOModel, Name: report.ModelID, Digest: quant.Text(digest),
		FirstDate: quant.Text(doc.Final.TrainFrom.String()), LastDate: quant.Text(doc.Final.TrainLabelEnd.String()),
	})
	return report, nil
}

func storeModel(ctx context.Context, meta metastore.Store, m quant.Model) (change string, err error) {
	err = meta.Tx(ctx, func(ctx context.Context) error {
		old, err := meta.GetModel(ctx, m.ModelID)
		if errors.Is(err, quant.NotFound) {
			change = "created"
			return meta.CreateModel(ctx, m)
		}
		if err != nil {
			return err
		}
		m.CreatedAt = old.CreatedAt
		if string(old.ParamsJSON) == string(m.ParamsJSON) && string(old.MetricsJSON) == string(m.MetricsJSON) && old.TrainRange == m.TrainRange {
			change = "unchanged"
			return nil
		}
		// The same model, judged by another version of the program.
		change = "updated"
		return meta.UpdateModel(ctx, m)
	})
	return change, err
}
