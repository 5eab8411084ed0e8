package lab

import (
	"context"
	"errors"
	"fmt"
	"time"

	"quant"
	"quant/internal/metastore"
	"quant/internal/metastore/postgres"
	"quant/internal/registry/liveness"
)

// InFiles refuses doing what is done with the files of a lab's databases where the Meta
// DB is a database on a server, or the facts are on DuckLake, whose own means do it.
func (l *Lab) InFiles(doing string) error {
	if l.FactsURL != "" {
		return quant.Errorf(quant.Refused, "%s: the facts are on DuckLake (%s), not in a file", doing, l.ShownFacts()).
			WithHint("save the catalog with pg_dump and then copy the folder of its files; bring them back in the same places")
	}
	return l.metaInFile(doing)
}

func (l *Lab) metaInFile(doing string) error {
	if l.MetaURL == "" {
		return nil
	}
	return quant.Errorf(quant.Refused, "%s: the Meta DB %s is on a server, not in a file of this machine", doing, l.ShownMeta()).
		WithHint("save it with pg_dump --schema=%s and bring it back with pg_restore; the data folder is copied beside it", postgres.Schema)
}

// openServer opens the Meta DB on its server, and goes by the clock of that. Nothing is
// made in the data folder before the server has answered.
func (l *Lab) openServer(ctx context.Context) error {
	store, err := postgres.Open(ctx, l.serverOptions(false))
	if err != nil {
		return err
	}
	if err := l.setClock(ctx, store); err != nil {
		return errors.Join(err, store.Close())
	}
	if err := l.take(ctx); err != nil {
		return errors.Join(err, store.Close())
	}
	l.Opening = Opening{Meta: Unchanged}
	if !store.CanWrite() {
		l.store, l.Meta = store, store
		return quant.Errorf(quant.Refused, "the role of %s may only read, so nothing can be recorded", l.ShownMeta()).
			WithHint("what only reads works; to write, log in with a role that may: docs/team.md says what it needs")
	}
	l.use(store)
	if store.Created() {
		l.Opening.Meta = Created
	} else if from, to := store.Migrated(); from != to {
		l.Opening = Opening{Meta: Upgraded, From: from, To: to}
	}
	return nil
}

func (l *Lab) serverOptions(readOnly bool) postgres.Options {
	o := postgres.Options{URL: l.MetaURL, ReadOnly: readOnly, Create: l.Prepare && !readOnly, Now: l.Now, Patience: l.Patience}
	if l.Waiting != nil {
		o.Waiting = func(why error) {
			l.Waiting(fmt.Sprintf("waiting for the Meta DB's server (--wait %s): %v", l.Patience, why))
		}
	}
	return o
}

// openServerReadOnly is OpenReadOnly of a Meta DB on a server.
func (l *Lab) openServerReadOnly(ctx context.Context) error {
	store, err := postgres.Open(ctx, l.serverOptions(true))
	if err != nil {
		return err
	}
	l.store, l.Meta = store, store
	return nil
}

// peekServer is Peek at a Meta DB on a server.
func peekServer(ctx context.Context, url string) (metastore.Store, error) {
	return postgres.Open(ctx, postgres.Options{URL: url, ReadOnly: true, Wait: time.Second})
}

// setClock makes the lab go by the clock of its server, which all machines share:
// their own may differ by hours and be set at any moment, and the order of runs is that
// of their ids.
func (l *Lab) setClock(ctx context.Context, store *postgres.DB) error {
	ahead, err := store.Ahead(ctx)
	if err != nil {
		return err
	}
	l.clock = &serverClock{boot: liveness.SinceBoot}
	l.clock.set(l.clock.boot(), l.Now().Add(ahead))
	l.Now = l.clock.Now
	return nil
}
