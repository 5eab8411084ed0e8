package factstore

import (
	"slices"

	"quant/internal/dataset"
)

// The names of the tables. What a table is for stands in schema.sql.
const (
	OHLCV             = dataset.OHLCV
	OHLCVRevisions    = "ohlcv_revisions"
	Rejects           = "rejects"
	Returns           = "returns"
	FeaturesDaily     = dataset.FeaturesDaily
	Labels            = dataset.Labels
	Predictions       = dataset.Predictions
	Proposals         = "proposals"
	Targets           = dataset.Targets
	TargetSets        = dataset.TargetSets
	BacktestSummary   = "backtest_summary"
	BacktestDetails   = "backtest_details"
	BacktestTrades    = "backtest_trades"
	BacktestEquity    = "backtest_equity"
	BacktestPositions = "backtest_positions"
	FactSlices        = "fact_slices"
	FactInputs        = "fact_inputs"
	FeatureSets       = "feature_sets"
	StatedRevisions   = "stated_revisions"
	KnownTimes        = "known_times"
	Ledger            = "ledger"

	schemaVersions = "schema_version"
)

// The kinds of the runs that write facts. Each is the command of that name.
const (
	ingests    = "ingest"
	features   = "features"
	labels     = "labels"
	scores     = "score"
	recommends = "recommend"
	backtests  = "backtest"
)

// Table says what holds for the rows of a table of the Fact DB.
type Table struct {
	Name string
	// Key are the columns that identify a row; nil where rows may be equal.
	Key []string
	// Stamp is the column that holds the committed_at of the transaction that
	// wrote the row; "" where none does.
	Stamp string
	// Kind is the kind of the runs that write it; "" where a row comes with the
	// facts that it speaks of, whoever writes those.
	Kind string
	// Companions are the tables that hold a row for each slice of this one, by
	// table_name: FactSlices (the run that wrote it last, where no stamp says
	// so) and FactInputs (what it was computed from).
	Companions []string
	// PerRun: the rows belong to the run that wrote them. Another run adds its
	// own and changes none of these.
	PerRun bool
	// Bookkeeping: the rows are no facts, but speak of them: what was turned
	// away, what was replaced, who wrote it and from what.
	Bookkeeping bool

	// ledgered: each row's run_id must be that of a run with a ledger row for
	// this table.
	ledgered bool
	// openKey: a column of the key may be NULL.
	openKey bool
	// sliceName and sliceVersion are the columns that say what a slice's name and
	// version do; "" where all rows of a symbol are one slice.
	sliceName, sliceVersion string
	// anew says how a user has rows written that another program wrote.
	anew string
}

// Tables returns every table of the schema, in an order of no meaning. The
// slice is the caller's.
func Tables() []Table {
	sliced := []string{FactSlices, FactInputs}
	return []Table{
		{Name: OHLCV, Key: []string{"symbol", "ts"}, Stamp: "ingested_at", Kind: ingests, anew: "`quant ingest` takes them over from a file of prices"},
		{Name: Returns, Key: []string{"symbol", "ts"}, Kind: features, Companions: sliced, anew: "`quant features --force` computes them anew"},
		{Name: FeaturesDaily, Key: []string{"symbol", "ts", "feature_name", "feature_version"}, Stamp: "computed_at", Kind: features, Companions: []string{FactInputs}, anew: "`quant features --force` computes them anew"},
		{Name: Labels, Key: []string{"symbol", "ts", "label_name", "label_version"}, Kind: labels, Companions: sliced,
			sliceName: "label_name", sliceVersion: "label_version", anew: "`quant labels --force` computes them anew"},
		{Name: Predictions, Key: []string{"symbol", "ts", "model_id", "task_id"}, Stamp: "generated_at", Kind: scores, anew: "`quant score` of the model over these days computes them anew"},
		{Name: Targets, Key: []string{"strategy_id", "asof", "symbol"}, Stamp: "generated_at", Kind: recommends, anew: "`quant recommend` over these days decides anew"},
		{Name: TargetSets, Key: []string{"strategy_id", "asof"}, Stamp: "decided_at", Kind: recommends, anew: "`quant recommend` over these days decides anew"},
		{Name: Proposals, Key: []string{"strategy_id", "asof", "symbol"}, Stamp: "generated_at", Kind: recommends, anew: "`quant recommend` over these days decides anew"},
		{Name: BacktestTrades, Kind: backtests, PerRun: true, ledgered: true},
		{Name: BacktestSummary, Key: []string{"run_id"}, Stamp: "created_at", Kind: backtests, PerRun: true, ledgered: true},
		{Name: BacktestEquity, Key: []string{"run_id", "ts"}, Kind: backtests, PerRun: true},
		{Name: BacktestPositions, Key: []string{"run_id", "ts", "symbol"}, Kind: backtests, PerRun: true},
		{Name: BacktestDetails, Key: []string{"run_id"}, Stamp: "created_at", Kind: backtests, PerRun: true},
		{Name: Rejects, Key: []string{"source_digest", "line", "reason"}, Stamp: "rejected_at", Kind: ingests, Bookkeeping: true, ledgered: true},
		{Name: OHLCVRevisions, Key: []string{"symbol", "ts", "replaced_at"}, Stamp: "replaced_at", Kind: ingests, Bookkeeping: true, ledgered: true},
		{Name: StatedRevisions, Key: []string{"table_name", "name", "symbol", "ts", "item", "replaced_at"}, Stamp: "replaced_at", Bookkeeping: true, ledgered: true},
		{Name: KnownTimes, Key: []string{"table_name", "name", "symbol", "ts"}, Bookkeeping: true},
		{Name: FactSlices, Key: []string{"table_name", "symbol", "name", "version", "from_ts"}, Bookkeeping: true, ledgered: true, openKey: true},
		{Name: FactInputs, Key: []string{"table_name", "symbol", "name", "version"}, Bookkeeping: true},
		{Name: FeatureSets, Key: []string{"version"}, Stamp: "created_at", Bookkeeping: true, ledgered: true},
		{Name: Ledger, Key: []string{"committed_at", "table_name"}, Bookkeeping: true},
		{Name: schemaVersions, Bookkeeping: true},
	}
}

// LookupTable returns the table of this name, and whether the schema has it.
func LookupTable(name string) (Table, bool) {
	for _, t := range Tables() {
		if t.Name == name {
			return t, true
		}
	}
	return Table{}, false
}

// TablesOf returns, in name order, the tables that runs of a kind write.
func TablesOf(kind string) []string {
	var list []string
	for _, t := range Tables() {
		if kind != "" && t.Kind == kind {
			list = append(list, t.Name)
		}
	}
	slices.Sort(list)
	return list
}
