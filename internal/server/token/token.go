// Package token makes, finds and revokes the tokens that let clients of a server in.
// A token is 256 random bits that are shown once; what is stored is its digest.
package token

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"io"
	"strings"
	"time"

	"quant"
	"quant/internal/metastore"
)

// Request says what token is wanted.
type Request struct {
	Name    string
	Scope   string        // quant.TokenReads or quant.TokenWrites
	Expires time.Duration // after now; 0: never
}

// Issued is a token that was just made, the only time that it is shown.
type Issued struct {
	quant.Token
	Secret string
}

// Issue makes a token from 32 bytes of random, which must be cryptographic. Errors:
// Invalid for a name or scope that is none; Conflict for a name that is in use.
func Issue(ctx context.Context, store metastore.Tokens, r Request, now time.Time, random io.Reader) (Issued, error) {
	var bits [32]byte
	if _, err := io.ReadFull(random, bits[:]); err != nil {
		return Issued{}, quant.Errorf(quant.Failed, "make token %q: %w", r.Name, err)
	}
	if r.Name == Local {
		return Issued{}, quant.Errorf(quant.Invalid, "no token is called %q: that is who asks without one", Local).WithHint("choose another name")
	}
	if r.Expires < 0 {
		return Issued{}, quant.Errorf(quant.Invalid, "token %q would expire before it is made", r.Name)
	}
	secret := quant.TokenPrefix + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(bits[:]))
	t := quant.Token{Digest: digest(secret), Name: r.Name, Scope: r.Scope, CreatedAt: quant.NewTime(now)}
	if r.Expires > 0 {
		t.ExpiresAt = quant.NewTime(now.Add(r.Expires))
	}
	if err := store.CreateToken(ctx, t); err != nil {
		return Issued{}, err
	}
	return Issued{Token: t, Secret: secret}, nil
}

// Local is the name of who asks without a token.
const Local = "local"

func digest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Check finds the token of a secret that a client sent. Errors: Refused for one that
// is none, has expired or was revoked, and those of the store.
func Check(ctx context.Context, store metastore.Tokens, secret string, now time.Time) (quant.Token, error) {
	if len(secret) != len(quant.TokenPrefix)+quant.TokenLength || !strings.HasPrefix(secret, quant.TokenPrefix) {
		return quant.Token{}, unknown()
	}
	return Still(ctx, store, digest(secret), now)
}

// Still finds a token that was checked before, by its digest; errors as of Check.
func Still(ctx context.Context, store metastore.Tokens, digest string, now time.Time) (quant.Token, error) {
	t, err := store.GetToken(ctx, digest)
	if quant.CodeOf(err) == quant.NotFound {
		return quant.Token{}, unknown()
	}
	if err != nil {
		return quant.Token{}, err
	}
	// The index compares as it likes; this does not tell by its time how much agrees.
	if subtle.ConstantTimeCompare([]byte(t.Digest), []byte(digest)) != 1 {
		return quant.Token{}, unknown()
	}
	if state := t.State(now); state != "valid" {
		return quant.Token{}, quant.Errorf(quant.Refused, "the token %q is %s", t.Name, state).
			WithHint("make another: quant tokens create NAME")
	}
	return t, nil
}

func unknown() error {
	return quant.Errorf(quant.Refused, "this is no token of this lab").
		WithHint("`quant tokens create NAME`, where the lab is, makes one")
}

// AnyValid tells whether somebody could be let in.
func AnyValid(ctx context.Context, store metastore.Tokens, now time.Time) (bool, error) {
	all, err := store.ListTokens(ctx)
	for _, t := range all {
		if t.State(now) == "valid" {
			return true, nil
		}
	}
	return false, err
}
