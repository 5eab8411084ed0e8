package doctor_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/factstore"
	"quant/internal/lab"
	"quant/internal/lab/doctor"
	"quant/internal/lab/facts"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/metastore/sqlite"
	"quant/internal/registry"
	"quant/internal/registry/liveness"
	"quant/internal/tracking"
)

// counting is a store that counts the questions about single runs.
type counting struct {
	*sqlite.DB
	asked int
}

func (c *counting) RunIO(ctx context.Context, id string) ([]quant.RunIO, error) {
	c.asked++
	return c.DB.RunIO(ctx, id)
}

func (c *counting) GetRun(ctx context.Context, id string) (metastore.RunDetail, error) {
	c.asked++
	return c.DB.GetRun(ctx, id)
}

type examined struct {
	*lab.Lab
	doctor.Options
	store *counting
}

func newLab(t *testing.T) *examined {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	at := place.In(dir)
	db, err := sqlite.Open(t.Context(), sqlite.Options{Path: at.MetaPath})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	store := &counting{DB: db}
	g := registry.New(registry.Options{Store: store, Liveness: liveness.NewLocks(at.LiveDir(), nil)})
	t.Cleanup(g.Close)
	l := lab.New(lab.Options{Place: at})
	l.Meta, l.Registry = store, g
	return &examined{Lab: l, store: store}
}

func (l *examined) makeFacts(t *testing.T) *factstore.DB {
	t.Helper()
	db, err := factstore.OpenWrite(t.Context(), factstore.Options{Path: l.FactPath})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func (l *examined) examine(t *testing.T) doctor.Report {
	t.Helper()
	report, err := doctor.Examine(t.Context(), &facts.Store{Lab: l.Lab}, l.Options)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func (l *examined) end(t *testing.T, cause error, notes ...quant.RunIO) (id string) {
	t.Helper()
	id, err := l.Registry.Start(t.Context(), "ingest", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, io := range notes {
		l.Registry.Get(id).Record(io)
	}
	if cause != nil {
		err = l.Registry.Fail(t.Context(), id, cause)
	} else {
		err = l.Registry.Success(t.Context(), id)
	}
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestALockedFactDBIsNotCalledSound(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	db := l.makeFacts(t)
	if report := l.examine(t); report.Whole || len(report.Findings) == 0 || !strings.Contains(report.Findings[0].What, "not examined") {
		t.Errorf("while it is held: %+v", report)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	report := l.examine(t)
	for _, f := range report.Findings {
		if f.Severity == doctor.Fault {
			t.Errorf("%+v", f)
		}
	}
	if !report.Whole {
		t.Errorf("when it is free: %+v", report)
	}
}

func TestRunsThatCannotBeJudgedAreNotExamined(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	if _, err := l.Registry.Start(t.Context(), "ingest", nil); err != nil {
		t.Fatal(err)
	}
	l.Registry = nil
	if report := l.examine(t); report.Whole {
		t.Errorf("%+v", report)
	}
}

func TestFactsThatWereNotCheckedAreSettledAlthoughAHintStandsBesideThem(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	if err := l.makeFacts(t).Close(); err != nil {
		t.Fatal(err)
	}
	id := l.end(t, registry.FailedWith(quant.Errorf(quant.Failed, "it broke").WithHint("try again"), quant.FactsNotChecked))
	report := l.examine(t)
	run, err := l.store.DB.GetRun(t.Context(), id)
	if err != nil || string(run.ErrorText) != "it broke\nhint: try again; no facts committed" || run.Process.Facts != quant.FactsNone {
		t.Errorf("%q, %v", run.ErrorText, err)
	}
	if len(report.Findings) == 0 || !strings.Contains(report.Findings[0].What, "had not been checked") {
		t.Errorf("%+v", report)
	}
}

func TestAMissingOutputIsFoundWithoutAskingForEveryRun(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	rows := int64(3)
	note := quant.RunIO{Direction: quant.Out, Kind: quant.IOTable, Name: "ohlcv", Rows: &rows}
	for range 5 {
		l.end(t, nil, note)
	}
	l.store.asked = 0
	faults := 0
	for _, f := range l.examine(t).Findings {
		if f.Severity == doctor.Fault && strings.Contains(f.What, "the ledger does not have it") {
			faults++
		}
	}
	if faults != 5 || l.store.asked != 0 {
		t.Errorf("%d faults, %d questions", faults, l.store.asked)
	}
	// What was before a reset is in its backup.
	id, err := l.Registry.Start(t.Context(), "init-db", nil)
	if err != nil {
		t.Fatal(err)
	}
	l.Registry.Get(id).Record(quant.RunIO{Direction: quant.Out, Kind: "backup", Name: "backups/quant.duckdb"})
	if err := l.Registry.Success(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	for _, f := range l.examine(t).Findings {
		if f.Severity == doctor.Fault {
			t.Errorf("after a reset: %+v", f)
		}
	}
}

func TestARunOfAClientIsNoWarning(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	const id = "01900000-0000-7000-8000-000000000001"
	at := quant.NewTime(time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC))
	err := l.store.CreateClientRun(t.Context(), quant.Run{RunID: id, Kind: tracking.Kind, Status: quant.Running, StartedAt: at}, quant.RunProcess{RunID: id, Changes: true},
		metastore.RunClient{RunID: id, ClientID: strings.ReplaceAll(id, "-", ""), Status: "RUNNING", SeenAt: at}, metastore.Batch{})
	if err != nil {
		t.Fatal(err)
	}
	l.makeFacts(t).Close()
	found := false
	for _, f := range l.examine(t).Findings {
		if f.Object != "run "+id {
			continue
		}
		found = true
		if f.Severity != doctor.Note || !strings.Contains(f.What, "a client of MLflow logs to it") {
			t.Errorf("%+v", f)
		}
	}
	if !found {
		t.Error("nothing is said of it")
	}
}
