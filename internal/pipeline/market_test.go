package pipeline_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/pipeline"
	"quant/internal/session"
	"quant/internal/session/sessiontest"
)

// randomMarket is a lab with a small random market of many ills: gaps, closes that
// are NaN or no prices, names that are delisted, sessions without a bar, bars on
// days that are no sessions, several runs that wrote; and what is done in it, step by
// step.
type randomMarket struct {
	*testing.T
	s       *sessiontest.Session
	r       *rand.Rand
	symbols []string
	days    []quant.Date
	file    string
	runs    []string // ids in order of their start
	heard   int
	steps   []string // what each step said, read and wrote
	names   []string // of the steps
}

// signal kinds of a random market.
const (
	ofFeature = "{type: factor_rank, order: %s, inputs: {feature_name: f, feature_version: v1}}"
	ofModel   = "{type: model_score, order: %s, inputs: {model_id: m, task_id: wf}}"
)

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

func newRandomMarket(t *testing.T, seed uint64) *randomMarket {
	m := &randomMarket{T: t, s: sessiontest.Begin(t), r: rand.New(rand.NewPCG(seed, 12))}
	r := m.r
	m.s.Settle(pick(r, "data", "XNYS"), 0, 0, nil, nil)
	names := 5 + r.IntN(8)
	if seed%8 == 7 {
		names = 230 // more than are told apart in SQL
	}
	for n := range names {
		m.symbols = append(m.symbols, fmt.Sprintf("N%d", n))
	}
	slices.Sort(m.symbols)
	hole := r.IntN(60) // a session on which nothing has a bar
	for d, n := quant.NewDate(time.Date(2024, 1, 2, 0, 0, 0, 0, time.UTC)), 0; n < 60; d++ {
		if day := d.Time().Weekday(); day == time.Saturday || day == time.Sunday {
			continue
		}
		if n++; n != hole {
			m.days = append(m.days, d)
		}
	}
	basis := pick(r, "adjusted", "adjusted", "raw", "mixed")
	model := r.IntN(3) == 0
	var bars, signals, scores []string
	for _, symbol := range m.symbols {
		p, factor := 10+90*r.Float64(), 0.5+r.Float64()
		raw := basis == "raw" || basis == "mixed" && r.IntN(2) == 0
		begin, end := 0, len(m.days)
		if r.IntN(5) == 0 {
			begin = r.IntN(30)
		}
		if r.IntN(4) == 0 {
			end = 20 + r.IntN(40)
		}
		ill := r.IntN(6) // a name with bad closes
		for n, d := range m.days {
			p *= math.Exp(r.NormFloat64() / 25)
			if n < begin || n >= end || r.IntN(15) == 0 {
				continue
			}
			close, adjusted := fmt.Sprint(p), fmt.Sprint(p*factor)
			if raw {
				adjusted = "NULL"
			}
			if ill == 0 && r.IntN(8) == 0 {
				close = pick(r, "'nan'", "0", "-1")
			}
			if ill == 1 && r.IntN(20) == 0 {
				adjusted = pick(r, "NULL", "'nan'", "'inf'", "0")
			}
			bars = append(bars, fmt.Sprintf("('%s', DATE '%s', %s::DOUBLE, %s::DOUBLE)", symbol, d, close, adjusted))
			if r.IntN(10) == 0 {
				continue
			}
			value := fmt.Sprint(math.Round(8*r.NormFloat64()) / 4) // with ties and zeros
			if r.IntN(20) == 0 {
				value = pick(r, "NULL", "'nan'", "'inf'", "'-inf'", "0")
			}
			signals = append(signals, fmt.Sprintf("('%s', DATE '%s', %s::DOUBLE)", symbol, d, value))
			for _, task := range []string{"final", "wf:0", "wf:1", "in_sample"} {
				if r.IntN(3) == 0 {
					scores = append(scores, fmt.Sprintf("('%s', DATE '%s', '%s', %s::DOUBLE)", symbol, d, task, value))
				}
			}
		}
	}
	r.Shuffle(len(bars), func(i, k int) { bars[i], bars[k] = bars[k], bars[i] })
	for part := range slices.Chunk(bars, len(bars)/3+1) {
		m.store("ohlcv", part)
	}
	for part := range slices.Chunk(signals, len(signals)/2+1) {
		m.store("features_daily", part)
	}
	if model {
		m.store("predictions", scores)
	}
	text := func(signal string) string {
		caps := fmt.Sprintf("{gross_exposure_cap: %v, max_weight_per_symbol: %v, max_positions: %d, turnover_cap: %v, score_floor: %s}",
			pick(r, 1.0, 0.9, 0.5), pick(r, 1.0, 0.4, 0.2), pick(r, 3, 5, 20), pick(r, 1.0, 0.3, 0.1), pick(r, "null", "null", "0.5"))
		return fmt.Sprintf(`strategy_id: s
version: "1"
universe: {type: symbols, symbols: [%s]}
signal: %s
rebalance: {frequency: %s, asof_policy: close}
portfolio: {top_k: %d, weighting: %s}
supervisor: %s
execution: {price: close, lag_days: %d}
backtest: {from: "%s", to: "%s", fee_bps: %v, slippage_bps: %v, delist_after: %d, benchmark: %s}
`, strings.Join(m.symbols[:len(m.symbols)-1], ", "), signal, pick(r, "daily", "daily", "weekly"), pick(r, 1, 2, 4, 300), pick(r, "equal", "score_weighted", "equal, fill: redistribute"),
			caps, r.IntN(2), m.days[3], m.days[len(m.days)-1], pick(r, 0, 5), pick(r, 0, 2.5), pick(r, 3, 10), pick(r, "null", "equal_weight", m.symbols[0]))
	}
	m.file = m.s.Write("s.yaml", text(fmt.Sprintf(map[bool]string{false: ofFeature, true: ofModel}[model], pick(r, "desc", "asc"))))
	return m
}

