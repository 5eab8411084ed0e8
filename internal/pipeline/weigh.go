package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"quant"
	"quant/internal/durable"
	"quant/internal/metastore"
	"quant/internal/session"
	"quant/internal/strategy"
	"quant/internal/weighting"
)

const (
	// enoughReturns is the share of the sessions of a covariance's window on which a
	// name must have a return to be weighed.
	enoughReturns = 0.6
	// informationCoefficient is how well a score is taken to go together with the
	// return that follows, where it stands for an expected return: Grinold's alpha is
	// information coefficient x volatility x score, standardised.
	informationCoefficient = 0.05
)

// noSector is what symbols count as whose sector is not known.
const noSector = "without a sector"

// weigh gives the names of a proposal the weights of a weighting by risk, and makes it
// neutral by sectors: from the closes up to that day, and the sectors of today. Each side
// has together what Propose gave it, times what the gross exposure cap leaves of
// it. Names whose returns are too few have no weight, and are counted. Refused:
// rules that contradict each other.
func (in decisionInputs) weigh(set *decided) error {
	p := in.strategy.Portfolio
	if !p.ByRisk() && !p.SectorNeutral || len(set.proposal) == 0 {
		return nil
	}
	list := set.proposal
	scale := 1.0
	if p.ByRisk() {
		scale = min(1, in.strategy.Supervisor.GrossExposureCap/in.strategy.FullExposure())
	}
	known := make([]int, 0, len(list)) // of list
	var returns, covariance [][]float64
	if p.ByRisk() {
		known, returns = in.returns(list, set.k)
		if p.Weighting != strategy.InverseVol {
			covariance, _ = weighting.LedoitWolf(returns)
		}
		set.unknown = len(list) - len(known)
	} else {
		for i := range list {
			known = append(known, i)
		}
	}
	var budget, whole [2]float64 // long, short
	side := func(i int) int {
		if list[i].Weight < 0 {
			return 1
		}
		return 0
	}
	sides := [2][]int{} // of known
	for i := range list {
		whole[side(i)] += math.Abs(list[i].Weight) * scale
	}
	for at, i := range known {
		budget[side(i)] += math.Abs(list[i].Weight) * scale
		sides[side(i)] = append(sides[side(i)], at)
	}
	if p.Fill == strategy.FillRedistribute && p.Weighting != strategy.ScoreWeighted {
		for s := range budget {
			if len(sides[s]) > 0 {
				budget[s] = whole[s]
			}
		}
	}
	weights := make([]float64, len(known))
	var err error
	switch p.Weighting {
	case strategy.InverseVol, strategy.RiskParity:
		for s, of := range sides {
			if len(of) == 0 {
				continue
			}
			var shares []float64
			if p.Weighting == strategy.InverseVol {
				variances := weighting.Variances(returns)
				for k, at := range of {
					variances[k] = variances[at]
				}
				shares = weighting.InverseVol(variances[:len(of)])
			} else {
				if shares, err = weighting.RiskParity(submatrix(covariance, of)); err != nil {
					return quant.Errorf(quant.Refused, "strategy %s on %s: %w", in.strategy.ID, set.asof, err).WithHint("take weighting: inverse_vol, or leave the name out of the universe")
				}
			}
			for k, at := range of {
				weights[at] = shares[k] * budget[s] * float64(1-2*s)
			}
		}
	case strategy.MinVariance, strategy.MeanVariance:
		if weights, err = in.optimise(set, known, covariance, sides, budget); err != nil {
			return err
		}
	default:
		for at, i := range known {
			weights[at] = list[i].Weight
		}
	}
	if p.SectorNeutral && p.Weighting != strategy.MinVariance && p.Weighting != strategy.MeanVariance {
		in.neutralise(set.k, list, known, weights, budget[0])
	}
	for i := range list {
		list[i].Weight = 0
	}
	for at, i := range known {
		list[i].Weight = weights[at]
	}
	return nil
}

