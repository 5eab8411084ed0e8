package strategy

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"quant"
	"quant/internal/calendar"
)

// The weightings by risk, which need a covariance: Propose gives their names equal
// weights, as many as their side is to have together, and whoever knows the returns
// weighs them anew.
const (
	InverseVol   = "inverse_vol"
	RiskParity   = "risk_parity"
	MinVariance  = "min_variance"
	MeanVariance = "mean_variance"
)

// Combined is the weighting of Strategies: each name has the weight that the
// strategies decided on, together.
const Combined = "combined"

// ByRisk reports whether the weighting needs a covariance.
func (p Portfolio) ByRisk() bool {
	return slices.Contains([]string{InverseVol, RiskParity, MinVariance, MeanVariance}, p.Weighting)
}

// optimised reports whether the weights are the best within the rules, so that rules
// which leave none are refused.
func (p Portfolio) optimised() bool {
	return p.Weighting == MinVariance || p.Weighting == MeanVariance
}

// BySectors reports whether decisions depend on the sectors of the symbols.
func (s Strategy) BySectors() bool {
	return s.Portfolio.SectorNeutral || s.Supervisor.SectorCap != nil
}

// What a file means that does not say so.
const (
	DefaultCovarianceWindow = 252
	DefaultRiskAversion     = 5
	DefaultUniverseWindow   = 60
)

// mostByRisk is how many names can be weighed by risk: time grows with the cube of
// it.
const mostByRisk = 500

// Changing reports whether the universe is another one from day to day.
func (u Universe) Changing() bool {
	return u.Type == UniverseMembership || u.Type == UniverseRule
}

// Days are the rebalance days from first to last, both included.
func (r Rebalance) Days(cal *calendar.Calendar, first, last quant.Date) ([]quant.Date, error) {
	if r.Frequency == calendar.EveryNSessions {
		return cal.Every(max(r.Every, 1), first, last), nil
	}
	return cal.Rebalances(r.Frequency, first, last)
}

// Part is one strategy of a combination.
type Part struct {
	StrategyID string  `json:"strategy_id"`
	Version    string  `json:"version"`
	Weight     float64 `json:"weight"` // of what it decided; the weights sum to at most 1
}

// mostParts is how many strategies a combination has at most.
const mostParts = 100

// fields are the keys of a part.
func (p *Part) fields() []field {
	return []field{
		{path: "strategy_id", kind: text, to: &p.StrategyID, required: true, pattern: idPattern, doc: "a strategy that has decided"},
		{path: "version", kind: text, to: &p.Version, required: true, pattern: versionPattern, doc: "its version, in quotes"},
		{path: "weight", kind: number, to: &p.Weight, required: true, min: 0, above: true, max: 1, doc: "its share; all together at most 1"},
	}
}

func partsText(list []Part) string {
	texts := make([]string, len(list))
	for i, part := range list {
		texts[i] = part.StrategyID + " " + part.Version + " x " + strconv.FormatFloat(part.Weight, 'g', -1, 64)
	}
	return strings.Join(texts, ", ")
}

func partSchema() object {
	var part Part
	return section(part.fields(), "")
}

