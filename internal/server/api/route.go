package api

import (
	"context"
	"net/http"
	"reflect"
)

// route is one operation: how it is asked for, what it takes and gives, and what it
// does. The mux and the OpenAPI document are made of the same list, so that neither
// can say what the other does not.
type route struct {
	method  string
	path    string // below Prefix, in the form of http.ServeMux
	id      string // operationId
	group   string
	summary string
	text    string // what else is to be said; may be empty
	command string // the command whose --output json the answer is; "": none
	writes  bool   // it needs the scope write
	in      reflect.Type
	out     reflect.Type // nil: a content that is no JSON
	media   string       // of such a content

	handle func(h *handler, w http.ResponseWriter, r *http.Request) error
}

// about says what a route is, beside its types.
type about struct {
	id, group, summary, text, command string
}

// reads is a route that answers with a document. In is a struct whose fields are
// tagged path or query, see parameters; Out is what encoding/json makes of it.
func reads[In, Out any](path string, a about, do func(ctx context.Context, h *handler, in In) (Out, error)) route {
	return operation(http.MethodGet, path, a, do)
}

// writes is a route that changes something: its caller needs the scope write. A
// field of In that is tagged body is read from a JSON document.
func writes[In, Out any](method, path string, a about, do func(ctx context.Context, h *handler, in In) (Out, error)) route {
	r := operation(method, path, a, do)
	r.writes = true
	return r
}

func operation[In, Out any](method, path string, a about, do func(ctx context.Context, h *handler, in In) (Out, error)) route {
	out := reflect.TypeFor[Out]()
	return route{
		method: method, path: path, id: a.id, group: a.group, summary: a.summary, text: a.text, command: a.command,
		in: reflect.TypeFor[In](), out: out,
		handle: func(h *handler, w http.ResponseWriter, r *http.Request) error {
			var in In
			if err := readRequest(w, r, reflect.ValueOf(&in).Elem()); err != nil {
				return err
			}
			answer, err := do(r.Context(), h, in)
			if err != nil {
				return err
			}
			return h.answer(w, r, answer)
		},
	}
}

// content is a route that answers with something that is no document of quant's.
func content[In any](path, media string, a about, do func(h *handler, w http.ResponseWriter, r *http.Request, in In) error) route {
	return route{
		method: http.MethodGet, path: path, id: a.id, group: a.group, summary: a.summary, text: a.text, command: a.command,
		in: reflect.TypeFor[In](), media: media,
		handle: func(h *handler, w http.ResponseWriter, r *http.Request) error {
			var in In
			if err := readRequest(w, r, reflect.ValueOf(&in).Elem()); err != nil {
				return err
			}
			return do(h, w, r, in)
		},
	}
}