func submatrix(m [][]float64, of []int) [][]float64 {
	part := make([][]float64, len(of))
	for i, a := range of {
		part[i] = make([]float64, len(of))
		for k, b := range of {
			part[i][k] = m[a][b]
		}
	}
	return part
}

// returns are the daily returns, [session][name], of those names of a list that have
// enough of them, and which they are. They are those of the last sessions up to day k; a
// session without a bar has the close before it. The window begins where the
// youngest of the names has its first bar in it.
func (in decisionInputs) returns(list []strategy.Candidate, k int) (known []int, returns [][]float64) {
	c, window := in.closes, in.strategy.Portfolio.CovarianceWindow
	end := min(c.session[k], len(c.prices.Sessions)-1)
	begin := max(c.session[k]-window, 0)
	if end <= begin {
		return nil, nil
	}
	least := int(math.Ceil(enoughReturns * float64(window)))
	var filled [][]float64 // closes from begin to end
	start := 0             // of these
	for i := range list {
		row := c.row[list[i].N]
		if row < 0 {
			continue
		}
		closes := make([]float64, end-begin+1)
		first, count := -1, 0
		last := math.NaN()
		for s := range closes {
			if v := c.prices.Close[row][begin+s]; v > 0 && !math.IsInf(v, 0) {
				if last = v; first < 0 {
					first = s
				} else {
					count++
				}
			}
			closes[s] = last
		}
		if first < 0 || count < least {
			continue
		}
		known, filled, start = append(known, i), append(filled, closes), max(start, first)
	}
	if len(known) == 0 {
		return nil, nil
	}
	returns = make([][]float64, end-begin-start)
	for s := range returns {
		returns[s] = make([]float64, len(known))
		for at, closes := range filled {
			returns[s][at] = closes[start+s+1]/closes[start+s] - 1
		}
	}
	return known, returns
}

// optimise solves for the weights of the names that are known.
func (in decisionInputs) optimise(set *decided, known []int, covariance [][]float64, sides [2][]int, budget [2]float64) ([]float64, error) {
	s, list := in.strategy, set.proposal
	n := len(known)
	if n == 0 {
		return nil, nil
	}
	p := weighting.Problem{Covariance: covariance, Aversion: 1, Lower: make([]float64, n), Upper: make([]float64, n), BoundRule: "supervisor.max_weight_per_symbol"}
	if s.Portfolio.Weighting == strategy.MeanVariance {
		p.Aversion, p.Expected = s.Portfolio.RiskAversion, make([]float64, n)
		mean, deviation := in.scores(set.k)
		for at, i := range known {
			if deviation > 0 {
				p.Expected[at] = informationCoefficient * math.Sqrt(covariance[at][at]) * (list[i].Score - mean) / deviation
			}
		}
	}
	most := s.Supervisor.MaxWeightPerSymbol
	signs := make([]float64, n)
	for side, of := range sides {
		for _, at := range of {
			if signs[at] = float64(1 - 2*side); side == 0 {
				p.Upper[at] = most
			} else {
				p.Lower[at] = -most
			}
		}
	}
	long := len(sides[1]) == 0
	if !s.Portfolio.SectorNeutral || !long {
		for side, what := range []string{"long", "short"} {
			if of := sides[side]; len(of) > 0 {
				total := budget[side] * float64(1-2*side)
				p.Sums = append(p.Sums, weighting.Sum{Rule: "supervisor.gross_exposure_cap", What: what, Names: of, Min: total, Max: total})
			}
		}
	}
	if s.BySectors() {
		var shares map[string]float64
		if s.Portfolio.SectorNeutral {
			shares = in.sectorShares(set.k)
		}
		groups, names := in.groups(list, known)
		for g, name := range names {
			of := groups[g]
			if s.Portfolio.SectorNeutral {
				total := 0.0
				if long {
					total = budget[0] * shares[name]
				}
				p.Sums = append(p.Sums, weighting.Sum{Rule: "portfolio.sector_neutral", What: inSector(name), Names: of, Min: total, Max: total})
			}
			if most, capped := s.Supervisor.SectorCap.Of(name); capped {
				sum := weighting.Sum{Rule: "supervisor.sector_cap", What: inSector(name), Names: of, Min: math.Inf(-1), Max: most}
				for _, at := range of {
					sum.Signs = append(sum.Signs, signs[at])
				}
				p.Sums = append(p.Sums, sum)
			}
		}
	}
	weights, err := weighting.Optimise(p)
	if proof, is := errors.AsType[*weighting.Infeasible](err); is {
		return nil, quant.Errorf(quant.Refused, "strategy %s on %s: no weights keep all rules: %s", s.ID, set.asof, proof.Reason).
			WithHint("raise the caps that are named, take more names (portfolio.top_k), or lower supervisor.gross_exposure_cap")
	}
	if err != nil {
		return nil, fmt.Errorf("weigh %s on %s: %w", s.ID, set.asof, err)
	}
	return weights, nil
}

