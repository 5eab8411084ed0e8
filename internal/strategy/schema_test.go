package strategy_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"quant/internal/strategy"
)

// schema is the format's JSON Schema, compiled by an independent validator.
func schema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(strategy.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("strategy.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("strategy.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// instance is what an editor sees of a YAML file.
func instance(t testing.TB, text string) any {
	t.Helper()
	b, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestTheShippedStrategiesAreValidByParserAndSchema(t *testing.T) {
	t.Parallel()
	s := schema(t)
	files, err := filepath.Glob("../../strategies/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no strategies", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(data, []byte("# ")) {
			t.Errorf("%s does not say what it is", file)
		}
		parsed, err := strategy.Parse(file, data, nil)
		if err != nil {
			t.Error(err)
		}
		if err := s.Validate(instance(t, string(data))); err != nil {
			t.Error(err)
		}
		if n := parsed.Notices(); len(n) > 0 {
			t.Errorf("%s: %v", file, n)
		}
	}
}

func TestParserAndSchemaAgree(t *testing.T) {
	t.Parallel()
	s := schema(t)
	check := func(old, new, base string) {
		t.Helper()
		text := strings.Replace(base, old, new, 1)
		if old != "" && text == base {
			t.Fatalf("no %q", old)
		}
		_, parsed := strategy.Parse("s.yaml", []byte(text), nil)
		if byEditor := s.Validate(instance(t, text)); (parsed == nil) != (byEditor == nil) {
			t.Errorf("%q: parser says %v, schema says %v", new, parsed, byEditor)
		}
	}
	for _, c := range []struct{ old, new string }{
		{"", ""},
		{"top_k: 5", "top_k: 5.0"},
		{"rebalance:", "supervisor: {sector_cap: 0.3}\nrebalance:"},
		{"rebalance:", "supervisor: {sector_cap: 0}\nrebalance:"},
		{"rebalance:", "supervisor: {sector_cap: null}\nrebalance:"},
		{"rebalance:", "supervisor: {sector_cap: Technology}\nrebalance:"},
		{"rebalance:", "supervisor: {sector_cap: [0.3]}\nrebalance:"},
		{"rebalance:", "supervisor: {sector_cap: {}}\nrebalance:"},
		{"rebalance:", "supervisor: {sector_cap: {Technology: 0.3}}\nrebalance:"},
		{"rebalance:", "supervisor: {sector_cap: {Technology: 0.3, default: 0.25, 정보 기술: 1}}\nrebalance:"},
		{"rebalance:", "supervisor: {sector_cap: {Technology: 1.1}}\nrebalance:"},
		{"rebalance:", "supervisor: {sector_cap: {Technology: 0, default: 0.3}}\nrebalance:"},
		{"rebalance:", "supervisor: {sector_cap: {Technology: null}}\nrebalance:"},
		{"rebalance:", "supervisor: {sector_cap: {Technology: {Software: 0.1}}}\nrebalance:"},
		{"rebalance:", "supervisor: {sector_cap: {' Technology': 0.1}}\nrebalance:"},
		{"rebalance:", "supervisor: {sector_cap: {'': 0.1}}\nrebalance:"},
		{"top_k: 5", "top_k: 0"},
		{"top_k: 5", "top_k: -1"},
		{"top_k: 5", "top_k: 100001"},
		{"top_k: 5", "top_k: 2.5"},
		{"top_k: 5", "top_k: five"},
		{"top_k: 5", "top_k: true"},
		{"top_k: 5", "top_k: null"},
		{"top_k: 5", "topk: 5"},
		{"top_k: 5, ", ""},
		{"weighting: equal", "weighting: score_weighted, fill: redistribute"},
		{"weighting: equal", "weighting: EQUAL"},
		{"weighting: equal", "weighting: equal, fill: all"},
		{"strategy_id: m", "strategy_id: a b"},
		{"strategy_id: m", "strategy_id: .m"},
		{"strategy_id: m", "strategy_id: m#1"},
		{"strategy_id: m", "strategy_id: " + strings.Repeat("m", 65)},
		{"strategy_id: m", ""},
		{`version: "1"`, "version: 1"},
		{`version: "1"`, `version: ""`},
		{"[A]", "[]"},
		{"[A]", "[A, A]"},
		{"[A]", "[A, 1]"},
		{"[A]", "[A, 'a b']"},
		{"[A]", "A"},
		{"{type: symbols, symbols: [A]}", "{type: all}"},
		{"{type: symbols, symbols: [A]}", "{type: all, symbols: [A]}"},
		{"{type: symbols, symbols: [A]}", "{type: symbols}"},
		{"{type: symbols, symbols: [A]}", "{symbols: [A]}"},
		{"{type: symbols, symbols: [A]}", "[A]"},
		{"type: factor_rank", "type: model_score"},
		{"type: factor_rank, inputs: {feature_name: ret_20d, feature_version: v1}", "type: model_score, inputs: {model_id: m, task_id: wf}"},
		{"type: factor_rank, inputs: {feature_name: ret_20d, feature_version: v1}", "type: model_score"},
		{"type: factor_rank", "type: factor_rank, order: asc"},
		{"type: factor_rank", "type: factor_rank, order: down"},
		{"feature_version: v1", "feature_version: v1, model_id: m"},
		{"feature_version: v1", "feature_version: 1"},
		{", asof_policy: close", ""},
		{"asof_policy: close", "asof_policy: open"},
		{"weekly", "yearly"},
		{"rebalance:", "balance:"},
		{"portfolio:", "supervisor: {}\nportfolio:"},
		{"portfolio:", "supervisor: null\nportfolio:"},
		{"portfolio:", "supervisor: {gross_exposure_cap: 0}\nportfolio:"},
		{"portfolio:", "supervisor: {gross_exposure_cap: 1.01}\nportfolio:"},
		{"portfolio:", "supervisor: {max_weight_per_symbol: 1e-9, max_positions: 1, turnover_cap: 0, score_floor: -3}\nportfolio:"},
		{"portfolio:", "supervisor: {turnover_cap: 2}\nportfolio:"},
		{"portfolio:", "supervisor: {turnover_cap: null}\nportfolio:"},
		{"portfolio:", "supervisor: {score_floor: low}\nportfolio:"},
		{"portfolio:", "execution: {price: open}\nportfolio:"},
		{"portfolio:", "execution: {lag_days: 21}\nportfolio:"},
		{"portfolio:", "execution: {price: open, lag_days: 0}\nportfolio:"},
		{"portfolio:", "execution: {price: open, lag_days: 1, max_volume_share: 0.1}\nportfolio:"},
		{"portfolio:", "execution: {max_volume_share: 0}\nportfolio:"},
		{"portfolio:", "execution: {max_volume_share: null}\nportfolio:"},
		{"portfolio:", "backtest: {impact: 0.5, borrow_bps: 50, short_rebate: 0.02, margin_initial: 0.6, margin_maintenance: 0.3}\nportfolio:"},
		{"portfolio:", "backtest: {margin_initial: 0}\nportfolio:"},
		{"portfolio:", "supervisor: {net_exposure_cap: 0.1}\nportfolio:"},
		{"weighting: equal", "weighting: equal, side: long"},
		{"weighting: equal", "weighting: equal, side: short"},
		{"weighting: equal", "weighting: equal, short_k: 2"},
		{"weighting: equal", "weighting: equal, side: long, long_exposure: 1"},
		{"weighting: equal", "weighting: equal, side: long_short"},
		{"weighting: equal", "weighting: equal, side: long_short, short_k: 3, long_exposure: 1.3, short_exposure: 0.3"},
		{"weighting: equal", "weighting: equal, side: long_short, long_exposure: 0, short_exposure: 0"},
		{"weighting: equal", "weighting: equal, side: long_short, long_exposure: 0"},
		{"weighting: equal", "weighting: score_weighted, side: long_short"},
		{"portfolio:  {top_k: 5, weighting: equal}", "portfolio: {top_k: 5, weighting: equal, side: long_short}\nsupervisor: {gross_exposure_cap: 1.5, turnover_cap: 3, net_exposure_cap: 0}"},
		{"portfolio:", "execution: {lag_days: 1, price: close}\nportfolio:"},
		{"portfolio:", "backtest: {from: 2024-01-01, to: null, benchmark: SPY, initial_capital: 1}\nportfolio:"},
		{"portfolio:", "backtest: {from: 2024-1-1}\nportfolio:"},
		{"portfolio:", "backtest: {from: 20240101}\nportfolio:"},
		{"portfolio:", "backtest: {from: 2024-13-01}\nportfolio:"},
		{"portfolio:", "backtest: {fee_bps: -1}\nportfolio:"},
		{"portfolio:", "backtest: {initial_capital: 0}\nportfolio:"},
		{"portfolio:", "backtest: {delist_after: 0}\nportfolio:"},
		{"portfolio:", "backtest: {delisting_return: -1.5}\nportfolio:"},
		{"portfolio:", "backtest: {cash_rate: 2}\nportfolio:"},
		{"portfolio:", "backtest: {benchmark: ''}\nportfolio:"},
		{"portfolio:", "backtest: {fees: 1}\nportfolio:"},
		{"weekly", "quarterly"},
		{"weekly", "every_n_sessions"},
		{"weekly", "every_n_sessions, every: 5"},
		{"weekly", "every_n_sessions, every: 0"},
		{"weekly", "weekly, every: 5"},
		{"{type: symbols, symbols: [A]}", "{type: membership}"},
		{"{type: symbols, symbols: [A]}", "{type: membership, name: sp500}"},
		{"{type: symbols, symbols: [A]}", "{type: membership, name: ../sp500}"},
		{"{type: symbols, symbols: [A]}", "{type: membership, name: sp500, top: 3}"},
		{"{type: symbols, symbols: [A]}", "{type: rule, by: dollar_volume, top: 500}"},
		{"{type: symbols, symbols: [A]}", "{type: rule, by: dollar_volume, window: 20, top: 500}"},
		{"{type: symbols, symbols: [A]}", "{type: rule, by: price, top: 500}"},
		{"{type: symbols, symbols: [A]}", "{type: rule, by: dollar_volume}"},
		{"{type: symbols, symbols: [A]}", "{type: rule, by: dollar_volume, top: 500, symbols: [A]}"},
		{"{type: symbols, symbols: [A]}", "{type: symbols, symbols: [A], name: sp500}"},
		{"weighting: equal", "weighting: risk_parity"},
		{"weighting: equal", "weighting: min_variance, covariance_window: 60"},
		{"weighting: equal", "weighting: mean_variance, covariance_window: 60, risk_aversion: 3"},
		{"weighting: equal", "weighting: mean_variance, risk_aversion: 0"},
		{"weighting: equal", "weighting: min_variance, risk_aversion: 3"},
		{"weighting: equal", "weighting: equal, covariance_window: 60"},
		{"weighting: equal", "weighting: inverse_vol, covariance_window: 2"},
		{"weighting: equal", "weighting: equal, sector_neutral: true"},
		{"weighting: equal", "weighting: equal, sector_neutral: yes please"},
		{"weighting: equal", "weighting: equal, sector_neutral: 1"},
		{"weighting: equal", "weighting: combined"},
		{"type: factor_rank, inputs: {feature_name: ret_20d, feature_version: v1}", "type: strategies, inputs: {strategies: [{strategy_id: a, version: '1', weight: 1}]}"},
	} {
		check(c.old, c.new, least)
	}
	for _, c := range []struct{ old, new string }{
		{"", ""},
		{"weighting: combined", "weighting: equal"},
		{"strategies: [{", "feature_name: f, strategies: [{"},
		{"[{strategy_id: a, version: '1', weight: 0.5}]", "[]"},
		{"[{strategy_id: a, version: '1', weight: 0.5}]", "a"},
		{"version: '1', weight", "weight"},
		{"weight: 0.5", "weight: 0"},
		{"weight: 0.5", "weight: 1.5"},
		{"weight: 0.5", "weight: half"},
		{"weight: 0.5", "weight: 0.5, more: 1"},
	} {
		check(c.old, c.new, combined)
	}
}

// combined is a combination of strategies.
var combined = strings.NewReplacer("type: factor_rank, inputs: {feature_name: ret_20d, feature_version: v1}",
	"type: strategies, inputs: {strategies: [{strategy_id: a, version: '1', weight: 0.5}]}", "weighting: equal", "weighting: combined").Replace(least)

func TestACombinationHasEachStrategyOnceAndSumsToOne(t *testing.T) {
	t.Parallel()
	for _, parts := range []string{
		"{strategy_id: a, version: '1', weight: 0.4}, {strategy_id: a, version: '2', weight: 0.4}",
		"{strategy_id: a, version: '1', weight: 0.6}, {strategy_id: b, version: '1', weight: 0.6}",
	} {
		if _, err := strategy.Parse("s.yaml", []byte(strings.Replace(combined, "{strategy_id: a, version: '1', weight: 0.5}", parts, 1)), nil); err == nil {
			t.Errorf("taken: %s", parts)
		}
	}
	s, err := strategy.Parse("s.yaml", []byte(combined), []string{"signal.inputs.strategies=[{strategy_id: b, version: '2', weight: 0.25}]"})
	if err != nil || len(s.Signal.Inputs.Strategies) != 1 || s.Signal.Inputs.Strategies[0] != (strategy.Part{StrategyID: "b", Version: "2", Weight: 0.25}) {
		t.Errorf("%+v, %v", s.Signal.Inputs, err)
	}
}

func TestTheCanonicalFormIsAStrategyFile(t *testing.T) {
	t.Parallel()
	s := parse(t, whole)
	again, err := strategy.Parse("canonical.json", s.Canonical(), nil)
	if err != nil || again.Digest() != s.Digest() {
		t.Error(err)
	}
	var v any
	if err := json.Unmarshal(s.Canonical(), &v); err != nil {
		t.Error(err)
	}
	if err := schema(t).Validate(v); err != nil {
		t.Error(err)
	}
}

// Whatever the bytes are, Parse ends, with a strategy that means the same when
// it is read again, or with an Invalid error that says where.
func FuzzParse(f *testing.F) {
	f.Add([]byte(whole), "portfolio.top_k=3")
	f.Add([]byte(least), "universe.symbols=[A, B]")
	f.Add([]byte("a: &a [*a, *a]"), "supervisor.score_floor=null")
	f.Add([]byte("? {[a]: b}\n: - - - x"), "=")
	f.Add([]byte("a: !!binary x\n<<: *b\n---\n..."), "a=b=c")
	f.Add([]byte("a: |\n  x\n b: >\n"), "version='1")
	f.Add([]byte("universe: {type: symbols, symbols: [005930, .nan, ~, TRUE, 1e5, '', \"\\u0000\"]}"), "backtest.from=2024-01-01")
	f.Fuzz(func(t *testing.T, data []byte, set string) {
		for _, sets := range [][]string{nil, {set}} {
			s, err := strategy.Parse("f.yaml", data, sets)
			if err != nil {
				problems, ok := errors.AsType[strategy.Problems](err)
				if !ok || len(problems) == 0 {
					t.Fatalf("no problems: %v", err)
				}
				for _, p := range problems {
					if p.Where == "" || p.Message == "" {
						t.Fatalf("%+v", p)
					}
				}
				continue
			}
			again, err := strategy.Parse("canonical", s.Canonical(), nil)
			if err != nil || again.Digest() != s.Digest() {
				t.Fatalf("%s: %v", s.Canonical(), err)
			}
		}
	})
}

// What a weighting has no use for is no other strategy; what it means when it is not
// said is.
func TestTheKeysOfAWeightingCountWhereItUsesThem(t *testing.T) {
	t.Parallel()
	digest := func(sets ...string) string { return parse(t, least, sets...).Digest() }
	if digest() != digest("portfolio.covariance_window=60", "portfolio.risk_aversion=3", "portfolio.sector_neutral=false") {
		t.Error("equal weights depend on a covariance")
	}
	risk := "portfolio.weighting=risk_parity"
	if digest(risk) != digest(risk, "portfolio.covariance_window=252") || digest(risk) == digest(risk, "portfolio.covariance_window=60") || digest(risk) != digest(risk, "portfolio.risk_aversion=9") {
		t.Error("risk parity does not depend on its window alone")
	}
	mean := "portfolio.weighting=mean_variance"
	if digest(mean) != digest(mean, "portfolio.risk_aversion=5") || digest(mean) == digest(mean, "portfolio.risk_aversion=9") {
		t.Error("mean_variance does not depend on the risk aversion")
	}
}
