package pipeline

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"quant"
	"quant/internal/backtest"
	"quant/internal/factstore"
	"quant/internal/sqltext"
	"quant/internal/supervisor"
)

func timeOfMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }

// decisionRows are the rows of decisions, in the order of each table's columns,
// without the stamp.
type decisionRows struct {
	targets, proposals, sets []factstore.Column
}

// tables are the rows by table, in the order in which runs record them, with the
// columns that are digested.
func (d *decisionRows) tables() []struct {
	table    string
	columns  []factstore.Column
	digested []string
} {
	return []struct {
		table    string
		columns  []factstore.Column
		digested []string
	}{
		{factstore.Targets, d.targets, []string{"symbol", "asof", "version", "weight", "score", "approved", "risk_flags", "reason"}},
		{factstore.Proposals, d.proposals, []string{"symbol", "asof", "version", "rank", "score", "weight"}},
		{factstore.TargetSets, d.sets, []string{"strategy_id", "version", "asof", "status", "proposed", "approved", "gross", "turnover", "exempt_turnover", "basis_asof", "config_digest", "digest"}},
	}
}

// decisionRows makes the rows of the decisions.
func (r *recommending) decisionRows() *decisionRows {
	targets, proposals := 0, 0
	for i := range r.sets {
		targets += len(r.sets[i].decision.Rows)
		proposals += len(r.sets[i].proposal)
	}
	var symbols, flags, reasons factstore.Names
	for _, symbol := range r.signals.Symbols {
		symbols.Number(symbol)
	}
	asof, symbol := make([]quant.Date, 0, targets), make([]int32, 0, targets)
	weight, score, approved := make([]float64, 0, targets), make([]float64, 0, targets), make([]bool, 0, targets)
	flag, reason := make([]int32, 0, targets), make([]int32, 0, targets)
	pAsof, pSymbol, pRank := make([]quant.Date, 0, proposals), make([]int32, 0, proposals), make([]int64, 0, proposals)
	pScore, pWeight := make([]float64, 0, proposals), make([]float64, 0, proposals)
	for i := range r.sets {
		set := &r.sets[i]
		for k := range set.decision.Rows {
			row := &set.decision.Rows[k]
			asof, symbol = append(asof, set.asof), append(symbol, symbols.Number(row.Symbol))
			weight, score, approved = append(weight, row.Weight), append(score, row.Score), append(approved, row.Approved)
			flag, reason = append(flag, flags.Number(flagsText(row.Flags))), append(reason, reasons.Number(row.Reason))
		}
		for k := range set.proposal {
			c := &set.proposal[k]
			pAsof, pSymbol, pRank = append(pAsof, set.asof), append(pSymbol, int32(c.N)), append(pRank, int64(c.Rank))
			pScore, pWeight = append(pScore, c.Score), append(pWeight, c.Weight)
		}
	}
	id, version := []string{r.s.ID}, []string{r.s.Version}
	return &decisionRows{
		targets: []factstore.Column{
			{Name: "strategy_id", Texts: id, Numbers: make([]int32, targets)}, {Name: "version", Texts: version, Numbers: make([]int32, targets)}, {Name: "asof", Dates: asof},
			{Name: "symbol", Texts: symbols.List, Numbers: symbol}, {Name: "weight", Floats: weight}, {Name: "score", Floats: score}, {Name: "approved", Booleans: approved},
			{Name: "risk_flags", Texts: flags.List, Numbers: flag}, {Name: "reason", Texts: reasons.List, Numbers: reason},
		},
		proposals: []factstore.Column{
			{Name: "strategy_id", Texts: id, Numbers: make([]int32, proposals)}, {Name: "version", Texts: version, Numbers: make([]int32, proposals)}, {Name: "asof", Dates: pAsof},
			{Name: "symbol", Texts: symbols.List, Numbers: pSymbol}, {Name: "rank", Bigints: pRank}, {Name: "score", Floats: pScore}, {Name: "weight", Floats: pWeight},
		},
		sets: r.setRows(),
	}
}

// stored is what a run records that has stored all of the rows.
func (r *recommending) stored(d *decisionRows) (outputs []quant.RunIO) {
	for _, of := range d.tables() {
		digested := make([]factstore.Column, len(of.digested))
		for i, name := range of.digested {
			digested[i] = of.columns[slices.IndexFunc(of.columns, func(c factstore.Column) bool { return c.Name == name })]
		}
		n, digest := factstore.RowDigest(digested...)
		outputs = append(outputs, r.output(of.table, n, digest))
	}
	return outputs
}

func flagsText(flags []supervisor.Flag) string {
	if len(flags) == 0 {
		return "[]"
	}
	text, _ := json.Marshal(flags) // a list of texts
	return string(text)
}

