package strategy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"

	"quant"
)

// Key is one key of the format, as documents show it.
type Key struct {
	Key     string `json:"key"`
	Type    string `json:"type"`
	Default string `json:"default"` // "" where the key must be given, or has no value
	Must    bool   `json:"must"`    // without it the file is refused
	Meaning string `json:"meaning"`
}

// Keys returns the format: every key, in the order of the file.
func Keys() []Key {
	d := Default()
	var keys []Key
	for _, f := range fields(&d) {
		kind := wanted(&f)
		switch {
		case f.kind == symbol:
			kind = "a symbol"
		case f.kind == symbols:
			kind = "a list of symbols"
		case f.kind == parts:
			kind = "a list of strategies"
		case f.kind == number || f.kind == integer:
			kind += ", " + f.rangeText()
		case f.kind == caps:
			kind += ", " + f.rangeText() + ", or one by sector"
		}
		if f.null {
			kind += ", or null"
		}
		value := valueOf(f)
		if f.unsaid != "" {
			value = f.unsaid
		}
		keys = append(keys, Key{f.path, kind, value, f.required, f.doc})
	}
	return keys
}

// Setting is one key of a strategy and its value.
type Setting struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Settings returns every key that says something in this strategy.
func (s Strategy) Settings() []Setting {
	var list []Setting
	for _, f := range fields(&s) {
		if v := valueOf(f); v != "" {
			list = append(list, Setting{f.path, v})
		}
	}
	return list
}

// valueOf is a field's value as the file would say it; "" for none.
func valueOf(f field) string {
	if f.unsaid != "" && reflect.ValueOf(f.to).Elem().IsZero() {
		return ""
	}
	switch to := f.to.(type) {
	case **float64:
		if *to == nil {
			return "null"
		}
		return fmt.Sprint(**to)
	case **SectorCaps:
		if *to == nil {
			return "null"
		}
		b, _ := json.Marshal(*to) // finite numbers and texts have a JSON form
		return string(b)
	case **quant.Date:
		if *to == nil {
			return "null"
		}
		return (*to).String()
	case *quant.Text:
		if *to == "" {
			return "null"
		}
		return string(*to)
	case *[]string:
		return strings.Join(*to, ", ")
	case *[]Part:
		return partsText(*to)
	case *float64:
		b, _ := json.Marshal(*to) // a finite number has a JSON form
		return string(b)
	}
	v := reflect.ValueOf(f.to).Elem()
	if v.IsZero() && (f.required || f.kind == integer && f.min > 0) {
		return ""
	}
	return fmt.Sprint(v.Interface())
}

// Schema returns the JSON Schema (2020-12) of the format, for editors. What it
// accepts Parse accepts, but for rules that it cannot say: the order of
// backtest.from and to, days such as 2024-02-30, symbols that are longer
// than 64 bytes or hold characters without a shape, and what margins and exposures
// must be to each other.
func Schema() []byte {
	d := Default()
	list := fields(&d)
	root := section(list, "")
	doc := append(object{
		{"$schema", "https://json-schema.org/draft/2020-12/schema"},
		{"title", "quant strategy"},
	}, root...)
	when := func(section, value string, then object) object {
		return object{{"if", object{{"properties", object{{section, object{{"properties", object{{"type", object{{"const", value}}}}}}}}}, {"required", []string{section}}}},
			{"then", object{{"properties", object{{section, then}}}}}}
	}
	inputs := func(must []string, others ...string) object {
		return object{{"properties", object{{"inputs", object{{"required", must}, {"properties", none(others)}}}}}}
	}
	doc = append(doc, member{"allOf", []object{
		when("universe", UniverseSymbols, object{{"required", []string{"symbols"}}, {"properties", none([]string{"name", "by", "window", "top"})}}),
		when("universe", UniverseAll, object{{"properties", none([]string{"symbols", "name", "by", "window", "top"})}}),
		when("universe", UniverseMembership, object{{"required", []string{"name"}}, {"properties", none([]string{"symbols", "by", "window", "top"})}}),
		when("universe", UniverseRule, object{{"required", []string{"by", "top"}}, {"properties", none([]string{"symbols", "name"})}}),
		when("signal", FactorRank, inputs([]string{"feature_name", "feature_version"}, "model_id", "task_id", "strategies")),
		when("signal", ModelScore, inputs([]string{"model_id", "task_id"}, "feature_name", "feature_version", "strategies")),
		when("signal", Strategies, inputs([]string{"strategies"}, "feature_name", "feature_version", "model_id", "task_id")),
		everySchema(true), everySchema(false), combinedSchema(true), combinedSchema(false),
		sidesSchema(), openSchema(),
	}})
	b, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("the schema has no JSON form: %v", err))
	}
	return append(b, '\n')
}

func none(names []string) object {
	var o object
	for _, name := range names {
		o = append(o, member{name, false})
	}
	return o
}

func section(list []field, path string) object {
	var properties object
	must := []string{}
	for _, name := range children(list, path) {
		full := join(path, name)
		var schema object
		required := false
		for _, f := range list {
			if f.path == full {
				schema, required = f.schema(), f.required
			} else if strings.HasPrefix(f.path, full+".") {
				// A section is required where any of its keys is; inputs, where signal is.
				required = required || f.required || full == "signal.inputs"
			}
		}
		if schema == nil {
			schema = section(list, full)
		}
		properties = append(properties, member{name, schema})
		if required {
			must = append(must, name)
		}
	}
	return object{{"type", "object"}, {"additionalProperties", false}, {"required", must}, {"properties", properties}}
}

func (f field) schema() object {
	var o object
	kind := "string"
	switch f.kind {
	case integer:
		kind = "integer"
	case number, caps:
		kind = "number"
	case symbols, parts:
		kind = "array"
	case truth:
		kind = "boolean"
	}
	if f.kind == caps {
		o = object{{"type", []string{kind, "object", "null"}}}
	} else if f.null {
		o = object{{"type", []string{kind, "null"}}}
	} else {
		o = object{{"type", kind}}
	}
	o = append(o, member{"description", f.doc})
	if v := valueOf(f); v != "" && v != "null" {
		o = append(o, member{"default", reflect.ValueOf(f.to).Elem().Interface()})
	}
	one := object{{"type", "string"}, {"minLength", 1}, {"maxLength", quant.MaxSymbolBytes}, {"pattern", `^\S+$`}}
	switch f.kind {
	case symbols:
		o = append(o, member{"minItems", 1}, member{"uniqueItems", true}, member{"items", one})
	case parts:
		o = append(o, member{"minItems", 1}, member{"maxItems", mostParts}, member{"items", partSchema()})
	case symbol:
		o = append(o, one[1:]...)
	case date:
		o = append(o, member{"pattern", `^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$`})
	case caps:
		bounds := object{{"exclusiveMinimum", f.min}, {"maximum", f.max}}
		o = append(o, bounds...)
		o = append(o, member{"minProperties", 1}, member{"propertyNames", object{{"pattern", `^[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?$`}}},
			member{"additionalProperties", append(object{{"type", "number"}}, bounds...)})
	case integer, number:
		if !math.IsInf(f.min, 0) {
			low := "minimum"
			if f.above {
				low = "exclusiveMinimum"
			}
			o = append(o, member{low, f.min}, member{"maximum", f.max})
		}
	case text:
		if f.choices != nil {
			o = append(o, member{"enum", f.choices})
		} else {
			o = append(o, member{"pattern", f.pattern})
		}
	}
	return o
}

// object is a JSON object whose members keep their order.
type object []member

type member struct {
	name  string
	value any
}

// MarshalJSON writes the members in order.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(m.name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(m.value)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
