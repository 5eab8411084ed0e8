package pages

import (
	"fmt"
	"html"
	"net/http"

	"quant"
)

// Reads tells whether a request changes nothing, so that the scope read is enough.
func Reads(r *http.Request) bool {
	return r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
}

// Refuse answers a request that the guard does not let pass with a page that says
// why.
func Refuse(w http.ResponseWriter, _ *http.Request, status int, err error) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>%[1]s</title><h1>%[1]s</h1><p>%[2]s</p><p>%[3]s</p></html>\n",
		http.StatusText(status), html.EscapeString(err.Error()), html.EscapeString(quant.HintOf(err)))
}
