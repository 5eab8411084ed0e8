package secret_test

import (
	"testing"

	"quant/internal/secret"
)

func TestAParamIsMaskedWhereItsValueLooksLikeASecret(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, value, want string }{
		{"max_tokens", "512", "512"},
		{"key", "momentum", "momentum"},
		{"sort_key", "asof", "asof"},
		{"pad_token", "<pad>", "<pad>"},
		{"auth", "basic", "basic"},
		{"token", "mean", "mean"},
		{"key", "q7Zr9Kx2Lm4Tn8", "***"},
		{"token", "q7zr9kx2", "***"},
		{"api_key", "hunter", "***"},
		{"model.password", "hunter", "***"},
		{"AWS_SECRET_ACCESS_KEY", "x/y+z", "***"},
		{"note", "postgres://u:hunter@h/db", "postgres://***@h/db"},
	} {
		if got := (&secret.Masker{}).Record(c.name, c.value); got != c.want {
			t.Errorf("%s=%s: %s, want %s", c.name, c.value, got, c.want)
		}
	}
}
