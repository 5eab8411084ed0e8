package metastore

import (
	"context"

	"quant"
)

// Tokens is the repository of the tokens that let clients of a server in.
type Tokens interface {
	// CreateToken stores a token: Conflict if one of that name is not revoked, or if
	// one of that digest exists.
	CreateToken(ctx context.Context, t quant.Token) error
	// GetToken returns the token of a digest, a revoked one, too; NotFound if there
	// is none.
	GetToken(ctx context.Context, digest string) (quant.Token, error)
	// ListTokens returns all tokens, by name, of one name the oldest first.
	ListTokens(ctx context.Context) ([]quant.Token, error)
	// RevokeToken revokes what tokens of a name are left to revoke (there can be two
	// only in a Meta DB that was salvaged) and returns the newest of them; NotFound if
	// there is none.
	RevokeToken(ctx context.Context, name string, at quant.Time) (quant.Token, error)
	// TokensUsed notes when tokens were used last, by digest, in one durable commit.
	// A time before the one that is stored is left out, and so is a digest that is
	// none's.
	TokensUsed(ctx context.Context, used map[string]quant.Time) error
}