// store merges rows, VALUES in SQL, into a table, by a run of their own.
func (m *randomMarket) store(table string, rows []string) {
	m.Helper()
	query := map[string]string{
		"ohlcv":          "SELECT symbol, ts, close AS open, close AS high, close AS low, close, 1::DOUBLE AS volume, adjusted AS adjusted_close, 'f' AS source FROM (VALUES %s) t(symbol, ts, close, adjusted)",
		"features_daily": "SELECT symbol, ts, 'f' AS feature_name, v AS feature_value, 'v1' AS feature_version FROM (VALUES %s) t(symbol, ts, v)",
		"predictions":    "SELECT symbol, ts, 'm' AS model_id, task AS task_id, v AS score, NULL::DOUBLE AS calibrated_score FROM (VALUES %s) t(symbol, ts, task, v)",
	}[table]
	if err := m.run(session.Command{Kind: "ingest", Args: []string{"ingest"}}, func(ctx context.Context, s *session.Session) error {
		return s.WriteFacts(ctx, func(db *factstore.DB) error {
			_, err := db.Write(ctx, s.RunID(), func(ctx context.Context, tx *factstore.Tx) error {
				if _, err := tx.Stage(ctx, "CREATE OR REPLACE TEMP TABLE given AS "+fmt.Sprintf(query, strings.Join(rows, ", "))); err != nil {
					return err
				}
				_, err := tx.Merge(ctx, factstore.Merge{Table: table, Source: "given"})
				return err
			})
			return err
		})
	}); err != nil {
		m.Fatal(err)
	}
}

// run does something as a run of its own and returns its error.
func (m *randomMarket) run(c session.Command, do func(context.Context, *session.Session) error) error {
	m.Helper()
	id, err := m.s.Inside(m.Context(), c, do)
	m.runs = append(m.runs, id)
	return err
}

