package chain

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"quant"
	play "quant/internal/curator/provider/alphavantage/alphavantagetest"
	"quant/internal/test/labtest"
)

// newMarket is a lab whose provider is a server of the test.
func newMarket(t *testing.T) (*labtest.Lab, *play.Server, quant.Date) {
	t.Helper()
	l := labtest.New(t)
	l.Env = []string{"ALPHA_VANTAGE_API_KEY=" + play.Key}
	return l, play.New(t), quant.NewDate(time.Now().UTC())
}

func provide(server *play.Server, more ...string) []string {
	return append([]string{"ingest", "--provider", "alphavantage", "--base-url", server.URL, "--retries", "0", "--per-minute", "0", "--no-cache"}, more...)
}

type seriesResult struct {
	Symbol    string
	Size      string
	Fetched   int64  `json:"rows_fetched"`
	Inserted  int64  `json:"rows_inserted"`
	Revised   int64  `json:"rows_revised"`
	Rescaled  int64  `json:"rows_rescaled"`
	Unchanged int64  `json:"rows_unchanged"`
	Error     string `json:"error"`
}

// series reads what an ingest printed with --output json.
func series(t *testing.T, r labtest.Result) []seriesResult {
	t.Helper()
	var doc struct {
		Provider string
		Series   []seriesResult
	}
	if err := json.Unmarshal([]byte(r.Stdout), &doc); err != nil || doc.Provider != "alphavantage" {
		t.Fatalf("%v: %v", err, r)
	}
	return doc.Series
}

// wantNowhere fails the test if a file of the lab, or what quant said, holds the
// text.
func wantNowhere(l *labtest.Lab, secret string) {
	l.T.Helper()
	labtest.Must(l.T, filepath.WalkDir(l.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err == nil && (bytes.Contains(content, []byte(secret)) || strings.Contains(path, secret)) {
			l.T.Errorf("%s holds the key", path)
		}
		return err
	}))
	if strings.Contains(l.Printed(), secret) {
		l.T.Error("quant said the key")
	}
}

func TestPricesOfAProviderAreKeptUpToDateAndEveryEarlierStateIsRead(t *testing.T) {
	t.Parallel()
	l, server, today := newMarket(t)
	server.PlayDays("AAPL", play.Weekdays(today-10, 300, 0.9))
	server.PlayDays("IBM", play.Weekdays(today-10, 300, 0.8))
	l.Must("symbols", "add", "IBM")
	l.Must("symbols", "add", "AAPL", "--priority", "5")
	l.Must("symbols", "add", "OLD")
	l.Must("symbols", "set", "OLD", "--active=false")

	got := series(t, l.Must(provide(server, "--output", "json")...))
	if len(got) != 2 || got[0].Symbol != "AAPL" || got[0].Inserted != 300 || got[1].Symbol != "IBM" {
		t.Fatalf("%+v", got)
	}
	first := l.RunOf("ingest").ID
	then := l.Must("data", "prices", "AAPL", "IBM", "--output", "csv").Stdout

	if got := series(t, l.Must(provide(server, "--output", "json")...)); got[0].Unchanged != 5 || got[0].Size != "compact" {
		t.Fatalf("%+v", got)
	}
	server.PlayDays("AAPL", play.Weekdays(today-1, 310, 0.45)) // a split
	revised := play.Weekdays(today-1, 307, 0.8)
	for i := range revised {
		if revised[i].Date == play.Weekdays(today-10, 300, 0.8)[298].Date {
			revised[i].Close *= 1.25
			revised[i].Adjusted *= 1.25
		}
	}
	server.PlayDays("IBM", revised)
	got = series(t, l.Must(provide(server, "--output", "json")...))
	if got[0].Size != "full" || got[0].Rescaled != 300 || got[0].Revised != 0 || got[1].Revised != 1 || got[1].Size != "compact" {
		t.Fatalf("%+v", got)
	}
	if now := l.Must("data", "prices", "AAPL", "IBM", "--output", "csv").Stdout; now == then {
		t.Fatal("the prices did not change")
	}
	if back := l.Must("data", "prices", "AAPL", "IBM", "--as-of", first, "--output", "csv").Stdout; back != then {
		t.Fatalf("as of the first run:\n%s\nwant\n%s", labtest.Clipped(back), labtest.Clipped(then))
	}
	if rows := l.FactRows("SELECT symbol, bars FROM ohlcv_revisions ORDER BY symbol"); !strings.Contains(rows, "300") || strings.Count(strings.TrimSpace(rows), "\n") > 2 {
		t.Errorf("revisions:\n%s", rows)
	}
	// Before the first price there was none.
	l.Want(4, "data", "prices", "AAPL", "--as-of", l.Runs()[0].ID)
	l.Must("doctor")
	l.WantAgreement()
	wantNowhere(l, play.Key)
}

