package pages

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"quant"
	"quant/internal/durable"
	"quant/internal/lab/facts"
	"quant/internal/metastore"
	"quant/internal/sandbox"
	"quant/internal/server/caller"
	"quant/internal/session"
)

// The bounds of a query of a page.
const (
	sqlRows         = 1000      // shown
	sqlBytes        = 8 << 20   // of a result that is shown
	sqlDownloadRows = 1_000_000 // in a file
	sqlTime         = 30 * time.Second
	sqlDownloadTime = 2 * time.Minute
	sqlMemory       = 512 << 20
)

// sqlRoutes are the pages that query the databases.
func (p *pages) sqlRoutes(mux *http.ServeMux) []section {
	p.handle(mux, "GET /sql", p.sqlPage)
	p.handle(mux, "GET /sql/rows", p.sqlResult)
	p.handle(mux, "GET /sql/download", p.sqlDownload)
	return []section{{Name: "SQL", Path: "/sql", Key: "q"}}
}

// sqlRequest is what is asked.
type sqlRequest struct {
	Query, Store string
}

func readSQLRequest(r *http.Request) (sqlRequest, error) {
	q := sqlRequest{Query: r.URL.Query().Get("q"), Store: r.URL.Query().Get("store")}
	if q.Store == "" {
		q.Store = sandbox.Fact
	}
	if q.Store != sandbox.Fact && q.Store != sandbox.Meta {
		return q, quant.Errorf(quant.Usage, "store %q is neither %s nor %s", q.Store, sandbox.Fact, sandbox.Meta)
	}
	return q, nil
}

// sqlPage shows the editor; the query of its address is run by the page itself.
func (p *pages) sqlPage(w http.ResponseWriter, r *http.Request) error {
	q, err := readSQLRequest(r)
	if err != nil {
		return err
	}
	return p.show(w, r, view{File: "sql.html", Title: "SQL", Section: "/sql", Scripts: plotScripts(), Styles: plotStyles(), Data: struct {
		sqlRequest
		Rows     int
		Time     time.Duration
		Download string
	}{q, sqlRows, sqlTime, thousands(sqlDownloadRows)}})
}

// sqlTable is a result.
type sqlTable struct {
	sqlRequest
	Columns []string
	Numbers []bool // the column holds numbers alone
	Rows    [][]sqlCell
	Cut     bool
	Bytes   bool // it is cut because it is large
	RunID   string
	Took    time.Duration
}

// sqlCell is a value.
type sqlCell struct {
	Text         string
	Null, Number bool
}

// sqlFailure is a query that failed, and where.
type sqlFailure struct {
	failure
	At     *sandbox.Position
	Line   string // of the query
	Caret  string // spaces up to the place
	RunID  string
	Locked bool
}

// sqlResult runs a query and answers with its rows.
func (p *pages) sqlResult(w http.ResponseWriter, r *http.Request) error {
	q, err := readSQLRequest(r)
	if err != nil {
		return err
	}
	if err := ownPage(r); err != nil {
		return err
	}
	var out bounded
	begun := time.Now()
	res, runID, err := p.ask(r, q, sandbox.JSON, sqlRows, sqlTime, &out)
	if errors.Is(err, errLarge) {
		err = nil
	}
	if err != nil {
		return p.part(w, r, "sql.html", "failed", newSQLFailure(q, runID, err))
	}
	t := sqlTable{sqlRequest: q, Columns: res.Columns, Cut: res.Cut, Bytes: out.full, RunID: runID, Took: time.Since(begun).Round(time.Millisecond)}
	if err := t.read(out.Bytes()); err != nil {
		return err
	}
	return p.part(w, r, "sql.html", "result", t)
}

// ownPage refuses what another site's page asks for: a query is run and recorded.
func ownPage(r *http.Request) error {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
		return nil
	}
	return quant.Errorf(quant.Refused, "a page of another site asks for a query").WithHint("open the page at this server itself")
}

