package sandbox

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"quant"
	"quant/internal/output/rows"
	"quant/internal/secret"
)

// Where a child finds its files; 0, 1 and 2 are /dev/null, /dev/null and a pipe
// that the parent reads when the child has died.
const (
	controlFD = 3
	dataFD    = 4
)

// metaFileBytes is what the child may write for the Meta DB: SQLite readers
// share an index of the write-ahead log in a small file.
const metaFileBytes = 16 << 20

// ChildMain is the whole life of a query process. It returns the process's exit
// code: 0 when it has delivered its outcome, good or bad, to the parent, and 2
// when it was not started by Run.
func ChildMain() int {
	control := os.NewFile(controlFD, "control")
	if err := checkParent(control); err != nil {
		fmt.Fprintln(os.Stderr, "quant:", err)
		return 2
	}
	var t task
	in := json.NewDecoder(control)
	if err := in.Decode(&t); err != nil {
		fmt.Fprintln(os.Stderr, "quant: read the query:", err)
		return 2
	}
	// The parent says nothing more: the next thing to read is its end.
	go func() {
		_, _ = io.Copy(io.Discard, control)
		os.Exit(1)
	}()

	r := &report{enc: json.NewEncoder(control)}
	done := event{Kind: "done"}
	data := os.NewFile(dataFD, "data")
	out := bufio.NewWriterSize(data, 128<<10)
	err := execute(t, out, r, &done)
	if ferr := out.Flush(); err == nil && ferr != nil {
		err = quant.Errorf(quant.Failed, "hand over rows: %w", ferr)
	}
	if err != nil {
		done.Code, done.Msg, done.Hint = quant.CodeOf(err), err.Error(), quant.HintOf(err)
		if at, known := errors.AsType[Position](err); known {
			done.At = &at
		} else if at, known := errors.AsType[offset](err); known {
			done.At = new(at.in(t.SQL))
		}
	}
	r.send(done)
	return 0
}

// report sends events; the first that fails ends the process, because nobody
// listens any more.
type report struct {
	mu  sync.Mutex
	enc *json.Encoder
}

func (r *report) send(e event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.enc.Encode(e); err != nil {
		os.Exit(1)
	}
}

func execute(t task, out *bufio.Writer, r *report, done *event) error {
	fileBytes := int64(0)
	if t.Store == Meta && t.Server == "" {
		fileBytes = metaFileBytes
	}
	if err := limitProcess(t.MemoryLimit, fileBytes); err != nil {
		return quant.Errorf(quant.Failed, "limit the query process: %w", err)
	}
	formulas := rows.Formulas{Exact: t.Exact}
	defer func() { done.Guarded = formulas.Guarded }()
	writer := rows.New(out, t.Format, rows.Query, &formulas)
	w := &rowWriter{out: writer, limit: t.Limit, done: done}
	if t.Format == Arrow {
		w.arrow = &arrowWriter{out: out}
	}
	w.typed = t.Format == Arrow || t.Format == Lines
	if len(t.Secrets) > 0 {
		w.mask = &secret.Masker{}
		w.mask.Know(t.Secrets...)
	}
	var err error
	switch {
	case t.Server != "":
		err = runPostgres(t, r, w)
	case t.Store == Meta:
		err = runSQLite(t, r, w)
	case t.Store == parquetFile:
		err = runParquet(t, r, w)
	default:
		err = runDuckDB(t, r, w)
	}
	if err != nil && !errors.Is(err, errCut) {
		return err
	}
	if w.arrow != nil {
		return w.arrow.End()
	}
	return writer.End()
}

// errCut ends the reading of rows at the limit.
var errCut = errors.New("row limit reached")

// rowWriter counts rows on their way out.
type rowWriter struct {
	out   rows.Writer
	arrow *arrowWriter // in place of out; nil: the format is another
	typed bool         // the format tells the types of columns
	limit int64
	done  *event
	mask  *secret.Masker // nil: there are no secrets
}

func (w *rowWriter) begin(cols []rows.Column) error {
	if w.mask != nil {
		for i := range cols {
			cols[i].Name = w.mask.Known(cols[i].Name)
		}
	}
	for _, c := range cols {
		w.done.Columns = append(w.done.Columns, c.Name)
	}
	return w.out.Begin(cols)
}

func (w *rowWriter) row(cells []rows.Cell) error {
	if w.limit > 0 && w.done.Rows == w.limit {
		w.done.Cut = true
		return errCut
	}
	w.done.Rows++
	if w.mask != nil {
		for i, c := range cells {
			cells[i].Text = w.masked(c.Kind, c.Text)
		}
	}
	return w.out.Row(cells)
}

// masked is the text of a value without secrets.
func (w *rowWriter) masked(kind rows.Kind, text []byte) []byte {
	switch {
	case w.mask == nil:
	case kind == rows.Text:
		return w.mask.KnownBytes(text)
	case kind == rows.Nested:
		return w.mask.KnownJSON(text)
	}
	return text
}
