package pipeline_test

import (
	"strings"
	"testing"

	"quant"
	"quant/internal/factstore/factstoretest"
	"quant/internal/feature"
	"quant/internal/model"
	"quant/internal/pipeline"
	"quant/internal/session/sessiontest"
)

func TestFactsOfAnotherProgramAreReadByNoStage(t *testing.T) {
	t.Parallel()
	s, trained, file := trainedLab(t)
	inside(t, s, pipeline.Recommend, pipeline.RecommendOptions{Strategy: file})
	byFactor := s.Write("f.yaml", strings.Replace(strategyText(byFeature, days), "strategy_id: s", "strategy_id: f", 1))
	stages := map[string]func() error{
		"recommend": func() error {
			_, err := pipeline.Recommend(t.Context(), s.Session, pipeline.RecommendOptions{Strategy: file})
			return err
		},
		"recommend by a feature": func() error {
			_, err := pipeline.Recommend(t.Context(), s.Session, pipeline.RecommendOptions{Strategy: byFactor})
			return err
		},
		"recommend the next day": func() error {
			_, err := pipeline.Recommend(t.Context(), s.Session, pipeline.RecommendOptions{Strategy: file, Asof: day("2024-03-29")})
			return err
		},
		"backtest": func() error {
			_, err := pipeline.Backtest(t.Context(), s.Session, pipeline.BacktestOptions{Strategy: file})
			return err
		},
		"train": func() error {
			_, err := pipeline.Train(t.Context(), s.Session, pipeline.TrainOptions{Experiment: "e", Alphas: []float64{1}})
			return err
		},
		"score": func() error {
			_, err := pipeline.Score(t.Context(), s.Session, pipeline.ScoreOptions{Model: trained, From: *day("2023-06-01"), To: *day("2024-03-29"), InSample: model.SkipInSample})
			return err
		},
		"factor": func() error {
			_, err := pipeline.Factor(t.Context(), s.Session, pipeline.FactorOptions{FactorRequest: feature.FactorRequest{Feature: "ret_20d", Label: "fwd_ret_5d", Quantiles: 2}})
			return err
		},
		"features": func() error {
			_, err := pipeline.Features(t.Context(), s.Session, pipeline.FeaturesOptions{Version: "v1"})
			return err
		},
	}
	for _, c := range []struct {
		table, put, take string
		refused          string // the stages that read them
	}{
		{"predictions", "INSERT INTO predictions_other VALUES ('A', DATE '2024-02-02', '" + trained + "', 'final', 9, 9, TIMESTAMP '2026-01-01')",
			"DELETE FROM predictions_other WHERE score = 9", "recommend"},
		{"features_daily", "INSERT INTO features_v1 SELECT * REPLACE (DATE '2024-02-03' AS ts, now()::TIMESTAMP AS computed_at) FROM features_v1 WHERE symbol = 'A' AND ret_20d IS NOT NULL LIMIT 1; UPDATE features_v1 SET computed_at = NULL WHERE symbol = 'A' AND ts = DATE '2024-02-02'",
			"UPDATE features_v1 SET computed_at = (SELECT max(committed_at) FROM ledger WHERE table_name = 'features_daily') WHERE computed_at IS NULL; DELETE FROM features_v1 WHERE ts = DATE '2024-02-03'", "recommend by a feature,train,score,factor"},
		{"labels", "INSERT INTO labels VALUES ('A', DATE '2030-02-01', 'fwd_ret_5d', 9, 'v1')", "DELETE FROM labels WHERE label_value = 9", "train,factor"},
		{"targets", "INSERT INTO targets_other SELECT * REPLACE ('Z' AS symbol, NULL AS generated_at) FROM targets WHERE \"asof\" = (SELECT max(\"asof\") FROM targets WHERE \"asof\" < DATE '2024-03-29') LIMIT 1",
			"DELETE FROM targets_other WHERE symbol = 'Z'", "recommend the next day,backtest"},
		{"ohlcv", "UPDATE ohlcv SET ingested_at = ingested_at + INTERVAL 1 SECOND WHERE symbol = 'A' AND ts = DATE '2024-02-01'",
			"UPDATE ohlcv SET ingested_at = ingested_at - INTERVAL 1 SECOND WHERE symbol = 'A' AND ts = DATE '2024-02-01'", "recommend,recommend by a feature,recommend the next day,backtest,factor,features"},
	} {
		elsewhere(t, s, c.put)
		// Those that read them first: a stage that writes the table may mend it.
		for name := range strings.SplitSeq(c.refused, ",") {
			if err := stages[name](); quant.CodeOf(err) != quant.Refused || !strings.Contains(err.Error(), c.table+": ") || !strings.Contains(err.Error(), "not written by quant") {
				t.Errorf("%s: %s: %v", c.table, name, err)
			}
		}
		for name, run := range stages {
			if strings.Contains(","+c.refused+",", ","+name+",") {
				continue
			}
			if err := run(); err != nil {
				t.Errorf("%s: %s does not read it: %v", c.table, name, err)
			}
		}
		elsewhere(t, s, c.take)
		for name, run := range stages {
			if err := run(); err != nil {
				t.Errorf("without it, %s: %v", name, err)
			}
		}
	}
	// What the hint says is the way out.
	elsewhere(t, s, "UPDATE predictions_other SET generated_at = NULL; UPDATE coded_parts SET written_at = NULL WHERE table_name = 'predictions'", "INSERT INTO features_other SELECT * REPLACE (DATE '2023-01-02' AS ts, NULL AS computed_at) FROM features_daily WHERE symbol = 'A' AND feature_name = 'ret_20d' LIMIT 1")
	if stages["recommend"]() == nil || stages["score"]() != nil && stages["train"]() == nil {
		t.Error("rows without a stamp are read")
	}
	inside(t, s, pipeline.Features, pipeline.FeaturesOptions{Version: "v1", Force: true})
	for _, name := range []string{"train", "score", "recommend", "backtest"} {
		if err := stages[name](); err != nil {
			t.Errorf("computed anew, %s: %v", name, err)
		}
	}
}

// elsewhere is another program that writes to the Fact DB.
func elsewhere(t *testing.T, s *sessiontest.Session, statements ...string) {
	t.Helper()
	factstoretest.Foreign(t, s.FactPath, statements...)
}