// parts reads the strategies of a combination.
func (p *parsing) parts(where string, f *field, n ast.Node) {
	sequence, isList := n.(*ast.SequenceNode)
	if !isList || len(sequence.Values) == 0 || len(sequence.Values) > mostParts {
		p.fail(f.path)
		p.problem(p.orSet(where, n), f.path, `write strategies: [{strategy_id: a, version: "1", weight: 0.5}]`, "%s must be a list of 1 to %d strategies", f.path, mostParts)
		return
	}
	var list []Part
	for _, item := range sequence.Values {
		var part Part
		inner := &parsing{file: p.file, fields: part.fields(), given: map[string]string{}}
		inner.section("", item)
		for _, key := range inner.fields {
			if inner.given[key.path] == "" && len(inner.found) == 0 {
				inner.problem(p.orSet(where, item), key.path, "each has strategy_id, version and weight", "%s is missing", key.path)
			}
		}
		for _, found := range inner.found {
			if strings.HasPrefix(where, "--set") {
				found.Where = where
			}
			p.fail(f.path)
			p.problem(found.Where, join(f.path, found.Key), found.Hint, "%s: %s", f.path, found.Message)
		}
		list = append(list, part)
	}
	if p.failed[f.path] {
		return
	}
	total := 0.0
	for i, part := range list {
		total += part.Weight
		for _, other := range list[:i] {
			if other.StrategyID == part.StrategyID {
				p.fail(f.path)
				p.problem(p.orSet(where, sequence.Values[i]), f.path, "give it once", "strategy %s stands twice", part.StrategyID)
			}
		}
	}
	if total > 1+1e-9 {
		p.fail(f.path)
		p.problem(p.orSet(where, n), f.path, "lower them", "the weights of %s sum to %s, more than 1", f.path, strconv.FormatFloat(total, 'g', 6, 64))
	}
	*f.to.(*[]Part) = list
}

// books checks the keys of changing universes, of weights by risk, and of how often a
// strategy decides, and fills in what the file does not say of them.
func (p *parsing) books(s *Strategy) {
	if p.known("universe.type") {
		u, of := &s.Universe, "universe.type"
		p.only("universe.name", of, u.Type, u.Type == UniverseMembership, true)
		p.only("universe.by", of, u.Type, u.Type == UniverseRule, true)
		p.only("universe.top", of, u.Type, u.Type == UniverseRule, true)
		p.only("universe.window", of, u.Type, u.Type == UniverseRule, false)
		if u.Type == UniverseRule && p.given["universe.window"] == "" {
			u.Window = DefaultUniverseWindow
		}
	}
	for _, part := range s.Signal.Inputs.Strategies {
		if part.StrategyID == s.ID {
			p.problem(p.given["signal.inputs.strategies"], "signal.inputs.strategies", "name other strategies", "strategy %s combines itself", s.ID)
		}
	}
	if p.known("signal.type") {
		p.only("signal.inputs.strategies", "signal.type", s.Signal.Type, s.Signal.Type == Strategies, true)
	}
	if p.known("rebalance.frequency") {
		p.only("rebalance.every", "rebalance.frequency", string(s.Rebalance.Frequency), s.Rebalance.Frequency == calendar.EveryNSessions, true)
	}
	if !p.known("portfolio.weighting") {
		return
	}
	if p.known("signal.type") && (s.Signal.Type == Strategies) != (s.Portfolio.Weighting == Combined) {
		p.problem(p.given["portfolio.weighting"], "portfolio.weighting", "weighting: combined goes with signal.type: strategies, and with no other", "portfolio.weighting cannot be %s with signal.type %s", s.Portfolio.Weighting, s.Signal.Type)
	}
	of := "portfolio.weighting " + s.Portfolio.Weighting
	// A weighting that has no use for them leaves them out of the canonical form, so that a
	// sweep may try weightings under one file.
	if !s.Portfolio.ByRisk() {
		s.Portfolio.CovarianceWindow = 0
	}
	if s.Portfolio.Weighting != MeanVariance {
		s.Portfolio.RiskAversion = 0
	}
	if s.Portfolio.ByRisk() && p.given["portfolio.covariance_window"] == "" {
		s.Portfolio.CovarianceWindow = DefaultCovarianceWindow
	}
	if s.Portfolio.Weighting == MeanVariance && p.given["portfolio.risk_aversion"] == "" {
		s.Portfolio.RiskAversion = DefaultRiskAversion
	}
	if p.known("portfolio.top_k") && s.Portfolio.ByRisk() && s.Portfolio.TopK > mostByRisk {
		p.problem(p.given["portfolio.top_k"], "portfolio.top_k", fmt.Sprintf("use at most %d", mostByRisk), "portfolio.top_k is %d, and %s weighs at most %d names", s.Portfolio.TopK, of, mostByRisk)
	}
}

