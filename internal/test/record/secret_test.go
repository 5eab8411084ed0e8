package record

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quant/internal/test/labtest"
)

func TestASecretIsFoundNowhereAfterwards(t *testing.T) {
	t.Parallel()
	l := labtest.New(t)
	var canaries []string
	canary := func(place string) string {
		c := fmt.Sprintf("CaNaRy%02dqz%s", len(canaries), strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' {
				return r
			}
			return -1
		}, place))
		canaries = append(canaries, c)
		return c
	}
	l.Write(".env", []byte("ALPHA_VANTAGE_API_KEY="+canary("dotenv setting")+"\nBROKER_PASSWORD='"+canary("dotenv other")+" with spaces'\n"))
	l.Env = []string{
		"MY_API_TOKEN=" + canary("environment"),
		"AWS_SECRET_ACCESS_KEY=" + canary("environment aws") + "/+=x",
		"DATABASE_PASSWORD=p@" + canary("environment at") + ":/?#",
		"QUANT_RUN_ID=token=" + canary("environment parent"),
		"QUANT_LOG_LEVEL=info",
	}
	inEnv := strings.TrimPrefix(l.Env[0], "MY_API_TOKEN=")
	l.Write("a.csv", labtest.PriceFile(1, 20, "A"))
	l.Write("password="+canary("file name")+".csv", labtest.PriceFile(1, 20, "A"))
	named := "password=" + canaries[len(canaries)-1] + ".csv"
	l.Write("bad-symbols.csv", []byte("symbol,name\nA B,token="+canary("bad line")+"\n"))
	l.Write("bad-header.csv", []byte("symbol,api_key="+canary("header")+"\nA,1\n"))

	lines := [][]string{
		// unknown flags with a telling name, in every form
		{"config", "--api-key", canary("unknown flag")}, {"config", "--api-key=" + canary("unknown flag joined")},
		{"config", "--client-secret", "-" + canary("unknown flag dash")}, {"nosuch", "--token", canary("unknown command")},
		{"-password", canary("single dash"), "config"}, {"-password=" + canary("single dash joined")},
		{"symbols", "add", "X", "--brokerPassword", canary("camel")}, {"ingest", "--auth=" + canary("auth"), "a.csv"},
		{"sql", "--", "--password", canary("after terminator")}, {"sql", "SELECT 1", "PGPASSWORD=" + canary("assignment")},
		{"nosuch", "DB_TOKEN=" + canary("assignment bare")}, {"runs", "show", "token=" + canary("run reference")},
		// URLs and DSNs, in flags known and unknown and as arguments
		{"ingest", "https://user:" + canary("url user") + "@example.com/prices.csv"},
		{"ingest", "https://example.com/prices.csv?symbol=A&apikey=" + canary("url query") + "&x=1"},
		{"ingest", "postgres://quant:" + canary("dsn") + "@db.example.com:5432/lab?sslmode=disable"},
		{"ingest", "user:" + canary("dsn mysql") + "@tcp(db:3306)/lab"},
		{"config", "--no-such", "https://u:" + canary("flag url") + "@h/"},
		{"config", "--output", "https://u:" + canary("flag value url") + "@h/"},
		{"config", "--wait", "token=" + canary("flag value pair")},
		{"config", "--log-level", "password=" + canary("level")},
		{"ingest", "a.csv", "--symbol", "secret=" + canary("symbol flag") + " x"},
		{"ingest", "a.csv", "--date-format", "https://u:" + canary("date format") + "@h/"},
		{"runs", "list", "--since", "token=" + canary("since")}, {"runs", "list", "--kind", "password=" + canary("kind")},
		{"symbols", "add", "bad name password=" + canary("bad symbol")},
		{"symbols", "set", "https://u:" + canary("symbol url") + "@h/", "--name", "x"},
		{"symbols", "import", "no/such/https://u:" + canary("import url") + "@h/f.csv"},
		{"symbols", "import", "bad-symbols.csv"}, {"symbols", "import", "bad-header.csv"},
		{"--data-dir", "lab2", "--sqlite", "no/such/postgres://u:" + canary("sqlite flag") + "@h/db", "config"},
		{"--duckdb", "no/such/secret=" + canary("duckdb flag") + ".duckdb", "init-db"},
		// SQL text
		{"sql", "SELECT * FROM read_csv('https://u:" + canary("sql url") + "@h/x.csv?token=" + canary("sql query") + "')"},
		{"sql", "ATTACH 'host=h password=" + canary("sql dsn") + " user=u' AS p (TYPE postgres)"},
		{"sql", "--meta", "SELECT nosuch FROM runs -- password='" + canary("sql comment") + "'"},
		{"sql", "SELECT 1 WHERE 'api_key=" + canary("sql literal") + "' = "},
		// values that are secret because the environment says so, wherever they occur
		{"config", "--sector", inEnv}, {"sql", "SELECT '" + inEnv + "' AS v"},
		{"sql", "SELECT '" + canaries[0] + "' AS v, '" + strings.ToUpper("nothing") + "'", "--output", "json"}, {"runs", "show", inEnv},
		{"ingest", inEnv + ".csv"}, {inEnv}, {"runs", inEnv}, {"demo", inEnv},
		// good runs
		{"init-db"}, {"config"}, {"config", "--output", "json"}, {"config", "--output", "csv"}, {"ingest", "a.csv"}, {"ingest", named}, {"doctor", "--fix"},
	}
	for i, args := range lines {
		r := l.Run(args...)
		if r.Code >= 100 {
			t.Fatalf("line %d: %v", i, r)
		}
	}
	l.Start([]string{"QUANT_TEST_FAILPOINT=ingest.merged:panic"}, "ingest", "a.csv", "--log-level", "debug").Wait()
	l.Start([]string{"QUANT_TEST_FAILPOINT=ingest.merged"}, "ingest", "a.csv", "--token", canary("killed")).Wait()
	l.Start([]string{"QUANT_TEST_FAILPOINT=ingest.staged"}, "ingest", named).Wait()
	for _, format := range []string{"table", "json", "csv"} {
		l.Must("runs", "list", "--all", "--limit", "0", "--output", format)
		for i, run := range l.Runs() {
			if format == "table" || i%10 == 0 {
				l.Must("runs", "show", run.ID, "--output", format)
			}
		}
		l.Must("sql", "--meta", "SELECT * FROM run_process JOIN runs USING (run_id)", "--output", format)
		l.Must("sql", "SELECT DISTINCT source FROM ohlcv", "--output", format)
	}
	l.Run("init-db", "--reset", "--yes")

	own := map[string]bool{l.Path(".env"): true, l.Path(named): true, l.Path("bad-symbols.csv"): true, l.Path("bad-header.csv"): true}
	places := map[string][]byte{"what was printed": []byte(l.Printed())}
	labtest.Must(t, filepath.WalkDir(l.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || own[path] {
			return err
		}
		b, err := os.ReadFile(path)
		places[strings.TrimPrefix(path, l.Dir)] = b
		return err
	}))
	if len(places) < 5 {
		t.Fatalf("only %d places were searched", len(places))
	}
	for where, content := range places {
		for _, c := range canaries {
			if i := strings.Index(string(content), c); i >= 0 {
				t.Errorf("%s in %s: ...%q...", c, where, content[max(0, i-120):min(len(content), i+len(c)+20)])
			}
		}
	}
	if !strings.Contains(l.Printed(), "***") {
		t.Fatal("nothing was masked: the search proves nothing")
	}
}
