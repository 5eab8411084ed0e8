package postgres

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"quant"
	"quant/internal/metastore"
	"quant/internal/metastore/relational"
)

// recorded stores a RUNNING run that bears a lease.
func (db *DB) recorded(t *testing.T, id, lease string) {
	t.Helper()
	err := db.Write(t.Context(), "record", "", func(ctx context.Context, q relational.Querier) error {
		if _, err := q.ExecContext(ctx, `INSERT INTO runs (run_id, kind, status, started_at) VALUES (?, 'ingest', 'RUNNING', '2026-01-15T09:30:00.000000Z')`, id); err != nil {
			return err
		}
		_, err := q.ExecContext(ctx, `INSERT INTO run_process (run_id, changes, pid, live_lock) VALUES (?, 1, 7, ?)`, id, lease)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (db *DB) take(t *testing.T, name string, lasts time.Duration) metastore.HeldLease {
	t.Helper()
	held, err := db.TakeLease(t.Context(), metastore.Lease{Name: name, Host: "a", MachineID: "m", BootID: "b", PID: 7}, lasts)
	if err != nil {
		t.Fatal(err)
	}
	return held
}

func (db *DB) note(ctx context.Context, text string) error {
	return db.Write(ctx, "note", "", func(ctx context.Context, q relational.Querier) error {
		_, err := q.ExecContext(ctx, `INSERT INTO symbols (symbol, is_active, priority) VALUES (?, 1, 0)`, text)
		return err
	})
}

const (
	run1 = "01900000-0000-7000-8000-00000000aaaa"
	run2 = "01900000-0000-7000-8000-00000000bbbb"
)

// A process that is late goes on as long as nobody has taken it for dead, and writes
// nothing any more from then on.
func TestWhoseLeaseWasRevokedWritesNothing(t *testing.T) {
	t.Parallel()
	url := prepared(t)
	late, other := openAt(t, url), openAt(t, url)
	held := late.take(t, run1, time.Second)
	late.recorded(t, run1, run1)
	other.take(t, run2, time.Hour)
	other.recorded(t, run2, run2)

	if gone, err := other.RevokeLeases(t.Context(), []string{run1, run2}, nil); err != nil || len(gone) != 0 {
		t.Fatalf("revoked while they stand: %q, %v", gone, err)
	}
	for stands := true; stands; time.Sleep(50 * time.Millisecond) {
		var err error
		if stands, err = other.LeaseStands(t.Context(), run1); err != nil {
			t.Fatal(err)
		}
	}
	if err := late.note(t.Context(), "LATE"); err != nil {
		t.Errorf("late, but nobody has noticed: %v", err)
	}
	abandoned, err := other.Abandoned(t.Context(), "", 0)
	if err != nil || len(abandoned) != 1 || abandoned[0].RunID != run1 {
		t.Fatalf("abandoned: %+v, %v", abandoned, err)
	}
	if err := held.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if gone, err := other.RevokeLeases(t.Context(), []string{run1}, nil); err != nil || len(gone) != 0 {
		t.Fatalf("revoked although it was renewed: %q, %v", gone, err)
	}
	gone, err := other.RevokeLeases(t.Context(), nil, []string{run1})
	if err != nil || !slices.Equal(gone, []string{run1}) {
		t.Fatalf("of a dead one: %q, %v", gone, err)
	}
	for name, err := range map[string]error{
		"write": late.note(t.Context(), "LOST"), "renew": held.Renew(t.Context()),
		"transaction": late.Tx(t.Context(), func(context.Context) error { t.Error("it began"); return nil }),
	} {
		if !errors.Is(err, metastore.ErrLeaseLost) || !errors.Is(err, quant.Conflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var symbols string
	if err := other.Pool.QueryRowContext(t.Context(), `SELECT string_agg(symbol, ' ') FROM symbols`).Scan(&symbols); err != nil || symbols != "LATE" {
		t.Errorf("stored: %q, %v", symbols, err)
	}
	if err := other.note(t.Context(), "OTHER"); err != nil {
		t.Errorf("another process: %v", err)
	}
	if again := late.take(t, run1, time.Hour); again.(*lease).token <= held.(*lease).token {
		t.Error("a token that is no greater")
	}
}

// A lease cannot be revoked while its process writes, so that what is written stands
// before its runs are closed; others need not wait for that.
func TestNobodyRevokesTheLeaseOfAProcessThatWrites(t *testing.T) {
	t.Parallel()
	url := prepared(t)
	writer, other := openAt(t, url), openAt(t, url)
	held := writer.take(t, run1, time.Millisecond)
	writer.recorded(t, run1, run1)
	err := writer.Tx(t.Context(), func(ctx context.Context) error {
		if err := writer.StillRunning(ctx, []string{run1}); err != nil {
			return err
		}
		begun := time.Now()
		gone, err := other.RevokeLeases(t.Context(), []string{run1}, []string{run1})
		if err != nil || len(gone) != 0 || time.Since(begun) > 30*time.Second {
			t.Errorf("revoked %q after %s, %v", gone, time.Since(begun), err)
		}
		renewing, stop := context.WithTimeout(t.Context(), 2*time.Second)
		defer stop()
		if err := held.Renew(renewing); err != nil {
			t.Errorf("it cannot be renewed meanwhile: %v", err)
		}
		return writer.note(ctx, "IN")
	})
	if err != nil {
		t.Fatal(err)
	}
	if gone, err := other.RevokeLeases(t.Context(), nil, []string{run1}); err != nil || len(gone) != 1 {
		t.Errorf("afterwards: %q, %v", gone, err)
	}
	if err := other.Write(t.Context(), "close", "", func(ctx context.Context, q relational.Querier) error {
		_, err := q.ExecContext(ctx, `UPDATE runs SET status = 'FAIL', ended_at = started_at, error_text = 'dead' WHERE run_id = ?`, run1)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := other.StillRunning(t.Context(), []string{run1}); !errors.Is(err, quant.Conflict) || !strings.Contains(err.Error(), run1) {
		t.Errorf("an ended run: %v", err)
	}
}

func TestALeaseThatEndedLongAgoIsTakenAway(t *testing.T) {
	t.Parallel()
	url := prepared(t)
	db := openAt(t, url)
	db.take(t, run1, time.Hour)
	db.recorded(t, run1, run1)
	db.take(t, run2, time.Hour)
	ended := db.take(t, "short", time.Hour)
	if err := ended.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := db.SweepLeases(t.Context()); err != nil {
		t.Fatal(err)
	}
	left := func() (names string) {
		t.Helper()
		if err := db.Pool.QueryRowContext(t.Context(), `SELECT coalesce(string_agg(name, ' ' ORDER BY name), '') FROM leases`).Scan(&names); err != nil {
			t.Fatal(err)
		}
		return names
	}
	if left() != run1+" "+run2 {
		t.Errorf("left %q", left())
	}
	if _, err := db.Pool.ExecContext(t.Context(), `UPDATE leases SET expires_at = expires_at - interval '3 hours'`); err != nil {
		t.Fatal(err)
	}
	if err := db.SweepLeases(t.Context()); err != nil || left() != run1 {
		t.Errorf("left %q, %v", left(), err)
	}
	now, err := db.Now(t.Context())
	if err != nil || time.Since(now).Abs() > time.Minute || now.Location() != time.UTC {
		t.Errorf("%s, %v", now, err)
	}
}
