package postgres

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"quant"
	"quant/internal/metastore"
	"quant/internal/metastore/relational"
)

// stands is the condition that a lease l has not ended. Those who renew theirs cannot
// while the server is down, so that for the time of a lease after its start nobody is
// late.
const stands = `(l.expires_at >= clock_timestamp() OR clock_timestamp() < pg_postmaster_start_time() + l.lasts)`

// atOnceUnsynced makes the one statement that it stands before commit without waiting
// for the disk: whatever is stored later, and waits, makes it durable too.
const atOnceUnsynced = `WITH unsynced AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)) `

// lease is the lease of this process.
type lease struct {
	name  string
	token int64
	lasts time.Duration
	db    *DB

	mu   sync.Mutex
	line *sql.DB // one connection, for renewals; nil: none was needed yet
}

var _ metastore.Leases = (*DB)(nil)

// Now is documented at metastore.Leases.
func (db *DB) Now(ctx context.Context) (now time.Time, err error) {
	q, err := db.Reader(ctx)
	if err != nil {
		return now, err
	}
	err = q.QueryRowContext(ctx, `SELECT clock_timestamp()`).Scan(&now)
	return now.UTC(), db.Classify("ask for the time", err)
}

// TakeLease is documented at metastore.Leases.
func (db *DB) TakeLease(ctx context.Context, l metastore.Lease, lasts time.Duration) (metastore.HeldLease, error) {
	held := &lease{name: l.Name, lasts: lasts, db: db}
	// The name is this process's own: a second try meets at most what its first one left.
	err := db.Repeated(ctx, func() error {
		return db.Pool.QueryRowContext(ctx, atOnceUnsynced+`INSERT INTO leases (name, host, machine_id, boot_id, pid, lasts, expires_at)
			SELECT ?1, ?2, ?3, ?4, ?5, make_interval(secs => ?6), clock_timestamp() + make_interval(secs => ?6) FROM unsynced
			ON CONFLICT (name) DO UPDATE SET expires_at = excluded.expires_at RETURNING token`,
			l.Name, l.Host, l.MachineID, l.BootID, l.PID, lasts.Seconds()).Scan(&held.token)
	})
	if err != nil {
		return nil, db.Classify("take the lease of this process", err)
	}
	db.engine.held.Store(held)
	return held, nil
}

// prove is what the transactions of this process begin with: it locks the row of its
// lease so that it can be renewed, but not revoked. A command's tag tells whether
// there is one. A process that is suspended in the middle does not keep the row: the
// server ends its transaction.
func (l *lease) prove() string {
	return `SET LOCAL idle_in_transaction_session_timeout = ` + strconv.FormatInt(max(l.lasts.Milliseconds(), 1000), 10) + `; SELECT 1 FROM leases WHERE name = ` + literal(l.name) + ` AND token = ` + strconv.FormatInt(l.token, 10) + ` FOR KEY SHARE`
}

// begin begins a transaction with a statement, and proves that the lease still is this
// process's.
func (l *lease) begin(ctx context.Context, conn *sql.Conn, begin string) error {
	if l == nil {
		_, err := conn.ExecContext(ctx, begin)
		return err
	}
	done, err := conn.ExecContext(ctx, begin+"; "+l.prove())
	if err != nil {
		return err
	}
	if n, err := done.RowsAffected(); err != nil || n == 1 {
		return err
	}
	if _, err := conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK"); err != nil {
		return err
	}
	return l.lost()
}

func (l *lease) lost() error {
	return quant.Errorf(quant.Conflict, "%w", metastore.ErrLeaseLost).
		WithHint("this process was suspended or cut off for too long; nothing that it still had was stored: run it again")
}

// Renew is documented at metastore.HeldLease.
func (l *lease) Renew(ctx context.Context) (now time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.line == nil {
		l.line = sql.OpenDB(l.db.connector)
		l.line.SetMaxOpenConns(1)
	}
	err = l.line.QueryRowContext(ctx, atOnceUnsynced+`UPDATE leases SET expires_at = clock_timestamp() + lasts FROM unsynced WHERE name = ? AND token = ? RETURNING clock_timestamp()`, l.name, l.token).Scan(&now)
	if errors.Is(err, sql.ErrNoRows) {
		return now, l.lost()
	}
	return now, l.db.Classify("renew the lease of this process", err)
}

// End is documented at metastore.HeldLease.
func (l *lease) End(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.db.engine.held.CompareAndSwap(l, nil)
	if l.line != nil {
		_ = l.line.Close()
		l.line = nil
	}
	_, err := l.db.Pool.ExecContext(ctx, atOnceUnsynced+`DELETE FROM leases USING unsynced WHERE name = ? AND token = ?`, l.name, l.token)
	return l.db.Classify("end the lease of this process", err)
}

