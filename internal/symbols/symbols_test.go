package symbols_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/encoding/korean"

	"quant"
	"quant/internal/metastore"
	"quant/internal/pipeline"
	"quant/internal/session/sessiontest"
	"quant/internal/symbols"
)

func list(t *testing.T, s *sessiontest.Session) []quant.Symbol {
	t.Helper()
	found, err := s.Meta.ListSymbols(t.Context(), metastore.SymbolFilter{})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestSymbolsAreAddedAllOrNone(t *testing.T) {
	t.Parallel()
	s := sessiontest.Begin(t)
	usd, krw := "USD", "KRW"
	done, err := symbols.Add(t.Context(), s.Session, []string{"A", "B", "A"}, symbols.Attributes{Currency: &usd})
	if err != nil || !slices.Equal(done.Added, []string{"A", "B"}) || !slices.Equal(done.Unchanged, []string{"A"}) {
		t.Fatalf("%+v, %v", done, err)
	}
	if done, err := symbols.Add(t.Context(), s.Session, []string{"B"}, symbols.Attributes{}); err != nil || !slices.Equal(done.Unchanged, []string{"B"}) {
		t.Errorf("again: %+v, %v", done, err)
	}
	if done, err := symbols.Add(t.Context(), s.Session, []string{"C", "A"}, symbols.Attributes{Currency: &krw}); !errors.Is(err, quant.Conflict) || done != nil {
		t.Errorf("another currency: %+v, %v", done, err)
	}
	if _, err := symbols.Add(t.Context(), s.Session, []string{"D", "no symbol"}, symbols.Attributes{}); !errors.Is(err, quant.Invalid) && !errors.Is(err, quant.Usage) {
		t.Errorf("no symbol: %v", err)
	}
	if found := list(t, s); len(found) != 2 || found[0].Currency != "USD" || !found[0].IsActive {
		t.Errorf("there are %+v", found)
	}
	if err := s.End(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if out := s.Recorded(s.RunID()).Names(quant.Out); !slices.Equal(out, []string{"meta symbols"}) {
		t.Errorf("recorded %q", out)
	}
}

func TestOnlyWhatIsSetIsChanged(t *testing.T) {
	t.Parallel()
	s := sessiontest.Begin(t)
	name, nothing, priority, no := "Alpha", "", int64(3), false
	if _, err := symbols.Add(t.Context(), s.Session, []string{"A"}, symbols.Attributes{Name: &name, Sector: &name}); err != nil {
		t.Fatal(err)
	}
	done, err := symbols.Set(t.Context(), s.Session, "A", symbols.Attributes{Sector: &nothing, Priority: &priority, Active: &no})
	if err != nil || !slices.Equal(done.Updated, []string{"A"}) {
		t.Errorf("%+v, %v", done, err)
	}
	if found := list(t, s)[0]; found != (quant.Symbol{Symbol: "A", Name: "Alpha", Priority: 3}) {
		t.Errorf("it is %+v", found)
	}
	if done, err := symbols.Set(t.Context(), s.Session, "A", symbols.Attributes{Active: &no}); err != nil || !slices.Equal(done.Unchanged, []string{"A"}) {
		t.Errorf("the same again: %+v, %v", done, err)
	}
	if _, err := symbols.Set(t.Context(), s.Session, "a", symbols.Attributes{Active: &no}); !errors.Is(err, quant.NotFound) {
		t.Errorf("another case: %v", err)
	}
}

func TestASymbolWithFactsIsRemovedByForceOnly(t *testing.T) {
	t.Parallel()
	s := sessiontest.Begin(t)
	file := s.Write("prices.csv", "date,symbol,open,high,low,close,volume\n2024-01-02,A,1,1,1,1,1\n")
	if _, err := pipeline.Ingest(t.Context(), s.Session, pipeline.IngestOptions{Files: []string{file}}); err != nil {
		t.Fatal(err)
	}
	if _, err := symbols.Add(t.Context(), s.Session, []string{"B", "C"}, symbols.Attributes{}); err != nil {
		t.Fatal(err)
	}
	if _, err := symbols.Remove(t.Context(), s.Session, []string{"B", "A"}, false); !errors.Is(err, quant.Refused) || !strings.Contains(err.Error(), "1 rows in ohlcv") {
		t.Errorf("with facts: %v", err)
	}
	if _, err := symbols.Remove(t.Context(), s.Session, []string{"B", "Z"}, true); !errors.Is(err, quant.NotFound) {
		t.Errorf("one that is not there: %v", err)
	}
	if done, err := symbols.Remove(t.Context(), s.Session, []string{"B", "B"}, false); err != nil || !slices.Equal(done.Removed, []string{"B"}) {
		t.Errorf("without facts: %+v, %v", done, err)
	}
	if done, err := symbols.Remove(t.Context(), s.Session, []string{"A"}, true); err != nil || !slices.Equal(done.Removed, []string{"A"}) {
		t.Errorf("by force: %+v, %v", done, err)
	}
	if found := list(t, s); len(found) != 1 || found[0].Symbol != "C" {
		t.Errorf("there are %+v", found)
	}
}

const mixed = "\ufeffTicker,종목명,Priority,active\n" +
	"A,Alpha,1,true\n" +
	"B, Beta ,,\n" +
	"no symbol,x,1,true\n" +
	"A,again,1,true\n" +
	"C,few\n" +
	"D,x,many,true\n" +
	"E,\"a\"b,1,true\n"

func TestGoodLinesOfAFileAreKeptAndBadOnesNamed(t *testing.T) {
	t.Parallel()
	s := sessiontest.Begin(t)
	no, name := false, "old"
	if _, err := symbols.Add(t.Context(), s.Session, []string{"B"}, symbols.Attributes{Name: &name, Sector: &name, Active: &no}); err != nil {
		t.Fatal(err)
	}
	f, err := symbols.Read("-", strings.NewReader(mixed), "utf-8")
	if err != nil {
		t.Fatal(err)
	}
	if done, err := symbols.Import(t.Context(), s.Session, f, true); !errors.Is(err, quant.Refused) || done != nil || !strings.Contains(err.Error(), "5 of 7 lines are bad") {
		t.Errorf("strictly: %+v, %v", done, err)
	}
	if len(list(t, s)) != 1 {
		t.Error("something was imported all the same")
	}
	done, err := symbols.Import(t.Context(), s.Session, f, false)
	if !errors.Is(err, quant.Partial) || !slices.Equal(done.Added, []string{"A"}) || !slices.Equal(done.Updated, []string{"B"}) {
		t.Fatalf("%+v, %v", done, err)
	}
	var lines []int
	for _, bad := range done.Bad {
		lines = append(lines, bad.Line)
	}
	if !slices.Equal(lines, []int{4, 5, 6, 7, 8}) {
		t.Errorf("bad are %+v", done.Bad)
	}
	found := list(t, s)
	if want := (quant.Symbol{Symbol: "A", Name: "Alpha", Priority: 1, IsActive: true}); found[0] != want {
		t.Errorf("%+v, want %+v", found[0], want)
	}
	// An empty priority and active keep what is there; a column that is missing, too.
	if want := (quant.Symbol{Symbol: "B", Name: "Beta", Sector: "old"}); found[1] != want {
		t.Errorf("%+v, want %+v", found[1], want)
	}
	if !s.Heard.Has("- line 5: symbol A stands in line 2 already") {
		t.Errorf("it said %q", s.Heard.All())
	}
}

func TestASymbolFileIsReadInItsEncodingAndRecorded(t *testing.T) {
	t.Parallel()
	s := sessiontest.Begin(t)
	text, err := korean.EUCKR.NewEncoder().String("종목코드,종목명\n005930,삼성전자\n")
	if err != nil {
		t.Fatal(err)
	}
	path := s.Write("krx.csv", text)
	f, err := symbols.ReadFile(path, "cp949")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := symbols.Import(t.Context(), s.Session, f, true); err != nil {
		t.Fatal(err)
	}
	if found := list(t, s); len(found) != 1 || found[0].Symbol != "005930" || found[0].Name != "삼성전자" {
		t.Errorf("there are %+v", found)
	}
	if err := s.End(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	run := s.Recorded(s.RunID())
	if in := run.Names(quant.In); !slices.Equal(in, []string{"file " + path}) || !strings.HasPrefix(string(run.IO[0].Digest), "sha256:") {
		t.Errorf("recorded %+v", run.IO)
	}
}

func TestAFileThatCannotBeUsedIsRefusedWhole(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty": "", "no symbol": "name,sector\nx,y\n", "twice": "symbol,ticker\nA,B\n", "unknown": "symbol,colour\nA,red\n", "not UTF-8": "symbol,\xff\nA,x\n",
	} {
		if f, err := symbols.Read(name, strings.NewReader(text), "utf-8"); !errors.Is(err, quant.Invalid) || f != nil {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
	dir := t.TempDir()
	if _, err := symbols.ReadFile(dir, "utf-8"); !errors.Is(err, quant.Invalid) {
		t.Errorf("a folder: %v", err)
	}
	if _, err := symbols.ReadFile(filepath.Join(dir, "none.csv"), "utf-8"); !errors.Is(err, quant.NotFound) {
		t.Errorf("a missing file: %v", err)
	}
	path := filepath.Join(dir, "s.csv")
	if err := os.WriteFile(path, []byte("symbol\nA\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := symbols.ReadFile(path, "latin1"); !errors.Is(err, quant.Usage) {
		t.Errorf("another encoding: %v", err)
	}
}

// Whatever a file holds: it is read or refused, each line counts once, and a good
// one names a symbol.
func FuzzRead(f *testing.F) {
	f.Add(mixed, "utf-8")
	f.Add("symbol,name\nA,\xb0\xa1\n", "cp949")
	f.Add("symbol\r\n\"A\n", "utf-8")
	f.Fuzz(func(t *testing.T, text, charset string) {
		file, err := symbols.Read("f", strings.NewReader(text), charset)
		if (file == nil) == (err == nil) {
			t.Fatalf("%+v, %v", file, err)
		}
		if err != nil {
			if code := quant.CodeOf(err); code != quant.Invalid && code != quant.Usage && code != quant.Failed {
				t.Fatalf("%v: %v", code, err)
			}
			return
		}
		for i, bad := range file.Bad {
			if bad.Line < 2 || bad.Reason == "" || i > 0 && bad.Line < file.Bad[i-1].Line {
				t.Fatalf("bad lines %+v", file.Bad)
			}
		}
	})
}
