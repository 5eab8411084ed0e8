package research

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2" // reads the Parquet file that is downloaded

	"quant/internal/factstore"
	"quant/internal/test/labtest"
)

// Every page of facts shows the figures that the command prints with --output json.
func TestPagesShowWhatCommandsPrint(t *testing.T) {
	l := demo(t)
	l.Must("experiments", "create", "mom", "--features", "ret_20d@v1,vol_20d@v1", "--label", "fwd_ret_60d@v1")
	l.Must("train", "--experiment", "mom")
	s := serve(l)

	t.Run("backtests", func(t *testing.T) {
		list := printed[[]struct {
			RunID     string   `json:"run_id"`
			CAGR      *float64 `json:"cagr"`
			Vol       *float64 `json:"vol"`
			Sharpe    *float64 `json:"sharpe"`
			MaxDD     *float64 `json:"max_dd"`
			Turnover  *float64 `json:"turnover"`
			NumTrades int64    `json:"num_trades"`
		}](l, "backtest", "list")
		if len(list) == 0 {
			t.Fatal("the demo has no backtest")
		}
		b := list[0]
		r := s.wants("/backtests", http.StatusOK).row(t, b.RunID[len(b.RunID)-8:])
		for i, want := range []string{percent(b.CAGR), percent(b.Vol), figure(b.Sharpe), percent(b.MaxDD), percent(b.Turnover), grouped(b.NumTrades)} {
			same(t, fmt.Sprintf("column %d", 7+i), r[7+i], want)
		}
		sheet := s.wants("/backtests/"+b.RunID, http.StatusOK, "sessions shown", "Monthly returns", "optimistic fill")
		same(t, "CAGR", sheet.row(t, "CAGR")[1], percent(b.CAGR))
		same(t, "Sharpe", sheet.row(t, "Sharpe")[1], figure(b.Sharpe))
		same(t, "max drawdown", sheet.row(t, "max drawdown")[1], percent(b.MaxDD))
		report := printed[struct {
			Deflated struct {
				Trials int64    `json:"trials"`
				PSR    *float64 `json:"psr"`
				DSR    *float64 `json:"dsr"`
			} `json:"deflated"`
		}](l, "backtest", "report", b.RunID)
		same(t, "trials", sheet.row(t, "trials")[1], grouped(report.Deflated.Trials)) // the first row of that name: the measured trades have another
		same(t, "PSR", sheet.row(t, "probabilistic Sharpe")[1], percent(report.Deflated.PSR))
		same(t, "DSR", sheet.row(t, "deflated Sharpe")[1], percent(report.Deflated.DSR))
		var drawn struct {
			X     []float64 `json:"x"`
			Lines []struct {
				Y []*float64 `json:"y"`
			} `json:"lines"`
		}
		sheet.attribute(t, "data-plot", &drawn)
		equity := printed[[]struct {
			First float64 `json:"first"`
			Last  float64 `json:"last"`
			Low   float64 `json:"low"`
			High  float64 `json:"high"`
		}](l, "sql", "SELECT arg_min(equity, ts) AS first, arg_max(equity, ts) AS last, min(equity) AS low, max(equity) AS high FROM backtest_equity WHERE run_id = '"+b.RunID+"'")[0]
		low, high := math.Inf(1), math.Inf(-1)
		for _, y := range drawn.Lines[0].Y {
			low, high = min(low, *y), max(high, *y)
		}
		n := len(drawn.X)
		for what, pair := range map[string][2]float64{
			"first": {*drawn.Lines[0].Y[0], equity.First}, "last": {*drawn.Lines[0].Y[n-1], equity.Last}, "lowest": {low, equity.Low}, "highest": {high, equity.High},
		} {
			if math.Abs(pair[0]/pair[1]-1) > 1e-5 {
				t.Errorf("the %s equity drawn is %v, stored %v", what, pair[0], pair[1])
			}
		}
		if n > 600 {
			t.Errorf("%d points are drawn", n)
		}
		// Months of a year multiply to the year.
		s.wants(query("/backtests/"+b.RunID, "from", "2008-01-01", "to", "2008-12-31", "symbol", "AAPL", "benchmark", "IBM"), http.StatusOK, "Trades on the price of AAPL", "IBM, rebased", "253 sessions")
		trades := printed[[]struct {
			N int64 `json:"n"`
		}](l, "sql", "SELECT count(*) AS n FROM backtest_trades WHERE symbol = 'IBM' AND run_id = '"+b.RunID+"'")[0].N
		s.wants("/backtests/"+b.RunID+"/trades?symbol=IBM", http.StatusOK, "of "+grouped(trades)+" trades")
		s.wants("/backtests/"+b.RunID+"?order=wrong", http.StatusBadRequest, "not sorted by")
		s.wants("/backtests?sort=-wrong", http.StatusBadRequest, "not sorted by")
		s.wants("/backtests/"+b.RunID+"?from=yesterday", http.StatusBadRequest, "2024-01-31")
	})

	t.Run("strategies", func(t *testing.T) {
		sums := printed[[]struct {
			N        int64    `json:"n"`
			Turnover *float64 `json:"turnover"`
			Last     string   `json:"last"`
		}](l, "sql", `SELECT count(*) AS n, avg(turnover) AS turnover, max("asof") AS last FROM target_sets`)[0]
		r := s.wants("/strategies", http.StatusOK).row(t, "momentum_demo")
		same(t, "decisions", r[2], grouped(sums.N))
		same(t, "turnover", r[6], percent(sums.Turnover))
		one := s.wants("/strategies/momentum_demo", http.StatusOK, sums.Last)
		for _, target := range printed[[]struct {
			Symbol string   `json:"symbol"`
			Weight *float64 `json:"weight"`
			Score  *float64 `json:"score"`
			Reason string   `json:"reason"`
		}](l, "sql", `SELECT symbol, weight, score, reason FROM targets WHERE "asof" = '`+sums.Last+`'`) {
			r := one.row(t, target.Symbol)
			same(t, target.Symbol+" score", r[2], figure(target.Score))
			same(t, target.Symbol+" weight", r[4], percent(target.Weight))
			same(t, target.Symbol+" reason", r[7], target.Reason)
		}
		s.wants("/strategies/momentum_demo?asof=2001-01-05", http.StatusOK, "Starts from cash")
		s.wants("/strategies/momentum_demo?asof=2001-01-06", http.StatusNotFound, "no decision of 2001-01-06")
		s.wants("/strategies/none", http.StatusNotFound, "has no decisions")
	})

	t.Run("factors", func(t *testing.T) {
		report := printed[struct {
			Pairs  int64 `json:"pairs"`
			RankIC struct {
				Mean *float64 `json:"mean"`
				ICIR *float64 `json:"icir"`
			} `json:"rank_ic"`
			Quantiles []struct {
				Quantile int      `json:"quantile"`
				Mean     *float64 `json:"mean"`
			} `json:"quantiles"`
		}](l, "factor", "report", "--feature", "ret_20d", "--label", "fwd_ret_60d")
		p := s.wants(query("/factors/report", "feature", "ret_20d@v1", "label", "fwd_ret_60d@v1"), http.StatusOK, grouped(report.Pairs)+" pairs")
		r := p.row(t, "RankIC")
		same(t, "RankIC", r[2], figure(report.RankIC.Mean))
		same(t, "ICIR", r[4], figure(report.RankIC.ICIR))
		for _, q := range report.Quantiles {
			same(t, "quantile", p.row(t, fmt.Sprint(q.Quantile))[1], figure(q.Mean))
		}
		s.wants("/factors", http.StatusOK, "<option>ret_20d@v1</option>", "<option>fwd_ret_60d@v1</option>")
		s.wants(query("/factors/report", "feature", "macd@v2", "label", "fwd_ret_60d@v1"), http.StatusUnprocessableEntity, "in units of price, which a split rescales")
	})

	t.Run("models", func(t *testing.T) {
		model := printed[[]struct {
			ID      string `json:"model_id"`
			Metrics struct {
				Folds []struct {
					TaskID  string   `json:"task_id"`
					Samples int64    `json:"samples"`
					RMSE    *float64 `json:"rmse"`
					Base    *float64 `json:"baseline_rmse"`
				} `json:"folds"`
			} `json:"metrics_json"`
		}](l, "models", "list")[0]
		s.wants("/models", http.StatusOK, model.ID)
		p := s.wants("/models/"+model.ID, http.StatusOK, "was read and verified", "/runs/")
		if len(model.Metrics.Folds) != 5 {
			t.Fatalf("%d folds", len(model.Metrics.Folds))
		}
		for _, f := range model.Metrics.Folds {
			r := p.row(t, f.TaskID)
			same(t, "samples", r[3], grouped(f.Samples))
			same(t, "rmse", r[9], figure(f.RMSE))
			same(t, "baseline", r[10], figure(f.Base))
		}
		s.wants("/models/none", http.StatusNotFound, "no model")

		// A model that another program made, and one that combinations of groups judge.
		l.Write("outside.csv", []byte("symbol,ts,score\nIBM,2012-06-04,0.5\nAAPL,2012-06-04,0.25\n"))
		l.Must("predictions", "import", "outside.csv", "--model", "outside")
		outside := s.wants("/models/outside", http.StatusOK, "Predictions of another program, known at: as stated by its source", "imported in run")
		if strings.Contains(outside.text, "was read and verified") || strings.Contains(outside.text, "Coefficients") {
			t.Errorf("imported predictions have a file or coefficients: %s", outside.text)
		}
		experiment := printed[[]struct {
			ID string `json:"experiment_id"`
		}](l, "experiments", "list")[0].ID
		judged := printed[struct {
			ID string `json:"model_id"`
		}](l, "train", "--experiment", experiment, "--validation", "cpcv", "--groups", "4", "--test-groups", "2").ID
		s.wants("/models/"+judged, http.StatusOK, "groups 1, 4", "Over 3 paths", "Coefficients of the final model")
	})

	t.Run("data", func(t *testing.T) {
		p := s.wants("/data", http.StatusOK)
		for _, c := range printed[[]struct {
			Symbol   string   `json:"symbol"`
			Bars     int64    `json:"bars"`
			First    string   `json:"first_date"`
			Last     string   `json:"last_date"`
			Missing  int64    `json:"missing"`
			Coverage *float64 `json:"coverage"`
			Basis    string   `json:"basis"`
		}](l, "data", "status") {
			r := p.row(t, c.Symbol)
			for i, want := range map[int]string{1: grouped(c.Bars), 2: c.First, 3: c.Last, 5: grouped(c.Missing), 7: percent(c.Coverage), 8: c.Basis} {
				same(t, c.Symbol, r[i], want)
			}
		}
		findings := printed[struct {
			Findings []struct {
				Symbol   string `json:"symbol"`
				Sentence string `json:"sentence"`
			} `json:"findings"`
		}](l, "data", "check", "AAPL").Findings
		aapl := s.wants("/data/AAPL?from=2012-01-03&to=2012-03-30", http.StatusOK, "TradingView")
		for _, f := range findings {
			if !strings.Contains(aapl.text, f.Sentence) {
				t.Errorf("the page lacks %q", f.Sentence)
			}
		}
		var candles struct {
			Bars [][]any `json:"bars"`
		}
		aapl.attribute(t, "data-candles", &candles)
		bars := printed[[]struct {
			TS       string  `json:"ts"`
			Adjusted float64 `json:"adjusted_close"`
			Volume   float64 `json:"volume"`
		}](l, "data", "prices", "AAPL", "--from", "2012-01-03", "--to", "2012-03-30")
		if len(bars) != len(candles.Bars) {
			t.Fatalf("%d candles of %d bars", len(candles.Bars), len(bars))
		}
		for i, b := range bars {
			c := candles.Bars[i]
			if c[0] != b.TS || math.Abs(c[4].(float64)/b.Adjusted-1) > 1e-5 || math.Abs(c[5].(float64)/b.Volume-1) > 1e-5 {
				t.Fatalf("candle %v of bar %v", c, b)
			}
		}
		s.wants("/data/none", http.StatusNotFound, "not known")
		s.wants("/data?q=goog", http.StatusOK, "1–1 of 1 symbol<")
	})

	t.Run("sql", func(t *testing.T) {
		const q = "SELECT symbol, count(*) AS n, avg(close) AS mean, '=1' AS text, NULL AS none, true AS yes, min(ts) AS day FROM ohlcv GROUP BY symbol ORDER BY symbol"
		p := s.wants(query("/sql/rows", "q", q), http.StatusOK, "<strong>5 rows</strong>")
		for _, r := range printed[[]struct {
			Symbol string  `json:"symbol"`
			N      int64   `json:"n"`
			Mean   float64 `json:"mean"`
			Day    string  `json:"day"`
		}](l, "sql", q) {
			got := p.row(t, r.Symbol)
			same(t, r.Symbol, strings.Join(got[1:], "|"), fmt.Sprintf("%d|%v|=1|NULL|true|%s", r.N, r.Mean, r.Day))
		}
		if run := l.RunOf("sql"); run.Status != "SUCCESS" {
			t.Errorf("a query of a page is recorded as %v", run)
		}
		for _, format := range []string{"csv", "json"} {
			got := s.wants(query("/sql/download", "q", q, "format", format), http.StatusOK)
			if want := l.Must("sql", q, "--output", format).Stdout; got.text != want {
				t.Errorf("the %s file is\n%s\nthe command prints\n%s", format, got.text, want)
			}
			if got.header.Get("Content-Disposition") != "attachment; filename=query."+format {
				t.Errorf("%v", got.header)
			}
		}
		file := s.wants(query("/sql/download", "q", q, "format", "parquet"), http.StatusOK)
		l.Write("query.parquet", []byte(file.text))
		db, err := sql.Open("duckdb", "")
		labtest.Must(t, err)
		defer db.Close()
		var n, mean, types string
		labtest.Must(t, db.QueryRow("SELECT max(n), any_value(typeof(mean)), any_value(typeof(n) || typeof(yes) || typeof(text) || typeof(day)) FROM '"+l.Path("query.parquet")+"'").Scan(&n, &mean, &types))
		if n != "3270" || mean != "DOUBLE" || types != "BIGINTBOOLEANVARCHARDATE" {
			t.Errorf("the Parquet file has %s %s %s", n, mean, types)
		}
		s.wants(query("/sql/rows", "q", "SELECT *\nFROM ohlcv WHRE x"), http.StatusOK, "line 2, column 17", "FROM ohlcv WHRE x\n                ^")
		s.wants(query("/sql/rows", "q", "SELECT nope FROM ohlcv"), http.StatusOK, "line 1, column 8", "Candidate bindings")
		s.wants(query("/sql/rows", "q", "SELECT nope FROM runs", "store", "meta"), http.StatusOK, "no such column: nope")
		s.wants(query("/sql/rows", "q", "SELECT count(*) FROM runs", "store", "meta"), http.StatusOK, "1 row")
		s.wants(query("/sql/rows", "q", "DROP TABLE ohlcv"), http.StatusOK, "only reads")
		s.wants(query("/sql/rows", "q", "SELECT * FROM range(5000)"), http.StatusOK, "Only the first 1,000 rows")
		s.wants(query("/sql/rows", "q", "SELECT repeat('x', 100000) FROM range(1000)"), http.StatusOK, "larger than 8 MiB")
		s.wants(query("/sql", "q", "SELECT '<b>'"), http.StatusOK, "SELECT &#39;&lt;b&gt;&#39;")
		s.wants(query("/sql/rows", "q", "SELECT '<script>alert(1)</script>' AS a"), http.StatusOK, "&lt;script&gt;")
		s.wants(query("/sql/download", "q", "SELECT nope", "format", "csv"), http.StatusBadRequest, "nope")
		s.wants("/sql?store=other", http.StatusBadRequest, "neither")
		r, err := http.NewRequest(http.MethodGet, s.base+query("/sql/rows", "q", "SELECT 1"), nil)
		labtest.Must(t, err)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		answer, err := http.DefaultClient.Do(r)
		labtest.Must(t, err)
		_ = answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			t.Error("another site's page may ask for a query")
		}
	})
}

