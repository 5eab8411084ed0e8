package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/factstore"
	"quant/internal/lab/doctor"
	"quant/internal/model"
	"quant/internal/output"
)

// scoreFlags say what to score.
type scoreFlags struct {
	model, asof, from, to string
	skip, allow           bool
}

// request checks the flags.
func (f scoreFlags) request() (model.ScoreRequest, error) {
	req := model.ScoreRequest{InSample: model.RefuseInSample}
	if f.model == "" {
		return req, quant.Errorf(quant.Usage, "no model is named").WithHint("quant score --model MODEL --asof DATE; `quant models list` shows them")
	}
	from, to := f.from, f.to
	switch {
	case f.asof != "" && (from != "" || to != ""):
		return req, quant.Errorf(quant.Usage, "--asof names one day, --from and --to a range").WithHint("give one of the two")
	case f.asof != "":
		from, to = f.asof, f.asof
	case from == "" || to == "":
		return req, quant.Errorf(quant.Usage, "no days are named").WithHint("--asof 2024-01-31, or --from 2024-01-01 --to 2024-12-31")
	}
	switch {
	case f.skip && f.allow:
		return req, quant.Errorf(quant.Usage, "--skip-in-sample leaves out what --allow-in-sample scores").WithHint("give one of the two")
	case f.skip:
		req.InSample = model.SkipInSample
	case f.allow:
		req.InSample = model.AllowInSample
	}
	var err error
	if req.From, err = quant.ParseDate(from); err != nil {
		return req, err
	}
	if req.To, err = quant.ParseDate(to); err != nil {
		return req, err
	}
	if req.From > req.To {
		return req, quant.Errorf(quant.Usage, "--from %s is after --to %s", from, to).WithHint("swap them")
	}
	return req, nil
}

func scoreCommand(env *Env) Command {
	var flags scoreFlags
	cmd := &cobra.Command{
		Use:   "score --model MODEL (--asof DATE | --from DATE --to DATE)",
		Short: "Write a model's predictions, out of sample",
		Long: `Write a model's predictions, one a symbol and day that has every feature, from
the features of that very day. MODEL is an id, or experiment:ID for the model of
an experiment that was trained last.

Each day is scored by the latest of the model's fits whose training labels had
all ended before it: a fold (task wf:1, wf:2, ...) or the final one (task
final). Days that none of them can score out of sample are refused, and nothing
is written (exit status 6). --skip-in-sample leaves them out instead;
--allow-in-sample scores them by the final model under the task in_sample, which
a backtest refuses.

score is the predicted return (ridge) or the logarithm of the odds (logistic),
calibrated_score the predicted return or the probability. Predictions of other
days stay as they are; the same again changes nothing.`,
		Example: `  quant score --model ridge-0123456789ab --asof 2024-01-31
  quant score --model experiment:momentum --from 2015-01-01 --to 2024-12-31 --skip-in-sample`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			req, err := flags.request()
			if err != nil {
				return err
			}
			return env.score(cmd.Context(), flags.model, req)
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.model, "model", "", "id, or experiment:ID")
	f.StringVar(&flags.asof, "asof", "", "one day")
	f.StringVar(&flags.from, "from", "", "first day")
	f.StringVar(&flags.to, "to", "", "last day")
	f.BoolVar(&flags.skip, "skip-in-sample", false, "leave out the days that cannot be scored out of sample")
	f.BoolVar(&flags.allow, "allow-in-sample", false, "score these days, too, under the task in_sample")
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

func (e *Env) score(ctx context.Context, ref string, req model.ScoreRequest) error {
	m, err := e.resolveModel(ctx, ref)
	if err != nil {
		return err
	}
	doc, params, err := e.loadModel(m)
	if err != nil {
		return err
	}
	writer, err := e.modelWriter(ctx, m.ModelID)
	if err != nil {
		return err
	}
	if !e.HasFactDB() { // WriteFacts would make one, to find nothing in it
		return quant.Errorf(quant.NotFound, "there are no features: the lab has no Fact DB").WithHint("`quant ingest` prices and compute `quant features` first")
	}
	req.ModelID, req.Model, req.RunID = m.ModelID, doc, e.Run.ID
	var done model.Scored
	err = e.WriteFacts(ctx, func(db *factstore.DB) error {
		var err error
		done, err = model.Score(ctx, db, req)
		return err
	})
	e.record(quant.RunIO{Direction: quant.In, Kind: "file", Name: params.File, Digest: quant.Text(params.Digest)})
	if writer != "" {
		e.record(quant.RunIO{Direction: quant.In, Kind: "run", Name: writer})
	}
	e.recordReads(done.Reads)
	if err != nil {
		return err
	}
	e.record(quant.RunIO{
		Direction: quant.Out, Kind: doctor.TableKind, Name: "predictions", Rows: ptr(done.Inserted + done.Updated + done.Deleted),
		FirstDate: done.OutputFirst, LastDate: done.OutputLast, Digest: quant.Text(done.Output),
	})
	if done.Skipped > 0 {
		e.Warn("%s up to %s left out: no fit of %s can score them out of sample", quant.Count(done.Skipped, "day"), done.OutOfSampleAfter, m.ModelID)
	}
	if done.Incomplete > 0 {
		e.Notice("%s without every feature: not scored", quant.Count(int(done.Incomplete), "symbol day"))
	}
	if req.InSample == model.AllowInSample && len(done.Tasks) > 0 && model.InSample(done.Tasks[0].TaskID) {
		e.Warn("IN-SAMPLE: %s scored by a model that was trained on them or on what follows; they prove nothing", quant.Count(done.Tasks[0].Days, "day"))
	}
	return e.Print(scoreReport{done})
}

// scoreReport is the result of score.
type scoreReport struct{ model.Scored }

func (r scoreReport) CSVRows() any { return r.Tasks }

func (r scoreReport) Sections() []output.Section {
	return []output.Section{
		{Lines: []string{fmt.Sprintf("predictions of %s: %d inserted, %d updated, %d unchanged, %d deleted", r.ModelID, r.Inserted, r.Updated, r.Unchanged, r.Deleted)}},
		{Rows: r.Tasks},
	}
}