func (r *recommending) setRows() []factstore.Column {
	n := len(r.report.Sets)
	same := func(name, text string) factstore.Column {
		return factstore.Column{Name: name, Texts: []string{text}, Numbers: make([]int32, n)}
	}
	asof, basis := factstore.Column{Name: "asof", Dates: make([]quant.Date, n)}, factstore.Column{Name: "basis_asof", Dates: make([]quant.Date, n), Nulls: make([]bool, n)}
	proposed, approved := make([]int64, n), make([]int64, n)
	gross, turnover, exempt, digests := make([]float64, n), make([]float64, n), make([]float64, n), make([]string, n)
	for i, s := range r.report.Sets {
		asof.Dates[i] = s.Asof
		if basis.Nulls[i] = s.BasisAsof == nil; s.BasisAsof != nil {
			basis.Dates[i] = *s.BasisAsof
		}
		proposed[i], approved[i], gross[i], turnover[i], exempt[i], digests[i] = int64(s.Proposed), int64(s.Approved), s.Gross, s.Turnover, s.ExemptTurnover, s.Digest
	}
	return []factstore.Column{
		same("strategy_id", r.s.ID), same("version", r.s.Version), asof, same("status", "current"), {Name: "proposed", Bigints: proposed}, {Name: "approved", Bigints: approved},
		{Name: "gross", Floats: gross}, {Name: "turnover", Floats: turnover}, {Name: "exempt_turnover", Floats: exempt}, basis, same("config_digest", r.report.ConfigDigest),
		{Name: "digest", Texts: digests}, same("run_id", r.RunID),
	}
}

// approved are the decisions as a backtest reads them from the tables: the weights
// of each in byte order of the symbols.
func (r *recommending) approved() []backtest.Decision {
	decisions := make([]backtest.Decision, len(r.sets))
	for i, set := range r.sets {
		d := backtest.Decision{AsOf: set.asof}
		for _, row := range set.decision.Rows {
			if row.Approved && row.Weight != 0 {
				d.Weights = append(d.Weights, backtest.Weight{Symbol: row.Symbol, Weight: row.Weight})
			}
		}
		slices.SortFunc(d.Weights, func(a, b backtest.Weight) int { return strings.Compare(a.Symbol, b.Symbol) })
		decisions[i] = d
	}
	return decisions
}

// storeDecisions stores the decisions of strategies that have none, all of them in
// one transaction or none.
func storeDecisions(ctx context.Context, db *factstore.DB, list []*trialRun) error {
	runs := make([]string, len(list))
	for i, t := range list {
		runs[i] = t.inner.RunID()
	}
	_, err := db.WriteAll(ctx, runs, func(ctx context.Context, txs []*factstore.Tx) error {
		return db.Unordered(ctx, func() error {
			for n, of := range list[0].rows.tables() {
				rows := make([][]factstore.Column, len(list))
				for i, t := range list {
					rows[i] = t.rows.tables()[n].columns
				}
				if err := factstore.InsertColumns(ctx, db, txs, of.table, rows); err != nil {
					return err
				}
			}
			return nil
		})
	})
	for _, t := range list {
		t.rows = nil
	}
	return err
}

// decideAnew stores decisions in the place of others of the range.
func (t *trialRun) decideAnew(ctx context.Context, db *factstore.DB) error {
	r := t.recommending
	r.db, t.rows = db, nil
	if err := r.write(ctx); err != nil {
		return err
	}
	r.sets = nil
	var err error
	t.decidedBy, err = factstore.Values[string](ctx, db, `SELECT DISTINCT run_id FROM `+factstore.TargetSets+` WHERE strategy_id = ? AND version = ? AND "asof" BETWEEN CAST(? AS DATE) AND CAST(? AS DATE) AND run_id IS NOT NULL`,
		r.s.ID, r.s.Version, r.low, r.high)
	return err
}

// standingDecisions are what a strategy has decided before.
type standingDecisions struct {
	plain   bool              // all of them within the range, and written by runs
	digests map[string]string // of the rows of each table, as a run records them
	runs    []string          // that wrote the sets
}

// as reports whether the decisions stand as they are recorded.
func (d *standingDecisions) as(outputs []quant.RunIO) bool {
	for _, io := range outputs {
		if d.digests[io.Name] != string(io.Digest) {
			return false
		}
	}
	return true
}

// standingDecisionsOf reads what the strategies whose ids begin so have decided.
func standingDecisionsOf(ctx context.Context, db *factstore.DB, ids string, from, to quant.Date) (map[string]*standingDecisions, error) {
	found := map[string]*standingDecisions{}
	for _, of := range (&decisionRows{}).tables() {
		table, _ := factstore.LookupTable(of.table)
		quoted := make([]string, len(of.digested))
		for i, c := range of.digested {
			quoted[i] = sqltext.Identifier(c)
		}
		err := db.Digests(ctx, `SELECT strategy_id, "asof" BETWEEN CAST(? AS DATE) AND CAST(? AS DATE) AND NOT `+table.Unexplained()+`, hash(`+strings.Join(quoted, ", ")+`)
			FROM `+of.table+` f WHERE starts_with(strategy_id, ?)`, []any{from, to, ids}, func(id string, plain bool, digest string) {
			d := found[id]
			if d == nil {
				none := digestOfNone()
				d = &standingDecisions{plain: true, digests: map[string]string{factstore.Targets: none, factstore.Proposals: none, factstore.TargetSets: none}}
				found[id] = d
			}
			d.plain, d.digests[of.table] = d.plain && plain, digest
		})
		if err != nil {
			return nil, err
		}
	}
	if len(found) == 0 {
		return found, nil
	}
	rows, err := db.Query(ctx, `SELECT DISTINCT strategy_id, run_id FROM `+factstore.TargetSets+` WHERE starts_with(strategy_id, ?) AND run_id IS NOT NULL ORDER BY ALL`, ids)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id, run string
		if err := rows.Scan(&id, &run); err != nil {
			return nil, err
		}
		found[id].runs = append(found[id].runs, run)
	}
	return found, rows.Err()
}

// digestOfNone is the digest of no rows.
func digestOfNone() string {
	_, digest := factstore.RowDigest()
	return digest
}