func TestASymbolThatCannotBeHadIsNamedAndTheOthersAreIngested(t *testing.T) {
	t.Parallel()
	l, server, today := newMarket(t)
	server.PlayDays("A", play.Weekdays(today, 20, 1))
	server.Play("B", play.Status(503, ""))
	server.Play("C", play.Text(play.Information))
	r := l.Want(3, provide(server, "--symbols", "A,B,NONE,C,D", "--output", "json")...)
	got := series(t, r)
	for i, says := range []string{"", "503", "no such symbol NONE", "used up", "not asked for"} {
		if (says == "") != (got[i].Error == "") || !strings.Contains(got[i].Error, says) {
			t.Errorf("%s: %q", got[i].Symbol, got[i].Error)
		}
	}
	l.WantFail(l.LastRun(), 3, "4 of 5 symbols", "B: answered 503", "facts committed")
	if l.FactRows("SELECT DISTINCT symbol FROM ohlcv") == "" {
		t.Error("A was not ingested")
	}
	l.Want(7, provide(server, "--symbols", "B")...)
	l.WantFail(l.LastRun(), 7, "B: answered 503")
	l.Must("doctor")
	wantNowhere(l, play.Key)

	l.Want(2, provide(server, "prices.csv")...)
	l.Want(2, provide(server, "--symbols", "A B")...)
	l.Want(2, provide(server, "--symbols", "A", "--encoding", "cp949")...)
	l.Want(2, "ingest", "--full")
	l.Want(2, "ingest", "--provider", "nobody")
	l.Want(2, "ingest", "--provider", "alphavantage", "--base-url", "http://example.com")
	l.Env = nil
	if r := l.Want(2, provide(server, "--symbols", "A")...); !strings.Contains(r.Stderr, "ALPHA_VANTAGE_API_KEY") {
		t.Errorf("no hint: %v", r)
	}
	l.Env = []string{"ALPHA_VANTAGE_API_KEY=another-key"}
	l.Want(7, provide(server, "--symbols", "A")...)
	wantNowhere(l, "another-key")
}

func TestAnAnswerOfTodayIsNotAskedForAgain(t *testing.T) {
	t.Parallel()
	l, server, today := newMarket(t)
	server.PlayDays("A", play.Weekdays(today, 20, 1))
	cached := []string{"ingest", "--provider", "alphavantage", "--base-url", server.URL, "--symbols", "A", "--full"}
	l.Must(cached...)
	if r := l.Must(cached...); !strings.Contains(r.Stdout, "cached") {
		t.Errorf("%v", r)
	}
	if asked := server.Asked(); len(asked) != 1 {
		t.Errorf("asked %v", asked)
	}
	wantNowhere(l, play.Key)
}

func TestCtrlCEndsAnIngestFromAProviderAtOnce(t *testing.T) {
	t.Parallel()
	l, server, today := newMarket(t)
	server.PlayDays("A", play.Weekdays(today, 20, 1))
	waiting := make(chan struct{})
	server.Play("B", func(w http.ResponseWriter, r *http.Request) {
		close(waiting)
		play.Hang(w, r)
	})
	p := l.Start(nil, provide(server, "--symbols", "A,B,C")...)
	<-waiting
	begun := time.Now()
	p.Signal(syscall.SIGINT)
	l.WantCode(p.Wait(), 130)
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
	l.WantFail(l.LastRun(), 130, "SIGINT", "facts committed")
	l.Must("doctor")
	if rows := l.FactRows("SELECT count(*) FROM ohlcv"); !strings.Contains(rows, "20") {
		t.Errorf("bars: %s", rows)
	}
}

func TestAKilledIngestFromAProviderKeepsWhatItHadDone(t *testing.T) {
	t.Parallel()
	l, server, today := newMarket(t)
	server.PlayDays("A", play.Weekdays(today, 20, 1))
	waiting := make(chan struct{})
	server.Play("B", play.Then(func(w http.ResponseWriter, r *http.Request) {
		close(waiting)
		play.Hang(w, r)
	}, play.Text(play.Body("B", "full", play.Weekdays(today, 20, 1)))))
	p := l.Start(nil, provide(server, "--symbols", "A,B")...)
	<-waiting
	p.Signal(syscall.SIGKILL)
	p.Wait()
	got := series(t, l.Must(provide(server, "--symbols", "A,B", "--output", "json")...))
	if got[0].Unchanged != 5 || got[1].Inserted != 20 {
		t.Errorf("%+v", got)
	}
	l.Must("doctor")
	l.WantAgreement()
}
