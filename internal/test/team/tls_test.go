package team

import (
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"quant/internal/metastore/postgrestest"
	"quant/internal/test/labtest"
)

// password is that of the lab's owner here; it stands nowhere that quant prints or stores.
const password = "hunter2-of-the-owner"

// onTLS is a database on a server that takes encrypted connections alone: its URL without
// a password, and the file of the authority that proves the server.
func onTLS(t *testing.T) (server *postgrestest.Server, database, authority string) {
	t.Helper()
	server = postgrestest.Start(t, postgrestest.Options{TLS: true})
	server.Exec(t, "postgres", `ALTER ROLE quant PASSWORD '`+password+`'`)
	server.Exec(t, "postgres", `CREATE DATABASE team OWNER quant`)
	u, err := url.Parse(server.TCP("quant", password, "team"))
	labtest.Must(t, err)
	u.User = url.User("quant")
	return server, u.String() + "?sslmode=verify-full", server.CA()
}

func at(t *testing.T, metaURL string, env ...string) *labtest.Lab {
	t.Helper()
	l := labtest.New(t)
	l.Env = append(append(l.Env, "QUANT_META_URL="+metaURL), env...)
	return l
}

// The password comes from each place that a client of PostgreSQL looks in, and the server
// is proved by an authority of one's own.
func TestAServerIsProvedAndThePasswordComesFromWhereClientsKeepIt(t *testing.T) {
	t.Parallel()
	_, database, authority := onTLS(t)
	u, err := url.Parse(database)
	labtest.Must(t, err)
	file := func(l *labtest.Lab, name, text string) string {
		l.Write(name, []byte(text))
		return l.Path(name)
	}
	pass := fmt.Sprintf("%s:%s:team:quant:%s\n", u.Hostname(), u.Port(), password)
	labs := map[string]*labtest.Lab{}

	labs["PGPASSWORD"] = at(t, database, "PGSSLROOTCERT="+authority, "PGPASSWORD="+password)
	labs["in the URL"] = at(t, strings.Replace(database, "quant@", "quant:"+password+"@", 1)+"&sslrootcert="+authority)
	l := at(t, database, "PGSSLROOTCERT="+authority)
	l.Env = append(l.Env, "PGPASSFILE="+file(l, "passwords", pass))
	labs["PGPASSFILE"] = l
	l = at(t, database, "PGSSLROOTCERT="+authority)
	l.Env = append(l.Env, "HOME="+l.Path())
	file(l, ".pgpass", pass)
	labs["~/.pgpass"] = l
	service := fmt.Sprintf("[lab]\nhost=%s\nport=%s\ndbname=team\nuser=quant\npassword=%s\nsslmode=verify-full\nsslrootcert=%s\n", u.Hostname(), u.Port(), password, authority)
	l = at(t, "postgres:///?service=lab")
	l.Env = append(l.Env, "PGSERVICEFILE="+file(l, "services", service))
	labs["service file"] = l
	l = at(t, "postgres:///")
	l.Env = append(l.Env, "PGSERVICE=lab", "PGSERVICEFILE="+file(l, "services", service))
	labs["PGSERVICE"] = l

	labs["PGPASSWORD"].Must("init-db")
	for name, l := range labs {
		l.Must("symbols", "add", "A")
		l.Must("symbols", "remove", "A")
		shown := l.Must("config").Stdout
		if !strings.Contains(shown, "postgres://") || strings.Contains(l.Printed(), password) {
			t.Errorf("%s: %s", name, l.Printed())
		}
		for _, setting := range strings.Split(shown, "\n") {
			if strings.HasPrefix(setting, "QUANT_SQLITE_PATH") && !strings.Contains(setting, "unused: QUANT_META_URL") {
				t.Errorf("%s: %s", name, setting)
			}
		}
	}
	stored := labs["PGPASSWORD"].Must("sql", "--meta", "--output", "csv", "SELECT config_json FROM runs").Stdout
	if strings.Count(stored, "\n") < 3*len(labs) || strings.Contains(stored, password) {
		t.Errorf("stored: %s", stored)
	}
}