// A page that meets a writer says who writes, and asks again by itself; it is answered
// when the writer is gone.
func TestPagesWaitForWriters(t *testing.T) {
	l := demo(t)
	s := serve(l)
	db, err := factstore.OpenWrite(t.Context(), factstore.Options{Path: l.Facts(), Wait: 10 * time.Second})
	labtest.Must(t, err)
	for _, path := range []string{"/strategies", "/data/AAPL", "/backtests"} {
		begun := time.Now()
		p := s.wants(path, http.StatusConflict, fmt.Sprintf("the Fact DB is being written by process %d", os.Getpid()), "try again in a moment")
		if p.header.Get("Refresh") == "" || time.Since(begun) > 30*time.Second {
			t.Errorf("%s after %v: %v", path, time.Since(begun), p.header)
		}
	}
	s.wants(query("/sql/rows", "q", "FROM ohlcv"), http.StatusOK, "held by process", "data-sql-again")
	s.wants("/models", http.StatusOK) // needs no facts
	labtest.Must(t, db.Close())
	s.wants("/strategies", http.StatusOK, "momentum_demo")
}

// Beside pages that are asked for without end, and queries that take minutes, an ingest
// waits for less than a second, and each page is answered or says who writes.
func TestAnIngestComesThroughPages(t *testing.T) {
	l := demo(t)
	s := serve(l)
	ctx, stop := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	var good, locked atomic.Int64
	for _, path := range []string{"/data/AAPL", "/strategies/momentum_demo", "/backtests",
		query("/sql/rows", "q", "SELECT sum(a.close * b.close * c.close) FROM ohlcv a, ohlcv b, ohlcv c")} {
		asking.Go(func() {
			for ctx.Err() == nil {
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+path, nil)
				if err != nil {
					t.Error(err)
					return
				}
				answer, err := http.DefaultClient.Do(r)
				if err != nil {
					if ctx.Err() == nil {
						t.Errorf("%s: %v", path, err)
					}
					return
				}
				text, _ := io.ReadAll(answer.Body) // what is cut by the end of the test says nothing
				_ = answer.Body.Close()
				switch {
				case ctx.Err() != nil:
				case answer.StatusCode == http.StatusConflict, strings.Contains(string(text), "data-sql-again"):
					locked.Add(1)
				case answer.StatusCode == http.StatusOK:
					good.Add(1)
				default:
					t.Errorf("%s: %d %s", path, answer.StatusCode, labtest.Clipped(string(text)))
				}
			}
		})
	}
	for i := range 4 {
		before := good.Load()
		l.Eventually("pages are answered", func() bool { return good.Load() > before+3 })
		l.Write("prices.csv", labtest.PriceFile(i, 300, "AAA", "BBB"))
		// The query of the page takes minutes, what gives way a moment, or some of a busy machine.
		l.Must("ingest", "prices.csv", "--wait", "10s")
	}
	stop()
	asking.Wait()
	t.Logf("%d pages answered, %d told that the Fact DB is written", good.Load(), locked.Load())
}

