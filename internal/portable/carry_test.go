package portable_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"quant"
	"quant/internal/durable"
	"quant/internal/lab"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/metastore/sqlite"
	"quant/internal/portable"
	"quant/internal/registry"
	"quant/internal/test/soak"

	_ "github.com/mattn/go-sqlite3"
)

const enough = 1 << 30

func ok(t testing.TB, err error) {
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

// export writes runs in the form that Import reads.
func export(ctx context.Context, from *lab.Lab, ids []string, w io.Writer) (portable.Summary, error) {
	done, err := portable.Write(ctx, from, ids, portable.ExportOptions{Format: portable.Native, Path: "-", Stdout: w})
	return done.Summary, err
}

// testLab is one with a folder of its own.
type testLab struct {
	*lab.Lab
	dir string
}

func newLab(t testing.TB) testLab {
	t.Helper()
	dir := t.TempDir()
	db, err := sqlite.Open(context.Background(), sqlite.Options{Path: filepath.Join(dir, "meta.db"), Wait: time.Minute})
	ok(t, err)
	t.Cleanup(func() { db.Close() })
	l := lab.New(lab.Options{Place: place.In(dir)})
	l.Meta = db
	return testLab{l, dir}
}

// files lists what is in the folders of contents and logs.
func (l testLab) files(t testing.TB) []string {
	t.Helper()
	var list []string
	for _, dir := range []string{l.ArtifactDir(), l.LogDir()} {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				list = append(list, must(filepath.Rel(l.dir, path)))
			}
			return nil
		})
	}
	return list
}

func runID(n int) string {
	return fmt.Sprintf("0190%04x-0000-7000-8000-0000%08x", n>>4, n)
}

func at(seconds int) quant.Time {
	return quant.NewTime(time.Date(2026, 1, 15, 9, 30, seconds, 123456789, time.UTC))
}

func pointer[T any](v T) *T { return &v }

// awkward are texts that have broken programs before.
var awkward = []string{
	"삼성전자", "O'Brien", `"q" \ <b>&amp;</b>`, "two\nlines", "tab\there", "bell\x07", "🙂", " spaced ", "\u202eright to left",
	"\u2028\u2029", "=1+1", "../../etc/passwd", strings.Repeat("long ", 500),
}

// record stores a run that has ended, with random records, and returns its id.
func (l testLab) record(t testing.TB, n int, random *rand.Rand) string {
	t.Helper()
	ctx := context.Background()
	id := runID(n)
	text := func() string { return awkward[random.IntN(len(awkward))] }
	ok(t, l.Meta.CreateRun(ctx,
		quant.Run{RunID: id, Kind: "backtest", Status: quant.Running, StartedAt: at(n), ConfigJSON: must(quant.NewJSON(map[string]any{"a": text(), "n": random.Float64()}))},
		quant.RunProcess{
			RunID: id, Changes: random.IntN(2) == 0, ParentRunID: quant.Text([]string{"", runID(n / 2)}[random.IntN(2)]), Host: quant.Text(text()), PID: 7,
			GitDirty: []*bool{nil, pointer(true), pointer(false)}[random.IntN(3)], Argv: quant.JSON(`["quant", "a<b"]`), WorkDir: "/home/x",
		}))
	var b metastore.Batch
	for i := range random.IntN(5) {
		b.Params = append(b.Params, quant.Param{RunID: id, Name: fmt.Sprint("p", i), Value: text()})
		b.Tags = append(b.Tags, quant.Tag{RunID: id, Name: fmt.Sprint("태그", i), Value: fmt.Sprint(random.IntN(9))})
		b.Notes = append(b.Notes, quant.Note{RunID: id, Text: text() + "x", LoggedAt: at(i)})
		content := bytes.Repeat([]byte{byte(random.IntN(3)), 'x'}, random.IntN(5000))
		digest, size, err := l.Artifacts().Put(ctx, bytes.NewReader(content))
		ok(t, err)
		b.Artifacts = append(b.Artifacts, quant.Artifact{RunID: id, Name: fmt.Sprintf("dir/%d.bin", i), Digest: digest, Bytes: size, LoggedAt: at(i)})
	}
	for m := range random.IntN(4) {
		for i := range random.IntN(2500) {
			v := []float64{random.NormFloat64(), 0, 1e300, -1e-300, float64(i), 1e21, 5e-324}[random.IntN(7)]
			b.Metrics = append(b.Metrics, quant.MetricPoint{
				RunID: id, Name: fmt.Sprintf("m<%d>", m), Step: int64(random.IntN(5000)) - 9, Value: v, LoggedAt: at(random.IntN(100) - 50),
			})
		}
	}
	ok(t, l.Meta.Log(ctx, b))
	if random.IntN(2) == 0 {
		ok(t, l.Meta.SaveProgram(ctx, quant.Program{RunID: id, Path: "/bin/true", Signal: pointer(int64(9)), EnvironmentJSON: quant.JSON(`{"LANG":"C"}`)}))
		ok(t, os.MkdirAll(l.LogDir(), 0o700))
		ok(t, os.WriteFile(filepath.Join(l.LogDir(), id+".log"), []byte("printed\x00\xff"+text()), 0o600))
		ok(t, os.WriteFile(filepath.Join(l.LogDir(), id+".log.tail"), nil, 0o600))
	}
	end := metastore.RunEnd{RunID: id, Status: quant.Success, EndedAt: at(n + 5), ExitCode: pointer(int64(0)), IO: []quant.RunIO{
		{RunID: id, Direction: quant.In, Kind: "file", Name: "in" + text(), Digest: "sha256:00"},
		{RunID: id, Direction: quant.Out, Kind: "table", Name: "ohlcv", Rows: pointer(int64(5)), FirstDate: "2024-01-02"},
	}}
	if random.IntN(3) == 0 {
		end.Status, end.ErrorText, end.Facts = quant.Fail, text()+"; facts not checked", quant.FactsNotChecked
	}
	ok(t, l.Meta.FinishRun(ctx, end))
	return id
}

