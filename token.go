package quant

import (
	"strings"
	"time"
)

// TokenPrefix begins every token, and TokenLength is how many characters follow it:
// 256 random bits in small letters and the digits 2 to 7.
const (
	TokenPrefix = "quant_"
	TokenLength = 52
)

// The scopes of a token. Write includes read.
const (
	TokenReads  = "read"
	TokenWrites = "write"
)

// MaxTokenName is the longest name of a token, in bytes.
const MaxTokenName = 64

// Token lets a client of a server in. The token itself is stored nowhere, only its
// digest; a revoked one keeps its row.
type Token struct {
	Digest     string `json:"-" db:"digest"` // sha256: and 64 hexadecimal digits
	Name       string `json:"name" db:"name"`
	Scope      string `json:"scope" db:"scope"`
	CreatedAt  Time   `json:"created_at" db:"created_at"`
	ExpiresAt  Time   `json:"expires_at" db:"expires_at"` // zero: never
	LastUsedAt Time   `json:"last_used_at" db:"last_used_at"`
	RevokedAt  Time   `json:"revoked_at" db:"revoked_at"`
}

// Validate reports the first rule that the token breaks, as Invalid.
func (t Token) Validate() error {
	if t.Name == "" || len(t.Name) > MaxTokenName || strings.Trim(t.Name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@-") != "" {
		return Errorf(Invalid, "%q is no name of a token", t.Name).
			WithHint("1 to %d letters, digits, and . _ @ -", MaxTokenName)
	}
	if t.Scope != TokenReads && t.Scope != TokenWrites {
		return Errorf(Invalid, "token %q: %q is no scope", t.Name, t.Scope).WithHint("%s or %s, which includes it", TokenReads, TokenWrites)
	}
	if !strings.HasPrefix(t.Digest, "sha256:") || t.CreatedAt.IsZero() {
		return Errorf(Invalid, "token %q has no digest or no time of creation", t.Name)
	}
	return nil
}

// State is what a token is at a moment: valid, expired or revoked.
func (t Token) State(now time.Time) string {
	switch {
	case !t.RevokedAt.IsZero():
		return "revoked"
	case !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt.Time):
		return "expired"
	}
	return "valid"
}
