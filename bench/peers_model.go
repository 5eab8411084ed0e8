package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The experiment: features v1, a label, a walk-forward.
const (
	modelLabel   = "fwd_ret_5d"
	modelHorizon = "5"
	modelFolds   = "5"
	modelAlpha   = "1"
	scoreFrom    = "2015-01-01"
	factorLabel  = "fwd_ret_60d"
)

func modelFeatures() []string {
	return []string{"ret_1d", "ret_5d", "ret_20d", "ret_60d", "vol_20d", "gap_open", "hl_range", "volume_ratio_20d"}
}

// design makes the lab with the experiment, and the Parquet files of its features
// and its label.
func (p *peers) design(ctx context.Context) (lab, features, label string, err error) {
	computed, err := p.computed(ctx)
	if err != nil {
		return "", "", "", err
	}
	if lab, err = p.lab(ctx, "designed", computed, []string{"experiments", "create", "bench", "--features", strings.Join(modelFeatures(), "@v1,") + "@v1",
		"--label", modelLabel + "@v1", "--folds", modelFolds, "--algo", "ridge", "--param", "alpha=" + modelAlpha}); err != nil {
		return "", "", "", err
	}
	var columns []string
	for _, name := range modelFeatures() {
		columns = append(columns, fmt.Sprintf("any_value(feature_value) FILTER (feature_name = '%s') AS %[1]s", name))
	}
	if features, err = p.exported(ctx, computed, "features.parquet", "SELECT symbol, ts AS date, "+strings.Join(columns, ", ")+" FROM features_daily WHERE feature_version = 'v1' GROUP BY symbol, ts ORDER BY symbol, ts"); err != nil {
		return "", "", "", err
	}
	label, err = p.label(ctx, computed, modelLabel)
	return lab, features, label, err
}

func (p *peers) label(ctx context.Context, lab, name string) (string, error) {
	return p.exported(ctx, lab, name+".parquet", "SELECT symbol, ts AS date, label_value AS value FROM labels WHERE label_name = '"+name+"' AND label_version = 'v1' ORDER BY symbol, ts")
}

func fits(features, label, out string) []string {
	return []string{"train.py", features, label, modelHorizon, modelFolds, modelAlpha, out}
}

// train compares fitting and judging a model.
func (p *peers) train(ctx context.Context) ([]figure, error) {
	lab, features, label, err := p.design(ctx)
	if err != nil || p.prepare {
		return nil, err
	}
	out := filepath.Join(p.bench.dir, "model.json")
	return p.contest(ctx, contest{
		what: "train, ridge on 8 features, 5 folds", lab: lab, quant: []string{"train", "--experiment", "bench"},
		peer: "Polars with scikit-learn, from features and label as Parquet", script: fits(features, label, out),
		agrees: func(ctx context.Context, dir string) (figure, error) { return p.sameModel(ctx, dir, out) },
	})
}

// score compares predicting.
func (p *peers) score(ctx context.Context) ([]figure, error) {
	designed, features, label, err := p.design(ctx)
	if err != nil {
		return nil, err
	}
	lab, err := p.lab(ctx, "trained", designed, []string{"train", "--experiment", "bench"})
	if err != nil {
		return nil, err
	}
	model := p.file("model.json")
	if _, err := os.Stat(model); err != nil {
		if _, err := process(ctx, p.scripts, p.python, fits(features, label, model)...); err != nil {
			return nil, err
		}
	}
	if p.prepare {
		return nil, nil
	}
	scores := filepath.Join(p.bench.dir, "scores.parquet")
	return p.contest(ctx, contest{
		what: "score, five years", lab: lab, quant: []string{"score", "--model", "experiment:bench", "--from", scoreFrom, "--to", marketLast},
		peer: "Polars and NumPy, from features as Parquet", script: []string{"score.py", features, model, scoreFrom, marketLast, scores},
		agrees: func(ctx context.Context, dir string) (figure, error) {
			return agreement(ctx, dir, "symbol, ts, task_id", "SELECT symbol, ts, task_id, score AS value FROM predictions", fmt.Sprintf("SELECT symbol, date AS ts, 'wf:' || task AS task_id, score AS value FROM '%s'", scores), 1e-6)
		},
	})
}

// report compares judging a factor.
func (p *peers) report(ctx context.Context) ([]figure, error) {
	lab, err := p.computed(ctx)
	if err != nil {
		return nil, err
	}
	label, err := p.label(ctx, lab, factorLabel)
	if err != nil {
		return nil, err
	}
	signal, err := p.signal(ctx, lab)
	if err != nil || p.prepare {
		return nil, err
	}
	report := []string{"factor", "report", "--feature", "ret_20d@v1", "--label", factorLabel + "@v1"}
	out := filepath.Join(p.bench.dir, "report.json")
	figures, err := p.contest(ctx, contest{
		what: "factor report", lab: lab, quant: report, peer: "Polars, from feature, label and bars as Parquet", script: []string{"report.py", signal, label, p.bars, out},
		agrees: func(ctx context.Context, dir string) (figure, error) { return p.sameReport(ctx, dir, report, out) },
	})
	if err != nil {
		return nil, err
	}
	u, err := process(ctx, p.scripts, p.python, "report_alphalens.py", signal, p.bars, out)
	return append(figures, note("factor report: alphalens, once", "%s", u)), err
}

