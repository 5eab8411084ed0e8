package team

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quant/internal/metastore/postgrestest"
	"quant/internal/test/labtest"
)

// grants are those that a section of docs/team.md tells the owner to give.
func grants(t *testing.T, section string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "team.md"))
	labtest.Must(t, err)
	_, rest, _ := strings.Cut(string(text), "\n## "+section+"\n")
	_, rest, found := strings.Cut(rest, "```sql\n")
	block, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatalf("docs/team.md has no block of SQL in %s", section)
	}
	return block
}

func TestAReaderReadsAndAResearcherKeepsTheHistoryOfOthers(t *testing.T) {
	t.Parallel()
	server := postgrestest.Shared(t)
	o := newTeam(t)
	database := o.rows(`SELECT current_database()`)
	// The roles are the server's, which tests share: made once.
	server.Exec(t, database, `DO $$ BEGIN
		IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'ann') THEN CREATE ROLE ann LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE rea LOGIN; END IF; END $$`)
	server.Exec(t, database, grants(t, "Roles")+`; GRANT quant_researcher TO ann, bob; GRANT quant_reader TO rea`)
	as := func(role string) *labtest.Lab {
		l := o.machine()
		l.Env = append(l.Env, "QUANT_META_URL="+strings.Replace(o.url, "quant@", role+"@", 1))
		return l
	}
	ann, bob, rea := as("ann"), as("bob"), as("rea")
	ann.Must("symbols", "add", "AAPL")
	ann.Must("ingest", "first.csv")
	ann.Must("features", "--feature-version", "v1")
	ann.Must("log", "tag", "--run", "last:ingest", "of=ann")
	ann.Must("log", "metric", "--run", "last:ingest", "m=1")
	if got := o.rows(`SELECT DISTINCT o.role FROM quant.run_roles o JOIN quant.runs r USING (run_id) WHERE r.kind = 'ingest'`); got != "ann" {
		t.Errorf("who ran it: %q", got)
	}

	// What has ended is of who started it.
	for _, line := range [][]string{
		{"log", "tag", "--run", "last:ingest", "of=bob"},
		{"log", "metric", "--run", "last:ingest", "m=2"},
		{"log", "param", "--run", "last:ingest", "p=2"},
		{"log", "note", "--run", "last:ingest", "mine"},
		{"runs", "delete", "last:ingest"},
	} {
		if r := bob.Run(line...); r.Code != 6 || !strings.Contains(r.Stderr, "belongs to the role ann") || strings.Contains(r.Stderr, "may only read") {
			t.Errorf("of another: %v", r)
		}
	}
	bob.Must("runs", "show", "last:ingest")
	bob.Must("sql", "--meta", "SELECT count(*) FROM runs")
	for _, sql := range []string{
		`DELETE FROM quant.runs`, `TRUNCATE quant.runs CASCADE`, `DROP TABLE quant.runs CASCADE`, `ALTER TABLE quant.runs DISABLE TRIGGER ALL`,
		`UPDATE quant.run_roles SET role = 'bob'`, `UPDATE quant.runs SET config_json = '{}' WHERE kind = 'ingest'`,
		`UPDATE quant.run_tags SET value = 'x' WHERE name = 'of'`, `DELETE FROM quant.run_tags WHERE name = 'of'`, `DELETE FROM quant.schema_migrations`,
	} {
		if err := o.as("bob", sql); err == nil {
			t.Errorf("a researcher could: %s", sql)
		}
	}
	// A dead run is closed by anybody.
	ann.Write("second.csv", labtest.PriceFile(2, 50, "NEW"))
	ann.WantCode(ann.Start([]string{"QUANT_TEST_FAILPOINT=ingest.merged"}, "ingest", "second.csv").Wait(), 1009)
	bob.Eventually("a run of another role is closed", func() bool {
		bob.Must("config")
		return o.rows(`SELECT count(*) FROM quant.runs WHERE status = 'RUNNING'`) == "0"
	})

	// A reader reads, unrecorded, and changes nothing.
	before := o.rows(`SELECT count(*) FROM quant.runs`)
	for _, line := range [][]string{{"runs", "list", "--all"}, {"runs", "show", "last:ingest"}, {"runs", "search", `kind = "ingest"`}, {"symbols", "list"}, {"config"}, {"sql", "--meta", "SELECT count(*) FROM runs"}} {
		if r := rea.Must(line...); !strings.Contains(r.Stderr, "this run is not recorded") || !strings.Contains(r.Stderr, "may only read") {
			t.Errorf("%v", r)
		}
	}
	for _, line := range [][]string{{"symbols", "add", "MSFT"}, {"ingest", "first.csv"}, {"init-db"}} {
		if r := rea.Run(line...); r.Code == 0 || !strings.Contains(r.Stderr, "may only read") {
			t.Errorf("%v", r)
		}
	}
	if after := o.rows(`SELECT count(*) FROM quant.runs`); after != before {
		t.Errorf("%s runs before, %s after", before, after)
	}

	// The queue is for those alone whom its owner gives it.
	o.machine().Must("jobs", "submit", "--", "symbols", "list")
	if r := bob.Run("jobs", "submit", "--", "symbols", "list"); r.Code == 0 || !strings.Contains(r.Stderr, "permission denied for schema quant_jobs") {
		t.Errorf("before it is given: %v", r)
	}
	server.Exec(t, database, grants(t, "Jobs")+`; GRANT quant_submitter TO bob`)
	rea.Must("jobs", "list")
	bob.Must("jobs", "submit", "--", "config")
	if r := bob.Must("worker", "--until-empty"); strings.Count(r.Stderr, " succeeded, run ") != 2 {
		t.Errorf("a submitter's worker: %v", r)
	}
	if r := rea.Run("jobs", "cancel", "1"); r.Code == 0 {
		t.Errorf("a reader could: %v", r)
	}
	// Also while a worker works, which a reader cannot judge.
	bob.Must("jobs", "submit", "--", "sh", "-c", "while [ ! -e go ]; do sleep 0.1; done")
	worker := bob.Start(nil, "worker", "--until-empty")
	rea.Eventually("a reader sees the worker at its job", func() bool {
		r := rea.Must("jobs", "status", "--output", "json")
		return strings.Contains(r.Stdout, `"running": 1`) && strings.Contains(r.Stdout, `"sure": false`)
	})
	for _, line := range [][]string{{"jobs", "list"}, {"jobs", "show", "3"}} {
		if r := rea.Must(line...); !strings.Contains(r.Stdout, "running") {
			t.Errorf("%v", r)
		}
	}
	bob.Write("go", nil)
	rea.Must("jobs", "watch", "3")
	bob.WantCode(worker.Wait(), 0)
}

func TestASuperuserRunsNoQueryOfAUser(t *testing.T) {
	t.Parallel()
	o := newTeam(t)
	l := o.machine()
	l.Env = append(l.Env, "QUANT_META_URL="+postgrestest.Shared(t).Superuser(o.rows(`SELECT current_database()`)))
	if r := l.Want(6, "sql", "--meta", "SELECT pg_read_file('postgresql.conf')"); !strings.Contains(r.Stderr, "may read files of the server") {
		t.Error(r)
	}
	for _, sql := range []string{"DELETE FROM runs", "SELECT 1; SELECT 2", "WITH x AS (DELETE FROM runs RETURNING 1) SELECT * FROM x", "SELECT set_config('a.b', nextval('leases_token_seq')::text, false)"} {
		o.machine().Want(6, "sql", "--meta", sql)
	}
}
