package metastoretest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"quant"
	"quant/internal/metastore"
)

func newToken(n int, name string) quant.Token {
	return quant.Token{Digest: fmt.Sprintf("sha256:%064x", n), Name: name, Scope: quant.TokenReads, CreatedAt: startedAt(n)}
}

func tokenTests() []test {
	ctx := context.Background()
	return []test{
		{"ATokenIsFoundByItsDigestAlone", func(t *testing.T, s metastore.Store) {
			want := newToken(1, "laptop")
			want.Scope, want.ExpiresAt = quant.TokenWrites, startedAt(99)
			ok(t, s.CreateToken(ctx, want))
			got := one(s.GetToken(ctx, want.Digest))(t)
			equal(t, got, want)
			equal(t, got.Digest, want.Digest)
			for _, other := range []string{newToken(2, "").Digest, "", "laptop", "sha256:"} {
				_, err := s.GetToken(ctx, other)
				refused(t, err, quant.NotFound)
			}
		}},
		{"ANameIsTakenUntilItIsRevoked", func(t *testing.T, s metastore.Store) {
			ok(t, s.CreateToken(ctx, newToken(1, "laptop")))
			refused(t, s.CreateToken(ctx, newToken(2, "laptop")), quant.Conflict)
			refused(t, s.CreateToken(ctx, newToken(1, "other")), quant.Conflict)
			revoked := one(s.RevokeToken(ctx, "laptop", startedAt(5)))(t)
			equal(t, revoked.RevokedAt, startedAt(5))
			equal(t, one(s.GetToken(ctx, newToken(1, "").Digest))(t).RevokedAt, startedAt(5))
			_, err := s.RevokeToken(ctx, "laptop", startedAt(6))
			refused(t, err, quant.NotFound)
			equal(t, one(s.GetToken(ctx, newToken(1, "").Digest))(t).RevokedAt, startedAt(5))
			ok(t, s.CreateToken(ctx, newToken(2, "laptop")))
			equal(t, len(one(s.ListTokens(ctx))(t)), 2)
		}},
		{"TokensAreListedByName", func(t *testing.T, s metastore.Store) {
			for n, name := range []string{"b", "a", "c"} {
				ok(t, s.CreateToken(ctx, newToken(n, name)))
			}
			one(s.RevokeToken(ctx, "a", startedAt(9)))(t)
			ok(t, s.CreateToken(ctx, newToken(7, "a")))
			var names []string
			for _, token := range one(s.ListTokens(ctx))(t) {
				names = append(names, token.Name+" "+token.CreatedAt.String())
			}
			equal(t, names, []string{"a " + startedAt(1).String(), "a " + startedAt(7).String(), "b " + startedAt(0).String(), "c " + startedAt(2).String()})
		}},
		{"TheLastUseOfATokenOnlyGrows", func(t *testing.T, s metastore.Store) {
			ok(t, s.CreateToken(ctx, newToken(1, "a")))
			ok(t, s.CreateToken(ctx, newToken(2, "b")))
			a, b := newToken(1, "").Digest, newToken(2, "").Digest
			ok(t, s.TokensUsed(ctx, map[string]quant.Time{a: startedAt(10), b: startedAt(11), newToken(3, "").Digest: startedAt(12)}))
			ok(t, s.TokensUsed(ctx, map[string]quant.Time{a: startedAt(9)}))
			equal(t, one(s.GetToken(ctx, a))(t).LastUsedAt, startedAt(10))
			equal(t, one(s.GetToken(ctx, b))(t).LastUsedAt, startedAt(11))
		}},
		{"ATokenThatBreaksARuleIsNotStored", func(t *testing.T, s metastore.Store) {
			for _, change := range []func(*quant.Token){
				func(t *quant.Token) { t.Name = "" },
				func(t *quant.Token) { t.Name = "two words" },
				func(t *quant.Token) { t.Name = "bell\x07" },
				func(t *quant.Token) { t.Name = strings.Repeat("x", 65) },
				func(t *quant.Token) { t.Scope = "admin" },
				func(t *quant.Token) { t.Digest = "secret" },
				func(t *quant.Token) { t.CreatedAt = quant.Time{} },
			} {
				token := newToken(1, "a")
				change(&token)
				refused(t, s.CreateToken(ctx, token), quant.Invalid)
			}
			equal(t, len(one(s.ListTokens(ctx))(t)), 0)
		}},
	}
}