// scores are mean and standard deviation of the scores of the universe on day k.
func (in decisionInputs) scores(k int) (mean, deviation float64) {
	n := 0.0
	var sum float64
	for i := range in.strategy.Universe.Symbols {
		if x := in.signals.Score(k, i); x == x && in.signals.Member(k, i) {
			n, sum = n+1, sum+x
		}
	}
	if n == 0 {
		return 0, 0
	}
	mean = sum / n
	var squares float64
	for i := range in.strategy.Universe.Symbols {
		if x := in.signals.Score(k, i); x == x && in.signals.Member(k, i) {
			squares += (x - mean) * (x - mean)
		}
	}
	return mean, math.Sqrt(squares / n)
}

// inSector names what is held of a sector.
func inSector(sector string) string {
	if sector == noSector {
		return sector
	}
	return "in " + sector
}

// sectorOf is the sector of a symbol.
func (in decisionInputs) sectorOf(symbol string) string { return cmp.Or(in.sectors[symbol], noSector) }

// cappedSector is the sector of a symbol, where the strategy caps sectors.
func (in decisionInputs) cappedSector(symbol string) string {
	if in.strategy.Supervisor.SectorCap == nil {
		return ""
	}
	return in.sectorOf(symbol)
}

// sectorShares are the shares that sectors have of the universe's names with a score on
// day k.
func (in decisionInputs) sectorShares(k int) map[string]float64 {
	shares := map[string]float64{}
	n := 0.0
	for i, symbol := range in.strategy.Universe.Symbols {
		if x := in.signals.Score(k, i); x == x && in.signals.Member(k, i) {
			n++
			shares[in.sectorOf(symbol)]++
		}
	}
	for sector := range shares {
		shares[sector] /= n
	}
	return shares
}

// groups are the known names of a list by sector, sectors in byte order.
func (in decisionInputs) groups(list []strategy.Candidate, known []int) (groups [][]int, sectors []string) {
	by := map[string][]int{}
	for at, i := range known {
		sector := in.sectorOf(list[i].Symbol)
		if by[sector] == nil {
			sectors = append(sectors, sector)
		}
		by[sector] = append(by[sector], at)
	}
	slices.Sort(sectors)
	for _, sector := range sectors {
		groups = append(groups, by[sector])
	}
	return groups, sectors
}

// neutralise gives each sector of a book that is long only the share that it has of the
// universe, and takes from the heavier side of each sector of a book that is also short
// what it leads by. What no name takes stays cash.
func (in decisionInputs) neutralise(k int, list []strategy.Candidate, known []int, weights []float64, budget float64) {
	short := slices.ContainsFunc(weights, func(w float64) bool { return w < 0 })
	shares := in.sectorShares(k)
	groups, sectors := in.groups(list, known)
	for g, of := range groups {
		var sums [2]float64 // long, short
		for _, at := range of {
			if weights[at] < 0 {
				sums[1] -= weights[at]
			} else {
				sums[0] += weights[at]
			}
		}
		for _, at := range of {
			side := 0
			if weights[at] < 0 {
				side = 1
			}
			switch {
			case sums[side] == 0:
			case short:
				weights[at] *= min(sums[0], sums[1]) / sums[side]
			default:
				weights[at] *= budget * shares[sectors[g]] / sums[0]
			}
		}
	}
}

