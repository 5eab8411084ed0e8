package jobs

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// dialect is what this package asks of the tables of River beside what River asks, in the
// words of one of the two databases.
type dialect struct {
	// fetchEvery is how long a worker that has nothing to do waits before it asks again.
	fetchEvery time.Duration

	waiters                                string // jobs of a queue that may be taken next, of each user at most a number
	take                                   string // takes, for a worker, of the jobs of a list at most a number
	schedules, addSchedule, removeSchedule string // those of a team; "": they stand in a file

	tally   string   // what there is to be done, what runs, and how long it took before
	made    []string // what stands beside River's tables
	ready   string   // whether it is there
	session string   // who is logged in; "": nobody is
}

const (
	recentJobs  = 1000 // from so many finished jobs it is told how long a job takes,
	recentAlike = 20   // and from the last so many of a kind
)

// fileDialect is SQLite's.
func fileDialect() dialect {
	const (
		user = `coalesce(json_extract(%[1]sargs, '$.user'), '')`
		kind = `(json_extract(args, '$.command') || CASE WHEN json_extract(args, '$.command') = 'exec' THEN ' ' || coalesce(json_extract(args, '$.argv[2]'), '') ELSE '' END)`
	)
	of := func(prefix string) string { return fmt.Sprintf(user, prefix) }
	return dialect{
		fetchEvery: 20 * time.Millisecond, // a look at a file, see idle
		made: []string{
			`CREATE INDEX IF NOT EXISTS quant_turns ON river_job (state, ` + of("") + `, priority, scheduled_at, id)`,
			`CREATE INDEX IF NOT EXISTS quant_served ON river_job (` + of("") + `, attempted_at)`,
		},
		ready: `SELECT count(*) = 2 FROM sqlite_schema WHERE type = 'index' AND name IN ('quant_turns', 'quant_served')`,
		waiters: `WITH RECURSIVE users (user) AS (
	SELECT (SELECT ` + of("j.") + ` FROM river_job j WHERE j.state = 'available' ORDER BY ` + of("j.") + ` LIMIT 1)
	UNION ALL
	SELECT (SELECT ` + of("j.") + ` FROM river_job j WHERE j.state = 'available' AND ` + of("j.") + ` > users.user ORDER BY ` + of("j.") + ` LIMIT 1)
	FROM users WHERE users.user IS NOT NULL
)
SELECT j.id, u.user, j.priority,
	(SELECT count(*) FROM river_job r WHERE r.state = 'running' AND ` + of("r.") + ` = u.user),
	coalesce(unixepoch((SELECT max(r.attempted_at) FROM river_job r WHERE ` + of("r.") + ` = u.user), 'subsec'), 0.0)
FROM users u CROSS JOIN river_job j ON j.id IN (
	SELECT h.id FROM river_job h WHERE h.state = 'available' AND h.queue = ?2 AND ` + of("h.") + ` = u.user AND h.scheduled_at <= strftime('%Y-%m-%d %H:%M:%f', 'now')
	ORDER BY h.priority, h.scheduled_at, h.id LIMIT ?1
)
WHERE u.user IS NOT NULL
ORDER BY j.priority, j.scheduled_at, j.id`,
		take: `UPDATE river_job SET state = 'running', attempt = attempt + 1, attempted_at = strftime('%Y-%m-%d %H:%M:%f', 'now'),
	attempted_by = jsonb(json_insert(coalesce(json(attempted_by), '[]'), '$[#]', ?1))
WHERE id IN (SELECT j.id FROM json_each(?2) c JOIN river_job j ON j.id = c.value WHERE j.state = 'available' ORDER BY c.key LIMIT ?3)
RETURNING id`,
		tally: `SELECT 'state', state, count(*), 0.0 FROM river_job GROUP BY state
UNION ALL
SELECT 'waiting', ` + kind + `, count(*), 0.0 FROM river_job WHERE state IN ('available', 'pending', 'retryable') GROUP BY ` + kind + `
UNION ALL
SELECT 'running', ` + kind + `, 1, unixepoch('now', 'subsec') - unixepoch(attempted_at, 'subsec') FROM river_job WHERE state = 'running'
UNION ALL
SELECT 'done', kind, count(*), avg(seconds) FROM (
	SELECT kind, seconds, row_number() OVER (PARTITION BY kind ORDER BY finalized_at DESC) AS nth FROM (
		SELECT ` + kind + ` AS kind, unixepoch(finalized_at, 'subsec') - unixepoch(attempted_at, 'subsec') AS seconds, finalized_at
		FROM river_job WHERE state = 'completed' AND finalized_at IS NOT NULL AND attempted_at IS NOT NULL
		ORDER BY finalized_at DESC LIMIT ` + fmt.Sprint(recentJobs) + `))
WHERE nth <= ` + fmt.Sprint(recentAlike) + ` GROUP BY kind`,
	}
}

