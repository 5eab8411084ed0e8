package pipeline

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"quant"
	"quant/internal/factstore"
	"quant/internal/failpoint"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/model"
	"quant/internal/parquet"
	"quant/internal/session"
	"quant/internal/stated"
)

// TrainOptions say what to train.
type TrainOptions struct {
	Experiment string
	Algo       model.Algo // "": the experiment's
	Alphas     []float64  // to choose from; nil: the experiment's

	Validation Validation // "": the experiment's
	Groups     int        // of ByCombinations; 0: model.DefaultGroups
	TestGroups int        // of ByCombinations; 0: model.DefaultTestGroups
	Importance model.ImportanceMethod

	// Of model.ByProgram.
	Program []string // the command line
	Params  []string // K=V, for the program
	Format  parquet.Format
	Proof   model.ProofScope // "": model.ProofOne
	Timeout time.Duration    // of one call of the program; 0: none

	Dispatch Dispatch // has the folds learned by workers; nil: this process learns them
	Unit     UnitOf   // the fold that is learned and staged; none: all, and the model is stored
}

// Validation is a way of splitting, as a command line names it.
type Validation string

// The ways.
const (
	ByWalkForward  Validation = "walk_forward"
	ByCombinations Validation = "cpcv"
)

// ParseValidation reads the name of a way of splitting, "" for the experiment's; Usage
// for another word.
func ParseValidation(s string) (Validation, error) {
	if v := Validation(s); v == "" || v == ByWalkForward || v == ByCombinations {
		return v, nil
	}
	return "", quant.Errorf(quant.Usage, "validation %q is not known", s).WithHint("use walk_forward or cpcv")
}

// Command is what a run with these options is recorded as.
func (o TrainOptions) Command() session.Command {
	c := command(StageTrain)
	c.text("experiment", o.Experiment)
	c.text("algo", string(o.Algo))
	params := o.Params
	if o.Alphas != nil {
		params = []string{"alpha=" + decimals(o.Alphas)}
	}
	c.each("param", params)
	c.text("validation", string(o.Validation))
	c.whole("groups", o.Groups, model.DefaultGroups)
	c.whole("test-groups", o.TestGroups, model.DefaultTestGroups)
	c.text("importance", string(o.Importance))
	c.word("format", string(o.Format), string(parquet.Parquet))
	c.word("proof", string(o.Proof), string(model.ProofOne))
	c.flag("timeout", o.Timeout.String(), o.Timeout != 0)
	o.Unit.flags(c)
	c.operands(o.Program)
	return c.Command
}

// apply lets the options beat what the experiment has. Usage: they do not go together.
func (o TrainOptions) apply(spec *model.Spec) error {
	choose(spec, o.Algo, o.Alphas)
	if len(o.Program) > 0 && o.Algo == "" {
		spec.Algo = model.ByProgram
	}
	switch o.Validation {
	case ByWalkForward:
		spec.Policy.Method, spec.Policy.Groups, spec.Policy.TestGroups = model.Method, 0, 0
	case ByCombinations:
		spec.Policy.Method = model.Combinatorial
		spec.Policy.Groups, spec.Policy.TestGroups = cmp.Or(o.Groups, model.DefaultGroups), cmp.Or(o.TestGroups, model.DefaultTestGroups)
	}
	if o.Validation != ByCombinations && (o.Groups != 0 || o.TestGroups != 0) {
		return quant.Errorf(quant.Usage, "groups are those of combinatorial purged cross-validation").WithHint("add --validation cpcv")
	}
	if spec.Algo != model.ByProgram {
		if len(o.Program) > 0 {
			return quant.Errorf(quant.Usage, "%s is no program, and one is named behind --", spec.Algo).WithHint("use --algo program")
		}
		return nil
	}
	params, err := programParams(o.Params)
	spec.Alphas = nil
	spec.Program = &model.Program{Argv: o.Program, Code: []model.CodeFile{}, Params: params, Format: cmp.Or(o.Format, parquet.Parquet)}
	return err
}

