package pipeline

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"quant"
	"quant/internal/backtest"
	"quant/internal/backtest/deflated"
	"quant/internal/backtest/tearsheet"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/session"
)

// ListBacktests returns the backtests, newest first: all of them, or those of a
// strategy.
func ListBacktests(ctx context.Context, s *session.Session, strategyID string) ([]backtest.Overview, error) {
	list := []backtest.Overview{}
	err := s.ReadFacts(ctx, func(db *factstore.DB) error {
		found, err := backtest.List(ctx, db, strategyID)
		for _, b := range found {
			list = append(list, b.Overview())
		}
		return err
	})
	return list, err
}

// CompareBacktests lays the backtests of runs side by side, which are named as
// session.Resolve has it. NotFound: a run, or its backtest, is not there.
func CompareBacktests(ctx context.Context, s *session.Session, refs []string) (backtest.Comparison, error) {
	ids := make([]string, len(refs))
	for i, ref := range refs {
		var err error
		if ids[i], err = s.Resolve(ctx, ref); err != nil {
			return backtest.Comparison{}, err
		}
	}
	var list []backtest.Stored
	err := s.ReadFacts(ctx, func(db *factstore.DB) error {
		for _, id := range ids {
			b, err := backtest.Read(ctx, db, id)
			if err != nil {
				return err
			}
			list = append(list, b)
		}
		return nil
	})
	if err != nil {
		return backtest.Comparison{}, err
	}
	return backtest.Compare(list), nil
}

// SheetOptions say which backtest to report, and where.
type SheetOptions struct {
	Run       string // as session.Resolve has it; "": the newest backtest
	HTML, PNG string // the files; "": RUN.html and RUN.png in the folder of reports, made anew each time
	Force     bool   // write over what the named files hold
	Full      bool   // with the rolling figures of each session
	// Clean goes over every text that is drawn; nil: it stays as it is.
	Clean func(text string) string
}

// BacktestSheet is the tear sheet of a backtest.
type BacktestSheet struct {
	RunID      string             `json:"run_id"`
	StrategyID string             `json:"strategy_id"`
	Version    string             `json:"version"`
	From       *quant.Date        `json:"from_ts"`
	To         *quant.Date        `json:"to_ts"`
	CAGR       *float64           `json:"cagr"`
	Sharpe     *float64           `json:"sharpe"`
	MaxDD      *float64           `json:"max_dd"`
	InSample   bool               `json:"in_sample"` // as backtest.Details has these three
	FixedAt    *quant.Date        `json:"universe_fixed_at"`
	KnownAt    quant.Text         `json:"known_at"`
	Deflated   deflated.Judgement `json:"deflated"`
	Selection  deflated.Selection `json:"selection"`
	Risk       tearsheet.Risk     `json:"risk"`
	Files      []SheetFile        `json:"files"`

	sheet *tearsheet.Sheet
}

// SheetFile is a file that a report was written to.
type SheetFile struct {
	Kind   string `json:"kind"` // html or png
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	Digest string `json:"digest"`
}

// Chart draws the equity for a terminal of a width; nil: there is too little to
// draw.
func (r BacktestSheet) Chart(width int) []string { return r.sheet.Chart(width) }

// Stamps are what the reader must know before the figures, loudest first.
func (r BacktestSheet) Stamps() []tearsheet.Stamp { return r.sheet.Stamps() }

