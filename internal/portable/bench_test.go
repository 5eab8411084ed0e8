package portable_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"quant"
	"quant/internal/metastore"
	"quant/internal/portable"
	"quant/internal/test/soak"
)

// BenchmarkAThousandRuns exports and imports 1,000 runs with 100 metrics of 100
// points; with QUANT_SOAK unset, a tenth of the runs.
func BenchmarkAThousandRuns(b *testing.B) {
	runs := soak.Count(b, 100, 1000)
	random := rand.New(rand.NewPCG(1, 1))
	from := newLab(b)
	var ids []string
	for n := range runs {
		id := runID(n)
		ids = append(ids, id)
		ok(b, from.Meta.CreateRun(b.Context(), quant.Run{RunID: id, Kind: "exec", Status: quant.Running, StartedAt: at(n)}, quant.RunProcess{RunID: id}))
		var batch metastore.Batch
		for m := range 100 {
			for i := range 100 {
				batch.Metrics = append(batch.Metrics, quant.MetricPoint{
					RunID: id, Name: fmt.Sprintf("metric_%03d", m), Step: int64(i), Value: random.NormFloat64(), LoggedAt: at(n + i),
				})
			}
		}
		ok(b, from.Meta.Log(b.Context(), batch))
		ok(b, from.Meta.FinishRun(b.Context(), metastore.RunEnd{RunID: id, Status: quant.Success, EndedAt: at(n + 1)}))
	}
	path := filepath.Join(b.TempDir(), "runs.qrx")
	for b.Loop() {
		begun := time.Now()
		f := must(os.Create(path))
		_, err := export(b.Context(), from.Lab, ids, f)
		ok(b, err)
		b.ReportMetric(time.Since(begun).Seconds(), "s/export")
		b.ReportMetric(float64(must(f.Seek(0, io.SeekCurrent)))/1e6, "MB")
		to := newLab(b)
		begun = time.Now()
		must(f.Seek(0, io.SeekStart))
		done, err := portable.Import(b.Context(), to.Lab, f, options)
		ok(b, err)
		b.ReportMetric(time.Since(begun).Seconds(), "s/import")
		begun = time.Now()
		must(f.Seek(0, io.SeekStart))
		_, err = portable.Import(b.Context(), to.Lab, f, options)
		ok(b, err)
		b.ReportMetric(time.Since(begun).Seconds(), "s/skip")
		if done.File.Points != int64(runs)*10_000 {
			b.Fatal(done.File)
		}
		ok(b, f.Close())
		if again := to.export(b, ids...); !bytes.Equal(again, must(os.ReadFile(path))) {
			b.Fatal("exported again it is another file")
		}
	}
}
