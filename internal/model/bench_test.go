package model_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"quant"
	"quant/internal/calendar"
	"quant/internal/factstore"
	"quant/internal/factstore/factstoretest"
	"quant/internal/model"
)

// BenchmarkTrainAndScore trains on eight features of QUANT_BENCH_SYMBOLS (100)
// symbols over 2,520 sessions and scores all that can be scored.
func BenchmarkTrainAndScore(b *testing.B) {
	symbols := 100
	if s := os.Getenv("QUANT_BENCH_SYMBOLS"); s != "" {
		symbols, _ = strconv.Atoi(s)
	}
	const sessions, features, h = 2520, 8, 20
	db, err := factstore.OpenWrite(b.Context(), factstore.Options{Path: b.TempDir() + "/quant.duckdb"})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	_, err = db.Write(b.Context(), "plant", func(ctx context.Context, tx *factstore.Tx) error {
		for _, q := range []string{
			fmt.Sprintf("INSERT INTO features_daily SELECT 'S' || lpad(s::TEXT, 5, '0'), DATE '2000-01-01' + i::INTEGER, 'f' || f, (hash(s, i, f) %% 1000003) / 1000003.0 - 0.5, 'v1', NULL FROM range(%d) a(s), range(%d) b(i), range(%d) c(f)", symbols, sessions, features),
			fmt.Sprintf("INSERT INTO labels SELECT symbol, ts, 'fwd_ret_%dd', 0.01 * feature_value + 0.1 * ((hash(symbol, ts) %% 1000003) / 1000003.0 - 0.5), 'v1' FROM features_daily WHERE feature_name = 'f0' AND ts < DATE '2000-01-01' + %d", h, sessions-h),
			fmt.Sprintf("INSERT INTO labels SELECT symbol, ts, 'direction_%dd', (label_value > 0)::DOUBLE, 'v1' FROM labels", h),
		} {
			if err := factstoretest.Exec(ctx, tx, q); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	first, _ := quant.ParseDate("2000-01-01")
	var days []quant.Date
	for i := range sessions {
		days = append(days, first+quant.Date(i))
	}
	cal := calendar.FromDates(days)
	for _, algo := range []model.Algo{model.Ridge, model.Logistic} {
		name := map[model.Algo]string{model.Ridge: "fwd_ret_", model.Logistic: "direction_"}[algo]
		label, err := model.ParseLabel(fmt.Sprintf("%s%dd@v1", name, h))
		if err != nil {
			b.Fatal(err)
		}
		spec := model.Spec{Algo: algo, Label: label, Alphas: model.DefaultAlphas(),
			Policy: model.Policy{Method: model.Method, Folds: 5, Horizon: h, Embargo: h, MinTrainSessions: 60}}
		for f := range features {
			spec.Features = append(spec.Features, model.Feature{Name: fmt.Sprintf("f%d", f), Version: "v1"})
		}
		b.Run(string(algo), func(b *testing.B) {
			for b.Loop() {
				begun, cpu := time.Now(), cpuSeconds()
				trained, err := model.Train(b.Context(), db, cal, spec)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(time.Since(begun).Seconds(), "train-s")
				b.ReportMetric(cpuSeconds()-cpu, "train-cpu-s")
				begun, cpu = time.Now(), cpuSeconds()
				out, err := model.Score(b.Context(), db, model.ScoreRequest{RunID: "s", ModelID: string(algo), Model: trained.Document, From: first, To: cal.Last(), InSample: model.SkipInSample})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(time.Since(begun).Seconds(), "score-s")
				b.ReportMetric(cpuSeconds()-cpu, "score-cpu-s")
				b.ReportMetric(float64(out.Rows), "predictions")
			}
			var use syscall.Rusage
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &use)
			if runtime.GOOS == "linux" {
				b.ReportMetric(float64(use.Maxrss)/1024, "peak-MiB")
			}
		})
	}
}

// cpuSeconds is what the process has used of all cores.
func cpuSeconds() float64 {
	var use syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &use)
	return float64(use.Utime.Nano()+use.Stime.Nano()) / 1e9
}