func (l testLab) export(t testing.TB, ids ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	_, err := export(context.Background(), l.Lab, ids, &b)
	ok(t, err)
	return b.Bytes()
}

var options = portable.ImportOptions{MaxBytes: enough, At: at(9999), By: runID(9999)}

func (l testLab) take(file []byte) (portable.Imported, error) {
	return portable.Import(context.Background(), l.Lab, bytes.NewReader(file), options)
}

func TestExportImportExportGivesTheSameBytes(t *testing.T) {
	t.Parallel()
	rounds := soak.Count(t, 8, 200)
	start := soak.Seed(t)
	for n := range uint64(rounds) {
		random := rand.New(rand.NewPCG(start, n))
		a, b := newLab(t), newLab(t)
		var ids []string
		for n := range 1 + random.IntN(5) {
			ids = append(ids, a.record(t, n, random))
		}
		b.record(t, 1000, random) // the other lab has runs of its own
		file := a.export(t, ids...)
		done, err := b.take(file)
		ok(t, err)
		if !slices.Equal(done.Imported, ids) || len(done.Skipped) > 0 || done.File.Runs != int64(len(ids)) {
			t.Fatalf("round %d: imported %v", n, done)
		}
		random.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
		if again := b.export(t, append(ids, ids[0])...); !bytes.Equal(file, again) {
			t.Fatalf("round %d: exported again, %d bytes have become %d other ones", n, len(file), len(again))
		}
		for _, l := range []testLab{a, b} { // whoever has the runs skips them
			done, err := l.take(file)
			ok(t, err)
			if len(done.Imported) > 0 || len(done.Skipped) != len(ids) {
				t.Fatalf("round %d: a second import: %v", n, done)
			}
		}
		for _, id := range ids {
			r := must(b.Meta.GetRun(context.Background(), id))
			if r.StartedAt != must(a.Meta.GetRun(context.Background(), id)).StartedAt {
				t.Fatalf("round %d: run %s has lost its time", n, id)
			}
		}
		if got := len(must(b.Meta.Imports(context.Background()))); got != len(ids) {
			t.Fatalf("round %d: %d runs are marked as imported", n, got)
		}
		if problems := must(b.Meta.Check(context.Background())); len(problems) > 0 {
			t.Fatalf("round %d: %v", n, problems)
		}
	}
}

func TestARunThatDiffersIsAConflictAndNothingIsImported(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 1))
	ctx := context.Background()
	for what, change := range map[string]func(l testLab, id string) error{
		"tags": func(l testLab, id string) error {
			return l.Meta.Log(ctx, metastore.Batch{Tags: []quant.Tag{{RunID: id, Name: "new", Value: "x"}}})
		},
		"params": func(l testLab, id string) error {
			return l.Meta.Log(ctx, metastore.Batch{Params: []quant.Param{{RunID: id, Name: "new", Value: "x"}}})
		},
		"notes": func(l testLab, id string) error {
			return l.Meta.Log(ctx, metastore.Batch{Notes: []quant.Note{{RunID: id, Text: "x", LoggedAt: at(1)}}})
		},
		"metrics": func(l testLab, id string) error {
			return l.Meta.Log(ctx, metastore.Batch{Metrics: []quant.MetricPoint{{RunID: id, Name: "new", Value: 1, LoggedAt: at(1)}}})
		},
		"program": func(l testLab, id string) error {
			return l.Meta.SaveProgram(ctx, quant.Program{RunID: id, Path: "/other"})
		},
		"logs": func(l testLab, id string) error {
			return errors.Join(os.MkdirAll(l.LogDir(), 0o700), os.WriteFile(filepath.Join(l.LogDir(), id+".other"), nil, 0o600))
		},
	} {
		t.Run(what, func(t *testing.T) {
			a, b := newLab(t), newLab(t)
			ids := []string{a.record(t, 1, random), a.record(t, 2, random)}
			_, err := b.take(a.export(t, ids[1]))
			ok(t, err)
			ok(t, change(b, ids[1]))
			before := b.files(t)
			_, err = b.take(a.export(t, ids...))
			if quant.CodeOf(err) != quant.Conflict || !strings.Contains(err.Error(), ids[1]+" ("+what+")") {
				t.Fatalf("got %v", err)
			}
			if _, err := b.Meta.GetRun(ctx, ids[0]); quant.CodeOf(err) != quant.NotFound {
				t.Errorf("the run that does not clash was imported: %v", err)
			}
			if after := b.files(t); !slices.Equal(before, after) {
				t.Errorf("the files were %v, now %v", before, after)
			}
		})
	}
}

func TestPointsThatDifferOnlyInTheirTimesAreAConflict(t *testing.T) {
	t.Parallel()
	a, b := newLab(t), newLab(t)
	for i, l := range []testLab{a, b} {
		id := l.record(t, 1, rand.New(rand.NewPCG(3, 1)))
		ok(t, l.Meta.Log(context.Background(), metastore.Batch{Metrics: []quant.MetricPoint{{RunID: id, Name: "z", Value: 1, LoggedAt: at(i)}}}))
	}
	if _, err := b.take(a.export(t, runID(1))); quant.CodeOf(err) != quant.Conflict || !strings.Contains(err.Error(), "(points)") {
		t.Fatalf("got %v", err)
	}
}

