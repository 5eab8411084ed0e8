package feature

import (
	"fmt"
	"slices"
	"strings"

	"quant"
	"quant/internal/factstore"
)

// Entry is one feature of the catalogue: what it is, and how it is computed.
// Its value at t is made of bars up to t only. Where there is none (warm-up, a
// missing session that its rule does not forgive, NaN, an infinity) there is no
// row, never a NULL or a NaN.
type Entry struct {
	Name       string   `json:"name"`
	Versions   []string `json:"versions"` // feature versions that hold it, by one and the same definition
	Definition string   `json:"definition"`
	Lookback   int      `json:"lookback"`   // sessions before t that the value reads; of a recursion, those of its warm-up
	FirstRow   int      `json:"first_row"`  // the bar, counted from 1, that has the first value where no session is missing
	Gaps       string   `json:"gaps"`       // none: every session of the window must have its bar; 80%, 75%: so many must; recursive: see Restart
	Unit       string   `json:"unit"`       // decimal, ratio, price, points ...
	ScaleFree  bool     `json:"scale_free"` // the same when a symbol's whole history is rescaled, as a split or a dividend does
	Twin       string   `json:"twin"`       // of a price-level entry: the scale-free one to rank and train with
	Source     string   `json:"source"`     // of the formula

	CrossSectional bool   `json:"cross_sectional"` // it also reads other symbols of its day
	KnownAt        string `json:"known_at"`        // proved: computed by quant from what stood at the close; stated: as its source says

	compute kernel
}

// recursive reports whether a value reads all bars since the symbol's first.
func (e Entry) recursive() bool { return e.Gaps == gapsRecursive }

// The values of Entry.Gaps.
const (
	gapsNone      = "none"
	gapsRolling   = "80%"
	gapsAmihud    = "75%"
	gapsRecursive = "recursive"
	gapsFunction  = "by function" // of expressions: as each of its functions says
	gapsSource    = "as given"    // of what quant does not compute
)

// Restart is how many sessions in a row may be missing within a recursion
// (Wilder's averages, EMA). It steps from bar to bar; after a longer gap it
// begins again with its warm-up.
const Restart = 10

// Versions returns the feature versions that are built in, oldest first.
func Versions() []string {
	list := []string{"v1", "v2"}
	for _, s := range builtInSets() {
		list = append(list, s.version)
	}
	return list
}

// CheckVersion is Invalid for a text that names no version: neither one of Versions nor
// one that a set of a lab can have. Whether the lab has the set shows when it is read.
func CheckVersion(version string) error {
	if slices.Contains(Versions(), version) || factstore.CheckFeatureVersion(version) == nil {
		return nil
	}
	return quant.Errorf(quant.Invalid, "feature version %.80q is not known", version).
		WithHint("use one of %s, or one of your own; `quant factor list` shows the features of each", strings.Join(Versions(), ", "))
}

// Catalogue returns the entries of v1 and v2 for "", of a version that is built in in
// their order, or of a set. Invalid: see CheckVersion. NotFound: there is no such
// version, here or among the sets, which are those of a lab.
func Catalogue(version string, sets ...factstore.FeatureSet) ([]Entry, error) {
	all := entries()
	if version == "" {
		return all, nil
	}
	if err := CheckVersion(version); err != nil {
		return nil, err
	}
	if version == "v1" || version == "v2" {
		return slices.DeleteFunc(all, func(e Entry) bool { return !slices.Contains(e.Versions, version) }), nil
	}
	for _, s := range sets {
		if s.Version == version {
			return setEntries(s), nil
		}
	}
	if isBuiltIn(version) {
		s, err := builtInSet(version)
		return setEntries(s), err
	}
	return nil, quant.Errorf(quant.NotFound, "feature version %s is not in this lab", version).
		WithHint("`quant features --file FILE` computes a version of your own; `quant factor list` shows the versions there are")
}

