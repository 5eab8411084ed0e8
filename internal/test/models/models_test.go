// Package models proves that the programs of examples/models train and score through
// quant, with what they need from PyPI, and that quant hands them exactly the folds
// that it says.
package models

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"quant/internal/test/labtest"
	"quant/internal/test/soak"
	"quant/internal/test/tried"
)

func TestMain(m *testing.M) { labtest.Main(m) }

// python is an interpreter that has what the examples need, but for PyTorch.
func python(t *testing.T) string {
	t.Helper()
	return tried.Python(t, "QUANT_TEST_MODELS_PYTHON", filepath.Join("python", "requirements.txt"))
}

// market is a lab with features and labels of six symbols over two years, and an
// experiment for each kind of label.
func market(t *testing.T) *labtest.Lab {
	l := labtest.New(t)
	var b strings.Builder
	b.WriteString("date,symbol,open,high,low,close,volume\n")
	state := uint64(88172645463325252)
	draw := func() float64 { // xorshift: the same on every machine
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		return float64(state>>11)/(1<<53) - 0.5
	}
	prices := map[string]float64{}
	symbols := []string{"A", "B", "C", "D", "E", "F"}
	for day, n := time.Date(2022, 1, 3, 0, 0, 0, 0, time.UTC), 0; n < 500; day = day.AddDate(0, 0, 1) {
		if day.Weekday() == time.Saturday || day.Weekday() == time.Sunday {
			continue
		}
		for k, symbol := range symbols {
			if n == 0 {
				prices[symbol] = 100
			}
			prices[symbol] *= 1 + 0.05*draw() + 0.002*math.Sin(float64(n)/float64(9+4*k))
			c := prices[symbol]
			fmt.Fprintf(&b, "%s,%s,%.4f,%.4f,%.4f,%.4f,%d\n", day.Format(time.DateOnly), symbol, c, c*1.02, c*0.98, c, 1000+n)
		}
		n++
	}
	l.Write("prices.csv", []byte(b.String()))
	l.Must("ingest", "--quiet", "prices.csv")
	l.Must("features", "--quiet", "--feature-version", "v1")
	l.Must("labels", "--quiet", "--horizon", "5")
	l.Must("experiments", "create", "returns", "--features", "ret_5d@v1,ret_20d@v1,vol_20d@v1", "--label", "fwd_ret_5d@v1", "--folds", "3", "--seed", "7")
	l.Must("experiments", "create", "directions", "--features", "ret_5d@v1,ret_20d@v1,vol_20d@v1", "--label", "direction_5d@v1", "--folds", "2", "--seed", "7")
	return l
}

func example(t *testing.T, name string) string {
	path, err := filepath.Abs(filepath.Join("..", "..", "..", "examples", "models", name))
	labtest.Must(t, err)
	return path
}

// predictionsEqual is what the stored predictions of walk-forward folds differ from
// those that were judged.
const predictionsEqual = `SELECT count(*) FROM predictions p JOIN read_parquet('%s') j ON j.symbol = p.symbol AND j.ts = p.ts AND j.fold = p.task_id WHERE p.model_id = '%s' AND j.score IS DISTINCT FROM p.score`