func TestARunThatRunsOrIsDeletedIsNotExported(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ok(t, l.Meta.CreateRun(t.Context(), quant.Run{RunID: runID(1), Kind: "exec", Status: quant.Running, StartedAt: at(1)}, quant.RunProcess{RunID: runID(1)}))
	_, err := export(t.Context(), l.Lab, []string{runID(1)}, io.Discard)
	if quant.CodeOf(err) != quant.Conflict || !strings.Contains(err.Error(), "is RUNNING") {
		t.Errorf("got %v", err)
	}
	if _, err := export(t.Context(), l.Lab, []string{runID(2)}, io.Discard); quant.CodeOf(err) != quant.NotFound {
		t.Errorf("got %v", err)
	}
}

func TestAnArtifactThatIsGoneOrChangedIsNamed(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	id := l.record(t, 1, rand.New(rand.NewPCG(1, 1)))
	digest, size, err := l.Artifacts().Put(t.Context(), strings.NewReader("equity"))
	ok(t, err)
	ok(t, l.Meta.Log(t.Context(), metastore.Batch{Artifacts: []quant.Artifact{{RunID: id, Name: "zz.png", Digest: digest, Bytes: size, LoggedAt: at(1)}}}))
	path := must(l.Artifacts().Path(digest))
	ok(t, os.Chmod(path, 0o600))
	ok(t, os.WriteFile(path, []byte("forged"), 0o600))
	for _, want := range []quant.Code{quant.Refused, quant.NotFound} {
		_, err := export(t.Context(), l.Lab, []string{id}, io.Discard)
		if quant.CodeOf(err) != want || !strings.Contains(err.Error(), "zz.png") {
			t.Errorf("got %v, want %s", err, want)
		}
		_ = os.Remove(path)
	}
}

func TestTwoImportsOfOneFileAtOnceImportItOnce(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(5, 1))
	a, b := newLab(t), newLab(t)
	var ids []string
	for n := range 20 {
		ids = append(ids, a.record(t, n, random))
	}
	file := a.export(t, ids...)
	other := testLab{lab.New(b.Options), b.dir}
	other.Meta = must(sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(b.dir, "meta.db"), Wait: time.Minute}))
	defer other.Meta.Close()
	var done [2]portable.Imported
	var errs [2]error
	var wait sync.WaitGroup
	for i, l := range []testLab{b, other} {
		wait.Go(func() { done[i], errs[i] = l.take(file) })
	}
	wait.Wait()
	ok(t, errors.Join(errs[:]...))
	if n := len(done[0].Imported) + len(done[1].Imported); n != len(ids) || len(done[0].Skipped)+len(done[1].Skipped) != len(ids) {
		t.Fatalf("imported %d and %d, skipped %d and %d", len(done[0].Imported), len(done[1].Imported), len(done[0].Skipped), len(done[1].Skipped))
	}
	if !bytes.Equal(b.export(t, ids...), file) {
		t.Error("exported again it is another file")
	}
}

// withoutFacts is what the program wrote of the same runs before facts had a
// column.
func withoutFacts(t testing.TB, file []byte) []byte {
	t.Helper()
	list := parts(t, file)
	column := regexp.MustCompile(`,"facts":(null|"[a-z_]+")}`)
	for i := range list {
		switch {
		case list[i].name == "quant-export.json":
			list[i].text = strings.Replace(list[i].text, `"version":3`, `"version":1`, 1)
		case strings.HasSuffix(list[i].name, "/run.json"):
			list[i].text = column.ReplaceAllString(list[i].text, "}")
		case list[i].name == "manifest.json":
			list[i].text = ""
		}
	}
	return pack(list)
}

func TestAFileOfTheFormatBeforeIsTakenIn(t *testing.T) {
	t.Parallel()
	a, b := newLab(t), newLab(t)
	var ids []string
	for n := range 6 {
		ids = append(ids, a.record(t, n, rand.New(rand.NewPCG(uint64(n), 7))))
	}
	for n, facts := range []quant.Facts{"", quant.FactsCommitted, quant.FactsNone, quant.FactsNotChecked} {
		id := runID(100 + n)
		ok(t, a.Meta.CreateRun(t.Context(), quant.Run{RunID: id, Kind: "ingest", Status: quant.Running, StartedAt: at(1)}, quant.RunProcess{RunID: id, Changes: true}))
		ok(t, a.Meta.FinishRun(t.Context(), metastore.RunEnd{
			RunID: id, Status: quant.Fail, EndedAt: at(2), ErrorText: registry.WithFacts("it broke", facts), Facts: facts,
		}))
		ids = append(ids, id)
	}
	file := a.export(t, ids...)
	old := withoutFacts(t, file)
	done, err := b.take(old)
	ok(t, err)
	if !slices.Equal(done.Imported, ids) {
		t.Fatalf("imported %v", done)
	}
	if !bytes.Equal(b.export(t, ids...), file) {
		t.Error("exported again it is another file than that of the runs themselves")
	}
	// The lab that the runs came from has them already, whatever the format.
	for _, same := range [][]byte{old, file} {
		if done, err := a.take(same); err != nil || len(done.Skipped) != len(ids) {
			t.Errorf("into its own lab: %v, %v", done, err)
		}
	}
}

// part is a member of a file that a test makes by hand.
type part struct {
	name, text string
	header     func(*tar.Header)
}

