package api

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"quant"
)

// maxBody is how long the document of a request is at most.
const maxBody = 1 << 20

// parameter is a field of a request that stands in its path or its query.
type parameter struct {
	name, in, doc string // in: path or query
	required      bool
	fallback      string
	low, high     *int64 // of a number
	choices       []string
	index         int
	kind          reflect.Type
}

// parameters are those of a request type: its fields tagged path:"NAME" or
// query:"NAME", with doc, default, min, max, choices (a comma list) and
// required:"true". They are texts, whole numbers, truth values, or lists of texts,
// which a query gives by repeating the name.
func parameters(t reflect.Type) []parameter {
	var list []parameter
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		p := parameter{index: i, doc: tag.Get("doc"), fallback: tag.Get("default"), kind: t.Field(i).Type}
		if name, is := tag.Lookup("path"); is {
			p.name, p.in, p.required = name, "path", true
		} else if name, is := tag.Lookup("query"); is {
			p.name, p.in, p.required = name, "query", tag.Get("required") == "true"
		} else {
			continue
		}
		p.low, p.high = wholeTag(tag, "min"), wholeTag(tag, "max")
		if c := tag.Get("choices"); c != "" {
			p.choices = strings.Split(c, ",")
		}
		list = append(list, p)
	}
	return list
}

func wholeTag(tag reflect.StructTag, key string) *int64 {
	n, err := strconv.ParseInt(tag.Get(key), 10, 64)
	if err != nil {
		return nil
	}
	return &n
}

// bodyOf is the field of a request type that is read from its document.
func bodyOf(t reflect.Type) (index int, ok bool) {
	for i := range t.NumField() {
		if _, is := t.Field(i).Tag.Lookup("body"); is {
			return i, true
		}
	}
	return 0, false
}

// readRequest fills a request. What it does not know is refused, so that a name
// that is spelled wrong does not pass unseen.
func readRequest(w http.ResponseWriter, r *http.Request, into reflect.Value) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return quant.Errorf(quant.Usage, "the query of the address cannot be read: %w", err)
	}
	known := map[string]bool{}
	var names []string
	for _, p := range parameters(into.Type()) {
		field := into.Field(p.index)
		if p.in == "path" {
			if err := p.set(field, []string{r.PathValue(p.name)}); err != nil {
				return err
			}
			continue
		}
		known[p.name] = true
		names = append(names, p.name)
		values := query[p.name]
		if len(values) == 0 && p.fallback != "" {
			values = []string{p.fallback}
		}
		if err := p.set(field, values); err != nil {
			return err
		}
	}
	for name := range query {
		if !known[name] {
			err := quant.Errorf(quant.Usage, "parameter %q is not known", quant.Clip(name, 60))
			if len(names) == 0 {
				return err.WithHint("leave it out")
			}
			slices.Sort(names)
			return err.WithHint("there are: %s", strings.Join(names, ", "))
		}
	}
	if i, has := bodyOf(into.Type()); has {
		return readBody(w, r, into.Field(i).Addr().Interface())
	}
	return nil
}

// set fills a field of a request with what was given.
func (p parameter) set(field reflect.Value, values []string) error {
	switch {
	case len(values) == 0:
		if p.required {
			return quant.Errorf(quant.Usage, "parameter %q is missing", p.name)
		}
		return nil
	case len(values) > 1 && field.Kind() != reflect.Slice:
		return quant.Errorf(quant.Usage, "parameter %q is given %d times", p.name, len(values)).WithHint("give it once")
	}
	for _, v := range values {
		if !utf8.ValidString(v) {
			return quant.Errorf(quant.Usage, "parameter %q is no UTF-8", p.name)
		}
		if p.choices != nil && !slices.Contains(p.choices, v) {
			return quant.Errorf(quant.Usage, "parameter %q cannot be %q", p.name, quant.Clip(v, 60)).WithHint("use %s", strings.Join(p.choices, " or "))
		}
	}
	switch field.Kind() {
	case reflect.Slice:
		field.Set(reflect.ValueOf(values))
	case reflect.Bool:
		b, err := strconv.ParseBool(values[0])
		if err != nil {
			return quant.Errorf(quant.Usage, "parameter %q is %q, neither true nor false", p.name, quant.Clip(values[0], 60))
		}
		field.SetBool(b)
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(values[0], 10, 64)
		if err != nil {
			return quant.Errorf(quant.Usage, "parameter %q is %q, no whole number", p.name, quant.Clip(values[0], 60))
		}
		if p.low != nil && n < *p.low || p.high != nil && n > *p.high {
			return quant.Errorf(quant.Usage, "parameter %q is %d, not within %d to %d", p.name, n, *p.low, *p.high)
		}
		field.SetInt(n)
	default:
		if p.required && values[0] == "" {
			return quant.Errorf(quant.Usage, "parameter %q is empty", p.name)
		}
		field.SetString(values[0])
	}
	return nil
}

// readBody reads the document of a request.
func readBody(w http.ResponseWriter, r *http.Request, into any) error {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return problemOf(http.StatusUnsupportedMediaType, quant.Errorf(quant.Usage, "the request is no JSON").
			WithHint("send a document with Content-Type: application/json"))
	}
	doc, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLong, is := errors.AsType[*http.MaxBytesError](err); is {
		return problemOf(http.StatusRequestEntityTooLarge, quant.Errorf(quant.Usage, "the request is longer than %s", quant.Bytes(tooLong.Limit)))
	}
	if err != nil {
		return quant.Errorf(quant.Usage, "read the request: %w", err)
	}
	if err := json.Unmarshal(doc, into, json.RejectUnknownMembers(true)); err != nil {
		return quant.Errorf(quant.Usage, "the document of the request is not what is wanted: %s", strings.ToValidUTF8(quant.Clip(err.Error(), 300), "\uFFFD")).
			WithHint("%sdocs shows its form", Prefix)
	}
	return nil
}
