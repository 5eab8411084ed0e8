package pages

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strings"

	"quant"
	"quant/internal/artifact"
	"quant/internal/runs"
	"quant/internal/sandbox"
)

// The bounds of what a page shows of an artifact. A content is verified before any of
// it is shown, so one that is large is not looked at.
const (
	maxLooked   = 64 << 20
	previewText = 256 << 10
	previewRows = 200
	previewCols = 60
)

// filePolicy is what a file of a run may do in a browser: nothing, in an origin of
// its own.
const filePolicy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"

// htmlPolicy is the same for a page that a run wrote: its own scripts run, in an
// origin of its own, and can ask nobody for anything.
const htmlPolicy = "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' blob: data:; style-src 'unsafe-inline'; " +
	"img-src data: blob:; font-src data:; media-src data: blob:; connect-src 'none'; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"

// pictures are the types of files that a browser draws.
func pictures() map[string]string {
	return map[string]string{
		".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp",
		".avif": "image/avif", ".bmp": "image/bmp", ".svg": "image/svg+xml",
	}
}

// runArtifacts lists the artifacts of a run, a page at a time.
func (p *pages) runArtifacts(w http.ResponseWriter, r *http.Request) error {
	id, done, err := p.whole(w, r, "/artifacts")
	if err != nil || done {
		return err
	}
	v, err := p.about(r.Context(), id, "/artifacts")
	if err != nil {
		return err
	}
	list, err := p.Meta.ArtifactsAfter(r.Context(), id, r.URL.Query().Get("after"), morePart+1)
	if err != nil {
		return err
	}
	var more struct {
		Artifacts []quant.Artifact
		Next      string
	}
	if more.Artifacts = list; len(list) > morePart {
		more.Artifacts = list[:morePart]
		more.Next = "?after=" + url.QueryEscape(more.Artifacts[morePart-1].Name)
	}
	return p.showRun(w, r, v, "run_artifacts.html", "Artifacts", more)
}

// preview is what a page shows of an artifact: one of its forms.
type preview struct {
	Artifact quant.Artifact
	File     string // address of its content
	Picture  bool
	HTML     bool
	Text     *string
	Diff     []diffLine
	Table    *previewTable
	Why      string // nothing is shown
	Cut      string // what of it is shown; "": all
}

// previewTable is a table of texts.
type previewTable struct {
	Columns []string
	Rows    [][]string
}

func (p *pages) artifactPage(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	id, done, err := p.whole(w, r, "/artifacts/"+pathOf(name))
	if err != nil || done {
		return err
	}
	v, err := p.about(r.Context(), id, "/artifacts")
	if err != nil {
		return err
	}
	a, err := runs.Artifact(r.Context(), p.Meta, id, name)
	if err != nil {
		return err
	}
	shown, err := p.preview(r, a)
	if err != nil {
		return err
	}
	return p.showRun(w, r, v, "run_artifact.html", path.Base(a.Name), shown)
}

func (p *pages) preview(r *http.Request, a quant.Artifact) (preview, error) {
	shown := preview{Artifact: a, File: "/runs/" + a.RunID + "/files/" + pathOf(a.Name)}
	kind := strings.ToLower(path.Ext(a.Name))
	_, picture := pictures()[kind]
	switch {
	case a.Bytes > maxLooked:
		shown.Why = "It is larger than " + quant.Bytes(maxLooked) + ", and not looked at here."
		return shown, nil
	case picture:
		shown.Picture = true
		return shown, nil
	case kind == ".html" || kind == ".htm":
		shown.HTML = true
		return shown, nil
	case kind == ".pdf":
		shown.Why = "A PDF is shown by the program that the browser gives it to."
		return shown, nil
	}
	content, err := p.Artifacts().Reader(r.Context(), a.Digest)
	if err != nil {
		return shown, err
	}
	defer func() { _ = content.Close() }() // it was only read
	if kind == ".parquet" {
		err := p.parquet(r.Context(), &shown)
		return shown, err
	}
	text, cut, err := content.Text(previewText)
	switch {
	case errors.Is(err, artifact.ErrNoText):
		shown.Why = "It is no text that can be shown."
		return shown, nil
	case err != nil:
		return shown, err
	}
	if cut {
		shown.Cut = "the first " + quant.Bytes(int64(len(text))) + " of " + quant.Bytes(a.Bytes)
	}
	switch kind {
	case ".csv", ".tsv":
		if table, more := readTable(text, kind == ".tsv"); table != nil {
			if shown.Table = table; more {
				shown.Cut = "the first " + thousands(int64(len(table.Rows))) + " rows of " + quant.Bytes(a.Bytes)
			}
			return shown, nil
		}
	case ".diff", ".patch":
		shown.Diff = readDiff(text)
		return shown, nil
	case ".json":
		var pretty bytes.Buffer
		if !cut && indentedLength(text) < 2*previewText && json.Indent(&pretty, []byte(text), "", "  ") == nil {
			text = pretty.String()
		}
	}
	shown.Text = &text
	return shown, nil
}