// ask runs a query in its sandbox, as a run that names who asked. It ends with the
// request.
func (p *pages) ask(r *http.Request, q sqlRequest, format string, limit int64, longest time.Duration, out io.Writer) (res sandbox.Result, runID string, err error) {
	args, path := []string{"sql", q.Query}, p.FactPath
	if q.Store == sandbox.Meta {
		args, path = []string{"sql", "--meta", q.Query}, p.MetaPath
	}
	who := caller.From(r.Context()).Name
	command := session.Command{
		Kind: "sql", Args: args, Operands: []string{q.Query}, Flags: map[string]string{"meta": strconv.FormatBool(q.Store == sandbox.Meta), "limit": strconv.FormatInt(limit, 10), "timeout": longest.String()},
		Reads: true, Voice: session.Silent{},
	}
	runID, err = p.Inside(r.Context(), command, func(ctx context.Context, inner *session.Session) error {
		inner.Log(metastore.Batch{Tags: []quant.Tag{{Name: "caller", Value: who}}})
		req := sandbox.Request{
			Store: q.Store, Path: path, SQL: q.Query, Format: format, Limit: limit, Timeout: longest, Wait: time.Second, MemoryLimit: sqlMemory, SchemaVersion: facts.SchemaVersion, WayBack: facts.WayBack,
			Secrets: p.Mask.Values(), Environ: p.Programs().Environ,
		}
		if q.Store == sandbox.Meta {
			req.Server = p.MetaURL
		} else if req.Attach, err = inner.Facts().Attachment(ctx, facts.Snapshot{}); err != nil {
			return err
		}
		run := func(ctx context.Context) (err error) {
			res, err = sandbox.Run(ctx, req, out)
			return err
		}
		if q.Store == sandbox.Meta {
			return run(ctx)
		}
		return inner.Facts().Yielding(ctx, run)
	})
	return res, runID, err
}

func newSQLFailure(q sqlRequest, runID string, err error) sqlFailure {
	f := sqlFailure{failure: failure{Message: err.Error(), Hint: quant.HintOf(err)}, RunID: runID, Locked: quant.CodeOf(err) == quant.Locked}
	if at, known := errors.AsType[sandbox.Position](err); known {
		lines := strings.Split(q.Query, "\n")
		if at.Line >= 1 && at.Line <= len(lines) {
			f.At, f.Line = &at, strings.TrimRight(lines[at.Line-1], "\r")
			f.Caret = strings.Repeat(" ", max(0, min(at.Column-1, len(f.Line)))) + "^"
		}
	}
	return f
}

// errLarge ends a result that is larger than is shown.
var errLarge = errors.New("the result is large")

// bounded keeps what fits.
type bounded struct {
	bytes.Buffer
	full bool
}

func (b *bounded) Write(text []byte) (int, error) {
	if b.full || b.Len()+len(text) > sqlBytes {
		b.full = true
		return 0, errLarge
	}
	return b.Buffer.Write(text)
}

// read takes the rows of a JSON document; one that was cut gives its whole rows.
func (t *sqlTable) read(doc []byte) error {
	in := json.NewDecoder(bytes.NewReader(doc))
	in.UseNumber()
	err := eachJSONRow(in, func(names []string, values []json.RawMessage) error {
		if t.Columns == nil {
			t.Columns = names
		}
		row := make([]sqlCell, len(values))
		for i, v := range values {
			row[i] = newSQLCell(v)
		}
		t.Rows = append(t.Rows, row)
		return nil
	})
	if err != nil && !t.Bytes {
		return quant.Errorf(quant.Failed, "read the result: %w", err)
	}
	t.Numbers = make([]bool, len(t.Columns))
	for i := range t.Columns {
		some := false
		t.Numbers[i] = true
		for _, row := range t.Rows {
			some = some || row[i].Number
			t.Numbers[i] = t.Numbers[i] && (row[i].Number || row[i].Null)
		}
		t.Numbers[i] = t.Numbers[i] && some
	}
	return nil
}

