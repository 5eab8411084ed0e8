package team

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"quant/internal/metastore/postgrestest"
	"quant/internal/test/labtest"
	"quant/internal/test/laketest"
)

// Who may read a lake reads it and changes nothing; writers share what one of them made.
func TestWhoMayReadALakeWritesNothingAndWritersShareIt(t *testing.T) {
	t.Parallel()
	server := postgrestest.Shared(t)
	at, dir := server.Database(t), t.TempDir()
	config, err := pgx.ParseConfig(at)
	labtest.Must(t, err)
	// The roles are the server's, which tests share: made once.
	server.Exec(t, config.Database, `DO $$ BEGIN
		IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'lia') THEN CREATE ROLE lia LOGIN; CREATE ROLE leo LOGIN; CREATE ROLE lee LOGIN; END IF; END $$`)
	server.Exec(t, config.Database, grants(t, "Facts on DuckLake")+`; GRANT lake_writer TO lia, leo; GRANT lake_reader TO lee`)
	as := func(role, more string) *labtest.Lab {
		return onLake(t, laketest.In(strings.Replace(at, "quant@", role+"@", 1)+more, dir))
	}
	writing := "&options=-c%20role%3Dlake_writer"
	lia, leo, lee := as("lia", writing), as("leo", writing), as("lee", "")
	lia.Must("init-db")
	lia.Must("ingest", "first.csv")
	leo.Must("ingest", "second.csv")
	leo.Must("features", "--feature-version", "v1")
	rows := func(l *labtest.Lab) string {
		return l.Must("sql", "--output", "csv", "SELECT count(*), sum(volume), (SELECT count(*) FROM features_daily), (SELECT count(*) FROM ledger) FROM ohlcv").Stdout
	}
	before := rows(lia)
	if got := rows(lee); got != before {
		t.Errorf("who may only read sees %q, a writer %q", got, before)
	}
	lee.Write("third.csv", labtest.Corrected(2020, "F"))
	for _, line := range [][]string{{"ingest", "third.csv"}, {"features", "--feature-version", "v2"}, {"recommend", "--strategy", "s.yaml", "--from", "2015-03-01", "--to", "2015-12-31"}} {
		r := lee.Run(line...)
		if r.Code != 8 || !strings.Contains(r.Stderr, "the role lee may only read the lake at ") || !strings.Contains(r.Stderr, "lake_writer") {
			t.Errorf("who may only read could, or is not told why: %v", r)
		}
	}
	lee.WantClosed()
	if after := rows(leo); after != before {
		t.Errorf("%q before, %q after what was refused", before, after)
	}
}