func parts(t testing.TB, file []byte) []part {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(file))
	ok(t, err)
	var list []part
	for r := tar.NewReader(zip); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		ok(t, err)
		list = append(list, part{name: h.Name, text: string(must(io.ReadAll(r)))})
	}
}

func (p part) digest() string {
	sum := sha256.Sum256([]byte(p.text))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// pack makes a file of these members; its manifest says what it holds, as far
// as that can be said.
func pack(list []part) []byte {
	type member struct {
		Name   string `json:"name"`
		Bytes  int    `json:"bytes"`
		Digest string `json:"digest"`
	}
	var m struct {
		Runs     int      `json:"runs"`
		Points   int      `json:"points"`
		Contents int      `json:"contents"`
		Members  []member `json:"members"`
	}
	for i, p := range list {
		switch {
		case p.name == "manifest.json" && p.text == "":
			list[i].text = string(must(json.Marshal(m))) + "\n"
			continue
		case p.name == "manifest.json":
			continue
		case strings.HasPrefix(p.name, "contents/"):
			m.Contents++
		case strings.HasSuffix(p.name, "/run.json"):
			m.Runs++
		case strings.HasSuffix(p.name, ".jsonl"):
			for line := range strings.Lines(p.text) {
				var l struct {
					Step []any `json:"step"`
				}
				_ = json.Unmarshal([]byte(line), &l)
				m.Points += len(l.Step)
			}
		}
		m.Members = append(m.Members, member{p.name, len(p.text), p.digest()})
	}
	return rawPack(list)
}

func rawPack(list []part) []byte {
	var b bytes.Buffer
	zip := must(gzip.NewWriterLevel(&b, gzip.BestSpeed))
	w := tar.NewWriter(zip)
	for _, p := range list {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: p.name, Mode: 0o644, Size: int64(len(p.text)), ModTime: time.Unix(0, 0)}
		if p.header != nil {
			p.header(h)
		}
		if err := w.WriteHeader(h); err != nil {
			panic(err)
		}
		if h.Size > int64(len(p.text)) { // it says more than comes: there the file ends
			break
		}
		if h.Size > 0 {
			_, _ = io.WriteString(w, p.text)
		}
	}
	_ = w.Close()
	_ = zip.Close()
	return b.Bytes()
}

// sample is a file of one run with an artifact and points, as parts: head,
// content, document, points, manifest.
func sample(t testing.TB) []part {
	t.Helper()
	l := newLab(t)
	id := runID(1)
	ok(t, l.Meta.CreateRun(t.Context(), quant.Run{RunID: id, Kind: "exec", Status: quant.Running, StartedAt: at(1)}, quant.RunProcess{RunID: id, Changes: true, Host: "there"}))
	digest, size, err := l.Artifacts().Put(t.Context(), strings.NewReader("equity"))
	ok(t, err)
	ok(t, l.Meta.Log(t.Context(), metastore.Batch{
		Params:    []quant.Param{{RunID: id, Name: "k", Value: "5"}, {RunID: id, Name: "l", Value: "6"}},
		Artifacts: []quant.Artifact{{RunID: id, Name: "a.png", Digest: digest, Bytes: size, LoggedAt: at(1)}},
		Metrics:   []quant.MetricPoint{{RunID: id, Name: "loss", Step: 1, Value: 0.5, LoggedAt: at(1)}, {RunID: id, Name: "loss", Step: 2, Value: 0.25, LoggedAt: at(2)}},
	}))
	ok(t, l.Meta.FinishRun(t.Context(), metastore.RunEnd{RunID: id, Status: quant.Success, EndedAt: at(2)}))
	file := l.export(t, id)
	list := parts(t, file)
	list[4].text = ""
	if len(list) != 5 || !bytes.Equal(pack(list), file) {
		t.Fatalf("the test does not make the bytes that an export makes: %d members", len(list))
	}
	list[4].text = ""
	return list
}

