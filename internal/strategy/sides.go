package strategy

import (
	"fmt"
	"math"
	"strconv"

	"quant"
)

// proposeSides is Propose of LongShort: the top_k best names long and the short_k worst
// short, ties by symbol in byte order from the top. Each side has its exposure in equal
// weights; with FillNone a side with fewer names is the smaller by what they miss. No
// name is on both sides: where there are fewer than both want, each side has its part
// of them, rounded down. The order is best long, worst short, second best long and so
// on, so that what keeps to that order, as the supervisor does, favours no side.
func (s Strategy) proposeSides(r *Signals, k int) []Candidate {
	p := s.Portfolio
	scores := r.proposable(k)[:len(s.Universe.Symbols)]
	ranked := best(scores, r.Symbols, len(scores))
	longs, shorts := p.TopK, p.Shorts()
	if n := len(ranked); n < longs+shorts {
		longs, shorts = n*longs/(longs+shorts), n*shorts/(longs+shorts)
	}
	longExposure, shortExposure := p.Exposures()
	longOf, shortOf := p.TopK, p.Shorts()
	if p.Fill == FillRedistribute {
		longOf, shortOf = longs, shorts
	}
	if longExposure == 0 {
		longs = 0
	}
	if shortExposure == 0 {
		shorts = 0
	}
	list := make([]Candidate, 0, longs+shorts)
	add := func(c Candidate, weight float64) {
		c.Rank, c.Weight = len(list)+1, weight
		list = append(list, c)
	}
	for i := range max(longs, shorts) {
		if i < longs {
			add(ranked[i], longExposure/float64(longOf))
		}
		if i < shorts {
			add(ranked[len(ranked)-1-i], -shortExposure/float64(shortOf))
		}
	}
	return list
}

// noticesOfSides is Notices of LongShort.
func (s Strategy) noticesOfSides() []string {
	long, short := s.Portfolio.Exposures()
	var notices []string
	if most := s.Supervisor.GrossExposureCap; long+short > most+1e-12 {
		notices = append(notices, fmt.Sprintf("%s long and %s short are more than the gross_exposure_cap of %s: both are scaled to it", percent(long), percent(short), percent(most)))
	}
	weighs := s.Portfolio.optimised()
	scale := min(1, s.Supervisor.GrossExposureCap/(long+short))
	side := func(name string, k int, exposure float64) {
		if most := float64(k) * s.Supervisor.MaxWeightPerSymbol; weighs && most < scale*exposure-1e-12 {
			notices = append(notices, fmt.Sprintf("%s is to have %s of equity %s, and %s of at most %s can have %s: recommend refuses it; raise max_weight_per_symbol or take more names",
				s.Portfolio.Weighting, percent(scale*exposure), name, quant.Count(k, "name"), percent(s.Supervisor.MaxWeightPerSymbol), percent(most)))
		}
		if weighs {
			return
		}
		if each := exposure / float64(k); each > s.Supervisor.MaxWeightPerSymbol+1e-12 {
			notices = append(notices, fmt.Sprintf("%s %s of %s each: clipped to the max_weight_per_symbol of %s", quant.Count(k, "name"), name, percent(each), percent(s.Supervisor.MaxWeightPerSymbol)))
		}
	}
	side("long", s.Portfolio.TopK, long)
	side("short", s.Portfolio.Shorts(), short)
	if most := s.Supervisor.NetExposureCap; most != nil && scale*math.Abs(long-short) > *most+1e-12 {
		notices = append(notices, fmt.Sprintf("%s long and %s short differ by more than the net_exposure_cap of %s: the larger side is scaled to it", percent(scale*long), percent(scale*short), percent(*most)))
	}
	if k := s.Portfolio.TopK + s.Portfolio.Shorts(); k > s.Supervisor.MaxPositions {
		notices = append(notices, fmt.Sprintf("%d names are proposed, and max_positions is %d: the rest of both sides is rejected", k, s.Supervisor.MaxPositions))
	}
	return notices
}

// ofSides are the keys that only a book of LongShort has.
var ofSides = []string{"portfolio.short_k", "portfolio.long_exposure", "portfolio.short_exposure", "supervisor.net_exposure_cap"}

// mostOfLong is what the caps of a book that is only long may be at most.
const mostOfLong = 1