// closing matches the last line of a run, with how long it took.
var closing = regexp.MustCompile(`^notice: run .* (SUCCESS|FAIL) `)

var moment = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)

// plain is a text without what differs from one lab to another: ids of runs and
// times of the clock.
func (m *randomMarket) plain(text string) string {
	for i, id := range m.runs {
		text = strings.ReplaceAll(strings.ReplaceAll(text, id, fmt.Sprintf("RUN%d", i)), quant.ShortID(id), fmt.Sprintf("RUN%d", i))
	}
	return strings.ReplaceAll(moment.ReplaceAllString(text, "THEN"), filepath.Dir(m.s.DataDir), "HERE")
}

// step does something as a run, and keeps what it reported, said, read and wrote.
func (m *randomMarket) step(name string, c session.Command, do func(context.Context, *session.Session) (any, error)) {
	m.Helper()
	var report any
	err := m.run(c, func(ctx context.Context, s *session.Session) (err error) {
		report, err = do(ctx, s)
		return err
	})
	var b strings.Builder
	doc, _ := json.MarshalIndent(report, "", " ")
	// Earlier programs had no member for when an input was stated, and nothing here was imported.
	doc = bytes.ReplaceAll(doc, []byte("\n \"known_at\": null,"), nil)
	fmt.Fprintf(&b, "%s\nerror: %v; %s\n", doc, err, quant.HintOf(err))
	for _, text := range m.s.Heard.All()[m.heard:] {
		if !closing.MatchString(text) {
			fmt.Fprintln(&b, text)
		}
	}
	m.heard = len(m.s.Heard.All())
	run := m.s.Recorded(m.runs[len(m.runs)-1])
	for _, io := range run.IO {
		doc, _ := json.Marshal(io)
		fmt.Fprintf(&b, "%s\n", doc)
	}
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range run.Metrics {
			if !yield(name) {
				return
			}
		}
	}) {
		fmt.Fprintf(&b, "%s %v\n", name, run.Metrics[name])
	}
	m.steps, m.names = append(m.steps, m.plain(b.String())), append(m.names, name)
}

func (m *randomMarket) recommend(o pipeline.RecommendOptions) {
	m.Helper()
	o.Strategy = m.file
	m.step("recommend", o.Command(), func(ctx context.Context, s *session.Session) (any, error) { return pipeline.Recommend(ctx, s, o) })
}

func (m *randomMarket) backtest(o pipeline.BacktestOptions) {
	m.Helper()
	o.Strategy = m.file
	m.step("backtest", o.Command(), func(ctx context.Context, s *session.Session) (any, error) { return pipeline.Backtest(ctx, s, o) })
}

