package mlflow

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// golden unpacks a store that MLflow made and returns its path.
func golden(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name+".tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(to, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		write(t, to, string(b))
	}
	if strings.HasPrefix(name, "sqlite") {
		return filepath.Join(dir, "mlflow.db")
	}
	return filepath.Join(dir, "mlruns")
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// content is all that a store says.
type content struct {
	experiments []experiment
	runs        map[string]run // by name
	points      map[string][]point
	logged      []loggedModel
	registered  []registeredModel
	notes       notes
}

func readAll(t *testing.T, path string) content {
	t.Helper()
	ctx := context.Background()
	c := content{runs: map[string]run{}, points: map[string][]point{}}
	s, err := open(ctx, path, &c.notes)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	err = or(
		s.eachExperiment(ctx, func(e experiment) error { c.experiments = append(c.experiments, e); return nil }),
		s.eachRun(ctx, func(r run) error {
			name := r.Name
			if name == "" {
				name = valueOf(r.Tags, "mlflow.runName")
			}
			c.runs[name] = r
			return s.eachPoint(ctx, r, func(p point) error { c.points[name] = append(c.points[name], p); return nil })
		}),
		s.eachLoggedModel(ctx, func(m loggedModel) error { c.logged = append(c.logged, m); return nil }),
		s.eachRegisteredModel(ctx, func(m registeredModel) error { c.registered = append(c.registered, m); return nil }),
	)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var goldens = []string{"files-1.30.1", "files-2.9.2", "files-3.17.2", "sqlite-1.30.1", "sqlite-2.9.2", "sqlite-3.17.2"}

// What store.py wrote is read from a store of every kind and version, value by value.
func TestStoresOfMLflowAreReadAsTheyWereWritten(t *testing.T) {
	const description = "Ranks: every month, \"best\" first.\n\n- a line that is long enough to be wrapped by whoever writes it down, and 가나다 too\n"
	for _, name := range goldens {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			version := strings.SplitN(name, "-", 2)[1]
			old := version == "1.30.1"
			c := readAll(t, golden(t, name))
			if len(c.notes.list) > 0 {
				t.Errorf("notes: %v", c.notes.list)
			}

			byName := map[string]experiment{}
			for _, e := range c.experiments {
				byName[e.Name] = e
			}
			alpha := byName["alpha"]
			if len(c.experiments) != 3 || byName["Default"].ID != "0" || !byName["gone"].Deleted || alpha.Deleted || alpha.ArtifactLocation == "" {
				t.Errorf("experiments: %+v", c.experiments)
			}
			if alpha.Created == 0 && !old {
				t.Errorf("alpha has no time")
			}
			equal(t, "tags of alpha", alpha.Tags, []pair{{"mlflow.note.content", "momentum, daily"}, {"team", "Zürich"}})

			want := map[string]struct {
				status     status
				start, end int64
				deleted    bool
			}{
				"first":                   {finished, 1700000000123, 1700000010456, false},
				"child":                   {failed, 1700000100000, 1700000101000, false},
				"killed":                  {killed, 1700000200000, 1700000201000, false},
				"running":                 {running, 1700000300000, 0, false},
				"deleted":                 {finished, 1700000400000, 1700000401000, true},
				"in default":              {finished, 1700000500000, 1700000501000, false},
				"of a deleted experiment": {finished, 1700000600000, 1700000601000, version != "1.30.1" || strings.HasPrefix(name, "sqlite")},
			}
			for run, w := range want {
				r, found := c.runs[run]
				if !found {
					t.Errorf("run %q is missing", run)
					continue
				}
				if r.Status != w.status || r.Start != w.start || r.End != w.end || r.User != "ada" {
					t.Errorf("run %q: %+v", run, r)
				}
				if run != "of a deleted experiment" && r.Deleted != w.deleted {
					t.Errorf("run %q: deleted %v", run, r.Deleted)
				}
				if valueOf(r.Tags, "mlflow.source.name") != "train.py" || valueOf(r.Tags, "mlflow.runName") != run {
					t.Errorf("run %q: tags %v", run, r.Tags)
				}
			}
			first := c.runs["first"]
			if first.ExperimentID != alpha.ID || valueOf(c.runs["child"].Tags, "mlflow.parentRunId") != first.ID {
				t.Errorf("first is %s of %s", first.ID, first.ExperimentID)
			}
			params := []pair{{"long", strings.Repeat("가", 100)}, {"lr", "1e-3"}, {"opt/name", "adam"}}
			if !old {
				params = append([]pair{{"empty", ""}}, params...)
			}
			equal(t, "params", sorted(first.Params), params)
			if got := valueOf(first.Tags, "multi"); got != "a line\nanother: {b}" {
				t.Errorf("tag multi: %q", got)
			}

			points := map[string][]point{}
			for _, p := range c.points["first"] {
				points[p.Key] = append(points[p.Key], p)
			}
			loss := []point{
				{"loss", 1, 1700000001000, 0}, {"loss", 0.5, 1700000001001, 1}, {"loss", 1.0 / 3, 1700000001002, 2}, {"loss", 0.25, 1700000001003, 3},
				{"loss", 0.2, 1700000001004, 4}, {"loss", 0.125, 1700000001004, 4}, {"loss", 7.5, 1700000009000, -3},
			}
			equal(t, "loss", points["loss"], loss)
			equal(t, "val/auc", points["val/auc"], []point{{"val/auc", 0.75, 1700000002000, 0}})
			bad := points["bad"]
			if len(bad) != 3 || !math.IsNaN(bad[0].Value) || !math.IsInf(bad[1].Value, 1) || !math.IsInf(bad[2].Value, -1) || bad[2].Step != 3 {
				t.Errorf("bad: %v", bad)
			}

			if old {
				if len(first.Inputs) != 0 {
					t.Errorf("inputs: %v", first.Inputs)
				}
			} else {
				inputs := slices.Clone(first.Inputs)
				slices.SortFunc(inputs, func(a, b input) int { return strings.Compare(a.Dataset.Name, b.Dataset.Name) })
				for i := range inputs {
					inputs[i].Tags = sorted(inputs[i].Tags)
				}
				odd := "line one\n  line two\n\nlast: \u2603 \U0001f600 " + strings.Repeat("long words ", 30)
				if len(inputs) != 2 {
					t.Fatalf("inputs: %v", inputs)
				}
				equal(t, "dataset", []dataset{inputs[0].Dataset, inputs[1].Dataset}, []dataset{
					{"bars", "abc123", "local", `{"uri": "bars.csv"}`, `{"mlflow_colspec": []}`, `{"rows": 10}`},
					{"odd: 'names' # 1e3", "0123", "code", odd, "", "~"},
				})
				equal(t, "tags of a dataset", inputs[0].Tags, []pair{{"mlflow.data.context", "training"}})
				equal(t, "tags of the odd dataset", inputs[1].Tags, []pair{{"mlflow.data.context", "1e3"}, {"on", "yes"}})
			}

			if strings.HasPrefix(name, "files") && old && len(c.registered) == 0 {
				return // it had no registry in files
			}
			if len(c.registered) != 2 || c.registered[0].Name != "empty" || c.registered[1].Name != "momentum" {
				t.Fatalf("registered: %+v", c.registered)
			}
			m := c.registered[1]
			if m.Description != description || m.Created == 0 || m.Updated < m.Created || len(m.Versions) != 2 {
				t.Errorf("momentum: %+v", m)
			}
			equal(t, "tags of momentum", m.Tags, []pair{{"owner", "ada"}})
			if !old {
				equal(t, "aliases", m.Aliases, []alias{{"champion", 1}})
			}
			one, two := m.Versions[0], m.Versions[1]
			if one.Version != 1 || one.RunID != first.ID || one.Description != "the first" || one.Status != "READY" || !strings.HasSuffix(one.Source, "/notes") {
				t.Errorf("version 1: %+v", one)
			}
			equal(t, "tags of version 1", one.Tags, []pair{{"k", "v"}})
			if two.Stage != "Production" || two.Source != "s3://bucket/elsewhere" || two.RunID != "" {
				t.Errorf("version 2: %+v", two)
			}

			if version != "3.17.2" {
				return
			}
			if len(c.logged) != 1 {
				t.Fatalf("logged: %+v", c.logged)
			}
			net := c.logged[0]
			if net.Name != "net" || net.SourceRunID != first.ID || net.Status != "READY" || net.ModelType != "tiny" || net.ExperimentID != alpha.ID || net.Deleted {
				t.Errorf("logged model: %+v", net)
			}
			equal(t, "params of net", net.Params, []pair{{"depth", "3"}})
			equal(t, "tags of net", net.Tags, []pair{{"t", "1"}})
			equal(t, "metrics of net", net.Metrics, []modelMetric{{point{"acc", 0.5, 1700000003000, 0}, first.ID, "", ""}})
			equal(t, "outputs", first.ModelOutputs, []modelOutput{{net.ID, 0}})
		})
	}
}