func newSQLCell(v json.RawMessage) sqlCell {
	switch {
	case len(v) == 0 || string(v) == "null":
		return sqlCell{Null: true}
	case v[0] == '"':
		var text string
		_ = json.Unmarshal(v, &text) // the sandbox's own JSON
		return sqlCell{Text: text}
	case v[0] == '-' || v[0] >= '0' && v[0] <= '9':
		return sqlCell{Text: string(v), Number: true}
	}
	return sqlCell{Text: string(v)}
}

// eachJSONRow reads an array of objects, the members of each in their order.
func eachJSONRow(in *json.Decoder, row func(names []string, values []json.RawMessage) error) error {
	if _, err := in.Token(); err != nil {
		return err
	}
	var names []string
	for in.More() {
		if _, err := in.Token(); err != nil { // {
			return err
		}
		names = names[:0]
		var values []json.RawMessage
		for in.More() {
			name, err := in.Token()
			if err != nil {
				return err
			}
			text, _ := name.(string)
			var value json.RawMessage
			if err := in.Decode(&value); err != nil {
				return err
			}
			names, values = append(names, text), append(values, value)
		}
		if _, err := in.Token(); err != nil { // }
			return err
		}
		if err := row(append([]string{}, names...), values); err != nil {
			return err
		}
	}
	return nil
}

// sqlDownload answers with the result as a file.
func (p *pages) sqlDownload(w http.ResponseWriter, r *http.Request) error {
	q, err := readSQLRequest(r)
	if err != nil {
		return err
	}
	if err := ownPage(r); err != nil {
		return err
	}
	format := r.URL.Query().Get("format")
	types := map[string]string{sandbox.CSV: "text/csv; charset=utf-8", sandbox.JSON: "application/json", "parquet": "application/vnd.apache.parquet"}
	if types[format] == "" {
		return quant.Errorf(quant.Usage, "format %q is none of csv, json, parquet", format)
	}
	h := w.Header()
	begin := func() {
		h.Set("Content-Type", types[format])
		h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": "query." + format}))
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
	}
	if format == "parquet" {
		return p.sqlParquet(w, r, q, begin)
	}
	// Once bytes are sent, an error cannot be a page: the connection is broken off, so
	// that the file is not taken for the whole.
	out := &late{to: w, begin: begin}
	if _, _, err = p.ask(r, q, format, sqlDownloadRows, sqlDownloadTime, out); err != nil && out.begun {
		panic(http.ErrAbortHandler)
	}
	if err == nil && !out.begun {
		begin()
	}
	return err
}

// late calls begin before the first byte.
type late struct {
	to    io.Writer
	begin func()
	begun bool
}

func (l *late) Write(b []byte) (int, error) {
	if !l.begun {
		l.begin()
		l.begun = true
	}
	return l.to.Write(b)
}

// sqlParquet makes the file in the scratch folder, since a Parquet file is written from
// a folder.
func (p *pages) sqlParquet(w http.ResponseWriter, r *http.Request, q sqlRequest, begin func()) error {
	if err := durable.MakeFolder(p.ScratchDir()); err != nil {
		return quant.Errorf(quant.Failed, "make the folder for temporary files: %w", err)
	}
	dir, err := os.MkdirTemp(p.ScratchDir(), "sql-")
	if err != nil {
		return quant.Errorf(quant.Failed, "make the folder for temporary files: %w", err)
	}
	defer os.RemoveAll(dir)
	rows, err := os.Create(filepath.Join(dir, "rows.arrows"))
	if err != nil {
		return quant.Errorf(quant.Failed, "keep the result: %w", err)
	}
	defer rows.Close()
	if _, _, err := p.ask(r, q, sandbox.Arrow, sqlDownloadRows, sqlDownloadTime, rows); err != nil {
		return err
	}
	path := filepath.Join(dir, "query.parquet")
	if err := writeParquet(r.Context(), rows, path); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return quant.Errorf(quant.Failed, "read the result: %w", err)
	}
	defer f.Close()
	begin()
	if _, err := io.Copy(w, f); err != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}
