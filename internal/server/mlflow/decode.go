package mlflow

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A request is a struct. Its fields have a tag json with the name on the wire, and
// may have a tag rule, words with commas between: required (it must be there and
// not be ""), and of an enumeration its names in the order of their numbers, from
// 1, as enum:ACTIVE_ONLY|DELETED_ONLY|ALL. Fields are examined in their order.
//
// The types of fields are string, *string, bool, *bool, Int, Float, a struct or a
// pointer to one, json.RawMessage, map[string]string, and lists of these. What is
// null is as if it was not there; fields that a struct does not have are ignored.

// Int is an int64, written as a number or as a text.
type Int struct {
	V   int64
	Set bool
}

// UnmarshalJSON reads 12, 12.0 and "12".
func (n *Int) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	text := string(b)
	if b[0] == '"' {
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
	}
	text = strings.TrimSpace(text)
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		f, e := strconv.ParseFloat(text, 64)
		if e != nil || f != math.Trunc(f) || math.Abs(f) >= 1<<63 || strings.ContainsAny(text, "xX_nN") {
			return fmt.Errorf("%q is no integer", text)
		}
		v = int64(f)
	}
	n.V, n.Set = v, true
	return nil
}

// Or is the number, or another one where it was not given.
func (n Int) Or(other int64) int64 {
	if n.Set {
		return n.V
	}
	return other
}

func (n Int) pointer() *int64 {
	if !n.Set {
		return nil
	}
	return &n.V
}

// Float is a double, of which the values that JSON has not travel as texts.
type Float struct {
	V   float64
	Set bool
}

// UnmarshalJSON reads 1.5, "1.5", "NaN", "Infinity" and "-Infinity", and NaN and
// Infinity bare, as Python writes them.
func (f *Float) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	text := string(b)
	if b[0] == '"' {
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
	}
	switch text {
	case "NaN", "nan":
		f.V = math.NaN()
	case "Infinity", "inf":
		f.V = math.Inf(1)
	case "-Infinity", "-inf":
		f.V = math.Inf(-1)
	default:
		if strings.ContainsAny(text, "xX_iInN") {
			return fmt.Errorf("%q is no number", text)
		}
		v, err := strconv.ParseFloat(text, 64)
		if err != nil && !math.IsInf(v, 0) {
			return err
		}
		f.V = v
	}
	f.Set = true
	return nil
}

// MarshalJSON writes NaN as a text and infinities as the greatest numbers, as
// MLflow's server does.
func (f Float) MarshalJSON() ([]byte, error) {
	switch {
	case math.IsNaN(f.V):
		return []byte(`"NaN"`), nil
	case math.IsInf(f.V, 1):
		return []byte("1.7976931348623157e+308"), nil
	case math.IsInf(f.V, -1):
		return []byte("-1.7976931348623157e+308"), nil
	}
	return json.Marshal(f.V)
}

// decode reads a request into in, a pointer to its struct: the query string of a
// GET, the body of any other method, and the parts of the path.
func decode(w http.ResponseWriter, r *http.Request, parts map[string]string, in any) error {
	var doc []byte
	query := r.Method == http.MethodGet || r.Method == http.MethodHead
	if query && r.URL.RawQuery != "" {
		var err error
		if doc, err = fromQuery(r.URL.Query(), reflect.TypeOf(in).Elem()); err != nil {
			return err
		}
	} else {
		var err error
		if doc, err = body(w, r); err != nil {
			return err
		}
		if !query && len(doc) > 0 {
			if err := jsonContent(r); err != nil {
				return err
			}
		}
	}
	return decodeDocument(doc, parts, in)
}

// jsonContent refuses what a form of another site could send: a browser asks
// before it sends application/json to a server that is not the page's.
func jsonContent(r *http.Request) error {
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	switch strings.TrimSpace(kind) {
	case "application/json":
		return nil
	case "":
		return apiErrorf(invalidParameter, "Bad Request. Content-Type header is missing.")
	}
	return apiErrorf(invalidParameter, "Bad Request. Content-Type must be one of ['application/json'].")
}

