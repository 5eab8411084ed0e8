package main

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"quant"
	"quant/internal/calendar"
	"quant/internal/metastore/postgrestest"
)

// The long market: the walk of the seeded one over up to 60 years of XNYS, in files of a
// group of symbols or of a year each, and its last session apart. Sessions are known from
// 1990 on, and a bar of tomorrow is no bar: a market of many years has the sessions of
// later ones, moved back by whole weeks, and a lab whose sessions are those of its data.
const (
	barsFirst  = "1990-01-02"
	manyYears  = 30
	movedBack  = 522 * 7 // days
	groupSize  = 250
	barsMemory = 4 << 30 // what every command stays within
)

// barsOptions are the flags of the long market.
type barsOptions struct {
	years  int
	byYear bool
	lake   string
}

// longMarket is a long market in a folder.
type longMarket struct {
	market
	first, last quant.Date // last is the session that is apart
	files       []string   // all sessions but the last
	day         string     // the last one
	ownSessions bool       // those of its data
}

// longChain measures the chain over a long market, each command as one process, on a Fact DB
// in a file or on a lake.
func (b *bench) longChain(ctx context.Context, o options) ([]figure, error) {
	home := b.dir
	if o.keep != "" {
		var err error
		if home, err = filepath.Abs(o.keep); err != nil {
			return nil, err
		}
	}
	m, err := longBars(ctx, home, o.size, o.years, o.byYear)
	if err != nil || o.prepare {
		return nil, err
	}
	lab := filepath.Join(home, "lab")
	if o.lake != "" {
		lab = filepath.Join(home, "lake")
	}
	if err := os.RemoveAll(lab); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(lab, 0o755); err != nil {
		return nil, err
	}
	settings := ""
	if m.ownSessions {
		settings = "QUANT_CALENDAR=" + calendar.Data + "\n"
	}
	if o.lake != "" {
		lake, end, err := onLake(ctx, lab, o.lake)
		if err != nil {
			return nil, err
		}
		defer end()
		settings += lake
	}
	if err := os.WriteFile(filepath.Join(lab, ".env"), []byte(settings), 0o600); err != nil {
		return nil, err
	}
	period := func(from, to quant.Date) []string {
		return []string{"--strategy", m.strategy, "--from", from.String(), "--to", to.String()}
	}
	const warmUp = 60 // days until ret_20d is there
	figures := []figure{note("bars", "%d symbols x %d sessions = %.1f million, in %d files", m.symbols, m.sessions, float64(m.symbols*m.sessions)/1e6, len(m.files))}
	for _, step := range []struct {
		what string
		args []string
	}{
		{"`init-db`", []string{"init-db"}},
		{"`ingest`", append([]string{"ingest"}, m.files...)},
		{"`features` v1", []string{"features", "--feature-version", "v1"}},
		{"`recommend`, monthly top 50", append([]string{"recommend"}, period(m.first+warmUp, m.last-1)...)},
		{"`backtest`", append([]string{"backtest"}, period(m.first+warmUp, m.last-1)...)},
		{"one more day: `ingest`", []string{"ingest", m.day}},
		{"one more day: `features` v1", []string{"features", "--feature-version", "v1"}},
		{"one more day: `recommend --asof`", []string{"recommend", "--strategy", m.strategy, "--asof", m.last.String()}},
		{"`sql`, a symbol's bars", []string{"sql", "SELECT count(*), max(close) FROM ohlcv WHERE symbol = 'S00077'"}},
		{"`sql`, a day's features", []string{"sql", "SELECT count(*), max(ret_20d) FROM features_v1 WHERE ts = DATE '" + m.last.String() + "'"}},
		{"`lab compact`", []string{"lab", "compact", "--grace", "0s"}},
		{"compacted: `sql`, a symbol's bars", []string{"sql", "SELECT count(*), max(close) FROM ohlcv WHERE symbol = 'S00077'"}},
		{"compacted: `sql`, a day's features", []string{"sql", "SELECT count(*), max(ret_20d) FROM features_v1 WHERE ts = DATE '" + m.last.String() + "'"}},
	} {
		if o.lake == "" && strings.Contains(step.what, "compact") {
			continue
		}
		u, err := process(ctx, lab, b.quant, step.args...)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(os.Stderr, "  %s: %s\n", step.what, u)
		figures = append(figures, figure{step.what, u.String(), u.peak <= barsMemory})
	}
	files, bytes, err := sizeOf(lab)
	if err != nil {
		return nil, err
	}
	return append(figures, note("the lab's folder", "%.2f GB in %d files", float64(bytes)/1e9, files)), nil
}

