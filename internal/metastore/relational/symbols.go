package relational

import (
	"context"
	"slices"

	"quant"
	"quant/internal/metastore"
)

// CreateSymbol is documented at metastore.Symbols.
func (db *DB) CreateSymbol(ctx context.Context, s quant.Symbol) error {
	if err := s.Validate(); err != nil {
		return err
	}
	return db.insert(ctx, "symbol "+s.Symbol,
		symbolTable.insert(), symbolTable.values(s)...)
}

// GetSymbol is documented at metastore.Symbols.
func (db *DB) GetSymbol(ctx context.Context, symbol string) (quant.Symbol, error) {
	return get(ctx, db, "symbol "+symbol, `SELECT `+symbolTable.columns+` FROM symbols WHERE symbol = ?`, symbol, symbolTable.scan)
}

// ListSymbols is documented at metastore.Symbols.
func (db *DB) ListSymbols(ctx context.Context, f metastore.SymbolFilter) ([]quant.Symbol, error) {
	s := selection{noun: "symbols", columns: symbolTable.columns, key: "symbol"}
	if f.Active != nil {
		s.equal("is_active", *f.Active)
	}
	s.equalText("sector", f.Sector)
	s.equalText("currency", f.Currency)
	query, err := s.query(f.Order, "symbol", f.Limit, "symbol", "name", "priority")
	if err != nil {
		return nil, err
	}
	return list(ctx, db, "list symbols", query, s.args, symbolTable.scan)
}

// UpdateSymbol is documented at metastore.Symbols.
func (db *DB) UpdateSymbol(ctx context.Context, s quant.Symbol) error {
	if err := s.Validate(); err != nil {
		return err
	}
	query, args := symbolTable.update(s)
	return db.change(ctx, "update", "symbol "+s.Symbol, query, args...)
}

// DeleteSymbol is documented at metastore.Symbols.
func (db *DB) DeleteSymbol(ctx context.Context, symbol string) error {
	return db.change(ctx, "delete", "symbol "+symbol, `DELETE FROM symbols WHERE symbol = ?`, symbol)
}

// EnsureSymbols is documented at metastore.Symbols. An invalid ticker is
// Invalid, and then none is added.
func (db *DB) EnsureSymbols(ctx context.Context, tickers []string) ([]string, error) {
	for _, t := range tickers {
		if err := quant.ValidateSymbol(t); err != nil {
			return nil, err
		}
	}
	if len(tickers) == 0 {
		return nil, nil
	}
	// In order, so that two who add the same wait for each other and never crosswise.
	tickers = slices.Sorted(slices.Values(tickers))
	var added []string
	err := db.Write(ctx, "add symbols", "meta.symbols", func(ctx context.Context, q Querier) error {
		added = nil
		for batch := range slices.Chunk(tickers, 10_000) {
			if err := insertMissing(ctx, q, listed(batch), &added); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(added)
	return added, nil
}

func insertMissing(ctx context.Context, q Querier, batch List, added *[]string) error {
	rows, err := q.QueryContext(ctx, `INSERT INTO symbols (symbol) SELECT value FROM json_each(?) WHERE true
		ON CONFLICT (symbol) DO NOTHING RETURNING symbol`, batch)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var t string
		if err := rows.Scan(&t); err != nil {
			return err
		}
		*added = append(*added, t)
	}
	return rows.Err()
}
