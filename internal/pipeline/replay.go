package pipeline

import (
	"encoding/csv"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"quant"
	"quant/internal/metastore"
	"quant/internal/model"
	"quant/internal/parquet"
	"quant/internal/secret"
)

// repeatable reports, as Refused, a run that is not repeated: of a kind that is not,
// one that did not succeed, or one whose command line was masked or not recorded.
func repeatable(run metastore.RunDetail) error {
	if run.Status != quant.Success {
		return quant.Errorf(quant.Refused, "run %s ended as %s: only a SUCCESS has a result to reproduce", run.RunID, run.Status).
			WithHint("`quant runs show %s` says what happened", quant.ShortID(run.RunID))
	}
	switch run.Kind {
	case string(StageFeatures), string(StageLabels), string(StageTrain), string(StageScore), string(StageRecommend), string(StageBacktest), RunKind:
	default:
		return quant.Errorf(quant.Refused, "run %s is of the kind %s, which is not reproduced", run.RunID, run.Kind).
			WithHint("features, labels, train, score, recommend, backtest and pipeline.run are")
	}
	if r, err := readRecord(run); err == nil && r.text(unitFingerprintFlag) != "" {
		return quant.Errorf(quant.Refused, "run %s worked out a part of what run %s did", run.RunID, run.Process.ParentRunID).WithHint("`quant repro %s` repeats all of it", quant.ShortID(string(run.Process.ParentRunID)))
	}
	var argv []string
	if err := json.Unmarshal(run.Process.Argv, &argv); err != nil || len(argv) < 2 {
		return quant.Errorf(quant.Refused, "run %s has no command line on record", run.RunID)
	}
	for _, arg := range argv {
		if strings.Contains(arg, secret.Placeholder) {
			return quant.Errorf(quant.Refused, "run %s cannot be run again: a secret in its command line was masked (%s)", run.RunID, arg).
				WithHint("give secrets in the environment or in .env, never on the command line")
		}
	}
	return nil
}

// Replay returns what the run of a stage was asked for, as its record says it.
// Refused: a part of that was masked, or it was not recorded, or the run is of a
// kind that is not repeated, or it did not succeed.
func Replay(run metastore.RunDetail) (Call, error) {
	if err := repeatable(run); err != nil {
		return nil, err
	}
	r, err := readRecord(run)
	if err != nil {
		return nil, err
	}
	var call Call
	switch Stage(run.Kind) {
	case StageFeatures:
		call = FeaturesOptions{Version: r.text("feature-version"), File: r.text("file"), Symbols: r.symbols(), AcceptRaw: r.yes("accept-raw"), Force: r.yes("force")}
	case StageLabels:
		call = LabelsOptions{Version: r.text("label-version"), Horizon: r.integer("horizon"), Symbols: r.symbols(), AcceptRaw: r.yes("accept-raw"), Force: r.yes("force")}
	case StageTrain:
		call = r.train()
	case StageScore:
		call = r.score()
	case StageRecommend:
		call = RecommendOptions{
			Strategy: r.text("strategy"), Set: r.list("set"), Asof: r.day("asof"), From: r.day("from"), To: r.day("to"), AcceptRaw: r.yes("accept-raw"),
		}
	case StageBacktest:
		call = BacktestOptions{
			Strategy: r.text("strategy"), Set: r.list("set"), From: r.day("from"), To: r.day("to"), Lag: given(r, "lag", r.integer),
			FeeBPS: given(r, "fee-bps", r.number), SlippageBPS: given(r, "slippage-bps", r.number), InitialCapital: given(r, "initial-capital", r.number),
			Benchmark: given(r, "benchmark", r.text), AcceptRaw: r.yes("accept-raw"), AllowInSample: r.yes("allow-in-sample"), AsOf: r.text("as-of"),
		}
	default:
		return nil, quant.Errorf(quant.Refused, "run %s is no stage", run.RunID)
	}
	if r.err != nil {
		return nil, quant.Errorf(quant.Refused, "run %s cannot be run again: what it was asked for cannot be read: %w", run.RunID, r.err)
	}
	return call, nil
}

// record is what a run was asked for: the values of all flags of its command, and
// which of them were given. A value that cannot be read is the error.
type record struct {
	flags map[string]string
	given map[string]bool
	args  []string // what is neither the command nor a flag
	err   error
}