// indentedLength is about how long a JSON text is with a line for each value, indented
// by its depth: a short text that is deep would be gigabytes.
func indentedLength(text string) (n int) {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		n++
		switch c := text[i]; {
		case quoted && c == '\\':
			n, i = n+1, i+1
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
			n += 1 + 2*depth
		case c == '}' || c == ']':
			depth = max(0, depth-1)
			n += 1 + 2*depth
		case c == ',':
			n += 1 + 2*depth
		}
	}
	return n
}

// shownText keeps a text that is not too long to be shown.
type shownText struct{ strings.Builder }

// Write fails once the text is too long.
func (b *shownText) Write(text []byte) (int, error) {
	if b.Len()+len(text) > 16*previewText {
		return 0, errors.New("its rows are too long to be shown here")
	}
	return b.Builder.Write(text)
}

// parquet reads the first rows of a verified Parquet file; what cannot be read is said
// and no error.
func (p *pages) parquet(ctx context.Context, shown *preview) error {
	file, err := p.Artifacts().Path(shown.Artifact.Digest)
	if err != nil {
		return err
	}
	select { // each is a process
	case p.places <- struct{}{}:
		defer func() { <-p.places }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	var text shownText
	result, err := sandbox.ReadParquet(ctx, file, previewRows, &text)
	if err != nil {
		shown.Why = quant.FirstLine(err.Error())
		return nil
	}
	shown.Table, _ = readTable(text.String(), false)
	if result.Cut {
		shown.Cut = "the first " + thousands(result.Rows) + " rows of " + quant.Bytes(shown.Artifact.Bytes)
	}
	return nil
}

// readTable reads the first rows of a CSV; nil: it is none. more: there are others.
func readTable(text string, tabs bool) (t *previewTable, more bool) {
	reader := csv.NewReader(strings.NewReader(text))
	reader.FieldsPerRecord, reader.LazyQuotes = -1, true
	if tabs {
		reader.Comma = '\t'
	}
	for {
		record, err := reader.Read()
		switch {
		case errors.Is(err, io.EOF):
			return t, false
		case err != nil && t == nil:
			return nil, false
		case err != nil: // the text ends within a row
			return t, true
		}
		record = record[:min(len(record), previewCols)]
		if t == nil {
			t = &previewTable{Columns: record}
			continue
		}
		if len(t.Rows) == previewRows {
			return t, true
		}
		for i := range record {
			record[i] = quant.Clip(record[i], 200)
		}
		t.Rows = append(t.Rows, record)
	}
}

// artifactFile sends the content of an artifact: as a file, or where a page shows it
// in a frame or as a picture.
func (p *pages) artifactFile(w http.ResponseWriter, r *http.Request) error {
	id, err := p.runOf(r)
	if err != nil {
		return err
	}
	a, err := runs.Artifact(r.Context(), p.Meta, id, r.PathValue("name"))
	if err != nil {
		return err
	}
	content, err := p.Artifacts().Open(r.Context(), a.Digest)
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }() // it was only read
	kind := strings.ToLower(path.Ext(a.Name))
	show := r.URL.Query().Get("show") != ""
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Security-Policy", filePolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "private, no-cache")
	h.Set("ETag", `"`+a.Digest+`"`)
	picture, drawn := pictures()[kind]
	switch {
	case show && drawn:
		h.Set("Content-Type", picture)
	case show && (kind == ".html" || kind == ".htm"):
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", htmlPolicy)
		h.Set("X-Frame-Options", "SAMEORIGIN")
	default:
		h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": path.Base(a.Name)}))
	}
	http.ServeContent(w, r, "", a.LoggedAt.Time, content)
	return nil
}

// pathOf is a name with slashes as a part of an address.
func pathOf(name string) string {
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}
