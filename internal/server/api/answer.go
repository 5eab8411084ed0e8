package api

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"quant"
	"quant/internal/search"
)

// answer sends a document: with a tag by which a client asks whether it is still
// so, and compressed for those who take that. Secrets that are known are masked,
// as wherever results are shown.
func (h *handler) answer(w http.ResponseWriter, r *http.Request, v any) error {
	var doc bytes.Buffer
	enc := json.NewEncoder(&doc)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return quant.Errorf(quant.Failed, "write the answer: %w", err)
	}
	h.send(w, r, http.StatusOK, "application/json", h.masked(doc.Bytes()))
	return nil
}

func (h *handler) masked(doc []byte) []byte {
	if h.Session == nil {
		return doc
	}
	return h.Session.Mask.KnownJSON(doc)
}

// minCompressed is from how many bytes on an answer is worth compressing.
const minCompressed = 1 << 10

// send writes an answer that is there whole. One that a client has already is not
// sent again.
func (h *handler) send(w http.ResponseWriter, r *http.Request, status int, media string, body []byte) {
	head := w.Header()
	head.Set("Content-Type", media)
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Cache-Control", "private, no-cache")
	head.Add("Vary", "Accept-Encoding")
	if status == http.StatusOK && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		sum := sha256.Sum256(body)
		tag := `W/"` + hex.EncodeToString(sum[:12]) + `"`
		head.Set("ETag", tag)
		if matches(r.Header.Get("If-None-Match"), tag) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	if len(body) >= minCompressed && takesGzip(r.Header.Get("Accept-Encoding")) {
		var packed bytes.Buffer
		zip, _ := gzip.NewWriterLevel(&packed, gzip.BestSpeed) // the level is one
		_, err := zip.Write(body)
		if err := errors.Join(err, zip.Close()); err == nil { // a buffer takes everything
			head.Set("Content-Encoding", "gzip")
			body = packed.Bytes()
		}
	}
	head.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // who asked may be gone
	}
}

// matches tells whether an If-None-Match names a tag.
func matches(header, tag string) bool {
	for one := range strings.SplitSeq(header, ",") {
		if one = strings.TrimSpace(one); one == "*" || strings.TrimPrefix(one, "W/") == strings.TrimPrefix(tag, "W/") {
			return true
		}
	}
	return false
}

// takesGzip tells whether an Accept-Encoding allows gzip.
func takesGzip(header string) bool {
	for one := range strings.SplitSeq(header, ",") {
		coding, weight, _ := strings.Cut(strings.TrimSpace(one), ";")
		if strings.TrimSpace(coding) == "gzip" {
			q, found := strings.CutPrefix(strings.ReplaceAll(weight, " ", ""), "q=")
			n, err := strconv.ParseFloat(q, 64)
			return !found || err != nil || n > 0
		}
	}
	return false
}

// Problem is why a request was not answered, as RFC 9457 has it, with quant's own
// words beside.
type Problem struct {
	Type   string     `json:"type" doc:"where the code is explained"`
	Title  string     `json:"title" doc:"the status in words"`
	Status int        `json:"status" doc:"the status of the answer"`
	Detail string     `json:"detail" doc:"what was wrong, naming the object"`
	Code   quant.Code `json:"code" doc:"quant's own code of the failure"`
	Hint   quant.Text `json:"hint" doc:"what to do next"`
	Column *int       `json:"column,omitempty" doc:"where a search is wrong, from 1, in characters"`
}

// refusal is an error with a status that is not that of its code.
type refusal struct {
	cause  *quant.Error
	status int
}

func (e refusal) Error() string { return e.cause.Error() }
func (e refusal) Unwrap() error { return e.cause }

func problemOf(status int, err *quant.Error) error { return refusal{err, status} }

// statusOf is the status of a code.
func statusOf(code quant.Code) int {
	switch code {
	case quant.Usage, quant.Invalid:
		return http.StatusBadRequest
	case quant.NotFound:
		return http.StatusNotFound
	case quant.Conflict:
		return http.StatusConflict
	case quant.Refused:
		return http.StatusUnprocessableEntity
	case quant.Provider:
		return http.StatusBadGateway
	case quant.Locked:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

// fail answers with an error as a problem document.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := Problem{Status: statusOf(quant.CodeOf(err)), Detail: err.Error(), Code: quant.CodeOf(err), Hint: quant.Text(quant.HintOf(err))}
	if own, is := errors.AsType[refusal](err); is {
		p.Status = own.status
	}
	if fault, is := errors.AsType[search.Fault](err); is {
		p.Column = &fault.Column
	}
	p.Type, p.Title = Prefix+"docs#"+problemAnchor(p.Code), http.StatusText(p.Status)
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	var doc bytes.Buffer
	enc := json.NewEncoder(&doc)
	enc.SetEscapeHTML(false)
	if enc.Encode(p) != nil { // its members are texts and numbers
		doc.Reset()
	}
	h.send(w, r, p.Status, "application/problem+json", h.masked(doc.Bytes()))
}

// problemAnchor is where the page of the API explains a code.
func problemAnchor(code quant.Code) string {
	return "problem-" + strings.ReplaceAll(string(code), " ", "-")
}