func readRecord(run metastore.RunDetail) (*record, error) {
	var config struct {
		Argv  []string          `json:"argv"`
		Flags map[string]string `json:"flags"`
		Args  []string          `json:"args"`
	}
	if err := json.Unmarshal(run.ConfigJSON, &config); err != nil || len(config.Argv) < 2 || config.Flags == nil {
		return nil, quant.Errorf(quant.Refused, "run %s has no flags on record", run.RunID)
	}
	return &record{flags: config.Flags, args: config.Args, given: givenFlags(config.Argv[1:], config.Flags)}, nil
}

// givenFlags are the names of the flags on a command line. A flag takes the next
// word unless its recorded value is that of a switch.
func givenFlags(args []string, flags map[string]string) map[string]bool {
	given := map[string]bool{}
	for i := 0; i < len(args) && args[i] != "--"; i++ {
		flag, long := strings.CutPrefix(args[i], "--")
		if !long {
			continue
		}
		name, _, joined := strings.Cut(flag, "=")
		given[name] = true
		if value := flags[name]; !joined && value != "true" && value != "false" {
			i++
		}
	}
	return given
}

func (r *record) text(name string) string { return r.flags[name] }

func (r *record) yes(name string) bool { return r.flags[name] == "true" }

func (r *record) integer(name string) int {
	n, err := strconv.Atoi(r.flags[name])
	r.fail(err)
	return n
}

func (r *record) number(name string) float64 {
	v, err := strconv.ParseFloat(r.flags[name], 64)
	r.fail(err)
	return v
}

func (r *record) day(name string) *quant.Date {
	if r.flags[name] == "" {
		return nil
	}
	d, err := quant.ParseDate(r.flags[name])
	r.fail(err)
	return &d
}

func (r *record) algo() model.Algo {
	if r.flags["algo"] == "" {
		return ""
	}
	algo, err := model.ParseAlgo(r.flags["algo"])
	r.fail(err)
	return algo
}

func (r *record) train() TrainOptions {
	o := TrainOptions{Experiment: r.text("experiment"), Algo: r.algo(), Validation: Validation(r.text("validation")), Importance: model.ImportanceMethod(r.text("importance"))}
	if groups := given(r, "groups", r.integer); groups != nil {
		o.Groups = *groups
	}
	if groups := given(r, "test-groups", r.integer); groups != nil {
		o.TestGroups = *groups
	}
	if len(r.args) == 0 {
		o.Alphas = r.alphas()
		return o
	}
	o.Program, o.Params, o.Format, o.Proof = r.args, r.list("param"), parquet.Format(r.text("format")), model.ProofScope(r.text("proof"))
	if text := r.text("timeout"); text != "" {
		var err error
		o.Timeout, err = time.ParseDuration(text)
		r.fail(err)
	}
	return o
}

func (r *record) alphas() []float64 {
	alphas, err := ParseParams(r.list("param"))
	r.fail(err)
	return alphas
}

func (r *record) score() ScoreOptions {
	o := ScoreOptions{Model: r.text("model"), From: valueOf(r.day("from")), To: valueOf(r.day("to"))}
	if asof := r.day("asof"); asof != nil {
		o.From, o.To = *asof, *asof
	}
	if text := r.text("timeout"); text != "" {
		var err error
		o.Timeout, err = time.ParseDuration(text)
		r.fail(err)
	}
	switch {
	case r.yes("skip-in-sample"):
		o.InSample = model.SkipInSample
	case r.yes("allow-in-sample"):
		o.InSample = model.AllowInSample
	}
	return o
}

// list is a flag that may be given again: a line of CSV in brackets.
func (r *record) list(name string) []string {
	text := strings.TrimSuffix(strings.TrimPrefix(r.flags[name], "["), "]")
	if text == "" {
		return nil
	}
	list, err := csv.NewReader(strings.NewReader(text)).Read()
	r.fail(err)
	return list
}

func (r *record) symbols() []string {
	if r.flags["symbols"] == "" {
		return nil
	}
	list := strings.Split(r.flags["symbols"], ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

func (r *record) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// given is a flag's value, nil where it was not given: its value is a default then.
func given[T any](r *record, name string, read func(string) T) *T {
	if !r.given[name] {
		return nil
	}
	v := read(name)
	return &v
}