// setEntries are the features of a set as entries of the catalogue.
func setEntries(s factstore.FeatureSet) []Entry {
	list := make([]Entry, len(s.Features))
	for i, f := range s.Features {
		e := Entry{
			Name: f.Name, Versions: []string{s.Version}, Definition: f.Definition, Gaps: gapsSource, Unit: f.Unit, ScaleFree: f.ScaleFree,
			Source: f.Kind, CrossSectional: f.CrossSectional, KnownAt: f.KnownAt,
		}
		if f.Kind == factstore.KindExpressions {
			e.Gaps = gapsFunction
		}
		if f.Lookback != nil {
			e.Lookback = int(*f.Lookback)
		}
		if f.FirstRow != nil {
			e.FirstRow = int(*f.FirstRow)
		}
		list[i] = e
	}
	return list
}

// Lookup returns an entry of a version. NotFound: the version does not have it, or there
// is no such version; Invalid: see CheckVersion. sets are those of a lab.
func Lookup(name, version string, sets ...factstore.FeatureSet) (Entry, error) {
	list, err := Catalogue(version, sets...)
	if err != nil {
		return Entry{}, err
	}
	for _, e := range list {
		if e.Name == name {
			return e, nil
		}
	}
	for _, e := range entries() {
		if e.Name == name {
			return Entry{}, quant.Errorf(quant.NotFound, "feature %s is not in version %s", name, version).
				WithHint("use %s@%s", name, e.Versions[0])
		}
	}
	return Entry{}, quant.Errorf(quant.NotFound, "there is no feature %.80q in version %s", name, version).WithHint("`quant factor list --feature-version %s` shows its features", version)
}

// CheckScale is Refused for an entry at price level: names cannot be compared by it.
func (e Entry) CheckScale() error {
	if e.ScaleFree {
		return nil
	}
	err := quant.Errorf(quant.Refused, "feature %s@%s is %s, which a split rescales: it cannot rank names", e.Name, e.Versions[0], levelOf(e.Unit))
	if e.Twin != "" {
		return err.WithHint("use its scale-free twin %s@%s", e.Twin, e.Versions[0])
	}
	return err.WithHint("define one that is divided by what it is measured in, such as a price by $close, in a new version")
}

func levelOf(unit string) string {
	if unit == "" {
		return "not scale-free"
	}
	return "in units of " + unit
}

// returnEntry is the return over k sessions: every session of the window has
// its bar exactly when the k-th bar before is the k-th session before.
func returnEntry(name string, k int) Entry {
	return Entry{
		Name: name, Definition: fmt.Sprintf("P[t] / P[t-%d] - 1", k), Lookback: k, FirstRow: k + 1, Gaps: gapsNone,
		Unit: "decimal", ScaleFree: true, Source: "simple return", compute: returnOver(k, 0),
	}
}

