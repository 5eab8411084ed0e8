package cli

import (
	"io"
	"reflect"
	"strings"
	"testing"

	"quant/internal/config"
	"quant/internal/output"
	"quant/internal/pipeline"
	"quant/internal/secret"
)

func TestAStageOfAPipelineHasWhatItsCommandAddsAndRecordsNoKey(t *testing.T) {
	t.Parallel()
	lookup := func(name string) (string, bool) { return "hunter2hunter2", name == config.AlphaVantageKey }
	env := &Env{Settings: config.Resolve(nil, lookup, nil), Mask: &secret.Masker{}}
	env.Printer = output.NewPrinter(output.Streams{Out: io.Discard, Err: io.Discard}, env.Mask, env.Mask, func(error) {})
	env.Quiet = true

	fetch := attended(env, pipeline.DefaultFetch("alphavantage")).(pipeline.FetchOptions)
	if fetch.Key != "hunter2hunter2" || fetch.Progress == nil || fetch.Shown == nil || !fetch.Unexamined {
		t.Errorf("%+v", fetch)
	}
	fetch.Progress("A", 1, 2) // stderr is no terminal: nothing is drawn
	fetch.Shown()
	if args := strings.Join(fetch.Command().Args, " "); args != "ingest --provider alphavantage" {
		t.Error(args)
	}
	ingest := attended(env, pipeline.IngestOptions{Files: []string{"a.csv"}}).(pipeline.IngestOptions)
	if ingest.Progress == nil || ingest.Shown == nil || !ingest.Unexamined || len(ingest.Files) != 1 {
		t.Errorf("%+v", ingest)
	}
	labels := pipeline.LabelsOptions{Version: "v1", Horizon: 5}
	if got := attended(env, labels); !reflect.DeepEqual(got, labels) {
		t.Errorf("%+v", got)
	}
}