// A query ends with the request that asked for it.
func TestAQueryEndsWhenItsPageIsLeft(t *testing.T) {
	l := demo(t)
	s := serve(l)
	client := http.Client{Timeout: 700 * time.Millisecond}
	answer, err := client.Get(s.base + query("/sql/rows", "q", "SELECT sum(a.close * b.close * c.close) FROM ohlcv a, ohlcv b, ohlcv c"))
	if err == nil {
		_ = answer.Body.Close()
		t.Fatal("a query that takes minutes was answered")
	}
	l.Eventually("the query's run has ended", func() bool { return l.RunOf("sql").Status == "FAIL" })
	l.Must("ingest", "stocks.csv.gz", "--wait", "1s")
}

func TestPagesOfALabWithoutFacts(t *testing.T) {
	l := labtest.New(t)
	s := serve(l)
	for _, path := range []string{"/strategies", "/strategies/x", "/backtests", "/factors", "/data", "/data/AAPL"} {
		s.wants(path, http.StatusOK, "No facts yet", "quant init-db")
	}
	s.wants("/models", http.StatusOK, "No model has been trained yet")
	s.wants("/sql", http.StatusOK, "textarea")
	s.wants(query("/sql/rows", "q", "SELECT 1"), http.StatusOK, "does not exist")
	l.Must("init-db")
	s.wants("/strategies", http.StatusOK, "No strategy has decided yet")
	s.wants("/backtests", http.StatusOK, "There is no backtest yet")
	s.wants("/factors", http.StatusOK, "No feature has been computed")
	s.wants("/data", http.StatusOK, "There are no prices yet")
	s.wants("/data/AAPL", http.StatusNotFound, "not known")
}