func decodeDocument(doc []byte, parts map[string]string, in any) error {
	doc = bytes.TrimSpace(doc)
	if len(doc) > 0 && doc[0] == '"' { // old clients encode twice
		var inner string
		if json.Unmarshal(doc, &inner) == nil {
			doc = bytes.TrimSpace([]byte(inner))
		}
	}
	if len(doc) == 0 || string(doc) == "null" {
		doc = []byte("{}")
	}
	if !utf8.Valid(doc) {
		return apiErrorf(badRequest, "The request body could not be parsed: it is not UTF-8")
	}
	for name, value := range parts {
		doc = withPart(doc, name, value)
	}
	v := reflect.ValueOf(in).Elem()
	if quick, ok := in.(scanned); ok {
		if quick.scan(doc) {
			return nil
		}
		v.SetZero()
	}
	failed := json.Unmarshal(bareNumbers(doc), in)
	if failed == nil && complete(v, "") == nil {
		return nil
	}
	// What is wrong, and where, is worth a slower look.
	if err := explain(doc, v.Type()); err != nil {
		return err
	}
	if failed != nil {
		return unparsed(failed)
	}
	return complete(v, "")
}

// unparsed says why a document could not be read, without the types that it was to
// be read into.
func unparsed(err error) error {
	const failed = "The request body could not be parsed: "
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if wrong.Field == "" {
			return apiErrorf(badRequest, failed+"it is no JSON object")
		}
		return apiErrorf(badRequest, failed+"%s has a value of another type", clean(wrong.Field))
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return apiErrorf(badRequest, failed+"%s at byte %d", clean(syntax.Error()), syntax.Offset)
	}
	return apiErrorf(badRequest, failed+"it is no JSON document of this endpoint")
}

// withPart adds a field to a document.
func withPart(doc []byte, name, value string) []byte {
	field, _ := json.Marshal(value)
	key, _ := json.Marshal(name)
	rest := bytes.TrimSpace(bytes.TrimPrefix(doc, []byte("{")))
	b := append([]byte("{"), key...)
	b = append(append(b, ':'), field...)
	if !bytes.HasPrefix(rest, []byte("}")) {
		b = append(b, ',')
	}
	return append(b, rest...)
}

