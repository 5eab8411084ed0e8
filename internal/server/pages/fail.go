package pages

import (
	"errors"
	"net/http"

	"quant"
)

// forbidden is an error for who may not do what was asked.
type forbidden struct{ error }

// Unwrap returns the error itself.
func (f forbidden) Unwrap() error { return f.error }

// statusOf is how an error is answered.
func statusOf(err error) int {
	if _, is := errors.AsType[forbidden](err); is {
		return http.StatusForbidden
	}
	switch quant.CodeOf(err) {
	case quant.Usage, quant.Invalid:
		return http.StatusBadRequest
	case quant.NotFound:
		return http.StatusNotFound
	case quant.Conflict, quant.Locked:
		return http.StatusConflict
	case quant.Refused:
		return http.StatusUnprocessableEntity
	case quant.Store:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

// failure is what the page of an error shows.
type failure struct {
	Title   string
	Message string
	Hint    string
	Again   bool // asking again may help
	Address string
}

// fail answers with an error: as a page, or to a script as the part that it puts
// where the answer was to go.
func (p *pages) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // nobody waits
	}
	status := statusOf(err)
	f := failure{
		Title: http.StatusText(status), Message: err.Error(), Hint: quant.HintOf(err),
		Again: errors.Is(err, quant.Locked) && r.Method == http.MethodGet, Address: r.URL.RequestURI(),
	}
	switch {
	case errors.Is(err, quant.Locked):
		f.Title = "Somebody else holds this"
	case status == http.StatusNotFound:
		f.Title = "Not found"
	case status == http.StatusInternalServerError:
		f.Title = "This went wrong"
	}
	if r.Header.Get("HX-Request") == "true" {
		err = p.write(w, r, "error.html", "failure", status, f)
	} else {
		err = p.show(w, r, view{File: "error.html", Title: f.Title, Status: status, Data: f})
	}
	if err != nil {
		http.Error(w, "500: the page of an error could not be made", http.StatusInternalServerError)
	}
}
