package postgres

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"quant"
	"quant/internal/metastore"
	"quant/internal/metastore/postgrestest"
)

// goneServer is a server of its own, with a Meta DB, that is gone.
func goneServer(t *testing.T) (*postgrestest.Server, string) {
	t.Helper()
	s := postgrestest.Start(t, postgrestest.Options{Durable: true})
	url := s.Database(t)
	ok(t, prepare(context.Background(), url))
	s.Stop()
	return s, url
}

func TestAServerThatIsAwayIsWaitedFor(t *testing.T) {
	t.Parallel()
	s, url := goneServer(t)
	waiting := make(chan error, 10)
	type result struct {
		db  *DB
		err error
	}
	done := make(chan result, 1)
	go func() {
		db, err := Open(context.Background(), Options{URL: url, Patience: 5 * time.Minute, Waiting: func(why error) { waiting <- why }})
		done <- result{db, err}
	}()
	select {
	case why := <-waiting:
		if !strings.Contains(why.Error(), "no server answers at ") {
			t.Errorf("it waits because %v", why)
		}
	case r := <-done:
		t.Fatalf("it waits for nobody: %v", r.err)
	}
	s.Restart(t)
	r := <-done
	ok(t, r.err)
	ok(t, r.db.Close())
	if len(waiting) != 0 {
		t.Errorf("it is said again: %v", <-waiting)
	}
}

func TestAServerThatStaysAwayIsToldWhenTheWaitIsOver(t *testing.T) {
	t.Parallel()
	_, url := goneServer(t)
	err := fails(t, Options{URL: url}, quant.Store, "no server answers at ")
	if !errors.Is(err, metastore.ErrAway) {
		t.Errorf("not marked: %v", err)
	}
	begun := time.Now()
	_ = fails(t, Options{URL: url, Patience: 1500 * time.Millisecond}, quant.Store, "no server answers at ", "(waited ")
	if took := time.Since(begun); took < time.Second {
		t.Errorf("it waited %s", took)
	}
}

func TestTheEndOfAContextEndsAWaitForAServerAtOnce(t *testing.T) {
	t.Parallel()
	_, url := goneServer(t)
	ctx, cancel := context.WithCancel(context.Background())
	_, err := Open(ctx, Options{URL: url, Patience: time.Hour, Waiting: func(error) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("it says %v", err)
	}
}

// What a moment does not mend is told at once.
func TestWhatWaitingDoesNotMendIsToldAtOnce(t *testing.T) {
	t.Parallel()
	s := postgrestest.Start(t, postgrestest.Options{TLS: true})
	good := s.TCP("quant", "quant", "postgres")
	for url, says := range map[string]string{
		s.TCP("quant", "wrong-password", "postgres"):                "does not take the password",
		s.TCP("quant", "quant", "nowhere"):                          "no database",
		good + "?sslmode=disable":                                   "refuses role quant",
		good + "?sslmode=verify-full":                               "is not trusted",
		"postgres://quant@no-such-host.invalid/lab":                 "there is no host",
		postgrestest.Shared(t).URL(named(postgrestest.Database(t))): "holds no lab yet",
	} {
		err := fails(t, Options{URL: url, Patience: time.Hour, Waiting: func(why error) { t.Errorf("it waits: %v", why) }}, quant.Store, says)
		if errors.Is(err, metastore.ErrAway) {
			t.Errorf("marked as away: %v", err)
		}
	}
}

// storesLater stores a symbol in the background, and returns once that waits for the
// server. What it came to is sent.
func storesLater(t *testing.T, db *DB, waiting <-chan error) <-chan error {
	t.Helper()
	stored := make(chan error, 1)
	go func() {
		stored <- db.CreateSymbol(context.Background(), quant.Symbol{Symbol: "A"})
	}()
	select {
	case <-waiting:
	case err := <-stored:
		t.Fatalf("it waits for nobody: %v", err)
	}
	return stored
}

// A method that stores something begins anew when its server was away before it was told
// to commit, and stores that once.
func TestAMethodOutlivesARestartOfItsServer(t *testing.T) {
	t.Parallel()
	s, url := goneServer(t)
	s.Restart(t)
	var said atomic.Int64
	waiting := make(chan error, 10)
	db := opened(t, Options{URL: url, Patience: 5 * time.Minute, Waiting: func(why error) { said.Add(1); waiting <- why }})
	s.Kill()
	stored := storesLater(t, db, waiting)
	s.Restart(t)
	ok(t, <-stored)
	list, err := db.ListSymbols(context.Background(), metastore.SymbolFilter{})
	ok(t, err)
	if len(list) != 1 || said.Load() != 1 {
		t.Errorf("%d symbols, and it was said %d times", len(list), said.Load())
	}

	s.Kill()
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-waiting; cancel() }()
	if err := db.CreateSymbol(ctx, quant.Symbol{Symbol: "B"}); !errors.Is(err, metastore.ErrAway) {
		t.Errorf("when its context ends it says %v", err)
	}
}

// A server that answers, but takes nobody yet, is away as one that does not answer: it
// starts, or has no connection left.
func TestAMethodOutlivesAServerThatTakesNobodyForAWhile(t *testing.T) {
	t.Parallel()
	s := postgrestest.Start(t, postgrestest.Options{})
	url := s.Database(t)
	ok(t, prepare(context.Background(), url))
	waiting := make(chan error, 10)
	db := opened(t, Options{URL: url, Patience: 5 * time.Minute, Waiting: func(why error) { waiting <- why }})
	db.Pool.SetMaxIdleConns(0) // so that each method makes a connection
	full := func(connections string) {
		s.Exec(t, "postgres", "ALTER DATABASE "+named(url)+" CONNECTION LIMIT "+connections)
	}
	full("0")
	stored := storesLater(t, db, waiting)
	full("-1")
	ok(t, <-stored)

	full("0")
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-waiting; cancel() }()
	if err := db.CreateSymbol(ctx, quant.Symbol{Symbol: "B"}); !errors.Is(err, metastore.ErrAway) {
		t.Errorf("when its context ends it says %v", err)
	}
}

// What is asked before a content is stored waits as well: else a program's log stays on
// its machine because the server was restarted at its end.
func TestTheQuestionBeforeAContentIsStoredOutlivesARestart(t *testing.T) {
	t.Parallel()
	s, url := goneServer(t)
	s.Restart(t)
	waiting := make(chan struct{}, 10)
	db := opened(t, Options{URL: url, Patience: 5 * time.Minute, Waiting: func(error) { waiting <- struct{}{} }})
	before, err := db.Born(context.Background())
	ok(t, err)
	s.Kill()
	type answer struct {
		at  string
		err error
	}
	asked := make(chan answer, 1)
	go func() {
		at, err := db.Born(context.Background())
		asked <- answer{at, err}
	}()
	select {
	case <-waiting:
	case a := <-asked:
		t.Fatalf("it waits for nobody: %v", a.err)
	}
	s.Restart(t)
	if a := <-asked; a.err != nil || a.at != before {
		t.Errorf("it was made at %s, and then at %s (%v)", before, a.at, a.err)
	}
}
