package api

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"maps"
	"reflect"
	"slices"
	"strings"

	"quant"
)

// reference is the API for people: what the page and docs/api.md show. It is made
// of the same routes and schemas as the document.
type reference struct {
	Version  string
	Prefix   string
	Groups   []referenceGroup
	Schemas  []referenceSchema
	Problems []problemText
}

type referenceGroup struct {
	Name, Text string
	Operations []referenceOperation
}

type referenceOperation struct {
	ID, Method, Path, Summary, Text, Command, Scope string
	Parameters                                      []referenceParameter
	Body, Answer                                    typeText
}

type referenceParameter struct {
	Name, In, Type, Default, Text string
	Required                      bool
}

type referenceSchema struct {
	Name    string
	Members []referenceMember
}

type referenceMember struct {
	Name string
	Type typeText
	Text string
}

// typeText is a type in words: what stands before the name of a schema, the name,
// and what stands after it.
type typeText struct{ Before, Schema, After string }

func newReference(version string) reference {
	all := schemas{named: map[string]schema{}}
	ref := reference{Version: version, Prefix: Prefix, Problems: problems()}
	for _, g := range groups() {
		one := referenceGroup{Name: g.name, Text: g.text}
		for _, r := range routes() {
			if r.group == g.name {
				one.Operations = append(one.Operations, all.describe(r))
			}
		}
		ref.Groups = append(ref.Groups, one)
	}
	all.of(reflect.TypeFor[Problem]())
	for _, name := range slices.Sorted(maps.Keys(all.named)) {
		one := referenceSchema{Name: name}
		properties, _ := all.named[name]["properties"].(schema)
		for _, member := range slices.Sorted(maps.Keys(properties)) {
			s, _ := properties[member].(schema)
			text, _ := s["description"].(string)
			one.Members = append(one.Members, referenceMember{member, inWords(s), text})
		}
		ref.Schemas = append(ref.Schemas, one)
	}
	return ref
}

func (s *schemas) describe(r route) referenceOperation {
	op := referenceOperation{ID: r.id, Method: r.method, Path: Prefix + r.path, Summary: r.summary, Text: r.text, Command: r.command, Scope: scopeOf(r)}
	for _, p := range parameters(r.in) {
		one := referenceParameter{Name: p.name, In: p.in, Default: p.fallback, Text: p.doc, Required: p.required, Type: inWords(p.schema()).Before}
		if p.choices != nil {
			one.Type = strings.Join(p.choices, ", ")
		}
		if p.low != nil && p.high != nil {
			one.Type = fmt.Sprintf("integer, %d to %d", *p.low, *p.high)
		}
		op.Parameters = append(op.Parameters, one)
	}
	if i, has := bodyOf(r.in); has {
		op.Body = inWords(s.of(r.in.Field(i).Type))
	}
	op.Answer = typeText{Before: r.media}
	if r.out != nil {
		op.Answer = inWords(s.of(r.out))
	}
	return op
}

// inWords is a schema in words.
func inWords(s schema) typeText {
	if ref, is := s["$ref"].(string); is {
		return typeText{Schema: strings.TrimPrefix(ref, "#/components/schemas/")}
	}
	if either, is := s["anyOf"].([]schema); is {
		one := inWords(either[0])
		one.After += " or null"
		return one
	}
	switch kind := s["type"].(type) {
	case []string:
		return typeText{Before: strings.Join(kind, " or ")}
	case string:
		of := schema(nil)
		switch kind {
		case "array":
			of, _ = s["items"].(schema)
		case "object":
			of, _ = s["additionalProperties"].(schema)
			kind = "object, its members"
		default:
			if format, has := s["format"].(string); has {
				kind += " (" + format + ")"
			}
			return typeText{Before: kind}
		}
		one := inWords(of)
		one.Before = strings.TrimSpace(kind + " of " + one.Before)
		if one.Schema != "" {
			one.Before += " "
		}
		return one
	}
	return typeText{Before: "any"}
}

