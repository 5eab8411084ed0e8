package pipeline

import (
	"slices"
	"testing"

	"quant/internal/factstore"
)

func TestEveryTableThatARunWritesIsAStagesAndMarksNoOther(t *testing.T) {
	t.Parallel()
	for _, table := range factstore.Tables() {
		if table.Kind == "" {
			continue
		}
		if !slices.Contains(Stages(), Stage(table.Kind)) {
			t.Errorf("%s is written by %s, which is no stage", table.Name, table.Kind)
		}
		if !slices.Contains(Stage(table.Kind).Writes(), table.Name) {
			t.Errorf("%s does not write %s", table.Kind, table.Name)
		}
	}
	for _, c := range []struct {
		stage Stage
		table string
		reads bool
	}{
		{StageFeatures, factstore.OHLCV, true}, {StageFeatures, factstore.FeaturesDaily, false}, {StageFeatures, factstore.FactInputs, false},
		{StageRecommend, factstore.Predictions, true}, {StageRecommend, factstore.BacktestSummary, false}, {StageIngest, factstore.Labels, false},
		{StageBacktest, "a table that nobody knows", true},
	} {
		if got := c.stage.reads(c.table); got != c.reads {
			t.Errorf("%s reads %s: %v", c.stage, c.table, got)
		}
	}
}
