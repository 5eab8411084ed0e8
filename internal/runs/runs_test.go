package runs_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/factstore"
	"quant/internal/factstore/factstoretest"
	"quant/internal/lab"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/runs"
	"quant/internal/session"
)

// looking is a session in a lab of its own with two ended runs of kind train: a has
// lr 0.1, loss 1 then 0.5 and a Python package, b has lr 0.2, loss 0.25 and a tag.
func looking(t *testing.T) (s *session.Session, a, b string) {
	t.Helper()
	l := lab.New(lab.Options{Place: place.In(t.TempDir())})
	if err := l.Open(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s = session.New(session.Options{Lab: l, Settings: map[string]string{"QUANT_CALENDAR": "XNYS"}})
	if _, err := s.Start(t.Context(), session.Command{Kind: "test", Args: []string{"test"}, Reads: true}, ""); err != nil {
		t.Fatal(err)
	}
	run := func(lr string, losses []float64, more func(inner *session.Session)) string {
		id, err := s.Inside(t.Context(), session.Command{Kind: "train", Args: []string{"train", "--param", "lr=" + lr}, Flags: map[string]string{"param": lr}},
			func(_ context.Context, inner *session.Session) error {
				batch := metastore.Batch{Params: []quant.Param{{Name: "lr", Value: lr}}}
				for i, loss := range losses {
					batch.Metrics = append(batch.Metrics, quant.MetricPoint{Name: "loss", Step: int64(i), Value: loss, LoggedAt: quant.NewTime(time.Now())})
				}
				inner.Log(batch)
				inner.Record(quant.RunIO{Direction: quant.In, Kind: "file", Name: "prices.csv", Digest: quant.Text("sha256:" + strings.Repeat(lr[2:], 64))})
				more(inner)
				return nil
			})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	a = run("0.1", []float64{1, 0.5}, func(inner *session.Session) {
		digest, size, err := s.Artifacts().Put(t.Context(), bytes.NewReader([]byte("numpy==2.0.0\nnonsense\n")))
		if err != nil {
			t.Fatal(err)
		}
		inner.Log(metastore.Batch{Artifacts: []quant.Artifact{{Name: quant.PythonPackages, Digest: digest, Bytes: size}}})
	})
	b = run("0.2", []float64{0.25}, func(inner *session.Session) {
		inner.Log(metastore.Batch{Tags: []quant.Tag{{Name: quant.NameTag, Value: "baseline"}}})
	})
	return s, a, b
}

// valuesOf are the values of one row of a comparison, by run, "-" for none.
func valuesOf(c runs.Comparison, section, name string) string {
	var out []string
	for _, r := range c.Rows {
		if r.Section == section && r.Name == name {
			text := "-"
			if r.Value != nil {
				text = *r.Value
			}
			if r.Delta != nil {
				text += fmt.Sprintf(" (%+g)", *r.Delta)
			}
			out = append(out, text)
		}
	}
	return strings.Join(out, " | ")
}

func TestRunsSideBySide(t *testing.T) {
	t.Parallel()
	s, a, b := looking(t)
	c, err := runs.Compare(t.Context(), s.Meta, s.Artifacts(), []string{a, b})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"params lr": "0.1 | 0.2", "metrics loss": "0.5 (+0) | 0.25 (-0.25)", "tags name": "- | baseline", "python numpy": "2.0.0 | -",
		"run kind": "train | train", "settings flags.param": "0.1 | 0.2", "settings settings.QUANT_CALENDAR": "XNYS | XNYS",
		"inputs file prices.csv": "sha256:" + strings.Repeat("1", 64) + " | sha256:" + strings.Repeat("2", 64),
	} {
		section, name, _ := strings.Cut(name, " ")
		if got := valuesOf(c, section, name); got != want {
			t.Errorf("%s %s: %s, want %s", section, name, got, want)
		}
	}
	for _, r := range c.Differences().Rows {
		if !r.Differs {
			t.Errorf("%s %s does not differ", r.Section, r.Name)
		}
	}
	if valuesOf(c.Differences(), "run", "kind") != "" || valuesOf(c.Differences(), "params", "lr") == "" {
		t.Error("the differences are not those")
	}
	order := -1
	for _, r := range c.Rows {
		at := slices.Index(runs.Sections(), r.Section)
		if at < order {
			t.Fatalf("%s stands after %s", r.Section, runs.Sections()[order])
		}
		order = at
	}
}

func TestPackagesThatCannotBeReadAreSaid(t *testing.T) {
	t.Parallel()
	s, a, b := looking(t)
	found, err := s.Meta.Artifacts(t.Context(), a)
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	path, err := s.Artifacts().Path(found[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	c, err := runs.Compare(t.Context(), s.Meta, s.Artifacts(), []string{a, b})
	if err != nil || len(c.Notices) != 1 || !strings.Contains(c.Notices[0], "Python packages of run "+quant.ShortID(a)) {
		t.Errorf("%q, %v", c.Notices, err)
	}
}

func TestARunWhole(t *testing.T) {
	t.Parallel()
	s, a, b := looking(t)
	if err := s.WriteFacts(t.Context(), func(db *factstore.DB) error {
		return factstoretest.Write(t.Context(), db, b, "INSERT INTO labels SELECT 'A', DATE '2024-01-01' + range::INTEGER, 'fwd_ret_1d', 0.5, 'v1' FROM range(3)")
	}); err != nil {
		t.Fatal(err)
	}
	r, err := runs.Show(t.Context(), s, a)
	if err != nil {
		t.Fatal(err)
	}
	if r.Kind != "train" || len(r.Metrics) != 1 || !slices.Equal(r.Metrics[0].Sample, []float64{1, 0.5}) || len(r.Inputs) != 1 || r.Outputs == nil || r.Ledger == nil || r.LedgerErr != nil || r.Name != "" {
		t.Errorf("%+v", r)
	}
	if r, err = runs.Show(t.Context(), s, b); err != nil || r.Name != "baseline" || len(r.Ledger) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	outer, err := runs.Show(t.Context(), s, s.RunID())
	if err != nil || len(outer.Children) != 2 || outer.Children[0].RunID != b {
		t.Errorf("children %+v, %v", outer.Children, err)
	}
	if _, err := runs.Show(t.Context(), s, "01900000-0000-7000-8000-000000000000"); quant.CodeOf(err) != quant.NotFound {
		t.Error(err)
	}
}

func TestConfigOfTwoRunsLineByLine(t *testing.T) {
	t.Parallel()
	s, a, b := looking(t)
	d, err := runs.Diff(t.Context(), s.Meta, s.Artifacts(), a, b)
	if err != nil || !d.Differ || len(d.Parts) != 3 || d.Parts[0].Name != "config" || d.Parts[1].Name != "commit" || d.Parts[2].Name != quant.CodeDiff {
		t.Fatalf("%+v, %v", d, err)
	}
	for _, line := range []string{"--- " + a + "/config\n", "+++ " + b + "/config\n", "-    \"param\": \"0.1\"\n", "+    \"param\": \"0.2\"\n"} {
		if !strings.Contains(d.Parts[0].Diff, line) {
			t.Errorf("%q is not in\n%s", line, d.Parts[0].Diff)
		}
	}
	if d, err = runs.Diff(t.Context(), s.Meta, s.Artifacts(), a, a); err != nil || d.Differ {
		t.Errorf("a run differs from itself: %+v, %v", d, err)
	}
}

func TestSumsByKind(t *testing.T) {
	t.Parallel()
	s, _, _ := looking(t)
	_, _ = s.Inside(t.Context(), session.Command{Kind: "train"}, func(context.Context, *session.Session) error {
		return quant.Errorf(quant.Failed, "out of luck\nand more")
	})
	sums, err := runs.Stats(t.Context(), s.Meta, metastore.RunFilter{})
	if err != nil || len(sums) != 1 {
		t.Fatalf("%+v, %v", sums, err)
	}
	k := sums[0]
	if k.Kind != "train" || k.Runs != 3 || k.Success != 2 || k.Fail != 1 || k.SuccessRate == nil || *k.SuccessRate != 2.0/3 || k.LastFail != "out of luck" || k.P50US == nil {
		t.Errorf("%+v", k)
	}
	if sums, err = runs.Stats(t.Context(), s.Meta, metastore.RunFilter{Kind: "nothing"}); err != nil || sums == nil || len(sums) != 0 {
		t.Errorf("%+v, %v", sums, err)
	}
}

func TestAListSaysWhetherThereAreMore(t *testing.T) {
	t.Parallel()
	s, _, b := looking(t)
	for limit, want := range map[int]struct {
		n    int
		more bool
	}{0: {2, false}, 1: {1, true}, 2: {2, false}, 3: {2, false}} {
		list, more, err := runs.List(t.Context(), s.Meta, metastore.RunFilter{}, limit)
		if err != nil || len(list) != want.n || more != want.more || list[0].RunID != b {
			t.Errorf("limit %d: %d, %v, %v", limit, len(list), more, err)
		}
	}
}

func TestASearchShowsWhatItWasAskedFor(t *testing.T) {
	t.Parallel()
	s, a, b := looking(t)
	for text, want := range map[string]struct {
		ids  []string
		more bool
	}{
		"params.lr > 0 order by metrics.loss":         {[]string{b}, true},
		"params.lr > 0 order by metrics.loss limit 1": {[]string{b}, false},
		"params.lr = 0.1":                             {[]string{a}, false},
		`name = "baseline"`:                           {[]string{b}, false},
		`status = "FAIL"`:                             {nil, false},
		`kind = "test"`:                               {[]string{s.RunID()}, false}, // who names a kind wants also what only reads
		`host != "no such machine"`:                   {[]string{b}, true},
	} {
		f, err := runs.ParseFind(text, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if !f.Limited {
			f.Limit = 1
		}
		var ids []string
		found, err := f.Each(t.Context(), s.Meta, func(cells []any) error { ids = append(ids, cells[0].(string)); return nil })
		if err != nil || !slices.Equal(ids, want.ids) || found.More != want.more || found.Runs != len(ids) {
			t.Errorf("%s: %v, %+v, %v", text, ids, found, err)
		}
	}
	if _, err := runs.ParseFind("params.", time.Now()); quant.CodeOf(err) != quant.Usage {
		t.Error(err)
	}
}

func TestFoundRunsAsParquet(t *testing.T) {
	t.Parallel()
	s, _, _ := looking(t)
	f, err := runs.ParseFind("params.lr > 0 and metrics.loss < 9", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "found.parquet")
	write := func(replace bool) error {
		return runs.WriteParquet(t.Context(), file, replace, f.Columns, func(text string) string { return strings.ReplaceAll(text, "train", "***") },
			func(row func([]any) error) error { _, err := f.Each(t.Context(), s.Meta, row); return err })
	}
	if err := write(false); err != nil {
		t.Fatal(err)
	}
	if err := write(false); quant.CodeOf(err) != quant.Conflict {
		t.Error(err)
	}
	if err := write(true); err != nil {
		t.Error(err)
	}
	err = s.WriteFacts(t.Context(), func(db *factstore.DB) error {
		var n int
		var kind string
		var least float64
		if err := db.QueryRow(t.Context(), `SELECT count(*), any_value(kind), min("metrics.loss") FROM read_parquet(?)`, file).Scan(&n, &kind, &least); err != nil {
			return err
		}
		if n != 2 || kind != "***" || least != 0.25 {
			t.Errorf("%d rows, kind %s, least loss %v", n, kind, least)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAValueIsNamedByItsPath(t *testing.T) {
	t.Parallel()
	got := fmt.Sprint(runs.Flatten(quant.JSON(`{"b":{"y":1.50,"x":"t"},"a":[1,2],"c":{},"d":null}`)))
	if want := `[{a [1,2]} {b.x t} {b.y 1.50} {c {}} {d null}]`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, doc := range []string{"", "null", "{"} {
		if got := runs.Flatten(quant.JSON(doc)); got != nil {
			t.Errorf("%q: %v", doc, got)
		}
	}
}