// everySchema is what rebalance.every depends on.
func everySchema(is bool) object {
	frequency := object{{"const", string(calendar.EveryNSessions)}}
	then := object{{"required", []string{"every"}}}
	if !is {
		frequency = object{{"not", frequency}}
		then = object{{"properties", none([]string{"every"})}}
	}
	return conditional("rebalance", "frequency", frequency, then)
}

// combinedSchema is what the weights of a combination depend on.
func combinedSchema(is bool) object {
	signal, weighting := object{{"const", Strategies}}, object{{"const", Combined}}
	if !is {
		signal, weighting = object{{"not", signal}}, object{{"not", weighting}}
	}
	o := conditional("signal", "type", signal, nil)
	o[1].value = object{{"properties", object{{"portfolio", object{{"properties", object{{"weighting", weighting}}}}}}}}
	return o
}

// conditional says of a section what holds where a key of it is as said.
func conditional(section, key string, is, then object) object {
	return object{
		{"if", object{{"properties", object{{section, object{{"properties", object{{key, is}}}, {"required", []string{key}}}}}}, {"required", []string{section}}}},
		{"then", object{{"properties", object{{section, then}}}}},
	}
}

// refusesLess reports whether the strategy is refused for caps that leave no room for
// what it is to invest.
func (s Strategy) refusesLess() bool {
	return s.Portfolio.optimised() && float64(s.Portfolio.TopK)*s.Supervisor.MaxWeightPerSymbol < s.Supervisor.GrossExposureCap-1e-12
}

// riskNotices says what the user should know of weights by risk.
func (s Strategy) riskNotices() []string {
	p, v := s.Portfolio, s.Supervisor
	if !p.ByRisk() {
		return nil
	}
	var notices []string
	if p.TopK > v.MaxPositions {
		notices = append(notices, fmt.Sprintf("%s weighs %d names, of which max_positions keeps the best %d: lower portfolio.top_k, or raise supervisor.max_positions", p.Weighting, p.TopK, v.MaxPositions))
	}
	if s.refusesLess() {
		most := float64(p.TopK) * v.MaxWeightPerSymbol
		notices = append(notices, fmt.Sprintf("%s invests the gross_exposure_cap of %s, and %d names of at most %s are %s: recommend refuses it; raise max_weight_per_symbol or top_k",
			p.Weighting, percent(v.GrossExposureCap), p.TopK, percent(v.MaxWeightPerSymbol), percent(most)))
	}
	return notices
}

// FullExposure is what the strategy proposes together, long and short, where it finds
// all its names, as a share of equity.
func (s Strategy) FullExposure() float64 {
	if !s.LongShort() {
		return 1
	}
	long, short := s.Portfolio.Exposures()
	return long + short
}

// NewSignals are scores, [day][symbol], that were computed rather than read; NaN: none.
func NewSignals(days []quant.Date, symbols []string, scores []float64) *Signals {
	return &Signals{Days: days, Symbols: symbols, scores: scores}
}

// proposeCombined is Propose of Combined: each name has its score for weight, and the
// top_k largest are kept. A book that is only long leaves out what would be short.
func (s Strategy) proposeCombined(r *Signals, k int) []Candidate {
	scores := r.proposable(k)[:len(s.Universe.Symbols)]
	sizes := make([]float64, len(scores))
	for n, x := range scores {
		if sizes[n] = math.Abs(x); x == 0 || x < 0 && !s.LongShort() {
			sizes[n] = math.NaN()
		}
	}
	list := best(sizes, r.Symbols, s.Portfolio.TopK)
	for i := range list {
		c := &list[i]
		c.Rank, c.Score, c.Weight = i+1, scores[c.N], scores[c.N]
	}
	return list
}