// Whoever cannot prove the server or cannot log in is told what is wrong, and nothing is
// left in the data folder.
func TestAServerThatIsNotProvedIsRefusedAndNothingIsLeft(t *testing.T) {
	t.Parallel()
	_, database, authority := onTLS(t)
	other := postgrestest.Start(t, postgrestest.Options{TLS: true})
	plain := postgrestest.Start(t, postgrestest.Options{TCP: true})
	proved, own := "PGSSLROOTCERT="+authority, "PGPASSWORD="+password
	unprotected := strings.Replace(plain.TCP("quant", "quant", "postgres"), "quant:quant@", "quant@", 1) + "?sslmode=verify-full"
	for name, c := range map[string]struct {
		url  string
		env  []string
		code int
		says []string
	}{
		"authority of another": {database, []string{"PGSSLROOTCERT=" + other.CA(), own}, 8, []string{"is not trusted", "unknown authority", "sslrootcert"}},
		"no authority":         {database, []string{own}, 8, []string{"is not trusted", "sslrootcert"}},
		"name of another host": {strings.Replace(database, "localhost", "127.0.0.1", 1), []string{proved, own}, 8, []string{"is not trusted", "127.0.0.1"}},
		"no TLS":               {unprotected, []string{proved, "PGPASSWORD=quant"}, 8, []string{"does not speak TLS"}},
		"wrong password":       {database, []string{proved, "PGPASSWORD=not-" + password}, 8, []string{"does not take the password of role quant", "PGPASSWORD"}},
		"no password":          {database, []string{proved, "PGPASSFILE=/nowhere"}, 8, []string{"password"}},
		"without TLS":          {strings.Replace(database, "verify-full", "disable", 1), []string{own}, 8, []string{"refuses role quant", "TLS"}},
		"nobody listens":       {"postgres://quant@127.0.0.1:9/team", []string{own}, 8, []string{"no server answers at 127.0.0.1:9"}},
		"no such authority":    {database, []string{"PGSSLROOTCERT=/nowhere/ca.crt", own}, 2, []string{"/nowhere/ca.crt", "PGSSLROOTCERT"}},
		"no such service":      {"postgres:///?service=lab&servicefile=/nowhere/services", []string{own}, 2, []string{"/nowhere/services"}},
		"no such mode":         {strings.Replace(database, "verify-full", "perhaps", 1), []string{own}, 2, []string{"sslmode is invalid"}},
		"no port":              {"postgres://quant:" + password + "@localhost:port/team", nil, 2, []string{"QUANT_META_URL is no URL of a PostgreSQL database"}},
		"a slash":              {"postgres://quant:a/" + password + "@localhost/team", nil, 2, []string{"QUANT_META_URL is no URL of a PostgreSQL database", "postgres://USER@HOST/DATABASE"}},
		"no database":          {"postgres://quant@localhost/", []string{own}, 2, []string{"names no database"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := at(t, c.url, c.env...)
			lines := [][]string{{"symbols", "add", "A"}, {"symbols", "list"}, {"init-db"}}
			if c.code == 2 {
				lines = append(lines, []string{"config"}, []string{"runs", "list"})
			}
			for _, line := range lines {
				r := l.Want(c.code, line...)
				for _, words := range c.says {
					if !strings.Contains(r.Stderr, words) {
						t.Errorf("%q is missing: %v", words, r)
					}
				}
				if !strings.Contains(r.Stderr, "\n  hint: ") || strings.Contains(r.Stderr, password) || strings.Contains(r.Stderr, "***@") {
					t.Error(r)
				}
			}
			if left, err := os.ReadDir(l.Path("data")); !os.IsNotExist(err) {
				t.Errorf("left in the data folder: %v", left)
			}
		})
	}
}
