// Package serverlink is how connections to a PostgreSQL server notice that the network
// was cut, on both sides, whoever makes them: pgx in this process, or DuckDB with libpq.
package serverlink

import (
	"net"
	"net/url"
	"strings"
	"time"
)

// Unanswered is how long what was sent may stay without an answer of the other machine's
// TCP before the connection counts as broken.
const Unanswered = 10 * time.Second

// Dialer opens connections that notice a cut network: a silent one is asked after
// 4 s, and is broken after three more questions of 2 s each that nobody answers. The
// server is told the same (Settings), since each side only looks at its own.
func Dialer() *net.Dialer {
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 4 * time.Second, Interval: 2 * time.Second, Count: 3},
		Control:         limitUnanswered,
	}
}

// Settings are what a session tells the server: one of a host that is gone ends, and its
// locks with it, after about ten seconds.
func Settings() map[string]string {
	return map[string]string{"tcp_keepalives_idle": "4", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3", "tcp_user_timeout": "10000"}
}

// words are the same for libpq, in the order in which they are written.
var words = [][2]string{
	{"connect_timeout", "10"},
	{"keepalives_idle", "4"}, {"keepalives_interval", "2"}, {"keepalives_count", "3"}, {"tcp_user_timeout", "10000"},
	{"options", "-c tcp_keepalives_idle=4 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 -c tcp_user_timeout=10000"},
}

// Libpq is the name of a database in libpq's words, or a URL, with what makes a connection
// notice. What it says itself stays.
func Libpq(database string) string {
	isURL := strings.Contains(database, "://")
	for _, w := range words {
		name, value := w[0], w[1]
		if strings.Contains(database, name+"=") && !partOfAnother(database, name) {
			continue
		}
		switch {
		case !isURL:
			database += " " + name + "='" + value + "'"
		case strings.Contains(database, "?"):
			database += "&" + name + "=" + escaped(value)
		default:
			database += "?" + name + "=" + escaped(value)
		}
	}
	return database
}

// escaped is a value in a URL: libpq takes no + for a space.
func escaped(value string) string { return strings.ReplaceAll(url.QueryEscape(value), "+", "%20") }

// partOfAnother reports whether a name stands in a text only as the end of a longer one.
func partOfAnother(text, name string) bool {
	for at := 0; ; {
		i := strings.Index(text[at:], name+"=")
		if i < 0 {
			return true
		}
		at += i
		if at == 0 || strings.ContainsRune(" ?&", rune(text[at-1])) {
			return false
		}
		at++
	}
}
