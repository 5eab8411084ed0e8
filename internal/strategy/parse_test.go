package strategy_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"quant"
	"quant/internal/strategy"
)

const whole = `strategy_id: momentum_demo
version: "1.0.0"
universe:   {type: symbols, symbols: [IBM, AAPL, "005930", 삼성전자, ^GSPC, BRK.B, NO]}
signal:     {type: factor_rank, order: desc, inputs: {feature_name: ret_20d, feature_version: v1}}
rebalance:  {frequency: weekly, asof_policy: close}
portfolio:  {top_k: 5, weighting: equal}
supervisor: {gross_exposure_cap: 1.0, max_weight_per_symbol: 0.15, max_positions: 10, turnover_cap: 0.30, score_floor: null}
execution:  {price: close, lag_days: 0}
backtest:   {from: "2024-01-01", to: "2025-12-31", fee_bps: 0, slippage_bps: 0, benchmark: null, initial_capital: 1000000}
`

const least = `strategy_id: m
version: "1"
universe:   {type: symbols, symbols: [A]}
signal:     {type: factor_rank, inputs: {feature_name: ret_20d, feature_version: v1}}
rebalance:  {frequency: weekly, asof_policy: close}
portfolio:  {top_k: 5, weighting: equal}
`

func parse(t *testing.T, text string, sets ...string) strategy.Strategy {
	t.Helper()
	s, err := strategy.Parse("s.yaml", []byte(text), sets)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTheFormatOfTheContractIsRead(t *testing.T) {
	t.Parallel()
	s := parse(t, whole)
	if got := strings.Join(s.Universe.Symbols, " "); got != "005930 AAPL BRK.B IBM NO ^GSPC 삼성전자" {
		t.Errorf("symbols: %s", got)
	}
	if s.ID != "momentum_demo" || s.Version != "1.0.0" || s.Portfolio.TopK != 5 || s.Backtest.From.String() != "2024-01-01" || s.Supervisor.ScoreFloor != nil {
		t.Errorf("%s", s.Canonical())
	}
}

func TestWhatTheFileDoesNotSayHasTheDefaultsOfTheContract(t *testing.T) {
	t.Parallel()
	want := `{"strategy_id":"m","version":"1","universe":{"type":"symbols","symbols":["A"]},"signal":{"type":"factor_rank","order":"desc","inputs":{"feature_name":"ret_20d","feature_version":"v1"}},` +
		`"rebalance":{"frequency":"weekly","asof_policy":"close"},"portfolio":{"top_k":5,"weighting":"equal","fill":"none"},` +
		`"supervisor":{"gross_exposure_cap":1,"max_weight_per_symbol":0.15,"max_positions":10,"turnover_cap":0.3,"score_floor":null},"execution":{"price":"close","lag_days":0},` +
		`"backtest":{"from":null,"to":null,"fee_bps":0,"slippage_bps":0,"benchmark":null,"initial_capital":1000000,"cash_rate":0,"delist_after":10,"delisting_return":-0.3}}`
	if got := string(parse(t, least).Canonical()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestASetBeatsTheFile(t *testing.T) {
	t.Parallel()
	s := parse(t, least, "portfolio.top_k=7", "version=1.10", "supervisor.score_floor=-0.5", "universe.symbols=005930,B", "backtest.from=2020-01-02", "backtest.benchmark=005930")
	if s.Portfolio.TopK != 7 || s.Version != "1.10" || *s.Supervisor.ScoreFloor != -0.5 || strings.Join(s.Universe.Symbols, " ") != "005930 B" || s.Backtest.From.String() != "2020-01-02" || s.Backtest.Benchmark != "005930" {
		t.Errorf("%s", s.Canonical())
	}
	if s.DecisionDigest() == parse(t, least).DecisionDigest() {
		t.Error("another decision has the same digest")
	}
	fees := parse(t, least, "backtest.fee_bps=5")
	if fees.DecisionDigest() != parse(t, least).DecisionDigest() || fees.Digest() == parse(t, least).Digest() {
		t.Error("fees are part of the whole digest and not of the decision's")
	}
}

func TestWhatIsWrongIsShownWithItsPlaceAndTheNearestName(t *testing.T) {
	t.Parallel()
	replace := func(old, new string) string {
		if !strings.Contains(least, old) {
			t.Fatalf("no %q", old)
		}
		return strings.Replace(least, old, new, 1)
	}
	for _, c := range []struct {
		what, text string
		sets       []string
		want       string // in message and hint
	}{
		{"unknown key", replace("top_k: 5", "topk: 5"), nil, "s.yaml:6:14: unknown key portfolio.topk|did you mean `portfolio.top_k`?"},
		{"a key of another section", least + "top_k: 3\n", nil, "s.yaml:7:1: unknown key top_k|did you mean `portfolio.top_k`?"},
		{"wrong type", replace("top_k: 5", "top_k: five"), nil, "s.yaml:6:21: portfolio.top_k must be a whole number, not a text"},
		{"a fraction", replace("top_k: 5", "top_k: 2.5"), nil, "portfolio.top_k must be a whole number, not 2.5"},
		{"none", replace("top_k: 5", "top_k: 0"), nil, "s.yaml:6:21: portfolio.top_k is 0; it must be at least 1"},
		{"missing", replace("top_k: 5, ", ""), nil, "s.yaml:6:1: portfolio.top_k is missing"},
		{"missing section", replace("portfolio:  {top_k: 5, weighting: equal}\n", ""), nil, "portfolio.top_k is missing"},
		{"duplicate", least + "version: \"2\"\n", nil, "s.yaml:7:1: key version stands twice, first at 2:1"},
		{"NaN", least + "supervisor: {turnover_cap: .nan}\n", nil, "s.yaml:7:28: supervisor.turnover_cap must be a finite number"},
		{"infinite", least + "supervisor: {score_floor: -.inf}\n", nil, "supervisor.score_floor must be a finite number"},
		{"negative", least + "supervisor: {turnover_cap: -0.1}\n", nil, "supervisor.turnover_cap is -0.1; it must be at least 0 and at most 4"},
		{"above one", least + "supervisor: {max_weight_per_symbol: 1.5}\n", nil, "supervisor.max_weight_per_symbol is 1.5; it must be above 0 and at most 1"},
		{"a version that is a number", replace(`"1"`, "1.0"), nil, "s.yaml:2:10: version must be a text, not a number|write it in quotes: \"1.0\""},
		{"a symbol that is a number", replace("[A]", "[A, 005930]"), nil, "symbol 005930 is a number to YAML|write it in quotes: \"005930\""},
		{"a symbol that is a truth value", replace("[A]", "[TRUE]"), nil, "symbol TRUE is a truth value|write it in quotes: \"TRUE\""},
		{"a symbol twice", replace("[A]", "[A, B, A]"), nil, "s.yaml:3:45: symbol A stands twice"},
		{"no symbol", replace("[A]", "[]"), nil, "universe.symbols has no symbol"},
		{"symbols of all", replace("type: symbols", "type: all"), nil, "universe.symbols is not of universe.type all"},
		{"wrong choice", replace("weekly", "weekley"), nil, "s.yaml:5:25: rebalance.frequency cannot be \"weekley\"|did you mean `weekly`?"},
		{"inputs of another type", replace("feature_version: v1", "task_id: wf"), nil, "signal.inputs.feature_version is missing, which signal.type factor_rank needs"},
		{"id", replace("strategy_id: m", "strategy_id: a b"), nil, "s.yaml:1:14: strategy_id cannot be \"a b\"|letters, digits"},
		{"a day that is none", least + "backtest: {from: 2024-02-30}\n", nil, "s.yaml:7:18: backtest.from \"2024-02-30\" is no day|YYYY-MM-DD"},
		{"days in the wrong order", least + "backtest: {from: 2024-02-03, to: 2024-01-01}\n", nil, "backtest.to 2024-01-01 is before backtest.from 2024-02-03"},
		{"anchor", replace("{top_k: 5, weighting: equal}", "&a {top_k: 5, weighting: equal}"), nil, "portfolio must be a mapping, not an anchor or alias"},
		{"alias", replace("version: \"1\"", "version: *a"), nil, "version must be a text, not an anchor or alias"},
		{"merge", least + "<<: {version: 1}\n", nil, "an anchor or alias, which the format does not have cannot be a key"},
		{"tag", replace("version: \"1\"", "version: !!str 1"), nil, "version must be a text, not a tag"},
		{"two documents", least + "---\n" + least, nil, "s.yaml:8:12: a second document"},
		{"nothing", "# only this\n", nil, "the file is empty"},
		{"no mapping", "- a\n", nil, "the file must be a mapping, not a list"},
		{"no YAML", "a: [\n", nil, "s.yaml:1:4: not valid YAML"},
		{"huge", strings.Repeat("# ", strategy.MaxBytes), nil, "more than 262144"},
		{"deep", "a: " + strings.Repeat("[", 100), nil, "nested too deeply"},
		{"far too many keys", strings.Repeat("a:\n", 80_000), nil, "far more keys than a strategy has"},
		{"not UTF-8", "a: \xff", nil, "not UTF-8"},
		{"set unknown", least, []string{"portfolio.topk=3"}, "--set portfolio.topk: unknown key portfolio.topk|did you mean `portfolio.top_k`?"},
		{"set leaf", least, []string{"turnover=0.3"}, "unknown key turnover|did you mean `supervisor.turnover_cap`?"},
		{"set bad", least, []string{"portfolio.top_k=x"}, "--set portfolio.top_k: portfolio.top_k must be a whole number, not a text"},
		{"set nothing", least, []string{"portfolio.top_k"}, "no key=value"},
	} {
		_, err := strategy.Parse("s.yaml", []byte(c.text), c.sets)
		if !errors.Is(err, quant.Invalid) {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		message, hint, _ := strings.Cut(c.want, "|")
		if !strings.Contains(err.Error(), message) || !strings.Contains(quant.HintOf(err), hint) {
			t.Errorf("%s:\n got %v (%s)\nwant %s", c.what, err, quant.HintOf(err), c.want)
		}
	}
}

func TestSeveralProblemsAreToldTogether(t *testing.T) {
	t.Parallel()
	_, err := strategy.Parse("s.yaml", []byte("strategy_id: m\nversionn: \"1\"\nportfolio: {top_k: 0, weighting: equals}\n"), nil)
	problems, ok := errors.AsType[strategy.Problems](err)
	if !ok || len(problems) < 5 || problems[0].Where != "s.yaml:2:1" || problems[0].Key != "versionn" {
		t.Errorf("%v: %+v", err, problems)
	}
	if strings.Count(err.Error(), "\n") > 0 {
		t.Errorf("more than one line: %v", err)
	}
}

func TestTheSameStrategyWrittenOtherwiseHasTheSameDigest(t *testing.T) {
	t.Parallel()
	other := "\ufeff# a comment\nportfolio:\n  weighting: equal\n  top_k: 5.0\nrebalance:\n  frequency: weekly\n  asof_policy: close\nsignal:\n  type: factor_rank\n  inputs:\n    feature_name: ret_20d\n    feature_version: v1\n" +
		"universe:\n  type: symbols\n  symbols:\n  - A\nversion: '1'\nstrategy_id: m\n"
	if parse(t, other).Digest() != parse(t, least).Digest() {
		t.Errorf("%s", parse(t, other).Canonical())
	}
}

func TestItIsSaidHowMuchCanBeInvestedAtMost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		sets []string
		want string
	}{
		{[]string{"universe.symbols=A,B,C,D,E"}, "at most 75 % of equity can be invested: 5 names of at most 15 % each"},
		{[]string{"universe.symbols=A,B,C,D,E", "supervisor.max_weight_per_symbol=0.2"}, ""},
		{[]string{"universe.symbols=A,B,C,D,E", "portfolio.top_k=10"}, "at most 50 %"},
		{[]string{"universe.symbols=A,B,C,D,E", "supervisor.gross_exposure_cap=0.7"}, ""},
		{[]string{"universe.symbols=A,B,C,D,E", "supervisor.max_weight_per_symbol=0.5", "supervisor.max_positions=3"}, "at most 60 %"},
	} {
		if got := strings.Join(parse(t, least, c.sets...).Notices(), "\n"); !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%v: %q", c.sets, got)
		}
	}
}

// A cap for all sectors keeps the form, and so the digest, that it always had.
func TestSectorCapsHaveOneForm(t *testing.T) {
	t.Parallel()
	of := func(value string) string {
		t.Helper()
		s, err := strategy.Parse("s.yaml", []byte(least), []string{"supervisor.sector_cap=" + value})
		if err != nil {
			t.Fatal(value, err)
		}
		_, rest, _ := strings.Cut(string(s.Canonical()), `"score_floor":null`)
		rest, _, _ = strings.Cut(rest, `},"execution"`)
		return rest
	}
	for value, want := range map[string]string{
		"null":                            "",
		"0.3":                             `,"sector_cap":0.3`,
		"1":                               `,"sector_cap":1`,
		"{default: 0.3}":                  `,"sector_cap":0.3`,
		"{default: 0.3, Technology: 0.3}": `,"sector_cap":0.3`,
		"{Technology: 0.3}":               `,"sector_cap":{"Technology":0.3}`,
		`{default: 0.25, "금융": 0.5, "45": 0.1, Energy: 0.25}`: `,"sector_cap":{"45":0.1,"default":0.25,"금융":0.5}`,
	} {
		if got := of(value); got != want {
			t.Errorf("%s is %s, not %s", value, got, want)
		}
	}
	s, err := strategy.Parse("s.yaml", []byte(least), []string{"supervisor.sector_cap={Technology: 0.3, default: 0.25}"})
	if err != nil {
		t.Fatal(err)
	}
	settings := s.Settings()
	at := slices.IndexFunc(settings, func(one strategy.Setting) bool { return one.Key == "supervisor.sector_cap" })
	again, err := strategy.Parse("s.yaml", []byte(least), []string{"supervisor.sector_cap=" + settings[at].Value})
	if err != nil || again.Digest() != s.Digest() {
		t.Errorf("%q is another strategy: %v", settings[at].Value, err)
	}
	for value, want := range map[string]string{
		"{45: 0.3}":                            `sector 45 is a number to YAML`,
		"{A: 0.3, A: 0.2}":                     "sector A stands twice",
		"{A: 2}":                               "supervisor.sector_cap of A is 2; it must be above 0 and at most 1",
		"{A: big}":                             "supervisor.sector_cap of A must be a number, not a text",
		"{}":                                   "names no sector",
		"[0.3]":                                "must be a number, not a list",
		"{default: 0.2, '': 1, '" + "\\t': 1}": `"" cannot be a sector`,
	} {
		if _, err := strategy.Parse("s.yaml", []byte(least), []string{"supervisor.sector_cap=" + value}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, not %s", value, err, want)
		}
	}
}