func TestTheExamplesTrainAndScore(t *testing.T) {
	t.Setenv("QUANT_CALENDAR", "data")
	program := python(t)
	l := market(t)
	model := regexp.MustCompile(`program-[0-9a-f]{12}`)
	for _, name := range []string{"lightgbm_model.py", "xgboost_model.py", "sklearn_model.py"} {
		for _, experiment := range []string{"returns", "directions"} {
			trained := l.Must("train", "--experiment", experiment, "--algo", "program", "--", program, example(t, name))
			if !strings.Contains(trained.Stdout, "come out the same without what follows, and by the model that it kept") {
				t.Errorf("%s: nothing was proved: %s", name, trained.Stdout)
			}
			kept := l.Must("runs", "artifact", "last", "predictions.parquet")
			l.Write("judged.parquet", []byte(kept.Stdout))
			id := model.FindString(trained.Stdout)
			l.Must("score", "--model", id, "--from", "2022-01-03", "--to", "2024-12-31", "--skip-in-sample", "--quiet")
			if got := l.FactRows(fmt.Sprintf(predictionsEqual, l.Path("judged.parquet"), id)); strings.TrimSpace(got) != "0" {
				t.Errorf("%s, %s: what scores is not what was judged: %s rows differ", name, experiment, got)
			}
			if got := l.FactRows("SELECT count(*) > 100 FROM predictions WHERE model_id = '" + id + "'"); strings.TrimSpace(got) != "true" {
				t.Errorf("%s, %s: few predictions: %s", name, experiment, got)
			}
		}
	}
}

// LightGBM through the protocol predicts what it predicts where the same folds are
// trained by hand, to the bit.
func TestLightGBMByHandPredictsTheSame(t *testing.T) {
	t.Setenv("QUANT_CALENDAR", "data")
	program := python(t)
	l := market(t)
	trained := l.Must("train", "--quiet", "--experiment", "returns", "--output", "json", "--", program, example(t, "lightgbm_model.py"))
	if !json.Valid([]byte(trained.Stdout)) {
		t.Fatalf("train printed %s", trained.Stdout)
	}
	l.Write("train.json", []byte(trained.Stdout))
	l.Write("judged.parquet", []byte(l.Must("runs", "artifact", "last", "predictions.parquet").Stdout))
	l.Write("features.csv", []byte(l.Must("sql", "--output", "csv", "--limit", "0", "SELECT symbol, ts, feature_name, feature_value FROM features_daily WHERE feature_version = 'v1' AND feature_name IN ('ret_5d', 'ret_20d', 'vol_20d')").Stdout))
	l.Write("labels.csv", []byte(l.Must("sql", "--output", "csv", "--limit", "0", "SELECT symbol, ts, label_value FROM labels WHERE label_name = 'fwd_ret_5d' AND label_version = 'v1'").Stdout))
	out, err := exec.Command(program, filepath.Join("python", "by_hand.py"), l.Path("features.csv"), l.Path("labels.csv"), l.Path("train.json"), l.Path("judged.parquet")).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "predictions are equal to the bit") {
		t.Fatalf("by hand: %v: %s", err, labtest.Clipped(string(out)))
	}
}

// PyPI's PyTorch for Linux takes 6 GB with the CUDA libraries without which it does not
// load. It is installed where everything is tried in full, as the nightly run does; else
// QUANT_TEST_TORCH_PYTHON may name a Python that has it.
func TestTheTorchExampleTrainsAndScores(t *testing.T) {
	t.Setenv("QUANT_CALENDAR", "data")
	if os.Getenv("QUANT_TEST_TORCH_PYTHON") == "" && (!soak.Full(t) || os.Getenv("QUANT_TEST_EVERYTHING") == "") {
		t.Skip("not tried: PyTorch takes 6 GB; the nightly run installs it, or QUANT_TEST_TORCH_PYTHON names a Python that has it")
	}
	program := tried.Python(t, "QUANT_TEST_TORCH_PYTHON", filepath.Join("python", "torch.txt"))
	l := market(t)
	for _, experiment := range []string{"returns", "directions"} {
		l.Must("train", "--experiment", experiment, "--algo", "program", "--param", "epochs=2", "--", program, example(t, "torch_model.py"))
		l.Must("score", "--model", "experiment:"+experiment, "--from", "2022-01-03", "--to", "2024-12-31", "--skip-in-sample", "--quiet")
		if got := l.FactRows("SELECT count(*) > 100 FROM predictions WHERE model_id LIKE 'program-%'"); strings.TrimSpace(got) != "true" {
			t.Errorf("%s: few predictions: %s", experiment, got)
		}
	}
}
