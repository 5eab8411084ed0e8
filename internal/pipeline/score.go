package pipeline

import (
	"context"
	"time"

	"quant"
	"quant/internal/factstore"
	"quant/internal/model"
	"quant/internal/session"
)

// ScoreOptions say what to score.
type ScoreOptions struct {
	Model    string // as ResolveModel has it
	From, To quant.Date
	InSample model.OutsideSample // what becomes of days that no fit can score out of sample; "": they are refused
	Timeout  time.Duration       // of one call of the model's program; 0: none
}

// Command is what a run with these options is recorded as.
func (o ScoreOptions) Command() session.Command {
	c := command(StageScore)
	c.text("model", o.Model)
	c.text("asof", "")
	c.day("from", &o.From)
	c.day("to", &o.To)
	c.yes("skip-in-sample", o.InSample == model.SkipInSample)
	c.yes("allow-in-sample", o.InSample == model.AllowInSample)
	c.flag("timeout", o.Timeout.String(), o.Timeout != 0)
	return c.Command
}

// Score writes a model's predictions, and records what it read and wrote. Errors:
// Usage, no model is named, or no range. NotFound: no such model, or no features.
// Those of model.Load and model.Score.
func Score(ctx context.Context, s *session.Session, o ScoreOptions) (model.Scored, error) {
	if o.Model == "" {
		return model.Scored{}, quant.Errorf(quant.Usage, "no model is named").WithHint("quant score --model MODEL --asof DATE; `quant models list` shows them")
	}
	if o.From > o.To {
		return model.Scored{}, quant.Errorf(quant.Usage, "--from %s is after --to %s", o.From, o.To).WithHint("swap them")
	}
	m, err := ResolveModel(ctx, s, o.Model)
	if err != nil {
		return model.Scored{}, err
	}
	doc, params, err := loadModel(s, m)
	if err != nil {
		return model.Scored{}, err
	}
	writer, err := modelWriter(ctx, s.Meta, m.ModelID)
	if err != nil {
		return model.Scored{}, err
	}
	if !s.HasFactDB() { // WriteFacts would make one, to find nothing in it
		return model.Scored{}, quant.Errorf(quant.NotFound, "there are no features: the lab has no Fact DB").WithHint("`quant ingest` prices and compute `quant features` first")
	}
	if o.InSample == "" {
		o.InSample = model.RefuseInSample
	}
	req := model.ScoreRequest{ModelID: m.ModelID, Model: doc, RunID: s.RunID(), From: o.From, To: o.To, InSample: o.InSample}
	var done model.Scored
	if doc.Algo == model.ByProgram {
		done, err = o.byProgram(ctx, s, req, params)
	} else {
		err = s.WriteFacts(ctx, func(db *factstore.DB) error {
			var err error
			done, err = model.Score(ctx, db, req)
			return err
		})
	}
	s.Record(quant.RunIO{Direction: quant.In, Kind: quant.IOFile, Name: params.File, Digest: quant.Text(params.Digest)})
	if writer != "" {
		s.Record(factstore.WrittenBy([]string{writer})...)
	}
	s.Record(model.Inputs(done.Reads)...)
	if err != nil {
		return done, err
	}
	s.Record(done.Outputs()...)
	if done.Skipped > 0 {
		s.Say().Warn("%s up to %s left out: no fit of %s can score them out of sample", quant.Count(done.Skipped, "day"), done.OutOfSampleAfter, m.ModelID)
	}
	if done.Incomplete > 0 {
		s.Say().Notice("%s without every feature: not scored", quant.Count(int(done.Incomplete), "symbol day"))
	}
	if o.InSample == model.AllowInSample && len(done.Tasks) > 0 && model.InSample(done.Tasks[0].TaskID) {
		s.Say().Warn("IN-SAMPLE: %s scored by a model that was trained on them or on what follows; they prove nothing", quant.Count(done.Tasks[0].Days, "day"))
	}
	return done, nil
}

// byProgram scores by the program of a model, while the Fact DB is closed.
func (o ScoreOptions) byProgram(ctx context.Context, s *session.Session, req model.ScoreRequest, params modelParams) (model.Scored, error) {
	program, folder := *req.Model.Program, programFolder(params)
	if err := checkCode(s, req.ModelID, folder, program); err != nil {
		return model.Scored{ModelID: req.ModelID}, err
	}
	var scoring *model.Scoring
	err := s.ReadFacts(ctx, func(db *factstore.DB) (err error) {
		scoring, err = model.StartScoring(ctx, db, req)
		return err
	})
	if scoring == nil {
		return model.Scored{ModelID: req.ModelID}, err
	}
	if err == nil {
		err = withProgram(ctx, s, program, folder, o.Timeout, func(work *model.Workshop) error { return scoring.Predict(ctx, work) })
	}
	if err != nil {
		return scoring.Done(), err
	}
	var done model.Scored
	err = s.WriteFacts(ctx, func(db *factstore.DB) (err error) {
		done, err = scoring.Write(ctx, db)
		return err
	})
	return done, err
}
