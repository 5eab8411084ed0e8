package api

import (
	"encoding/json"
	"path"
	"reflect"
	"strings"
	"sync"

	"quant"
)

// schema is a JSON Schema, of the dialect that OpenAPI 3.1 takes.
type schema map[string]any

// schemas collects the schemas of Go types, each struct once, under a name.
type schemas struct {
	named map[string]schema
}

// scalars are the types that write themselves.
var scalars = sync.OnceValue(func() map[reflect.Type]schema {
	return map[reflect.Type]schema{
		reflect.TypeFor[quant.Time]():      {"type": []string{"string", "null"}, "format": "date-time"},
		reflect.TypeFor[quant.Date]():      {"type": "string", "format": "date"},
		reflect.TypeFor[quant.Text]():      {"type": []string{"string", "null"}},
		reflect.TypeFor[quant.Facts]():     {"type": []string{"string", "null"}},
		reflect.TypeFor[quant.JSON]():      {},
		reflect.TypeFor[json.RawMessage](): {},
		reflect.TypeFor[quant.Status]():    {"type": "string", "enum": []quant.Status{quant.Running, quant.Success, quant.Fail}},
		reflect.TypeFor[quant.Code]():      {"type": "string", "enum": quant.Codes()},
	}
})

// of is the schema of what encoding/json makes of a type.
func (s *schemas) of(t reflect.Type) schema {
	if known, is := scalars()[t]; is {
		return known
	}
	switch t.Kind() {
	case reflect.Pointer:
		return orNull(s.of(t.Elem()))
	case reflect.Bool:
		return schema{"type": "boolean"}
	case reflect.Int, reflect.Int32, reflect.Int64:
		return schema{"type": "integer"}
	case reflect.Float64:
		return schema{"type": "number"}
	case reflect.String:
		return schema{"type": "string"}
	case reflect.Slice:
		return schema{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return schema{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Struct:
		return s.object(t)
	default:
		return schema{}
	}
}

func orNull(one schema) schema {
	if name, is := one["type"].(string); is {
		with := schema{}
		for k, v := range one {
			with[k] = v
		}
		with["type"] = []string{name, "null"}
		return with
	}
	if _, is := one["$ref"]; is {
		return schema{"anyOf": []schema{one, {"type": "null"}}}
	}
	return one
}

// object is a reference to the schema of a struct. One without a name of its own
// stands where it is used.
func (s *schemas) object(t reflect.Type) schema {
	name := nameOf(t)
	if name == "" {
		return s.members(t)
	}
	if _, known := s.named[name]; !known {
		s.named[name] = schema{} // it may hold itself
		s.named[name] = s.members(t)
	}
	return schema{"$ref": "#/components/schemas/" + name}
}

// nameOf is the name under which a struct stands: those of this package are known
// by their own name.
func nameOf(t reflect.Type) string {
	if t.Name() == "" || strings.Contains(t.Name(), "[") {
		return ""
	}
	own := strings.ToUpper(t.Name()[:1]) + t.Name()[1:]
	if at := path.Base(t.PkgPath()); at != "api" {
		return at + "." + own
	}
	return own
}

func (s *schemas) members(t reflect.Type) schema {
	properties, required := schema{}, []string{}
	s.collect(t, properties, &required)
	one := schema{"type": "object", "properties": properties}
	if len(required) > 0 {
		one["required"] = required
	}
	return one
}

func (s *schemas) collect(t reflect.Type, properties schema, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct {
			s.collect(f.Type, properties, required)
			continue
		}
		if !f.IsExported() || name == "-" || name == "" {
			continue
		}
		member := s.of(f.Type)
		if text := f.Tag.Get("doc"); text != "" {
			with := schema{"description": text}
			for k, v := range member {
				with[k] = v
			}
			member = with
		}
		if _, again := properties[name]; !again && !strings.Contains(options, "omitempty") {
			*required = append(*required, name)
		}
		properties[name] = member
	}
}
