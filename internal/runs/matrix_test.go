package runs_test

import (
	"fmt"
	"testing"

	"quant"
	"quant/internal/metastore"
	"quant/internal/runs"
)

func TestAMatrixHasAColumnForEachThingThatRunsHave(t *testing.T) {
	t.Parallel()
	s, a, b := looking(t)
	ctx := t.Context()
	for id, k := range map[string]string{a: "x", b: "12"} {
		if err := s.Registry.Log(ctx, id, metastore.Batch{Params: []quant.Param{{Name: "k", Value: k}, {Name: "same", Value: "1"}}}); err != nil {
			t.Fatal(err)
		}
	}
	m, err := runs.ReadMatrix(ctx, s.Meta, []string{a, b})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range m.Columns {
		got = append(got, fmt.Sprintf("%s %v %v %d", c.Field.Name, c.Differs(), c.Numeric(), c.Points))
	}
	if want := "[loss true true 2 k true false 0 lr true true 0 same false true 0]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	if m.Names[b] != "baseline" || len(m.Names) != 1 || m.Runs[1].RunID != b {
		t.Errorf("%v", m.Names)
	}
	loss := m.Column("metrics.loss")
	if order := m.Order(*loss, false); fmt.Sprint(order) != "[1 0]" {
		t.Errorf("by loss: %v", order)
	}
	if order := m.Order(*m.Column("params.k"), true); fmt.Sprint(order) != "[1 0]" { // a number stands before a text
		t.Errorf("by k: %v", order)
	}
	if place, ok := m.Best(*loss, runs.DirectionOf("loss")); !ok || place != 1 {
		t.Errorf("the best is %d", place)
	}
	if place, ok := m.Best(*loss, runs.Higher); !ok || place != 0 {
		t.Errorf("the highest is %d", place)
	}
	if _, ok := m.Best(*m.Column("params.k"), runs.Higher); !ok {
		t.Error("there is a number")
	}
	if m.Column("metrics.none") != nil {
		t.Error("there is a column that nobody has")
	}
	if _, err := runs.ReadMatrix(ctx, s.Meta, []string{a, "ffffffff"}); quant.CodeOf(err) != quant.NotFound {
		t.Error(err)
	}
}

func TestTheWordsOfAMetricSayWhichIsBetter(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]runs.Direction{
		"sharpe": runs.Higher, "best.sharpe": runs.Higher, "max_dd": runs.Higher, "val/accuracy": runs.Higher, "eval_f1": runs.Higher,
		"loss": runs.Lower, "train-loss": runs.Lower, "log_loss": runs.Lower, "turnover": runs.Lower, "val_rmse": runs.Lower, "accuracy_error": runs.Lower,
		"num_trades": runs.Unknown, "glossary": runs.Unknown, "": runs.Unknown, "epoch": runs.Unknown,
	} {
		if got := runs.DirectionOf(name); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}
