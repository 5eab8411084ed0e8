package mlflow

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"quant"
	"quant/internal/lab"
	labplace "quant/internal/lab/place"
	"quant/internal/metastore/sqlite"
	"quant/internal/registry"
	"quant/internal/secret"
	"quant/internal/tracking"
)

func newLab(t *testing.T) *lab.Lab {
	t.Helper()
	dir := t.TempDir()
	db, err := sqlite.Open(context.Background(), sqlite.Options{Path: filepath.Join(dir, "meta.db"), Wait: time.Minute})
	ok(t, err)
	t.Cleanup(func() { db.Close() })
	l := lab.New(lab.Options{Place: labplace.In(dir)})
	l.Meta = db
	return l
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var importedAt = quant.NewTime(time.Date(2026, 1, 15, 9, 30, 0, 0, time.UTC))

const importer = "019bc0f3-7800-7000-8000-000000000001"

func importInto(t *testing.T, l *lab.Lab, path string, change ...func(*Options)) Imported {
	t.Helper()
	o := Options{At: importedAt, By: importer, MaxBytes: 1 << 20, Registry: masking()}
	for _, c := range change {
		c(&o)
	}
	return must(Import(context.Background(), l, path, o))
}

// masking is a registry that masks, and does nothing else.
func masking() *registry.Registry {
	return registry.New(registry.Options{Now: time.Now, Mask: &secret.Masker{}})
}

// dump is every row of the Meta DB.
func dump(t *testing.T, l *lab.Lab) string {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(filepath.Dir(l.ArtifactDir()), "meta.db")+"?mode=ro")
	ok(t, err)
	defer db.Close()
	var b strings.Builder
	for _, table := range must(l.Meta.Tables(context.Background())) {
		dumpTable(t, &b, db, table.Table)
	}
	return b.String()
}

func dumpTable(t *testing.T, b *strings.Builder, db *sql.DB, table string) {
	t.Helper()
	rows, err := db.Query(`SELECT * FROM "` + table + `" ORDER BY 1, 2`)
	ok(t, err)
	defer rows.Close()
	columns := must(rows.Columns())
	for rows.Next() {
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		ok(t, rows.Scan(into...))
		fmt.Fprintln(b, table, values)
	}
	ok(t, rows.Err())
}

func counted(done Imported, what string) Count {
	for _, c := range done.Counts {
		if c.What == what {
			return c
		}
	}
	return Count{}
}

