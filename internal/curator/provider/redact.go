package provider

import (
	"bytes"
	"context"
	"net/url"
	"strings"
)

// Redacted masks the secrets, also as a URL writes them, in everything that
// next returns: errors and raw answers. An error that is neither a *Failure nor
// the end of ctx becomes one, since what it holds cannot be known.
func Redacted(next Provider, secrets ...string) Provider {
	var pairs []string
	for _, s := range secrets {
		if s == "" {
			continue
		}
		for _, spelling := range []string{s, url.QueryEscape(s), url.PathEscape(s)} {
			pairs = append(pairs, spelling, mask)
		}
	}
	return &redacted{next, strings.NewReplacer(pairs...), pairs}
}

const mask = "***"

type redacted struct {
	Provider
	text  *strings.Replacer
	pairs []string
}

func (r *redacted) Daily(ctx context.Context, q Query) (Series, error) {
	s, err := r.Provider.Daily(ctx, q)
	for i := 0; i < len(r.pairs); i += 2 {
		s.Raw = bytes.ReplaceAll(s.Raw, []byte(r.pairs[i]), []byte(mask))
	}
	switch f := failureOf(err); {
	case err == nil:
		return s, nil
	case f != nil:
		return s, &Failure{Kind: f.Kind, Msg: r.text.Replace(f.Msg), Hint: r.text.Replace(f.Hint), After: f.After}
	case ctx.Err() != nil:
		return s, context.Cause(ctx)
	default:
		return s, Failed(Lost, "%s", r.text.Replace(err.Error()))
	}
}