// tables keeps what stands in each table.
func (m *randomMarket) tables() {
	m.Helper()
	if err := m.s.ReadFacts(m.Context(), func(db *factstore.DB) error {
		for _, table := range []string{"targets", "proposals", "target_sets", "backtest_trades", "backtest_summary", "backtest_equity", "backtest_positions", "backtest_details"} {
			var text *string
			if err := db.QueryRow(m.Context(), "SELECT string_agg(line, chr(10)) FROM (SELECT CAST(t AS TEXT) AS line FROM (SELECT * EXCLUDE (stamp) FROM (SELECT *, 1 AS stamp FROM main."+table+") ORDER BY ALL) t)").Scan(&text); err != nil {
				return err
			}
			lines := []string{}
			if text != nil {
				// The stamps of a table are times of the clock.
				lines = strings.Split(regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?`).ReplaceAllString(m.plain(*text), "THEN"), "\n")
			}
			slices.Sort(lines)
			m.steps, m.names = append(m.steps, strings.Join(lines, "\n")+"\n"), append(m.names, table)
		}
		return nil
	}); err != nil {
		m.Fatal(err)
	}
}

// live decides and replays in the market as one does over months: a range, the next
// one, a single day, the same again, an older day by other settings, after a late
// correction.
func (m *randomMarket) live() {
	r, n := m.r, len(m.days)
	from, mid, end := m.days[3], m.days[n/2], m.days[n-6]
	raw := r.IntN(3) > 0
	next := mid + 1
	m.recommend(pipeline.RecommendOptions{From: &from, To: &mid, AcceptRaw: raw})
	m.backtest(pipeline.BacktestOptions{To: &mid, AcceptRaw: raw})
	m.recommend(pipeline.RecommendOptions{From: &next, To: &end, AcceptRaw: raw})
	for _, day := range m.days[n-5 : n-3] {
		m.recommend(pipeline.RecommendOptions{Asof: &day, AcceptRaw: raw})
	}
	longer := m.days[n-2]
	m.recommend(pipeline.RecommendOptions{From: &from, To: &longer, AcceptRaw: true})
	m.recommend(pipeline.RecommendOptions{From: &from, To: &longer, AcceptRaw: true})
	m.backtest(pipeline.BacktestOptions{AcceptRaw: true})
	lag, capital := r.IntN(4), 12345.0
	m.backtest(pipeline.BacktestOptions{AcceptRaw: true, Lag: &lag, InitialCapital: &capital, From: &next})
	stale := m.days[n/3]
	m.recommend(pipeline.RecommendOptions{Asof: &stale, AcceptRaw: true, Set: []string{"portfolio.top_k=3"}})
	m.backtest(pipeline.BacktestOptions{AcceptRaw: true})
	m.recommend(pipeline.RecommendOptions{Asof: &longer, AcceptRaw: true})
	at := m.days[n/2+r.IntN(n/4)]
	m.store("ohlcv", []string{fmt.Sprintf("('%s', DATE '%s', 42::DOUBLE, 41::DOUBLE)", m.symbols[1], at)})
	m.recommend(pipeline.RecommendOptions{From: &stale, AcceptRaw: true})
	m.recommend(pipeline.RecommendOptions{AcceptRaw: true, Set: []string{"universe.symbols=" + strings.Join(m.symbols[2:5], ",")}})
	m.recommend(pipeline.RecommendOptions{AcceptRaw: true})
	m.backtest(pipeline.BacktestOptions{AcceptRaw: true, AsOf: m.runs[len(m.runs)-2]})
	m.backtest(pipeline.BacktestOptions{AcceptRaw: true})
	m.tables()
}

// What is decided, replayed, recorded and said of a market does not depend on the
// version of the program. QUANT_MARKET_DIGESTS=FILE writes the digests to it, and
// QUANT_MARKET_STEPS=DIR what they are of.
func TestMarketsOfManyIllsGiveWhatEarlierProgramsGave(t *testing.T) {
	t.Parallel()
	if runtime.GOARCH != "amd64" {
		t.Skip("where multiplications and additions are fused, the last bits of results are others")
	}
	golden, err := os.ReadFile(filepath.Join("testdata", "market_digests.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for line := range strings.Lines(string(golden)) {
		if !strings.HasPrefix(line, "#") {
			want = append(want, strings.TrimSuffix(line, "\n"))
		}
	}
	var got []string
	for seed := range uint64(markets) {
		m := newRandomMarket(t, seed)
		m.live()
		for i, text := range m.steps {
			line := fmt.Sprint(seed, " ", i, " ", m.names[i], " ", durable.Digest([]byte(text))[len("sha256:"):][:16])
			if n := len(got); n < len(want) && line != want[n] {
				t.Errorf("%s, want %s:\n%.3000s", line, want[n], text)
			}
			got = append(got, line)
			if dir := os.Getenv("QUANT_MARKET_STEPS"); dir != "" {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%02d_%02d_%s", seed, i, m.names[i])), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d steps, want %d", len(got), len(want))
	}
	if file := os.Getenv("QUANT_MARKET_DIGESTS"); file != "" {
		if err := os.WriteFile(file, []byte(strings.Join(got, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// markets are so many that the test compares.
const markets = 10