// bareNumbers puts quotes around the NaN and Infinity that Python's json writes,
// outside of texts.
func bareNumbers(doc []byte) []byte {
	if !bytes.Contains(doc, []byte("NaN")) && !bytes.Contains(doc, []byte("Infinity")) {
		return doc
	}
	var out []byte
	for i := 0; i < len(doc); {
		if doc[i] == '"' {
			end := i + 1
			for end < len(doc) && doc[end] != '"' {
				if doc[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end+1, len(doc))
			out = append(out, doc[i:end]...)
			i = end
			continue
		}
		word := ""
		for _, w := range []string{"-Infinity", "Infinity", "NaN"} {
			if bytes.HasPrefix(doc[i:], []byte(w)) {
				word = w
				break
			}
		}
		if word == "" {
			out = append(out, doc[i])
			i++
			continue
		}
		out = append(append(append(out, '"'), word...), '"')
		i += len(word)
	}
	return out
}

// fromQuery makes the document of a query string, whose fields are those of t.
func fromQuery(query url.Values, t reflect.Type) ([]byte, error) {
	doc := map[string]any{}
	for _, f := range fieldsOf(t) {
		values, given := query[f.name]
		if !given {
			continue
		}
		kind := t.FieldByIndex(f.index).Type
		if kind.Kind() == reflect.Slice {
			doc[f.name] = values
			continue
		}
		if kind.Kind() == reflect.Bool || kind.Kind() == reflect.Pointer && kind.Elem().Kind() == reflect.Bool {
			switch strings.ToLower(values[0]) {
			case "true", "false":
				doc[f.name] = strings.EqualFold(values[0], "true")
			default:
				return nil, apiErrorf(invalidParameter, "Invalid boolean value: %s, must be 'true' or 'false'.", clean(values[0]))
			}
			continue
		}
		doc[f.name] = values[0]
	}
	return json.Marshal(doc)
}

// field is what the tags of a struct's field say.
type field struct {
	index    []int
	name     string
	required bool
	enum     []string
	deep     bool // it holds structs
}

func fieldsOf(t reflect.Type) []field {
	var all []field
	for _, f := range reflect.VisibleFields(t) { // those of embedded structs are its own
		if f.Anonymous {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		one := field{index: f.Index, name: name, deep: deep(f.Type)}
		for rule := range strings.SplitSeq(f.Tag.Get("rule"), ",") {
			if rule == "required" {
				one.required = true
			}
			if names, found := strings.CutPrefix(rule, "enum:"); found {
				one.enum = strings.Split(names, "|")
			}
		}
		all = append(all, one)
	}
	return all
}

const seeDocs = " See the API docs for more information about request parameters."

func missing(path string) error {
	return apiErrorf(invalidParameter, "Missing value for required parameter '%s'.%s", path, seeDocs)
}

// complete reports a required field that a struct has not, and makes names of the
// numbers of enumerations.
func complete(v reflect.Value, path string) error {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			return complete(v.Elem(), path)
		}
	case reflect.Slice:
		for i := range v.Len() {
			if err := complete(v.Index(i), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	case reflect.Struct:
		for _, f := range cachedFields(v.Type()) {
			if !f.required && f.enum == nil && !f.deep {
				continue
			}
			at := f.name
			if path != "" {
				at = path + "." + f.name
			}
			one := v.FieldByIndex(f.index)
			if f.required && (one.IsZero() || one.Kind() == reflect.Pointer && one.Elem().Kind() == reflect.String && one.Elem().Len() == 0) {
				return missing(at)
			}
			if f.enum != nil && one.Len() > 0 && !slices.Contains(f.enum, one.String()) {
				number, err := strconv.Atoi(one.String())
				if err != nil || number < 1 || number > len(f.enum) {
					return invalid(at, one.String(), "str")
				}
				one.SetString(f.enum[number-1])
			}
			if f.deep {
				if err := complete(one, at); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// deep tells whether a field of this type may hold structs whose fields have rules.
func deep(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		return deep(t.Elem())
	case reflect.Struct:
		return t != reflect.TypeFor[Int]() && t != reflect.TypeFor[Float]()
	}
	return false
}

// invalid is the error of a value of another type than its field's.
func invalid(path string, value any, kind string) error {
	b, _ := json.Marshal(value)
	return invalidText(path, string(b), kind)
}

func invalidText(path, value, kind string) error {
	return apiErrorf(invalidParameter, "Invalid value %s for parameter '%s' supplied:  Hint: Value was of type '%s'.%s",
		clean(value), path, kind, seeDocs)
}

// explain finds the first field of a document, in the order of the struct's, that
// is missing or of another type.
func explain(doc []byte, t reflect.Type) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(bareNumbers(doc), &fields); err != nil {
		return nil
	}
	return explainStruct(fields, t, "")
}

func explainStruct(fields map[string]json.RawMessage, t reflect.Type, path string) error {
	for _, f := range cachedFields(t) {
		at := f.name
		if path != "" {
			at = path + "." + f.name
		}
		value, given := fields[f.name]
		none := !given || string(value) == "null"
		if f.required && (none || string(value) == `""`) {
			return missing(at)
		}
		if none {
			continue
		}
		if err := explainValue(value, t.FieldByIndex(f.index).Type, f, at); err != nil {
			return err
		}
	}
	return nil
}

func explainValue(value json.RawMessage, t reflect.Type, f field, path string) error {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	wrong := func() error { return invalidText(path, compact(value), pythonType(value)) }
	switch reflect.Zero(t).Interface().(type) {
	case Int, Float:
		if json.Unmarshal(value, reflect.New(t).Interface()) != nil {
			return wrong()
		}
		return nil
	case json.RawMessage:
		return nil
	}
	switch t.Kind() {
	case reflect.String:
		if value[0] != '"' && (f.enum == nil || pythonType(value) != "int") {
			return wrong()
		}
	case reflect.Bool:
		if value[0] != 't' && value[0] != 'f' {
			return wrong()
		}
	case reflect.Slice:
		var list []json.RawMessage
		if json.Unmarshal(value, &list) != nil {
			return wrong()
		}
		for i, one := range list {
			if err := explainValue(one, t.Elem(), field{}, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				if t.Elem().Kind() == reflect.String {
					return wrong()
				}
				return err
			}
		}
	case reflect.Struct:
		var fields map[string]json.RawMessage
		if json.Unmarshal(value, &fields) != nil {
			return wrong()
		}
		return explainStruct(fields, t, path)
	default:
		if json.Unmarshal(value, reflect.New(t).Interface()) != nil {
			return wrong()
		}
	}
	return nil
}

// enumeration is a value of an enumeration, which is sent by its name or by its
// number.
type enumeration string

// UnmarshalJSON reads "ACTIVE_ONLY" and 1; complete makes a name of the number.
func (e *enumeration) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	*e = enumeration(strings.Trim(string(b), `"`))
	return nil
}

func compact(value json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, value) != nil {
		return string(value)
	}
	return b.String()
}

// pythonType is what the reference server calls the type of a value.
func pythonType(value json.RawMessage) string {
	switch value[0] {
	case '"':
		return "str"
	case '[':
		return "list"
	case '{':
		return "dict"
	case 't', 'f':
		return "bool"
	}
	if bytes.ContainsAny(value, ".eE") {
		return "float"
	}
	return "int"
}
