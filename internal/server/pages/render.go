package pages

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"html/template"
	"net/http"
	"strings"
	"sync"

	"quant/internal/output"
	"quant/internal/server/caller"
)

//go:embed templates
var templateFiles embed.FS

// templates are parsed when they are first needed, each file together with
// layout.html.
type templates struct {
	mu     sync.Mutex
	parsed map[string]*template.Template
}

func (t *templates) get(file string) (*template.Template, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if found := t.parsed[file]; found != nil {
		return found, nil
	}
	parsed, err := template.New(file).Funcs(functions()).ParseFS(templateFiles, filesOf(file)...)
	if err != nil {
		return nil, err
	}
	if t.parsed == nil {
		t.parsed = map[string]*template.Template{}
	}
	t.parsed[file] = parsed
	return parsed, nil
}

// filesOf are the files of a page's template: those of a run share some,
// and those of facts.
func filesOf(file string) []string {
	files := []string{"templates/layout.html", "templates/error.html"}
	if strings.HasPrefix(file, "run") {
		files = append(files, "templates/run_frame.html", "templates/run_parts.html")
	}
	if strings.HasPrefix(file, "research_") {
		files = append(files, "templates/research_parts.html")
	}
	return append(files, "templates/"+file)
}

// view is one page: a file below templates, which defines content, and what it
// shows.
type view struct {
	File    string
	Title   string
	Section string   // whose entry of the navigation it belongs to: that section's Path
	Scripts []string // assets that this page needs beside those of every page
	Styles  []string
	Wide    bool // it uses the whole width of the window
	Status  int  // 0: 200
	Data    any
}

// frame is what layout.html shows: a view and what every page has.
type frame struct {
	view
	Sections []section
	Caller   string
	Write    bool   // the caller may change the lab
	Lab      string // which one
}

// show answers with a page.
func (p *pages) show(w http.ResponseWriter, r *http.Request, v view) error {
	c := caller.From(r.Context())
	return p.write(w, r, v.File, "layout", v.Status, frame{
		view: v, Sections: p.sections, Caller: c.Name, Write: c.May(caller.Write), Lab: p.Shown(),
	})
}

// part answers with one definition of a template file, for a script that puts it
// into a page that stands.
func (p *pages) part(w http.ResponseWriter, r *http.Request, file, name string, data any) error {
	return p.write(w, r, file, name, http.StatusOK, data)
}

// policy is what a page may do: nothing but show itself, and ask this server.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// write renders into memory, so that a page is sent whole or not at all, and
// answers 304 where the client has it. Characters that would steer what shows them
// are shown as escapes, and known secrets masked, whatever a template does.
func (p *pages) write(w http.ResponseWriter, r *http.Request, file, name string, status int, data any) error {
	t, err := p.templates.get(file)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, name, data); err != nil {
		return err
	}
	p.send(w, r, "text/html; charset=utf-8", status, []byte(output.Clean(p.Mask.Known(b.String()))))
	return nil
}

// send answers with content that may differ the next time.
func (p *pages) send(w http.ResponseWriter, r *http.Request, contentType string, status int, content []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "private, no-cache")
	h.Set("Vary", "Accept-Encoding, HX-Request")
	if status == 0 {
		status = http.StatusOK
	}
	if status == http.StatusOK {
		sum := sha256.Sum256(content)
		tag := `W/"` + hex.EncodeToString(sum[:12]) + `"`
		h.Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	if len(content) > 1<<10 && acceptsGzip(r) {
		h.Set("Content-Encoding", "gzip")
		content = compress(content, gzip.BestSpeed)
	}
	w.WriteHeader(status)
	_, _ = w.Write(content)
}

// json answers a script with a value. Known secrets are masked before their text is
// encoded, so that the document stays valid.
func (p *pages) json(w http.ResponseWriter, r *http.Request, v any) error {
	doc, err := json.Marshal(v)
	if err != nil {
		return err
	}
	p.send(w, r, "application/json", http.StatusOK, p.Mask.KnownJSON(doc))
	return nil
}