// LeaseStands is documented at metastore.Leases.
func (db *DB) LeaseStands(ctx context.Context, name string) (yes bool, err error) {
	q, err := db.Reader(ctx)
	if err != nil {
		return false, err
	}
	err = q.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM leases l WHERE l.name = ? AND `+stands+`)`, name).Scan(&yes)
	return yes, db.Classify("look at a lease", err)
}

// abandoned are the processes p of RUNNING runs r whose lease has ended or is gone.
const abandoned = `run_process p JOIN runs r ON r.run_id = p.run_id
	WHERE p.live_lock IS NOT NULL AND p.exit_code IS NULL AND p.facts IS NULL AND r.status = 'RUNNING'
	AND NOT EXISTS (SELECT 1 FROM leases l WHERE l.name = p.live_lock AND ` + stands + `)`

// old is the condition that a lease l has ended long ago and that no RUNNING run bears
// it. Whoever is late finds its own first.
const old = `l.expires_at < clock_timestamp() - interval '1 hour' AND NOT EXISTS (SELECT 1 FROM run_process p JOIN runs r ON r.run_id = p.run_id
	WHERE p.live_lock = l.name AND r.status = 'RUNNING')`

// NothingDead is documented at metastore.Leases.
func (db *DB) NothingDead(ctx context.Context, machineID, lease string) (nothing bool, err error) {
	q, err := db.Reader(ctx)
	if err != nil {
		return false, err
	}
	err = q.QueryRowContext(ctx, `SELECT NOT EXISTS (SELECT 1 FROM run_process p JOIN runs r ON r.run_id = p.run_id
			WHERE p.exit_code IS NULL AND p.facts IS NULL AND r.status = 'RUNNING' AND p.live_lock IS DISTINCT FROM ?1
			AND (p.machine_id = ?2 OR p.live_lock IS NOT NULL AND NOT EXISTS (SELECT 1 FROM leases l WHERE l.name = p.live_lock AND `+stands+`)))
		AND NOT EXISTS (SELECT 1 FROM leases l WHERE `+old+`)`, lease, machineID).Scan(&nothing)
	return nothing, db.Classify("look for runs of dead processes", err)
}

// Abandoned is documented at metastore.Leases.
func (db *DB) Abandoned(ctx context.Context, before string, limit int) ([]metastore.RunDetail, error) {
	q, err := db.Reader(ctx)
	if err != nil {
		return nil, err
	}
	query, args := `SELECT p.run_id FROM `+abandoned, []any{}
	if before != "" {
		args = append(args, before)
		query += ` AND p.run_id < ?`
	}
	query += ` ORDER BY p.run_id DESC`
	if limit > 0 {
		query += fmt.Sprintf(` LIMIT %d`, limit)
	}
	ids, err := relational.Texts(ctx, q, query, args...)
	if err != nil || len(ids) == 0 {
		return nil, db.Classify("list abandoned runs", err)
	}
	runs, err := db.RunsOf(ctx, ids)
	for i := range runs {
		runs[i].ConfigJSON, runs[i].Process.Argv = nil, nil
	}
	return runs, err
}

// RevokeLeases is documented at metastore.Leases.
func (db *DB) RevokeLeases(ctx context.Context, ended, dead []string) (gone []string, err error) {
	err = db.Write(ctx, "revoke leases", "", func(ctx context.Context, q relational.Querier) error {
		// A row that somebody locks is that of a process which writes at this moment, or
		// which somebody else revokes.
		if _, err := q.ExecContext(ctx, `DELETE FROM leases WHERE name IN (SELECT l.name FROM leases l
			WHERE l.name IN (`+each("?1")+`) AND NOT `+stands+` OR l.name IN (`+each("?2")+`) ORDER BY l.name FOR UPDATE SKIP LOCKED)`, list(ended), list(dead)); err != nil {
			return err
		}
		gone, err = relational.Texts(ctx, q, `SELECT DISTINCT n.value FROM json_array_elements_text(?::json) n WHERE n.value NOT IN (SELECT name FROM leases) ORDER BY 1`,
			list(append(append([]string{}, ended...), dead...)))
		return err
	})
	return gone, err
}

// list is a list of texts as each unfolds it.
func list(texts []string) string {
	if texts == nil {
		texts = []string{}
	}
	doc, _ := json.Marshal(texts) // texts always have a JSON form
	return string(doc)
}

func each(bound string) string {
	return `SELECT value FROM json_array_elements_text(` + bound + `::json)`
}

func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// StillRunning is documented at metastore.Leases.
func (db *DB) StillRunning(ctx context.Context, runIDs []string) error {
	q, err := db.Reader(ctx)
	if err != nil {
		return err
	}
	running, err := relational.Texts(ctx, q, `SELECT run_id FROM runs WHERE run_id IN (`+each("?")+`) AND status = 'RUNNING' ORDER BY run_id FOR SHARE`, list(runIDs))
	if err != nil {
		return db.Classify("look whether runs are still RUNNING", err)
	}
	open := make(map[string]bool, len(running))
	for _, id := range running {
		open[id] = true
	}
	for _, id := range runIDs {
		if !open[id] {
			return quant.Errorf(quant.Conflict, "run %s has been closed meanwhile", id).WithHint("`quant runs show %s` says why; nothing more was stored for it", quant.ShortID(id))
		}
	}
	return nil
}

// SweepLeases is documented at metastore.Leases.
func (db *DB) SweepLeases(ctx context.Context) error {
	q, err := db.Reader(ctx)
	if err != nil {
		return err
	}
	var some bool
	if err := q.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM leases l WHERE `+old+`)`).Scan(&some); err != nil || !some {
		return db.Classify("look for old leases", err)
	}
	return db.Write(ctx, "take old leases away", "", func(ctx context.Context, q relational.Querier) error {
		_, err := q.ExecContext(ctx, `DELETE FROM leases WHERE name IN (SELECT l.name FROM leases l WHERE `+old+` FOR UPDATE SKIP LOCKED)`)
		return err
	})
}