func TestAFileThatIsNotWhatAnExportWritesIsRefusedAndNothingIsStored(t *testing.T) {
	t.Parallel()
	base := sample(t)
	replace := func(i int, old, now string) func([]part) []part {
		return func(l []part) []part {
			if !strings.Contains(l[i].text, old) {
				panic("no " + old + " in " + l[i].text)
			}
			l[i].text = strings.Replace(l[i].text, old, now, 1)
			return l
		}
	}
	header := func(i int, change func(*tar.Header)) func([]part) []part {
		return func(l []part) []part { l[i].header = change; return l }
	}
	insert := func(i int, p part) func([]part) []part {
		return func(l []part) []part { return slices.Insert(l, i, p) }
	}
	id := runID(1)
	for name, c := range map[string]struct {
		change func([]part) []part
		says   string
	}{
		"a newer format":           {replace(0, `"version":3`, `"version":4`), "format 4"},
		"a format that never was":  {replace(0, `"version":3`, `"version":0`), "not in its form"},
		"facts before their time":  {replace(0, `"version":3`, `"version":1`), "canonical form"},
		"facts that are none":      {replace(2, `"facts":null`, `"facts":"perhaps"`), "none of committed"},
		"facts of a success":       {replace(2, `"facts":null`, `"facts":"none"`), "says nothing"},
		"another program's tar":    {replace(0, "quant-export", "other"), "no file of runs"},
		"no head":                  {func(l []part) []part { return l[1:] }, "should be there"},
		"no manifest":              {func(l []part) []part { return l[:4] }, "there is no manifest.json"},
		"two manifests":            {insert(5, part{name: "manifest.json", text: "{}"}), "after the manifest"},
		"a manifest that lies":     {func(l []part) []part { l[4].text = `{"runs":1}` + "\n"; return l }, "does not say what the file holds"},
		"a name that climbs":       {insert(1, part{name: "../../evil", text: "x"}), "no export has a member of that name"},
		"an absolute name":         {insert(1, part{name: "/etc/passwd", text: "x"}), "no export has a member of that name"},
		"a content that climbs":    {insert(1, part{name: "contents/../../evil", text: "x"}), "its name is no digest"},
		"a run that climbs":        {insert(2, part{name: "runs/../../evil/run.json", text: "{}"}), "the document of a run should be there"},
		"a wrong digest":           {replace(1, "equity", "EQUITY"), "does not have the digest of its name"},
		"a content twice":          {func(l []part) []part { return slices.Insert(l, 1, l[1]) }, "may not come after"},
		"a run twice":              {func(l []part) []part { return slices.Insert(l, 4, l[2], l[3]) }, "may not come after"},
		"a content that is unused": {insert(1, part{name: "contents/" + strings.Repeat("0", 64)}), "does not have the digest"},
		"a content too many": {func(l []part) []part {
			extra := part{text: "extra"}
			extra.name = "contents/" + extra.digest()[7:]
			l = slices.Insert(l, 1, extra)
			slices.SortFunc(l[1:3], func(a, b part) int { return strings.Compare(a.name, b.name) })
			return l
		}, "no run of the file has this content"},
		"a content too few":   {func(l []part) []part { return slices.Delete(l, 1, 2) }, "does not have its content"},
		"a size that lies":    {replace(2, `"bytes":6`, `"bytes":7`), "its content has 6"},
		"a symbolic link":     {header(1, func(h *tar.Header) { h.Typeflag, h.Linkname = tar.TypeSymlink, "/etc/passwd"; h.Size = 0 }), "no plain member"},
		"a hard link":         {header(1, func(h *tar.Header) { h.Typeflag, h.Linkname = tar.TypeLink, "x"; h.Size = 0 }), "no plain member"},
		"a folder":            {insert(1, part{name: "contents/", header: func(h *tar.Header) { h.Typeflag = tar.TypeDir }}), "no plain member"},
		"a device":            {insert(1, part{name: "dev", header: func(h *tar.Header) { h.Typeflag = tar.TypeChar }}), "no plain member"},
		"a program's mode":    {header(1, func(h *tar.Header) { h.Mode = 0o4755 }), "no plain member"},
		"an owner":            {header(2, func(h *tar.Header) { h.Uname = "root" }), "no plain member"},
		"attributes":          {header(2, func(h *tar.Header) { h.PAXRecords = map[string]string{"SCHILY.xattr.a": "b"} }), "no plain member"},
		"a time":              {header(3, func(h *tar.Header) { h.ModTime = time.Unix(5, 0) }), "no plain member"},
		"a run that runs":     {replace(2, `"status":"SUCCESS","started_at":"2026-01-15T09:30:01.123456Z","ended_at":"2026-01-15T09:30:02.123456Z"`, `"status":"RUNNING","started_at":"2026-01-15T09:30:01.123456Z","ended_at":null`), "has not ended"},
		"another status":      {replace(2, `"SUCCESS"`, `"DONE"`), "none of RUNNING"},
		"a fail without text": {replace(2, `"SUCCESS"`, `"FAIL"`), "error_text"},
		"another run's id":    {replace(2, `{"run":{"run_id":"`+id, `{"run":{"run_id":"`+runID(2)), "it is of run"},
		"another's process":   {replace(2, `"process":{"run_id":"`+id, `"process":{"run_id":"`+runID(2)), "something of run"},
		"no version 7": {func(l []part) []part {
			for i := range l {
				l[i].name = strings.ReplaceAll(l[i].name, "-7000-", "-4000-")
				l[i].text = strings.ReplaceAll(l[i].text, "-7000-", "-4000-")
			}
			return l
		}, "the document of a run should be there"},
		"a time out of form":      {replace(2, `"2026-01-15T09:30:01.123456Z"`, `"yesterday"`), "yesterday"},
		"an impossible time":      {replace(2, `"2026-01-15T09:30:01.123456Z"`, `"2026-02-31T09:30:01.123456Z"`), "2026-02-31"},
		"bad JSON":                {replace(2, `"config_json":null`, `"config_json":{`), "invalid"},
		"deep JSON":               {replace(2, `"config_json":null`, `"config_json":`+strings.Repeat("[", 1001)+strings.Repeat("]", 1001)), "nested more than"},
		"very deep JSON":          {replace(2, `"config_json":null`, `"config_json":`+strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)), "exceeded max depth"},
		"no UTF-8":                {replace(2, `"host":"there"`, "\"host\":\"th\xffre\""), "not UTF-8"},
		"spaces":                  {replace(2, `"params":[`, `"params": [`), "canonical form"},
		"an unknown column":       {replace(2, `"run":{`, `"run":{"evil":1,`), "evil"},
		"a key twice":             {replace(2, `"host":"there"`, `"host":"there","host":"there"`), "canonical form"},
		"a key in capitals":       {replace(2, `"host":"there"`, `"HOST":"there"`), "canonical form"},
		"more after the run":      {func(l []part) []part { l[2].text += "{}\n"; return l }, "canonical form"},
		"params out of order":     {replace(2, `"name":"k"`, `"name":"z"`), "not after"},
		"a param twice":           {replace(2, `"name":"k"`, `"name":"l"`), "not after"},
		"a control character":     {replace(2, `"name":"k"`, `"name":"k\u0007"`), "contains the character"},
		"a NUL":                   {replace(2, `"value":"5"`, `"value":"\u0000"`), "NUL"},
		"a name too long":         {replace(2, `"name":"k"`, `"name":"`+strings.Repeat("a", 251)+`"`), "more than 250"},
		"an artifact that climbs": {replace(2, `"a.png"`, `"../a.png"`), "relative path"},
		"a log elsewhere":         {replace(2, `"logs":[]`, `"logs":[{"name":"`+id+`/../../evil","digest":"sha256:`+strings.Repeat("0", 64)+`","bytes":0}]`), "its name is not that of a log"},
		"another run's log":       {replace(2, `"logs":[]`, `"logs":[{"name":"`+runID(2)+`.log","digest":"sha256:`+strings.Repeat("0", 64)+`","bytes":0}]`), "its name is not that of a log"},
		"sums that lie":           {replace(2, `"last":0.25`, `"last":0.5`), "not those of its points"},
		"a metric without points": {func(l []part) []part { return slices.Delete(l, 3, 4) }, "not those of its points"},
		"no number":               {replace(3, "0.5", "NaN"), "invalid character"},
		"a number too large":      {replace(3, "0.5", "1e999"), "1e999"},
		"a step too large":        {replace(3, `"step":[1`, `"step":[9223372036854775808`), "9223372036854775808"},
		"a step too low":          {replace(3, `"step":[1`, `"step":[-9223372036854775808`), "step out of range"},
		"a broken step":           {replace(3, `"step":[1`, `"step":[1.5`), "1.5"},
		"a value without step":    {replace(3, `"step":[1,2]`, `"step":[1]`), "1 steps, 2 values"},
		"points out of order":     {replace(3, `"first":1`, `"first":2`), "point 2 where point 1"},
		"a number otherwise":      {replace(3, "0.5", "5e-1"), "canonical form"},
		"negative zero":           {replace(3, "0.5", "-0"), ""},
		"a time out of range":     {replace(3, `"after_us":[0,`, `"after_us":[9000000000000000000,`), "out of range"},
		"points of a metric that it may not have": {replace(3, `"loss"`, `"lo\u0000ss"`), "contains the character"},
		"an empty line of points":                 {func(l []part) []part { l[3].text += "\n"; return l }, "unexpected end"},
		"points of nobody":                        {insert(1, part{name: "runs/" + id + "/points-000001.jsonl", text: "{}"}), "the document of a run should be there"},
		"points in two parts": {func(l []part) []part {
			p := l[3]
			p.name = strings.Replace(p.name, "-000001.", "-000002.", 1)
			p.text = `{"metric":"z","first":1,"step":[1],"value":[1],"logged_at":"2026-01-15T09:30:01.123456Z","after_us":[0]}` + "\n"
			return slices.Insert(l, 4, p)
		}, "canonical form"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			file := pack(c.change(slices.Clone(base)))
			_, err := l.take(file)
			if quant.CodeOf(err) != quant.Invalid || !strings.Contains(err.Error(), c.says) || quant.HintOf(err) == "" {
				t.Fatalf("got %v (%s; hint %q)", err, quant.CodeOf(err), quant.HintOf(err))
			}
			l.untouched(t)
		})
	}
}

