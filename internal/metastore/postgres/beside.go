package postgres

import (
	"database/sql"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// Beside is the way to other tables in the database of a Meta DB: on connections that
// notice a cut network as those of the Meta DB do, and with the same words for what goes
// wrong. Its statements are PostgreSQL's own.
type Beside struct {
	config *pgx.ConnConfig
	engine dialect
}

// NewBeside reads the URL of a Meta DB; it connects to nothing. Usage for what is none.
func NewBeside(url string) (*Beside, error) {
	o := Options{URL: url, Wait: defaultWait}
	config, err := parse(o)
	if err != nil {
		return nil, err
	}
	// Its statements are many and the same.
	config.DefaultQueryExecMode, config.StatementCacheCapacity = pgx.QueryExecModeCacheStatement, 512
	return &Beside{config: config, engine: dialect{shown: Shown(url), wait: o.Wait, address: address(config)}}, nil
}

// Open is a pool of connections, none of them made yet.
func (b *Beside) Open() *sql.DB {
	pool := stdlib.OpenDB(*b.config)
	pool.SetConnMaxIdleTime(time.Minute)
	return pool
}

// Classify is the error of a statement in the words of the Meta DB's. nil stays nil.
func (b *Beside) Classify(what string, err error) error { return b.engine.Classify(what, err) }
