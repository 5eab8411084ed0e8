package curator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/rogpeppe/go-internal/txtar"

	"quant"
	"quant/internal/sqltext"
	"quant/internal/test/soak"
)

// outcome is all that an ingest leaves: what it said and what the database has.
func (l *lab) outcome(req Request, directFrom int64) []string {
	l.Helper()
	p, err := req.plan()
	if err != nil {
		return []string{err.Error()}
	}
	var said []string
	inputs, err := Inspect(req.Files)
	if err == nil {
		var symbols []string
		p.BeforeCommit = func(_ context.Context, list []string) error {
			symbols = append(symbols, list...)
			return nil
		}
		in := &ingest{plan: p, db: l.db, inputs: inputs, directFrom: directFrom}
		var r Report
		r, err = in.do(l.Context())
		text, failed := json.Marshal(r)
		if failed != nil {
			l.Fatal(failed)
		}
		said = append(said, string(text), "told before the commit: "+strings.Join(symbols, " "))
	}
	said = append(said, fmt.Sprint(err))
	for _, query := range []string{
		"SELECT ROW(symbol, ts, open, high, low, close, volume, adjusted_close, source, l.run_id)::VARCHAR AS s FROM ohlcv o LEFT JOIN ledger l ON l.committed_at = o.ingested_at AND l.table_name = 'ohlcv' ORDER BY symbol, ts",
		"SELECT r::VARCHAR AS s FROM (SELECT * EXCLUDE (ingested_at, replaced_at, stretches) FROM ohlcv_revisions) r ORDER BY symbol, ts, run_id",
		"SELECT r::VARCHAR AS s FROM (SELECT * EXCLUDE (rejected_at) FROM rejects) r ORDER BY source_digest, line, reason",
		"SELECT ROW(run_id, table_name, rows_inserted, rows_updated, rows_deleted)::VARCHAR AS s FROM ledger ORDER BY committed_at, table_name",
	} {
		said = append(said, l.list(query)...)
	}
	return said
}

// sameBothWays ingests in two labs, one after the other, directly and carefully, and
// compares what each leaves.
func sameBothWays(t *testing.T, what string, requests ...Request) {
	t.Helper()
	direct, careful := &lab{T: t, db: openDB(t)}, &lab{T: t, db: openDB(t)}
	for i, req := range requests {
		req.RunID, req.Now = fmt.Sprint("run", i), clock
		got, want := direct.outcome(req, 0), careful.outcome(req, -1)
		if !slices.Equal(got, want) {
			t.Fatalf("%s: ingest %d:\ndirectly  %s\ncarefully %s", what, i, firstDifference(got, want), firstDifference(want, got))
		}
	}
}

func firstDifference(a, b []string) string {
	for i, line := range a {
		if i >= len(b) || b[i] != line {
			return fmt.Sprintf("line %d of %d: %.600s", i, len(a), line)
		}
	}
	return fmt.Sprintf("%d lines", len(a))
}

// What is read directly leaves the same tables, ledger and report as what is marked
// in a staging table first: the whole corpus, each file twice.
func TestDirectAndCarefulAgreeOnTheCorpus(t *testing.T) {
	paths, err := filepath.Glob("testdata/corpus/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no corpus:", err)
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var c corpusCase
		if err := yaml.Unmarshal(archive.Comment, &c); err != nil {
			t.Fatal(err)
		}
		l := &lab{T: t, dir: t.TempDir()}
		var files []string
		for _, f := range archive.Files {
			switch f.Name {
			case "bars", "refused", "notices", "rejects":
			default:
				files = append(files, l.corpusFile(f, c.Encoding))
			}
		}
		requests := []Request{c.Ingest.request(files), c.Ingest.request(files)}
		if c.Then != nil {
			requests = append(requests, c.Then.request(files))
		}
		sameBothWays(t, filepath.Base(path), requests...)
	}
}

