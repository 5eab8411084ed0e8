package api

import (
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"quant"
)

// document is the description of the API as OpenAPI 3.1 has it.
type document struct {
	OpenAPI    string                       `json:"openapi"`
	Info       schema                       `json:"info"`
	Servers    []schema                     `json:"servers"`
	Tags       []schema                     `json:"tags"`
	Paths      map[string]map[string]schema `json:"paths"`
	Components schema                       `json:"components"`
}

// group is a part of the API.
type group struct{ name, text string }

// groups are the parts of the API, in their order.
func groups() []group {
	return []group{
		{"runs", "One run, and what is recorded of it."},
		{"search", "Runs that a query finds, several side by side, in sums."},
		{"actions", "What changes something. Each is a run of its own inside the one that serves, with the tag `by` that names who asked."},
		{"jobs", "The queue of work for workers, and what stands in it again and again. To cancel or retry is a run of its own, like an action."},
		{"lab", "What the lab has beside runs."},
	}
}

// describe is the document of routes.
func describe(routes []route, version string) document {
	all := schemas{named: map[string]schema{}}
	d := document{
		OpenAPI: "3.1.0",
		Info: schema{
			"title": "quant", "version": version,
			"description": "The lab over HTTP. A document that a command has as well is that of its `--output json` (docs/json.md); members may be added. " +
				"A run is named as on the command line: by its id, a unique prefix or suffix of that, `@NAME`, or `last`.",
		},
		Servers: []schema{{"url": strings.TrimSuffix(Prefix, "/")}},
		Paths:   map[string]map[string]schema{},
	}
	for _, g := range groups() {
		d.Tags = append(d.Tags, schema{"name": g.name, "description": g.text})
	}
	problem := all.of(reflect.TypeFor[Problem]())
	for _, r := range routes {
		path := "/" + strings.ReplaceAll(r.path, "...}", "}")
		if d.Paths[path] == nil {
			d.Paths[path] = map[string]schema{}
		}
		d.Paths[path][strings.ToLower(r.method)] = all.operation(r, problem)
	}
	d.Components = schema{"schemas": all.named, "securitySchemes": schema{
		"token": schema{"type": "http", "scheme": "bearer", "description": "A token of `quant tokens create`. A server that only this machine reaches may ask for none."},
	}}
	return d
}

func (s *schemas) operation(r route, problem schema) schema {
	text := r.text
	if r.command != "" {
		text = strings.TrimSpace(text + "\n\nThe document of `quant " + r.command + " --output json`.")
	}
	op := schema{
		"operationId": r.id, "tags": []string{r.group}, "summary": r.summary,
		"security": []schema{{}, {"token": []string{scopeOf(r)}}},
	}
	if text != "" {
		op["description"] = text
	}
	var params []schema
	for _, p := range parameters(r.in) {
		params = append(params, schema{"name": p.name, "in": p.in, "required": p.required, "description": p.doc, "schema": p.schema()})
	}
	if params != nil {
		op["parameters"] = params
	}
	if i, has := bodyOf(r.in); has {
		op["requestBody"] = schema{"required": true, "content": schema{"application/json": schema{"schema": s.of(r.in.Field(i).Type)}}}
	}
	answer := schema{"description": "The answer.", "headers": schema{"ETag": schema{"description": "of what is answered; send it back in If-None-Match", "schema": schema{"type": "string"}}}}
	if r.out != nil {
		answer["content"] = schema{"application/json": schema{"schema": s.of(r.out)}}
	} else {
		answer["content"] = schema{r.media: schema{}}
	}
	answers := schema{"200": answer, "default": schema{
		"description": "Why it was not answered.", "content": schema{"application/problem+json": schema{"schema": problem}},
	}}
	if r.method == http.MethodGet {
		answers["304"] = schema{"description": "What the client has is still so."}
	}
	op["responses"] = answers
	return op
}

func scopeOf(r route) string {
	if r.writes {
		return "write"
	}
	return "read"
}

func (p parameter) schema() schema {
	one := schema{"type": "string"}
	switch p.kind.Kind() {
	case reflect.Slice:
		return schema{"type": "array", "items": schema{"type": "string"}}
	case reflect.Bool:
		one["type"] = "boolean"
		if p.fallback != "" {
			one["default"] = p.fallback == "true"
		}
		return one
	case reflect.Int, reflect.Int64:
		one["type"] = "integer"
		if n, err := strconv.ParseInt(p.fallback, 10, 64); err == nil {
			one["default"] = n
		}
		if p.low != nil {
			one["minimum"] = *p.low
		}
		if p.high != nil {
			one["maximum"] = *p.high
		}
		return one
	}
	if p.choices != nil {
		one["enum"] = p.choices
	}
	if p.fallback != "" {
		one["default"] = p.fallback
	}
	return one
}

// OpenAPI is the description of the API as a document of OpenAPI 3.1, for a version
// of the program.
func OpenAPI(version string) []byte {
	doc, err := json.MarshalIndent(describe(routes(), version), "", "  ")
	if err != nil {
		panic(err) // it is made of texts and numbers
	}
	return append(doc, '\n')
}

// problems explains the codes, in the order of their statuses.
func problems() []problemText {
	list := []problemText{
		{quant.Usage, "The request itself is wrong: a parameter, a search (`column` says where), or its document."},
		{quant.Invalid, "A value breaks a rule of its noun."},
		{quant.NotFound, "The named object does not exist."},
		{quant.Conflict, "It exists already, or is in a state that does not allow this."},
		{quant.Refused, "A rule said no: with 403 the token lacks the scope."},
		{quant.Failed, "Something went wrong that no other code names."},
		{quant.Partial, "Some of the work was done, and the answer says which."},
		{quant.Store, "A database is missing, damaged, foreign or too new."},
		{quant.Provider, "A data provider did not deliver."},
		{quant.Locked, "Somebody else holds it just now; try again."},
	}
	slices.SortStableFunc(list, func(a, b problemText) int { return a.Status() - b.Status() })
	return list
}

// problemText explains a code.
type problemText struct {
	Code quant.Code
	Text string
}

// Status is the status of the code.
func (p problemText) Status() int { return statusOf(p.Code) }

// Anchor is where the page explains it.
func (p problemText) Anchor() string { return problemAnchor(p.Code) }