// What store.py wrote stands in the lab, under the ids that clients know, and another
// import of the same store changes nothing.
func TestAStoreIsBroughtOverOnce(t *testing.T) {
	for _, name := range goldens {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			path, l := golden(t, name), newLab(t)
			theirs := readAll(t, path)
			done := importInto(t, l, path)
			for _, c := range done.Counts {
				if c.Found != c.Imported || c.There+c.LeftOut > 0 {
					t.Errorf("%+v", c)
				}
			}
			if done.Skipped != 0 || done.Told != 1 || !strings.Contains(done.Notes[0].Why, "RUNNING") {
				t.Errorf("notes: %v", done.Notes)
			}

			for _, e := range theirs.experiments {
				one, err := l.Meta.ClientExperimentNamed(ctx, e.Name)
				ok(t, err)
				if fmt.Sprint(one.Number) != e.ID || one.DeletedAt.IsZero() == e.Deleted || e.Created != 0 && one.CreatedAt.UnixMilli() != e.Created {
					t.Errorf("experiment %+v is %+v", e, one)
				}
				tags := map[string]string{}
				for _, tag := range must(l.Meta.ExperimentTags(ctx, one.ExperimentID)) {
					tags[tag.Name] = tag.Value
				}
				for _, tag := range e.Tags {
					if tags[tag.Key] != tag.Value {
						t.Errorf("experiment %s: tags %v", e.Name, tags)
					}
				}
				if tags[artifactLocationTag] != e.ArtifactLocation {
					t.Errorf("experiment %s: artifacts at %q", e.Name, tags[artifactLocationTag])
				}
			}

			states := map[status]quant.Status{finished: quant.Success, failed: quant.Fail, killed: quant.Fail, running: quant.Fail}
			for runName, r := range theirs.runs {
				found, err := l.Meta.ClientRuns(ctx, []string{r.ID}, false)
				ok(t, err)
				if len(found) != 1 {
					t.Fatalf("run %q: %v", runName, found)
				}
				one := found[0]
				if !registry.IsRunID(one.RunID) || one.Kind != tracking.Kind || one.Status != string(r.Status) && r.Status != running ||
					one.Run.Status != states[r.Status] || one.StartedAt.UnixMilli() != r.Start || r.End != 0 && one.EndedAt.UnixMilli() != r.End ||
					string(one.Process.User) != "ada" || one.DeletedAt.IsZero() == r.Deleted {
					t.Errorf("run %q: %+v is %+v", runName, r, one)
				}
				params := map[string]string{}
				for _, p := range must(l.Meta.Params(ctx, one.RunID)) {
					params[p.Name] = p.Value
				}
				tags := map[string]string{}
				for _, p := range must(l.Meta.Tags(ctx, one.RunID)) {
					tags[p.Name] = p.Value
				}
				for _, p := range r.Params {
					if v, found := params[p.Key]; !found || v != p.Value {
						t.Errorf("run %q: param %s is %q", runName, p.Key, v)
					}
				}
				for _, p := range r.Tags {
					if tags[tracking.TagName(p.Key)] != p.Value {
						t.Errorf("run %q: tag %s is %q", runName, p.Key, tags[p.Key])
					}
				}
				if len(params) != len(r.Params) || len(tags) != len(r.Tags)+1 {
					t.Errorf("run %q: %v, %v", runName, params, tags)
				}
				want := map[string][]point{}
				for _, p := range theirs.points[runName] {
					want[p.Key] = append(want[p.Key], p)
				}
				for key, list := range want {
					got := must(l.Meta.ClientHistory(ctx, one.RunID, key, nil, 0, 0))
					slices.SortStableFunc(list, func(a, b point) int { // as the history is told
						if a.Timestamp != b.Timestamp {
							return int(a.Timestamp - b.Timestamp)
						}
						return int(a.Step - b.Step)
					})
					if len(got) != len(list) {
						t.Errorf("run %q: %s has %d points", runName, key, len(got))
						continue
					}
					for i, p := range list {
						g := got[i]
						same := g.Value == finite(p.Value) || g.NaN && math.IsNaN(p.Value) || p.Step == 4 && g.Value+p.Value == 0.325 // both of one time
						if g.Step != p.Step || g.At.UnixMilli() != p.Timestamp || !same {
							t.Errorf("run %q: %s point %d is %+v, want %+v", runName, key, i, g, p)
						}
					}
				}
			}
			first, child := theirs.runs["first"], theirs.runs["child"]
			parent := must(l.Meta.ClientRuns(ctx, []string{first.ID}, true))[0].RunID
			if got := must(l.Meta.ClientRuns(ctx, []string{child.ID}, true))[0]; string(got.Process.ParentRunID) != parent {
				t.Errorf("the parent of child is %q, not %s", got.Process.ParentRunID, parent)
			}
			contents := map[string]string{}
			for _, a := range must(l.Meta.Artifacts(ctx, parent)) {
				contents[a.Name] = textOf(t, l, a.Digest)
			}
			if len(contents) != 2 || contents["notes/a.txt"] != "hello\n" || !strings.Contains(contents["b.json"], `"a"`) {
				t.Errorf("artifacts: %v", contents)
			}
			if n := len(must(l.Meta.DatasetsOf(ctx, []string{parent}))); n != len(first.Inputs) {
				t.Errorf("%d datasets", n)
			}

			for _, m := range theirs.registered {
				got, err := l.Meta.GetRegisteredModel(ctx, m.Name)
				ok(t, err)
				if string(got.Description) != m.Description || got.CreatedAt.UnixMilli() != m.Created || got.LastVersion != int64(len(m.Versions)) || len(got.Tags) != len(m.Tags) {
					t.Errorf("registered model %+v is %+v", m, got)
				}
				for _, a := range m.Aliases {
					if v, err := l.Meta.ModelVersionOf(ctx, m.Name, a.Name); err != nil || v.Version != a.Version {
						t.Errorf("alias %s: %v, %v", a.Name, v.Version, err)
					}
				}
				for _, v := range m.Versions {
					got, err := l.Meta.GetModelVersion(ctx, m.Name, v.Version)
					ok(t, err)
					if got.Source != v.Source || got.Stage != v.Stage || string(got.RunID) != v.RunID || len(got.Tags) != len(v.Tags) {
						t.Errorf("version %+v is %+v", v, got)
					}
					if want := fmt.Sprintf("mlflow-artifacts:/%s/%s/artifacts/notes", first.ExperimentID, first.ID); v.RunID != "" && got.Location != want {
						t.Errorf("version %d stands at %q, want %q", v.Version, got.Location, want)
					}
				}
			}
			for _, m := range theirs.logged {
				got := must(l.Meta.LoggedModelsOf(ctx, []string{m.ID}, true))
				if len(got) != 1 || got[0].Name != m.Name || len(got[0].Params) != 1 || len(got[0].Tags) != 1 || len(got[0].Metrics) != 1 || *got[0].Metrics[0].Value != 0.5 {
					t.Fatalf("logged model %+v is %+v", m, got)
				}
				files := must(l.Meta.ClientArtifactsBelow(ctx, fmt.Sprintf("%s/models/%s/artifacts", m.ExperimentID, m.ID)))
				if len(files) != 1 || !strings.HasSuffix(files[0].Path, "/MLmodel") || textOf(t, l, files[0].Digest) != "flavors: {}\n" {
					t.Errorf("files of %s: %+v", m.ID, files)
				}
				if links := must(l.Meta.ModelsOf(ctx, []string{parent})); len(links) != 1 || links[0].ModelID != m.ID {
					t.Errorf("models of the run: %v", links)
				}
			}
			if found := must(l.Meta.Imports(ctx)); len(found) != len(theirs.runs) || string(found[0].ByRunID) != importer {
				t.Errorf("marks: %v", found)
			}
			if found := must(l.Meta.Check(ctx)); len(found) > 0 {
				t.Errorf("doctor would say: %v", found)
			}

			before := dump(t, l)
			again := importInto(t, l, path)
			for _, c := range again.Counts {
				if c.Imported > 0 || c.LeftOut > 0 {
					t.Errorf("a second import: %+v", c)
				}
			}
			if counted(again, "runs").There != int64(len(theirs.runs)) || dump(t, l) != before {
				t.Error("a second import changes the lab")
			}
		})
	}
}