// untouched fails the test if the lab has anything.
func (l testLab) untouched(t *testing.T) {
	t.Helper()
	if runs := must(l.Meta.ListRuns(context.Background(), metastore.RunFilter{All: true})); len(runs) > 0 {
		t.Errorf("there are runs: %v", runs)
	}
	if files := l.files(t); len(files) > 0 {
		t.Errorf("there are files: %v", files)
	}
	for _, e := range must(os.ReadDir(filepath.Dir(l.dir))) {
		if strings.Contains(e.Name(), "evil") {
			t.Errorf("%s was written", e.Name())
		}
	}
}

func TestAFileThatWasCutOrGrewIsRefused(t *testing.T) {
	t.Parallel()
	file := pack(sample(t))
	l := newLab(t)
	for n := range file {
		if _, err := l.take(file[:n]); quant.CodeOf(err) != quant.Invalid {
			t.Fatalf("cut to %d of %d bytes: %v", n, len(file), err)
		}
	}
	for what, more := range map[string][]byte{"a byte": {0}, "zeros": make([]byte, 1024), "itself": file} {
		if _, err := l.take(append(slices.Clone(file), more...)); quant.CodeOf(err) != quant.Invalid {
			t.Fatalf("with %s behind it: %v", what, err)
		}
	}
	l.untouched(t)
	_, err := l.take(file)
	ok(t, err)
}

func TestAFlippedBitIsFoundOrHarmless(t *testing.T) {
	t.Parallel()
	file := pack(sample(t))
	shared := newLab(t)
	for n := range len(file) * 8 {
		if n%7 != 0 { // a seventh of them, spread over all
			continue
		}
		damaged := slices.Clone(file)
		damaged[n/8] ^= 1 << (n % 8)
		if !shared.accepts(t, damaged) {
			continue
		}
		l := newLab(t)
		_, err := l.take(damaged)
		ok(t, err)
		if !bytes.Equal(l.export(t, runID(1)), file) { // a byte of the gzip head that says nothing
			t.Fatalf("bit %d of byte %d: imported as something else", n%8, n/8)
		}
	}
}

