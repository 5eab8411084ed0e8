package feature

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/factstore"
)

// own is a set with windows, a cross-section, one within a window, and one of sectors.
const own = `version: own
features:
  MA: Mean($close, 5) / $close
  order: Std($close / Ref($close, 1), 10)
  STRONG: CSRank($close / Ref($close, 3) - 1)
  HELD: Mean(CSZScore($volume / Mean($volume, 5)), 4)
  APART: CSDemean($close / Ref($close, 1), sector)
  LEVEL: EMA($close, 2)
`

func setOf(t testing.TB, text string) *factstore.FeatureSet {
	t.Helper()
	s, err := ParseSet("features.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return &s
}

func sectorsOf(symbols []string) map[string]string {
	of := map[string]string{}
	for i, s := range symbols {
		of[s] = []string{"Energy", "Banks", ""}[i%3]
	}
	return of
}

const allInputs = "SELECT * FROM fact_inputs ORDER BY ALL"

// What one more day, a correction and the like leave is what computing everything in a
// new lab gives, also where symbols are compared; nothing more is computed than that
// takes.
func TestASetStandsAsComputingEverythingAgainWouldLeaveIt(t *testing.T) {
	t.Parallel()
	cal := weekdays("2019-01-07", 75)
	var symbols []string
	for k := range 10 {
		symbols = append(symbols, fmt.Sprintf("S%02d", k))
	}
	sectors, all := sectorsOf(symbols), market(symbols, cal, 5, true)
	until := func(i int, where string) string {
		return fmt.Sprintf("SELECT * FROM (%s) WHERE ts <= DATE '%s' AND (%s)", all, cal.At(i), where)
	}
	alone := "version: alone\nfeatures:\n  MA: Mean($close, 5) / $close\n  order: Std($close / Ref($close, 1), 10)\n"
	db, step := lab(t, factstore.Options{}), 0
	check := func(what string, computedOwn, computedAlone int, rows int64) {
		t.Helper()
		step++
		fresh := lab(t, factstore.Options{})
		load(t, fresh, barsOf(t, db))
		for text, computed := range map[string]int{own: computedOwn, alone: computedAlone} {
			r := run(t, db, cal, Request{RunID: fmt.Sprint("r", step, text[9:12]), Set: setOf(t, text), Sectors: sectors})
			if r.Computed != computed || rows >= 0 && len(r.Series) > 0 && r.Series[0].Rows > rows {
				t.Errorf("%s: of %s %d symbols were computed, %+v", what, r.Version, r.Computed, r.Series)
			}
			if again := run(t, db, cal, Request{RunID: "again", Version: r.Version, Sectors: sectors}); again.Computed != 0 {
				t.Errorf("%s: %d symbols of %s were computed again", what, again.Computed, r.Version)
			}
			run(t, fresh, cal, Request{Set: setOf(t, text), Sectors: sectors})
		}
		for _, table := range []string{allFeatures, allInputs} {
			if got, want := facts(t, db, table), facts(t, fresh, table); !slices.Equal(got, want) {
				t.Fatalf("%s: %d rows, computed afresh %d: %s", what, len(got), len(want), table)
			}
		}
		if problems, err := db.Check(t.Context()); err != nil || len(problems) != 0 {
			t.Errorf("%s: %v %v", what, problems, err)
		}
	}
	load(t, db, until(60, "symbol < 'S08'"))
	check("everything", 8, 8, -1)
	load(t, db, until(61, "symbol < 'S08'"))
	check("one day", 8, 8, 8)
	load(t, db, until(64, "symbol < 'S06'"))
	check("three days of six symbols", 8, 6, 18)
	load(t, db, until(65, "symbol < 'S08'"))
	check("two that lagged", 8, 8, -1)
	load(t, db, until(66, "symbol < 'S08' OR symbol = 'S08' AND ts > DATE '"+cal.At(65).String()+"'"))
	check("a symbol that is new today", 9, 9, 9)
	load(t, db, fmt.Sprintf("SELECT * REPLACE (close * 1.01 AS close, high * 1.02 AS high) FROM (%s) WHERE symbol = 'S03' AND ts = DATE '%s'", all, cal.At(30)))
	check("a late correction", 9, 1, -1)
	load(t, db, until(66, "symbol = 'S09'"))
	check("a new symbol with a history", 10, 1, -1)
	remove(t, db, "symbol = 'S05'")
	check("a symbol that is gone", 9, 0, -1)
	sectors["S02"] = "Energy"
	check("another sector", 9, 0, -1)
	if report := run(t, db, cal, Request{Set: setOf(t, own), Sectors: sectors, Symbols: []string{"S01", "S02"}, Force: true}); report.Computed != 2 {
		t.Errorf("two symbols asked for: %+v", report)
	} else if table := report.Tables[0]; table.Changed() != 0 {
		t.Errorf("two symbols alone have other values than among all: %+v", table)
	}
}

// A value is made of what stood at the close of its day: nothing up to a day moves when
// all later bars are cut off or are others. One day at a time gives the bits of
// everything at once, and threads change none.
func TestNothingOfASetIsKnownBeforeItsDay(t *testing.T) {
	t.Parallel()
	cal := weekdays("2019-01-07", 60)
	var symbols []string
	for k := range 12 {
		symbols = append(symbols, fmt.Sprintf("S%02d", k))
	}
	sectors, all := sectorsOf(symbols), market(symbols, cal, 9, true)
	whole := lab(t, factstore.Options{Threads: 2})
	load(t, whole, all)
	first := run(t, whole, cal, Request{Set: setOf(t, own), Sectors: sectors})
	upTo := func(db *factstore.DB, day quant.Date) []string {
		return facts(t, db, fmt.Sprintf("SELECT symbol, ts, feature_name, feature_value FROM features_daily WHERE ts <= DATE '%s' ORDER BY ALL", day))
	}
	if n := len(upTo(whole, cal.At(59))); n < 2000 {
		t.Fatalf("%d rows", n)
	}
	for _, threads := range []int{1, 8} {
		db := lab(t, factstore.Options{Threads: threads})
		load(t, db, all)
		if report := run(t, db, cal, Request{Set: setOf(t, own), Sectors: sectors}); !slices.Equal(report.Tables, first.Tables) {
			t.Errorf("%d threads give %v, not %v", threads, report.Tables, first.Tables)
		}
	}
	rng := rand.New(rand.NewPCG(3, 3))
	for range 3 {
		day := cal.At(25 + rng.IntN(30))
		want := upTo(whole, day)
		for name, query := range map[string]string{
			"cut off": fmt.Sprintf("SELECT * FROM (%s) WHERE ts <= DATE '%s'", all, day),
			"others": fmt.Sprintf(`SELECT * REPLACE (CASE WHEN ts > DATE '%s' THEN close * 1.5 ELSE close END AS close, CASE WHEN ts > DATE '%[1]s' THEN high * 1.5 ELSE high END AS high,
				CASE WHEN ts > DATE '%[1]s' THEN volume * 3 ELSE volume END AS volume, CASE WHEN ts > DATE '%[1]s' THEN adjusted_close * 1.5 ELSE adjusted_close END AS adjusted_close) FROM (%[2]s)`, day, all),
		} {
			db := lab(t, factstore.Options{})
			load(t, db, query)
			run(t, db, cal, Request{Set: setOf(t, own), Sectors: sectors})
			if got := upTo(db, day); !slices.Equal(got, want) {
				t.Errorf("bars after %s %s: %d rows up to it, not the %d that stood", day, name, len(got), len(want))
			}
		}
	}
	daily := lab(t, factstore.Options{})
	for i := 40; i < 60; i++ {
		load(t, daily, fmt.Sprintf("SELECT * FROM (%s) WHERE ts <= DATE '%s'", all, cal.At(i)))
		run(t, daily, cal, Request{RunID: fmt.Sprint("day", i), Set: setOf(t, own), Sectors: sectors})
	}
	if !slices.Equal(upTo(daily, cal.At(59)), upTo(whole, cal.At(59))) || !slices.Equal(facts(t, daily, allInputs), facts(t, whole, allInputs)) {
		t.Error("one day at a time gives other values than all at once")
	}
}

// The versions that are built in are declared when they are first computed, and one more
// day of them is computed alone.
func TestAlpha158IsComputedOneMoreDay(t *testing.T) {
	t.Parallel()
	cal := weekdays("2019-01-07", 90)
	all := market([]string{"AAA", "BBB", "CCC"}, cal, 4, true)
	db, fresh := lab(t, factstore.Options{}), lab(t, factstore.Options{})
	load(t, db, fmt.Sprintf("SELECT * FROM (%s) WHERE ts < DATE '%s'", all, cal.At(89)))
	load(t, fresh, all)
	if _, err := db.FeatureSet(t.Context(), "alpha158"); quant.CodeOf(err) != quant.NotFound {
		t.Fatal(err)
	}
	run(t, db, cal, Request{RunID: "a", Version: "alpha158"})
	load(t, db, all)
	report := run(t, db, cal, Request{RunID: "b", Version: "alpha158"})
	run(t, fresh, cal, Request{Version: "alpha158"})
	if report.Computed != 3 || len(report.Series) != 158 || report.Series[0].Rows > 3 {
		t.Errorf("%d symbols, %d series, %+v", report.Computed, len(report.Series), report.Series[0])
	}
	for _, table := range []string{allFeatures, allInputs} {
		if got, want := facts(t, db, table), facts(t, fresh, table); !slices.Equal(got, want) {
			t.Errorf("%d rows, computed afresh %d: %s", len(got), len(want), table)
		}
	}
	if s, err := db.FeatureSet(t.Context(), "alpha158"); err != nil || len(s.Features) != 158 || s.RunID != "a" || s.KnownAt != factstore.KnownProved {
		t.Errorf("%v %v", s, err)
	}
	for _, version := range []string{"alpha158", "alpha360"} {
		entries, err := Catalogue(version)
		if err != nil || len(entries) != map[string]int{"alpha158": 158, "alpha360": 360}[version] {
			t.Errorf("%s: %d entries, %v", version, len(entries), err)
		}
	}
}

func TestAFileOfDefinitionsSaysWhereItIsWrong(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                     "f.yaml: the file is empty",
		"- 1":                                  "f.yaml:1:1: the file must be a mapping, not a list",
		"version: a":                           "f.yaml: there are no features",
		"features: {A: $close}":                "f.yaml: there is no version",
		"version: a\nversion: b":               `f.yaml:2:1: key "version" stands twice`,
		"version: 1":                           "f.yaml:1:10: version must be a text, not a number",
		"version: V":                           `f.yaml:1:10: "V" cannot name a feature version`,
		"version: v7\nfeatures: {A: $close}":   "f.yaml:1:10: feature version v7 is a name of quant's own versions",
		"version: a\nfeature: {}":              `f.yaml:2:1: unknown key "feature"`,
		"version: a\nfeatures: []":             "f.yaml:2:11: features must be a mapping, not a list",
		"version: a\nfeatures: {}":             "it has 0 features",
		"version: a\nfeatures:\n  ts: $close":  "f.yaml:3:3: feature ts has the name of a column",
		"version: a\nfeatures:\n  a-b: $close": `f.yaml:3:3: "a-b" cannot name a feature`,
		"version: a\nfeatures:\n  A: 5":        "f.yaml:3:6: A is a number",
		"version: a\nfeatures:\n  A: [1]":      "f.yaml:3:6: A must be a text, not a list",
		"version: a\nfeatures:\n  A: $close\n  a: $open":          "A and a are one name to a database",
		"version: a\nfeatures:\n  A: {expression: $close, b: 1}":  "A needs expr (or expression) or sql, and no other key",
		"version: a\nfeatures:\n  A: Mean($close, 20":             "f.yaml:3:",
		"version: a\nfeatures:\n  A: Mean($close, 2) + Nope(1)":   "f.yaml:3:24: A: ",
		"version: a\nfeatures:\n  A: \"Ref($close, -1)\"":         "f.yaml:3:19: A: Ref with -1 reads the future",
		"version: a\nfeatures:\n  A: |\n    Ref($close,\n    -1)": "of the expression)",
		"version: a\nfeatures:\n  A: CSRank($close)":              "f.yaml:3:13: A: CSRank compares symbols",
		"version: alpha158\nfeatures:\n  A: $close":               "f.yaml:1:10: version alpha158 is built in",
		"version: a\n---\nversion: b":                             "a second document",
		"version: a\nfeatures: {A: &x $close}":                    "f.yaml:2:15: A must be a text, not an anchor",
		"\x00":                                                    "no plain text",
		strings.Repeat("a", MaxDefinitionBytes+1):                 "more than",
		strings.Repeat("a: ", 40_000):                             "not valid YAML",
		strings.Repeat("[", 100):                                  "not valid YAML",
	} {
		begun := time.Now()
		_, err := ParseSet("f.yaml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || quant.HintOf(err) == "" {
			t.Errorf("%.60q: %v (hint %q), want %q", text, err, quant.HintOf(err), want)
		}
		if code := quant.CodeOf(err); code != quant.Invalid && code != quant.Conflict {
			t.Errorf("%.60q: code %v", text, code)
		}
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("%.60q took %v", text, took)
		}
	}
	s := setOf(t, "version: a\ndescription: two\nfeatures:\n  A:   Mean( $close,20 )/$close\n  B:\n    expression: $open / $close\n")
	if s.Features[0].Definition != "Mean( $close,20 )/$close" || *s.Features[0].Lookback != 19 || *s.Features[0].FirstRow != 20 || !s.Features[1].ScaleFree || s.Description != "two" {
		t.Errorf("%+v", s)
	}
	if same := setOf(t, "version: b\nfeatures: {B: $open/$close, A: 'Mean($close, 20) / $close'}"); factstore.DigestOf(*same) != factstore.DigestOf(*s) {
		t.Error("the spelling makes another definition")
	}
}