func textOf(t *testing.T, l *lab.Lab, digest string) string {
	t.Helper()
	f, err := l.Artifacts().Open(context.Background(), digest)
	ok(t, err)
	defer f.Close()
	return string(must(io.ReadAll(f)))
}

// A store whose ids are taken, by numbers of experiments that the lab has for others,
// comes over under other numbers; experiments of the same name are one.
func TestExperimentsAreBroughtOverByTheirNames(t *testing.T) {
	t.Parallel()
	ctx, l := context.Background(), newLab(t)
	one := must(l.Meta.CreateClientExperiment(ctx, quant.Experiment{Name: "mine", CreatedAt: importedAt}, nil))
	path := golden(t, "sqlite-3.17.2")
	importInto(t, l, path)
	alpha := must(l.Meta.ClientExperimentNamed(ctx, "alpha"))
	if one != 1 || alpha.Number == 1 {
		t.Errorf("mine is %d, alpha %d", one, alpha.Number)
	}
	importInto(t, l, golden(t, "files-3.17.2"))
	if got := must(l.Meta.ClientExperimentNamed(ctx, "alpha")); got.ExperimentID != alpha.ExperimentID {
		t.Error("a second alpha")
	}
}

// An import that ends in the middle leaves whole runs, and the next one goes on to the
// same lab as one that was not disturbed.
func TestAnInterruptedImportLeavesWholeRunsAndIsGoneOnWith(t *testing.T) {
	t.Parallel()
	const all = 250
	dir := t.TempDir()
	for i := range all {
		writeRun(t, dir, fmt.Sprintf("%032x", i+1), 1700000000000+int64(i), "status: 3")
		for k := range 3 {
			write(t, filepath.Join(dir, "7", fmt.Sprintf("%032x", i+1), "metrics", fmt.Sprint("m", k)), "1700000000001 1.5 0\n1700000000002 2.5 1\n")
		}
		write(t, filepath.Join(dir, "7", fmt.Sprintf("%032x", i+1), "params", "p"), "v")
	}
	whole := newLab(t)
	importInto(t, whole, dir)
	l := newLab(t)
	between := 0
	for after := int64(200); ; after += after / 2 {
		ctx, cancel := context.WithCancelCause(context.Background())
		c := countdown{ctx, new(atomic.Int64), func() { cancel(quant.Signalled{Number: 2, Name: "SIGINT"}) }}
		c.left.Store(after)
		_, err := Import(c, l, dir, Options{At: importedAt, By: importer, Registry: masking()})
		if err == nil {
			break
		}
		var signal quant.Signalled
		if !errors.As(err, &signal) {
			t.Fatalf("an import that was interrupted ends with %v", err)
		}
		rows := map[string]int64{}
		for _, c := range must(l.Meta.Tables(context.Background())) {
			rows[c.Table] = c.Rows
		}
		n := rows["runs"]
		if n > 0 && n < all {
			between++
		}
		for table, want := range map[string]int64{"run_metric_points": 6 * n, "run_params": n, "run_clients": n, "run_imports": n} {
			if rows[table] != want {
				t.Errorf("%d runs, %d rows of %s", n, rows[table], table)
			}
		}
	}
	if between == 0 {
		t.Error("no import was interrupted between two runs")
	}
	if dump(t, l) != dump(t, whole) {
		t.Error("the lab is another one than after one import")
	}
}