// sectorsFor are the sectors of the lab's symbols, where a strategy asks for them.
func sectorsFor(ctx context.Context, s *session.Session, of strategy.Strategy) (map[string]string, error) {
	if !of.BySectors() {
		return nil, nil
	}
	meta, err := s.MetaDB()
	if err != nil {
		return nil, err
	}
	list, err := meta.ListSymbols(ctx, metastore.SymbolFilter{})
	return sectorsOf(of, list), err
}

// sectorsOf are the sectors of symbols, where a strategy asks for them.
func sectorsOf(of strategy.Strategy, list []quant.Symbol) map[string]string {
	if !of.BySectors() {
		return nil
	}
	sectors := make(map[string]string, len(list))
	for _, symbol := range list {
		sectors[symbol.Symbol] = string(symbol.Sector)
	}
	return sectors
}

// sectorsOfToday says what the sectors are that a decision depends on.
const sectorsOfToday = "sectors are those that the symbols have today, on every day of the past"

// sectorsRead is the input that the sectors of symbols are to a run.
func sectorsRead(symbols []string, sectors map[string]string) quant.RunIO {
	sum, rows := durable.NewSum(), int64(len(symbols))
	for _, symbol := range symbols {
		_, _ = fmt.Fprintf(sum, "%s\x00%s\n", symbol, sectors[symbol])
	}
	return quant.RunIO{Direction: quant.In, Kind: quant.IOMeta, Name: "symbols", Rows: &rows, Digest: quant.Text(sum.Digest())}
}

// tellChangedSectors says of a backtest which of its decisions were
// made by other sectors than the symbols have now.
func tellChangedSectors(ctx context.Context, s *session.Session, of strategy.Strategy, symbols []quant.Symbol, inputs []quant.RunIO) error {
	if !of.BySectors() {
		return nil
	}
	now := sectorsRead(of.Universe.Symbols, sectorsOf(of, symbols))
	for _, decided := range inputs {
		if decided.Direction != quant.In || decided.Kind != quant.IORun {
			continue
		}
		noted, err := s.Meta.RunIO(ctx, decided.Name)
		if err != nil && !errors.Is(err, quant.NotFound) {
			return err
		}
		for _, io := range noted {
			if io.Direction == now.Direction && io.Kind == now.Kind && io.Name == now.Name && io.Digest != now.Digest {
				s.Say().Notice("run %s decided by other symbols or sectors than there are now: recommend again to decide by these", quant.ShortID(decided.Name))
				return nil
			}
		}
	}
	return nil
}

// tellSectors says what the sectors of a decision are, and records them.
func (r *recommending) tellSectors() {
	if !r.s.BySectors() {
		return
	}
	without := 0
	for _, symbol := range r.s.Universe.Symbols {
		if r.Sectors[symbol] == "" {
			without++
		}
	}
	r.report.Inputs = append(r.report.Inputs, sectorsRead(r.s.Universe.Symbols, r.Sectors))
	r.notice("%s", sectorsOfToday)
	if without > 0 {
		r.notice("%d of %d symbols of the universe have no sector, and count as one: `quant symbols set SYMBOL --sector NAME`", without, len(r.s.Universe.Symbols))
	}
	for _, sector := range r.s.Supervisor.SectorCap.Named() {
		if !slices.ContainsFunc(r.s.Universe.Symbols, func(symbol string) bool { return cmp.Or(r.Sectors[symbol], noSector) == sector }) {
			r.notice("supervisor.sector_cap names %q, and no symbol of the universe has that sector", sector)
		}
	}
}
