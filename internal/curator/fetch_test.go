package curator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/curator/provider"
	"quant/internal/curator/provider/alphavantage"
	play "quant/internal/curator/provider/alphavantage/alphavantagetest"
	"quant/internal/factstore"
	"quant/internal/test/soak"
)

const today = quant.Date(20468) // Thursday 2026-01-15, as clock says

// market is a lab with a provider.
type market struct {
	*lab
	server *play.Server
	source provider.Provider
}

func newMarket(t *testing.T) *market {
	m := &market{lab: newLab(t), server: play.New(t)}
	client, err := alphavantage.New(alphavantage.Options{BaseURL: m.server.URL, Key: play.Key, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	m.source = provider.Redacted(client, play.Key)
	return m
}

func (m *market) fetch(change func(*FetchRequest), symbols ...string) (Report, []SeriesReport, error) {
	m.Helper()
	m.run++
	req := FetchRequest{
		RunID: fmt.Sprintf("run-%d", m.run), Provider: m.source, Symbols: symbols, Overlap: 5, MaxRejectRatio: 0.01, Now: clock,
		Facts: func(_ context.Context, use func(*factstore.DB) error) error { return use(m.db) },
	}
	if change != nil {
		change(&req)
	}
	return Fetch(m.Context(), req)
}

func (m *market) mustFetch(symbols ...string) SeriesReport {
	m.Helper()
	_, series, err := m.fetch(nil, symbols...)
	if err != nil {
		m.Fatalf("%v (hint: %s)", err, quant.HintOf(err))
	}
	return series[0]
}

func (m *market) wantAsked(requests ...string) {
	m.Helper()
	m.want("requests", m.server.Asked(), requests)
}

func counts(s SeriesReport) string {
	return fmt.Sprintf("%s fetched %d: +%d ~%d x%d =%d !%d", s.Size, s.Fetched, s.Inserted, s.Revised, s.Rescaled, s.Unchanged, s.Rejected)
}

func TestAFetchTakesOnlyWhatIsNewAndAnOverlap(t *testing.T) {
	m := newMarket(t)
	m.server.PlayDays("A", play.Weekdays(today-1, 400, 0.9))
	m.want("first", counts(m.mustFetch("A")), "full fetched 400: +400 ~0 x0 =0 !0")
	m.want("again", counts(m.mustFetch("A")), "compact fetched 100: +0 ~0 x0 =5 !0")
	m.server.PlayDays("A", play.Weekdays(today, 401, 0.9))
	m.want("a day later", counts(m.mustFetch("A")), "compact fetched 100: +1 ~0 x0 =5 !0")
	days := play.Weekdays(today, 401, 0.9)
	days[400].Close, days[400].Adjusted = days[400].Close+2, (days[400].Close+2)*0.9
	days[10].Close++ // before the overlap
	m.server.PlayDays("A", days)
	m.want("revised", counts(m.mustFetch("A")), "compact fetched 100: +0 ~1 x0 =4 !0")
	m.wantAsked("A full", "A compact", "A compact", "A compact")
	_, series, err := m.fetch(func(r *FetchRequest) { r.Full = true }, "A")
	m.want("full", fmt.Sprint(counts(series[0]), err), "full fetched 401: +0 ~1 x0 =400 !0<nil>")
	m.want("old rows", m.list("SELECT concat_ws('|', symbol, run_id, bars, factor IS NULL) AS s FROM ohlcv_revisions ORDER BY replaced_at"), []string{"A|run-4|1|true", "A|run-5|1|true"})
	m.want("sources", m.list("SELECT DISTINCT source FROM ohlcv"), []string{"alphavantage"})
	_, series, err = m.fetch(func(r *FetchRequest) { r.Overlap = 0 }, "A")
	m.want("no overlap", fmt.Sprint(counts(series[0]), err), "compact fetched 100: +0 ~0 x0 =0 !0<nil>")
}

func TestARescaledHistoryIsFetchedWholeInTheSameRun(t *testing.T) {
	m := newMarket(t)
	m.server.PlayDays("A", play.Weekdays(today-1, 400, 1))
	m.mustFetch("A")
	m.server.PlayDays("A", play.Weekdays(today, 401, 0.25))
	m.want("after a split", counts(m.mustFetch("A")), "full fetched 401: +1 ~0 x400 =0 !0")
	m.wantAsked("A full", "A compact", "A full")
	m.want("kept", m.list("SELECT concat_ws('|', symbol, run_id, bars, round(factor, 3)) AS s FROM ohlcv_revisions"), []string{"A|run-2|400|4.0"})
	// Rounding alone is no rescaling.
	days := play.Weekdays(today, 401, 0.25)
	days[399].Adjusted += 0.0001
	m.server.PlayDays("A", days)
	m.want("rounding", counts(m.mustFetch("A")), "compact fetched 100: +0 ~1 x0 =4 !0")
}

func TestAHistoryThatCannotBeRescaledWholeStaysAsItWas(t *testing.T) {
	m := newMarket(t)
	m.server.PlayDays("A", play.Weekdays(today-1, 400, 1))
	m.server.PlayDays("B", play.Weekdays(today-1, 10, 1))
	m.mustFetch("A")
	before := m.bars()
	m.server.PlayDays("A", play.Weekdays(today, 350, 0.5)) // its first days are gone
	r, series, err := m.fetch(nil, "A", "B")
	if quant.CodeOf(err) != quant.Partial || !strings.Contains(err.Error(), "1 of 2 symbols") || !strings.Contains(string(series[0].Error), "lacks 51 of 400 stored days") {
		t.Errorf("%v: %s", err, series[0].Error)
	}
	m.want("bars of A", m.list(strings.Replace(barColumns, "ORDER", "WHERE symbol = 'A' ORDER", 1)), before)
	m.want("report", fmt.Sprint(counts(series[1]), r.RowsInserted, r.Symbols), "full fetched 10: +10 ~0 x0 =0 !010 [B]")
	// So does one whose whole history cannot be had.
	m.server.Play("A", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("outputsize") == "full" {
			play.Text(play.Premium)(w, r)
			return
		}
		play.Text(play.Body("A", "compact", play.Weekdays(today, 401, 0.5)))(w, r)
	})
	_, series, err = m.fetch(nil, "A")
	if quant.CodeOf(err) != quant.Provider || !strings.Contains(string(series[0].Error), "rescaled its history") || !strings.Contains(string(series[0].Error), "could not be had") {
		t.Errorf("%v", err)
	}
	// It alone: what could be had and was not taken is not what a provider did
	// not deliver.
	m.server.PlayDays("A", play.Weekdays(today, 350, 0.5))
	if _, _, err = m.fetch(nil, "A"); quant.CodeOf(err) != quant.Partial {
		t.Errorf("%v", err)
	}
	m.want("bars of A", m.list(strings.Replace(barColumns, "ORDER", "WHERE symbol = 'A' ORDER", 1)), before)
}

// Without an overlap the new days alone show the step.
func TestARescaledHistoryIsFetchedWholeWithoutAnOverlapToo(t *testing.T) {
	m := newMarket(t)
	m.server.PlayDays("A", play.Weekdays(today-1, 400, 1))
	m.mustFetch("A")
	m.server.PlayDays("A", play.Weekdays(today, 401, 0.5))
	_, series, err := m.fetch(func(r *FetchRequest) { r.Overlap = 0 }, "A")
	m.want("after a split", fmt.Sprint(counts(series[0]), err), "full fetched 401: +1 ~0 x400 =0 !0<nil>")
}

// A split may move the close and the adjusted close alike, so that their ratio
// says nothing.
func TestASplitThatMovesEveryPriceIsFetchedWholeToo(t *testing.T) {
	split := func(days []play.Day) []play.Day {
		for i := range days {
			days[i].Close, days[i].Adjusted = days[i].Close/4, days[i].Adjusted/4
		}
		return days
	}
	m := newMarket(t)
	m.server.PlayDays("A", play.Weekdays(today-1, 400, 1))
	m.mustFetch("A")
	m.server.PlayDays("A", split(play.Weekdays(today, 401, 1)))
	m.want("after a split", counts(m.mustFetch("A")), "full fetched 401: +1 ~400 x0 =0 !0")
	m.wantAsked("A full", "A compact", "A full")
	m.want("the largest return", m.list("SELECT (max(abs(r)) < 0.1)::VARCHAR AS s FROM (SELECT close / lag(close) OVER (ORDER BY ts) - 1 AS r FROM ohlcv)"), []string{"true"})
	before := m.bars()
	m.server.PlayDays("A", split(split(play.Weekdays(today, 380, 1))))
	_, series, err := m.fetch(nil, "A")
	if quant.CodeOf(err) != quant.Partial || !strings.Contains(string(series[0].Error), "the close is x 0.25") {
		t.Errorf("%v", err)
	}
	m.want("bars", m.bars(), before)
}

func TestALongGapIsFetchedWhole(t *testing.T) {
	m := newMarket(t)
	m.server.PlayDays("A", play.Weekdays(today-200, 50, 1))
	m.mustFetch("A")
	m.server.PlayDays("A", play.Weekdays(today, 300, 1))
	m.want("after 200 days", counts(m.mustFetch("A")), "full fetched 300: +250 ~0 x0 =50 !0")
	m.wantAsked("A full", "A full")
}

func TestOneSymbolThatFailsDoesNotStopTheOthers(t *testing.T) {
	m := newMarket(t)
	whole := play.Body("X", "full", play.Weekdays(today, 10, 1))
	for symbol, answer := range map[string]http.HandlerFunc{
		"S500": play.Status(500, ""), "S429": play.Status(429, "1"), "CUT": play.Cut(whole), "BAD": play.Text("{"), "NONE": play.Text(play.Empty), "NOTE": play.Text(play.Note), "OTHER": play.Text(whole),
	} {
		m.server.Play(symbol, answer)
	}
	m.server.PlayDays("A", play.Weekdays(today, 10, 1))
	m.server.PlayDays("Z", play.Weekdays(today, 10, 1))
	var committed []string
	_, series, err := m.fetch(func(r *FetchRequest) {
		r.BeforeCommit = func(_ context.Context, symbols []string) error {
			committed = append(committed, symbols...)
			return nil
		}
	}, "A", "S500", "S429", "CUT", "BAD", "NONE", "NOTE", "OTHER", "UNKNOWN", "A", "Z")
	if quant.CodeOf(err) != quant.Partial || !strings.Contains(err.Error(), "8 of 10 symbols") || !strings.Contains(err.Error(), "S500: answered 500") || strings.Contains(err.Error(), play.Key) {
		t.Errorf("%v", err)
	}
	for _, s := range series {
		if (s.Error == "") != (s.Symbol == "A" || s.Symbol == "Z") {
			t.Errorf("%s: %q", s.Symbol, s.Error)
		}
	}
	m.want("committed", committed, []string{"A", "Z"})
	m.want("symbols", m.list("SELECT symbol FROM ohlcv GROUP BY symbol ORDER BY symbol"), []string{"A", "Z"})
	m.want("ledger", m.list("SELECT concat_ws('|', run_id, table_name, rows_inserted) AS s FROM ledger"), []string{"run-1|ohlcv|10", "run-1|ohlcv|10"})
	if _, _, err := m.fetch(nil, "S500", "UNKNOWN"); quant.CodeOf(err) != quant.Provider {
		t.Errorf("none could be had: %v", err)
	}
}

func TestNobodyIsAskedOnceNothingCanBeHad(t *testing.T) {
	m := newMarket(t)
	m.server.PlayDays("A", play.Weekdays(today, 10, 1))
	m.server.Play("B", play.Text(play.Information))
	m.server.PlayDays("C", play.Weekdays(today, 10, 1))
	_, series, err := m.fetch(nil, "A", "B", "C", "D")
	if quant.CodeOf(err) != quant.Partial || !strings.Contains(string(series[3].Error), "not asked for") || strings.Contains(err.Error(), play.Key) || !strings.Contains(err.Error(), "***") {
		t.Errorf("%v: %+v", err, series)
	}
	m.wantAsked("A full", "B full")
}

func TestTheGateLooksAtAProvidersBarsToo(t *testing.T) {
	m := newMarket(t)
	bad := play.Weekdays(today, 10, 1)
	m.server.Play("A", play.Text(strings.Replace(play.Body("A", "full", bad), `"6. volume": "1020468"`, `"6. volume": "many"`, 1)))
	m.server.PlayDays("B", bad)
	_, series, err := m.fetch(nil, "A", "B")
	if quant.CodeOf(err) != quant.Partial || !strings.Contains(err.Error(), "1 of 10 rows rejected") || series[0].Rejected != 1 {
		t.Errorf("%v", err)
	}
	m.want("rejects", m.list("SELECT concat_ws('|', line, reason, source, run_id, row_text LIKE '%many%') AS s FROM rejects"), []string{"1|volume is not a number|alphavantage|run-1|true"})
	r, series, err := m.fetch(func(r *FetchRequest) { r.MaxRejectRatio = 0.2 }, "A")
	m.want("let in", fmt.Sprint(counts(series[0]), err, r.Reasons[0].Rows), "full fetched 10: +9 ~0 x0 =0 !1<nil> 1")
}

func TestOneBadDayAmongManyDoesNotHoldUpTheNewOnes(t *testing.T) {
	m := newMarket(t)
	m.server.PlayDays("A", play.Weekdays(today-1, 200, 1))
	m.mustFetch("A")
	m.server.Play("A", play.Text(strings.Replace(play.Body("A", "compact", play.Weekdays(today, 201, 1)), `"6. volume": "1020467"`, `"6. volume": "-1"`, 1)))
	m.want("one of a hundred", counts(m.mustFetch("A")), "compact fetched 100: +1 ~0 x0 =4 !1")
}

func TestTheEndOfTheContextKeepsWhatIsCommitted(t *testing.T) {
	m := newMarket(t)
	stop := quant.Signalled{Number: 2, Name: "SIGINT"}
	ctx, cancel := context.WithCancelCause(t.Context())
	m.server.PlayDays("A", play.Weekdays(today, 10, 1))
	m.server.Play("B", func(w http.ResponseWriter, r *http.Request) {
		cancel(stop)
		play.Hang(w, r)
	})
	req := FetchRequest{RunID: "r", Provider: m.source, Symbols: []string{"A", "B", "C"}, MaxRejectRatio: 1, Now: clock,
		Facts: func(_ context.Context, use func(*factstore.DB) error) error { return use(m.db) }}
	r, series, err := Fetch(ctx, req)
	if !errors.Is(err, stop) || !strings.Contains(err.Error(), "after 1 of 3") || len(series) != 2 || r.RowsInserted != 10 {
		t.Errorf("%v, %d series, %d rows", err, len(series), r.RowsInserted)
	}
	m.want("bars", len(m.bars()), 10)
}

func TestAFactDBThatCannotBeWrittenEndsAFetch(t *testing.T) {
	m := newMarket(t)
	m.server.PlayDays("A", play.Weekdays(today, 10, 1))
	opened := 0
	locked := quant.Errorf(quant.Locked, "held")
	_, _, err := m.fetch(func(r *FetchRequest) {
		r.Facts = func(_ context.Context, use func(*factstore.DB) error) error {
			if opened++; opened == 2 {
				return locked
			}
			return use(m.db)
		}
	}, "A", "B")
	if !errors.Is(err, quant.Locked) || slices.Contains(m.server.Asked(), "B full") {
		t.Errorf("%v", err)
	}
}

func TestAProviderAndAFileWithTheSameBarsAgree(t *testing.T) {
	m := newMarket(t)
	days := play.Weekdays(today, 30, 0.5)
	m.server.PlayDays("A", days)
	m.mustFetch("A")
	var csv strings.Builder
	csv.WriteString("symbol,date,open,high,low,close,volume,adjusted_close\n")
	for _, d := range days {
		fmt.Fprintf(&csv, "A,%s,%.4f,%.4f,%.4f,%.4f,%d,%.4f\n", d.Date, d.Close*1.001, d.Close*1.02, d.Close*0.98, d.Close, 1000000+int64(d.Date), d.Adjusted)
	}
	r := m.mustIngest(nil, m.file("a.csv", csv.String()))
	m.want("unchanged", fmt.Sprint(r.RowsInserted, r.RowsUpdated, r.RowsUnchanged), "0 0 30")
}

// TestAStoredHistoryFollowsItsProvider lets a provider add days, revise some and
// rescale its history at random. After each fetch the stored bars are the
// provider's, and in the end every state in between can still be read.
func TestAStoredHistoryFollowsItsProvider(t *testing.T) {
	m := newMarket(t)
	rounds := soak.Count(t, 12, 150)
	rng := soak.Random(t)
	const all = 600
	truth, n := play.Weekdays(today, all, 1), 300
	scale := 1.0
	type state struct {
		at   time.Time
		bars []string
	}
	var states []state
	for round := range rounds {
		if n < all {
			n += rng.IntN(3)
		}
		if rng.IntN(3) == 0 {
			scale *= []float64{0.5, 0.995, 2, 0.98}[rng.IntN(4)]
		}
		if rng.IntN(3) == 0 { // the last five that are stored are looked at again
			day := &truth[n-1-rng.IntN(3)]
			day.Close = float64(int(day.Close*1e4*1.01)) / 1e4
		}
		days := slices.Clone(truth[:n])
		for i := range days {
			days[i].Adjusted = days[i].Close * scale
		}
		m.server.PlayDays("A", days)
		s := m.mustFetch("A")
		var want []string
		for _, d := range days {
			want = append(want, fmt.Sprintf("%s %.4f %.4f", d.Date, d.Close, d.Adjusted))
		}
		got := m.list("SELECT printf('%s %.4f %.4f', ts, close, adjusted_close) AS s FROM ohlcv ORDER BY ts")
		if !slices.Equal(got, want) {
			t.Fatalf("round %d, %s: stored are %d bars that are not the provider's %d", round, counts(s), len(got), len(want))
		}
		at, err := m.db.PricesAt(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		states = append(states, state{at, m.bars()})
	}
	for _, s := range states {
		table, err := m.db.StageAsOf(t.Context(), s.at)
		if err != nil {
			t.Fatal(err)
		}
		m.want("bars as of "+s.at.String(), m.list(strings.Replace(barColumns, "FROM ohlcv", "FROM "+table, 1)), s.bars)
	}
}
