package secret

import "testing"

func TestTheClassOfAnErrorIsNoNameOfASecret(t *testing.T) {
	t.Parallel()
	m := &Masker{}
	for _, text := range []string{
		"KeyError: 'close'", "exit status 1: KeyError: 'close'", "jwt.exceptions.InvalidTokenError: not enough segments",
		"TokenError: unexpected EOF", "InvalidKeyException: no column", "java.security.KeyException=bad", "MissingKeyWarning: row 3",
	} {
		if got := m.Text(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
	for _, text := range []string{"KEY_ERROR=hunter2-secret", "api_key_Error: hunter2-secret", "error_token: hunter2-secret", "apiKey: hunter2-secret"} {
		if got := m.Text(text); got == text {
			t.Errorf("%q is not masked", text)
		}
	}
}
