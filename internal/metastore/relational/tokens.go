package relational

import (
	"context"
	"maps"
	"slices"

	"quant"
)

var tokenTable = tableOf[quant.Token]("tokens")

// CreateToken is documented at metastore.Tokens.
func (db *DB) CreateToken(ctx context.Context, t quant.Token) error {
	if err := t.Validate(); err != nil {
		return err
	}
	return db.Write(ctx, "create token "+t.Name, "", func(ctx context.Context, q Querier) error {
		// No unique index says it: a table with one is examined by SQLite alone.
		same, err := Texts(ctx, q, `SELECT name FROM tokens WHERE name = ? AND revoked_at IS NULL OR digest = ?`, t.Name, t.Digest)
		if err != nil {
			return err
		}
		if len(same) > 0 {
			return quant.Errorf(quant.Conflict, "token %s exists already", same[0]).WithHint("choose another name, or revoke it first: quant tokens revoke %s", same[0])
		}
		_, err = q.ExecContext(ctx, tokenTable.insert(), tokenTable.values(t)...)
		return err
	})
}

// GetToken is documented at metastore.Tokens.
func (db *DB) GetToken(ctx context.Context, digest string) (quant.Token, error) {
	return get(ctx, db, "the token of this digest", `SELECT `+tokenTable.columns+` FROM tokens WHERE digest = ?`, digest, tokenTable.scan)
}

// ListTokens is documented at metastore.Tokens.
func (db *DB) ListTokens(ctx context.Context) ([]quant.Token, error) {
	return list(ctx, db, "look at what tokens there are", `SELECT `+tokenTable.columns+` FROM tokens ORDER BY name, created_at, digest`, nil, tokenTable.scan)
}

// RevokeToken is documented at metastore.Tokens.
func (db *DB) RevokeToken(ctx context.Context, name string, at quant.Time) (quant.Token, error) {
	var revoked quant.Token
	err := db.Write(ctx, "revoke token "+name, "", func(ctx context.Context, q Querier) error {
		res, err := q.ExecContext(ctx, `UPDATE tokens SET revoked_at = ? WHERE name = ? AND revoked_at IS NULL`, at, name)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return err
		}
		if n == 0 {
			return quant.Errorf(quant.NotFound, "there is no token %q to revoke", name).WithHint("`quant tokens list` shows them")
		}
		return q.QueryRowContext(ctx, `SELECT `+tokenTable.columns+` FROM tokens WHERE name = ? ORDER BY created_at DESC LIMIT 1`, name).
			Scan(tokenTable.scan(&revoked)...)
	})
	return revoked, err
}

// TokensUsed is documented at metastore.Tokens.
func (db *DB) TokensUsed(ctx context.Context, used map[string]quant.Time) error {
	return db.Write(ctx, "note when tokens were used", "", func(ctx context.Context, q Querier) error {
		for _, digest := range slices.Sorted(maps.Keys(used)) {
			if _, err := q.ExecContext(ctx, `UPDATE tokens SET last_used_at = ?1 WHERE digest = ?2 AND (last_used_at IS NULL OR last_used_at < ?1)`,
				used[digest], digest); err != nil {
				return err
			}
		}
		return nil
	})
}