// answer is the standard output of quant in a lab, as JSON.
func (p *peers) answer(ctx context.Context, dir string, into any, args ...string) error {
	cmd := exec.CommandContext(ctx, p.quant, append([]string{"--output", "json"}, args...)...)
	cmd.Dir = dir
	text, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("quant %s: %w", strings.Join(args, " "), err)
	}
	return json.Unmarshal(text, into)
}

func readJSON(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// sameNumbers compares two lists, relative where a value is above the floor.
func sameNumbers(mine, peer []float64, enough float64) figure {
	const floor = 1e-6
	if len(mine) != len(peer) {
		return figure{"the same figures as the peer's", fmt.Sprintf("%d against %d", len(mine), len(peer)), false}
	}
	worst := 0.0
	for i, a := range mine {
		worst = max(worst, math.Abs(a-peer[i])/max(math.Abs(a), math.Abs(peer[i]), floor))
	}
	return figure{"the same figures as the peer's", fmt.Sprintf("%d figures, differences up to %.1e", len(mine), worst), len(mine) > 0 && worst <= enough}
}

// sameModel compares the fits and the measures of the model of a lab.
func (p *peers) sameModel(ctx context.Context, dir, file string) (figure, error) {
	var peer struct {
		Models []struct {
			Intercept                    float64
			Coefficient, Mean, Deviation []float64
		}
		IC       float64 `json:"ic"`
		ICIR     float64 `json:"icir"`
		RankIC   float64 `json:"rank_ic"`
		RankICIR float64 `json:"rank_icir"`
		RMSE     float64 `json:"rmse"`
	}
	if err := readJSON(file, &peer); err != nil {
		return figure{}, err
	}
	type fold struct {
		Intercept    float64
		Coefficients []struct{ Coefficient, Mean, Deviation float64 }
	}
	var mine struct {
		Folds []fold
		Final fold
	}
	files, err := filepath.Glob(filepath.Join(dir, "data", "models", "*.json"))
	if err != nil || len(files) != 1 {
		return figure{}, fmt.Errorf("%d model files in %s: %w", len(files), dir, err)
	}
	if err := readJSON(files[0], &mine); err != nil {
		return figure{}, err
	}
	var measured []struct {
		Metrics string `json:"metrics_json"`
	}
	if err := p.answer(ctx, dir, &measured, "sql", "--meta", "SELECT metrics_json FROM models"); err != nil {
		return figure{}, err
	}
	if len(measured) != 1 {
		return figure{}, fmt.Errorf("%d models in %s", len(measured), dir)
	}
	var metrics struct {
		Overall struct {
			IC       float64 `json:"ic"`
			ICIR     float64 `json:"icir"`
			RankIC   float64 `json:"rank_ic"`
			RankICIR float64 `json:"rank_icir"`
			RMSE     float64 `json:"rmse"`
		}
	}
	if err := json.Unmarshal([]byte(measured[0].Metrics), &metrics); err != nil {
		return figure{}, err
	}
	o := metrics.Overall
	a, b := []float64{o.IC, o.ICIR, o.RankIC, o.RankICIR, o.RMSE}, []float64{peer.IC, peer.ICIR, peer.RankIC, peer.RankICIR, peer.RMSE}
	for _, f := range append(mine.Folds, mine.Final) {
		a = append(a, f.Intercept)
		for _, c := range f.Coefficients {
			a = append(a, c.Coefficient, c.Mean, c.Deviation)
		}
	}
	for _, f := range peer.Models {
		b = append(b, f.Intercept)
		for i := range f.Coefficient {
			b = append(b, f.Coefficient[i], f.Mean[i], f.Deviation[i])
		}
	}
	return sameNumbers(a, b, 1e-6), nil
}

// sameReport compares the figures of a factor report.
func (p *peers) sameReport(ctx context.Context, dir string, args []string, file string) (figure, error) {
	var peer struct {
		IC        float64 `json:"ic"`
		ICIR      float64 `json:"icir"`
		RankIC    float64 `json:"rank_ic"`
		RankICIR  float64 `json:"rank_icir"`
		Decay     [][]float64
		Quantiles []float64
		Spread    float64
		Auto      float64 `json:"autocorrelation"`
		Along     float64 `json:"along_time"`
	}
	if err := readJSON(file, &peer); err != nil {
		return figure{}, err
	}
	type information struct{ Mean, ICIR float64 }
	var mine struct {
		IC     information `json:"ic"`
		RankIC information `json:"rank_ic"`
		Decay  []struct {
			IC     float64 `json:"ic"`
			RankIC float64 `json:"rank_ic"`
		}
		Quantiles []struct{ Mean float64 }
		Spread    float64
		Auto      float64 `json:"rank_autocorrelation"`
		Along     float64 `json:"time_series_mean"`
	}
	if err := p.answer(ctx, dir, &mine, args...); err != nil {
		return figure{}, err
	}
	a := []float64{mine.IC.Mean, mine.IC.ICIR, mine.RankIC.Mean, mine.RankIC.ICIR, mine.Spread, mine.Auto, mine.Along}
	b := []float64{peer.IC, peer.ICIR, peer.RankIC, peer.RankICIR, peer.Spread, peer.Auto, peer.Along}
	for _, d := range mine.Decay {
		a = append(a, d.IC, d.RankIC)
	}
	for _, q := range mine.Quantiles {
		a = append(a, q.Mean)
	}
	for _, d := range peer.Decay {
		b = append(b, d...)
	}
	return sameNumbers(a, append(b, peer.Quantiles...), 1e-6), nil
}