// countdown is a context that is cancelled when it has been asked so often.
type countdown struct {
	context.Context
	left   *atomic.Int64
	cancel func()
}

func (c countdown) Err() error {
	if c.left.Add(-1) == 0 {
		c.cancel()
	}
	return c.Context.Err()
}

// writeRun writes a run of experiment 7, and the experiment.
func writeRun(t *testing.T, dir, id string, start int64, lines ...string) {
	t.Helper()
	write(t, filepath.Join(dir, "7", metaFile), "experiment_id: '7'\nname: seven\nartifact_location: /elsewhere/7\nlifecycle_stage: active\n")
	write(t, filepath.Join(dir, "7", id, metaFile), fmt.Sprintf("run_id: %s\nrun_uuid: %s\nexperiment_id: '7'\nstart_time: %d\nend_time: %d\nuser_id: ada\n", id, id, start, start+1000)+
		strings.Join(lines, "\n")+"\n")
}

// Whatever stands in a store, what can be brought over is, the rest is named, and nothing
// outside it is read.
func TestAHostileStoreIsBroughtOverAsFarAsItGoes(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	base := t.TempDir()
	dir := filepath.Join(base, "mlruns")
	write(t, filepath.Join(base, "secret"), "do not read")
	id := func(n int) string { return fmt.Sprintf("%032x", n) }
	run := func(n int, names ...string) string {
		return filepath.Join(append([]string{dir, "7", id(n)}, names...)...)
	}
	good := int64(1700000000000)

	writeRun(t, dir, id(1), good, "status: 3", "artifact_uri: file://"+base)
	write(t, run(1, "params", strings.Repeat("n", 251)), "too long a name")
	write(t, run(1, "params", "long"), strings.Repeat("가", 3000))
	write(t, run(1, "params", "bytes"), "a\xffb")
	write(t, run(1, "params", "fine"), "1")
	write(t, run(1, "tags", "experiment"), "mine")
	write(t, run(1, "metrics", "bad`name"), "1700000000001 1 0\n")
	write(t, run(1, "metrics", "torn"), "1700000000001 1 0\n1700000000002 x 1\n17000")
	write(t, run(1, "metrics", "far"), fmt.Sprintf("1700000000001 1 %d\n99999999999999999 2 1\n1700000000001 1e999 2\n", math.MinInt64))
	write(t, run(1, "artifacts", "ok.txt"), "ok")
	write(t, run(1, "artifacts", "big.bin"), strings.Repeat("x", 2<<20))
	write(t, run(1, "artifacts", "back\\slash"), "x")
	for link, to := range map[string]string{
		run(1, "artifacts", "link.txt"): filepath.Join(base, "secret"), run(1, "artifacts", "dir"): base, run(1, "params", "linked"): filepath.Join(base, "secret"),
		filepath.Join(dir, "8"): base, run(1, "artifacts", "inner"): "ok.txt",
	} {
		ok(t, os.Symlink(to, link))
	}
	ok(t, syscall.Mkfifo(run(1, "artifacts", "pipe"), 0o600))
	ok(t, syscall.Mkfifo(run(1, "params", "pipe"), 0o600))

	writeRun(t, dir, id(2), good, "status: 99")
	writeRun(t, dir, id(3), good, "status: [")
	writeRun(t, dir, id(4), -5, "status: 3")
	writeRun(t, dir, id(5), good, "status: 3")
	write(t, run(5, metaFile), strings.Replace(string(must(os.ReadFile(run(5, metaFile)))), id(5), id(1), 2)) // of another run
	ok(t, os.MkdirAll(run(6), 0o755))
	ok(t, syscall.Mkfifo(run(6, metaFile), 0o600))
	writeRun(t, dir, id(7), good, "status: 3", "a: &a [x, x, x]", "b: *a", "tags: {a: *a}")
	writeRun(t, dir, id(8), good, "status: 3", "artifact_uri: s3://bucket/7/"+id(8)+"/artifacts")
	writeRun(t, dir, id(9), good, "status: 1")
	write(t, filepath.Join(dir, "models", "m", metaFile), "name: m\n")
	write(t, filepath.Join(dir, "models", "m", "version-9999999999", metaFile), "version: 9999999999\n")
	write(t, filepath.Join(dir, "models", "m", "aliases", "x"), "../../secret")
	write(t, filepath.Join(dir, "7", "models", "m-1", metaFile), "model_id: m-1\nexperiment_id: '7'\nname: x\nstatus: 2\n")
	write(t, filepath.Join(dir, "7", "traces", "tr-1", "x"), "x")

	l := newLab(t)
	done := importInto(t, l, dir)
	text := string(must(json.MarshalIndent(done, "", " ")))
	if c := counted(done, "runs"); c.Found != 9 || c.Imported != 4 || c.LeftOut != 5 {
		t.Errorf("runs: %+v", c)
	}
	for _, want := range []string{
		id(2) + `", "why": "its status \"99\" is none`, id(3), id(4), id(5), id(6), "linked is no regular file", "251 bytes long", "9000 bytes long", "it is not UTF-8",
		"2 lines are no points", "a step out of range", "U+0060", `artifact \"big.bin\" left out`, `artifact \"link.txt\" left out`,
		`artifact \"dir\" left out`, `artifact \"pipe\" left out`, "s3://bucket", "was RUNNING", "version 9999999999 left out", "alias \\\"x\\\" is of no version", "m-1", "1 traces",
	} {
		if !strings.Contains(strings.ReplaceAll(text, "\",\n   \"", "\", \""), want) {
			t.Errorf("nothing says %q", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
	if strings.Contains(dump(t, l), "do not read") {
		t.Error("something outside of the store was read")
	}
	ok(t, filepath.WalkDir(l.ArtifactDir(), func(p string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.Contains(string(must(os.ReadFile(p))), "do not read") {
			t.Errorf("%s holds what stands outside of the store", p)
		}
		return nil
	}))
	first := must(l.Meta.ClientRuns(ctx, []string{id(1)}, true))[0]
	var left leftover
	var names []string
	for _, a := range must(l.Meta.Artifacts(ctx, first.RunID)) {
		names = append(names, a.Name)
		if a.Name == Leftovers {
			ok(t, json.Unmarshal([]byte(textOf(t, l, a.Digest)), &left))
		}
	}
	if !slices.Equal(names, []string{Leftovers, "ok.txt"}) {
		t.Errorf("artifacts: %v", names)
	}
	if left.Params["long"] != strings.Repeat("가", 3000) || left.Params[strings.Repeat("n", 251)] != "too long a name" || left.Tags != nil {
		t.Errorf("left over: %v", left)
	}
	for _, tag := range must(l.Meta.Tags(ctx, first.RunID)) {
		if tag.Name == quant.ExperimentTag && tag.Value == "mine" || tag.Name == tracking.TagName("experiment") && tag.Value != "mine" {
			t.Errorf("tag %s is %s", tag.Name, tag.Value)
		}
	}
	if found := must(l.Meta.Check(ctx)); len(found) > 0 {
		t.Errorf("doctor would say: %v", found)
	}
	// What stands in the folder that is named is brought over by another import of it.
	before := dump(t, l)
	importInto(t, l, dir)
	if dump(t, l) != before {
		t.Error("a second import changes the lab")
	}
}

// A SQLite file is read by the names of its tables alone, whatever else is in it.
func TestAHostileDatabaseIsReadWithoutRunningAnythingOfIt(t *testing.T) {
	t.Parallel()
	path := golden(t, "sqlite-3.17.2")
	db, err := sql.Open("sqlite3", path)
	ok(t, err)
	for _, s := range []string{
		`DROP TABLE tags`,
		`CREATE VIEW tags AS SELECT 'stolen' AS "key", readfile('/etc/passwd') AS value, run_uuid FROM runs`,
		`DROP TABLE params`,
		`CREATE TABLE params ("key", value, run_uuid, PRIMARY KEY (run_uuid, "key")) WITHOUT ROWID`,
		`INSERT INTO params SELECT 'k', x'ff00', run_uuid FROM runs`,
		`INSERT INTO params SELECT 'n', 7, run_uuid FROM runs`,
		`INSERT INTO params SELECT 'r', 0.5, run_uuid FROM runs`,
		`CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM runs; END`,
		`PRAGMA ignore_check_constraints = ON`,
		`UPDATE runs SET start_time = 'now' WHERE status = 'KILLED'`,
		`UPDATE metrics SET value = 'x' WHERE "key" = 'val/auc'`,
		`UPDATE experiments SET name = x'ff' WHERE name = 'gone'`,
	} {
		_, err := db.Exec(s)
		ok(t, err)
	}
	ok(t, db.Close())
	sum := must(os.ReadFile(path))
	l := newLab(t)
	done := importInto(t, l, path)
	if c := counted(done, "runs"); c.Imported != 5 || c.LeftOut != 2 {
		t.Errorf("runs: %+v, %v", c, done.Notes)
	}
	if c := counted(done, "params"); c.Imported != 10 {
		t.Errorf("params: %+v", c)
	}
	if strings.Contains(dump(t, l), "stolen") {
		t.Error("a view was read")
	}
	if string(must(os.ReadFile(path))) != string(sum) {
		t.Error("the file was changed")
	}
}

func TestWhatIsNoStoreIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "project", "mlruns", "0", metaFile), "experiment_id: '0'\nname: Default\n")
	other := filepath.Join(dir, "other.db")
	db, err := sql.Open("sqlite3", other)
	ok(t, err)
	_, err = db.Exec(`CREATE TABLE runs (a)`)
	ok(t, err)
	ok(t, db.Close())
	broken := filepath.Join(dir, "broken.db")
	b := must(os.ReadFile(golden(t, "sqlite-2.9.2")))
	for i := 1000; i < len(b)/2; i += 3 {
		b[i] ^= 0x55
	}
	write(t, broken, string(b))
	for path, want := range map[string]struct {
		code quant.Code
		hint string
	}{
		filepath.Join(dir, "project"): {quant.Invalid, "mlruns"},
		filepath.Join(dir, "nothing"): {quant.NotFound, ""},
		dir:                           {quant.Invalid, "mlflow"},
		other:                         {quant.Invalid, "mlflow.db"},
		broken:                        {quant.Invalid, ""},
	} {
		_, err := Import(context.Background(), newLab(t), path, Options{At: importedAt, By: importer, Registry: masking()})
		if !errors.Is(err, want.code) || !strings.Contains(strings.ToLower(quant.HintOf(err)), want.hint) {
			t.Errorf("%s: %v (hint %q)", path, err, quant.HintOf(err))
		}
	}
	if _, err := Import(context.Background(), newLab(t), filepath.Join(dir, "project", "mlruns"), Options{At: importedAt, Registry: masking(), Artifacts: []string{filepath.Join(dir, "no")}}); !errors.Is(err, quant.NotFound) {
		t.Errorf("a folder of artifacts that is not there: %v", err)
	}
}

func TestTheIDOfARunIsMadeOfItsStartAndItsClientsID(t *testing.T) {
	t.Parallel()
	const start = 1700000000123
	id := RunID(start, "13f0ad042de44faa86a552092a4a993a")
	if !registry.IsRunID(id) || id != RunID(start, "13f0ad042de44faa86a552092a4a993a") || id == RunID(start+1, "13f0ad042de44faa86a552092a4a993a") || id == RunID(start, "x") {
		t.Errorf("id %s", id)
	}
	if got := strings.ReplaceAll(id, "-", "")[:12]; got != fmt.Sprintf("%012x", int64(start)) {
		t.Errorf("its head is %s", got)
	}
	if got := RunID(start, strings.ReplaceAll(id, "-", "")); got != id {
		t.Errorf("an id of quant's own becomes %s", got)
	}
	if got := RunID(start+1, strings.ReplaceAll(id, "-", "")); got == id || !registry.IsRunID(got) {
		t.Errorf("an id of quant's of another time becomes %s", got)
	}
}