//go:embed docs.html
var docsText string

// docsPage is the reference as a page that needs nothing else.
func docsPage(version string) ([]byte, error) {
	page, err := template.New("docs").Parse(docsText)
	if err != nil {
		return nil, quant.Errorf(quant.Failed, "the page of the API: %w", err)
	}
	var b bytes.Buffer
	if err := page.Execute(&b, newReference(version)); err != nil {
		return nil, quant.Errorf(quant.Failed, "the page of the API: %w", err)
	}
	return b.Bytes(), nil
}

// Markdown is the reference as docs/api.md has it.
func Markdown() []byte {
	var b bytes.Buffer
	b.WriteString("# The API\n\n<!-- Written by `go run ./internal/cli/generate`; do not edit. -->\n\n")
	fmt.Fprintf(&b, "What `quant serve` answers below `%s`, in JSON, from the program's own routes. `%sopenapi.json` is the same for programs (OpenAPI 3.1), `%sdocs` a page.\n", Prefix, Prefix, Prefix)
	b.WriteString("How to start it, and who may ask, is in [server.md](server.md). A document that a command has as well is that of its `--output json` ([json.md](json.md)).\n\n")
	ref := newReference("")
	for _, g := range ref.Groups {
		fmt.Fprintf(&b, "## %s\n\n%s\n\n", g.Name, g.Text)
		for _, op := range g.Operations {
			fmt.Fprintf(&b, "### %s `%s`\n\n%s.", op.Method, op.Path, op.Summary)
			if op.Text != "" {
				b.WriteString(" " + op.Text)
			}
			b.WriteString("\n\n")
			if op.Scope == "write" {
				b.WriteString("Needs the scope `write`.\n\n")
			}
			if op.Parameters != nil {
				b.WriteString("| parameter | in | type | default | meaning |\n|---|---|---|---|---|\n")
				for _, p := range op.Parameters {
					fallback := p.Default
					if fallback == "" && p.Required {
						fallback = "required"
					}
					fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", p.Name, p.In, p.Type, fallback, cell(p.Text))
				}
				b.WriteString("\n")
			}
			if op.Body != (typeText{}) {
				fmt.Fprintf(&b, "Takes %s.\n\n", op.Body.markdown())
			}
			fmt.Fprintf(&b, "Answers %s", op.Answer.markdown())
			if op.Command != "" {
				fmt.Fprintf(&b, ", as [`quant %s`](json.md#quant-%s)", op.Command, strings.ReplaceAll(op.Command, " ", "-"))
			}
			b.WriteString(".\n\n")
		}
	}
	b.WriteString("## Problems\n\nAn answer that is none is `application/problem+json` (RFC 9457), with a `code` of quant's own and a `hint`.\n\n| code | status | meaning |\n|---|---|---|\n")
	for _, p := range ref.Problems {
		fmt.Fprintf(&b, "| `%s` | %d | %s |\n", p.Code, p.Status(), cell(p.Text))
	}
	b.WriteString("\nA request that is too long is 413, one that is no JSON 415, a method that a path does not take 405, and a token without the scope 403.\n\n## Schemas\n\n")
	for _, s := range ref.Schemas {
		fmt.Fprintf(&b, "### %s\n\n| member | type | meaning |\n|---|---|---|\n", s.Name)
		for _, m := range s.Members {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", m.Name, m.Type.markdown(), cell(m.Text))
		}
		b.WriteString("\n")
	}
	return append(bytes.TrimRight(b.Bytes(), "\n"), '\n')
}

func (t typeText) markdown() string {
	if t.Schema == "" {
		return t.Before + t.After
	}
	return fmt.Sprintf("%s[%s](#%s)%s", t.Before, t.Schema, strings.ToLower(strings.ReplaceAll(t.Schema, ".", "")), t.After)
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