// sides checks the rules between keys of books, fills and margins, and takes out what
// says no more than the default, so that both have one canonical form.
func (p *parsing) sides(s *Strategy) {
	long, short := s.Portfolio.Exposures()
	initial, maintenance := s.Backtest.Margins()
	sided := !p.failed["portfolio.side"]
	bookIs := s.LongShort()
	if sided && !bookIs {
		for _, path := range ofSides {
			if p.given[path] != "" {
				hint := "set portfolio.side: long_short, or leave it out"
				if path == "supervisor.net_exposure_cap" {
					hint += ": the net of a book that is only long is its gross, which supervisor.gross_exposure_cap caps"
				}
				p.useless(path, "portfolio.side", path+"=", hint, "%s is not of portfolio.side long", path)
			}
		}
		for _, of := range []struct {
			path string
			cap  float64
		}{{"supervisor.gross_exposure_cap", s.Supervisor.GrossExposureCap}, {"supervisor.turnover_cap", s.Supervisor.TurnoverCap}} {
			if p.known(of.path) && of.cap > mostOfLong {
				p.useless(of.path, "portfolio.side", of.path+"="+amount(mostOfLong), "a book that is only long borrows nothing; portfolio.side: long_short may go up to 4", "%s is %v; with portfolio.side long it must be at most 1", of.path, of.cap)
			}
		}
	}
	if sided && bookIs {
		if p.given["supervisor.gross_exposure_cap"] == "" {
			s.Supervisor.GrossExposureCap = DefaultGrossLongShort
		}
		if p.known("portfolio.weighting") && s.Portfolio.Weighting == ScoreWeighted {
			p.problem(p.given["portfolio.weighting"], "portfolio.weighting", "set portfolio.weighting: equal", "portfolio.weighting %s does not go with portfolio.side long_short: it gives no weight to a low score", s.Portfolio.Weighting)
		}
		if long+short == 0 {
			p.problem(p.given["portfolio.short_exposure"], "portfolio.short_exposure", "leave one of them out", "portfolio.long_exposure and portfolio.short_exposure are both 0: nothing would be held")
		}
		if most := s.Supervisor.GrossExposureCap; !p.failed["supervisor.gross_exposure_cap"] && !p.failed["backtest.margin_initial"] && most*initial > 1+1e-9 {
			where, path := p.given["backtest.margin_initial"], "backtest.margin_initial"
			if at := p.given["supervisor.gross_exposure_cap"]; at != "" {
				where, path = at, "supervisor.gross_exposure_cap"
			}
			p.problem(where, path, "set supervisor.gross_exposure_cap to "+amount(1/initial)+" or less, or lower backtest.margin_initial",
				"supervisor.gross_exposure_cap %v needs %s of equity for an initial margin of %v: no account can open it", most, percent(most*initial), initial)
		}
	}
	if p.given["backtest.margin_initial"]+p.given["backtest.margin_maintenance"] != "" && maintenance > initial {
		path := "backtest.margin_maintenance"
		if p.given[path] == "" {
			path = "backtest.margin_initial"
		}
		p.problem(p.given[path], path, "what is opened must be able to stay", "backtest.margin_maintenance %v is more than backtest.margin_initial %v", maintenance, initial)
	}
	if s.Execution.Price == FillOpen && s.Execution.LagDays == 0 && !p.failed["execution.lag_days"] {
		p.problem(p.given["execution.price"], "execution.price", "set execution.lag_days: 1, the open after the decision", "execution.price open with lag_days 0 looks ahead: that open is before the close that the decision knows")
	}
	canonical(s)
}

func amount(x float64) string { return strconv.FormatFloat(x, 'g', 4, 64) }

// canonical takes out of a strategy what says no more than the default.
func canonical(s *Strategy) {
	if s.Portfolio.Side == LongOnly {
		s.Portfolio.Side = ""
	}
	if s.Portfolio.ShortK == s.Portfolio.TopK {
		s.Portfolio.ShortK = 0
	}
	unsaid := func(to **float64, v float64) {
		if *to != nil && **to == v {
			*to = nil
		}
	}
	unsaid(&s.Portfolio.LongExposure, 1)
	unsaid(&s.Portfolio.ShortExposure, 1)
	unsaid(&s.Backtest.MarginInitial, DefaultMarginInitial)
	unsaid(&s.Backtest.MarginMaintenance, DefaultMarginMaintenance)
}

// sidesSchema is what sides checks, as far as a schema can say it.
func sidesSchema() object {
	most := object{{"maximum", mostOfLong}}
	return object{
		{"if", object{{"properties", object{{"portfolio", object{{"properties", object{{"side", object{{"const", LongShort}}}}}, {"required", []string{"side"}}}}}}, {"required", []string{"portfolio"}}}},
		{"then", object{{"properties", object{{"portfolio", object{
			{"properties", object{{"weighting", object{{"not", object{{"const", ScoreWeighted}}}}}}},
			{"not", object{{"properties", object{{"long_exposure", object{{"const", 0}}}, {"short_exposure", object{{"const", 0}}}}}, {"required", []string{"long_exposure", "short_exposure"}}}},
		}}}}}},
		{"else", object{{"properties", object{
			{"portfolio", object{{"properties", none([]string{"short_k", "long_exposure", "short_exposure"})}}},
			{"supervisor", object{{"properties", object{{"net_exposure_cap", false}, {"gross_exposure_cap", most}, {"turnover_cap", most}}}}},
		}}}},
	}
}

// openSchema is that an open is filled at after the decision.
func openSchema() object {
	return object{
		{"if", object{{"properties", object{{"execution", object{{"properties", object{{"price", object{{"const", FillOpen}}}}}, {"required", []string{"price"}}}}}}, {"required", []string{"execution"}}}},
		{"then", object{{"properties", object{{"execution", object{{"properties", object{{"lag_days", object{{"minimum", 1}}}}}, {"required", []string{"lag_days"}}}}}}}},
	}
}
