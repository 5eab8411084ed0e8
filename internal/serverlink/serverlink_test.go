package serverlink

import (
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestWordsOfLibpqKeepWhatIsSaid(t *testing.T) {
	t.Parallel()
	const all = "connect_timeout='10' keepalives_idle='4' keepalives_interval='2' keepalives_count='3' tcp_user_timeout='10000' options='-c tcp_keepalives_idle=4 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 -c tcp_user_timeout=10000'"
	for given, want := range map[string]string{
		"dbname=lake host=db": "dbname=lake host=db " + all,
		"dbname=lake connect_timeout=3 keepalives_idle=1 keepalives_interval=2 keepalives_count=3 tcp_user_timeout=9 options='-c a=b'": "dbname=lake connect_timeout=3 keepalives_idle=1 keepalives_interval=2 keepalives_count=3 tcp_user_timeout=9 options='-c a=b'",
		"postgres://ann@db/lake?options=x&connect_timeout=1":                                                                           "postgres://ann@db/lake?options=x&connect_timeout=1&keepalives_idle=4&keepalives_interval=2&keepalives_count=3&tcp_user_timeout=10000",
	} {
		if got := Libpq(given); got != want {
			t.Errorf("%s:\n%s, want\n%s", given, got, want)
		}
	}
	config, err := pgconn.ParseConfig(Libpq("postgres://ann@db/lake"))
	if err != nil || config.RuntimeParams["options"] != words[5][1] {
		t.Errorf("a URL's options: %v %v", config, err)
	}
}
