package mlflow

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"quant"
)

// endpoint is one operation of the protocol.
type endpoint struct {
	method string
	// path is without the prefix and with its version: /2.0/mlflow/runs/create. A
	// part in braces stands for any text, the last one, with three dots, also for
	// several parts: {model_id}, {path...}.
	path  string
	reads bool // it changes nothing
	serve func(w http.ResponseWriter, r *http.Request, parts map[string]string) error
}

// on is an endpoint that answers one document by another. The parts of its path
// in braces are fields of the request, as what its query string or body says.
func on[T any](method, path string, handle func(ctx context.Context, in T) (any, error)) endpoint {
	return endpoint{
		method: method, path: path, reads: method == http.MethodGet,
		serve: func(w http.ResponseWriter, r *http.Request, parts map[string]string) error {
			var in T
			if err := decode(w, r, parts, &in); err != nil {
				return err
			}
			out, err := handle(r.Context(), in)
			if err != nil {
				return err
			}
			return answer(w, out)
		},
	}
}

// reading marks an endpoint that changes nothing although it is a POST.
func reading(e endpoint) endpoint {
	e.reads = true
	return e
}

// raw is an endpoint that reads and writes bytes by itself. An error that it
// returns before it wrote anything becomes the error document.
func raw(method, path string, serve func(w http.ResponseWriter, r *http.Request, parts map[string]string) error) endpoint {
	return endpoint{method: method, path: path, reads: method == http.MethodGet || method == http.MethodHead, serve: serve}
}

// empty is the answer of what only does something.
type empty struct{}

// answer writes a document.
func answer(w http.ResponseWriter, out any) error {
	b, err := json.Marshal(out)
	if err != nil {
		return quant.Errorf(quant.Failed, "write an answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b) // who does not take the answer has gone
	return nil
}

// router finds endpoints.
type router struct {
	fixed map[string][]*endpoint // by path
	open  []*endpoint            // with parts in braces
}

// routes is the table of the paths alone, for what is asked of a request before it
// is served.
var routes = sync.OnceValue(func() *router { return newRouter((&face{}).endpoints()) })

func newRouter(all []endpoint) *router {
	t := &router{fixed: map[string][]*endpoint{}}
	for i := range all {
		e := &all[i]
		if strings.Contains(e.path, "{") {
			t.open = append(t.open, e)
			continue
		}
		t.fixed[e.path] = append(t.fixed[e.path], e)
	}
	return t
}

// versioned cuts what all paths begin with: /api/2.0/mlflow/x and
// /ajax-api/2.0/preview/mlflow/x are /2.0/mlflow/x.
func versioned(path string) string {
	for _, prefix := range []string{"/api", "/ajax-api"} {
		if rest, found := strings.CutPrefix(path, prefix+"/"); found {
			path = "/" + rest
			break
		}
	}
	if version, rest, found := strings.Cut(strings.TrimPrefix(path, "/"), "/preview/"); found && !strings.Contains(version, "/") {
		return "/" + version + "/" + rest
	}
	return path
}

// find returns the endpoint of a request, by its method and its path as it came.
// Without one, methods are those that the path has.
func (t *router) find(method, escaped string) (e *endpoint, parts map[string]string, found bool) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	path := versioned(escaped)
	for _, e := range t.fixed[path] {
		if e.method == method {
			return e, nil, true
		}
	}
	for _, e := range t.open {
		if e.method != method {
			continue
		}
		if parts, ok := matched(e.path, path); ok {
			return e, parts, true
		}
	}
	return nil, nil, false
}

// methods are those that a path has.
func (t *router) methods(escaped string) []string {
	var all []string
	path := versioned(escaped)
	for _, e := range t.fixed[path] {
		all = append(all, e.method)
	}
	for _, e := range t.open {
		if _, ok := matched(e.path, path); ok {
			all = append(all, e.method)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// matched compares a path, percent-encoded, with that of an endpoint and returns
// the parts in braces, decoded.
func matched(pattern, path string) (parts map[string]string, ok bool) {
	parts = map[string]string{}
	for pattern != "" {
		var want, have string
		want, pattern = cutPart(pattern)
		if name, found := strings.CutSuffix(want, "...}"); found {
			rest, err := url.PathUnescape(strings.TrimPrefix(path, "/"))
			parts[name[1:]] = rest
			return parts, err == nil && strings.HasPrefix(path, "/")
		}
		if path == "" {
			return nil, false
		}
		have, path = cutPart(path)
		if !strings.HasPrefix(want, "{") {
			if want != have {
				return nil, false
			}
			continue
		}
		value, err := url.PathUnescape(have)
		if err != nil || value == "" {
			return nil, false
		}
		parts[strings.Trim(want, "{}")] = value
	}
	return parts, path == ""
}

// cutPart takes the first part off a path that begins with a slash.
func cutPart(path string) (part, rest string) {
	path = strings.TrimPrefix(path, "/")
	if i := strings.IndexByte(path, '/'); i >= 0 {
		return path[:i], path[i:]
	}
	return path, ""
}

// ServeHTTP answers a request with what its endpoint says, or with the error
// document.
func (t *router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	e, parts, found := t.find(r.Method, r.URL.EscapedPath())
	if !found {
		if methods := t.methods(r.URL.EscapedPath()); len(methods) > 0 {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			fail(w, &apiError{Status: http.StatusMethodNotAllowed, Code: endpointNotFound, Message: r.Method + " is not a method of this endpoint"})
			return
		}
		fail(w, apiErrorf(endpointNotFound, "this server has no endpoint %s %s", r.Method, clean(r.URL.Path)))
		return
	}
	if err := e.serve(w, r, parts); err != nil && !errors.Is(err, errAnswered) {
		fail(w, err)
	}
}

// errAnswered is returned by a raw endpoint that wrote its answer and failed
// afterwards.
var errAnswered = errors.New("the answer has begun")

// maxBody is the largest document that is read, in bytes: a batch of 1,000 metrics
// has 200 KB, a dataset's profile up to 16 MiB.
const maxBody = 32 << 20

func body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(int(min(max(r.ContentLength, 0), 1<<20)) + bytes.MinRead) // what is announced need not come
	_, err := b.ReadFrom(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, &apiError{
			Status: http.StatusRequestEntityTooLarge, Code: invalidParameter,
			Message: "The request has more than " + quant.Bytes(tooLarge.Limit) + ". Split it up.",
		}
	}
	if err != nil {
		return nil, apiErrorf(badRequest, "the request could not be read: %v", err)
	}
	return b.Bytes(), nil
}