// randomBars writes a file of bars. Each fault is there now and then.
func randomBars(t *testing.T, r *rand.Rand, dir, name string, seed uint64) string {
	t.Helper()
	prices := rand.New(rand.NewPCG(seed, 1)) // the same ones in every file of a lab
	rare := func(n int) bool { return r.IntN(n) == 0 }
	spoiled := rare(2)
	changes, without := 1+r.IntN(200), rare(6)
	skip := func() bool { return false }
	if rare(4) {
		skip = func() bool { return rare(20) }
	}
	scale := 1.0
	if rare(8) {
		scale = 0.5
	}
	var rows []string
	for s := range 1 + r.IntN(4) {
		price := 20 + 100*prices.Float64()
		for d := range 60 {
			price *= 1 + 0.02*(prices.Float64()-0.5)
			open, volume := math.Round(100*price)/100, 1000+prices.IntN(1000)
			if skip() {
				continue
			}
			if rare(changes) {
				open, volume = open+0.01, volume+1
			}
			high, low, closing := open+1.25, open-1.5, math.Round(100*(open+0.33))/100
			adjusted := fmt.Sprint(math.Round(1e4*scale*closing*0.97) / 1e4)
			fields := []string{fmt.Sprint("S", s), fmt.Sprint(quant.Date(18000 + d)), fmt.Sprint(open), fmt.Sprint(high), fmt.Sprint(low), fmt.Sprint(closing), fmt.Sprint(volume), adjusted}
			if spoiled && rare(40) {
				switch at := r.IntN(9); at {
				case 8:
					rows = append(rows, strings.Join(fields, ","))
				default:
					fields[at] = []string{"", "0", "-1", "1e300", "9999-12-31", "2019-05-02"}[r.IntN(6)]
				}
			}
			if without {
				fields = fields[:7]
			}
			rows = append(rows, strings.Join(fields, ","))
		}
	}
	if rare(4) {
		r.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	}
	header := "symbol,date,open,high,low,close,volume,adj_close"
	if without {
		header = header[:strings.LastIndexByte(header, ',')]
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(header+"\n"+strings.Join(rows, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if rare(2) {
		return path
	}
	columnar := strings.TrimSuffix(path, ".csv") + ".parquet"
	kinds := "{symbol: 'VARCHAR', date: 'DATE', open: 'DOUBLE', high: 'DOUBLE', low: 'DOUBLE', close: 'DOUBLE', volume: 'DOUBLE'"
	if !without {
		kinds += ", adj_close: 'DOUBLE'"
	}
	duck(t, "COPY (SELECT * FROM read_csv("+sqltext.Literal(path)+", ignore_errors = true, columns = "+kinds+"})) TO "+sqltext.Literal(columnar)+" (FORMAT parquet)")
	return columnar
}

// The same of random files, one after another into the same lab: clean and spoiled
// ones, as text and as Parquet, the same again, under another name, with corrected
// bars, on another scale, with days left out, without adjusted closes.
func TestDirectAndCarefulAgreeOnRandomFiles(t *testing.T) {
	t.Parallel()
	seed := soak.Seed(t)
	for n := range soak.Count(t, 12, 300) {
		r := rand.New(rand.NewPCG(seed, uint64(n)))
		dir := t.TempDir()
		var requests []Request
		for k := range 4 {
			req := Request{MaxRejectRatio: []float64{0.01, 1}[r.IntN(2)], VolumeMissing: []string{"", "zero"}[r.IntN(2)]}
			switch {
			case k > 0 && r.IntN(3) == 0:
				req.Files = requests[k-1].Files
			default:
				req.Files = []string{randomBars(t, r, dir, fmt.Sprintf("bars%d.csv", k), uint64(n))}
			}
			requests = append(requests, req)
		}
		sameBothWays(t, fmt.Sprintf("seed %d, lab %d", seed, n), requests...)
	}
}

// A plain file takes the direct way, into an empty table and beside stored bars; one
// that needs a second look does not.
func TestPlainFilesAreReadDirectly(t *testing.T) {
	const plain = "symbol,date,open,high,low,close,volume,adj_close\nA,2020-01-02,10,12,9,11,100,11\nA,2020-01-03,10,12,9,11,100,11\n"
	for name, c := range map[string]struct {
		stored, content string
		doubt           bool
	}{
		"first":                         {content: plain},
		"again":                         {stored: plain, content: plain},
		"corrected":                     {stored: plain, content: strings.Replace(plain, "11,100,", "11,200,", 1)},
		"without a symbol":              {content: strings.ReplaceAll(strings.ReplaceAll(plain, "A,", ""), "symbol,", "")},
		"newest first":                  {content: "date,open,high,low,close,volume\n2020-01-03,10,12,9,11,100\n2019-01-03,10,12,9,11,100\n"},
		"a reject":                      {content: plain + "A,2020-01-06,10,9,12,11,100,11\n", doubt: true},
		"a day twice":                   {content: plain + "A,2020-01-03,10,12,9,11,100,11\n", doubt: true},
		"a day without a trade":         {content: plain + "A,2020-01-06,0,0,0,11,0,11\n", doubt: true},
		"a rounded close":               {content: plain + "A,2020-01-06,10,11.98,9,11.99,100,11\n", doubt: true},
		"tomorrow's tomorrow":           {content: plain + "A,2199-01-06,10,12,9,11,100,11\n", doubt: true},
		"lacks a stored day":            {stored: plain, content: strings.Replace(strings.Replace(plain, "A,2020-01-02,10,12,9,11,100,11\n", "", 1), "11,100", "11,200", 1), doubt: true},
		"says nothing of stored closes": {stored: plain, content: "symbol,date,open,high,low,close,volume\nA,2020-01-02,10,12,9,11,100\nA,2020-01-03,10,12,9,11,100\n", doubt: true},
		"no rows":                       {content: "symbol,date,open,high,low,close,volume\n", doubt: true},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			if c.stored != "" {
				l.mustIngest(nil, l.file("stored.csv", c.stored))
			}
			p, err := Request{RunID: "r", Files: []string{l.file("new.csv", c.content)}, MaxRejectRatio: 1, Now: clock}.plan()
			if err != nil {
				t.Fatal(err)
			}
			inputs, err := Inspect(p.Files)
			if err != nil {
				t.Fatal(err)
			}
			in := &ingest{plan: p, db: l.db, inputs: inputs}
			err = in.direct(t.Context())
			in.drop(t.Context())
			if c.doubt != errors.Is(err, errDoubt) || !c.doubt && err != nil {
				t.Errorf("doubt: %v, want %v", err, c.doubt)
			}
			want := []string{}
			if c.stored != "" {
				want = []string{"run-1"}
			}
			if got := l.list("SELECT DISTINCT run_id AS s FROM ledger ORDER BY ALL"); c.doubt && !slices.Equal(got, want) {
				t.Errorf("a doubt has changed something: %v", got)
			}
		})
	}
}