// Korean symbols and names stand as they are, and revisions and rejects are shown.
func TestASymbolShowsItsHistory(t *testing.T) {
	l := labtest.New(t)
	l.Must("symbols", "add", "삼성전자", "--name", "삼성전자 <주>")
	l.Write("prices.csv", []byte("symbol,date,open,high,low,close,volume\n삼성전자,2024-01-02,10,11,9,10.5,100\n삼성전자,2024-01-03,10,11,9,10.25,100\n삼성전자,2024-01-04,10,9,11,10,100\n"))
	l.Want(0, "ingest", "prices.csv", "--max-reject-ratio", "1")
	l.Write("again.csv", []byte("symbol,date,open,high,low,close,volume\n삼성전자,2024-01-03,10,11,9,10.75,100\n"))
	l.Must("ingest", "again.csv")
	s := serve(l)
	p := s.wants("/data/%EC%82%BC%EC%84%B1%EC%A0%84%EC%9E%90", http.StatusOK, "삼성전자 &lt;주&gt;", "1–1 of 1 revision<", "Rejected rows")
	if r := p.row(t, "2024-01-03"); !strings.Contains(strings.Join(r, "|"), "10.75") {
		t.Errorf("the newest bar is %v", r)
	}
	if !strings.Contains(p.text, ">10.25<") {
		t.Error("what the bar was is not shown")
	}
	s.wants("/data", http.StatusOK, "삼성전자")
	s.wants(query("/sql/rows", "q", "SELECT '한글' AS 이름"), http.StatusOK, "한글", "이름")
}

// A page of thousands of symbols reads and shows a part.
func TestThousandsOfSymbolsArePaged(t *testing.T) {
	l := labtest.New(t)
	symbols := make([]string, 5000)
	for i := range symbols {
		symbols[i] = fmt.Sprintf("S%04d", i)
	}
	l.Write("prices.csv", labtest.PriceFile(1, 30, symbols...))
	l.Must("ingest", "prices.csv")
	s := serve(l)
	begun := time.Now()
	p := s.wants("/data", http.StatusOK, "1–100 of 5,000 symbols", `href="/data?start=100"`)
	t.Logf("the first page took %v, %d bytes", time.Since(begun), len(p.text))
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("a page of 100 among 5,000 symbols takes %v", took)
	}
	last := s.wants("/data?start=4900", http.StatusOK, "4,901–5,000 of 5,000 symbols", "S4999")
	if strings.Contains(last.text, "start=5000") {
		t.Error("there is a page after the last")
	}
	s.wants("/data?q=s499", http.StatusOK, "1–10 of 10 symbols")
	s.wants("/data?start=99999", http.StatusOK)
	s.wants("/data?start=-1", http.StatusBadRequest, "no place in a list")
}