// onLake are the settings of a lab with its facts on a lake, whose files are in the lab's
// folder, and whose catalog is on a server of its own that waits for the disk. Extensions
// names a folder that has DuckDB's.
func onLake(ctx context.Context, lab, extensions string) (settings string, end func(), err error) {
	if extensions, err = filepath.Abs(extensions); err != nil {
		return "", nil, err
	}
	server, end, err := postgrestest.Run(postgrestest.Options{Durable: true})
	if err != nil {
		return "", nil, err
	}
	if err := createDatabases(ctx, server, "lake"); err != nil {
		end()
		return "", nil, err
	}
	url := server.URL("lake") + "&data_path=" + filepath.Join(lab, "files")
	return "QUANT_FACTS_URL=ducklake:" + url + "\nQUANT_EXTENSIONS_DIR=" + extensions + "\n", end, nil
}

// longBars makes a long market below home, unless it is there.
func longBars(ctx context.Context, home string, symbols, years int, byYear bool) (longMarket, error) {
	cut := "groups"
	if byYear {
		cut = "years"
	}
	m := longMarket{market: market{dir: filepath.Join(home, fmt.Sprintf("bars%dx%d-%s", symbols, years, cut)), symbols: symbols}}
	m.strategy, m.day = m.file("top50.yaml"), m.file("last.parquet")
	cal, err := calendar.Open("XNYS")
	if err != nil {
		return m, err
	}
	if m.first, err = quant.ParseDate(barsFirst); err != nil {
		return m, err
	}
	until, err := quant.ParseDate(fmt.Sprintf("%d-12-31", 1989+years))
	if err != nil {
		return m, err
	}
	sessions := cal.Sessions(m.first, until)
	if years > manyYears {
		for i := range sessions {
			sessions[i] -= movedBack
		}
		m.first, m.ownSessions = m.first-movedBack, true
	}
	m.sessions, m.last = len(sessions), sessions[len(sessions)-1]
	done := m.file("done")
	if _, err := os.Stat(done); err != nil {
		if err := m.generate(ctx, sessions, byYear); err != nil {
			return m, fmt.Errorf("generate the market: %w", err)
		}
		if err := os.WriteFile(done, nil, 0o644); err != nil {
			return m, err
		}
	}
	m.files, err = filepath.Glob(m.file("bars-*.parquet"))
	return m, err
}

// generate writes the files of a long market.
func (m longMarket) generate(ctx context.Context, sessions []quant.Date, byYear bool) error {
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		return err
	}
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return err
	}
	defer db.Close()
	days := make([]string, len(sessions))
	for i, d := range sessions {
		days[i] = fmt.Sprint(int32(d))
	}
	copies := []string{}
	for from := 0; from < m.symbols; from += groupSize {
		copies = append(copies, fmt.Sprintf(`COPY (%s) TO '%s' (FORMAT parquet)`, walkOf(from, min(from+groupSize, m.symbols), days), m.file(fmt.Sprintf("all-%05d.parquet", from))))
	}
	all := m.file("all-*.parquet")
	copies = append(copies, fmt.Sprintf(`COPY (FROM '%s' WHERE date = DATE '%s' ORDER BY symbol) TO '%s' (FORMAT parquet)`, all, m.last, m.day))
	if byYear {
		for year := m.first.Time().Year(); year <= m.last.Time().Year(); year++ {
			copies = append(copies, fmt.Sprintf(`COPY (FROM '%s' WHERE year(date) = %d AND date < DATE '%s' ORDER BY date, symbol) TO '%s' (FORMAT parquet)`,
				all, year, m.last, m.file(fmt.Sprintf("bars-%d.parquet", year))))
		}
	} else {
		for from := 0; from < m.symbols; from += groupSize {
			copies = append(copies, fmt.Sprintf(`COPY (FROM '%s' WHERE date < DATE '%s' ORDER BY symbol, date) TO '%s' (FORMAT parquet)`,
				m.file(fmt.Sprintf("all-%05d.parquet", from)), m.last, m.file(fmt.Sprintf("bars-%05d.parquet", from))))
		}
	}
	for _, s := range copies {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	whole, err := filepath.Glob(all)
	if err != nil {
		return err
	}
	for _, name := range whole {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	names := make([]string, m.symbols)
	for i := range names {
		names[i] = symbolName(i)
	}
	text := strings.Replace(fmt.Sprintf(strategyText, strings.Join(names, ", ")), "frequency: daily", "frequency: monthly", 1)
	return os.WriteFile(m.strategy, []byte(text), 0o644)
}

// sizeOf counts the files below a folder and their bytes.
func sizeOf(dir string) (files int, bytes int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		files, bytes = files+1, bytes+info.Size()
		return nil
	})
	return files, bytes, err
}