// programParams reads the parameters of a program. Usage: one is not of the form K=V,
// or named twice.
func programParams(list []string) (map[string]string, error) {
	params := map[string]string{}
	for _, param := range list {
		name, value, found := strings.Cut(param, "=")
		if !found || name == "" {
			return nil, quant.Errorf(quant.Usage, "--param %q is not of the form K=V", param).WithHint("such as --param max_depth=3")
		}
		if _, twice := params[name]; twice {
			return nil, quant.Errorf(quant.Usage, "--param %s is given twice", name).WithHint("give it once")
		}
		params[name] = value
	}
	return params, nil
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

	Importance []model.Importance `json:"importance,omitempty"`
	// Of a program: its command line, what it kept, and what was proved of it.
	Program *model.Program   `json:"program,omitempty"`
	Files   []model.KeptFile `json:"files,omitempty"`
	Proof   *model.Proof     `json:"proof,omitempty"`
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
	if err := o.apply(&spec); err != nil {
		return TrainReport{}, err
	}
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
	if spec.Program != nil {
		if spec.Program.Code, err = recordCode(ctx, s, spec.Program.Argv); err != nil {
			return TrainReport{}, err
		}
	}
	if o.Unit.Fingerprint != "" {
		return TrainReport{}, o.learnFold(ctx, s, spec)
	}
	logParams(s, "experiment_id", spec.ExperimentID, "algo", string(spec.Algo), "label", spec.Label.String(), "features", listOf(spec.Features),
		"alphas", decimals(spec.Alphas), "seed", strconv.FormatInt(spec.Seed, 10), "folds", strconv.Itoa(spec.Policy.Folds),
		"horizon", strconv.Itoa(spec.Policy.Horizon), "embargo", strconv.Itoa(spec.Policy.Embargo), "min_train_sessions", strconv.Itoa(spec.Policy.MinTrainSessions))
	s.Log(metastore.Batch{Tags: []quant.Tag{{Name: quant.ExperimentTag, Value: o.Experiment}}})
	if spec.Policy.Method == model.Combinatorial {
		logParams(s, "validation", string(ByCombinations), "groups", strconv.Itoa(spec.Policy.Groups), "test_groups", strconv.Itoa(spec.Policy.TestGroups))
	}
	var samples *model.Samples
	knownAt, by := "", ""
	err = s.ReadFacts(ctx, func(db *factstore.DB) error {
		cal, err := openCalendar(ctx, s, db, factstore.OHLCV)
		if err != nil {
			return err
		}
		if samples, err = model.LoadSamples(ctx, db, cal, spec); err != nil {
			return err
		}
		var versions []string
		for _, f := range spec.Features {
			versions = append(versions, f.Version)
		}
		by, err = statedBy(ctx, db, nil, versions, "")
		return err
	})
	if err != nil {
		return TrainReport{}, err
	}
	s.Record(model.Inputs(samples.Reads())...)
	learned := func() {}
	if o.Dispatch != nil {
		if learned, err = o.dispatch(ctx, s, spec, samples); err != nil {
			return TrainReport{}, err
		}
	}
	trained, importance, err := o.train(ctx, s, spec, samples)
	if err != nil {
		return TrainReport{}, err
	}
	if by != "" {
		knownAt, trained.Notices = stated.KnownAt, append([]string{statedNotice(by)}, trained.Notices...)
	}
	report, err := storeTrained(ctx, s, trained)
	report.KnownAt = quant.Text(knownAt)
	if err != nil {
		return report, err
	}
	failpoint.Hit("train.stored")
	learned()
	if report.Importance = importance; len(importance) > 0 {
		if err := logImportance(ctx, s, importance); err != nil {
			return report, err
		}
	}
	logMeasured(s, "", 0, trained.Metrics.Overall)
	logMeasured(s, "", 0, struct {
		Alpha float64 `json:"alpha"`
	}{report.Alpha})
	for i, fold := range trained.Metrics.Folds {
		logMeasured(s, "fold.", i, fold.Measures)
	}
	for name, d := range trained.Metrics.Spread {
		logMeasured(s, "path."+name+".", 0, d)
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
		Program: doc.Program, Files: doc.Final.Files, Proof: t.Proof,
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
	params := modelParams{Digest: digest, File: report.File, Alphas: doc.Alphas, Alpha: doc.Final.Alpha, Seed: doc.Seed, Calendar: doc.Calendar, Samples: t.Samples, Proof: t.Proof}
	if doc.Program != nil {
		params.Folder = workFolder()
	}
	if m.ParamsJSON, err = quant.NewJSON(params); err != nil {
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