func TestWhatUnpacksToTooMuchIsRefusedBeforeItIsWritten(t *testing.T) {
	t.Parallel()
	zeros := part{text: strings.Repeat("\x00", 64<<20)}
	zeros.name = "contents/" + zeros.digest()[7:]
	list := slices.Insert(sample(t), 1, zeros)
	l := newLab(t)
	o := options
	o.MaxBytes = 1 << 20
	_, err := portable.Import(t.Context(), l.Lab, bytes.NewReader(pack(list)), o)
	if quant.CodeOf(err) != quant.Refused || !strings.Contains(quant.HintOf(err), "--max-size") {
		t.Fatalf("got %v", err)
	}
	l.untouched(t)
	// A member that says that it is huge, and is not, costs nothing.
	list = sample(t)
	list[2].header = func(h *tar.Header) { h.Size = 200 << 20 }
	if _, err := l.take(rawPack(list)); quant.CodeOf(err) != quant.Invalid {
		t.Fatalf("got %v", err)
	}
	l.untouched(t)
}

// twoFaced is a file that is another one when it is read again.
type twoFaced struct {
	*bytes.Reader
	second []byte
}

func (f *twoFaced) Seek(int64, int) (int64, error) {
	f.Reader = bytes.NewReader(f.second)
	return 0, nil
}

func TestAFileThatIsAnotherOneOnTheSecondReadingIsRefused(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(9, 1))
	a, l := newLab(t), newLab(t)
	first, second := a.export(t, a.record(t, 1, random)), a.export(t, a.record(t, 2, random))
	_, err := portable.Import(t.Context(), l.Lab, &twoFaced{bytes.NewReader(first), second}, options)
	if quant.CodeOf(err) != quant.Invalid || !strings.Contains(err.Error(), "changed since the first") {
		t.Fatalf("got %v", err)
	}
	if runs := must(l.Meta.ListRuns(t.Context(), metastore.RunFilter{All: true})); len(runs) > 0 {
		t.Errorf("there are runs: %v", runs)
	}
}

