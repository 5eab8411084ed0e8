package metastoretest

import "strings"

// SoundRows are statements that the rules of the schema accept, as a user types them.
func SoundRows() []string {
	return []string{
		`INSERT INTO symbols (symbol) VALUES ('AAPL')`,
		`INSERT INTO experiments (experiment_id, name, created_at) VALUES ('e', 'n', '2026-01-15T09:30:00.000000Z')`,
		`INSERT INTO models (model_id, experiment_id, created_at) VALUES ('m', 'e', '2026-01-15T09:30:00.000000Z')`,
		`INSERT INTO runs (run_id, kind, status, started_at) VALUES ('019bc0de-0001-7000-8000-000000000001', 'k', 'RUNNING', '2026-01-15T09:30:00.000000Z')`,
		`INSERT INTO run_process (run_id, changes, pid) VALUES ('019bc0de-0001-7000-8000-000000000001', 1, 7)`,
		`INSERT INTO run_io (run_id, direction, kind, name) VALUES ('019bc0de-0001-7000-8000-000000000001', 'in', 'file', 'a')`,
	}
}

// UnsoundRows are statements that a database which holds SoundRows refuses by its own
// rules, whoever sends them.
func UnsoundRows() []string {
	insertRun := func(columns, values string) string {
		return `INSERT INTO runs (run_id, kind, ` + columns + `) VALUES ('019bc0de-0002-7000-8000-000000000001', 'k', ` + values + `)`
	}
	runAt := func(at string) string { return insertRun(`status, started_at`, `'RUNNING', `+at) }
	runID := func(id string) string {
		return `INSERT INTO runs (run_id, kind, status, started_at) VALUES (` + id + `, 'k', 'RUNNING', '2026-01-15T09:30:00.000000Z')`
	}
	const at = `'2026-01-15T09:30:00.000000Z'`
	return []string{
		`INSERT INTO symbols (symbol) VALUES (NULL)`,
		`INSERT INTO symbols (symbol) VALUES ('')`,
		`INSERT INTO symbols (symbol) VALUES ('A B')`,
		`INSERT INTO symbols (symbol) VALUES ('` + "\u3000" + `')`,
		`INSERT INTO symbols (symbol) VALUES ('` + strings.Repeat("x", 65) + `')`,
		`INSERT INTO symbols (symbol) VALUES ('` + strings.Repeat("가", 22) + `')`,
		`INSERT INTO symbols (symbol) VALUES ('AAPL')`,
		`INSERT INTO symbols (symbol, name) VALUES ('B', 'a` + "\u000d" + `b')`,
		`INSERT INTO symbols (symbol, sector) VALUES ('B', '` + "\u001b" + `[2J')`,
		`INSERT INTO symbols (symbol, sector) VALUES ('B', '` + "\u007f" + `')`,
		`INSERT INTO symbols (symbol, currency) VALUES ('B', '` + "\u0009" + `')`,
		`INSERT INTO symbols (symbol, currency) VALUES ('B', '` + "\u0085" + `')`,
		`INSERT INTO symbols (symbol, is_active) VALUES ('B', 2)`,
		`INSERT INTO symbols (symbol, is_active) VALUES ('B', NULL)`,
		`INSERT INTO symbols (symbol, is_active) VALUES ('B', 'yes')`,
		`INSERT INTO experiments (experiment_id, name, created_at) VALUES (NULL, 'n', ` + at + `)`,
		`INSERT INTO models (model_id, created_at) VALUES ('', ` + at + `)`,
		`DELETE FROM experiments`,
		insertRun(`status, started_at`, `'DONE', `+at),
		insertRun(`status, started_at`, `'running', `+at),
		insertRun(`status, started_at`, `NULL, `+at),
		insertRun(`status, started_at, ended_at`, `'RUNNING', `+at+`, `+at),
		insertRun(`status, started_at`, `'SUCCESS', `+at),
		insertRun(`status, started_at, ended_at`, `'SUCCESS', `+at+`, 'later'`),
		insertRun(`status, started_at, ended_at, error_text`, `'SUCCESS', `+at+`, `+at+`, ''`),
		insertRun(`status, started_at, ended_at`, `'FAIL', `+at+`, `+at),
		insertRun(`status, started_at, ended_at, error_text`, `'FAIL', `+at+`, `+at+`, ''`),
		insertRun(`status, started_at, config_json`, `'RUNNING', `+at+`, '{"a":}'`),
		runAt(`NULL`),
		runAt(`'2026-01-15 09:30:00.000000Z'`),
		runAt(`'2026-01-15T09:30:00.000Z'`),
		runAt(`'2026-01-15T09:30:00.0000000Z'`),
		runAt(`'2026-01-15T09:30:00.000000+00:00'`),
		runAt(`'2026-02-30T09:30:00.000000Z'`),
		runAt(`'2026-13-01T09:30:00.000000Z'`),
		runAt(`'2026-01-15T24:00:00.000000Z'`),
		runAt(`'2026-01-15T09:60:00.000000Z'`),
		runAt(`'2026-01-15T09:30:60.000000Z'`),
		runAt(`'+026-01-15T09:30:00.000000Z'`),
		runAt(`'2026-01-15T09:30:00.000000z'`),
		runAt(`1768469400`),
		runID(`NULL`),
		runID(`''`),
		runID(`'019bc0de-0001-4000-8000-000000000001'`),
		runID(`'019BC0DE-0001-7000-8000-000000000001'`),
		runID(`'019bc0de-0001-7000-c000-000000000001'`),
		runID(`'019bc0de00017000800000000000000000001'`),
		runID(`'019bc0de-0001-7000-8000-00000000000g'`),
		runID(`'019bc0de-0001-7000-8000-00000000000-'`),
		`INSERT INTO run_process (run_id, changes, pid) VALUES ('019bc0de-0009-7000-8000-000000000001', 1, 7)`,
		`UPDATE run_process SET changes = 2`,
		`UPDATE run_process SET facts = 'perhaps'`,
		`UPDATE run_process SET facts = ''`,
		`UPDATE run_process SET changes = NULL`,
		`UPDATE run_process SET git_dirty = 7`,
		`UPDATE run_process SET argv = '['`,
		`UPDATE run_io SET direction = 'both'`,
		`UPDATE run_io SET name = ''`,
		`UPDATE run_io SET kind = ''`,
		`UPDATE run_io SET rows = 'many'`,
		`UPDATE run_io SET first_date = '2024-02-30'`,
		`UPDATE run_io SET last_date = '20240201'`,
		`UPDATE runs SET run_id = '019bc0de-0009-7000-8000-000000000001'`,
		`UPDATE runs SET kind = 'other'`,
		`UPDATE runs SET started_at = '2027-01-15T09:30:00.000000Z'`,
		`INSERT INTO experiments (experiment_id, name, created_at) VALUES ('x', NULL, ` + at + `)`,
		`INSERT INTO experiments (experiment_id, name, created_at) VALUES ('x', ' ', ` + at + `)`,
		`INSERT INTO experiments (experiment_id, name, created_at) VALUES ('x', 'n', NULL)`,
		`INSERT INTO experiments (experiment_id, name, created_at) VALUES ('x', 'n', '2026-01-15')`,
		`INSERT INTO experiments (experiment_id, name, created_at, params_json) VALUES ('x', 'n', ` + at + `, '{')`,
		`INSERT INTO experiments (experiment_id, name, created_at, params_json) VALUES ('x', 'n', ` + at + `, '{a:1}')`,
		`INSERT INTO experiments (experiment_id, name, created_at, split_policy_json) VALUES ('x', 'n', ` + at + `, '')`,
		`INSERT INTO models (model_id, experiment_id, created_at) VALUES ('x', 'none', ` + at + `)`,
		`INSERT INTO models (model_id, created_at) VALUES ('x', 'now')`,
		`INSERT INTO models (model_id, created_at, metrics_json) VALUES ('x', ` + at + `, 'NaN')`,
		insertRun(`status, started_at, ended_at, error_text`, `'SUCCESS', `+at+`, `+at+`, 'x'`),
		insertRun(`status, started_at, error_text`, `'RUNNING', `+at+`, 'x'`),
		`UPDATE run_process SET pid = 'x'`,
	}
}

// EndOfRuns ends all runs of SoundRows.
const EndOfRuns = `UPDATE runs SET status = 'FAIL', ended_at = '2026-01-15T09:30:00.000000Z', error_text = 'x'`

// UnsoundEnds are statements that are refused after that, each a conflict.
func UnsoundEnds() []string {
	return []string{
		`UPDATE runs SET status = 'RUNNING', ended_at = NULL, error_text = NULL`,
		`UPDATE runs SET status = 'SUCCESS', error_text = NULL`,
		`UPDATE runs SET ended_at = '2027-01-15T09:30:00.000000Z'`,
	}
}
