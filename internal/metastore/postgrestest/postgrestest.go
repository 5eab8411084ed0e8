// Package postgrestest gives tests a PostgreSQL of their own: a real server in a
// temporary folder, made by initdb, that ends when its test or the test binary does,
// however that ends. It knows PostgreSQL and nothing of quant's tables.
package postgrestest

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Owner is the role that owns the databases which are given out. It is no superuser.
const Owner = "quant"

var shared struct {
	sync.Mutex
	server *Server
	err    error
	tried  bool
}

// Shared is the server that all tests of a test binary share: on a Unix socket, without
// waiting for the disk. Where no PostgreSQL is installed the test is left out.
func Shared(t testing.TB) *Server {
	t.Helper()
	installation := find(t)
	shared.Lock()
	defer shared.Unlock()
	if !shared.tried {
		shared.tried = true
		shared.server, shared.err = start(installation, Options{})
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.server
}

// Database is the URL of an empty database of its own on the shared server, dropped when
// the test ends.
func Database(t testing.TB) string {
	t.Helper()
	return Shared(t).Database(t)
}

// Database is the URL of an empty database of its own, dropped when the test ends.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	return s.copyOf(t, "template1")
}

// Prepared is the URL of a database of its own as prepare made the first of them; the
// others are copies of it. One server knows one way to prepare: the first that it is told.
func (s *Server) Prepared(t testing.TB, prepare func(ctx context.Context, url string) error) string {
	t.Helper()
	const template = "prepared"
	s.prepare.Do(func() {
		if s.unprepared = s.admin(`CREATE DATABASE ` + template + ` OWNER ` + Owner); s.unprepared == nil {
			s.unprepared = prepare(context.Background(), s.URL(template))
		}
	})
	if s.unprepared != nil {
		t.Fatalf("prepare a database: %v", s.unprepared)
	}
	return s.copyOf(t, template)
}

func (s *Server) copyOf(t testing.TB, template string) string {
	t.Helper()
	name := fmt.Sprintf("test_%d", s.databases.Add(1))
	if err := s.admin(`CREATE DATABASE ` + name + ` OWNER ` + Owner + ` TEMPLATE ` + template); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.admin(`DROP DATABASE IF EXISTS ` + name + ` WITH (FORCE)`); err != nil && s.alive() {
			t.Errorf("drop database %s: %v", name, err)
		}
	})
	return s.URL(name)
}

// URL names a database over the server's Unix socket, as its owner, without a password.
func (s *Server) URL(database string) string { return s.socket(Owner, database) }

// Superuser names a database over the server's Unix socket, as its superuser.
func (s *Server) Superuser(database string) string { return s.socket(superuser, database) }

func (s *Server) socket(role, database string) string {
	return "postgres://" + role + "@/" + database + "?" + url.Values{"host": {s.dir}, "port": {fmt.Sprint(s.port)}}.Encode()
}

// TCP names a database over TCP on localhost, which asks every role for its password. The
// server has Options.TCP or Options.TLS.
func (s *Server) TCP(role, password, database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(role, password), Host: fmt.Sprintf("localhost:%d", s.port), Path: "/" + database}
	return u.String()
}

// CA is the file of the certificate that signed the server's, where it has Options.TLS.
func (s *Server) CA() string { return filepath.Join(s.dir, "ca.crt") }

// Exec runs statements as the superuser.
func (s *Server) Exec(t testing.TB, database, sql string) {
	t.Helper()
	if err := execute(s.Superuser(database), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// admin runs statements as the superuser, one after the other: copies of one template
// exclude each other.
func (s *Server) admin(sql string) error {
	s.administration.Lock()
	defer s.administration.Unlock()
	return execute(s.Superuser("postgres"), sql)
}

func execute(database, sql string) error {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return err
	}
	_, err = conn.PgConn().Exec(ctx, sql).ReadAll()
	if e := conn.Close(ctx); err == nil {
		err = e
	}
	return err
}
