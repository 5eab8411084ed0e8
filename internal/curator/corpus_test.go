package curator

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/rogpeppe/go-internal/txtar"
	"golang.org/x/text/encoding/htmlindex"

	"quant"
)

// corpusCase is the head of a case of testdata/corpus; README.md there says what
// each key and each section is.
type corpusCase struct {
	Tool     string         `yaml:"tool"`
	Layout   string         `yaml:"layout"`
	Encoding string         `yaml:"encoding"`
	Rejects  int64          `yaml:"rejects"`
	Ignored  []string       `yaml:"ignored"`
	Ingest   corpusRequest  `yaml:"ingest"`
	Then     *corpusRequest `yaml:"then"`
}

// corpusRequest is how the files of a case are ingested: the flags of quant
// ingest, by their names.
type corpusRequest struct {
	Symbol        string   `yaml:"symbol"`
	Encoding      string   `yaml:"encoding"`
	DateFormat    string   `yaml:"date-format"`
	Sheet         string   `yaml:"sheet"`
	Layout        string   `yaml:"layout"`
	CloseOnly     bool     `yaml:"close-only"`
	VolumeMissing string   `yaml:"volume-missing"`
	Map           []string `yaml:"map"`
	NoHeader      bool     `yaml:"no-header"`
	Date          string   `yaml:"date"`
	Timezone      string   `yaml:"timezone"`
	Decimal       string   `yaml:"decimal"`
}

func (c corpusRequest) request(files []string) Request {
	return Request{
		RunID: "corpus", Files: files, MaxRejectRatio: 0.01, Now: clock,
		Symbol: c.Symbol, Encoding: c.Encoding, DateFormat: c.DateFormat, VolumeMissing: c.VolumeMissing,
		Sheet: c.Sheet, Layout: c.Layout, CloseOnly: c.CloseOnly,
		Map: c.Map, NoHeader: c.NoHeader, Date: c.Date, Timezone: c.Timezone, Decimal: c.Decimal,
	}
}

// Each file as a tool writes it becomes the bars that stand beside it, or is
// refused with a sentence that says what to do.
func TestCorpus(t *testing.T) {
	paths, err := filepath.Glob("testdata/corpus/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no corpus:", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			l := newLab(t)
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var c corpusCase
			if err := yaml.UnmarshalWithOptions(archive.Comment, &c, yaml.Strict()); err != nil {
				t.Fatal(yaml.FormatError(err, false, true))
			}
			if c.Tool == "" {
				t.Error("no tool is named")
			}
			want := map[string][]string{}
			var files []string
			for _, f := range archive.Files {
				switch f.Name {
				case "bars", "refused", "notices", "rejects":
					want[f.Name] = sectionLines(f.Data)
				default:
					files = append(files, l.corpusFile(f, c.Encoding))
				}
			}
			l.runCase(c, files, want)
		})
	}
}

// corpusFile writes a file of a case: NAME.base64 is decoded, and with an
// encoding the text is written in that.
func (l *lab) corpusFile(f txtar.File, encoding string) string {
	l.Helper()
	name, data := f.Name, f.Data
	if plain, ok := strings.CutSuffix(name, ".base64"); ok {
		decoded, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(data)), ""))
		if err != nil {
			l.Fatal(name, err)
		}
		name, data = plain, decoded
	} else if encoding != "" {
		enc, err := htmlindex.Get(encoding)
		if err != nil {
			l.Fatal(encoding, err)
		}
		if data, err = enc.NewEncoder().Bytes(data); err != nil {
			l.Fatal(name, err)
		}
	}
	path := filepath.Join(l.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		l.Fatal(err)
	}
	return path
}

func (l *lab) runCase(c corpusCase, files []string, want map[string][]string) {
	l.Helper()
	r, err := Ingest(l.Context(), l.db, c.Ingest.request(files))
	if err == nil && c.Then != nil {
		r, err = Ingest(l.Context(), l.db, c.Then.request(files))
	}
	said := strings.Join(r.Notices, "\n")
	if err != nil {
		said = fmt.Sprintf("%v\nhint: %s", err, quant.HintOf(err))
	}
	if (err != nil) != (want["refused"] != nil) {
		l.Fatalf("refused: %v; said:\n%s", err != nil, said)
	}
	if err != nil && (quant.HintOf(err) == "" || quant.CodeOf(err) == quant.Failed) {
		l.Errorf("a refusal says what to do: %s (%s)", said, quant.CodeOf(err))
	}
	for _, part := range slices.Concat(want["refused"], want["notices"]) {
		if !strings.Contains(said, part) {
			l.Errorf("nothing says %q; said:\n%s", part, said)
		}
	}
	if err == nil && want["notices"] == nil && said != "" {
		l.Errorf("notices that the case does not expect:\n%s", said)
	}
	if got := l.list(corpusColumns); !slices.Equal(got, append([]string{}, want["bars"]...)) {
		l.Errorf("bars:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want["bars"], "\n"))
	}
	if err != nil {
		return
	}
	if r.RowsRejected != c.Rejects {
		l.Errorf("%d rows rejected, want %d: %v", r.RowsRejected, c.Rejects, r.Reasons)
	}
	if want["rejects"] != nil {
		l.want("rejects", strings.Join(l.rejects(), "\n"), strings.Join(want["rejects"], "\n"))
	}
	if c.Ignored != nil {
		l.want("ignored columns", r.Files[0].IgnoredColumns, c.Ignored)
	}
}

// corpusColumns are the bars as a case has them: the numbers as short as they
// can be, - for an adjusted close that is not there.
const corpusColumns = `SELECT replace(concat_ws(' ', symbol, ts, open, high, low, close, volume, coalesce(adjusted_close::VARCHAR, '-')) || ' ', '.0 ', ' ')[:-2] AS s FROM ohlcv ORDER BY symbol, ts`

// sectionLines are those of a section that say something.
func sectionLines(data []byte) []string {
	out := []string{}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}
