package alphavantage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"quant/internal/curator/provider"
)

const (
	metaName   = "Meta Data"
	seriesName = "Time Series (Daily)"
	symbolName = "2. Symbol"
	keyHint    = "check ALPHA_VANTAGE_API_KEY, and what its plan allows"
)

// Parse reads an answer with status 200. Such an answer may also be a notice (a
// limit, a premium endpoint, an invalid key or symbol), which is a
// *provider.Failure like one that is malformed, is of another symbol, or has no
// day. Days stand in the answer's order, and twice if they do there.
func Parse(q provider.Query, body []byte) (provider.Series, error) {
	s := provider.Series{Raw: body}
	notices := map[string]string{}
	meta := map[string]string{}
	dec := json.NewDecoder(bytes.NewReader(body))
	err := members(dec, func(name string) error {
		switch name {
		case metaName:
			return texts(dec, meta)
		case seriesName:
			return members(dec, func(day string) error {
				values := map[string]string{}
				if err := texts(dec, values); err != nil {
					return err
				}
				row := provider.Row{Date: day}
				for _, f := range []struct {
					name string
					into *string
				}{
					{"1. open", &row.Open}, {"2. high", &row.High}, {"3. low", &row.Low}, {"4. close", &row.Close},
					{"5. adjusted close", &row.AdjustedClose}, {"6. volume", &row.Volume},
				} {
					text, there := values[f.name]
					if !there {
						return fmt.Errorf("day %s has no member %q", clip(day), f.name)
					}
					*f.into = text
				}
				s.Rows = append(s.Rows, row)
				return nil
			})
		}
		var other any
		if err := dec.Decode(&other); err != nil {
			return err
		}
		if text, ok := other.(string); ok {
			notices[name] = text
		}
		return nil
	})
	if err == nil {
		if _, after := dec.Token(); !errors.Is(after, io.EOF) {
			err = errors.New("more than one JSON value")
		}
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return provider.Series{}, provider.Failed(provider.Temporary, "the answer ends before its end")
	case err != nil:
		return provider.Series{}, provider.Failed(provider.Lost, "the answer is not the JSON that was expected: %s", clip(err.Error()))
	}
	if f := notice(q.Symbol, notices); f != nil {
		return provider.Series{}, f
	}
	if len(s.Rows) == 0 {
		return provider.Series{}, &provider.Failure{Kind: provider.Lost, Msg: "the answer has no day for " + q.Symbol, Hint: "check the symbol's spelling at the provider"}
	}
	if of := meta[symbolName]; !strings.EqualFold(of, q.Symbol) {
		return provider.Series{}, provider.Failed(provider.Lost, "the answer is of symbol %q, not of %s", clip(of), q.Symbol)
	}
	return s, nil
}

// members reads a JSON object, no name of which may stand twice, and has each
// value read. Dates are left to the quality gate, also when they stand twice.
func members(dec *json.Decoder, value func(name string) error) error {
	if token, err := dec.Token(); err != nil {
		return err
	} else if token != json.Delim('{') {
		return errors.New("an object was expected")
	}
	seen := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string) // the decoder lets nothing else stand here
		if _, notDay := time.Parse(time.DateOnly, name); notDay != nil && seen[name] {
			return fmt.Errorf("member %q stands twice", clip(name))
		}
		seen[name] = true
		if err := value(name); err != nil {
			return err
		}
	}
	_, err := dec.Token()
	return err
}

// texts reads a JSON object of texts.
func texts(dec *json.Decoder, into map[string]string) error {
	return members(dec, func(name string) error {
		token, err := dec.Token()
		if err != nil {
			return err
		}
		text, ok := token.(string)
		if !ok {
			return fmt.Errorf("member %q is no text", clip(name))
		}
		into[name] = text
		return nil
	})
}

// notice tells the notices apart that come in place of data, with status 200;
// nil if there is none.
func notice(symbol string, fields map[string]string) *provider.Failure {
	text := fields["Error Message"]
	if text == "" {
		text = fields["Information"]
	}
	if text == "" {
		text = fields["Note"]
	}
	if text == "" {
		return nil
	}
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(strings.ToLower(text), w) {
				return true
			}
		}
		return false
	}
	switch {
	case has("parameter apikey", "api key is invalid", "invalid api key", "demo** api key", "demo api key"):
		return &provider.Failure{Kind: provider.Denied, Msg: "the key is not accepted: " + clip(text), Hint: keyHint}
	case fields["Error Message"] != "":
		return &provider.Failure{Kind: provider.Lost, Msg: fmt.Sprintf("no such symbol %s: %s", symbol, clip(text)), Hint: "check the symbol's spelling at the provider"}
	case has("per minute", "per second", "sparingly"):
		return &provider.Failure{Kind: provider.Temporary, Msg: "too many requests: " + clip(text), After: 20 * time.Second,
			Hint: "ask for fewer symbols, or fewer a minute: --per-minute"}
	case has("per day", "daily rate limit"):
		return &provider.Failure{Kind: provider.Denied, Msg: "the requests of the day are used up: " + clip(text),
			Hint: "run it again tomorrow: it goes on where it stopped"}
	case has("premium"):
		return &provider.Failure{Kind: provider.Denied, Msg: "the key's plan does not allow it: " + clip(text), Hint: keyHint}
	}
	return provider.Failed(provider.Lost, "no data, but a notice: %s", clip(text))
}

// clip makes a provider's text fit to be shown: one line, at most 200 bytes.
func clip(s string) string {
	if len(s) > 200 {
		s = s[:200] + "..."
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