// ReportBacktest draws the tear sheet of a backtest into two files, both or, up to
// the moment of writing, neither, and records them. NotFound: no such run or no
// backtest. Conflict: a named file is there and holds something else. Failed: a
// file cannot be written.
func ReportBacktest(ctx context.Context, s *session.Session, o SheetOptions) (BacktestSheet, error) {
	if o.HTML != "" && filepath.Clean(o.HTML) == filepath.Clean(o.PNG) {
		return BacktestSheet{}, quant.Errorf(quant.Usage, "--html and --png name the same file %s", o.HTML).WithHint("give them two names")
	}
	meta, err := s.MetaDB()
	if err != nil {
		return BacktestSheet{}, err
	}
	var runID string
	if o.Run != "" {
		if runID, err = s.Resolve(ctx, o.Run); err != nil {
			return BacktestSheet{}, err
		}
	}
	sheet, judged, err := readSheet(ctx, s, runID)
	if err != nil {
		return BacktestSheet{}, err
	}
	runID = sheet.RunID
	if sheet.Inputs, err = meta.RunIO(ctx, runID); err != nil {
		return BacktestSheet{}, err
	}
	if o.Clean != nil {
		sheet.Texts(o.Clean)
	}
	s.Record(quant.RunIO{Direction: quant.In, Kind: quant.IORun, Name: runID})

	report := BacktestSheet{
		RunID: runID, StrategyID: sheet.StrategyID, Version: sheet.Version, From: sheet.From, To: sheet.To,
		CAGR: sheet.Measured.CAGR, Sharpe: sheet.Measured.Sharpe, MaxDD: sheet.Measured.MaxDD, InSample: sheet.InSample, FixedAt: sheet.UniverseFixedAt, KnownAt: quant.Text(sheet.Measured.KnownAt), Deflated: judged.Judgement, Selection: judged.selection, Risk: *sheet.Risk, Files: []SheetFile{}, sheet: sheet,
	}
	if !o.Full {
		report.Risk.RollingDays = []tearsheet.RollingDay{}
	}
	// Both are drawn before either is written: a report is whole or not there.
	var page, picture bytes.Buffer
	if err := sheet.HTML(&page); err != nil {
		return report, quant.Errorf(quant.Failed, "draw the page of run %s: %w", runID, err)
	}
	if err := sheet.PNG(&picture); err != nil {
		return report, err
	}
	files := []struct {
		kind, path string
		data       []byte
	}{{"html", o.HTML, page.Bytes()}, {"png", o.PNG, picture.Bytes()}}
	for i, file := range files {
		if file.path == "" {
			if err := durable.MakeFolder(s.ReportDir()); err != nil {
				return report, quant.Errorf(quant.Failed, "make the folder of reports: %w", err).WithHint("name files with --html and --png")
			}
			files[i].path = filepath.Join(s.ReportDir(), runID+"."+file.kind)
			continue
		}
		if err := mayReplace(file.path, file.data, o.Force); err != nil {
			return report, err
		}
	}
	defer s.Target(files[0].path, files[1].path)()
	for _, file := range files {
		if err := durable.Replace(file.path, 0o600, durable.Bytes(file.data)); err != nil {
			return report, quant.Errorf(quant.Failed, "write %s: %w", file.path, err).WithHint("is there such a folder, and room on the disk?")
		}
		written := SheetFile{file.kind, s.Mask.Text(file.path), int64(len(file.data)), durable.Digest(file.data)}
		report.Files = append(report.Files, written)
		s.Record(quant.RunIO{Direction: quant.Out, Kind: quant.IOFile, Name: file.path, Digest: quant.Text(written.Digest)})
	}
	return report, nil
}

// readSheet reads the sheet of a backtest, and judges it; of the newest for "".
func readSheet(ctx context.Context, s *session.Session, runID string) (sheet *tearsheet.Sheet, judged judgement, err error) {
	sectors, err := sectorsInLab(ctx, s)
	if err != nil {
		return nil, judged, err
	}
	err = s.ReadFacts(ctx, func(db *factstore.DB) error {
		if runID == "" {
			list, err := backtest.List(ctx, db, "")
			if err != nil {
				return err
			}
			if len(list) == 0 {
				return quant.Errorf(quant.NotFound, "there is no backtest yet").WithHint("`quant backtest --strategy FILE` makes one")
			}
			runID = list[0].RunID
		}
		var err error
		if sheet, err = tearsheet.Read(ctx, db, runID); err != nil {
			return err
		}
		judged, err = judgeSheet(ctx, db, sheet, sectors)
		return err
	})
	return sheet, judged, err
}

// mayReplace refuses to write over a file that somebody named and that holds
// something else.
func mayReplace(path string, data []byte, force bool) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return quant.Errorf(quant.Failed, "the file of the report: %w", err).WithHint("name another one")
	case !info.Mode().IsRegular():
		return quant.Errorf(quant.Conflict, "%s is no plain file", path).WithHint("name another one")
	case force:
		return nil
	}
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return nil
	}
	return quant.Errorf(quant.Conflict, "%s is there already and holds something else", path).WithHint("--force overwrites it")
}