func entries() []Entry {
	both, second := []string{"v1", "v2"}, []string{"v2"}
	var list []Entry
	add := func(versions []string, more ...Entry) {
		for _, e := range more {
			e.Versions, e.KnownAt = versions, factstore.KnownProved
			list = append(list, e)
		}
	}
	add(both,
		returnEntry("ret_1d", 1), returnEntry("ret_5d", 5), returnEntry("ret_20d", 20), returnEntry("ret_60d", 60),
		Entry{
			Name: "vol_20d", Definition: "sample standard deviation of the last 20 ret_1d, not annualised", Lookback: 20, FirstRow: 21, Gaps: gapsRolling,
			Unit: "decimal", ScaleFree: true, Source: "historical volatility, n - 1", compute: rolling("r1", 20, 16, sampleDeviation),
		},
		Entry{
			Name: "gap_open", Definition: "open[t] / P[t-1] - 1", Lookback: 1, FirstRow: 2, Gaps: gapsNone,
			Unit: "decimal", ScaleFree: true, Source: "overnight return", compute: gapOpen,
		},
		Entry{
			Name: "hl_range", Definition: "(high[t] - low[t]) / P[t]", Lookback: 0, FirstRow: 1, Gaps: gapsNone,
			Unit: "decimal", ScaleFree: true, Source: "daily range", compute: dayRange,
		},
		Entry{
			Name: "volume_ratio_20d", Definition: "volume[t] / mean of the last 20 volumes, t among them", Lookback: 19, FirstRow: 20, Gaps: gapsRolling,
			Unit: "ratio", ScaleFree: true, Source: "relative volume", compute: rolling("v", 19, 16, relativeVolume),
		},
	)
	add(second,
		Entry{
			Name: "rsi_14", Definition: "100 x U / (U + D), U and D Wilder's averages of 14 gains and losses; 50 where both are 0", Lookback: 14, FirstRow: 15, Gaps: gapsRecursive,
			Unit: "points, 0 to 100", ScaleFree: true, Source: "Wilder 1978; TA-Lib RSI, but for the flat series", compute: recursed("rsi_14"),
		},
		Entry{
			Name: "atr_14", Definition: "Wilder's average of 14 true ranges, max(high, P[t-1]) - min(low, P[t-1])", Lookback: 14, FirstRow: 15, Gaps: gapsRecursive,
			Unit: "price", Twin: "atr_pct_14", Source: "Wilder 1978; TA-Lib ATR", compute: recursed("atr_14"),
		},
		Entry{
			Name: "atr_pct_14", Definition: "atr_14 / P[t]", Lookback: 14, FirstRow: 15, Gaps: gapsRecursive,
			Unit: "decimal", ScaleFree: true, Source: "atr_14; TA-Lib NATR / 100", compute: recursed("atr_pct_14"),
		},
		Entry{
			Name: "macd", Definition: "EMA 12 - EMA 26 of P, k = 2 / (n + 1), both seeded with the plain mean that ends at bar 26", Lookback: 33, FirstRow: 34, Gaps: gapsRecursive,
			Unit: "price", Twin: "macd_pct", Source: "Appel; TA-Lib MACD", compute: recursed("macd"),
		},
		Entry{
			Name: "macd_signal", Definition: "EMA 9 of macd, seeded with the plain mean of its first 9", Lookback: 33, FirstRow: 34, Gaps: gapsRecursive,
			Unit: "price", Twin: "macd_pct", Source: "Appel; TA-Lib MACD", compute: recursed("macd_signal"),
		},
		Entry{
			Name: "macd_pct", Definition: "macd / P[t]", Lookback: 33, FirstRow: 34, Gaps: gapsRecursive,
			Unit: "decimal", ScaleFree: true, Source: "macd", compute: recursed("macd_pct"),
		},
		Entry{
			Name: "bb_upper", Definition: "mean of the last 20 P + 2 population deviations", Lookback: 19, FirstRow: 20, Gaps: gapsRolling,
			Unit: "price", Twin: "bb_pctb", Source: "Bollinger; TA-Lib BBANDS", compute: rolling("p", 19, 16, bollinger(2)),
		},
		Entry{
			Name: "bb_lower", Definition: "mean of the last 20 P - 2 population deviations", Lookback: 19, FirstRow: 20, Gaps: gapsRolling,
			Unit: "price", Twin: "bb_pctb", Source: "Bollinger; TA-Lib BBANDS", compute: rolling("p", 19, 16, bollinger(-2)),
		},
		Entry{
			Name: "bb_pctb", Definition: "(P[t] - bb_lower) / (bb_upper - bb_lower); no row where the bands meet", Lookback: 19, FirstRow: 20, Gaps: gapsRolling,
			Unit: "ratio", ScaleFree: true, Source: "Bollinger's %b", compute: rolling("p", 19, 16, withinBands),
		},
		Entry{
			Name: "mom_12_1", Definition: "P[t-21] / P[t-252] - 1", Lookback: 252, FirstRow: 253, Gaps: gapsNone,
			Unit: "decimal", ScaleFree: true, Source: "Jegadeesh and Titman 1993, in sessions", compute: returnOver(252, 21),
		},
		Entry{
			Name: "amihud_20d", Definition: "1e6 x mean of |ret_1d| / (P x volume) over the last 20 sessions, those without volume left out, at least 15", Lookback: 20, FirstRow: 21, Gaps: gapsAmihud,
			Unit: "decimal per million of currency", ScaleFree: true, Source: "Amihud 2002",
			compute: rolling("illiq", 20, 15, illiquidity),
		},
	)
	return list
}