func TestChildrenAreFoundAtAnyDepthAndOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	for child, parent := range map[int]int{1: 0, 2: 1, 3: 1, 4: 3, 5: 0, 6: 9} {
		ok(t, l.Meta.CreateRun(t.Context(), quant.Run{RunID: runID(child), Kind: "exec", Status: quant.Running, StartedAt: at(1)},
			quant.RunProcess{RunID: runID(child), ParentRunID: quant.Text(runID(parent))}))
	}
	for n := 1; n <= 6; n++ {
		if n != 2 {
			ok(t, l.Meta.FinishRun(t.Context(), metastore.RunEnd{RunID: runID(n), Status: quant.Success, EndedAt: at(2)}))
		}
	}
	var file bytes.Buffer
	o := portable.ExportOptions{Format: portable.Native, Path: "-", Stdout: &file, Children: true}
	if _, err := portable.Write(t.Context(), l.Lab, []string{runID(1), runID(3)}, o); quant.CodeOf(err) != quant.Conflict {
		t.Errorf("one of them is RUNNING: %v", err)
	}
	file.Reset()
	o.Self = runID(2)
	done, err := portable.Write(t.Context(), l.Lab, []string{runID(1), runID(3)}, o)
	ok(t, err)
	got := must(newLab(t).take(file.Bytes())).Imported
	slices.Sort(got)
	if want := []string{runID(1), runID(3), runID(4)}; !slices.Equal(got, want) || done.Runs != 3 {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func TestAFileOfRunsIsMadeWholeAndReplacesNothingUnasked(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	id := l.record(t, 1, rand.New(rand.NewPCG(1, 1)))
	path := filepath.Join(t.TempDir(), "runs.qrx")
	o := portable.ExportOptions{Format: portable.Native, Path: path}
	done, err := portable.Write(t.Context(), l.Lab, []string{id}, o)
	ok(t, err)
	text := must(os.ReadFile(path))
	if done.Bytes != int64(len(text)) || done.Digest != durable.Digest(text) || done.Runs != 1 {
		t.Errorf("%+v", done)
	}
	if _, err := portable.Write(t.Context(), l.Lab, []string{id}, o); quant.CodeOf(err) != quant.Conflict {
		t.Error(err)
	}
	o.Force = true
	if _, err := portable.Write(t.Context(), l.Lab, []string{id}, o); err != nil {
		t.Error(err)
	}
	if _, err := portable.Write(t.Context(), l.Lab, []string{runID(77)}, o); quant.CodeOf(err) != quant.NotFound || !bytes.Equal(must(os.ReadFile(path)), text) {
		t.Errorf("a failed export: %v", err)
	}
	o.Path = filepath.Dir(path)
	if _, err := portable.Write(t.Context(), l.Lab, []string{id}, o); quant.CodeOf(err) != quant.Conflict {
		t.Error(err)
	}
	for _, bad := range []portable.ExportOptions{{Format: "csv", Path: path}, {Format: portable.Native}} {
		if _, err := portable.Write(t.Context(), l.Lab, []string{id}, bad); quant.CodeOf(err) != quant.Usage {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestWhatIsImportedCanBeReadTwice(t *testing.T) {
	t.Parallel()
	f, err := portable.Spool(strings.NewReader("12345"), 5)
	ok(t, err)
	defer f.Close()
	if got := string(must(io.ReadAll(f))); got != "12345" {
		t.Errorf("%q", got)
	}
	if _, err := portable.Spool(strings.NewReader("123456"), 5); quant.CodeOf(err) != quant.Refused {
		t.Error(err)
	}
	if _, err := portable.Open(t.TempDir()); quant.CodeOf(err) != quant.Invalid {
		t.Error(err)
	}
	if _, err := portable.Open(filepath.Join(t.TempDir(), "none")); quant.CodeOf(err) != quant.NotFound {
		t.Error(err)
	}
}

func TestAnExportIsOfOneMomentWhileOthersRecord(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ids := []string{l.record(t, 1, rand.New(rand.NewPCG(1, 1))), l.record(t, 2, rand.New(rand.NewPCG(2, 1)))}
	stop := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			var b metastore.Batch
			for _, id := range ids { // both or none
				b.Tags = append(b.Tags, quant.Tag{RunID: id, Name: "n", Value: fmt.Sprint(n)})
				b.Metrics = append(b.Metrics, quant.MetricPoint{RunID: id, Name: "storm", Step: int64(n), Value: float64(n), LoggedAt: at(n)})
			}
			ok(t, l.Meta.Log(context.Background(), b))
		}
	})
	for range 30 {
		file := l.export(t, ids...) // would fail if sums and points were of two moments
		var values []string
		for _, p := range parts(t, file) {
			if strings.HasSuffix(p.name, "/run.json") {
				_, after, found := strings.Cut(p.text, `{"name":"n","value":"`)
				value, _, _ := strings.Cut(after, `"`)
				values = append(values, fmt.Sprint(found, value))
			}
		}
		if values[0] != values[1] {
			t.Fatalf("one run at %s, the other at %s", values[0], values[1])
		}
	}
	close(stop)
	wait.Wait()
}

func TestADeletedRunIsNotExportedAndASecondImportLeavesItDeleted(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	id := l.record(t, 1, rand.New(rand.NewPCG(1, 1)))
	file := l.export(t, id)
	db := must(sql.Open("sqlite3", "file:"+filepath.Join(l.dir, "meta.db")))
	defer db.Close()
	must(db.Exec("INSERT INTO run_deletions (run_id, deleted_at) VALUES (?, ?)", id, at(7).String()))
	_, err := export(t.Context(), l.Lab, []string{id}, io.Discard)
	if quant.CodeOf(err) != quant.Conflict || !strings.Contains(err.Error(), "is deleted") || !strings.Contains(quant.HintOf(err), "quant runs restore") {
		t.Fatalf("got %v", err)
	}
	done, err := l.take(file)
	ok(t, err)
	if len(done.Skipped) != 1 || !must(l.Meta.IsDeleted(t.Context(), id)) {
		t.Fatalf("%v", done)
	}
}

func TestAnInterruptedImportStoresNoRun(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	ctx, stop := context.WithCancelCause(t.Context())
	stop(quant.Signalled{Number: 2, Name: "SIGINT"})
	_, err := portable.Import(ctx, l.Lab, bytes.NewReader(pack(sample(t))), options)
	if quant.ExitStatus(err) != 130 {
		t.Fatalf("got %v", err)
	}
	l.untouched(t)
}

// unwilling is a store whose transactions fail: an import reaches that once the
// file has passed every check.
type unwilling struct{ metastore.Store }

var errUnwilling = errors.New("would be stored")

func (unwilling) Tx(context.Context, func(context.Context) error) error { return errUnwilling }

// accepts reports whether a lab would take the file in, and fails the test if
// it is refused without a reason.
func (l testLab) accepts(t *testing.T, file []byte) bool {
	t.Helper()
	l.Meta = unwilling{l.Meta}
	_, err := l.take(file)
	if err != nil && !errors.Is(err, errUnwilling) && quant.CodeOf(err) != quant.Invalid && quant.CodeOf(err) != quant.Refused {
		t.Fatalf("an error without a reason: %v", err)
	}
	return err == nil || errors.Is(err, errUnwilling)
}

// FuzzImport: whatever a run and its points are, a file of them is refused, or
// taken in so that it is exported as the same bytes.
func FuzzImport(f *testing.F) {
	base := sample(f)
	f.Add(base[1].text, base[2].text, base[3].text)
	f.Add("x", `{"run":{}}`, "")
	shared := newLab(f)
	f.Fuzz(func(t *testing.T, content, document, points string) {
		list := slices.Clone(base)
		list[1].text, list[2].text, list[3].text = content, document, points
		list[1].name = "contents/" + list[1].digest()[7:]
		list[2].text = strings.ReplaceAll(document, base[1].digest(), list[1].digest())
		if points == "" {
			list = slices.Delete(list, 3, 4)
		}
		file := pack(list)
		if !shared.accepts(t, file) {
			return
		}
		l := newLab(t)
		_, err := l.take(file)
		ok(t, err) // what passes the checks is stored
		if !bytes.Equal(l.export(t, runID(1)), file) {
			t.Fatal("it was imported as something else")
		}
	})
}

// FuzzFile: any members in any form are an error, or the file of an export.
func FuzzFile(f *testing.F) {
	file := pack(sample(f))
	f.Add(must(io.ReadAll(must(gzip.NewReader(bytes.NewReader(file))))))
	shared := newLab(f)
	f.Fuzz(func(t *testing.T, unpacked []byte) {
		var b bytes.Buffer
		zip := must(gzip.NewWriterLevel(&b, gzip.BestSpeed))
		_, _ = zip.Write(unpacked)
		ok(t, zip.Close())
		if !shared.accepts(t, b.Bytes()) {
			return
		}
		l := newLab(t)
		done, err := l.take(b.Bytes())
		ok(t, err)
		again := must(io.ReadAll(must(gzip.NewReader(bytes.NewReader(l.export(t, done.Imported...))))))
		if !bytes.Equal(again, unpacked) {
			t.Fatal("it was imported as something else")
		}
	})
}