// serverDialect is PostgreSQL's.
func serverDialect() dialect {
	const (
		table     = serverSchema + `.river_job`
		schedules = serverSchema + `.quant_schedules`
		user      = `coalesce(%[1]sargs->>'user', '')`
		kind      = `(args->>'command') || CASE WHEN args->>'command' = 'exec' THEN ' ' || coalesce(args->'argv'->>2, '') ELSE '' END`
	)
	of := func(prefix string) string { return fmt.Sprintf(user, prefix) }
	return dialect{
		fetchEvery: 200 * time.Millisecond, // of each of many workers
		session:    `SELECT session_user`,
		made: []string{
			`CREATE INDEX IF NOT EXISTS quant_turns ON ` + table + ` (state, (` + of("") + `), priority, scheduled_at, id)`,
			`CREATE INDEX IF NOT EXISTS quant_served ON ` + table + ` ((` + of("") + `), attempted_at)`,
			`CREATE TABLE IF NOT EXISTS ` + schedules + ` (name text COLLATE "C" PRIMARY KEY, document text NOT NULL)`,
		},
		schedules:      `SELECT document FROM ` + schedules + ` ORDER BY name`,
		addSchedule:    `INSERT INTO ` + schedules + ` (name, document) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`,
		removeSchedule: `DELETE FROM ` + schedules + ` WHERE name = $1 RETURNING document`,
		ready:          `SELECT to_regclass('` + schedules + `') IS NOT NULL AND to_regclass('` + serverSchema + `.quant_turns') IS NOT NULL AND to_regclass('` + serverSchema + `.quant_served') IS NOT NULL`,
		waiters: `WITH RECURSIVE users (owner) AS (
	(SELECT ` + of("j.") + ` FROM ` + table + ` j WHERE j.state = 'available' ORDER BY ` + of("j.") + ` LIMIT 1)
	UNION ALL
	SELECT (SELECT ` + of("j.") + ` FROM ` + table + ` j WHERE j.state = 'available' AND ` + of("j.") + ` > users.owner ORDER BY ` + of("j.") + ` LIMIT 1)
	FROM users WHERE users.owner IS NOT NULL
)
SELECT j.id, u.owner, j.priority,
	(SELECT count(*) FROM ` + table + ` r WHERE r.state = 'running' AND ` + of("r.") + ` = u.owner),
	coalesce(extract(epoch FROM (SELECT max(r.attempted_at) FROM ` + table + ` r WHERE ` + of("r.") + ` = u.owner)), 0)::float8
FROM users u CROSS JOIN LATERAL (
	SELECT h.id, h.priority, h.scheduled_at FROM ` + table + ` h WHERE h.state = 'available' AND h.queue = $2 AND ` + of("h.") + ` = u.owner AND h.scheduled_at <= now()
	ORDER BY h.priority, h.scheduled_at, h.id LIMIT $1
) j
WHERE u.owner IS NOT NULL
ORDER BY j.priority, j.scheduled_at, j.id`,
		take: `UPDATE ` + table + ` SET state = 'running', attempt = attempt + 1, attempted_at = now(), attempted_by = array_append(attempted_by, $1::text)
WHERE id IN (
	SELECT j.id FROM json_array_elements_text($2::json) WITH ORDINALITY c (id, place) JOIN ` + table + ` j ON j.id = c.id::bigint
	WHERE j.state = 'available' ORDER BY c.place LIMIT $3::int FOR UPDATE OF j SKIP LOCKED
)
RETURNING id`,
		tally: `SELECT 'state', state::text, count(*), 0::float8 FROM ` + table + ` GROUP BY state
UNION ALL
SELECT 'waiting', ` + kind + `, count(*), 0::float8 FROM ` + table + ` WHERE state IN ('available', 'pending', 'retryable') GROUP BY ` + kind + `
UNION ALL
SELECT 'running', ` + kind + `, 1, extract(epoch FROM now() - attempted_at)::float8 FROM ` + table + ` WHERE state = 'running'
UNION ALL
SELECT 'done', kind, count(*), avg(seconds) FROM (
	SELECT kind, seconds, row_number() OVER (PARTITION BY kind ORDER BY finalized_at DESC) AS nth FROM (
		SELECT ` + kind + ` AS kind, extract(epoch FROM finalized_at - attempted_at)::float8 AS seconds, finalized_at
		FROM ` + table + ` WHERE state = 'completed' AND finalized_at IS NOT NULL AND attempted_at IS NOT NULL
		ORDER BY finalized_at DESC LIMIT ` + fmt.Sprint(recentJobs) + `) recent) alike
WHERE nth <= ` + fmt.Sprint(recentAlike) + ` GROUP BY kind`,
	}
}

// prepare makes what stands beside River's tables. Taking turns is only slower without its
// indexes, and what needs the schedules says so itself: so who may not make them goes on.
func (d dialect) prepare(ctx context.Context, pool *sql.DB) error {
	var there bool
	if err := pool.QueryRowContext(ctx, d.ready).Scan(&there); err != nil || there {
		return err
	}
	for _, statement := range d.made {
		if _, err := pool.ExecContext(ctx, statement); err != nil {
			return nil //nolint:nilerr // the owner of the tables makes them
		}
	}
	return nil
}