func sorted(list []pair) []pair {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b pair) int { return strings.Compare(a.Key, b.Key) })
	return list
}

func equal[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// The artifacts of a run are found in a store that was moved, and never outside the
// folders that are given.
func TestArtifactsAreLocatedBelowTheirPlacesOnly(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "mlruns/7/aa/artifacts/f"), "x")
	write(t, filepath.Join(dir, "outside/aa/artifacts/f"), "x")
	write(t, filepath.Join(dir, "copy/team/aa/artifacts/f"), "x")
	if err := os.Symlink(filepath.Join(dir, "outside"), filepath.Join(dir, "mlruns/8")); err != nil {
		t.Fatal(err)
	}
	list, err := openPlaces(filepath.Join(dir, "mlruns"), []string{filepath.Join(dir, "copy")})
	if err != nil {
		t.Fatal(err)
	}
	defer list.close()
	for _, c := range []struct {
		uri, id       string
		place, folder string
		remote        bool
	}{
		{filepath.Join(dir, "mlruns/7/aa/artifacts"), "aa", "mlruns", "7/aa/artifacts", false},
		{"/home/ada/mlruns/7/aa/artifacts", "aa", "mlruns", "7/aa/artifacts", false},
		{"./mlruns/7/aa/artifacts", "aa", "mlruns", "7/aa/artifacts", false},
		{"file:///home/a%20b/mlruns/7/aa/artifacts", "aa", "mlruns", "7/aa/artifacts", false},
		{"mlflow-artifacts:/7/aa/artifacts", "aa", "mlruns", "7/aa/artifacts", false},
		{"mlflow-artifacts://host:5000/7/aa/artifacts", "aa", "mlruns", "7/aa/artifacts", false},
		{"s3://bucket/team/aa/artifacts", "aa", "copy", "team/aa/artifacts", true},
		{"s3://bucket/aa/artifacts", "aa", "", "", true},
		{"/7/bb/artifacts", "bb", "", "", false},
		{filepath.Join(dir, "outside/aa/artifacts"), "aa", "", "", false},
		{"/8/aa/artifacts", "aa", "", "", false},                   // a link that leads out
		{"/aa/../../../outside/aa/artifacts", "aa", "", "", false}, // cleaned first
		{"file:///etc/passwd", "passwd", "", "", false},
		{"file:///etc", "..", "", "", false},
		{"/7/aa/artifacts", "", "", "", false},
		{"/7/aa/artifacts", "7/aa", "", "", false},
		{"dbfs:/databricks/mlflow/7/aa/artifacts", "aa", "mlruns", "7/aa/artifacts", true},
		{"://", "aa", "", "", true},
		{"", "aa", "", "", false},
	} {
		at, folder, found, remote := list.locate(c.uri, c.id)
		where := ""
		if found {
			where = filepath.Base(at.name)
		}
		if where != c.place || folder != c.folder || remote != c.remote {
			t.Errorf("locate %q of %q: %q in %q, remote %v; want %q in %q, %v", c.uri, c.id, folder, where, remote, c.folder, c.place, c.remote)
		}
	}
}
