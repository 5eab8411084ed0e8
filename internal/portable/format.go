// Package portable takes runs from one lab to another: it writes a portable file
// of runs, their records, artifacts and logs, and takes one in, whole or not at
// all. docs/portable.md describes the file. Every run has one canonical form in
// it, so that the same runs are the same bytes wherever they are exported; the
// reader takes nothing else.
//
// It stores rows through metastore.Portable and contents through
// artifact.Store, and decides neither where those are nor what a command
// prints.
package portable

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"quant"
	"quant/internal/durable"
	"quant/internal/metastore"
	"quant/internal/registry"
)

// FormatVersion is the version of the file that this program writes, and the
// newest that it reads.
const FormatVersion = 3

// formatWithoutFacts is the format in which a run's process says nothing of its
// facts: the end of its error text does.
const formatWithoutFacts = 1

// formatWithoutClients is the last format that leaves out what only clients of MLflow
// know of their runs.
const formatWithoutClients = 2

// formatName is what a file says that it is.
const formatName = "quant-export"

// The members of a file, in their order: the head, contents by digest, for each
// run its document and its points, the manifest.
const (
	headMember     = "quant-export.json"
	contentsFolder = "contents/"
	runsFolder     = "runs/"
	documentMember = "/run.json"
	pointsMember   = "/points-%06d.jsonl"
	manifestMember = "manifest.json"
)

// What a file may hold at most.
const (
	maxHead     = 1 << 10
	maxDocument = 256 << 20
	maxPoints   = 2 << 20 // of one member of points
	maxManifest = 256 << 20
	maxMembers  = 1 << 20
	maxDepth    = 1000 // of JSON, SQLite's own limit
)

// What the canonical form fixes about points.
const (
	linePoints  = 1000    // in a line, all of one metric; its last may have fewer
	pointsBytes = 1 << 20 // a member of points ends with the line that reaches this
)

const sha256Prefix = durable.DigestPrefix

// Summary counts what is in a file.
type Summary struct {
	Runs     int64 `json:"runs"`
	Points   int64 `json:"points"`
	Contents int64 `json:"contents"`
}

type head struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
}

// document is a run in its file, without its points.
type document struct {
	Run       quant.Run      `json:"run"`
	Process   processRow     `json:"process"`
	IO        []ioRow        `json:"io"`
	Params    []pair         `json:"params"`
	Tags      []pair         `json:"tags"`
	Metrics   []metricRow    `json:"metrics"`
	Notes     []noteRow      `json:"notes"`
	Artifacts []artifactRow  `json:"artifacts"`
	Logs      []logRow       `json:"logs"`
	Program   *quant.Program `json:"program"`
	Client    *clientRow     `json:"client,omitempty"` // of a run that a client of MLflow made
}

// processRow is the row of a process in a file of that format.
type processRow struct {
	quant.RunProcess
	format int
}

// MarshalJSON writes the columns that the format has.
func (p processRow) MarshalJSON() ([]byte, error) {
	if p.format != formatWithoutFacts {
		return encode(p.RunProcess)
	}
	return encode(struct {
		quant.RunProcess
		Facts *quant.Facts `json:"facts,omitempty"` // stands for the column of that name
	}{RunProcess: p.RunProcess})
}

// upgrade brings a document that was read in an older format to the present one.
func (d *document) upgrade() {
	if d.Process.format == formatWithoutFacts && d.Run.Status == quant.Fail {
		d.Process.Facts = registry.FactsOfText(string(d.Run.ErrorText))
	}
	d.Process.format = FormatVersion
}

type ioRow struct {
	Direction quant.Direction `json:"direction"`
	Kind      string          `json:"kind"`
	Name      string          `json:"name"`
	Rows      *int64          `json:"rows"`
	FirstDate quant.Text      `json:"first_date"`
	LastDate  quant.Text      `json:"last_date"`
	Digest    quant.Text      `json:"digest"`
}

type pair struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type metricRow struct {
	Name     string  `json:"name"`
	Points   int64   `json:"points"`
	LastStep int64   `json:"last_step"`
	Last     float64 `json:"last"`
	Min      float64 `json:"min"`
	Max      float64 `json:"max"`
}

type noteRow struct {
	Text     string     `json:"text"`
	LoggedAt quant.Time `json:"logged_at"`
}

type artifactRow struct {
	Name     string     `json:"name"`
	Digest   string     `json:"digest"`
	Bytes    int64      `json:"bytes"`
	LoggedAt quant.Time `json:"logged_at"`
}

type logRow struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
	Bytes  int64  `json:"bytes"`
}

type manifest struct {
	Summary
	Members []member `json:"members"`
}

type member struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	Digest string `json:"digest"`
}

// encode writes a value in its canonical form: one line of JSON, members in
// their order, no spaces, UTF-8 (what is none becomes U+FFFD).
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, quant.Errorf(quant.Invalid, "encode as json: %w", err)
	}
	if !utf8.Valid(b.Bytes()) { // stored JSON is put in as it is
		return bytes.ToValidUTF8(b.Bytes(), []byte("\ufffd")), nil
	}
	return b.Bytes(), nil
}

// ended is the run of a document as the store takes it.
func (d document) ended() metastore.EndedRun {
	id := d.Run.RunID
	r := metastore.EndedRun{RunDetail: metastore.RunDetail{Run: d.Run, Process: d.Process.RunProcess}, Program: d.Program}
	for _, io := range d.IO {
		r.IO = append(r.IO, quant.RunIO{
			RunID: id, Direction: io.Direction, Kind: io.Kind, Name: io.Name, Rows: io.Rows,
			FirstDate: io.FirstDate, LastDate: io.LastDate, Digest: io.Digest,
		})
	}
	for _, p := range d.Params {
		r.Batch.Params = append(r.Batch.Params, quant.Param{RunID: id, Name: p.Name, Value: p.Value})
	}
	for _, t := range d.Tags {
		r.Batch.Tags = append(r.Batch.Tags, quant.Tag{RunID: id, Name: t.Name, Value: t.Value})
	}
	for _, n := range d.Notes {
		r.Batch.Notes = append(r.Batch.Notes, quant.Note{RunID: id, Text: n.Text, LoggedAt: n.LoggedAt})
	}
	for _, a := range d.Artifacts {
		r.Batch.Artifacts = append(r.Batch.Artifacts, quant.Artifact{RunID: id, Name: a.Name, Digest: a.Digest, Bytes: a.Bytes, LoggedAt: a.LoggedAt})
	}
	return r
}

// validate reports the first rule that a document breaks.
func (d document) validate() error {
	if err := d.ended().Validate(); err != nil {
		return err
	}
	texts := []quant.JSON{d.Run.ConfigJSON, d.Process.Argv}
	if d.Program != nil {
		texts = append(texts, d.Program.EnvironmentJSON)
	}
	for _, text := range texts {
		if depth(text) > maxDepth {
			return quant.Errorf(quant.Invalid, "run %s: its JSON is nested more than %d deep", d.Run.RunID, maxDepth)
		}
	}
	for _, io := range d.IO {
		for _, date := range []quant.Text{io.FirstDate, io.LastDate} {
			if date == "" {
				continue
			}
			if _, err := quant.ParseDate(string(date)); err != nil {
				return err
			}
		}
	}
	for _, l := range d.Logs {
		if !isLogOf(l.Name, d.Run.RunID) {
			return quant.Errorf(quant.Invalid, "log %q: its name is not that of a log of the run", l.Name)
		}
		if l.Bytes < 0 {
			return quant.Errorf(quant.Invalid, "log %q: %d bytes", l.Name, l.Bytes)
		}
	}
	for _, m := range d.Metrics {
		if err := quant.ValidateRecordName("metric", m.Name); err != nil {
			return err
		}
		if m.Points < 1 {
			return quant.Errorf(quant.Invalid, "metric %q: %d points", m.Name, m.Points)
		}
	}
	if d.Client != nil {
		if d.Process.format <= formatWithoutClients {
			return quant.Errorf(quant.Invalid, "format %d has no client", d.Process.format)
		}
		if err := d.Client.validate(d.Run.RunID); err != nil {
			return err
		}
	}
	return d.ordered()
}

// ordered checks that every list is in its order, without a name twice.
func (d document) ordered() error {
	keys := map[string][]string{}
	for _, io := range d.IO {
		keys["io"] = append(keys["io"], string(io.Direction)+"\x00"+io.Kind+"\x00"+io.Name)
	}
	for _, p := range d.Params {
		keys["params"] = append(keys["params"], p.Name)
	}
	for _, t := range d.Tags {
		keys["tags"] = append(keys["tags"], t.Name)
	}
	for _, m := range d.Metrics {
		keys["metrics"] = append(keys["metrics"], m.Name)
	}
	for _, a := range d.Artifacts {
		keys["artifacts"] = append(keys["artifacts"], a.Name)
	}
	for _, l := range d.Logs {
		keys["logs"] = append(keys["logs"], l.Name)
	}
	for _, list := range []string{"io", "params", "tags", "metrics", "artifacts", "logs"} {
		for i := range keys[list] {
			if i > 0 && keys[list][i-1] >= keys[list][i] {
				return quant.Errorf(quant.Invalid, "%s: entry %d is not after the one before it, by name", list, i+1)
			}
		}
	}
	return nil
}

// depth is how deep a valid JSON text is nested.
func depth(text []byte) (deepest int) {
	level, inside := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inside && c == '\\':
			i++
		case c == '"':
			inside = !inside
		case inside:
		case c == '{' || c == '[':
			level++
			deepest = max(deepest, level)
		case c == '}' || c == ']':
			level--
		}
	}
	return deepest
}

// isLogOf reports whether a name is one of a file that belongs to a run: its id
// and, after a dot or hyphen, letters, digits, dots, hyphens and underscores.
func isLogOf(name, runID string) bool {
	rest, found := strings.CutPrefix(name, runID)
	if !found || len(rest) < 2 || len(rest) > 100 || rest[0] != '.' && rest[0] != '-' {
		return false
	}
	return strings.Trim(rest, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == ""
}

// pointLine is what a line of points holds.
type pointLine struct {
	Metric   string     `json:"metric"`
	First    int64      `json:"first"` // number of its first point
	Step     []int64    `json:"step"`
	Value    []float64  `json:"value"`
	LoggedAt quant.Time `json:"logged_at"` // of its first point
	AfterUS  []int64    `json:"after_us"`  // microseconds after that, of each
}

// pointWriter puts the points of one run into canonical members, and sums them
// up.
type pointWriter struct {
	emit    func(member []byte) error
	clients map[string]bool // metrics of which a client says what their last point is

	line pointLine
	buf  []byte
	sums []metricRow
	last quant.Time // when the last point of the last sum was logged
}

// add takes the next point, by metric in byte order and number.
func (w *pointWriter) add(p quant.MetricPoint) error {
	if len(w.sums) == 0 || w.line.Metric != p.Name {
		if err := w.endLine(); err != nil {
			return err
		}
		if n := len(w.sums); n > 0 && w.sums[n-1].Name >= p.Name {
			return quant.Errorf(quant.Invalid, "metric %q comes after %q", p.Name, w.sums[n-1].Name)
		}
		w.line.Metric = p.Name
		w.sums = append(w.sums, metricRow{Name: p.Name, LastStep: p.Step, Last: p.Value, Min: p.Value, Max: p.Value})
		w.last = p.LoggedAt
	}
	sum := &w.sums[len(w.sums)-1]
	sum.Points++
	if p.Point != sum.Points {
		return quant.Errorf(quant.Invalid, "metric %q: point %d where point %d should be", p.Name, p.Point, sum.Points)
	}
	if p.Step > sum.LastStep || p.Step == sum.LastStep && w.later(p, *sum) {
		sum.LastStep, sum.Last, w.last = p.Step, p.Value, p.LoggedAt
	}
	sum.Min, sum.Max = min(sum.Min, p.Value), max(sum.Max, p.Value)
	l := &w.line
	if len(l.Step) == 0 {
		l.First, l.LoggedAt = p.Point, p.LoggedAt
	}
	l.Step = append(l.Step, p.Step)
	l.Value = append(l.Value, p.Value)
	l.AfterUS = append(l.AfterUS, p.LoggedAt.UnixMicro()-l.LoggedAt.UnixMicro())
	if len(l.Step) == linePoints {
		return w.endLine()
	}
	return nil
}

// later tells whether a point is the last of its step: the one logged later, or to a
// client the one of a later time, and of several there the greatest.
func (w *pointWriter) later(p quant.MetricPoint, sum metricRow) bool {
	if !w.clients[p.Name] || p.LoggedAt.After(w.last.Time) {
		return true
	}
	return p.LoggedAt.Equal(w.last.Time) && p.Value > sum.Last
}

func (w *pointWriter) endLine() error {
	l := &w.line
	if len(l.Step) == 0 {
		return nil
	}
	name, err := json.Marshal(l.Metric)
	if err != nil {
		return err
	}
	b := append(w.buf, `{"metric":`...)
	b = append(b, name...)
	b = append(b, `,"first":`...)
	b = strconv.AppendInt(b, l.First, 10)
	b = appendInts(append(b, `,"step":`...), l.Step)
	b = append(b, `,"value":[`...)
	for i, v := range l.Value {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendFloat(b, v)
	}
	b = append(b, `],"logged_at":"`...)
	b = append(b, l.LoggedAt.String()...)
	b = appendInts(append(b, `","after_us":`...), l.AfterUS)
	w.buf = append(b, "}\n"...)
	l.Step, l.Value, l.AfterUS = l.Step[:0], l.Value[:0], l.AfterUS[:0]
	if len(w.buf) >= pointsBytes {
		return w.endMember()
	}
	return nil
}

func (w *pointWriter) endMember() error {
	if len(w.buf) == 0 {
		return nil
	}
	err := w.emit(w.buf)
	w.buf = w.buf[:0]
	return err
}

// end writes what is left and returns the sums.
func (w *pointWriter) end() ([]metricRow, error) {
	if err := w.endLine(); err != nil {
		return nil, err
	}
	return w.sums, w.endMember()
}

func appendInts(b []byte, list []int64) []byte {
	b = append(b, '[')
	for i, n := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, n, 10)
	}
	return append(b, ']')
}

// appendFloat writes the shortest text that reads as v.
func appendFloat(b []byte, v float64) []byte {
	if abs := max(v, -v); abs == 0 || abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(b, v, 'f', -1, 64)
	}
	return strconv.AppendFloat(b, v, 'e', -1, 64)
}

// differences names what two documents of one run do not have in common.
func differences(a, b document) ([]string, error) {
	var list []string
	for _, part := range []struct {
		name    string
		a, b    any
		columns bool
	}{
		{"runs", a.Run, b.Run, true},
		{"run_process", a.Process, b.Process, true},
		{"run_io", a.IO, b.IO, false},
		{"params", a.Params, b.Params, false},
		{"tags", a.Tags, b.Tags, false},
		{"metrics", a.Metrics, b.Metrics, false},
		{"notes", a.Notes, b.Notes, false},
		{"artifacts", a.Artifacts, b.Artifacts, false},
		{"logs", a.Logs, b.Logs, false},
		{"program", a.Program, b.Program, false},
		{"client", a.Client.compared(b.Client), b.Client.compared(a.Client), false},
	} {
		x, err := encode(part.a)
		if err != nil {
			return nil, err
		}
		y, err := encode(part.b)
		if err != nil {
			return nil, err
		}
		switch {
		case bytes.Equal(x, y):
		case !part.columns:
			list = append(list, part.name)
		default:
			var left, right map[string]json.RawMessage
			if err := json.Unmarshal(x, &left); err != nil {
				return nil, err
			}
			if err := json.Unmarshal(y, &right); err != nil {
				return nil, err
			}
			var columns []string
			for name := range left {
				if !bytes.Equal(left[name], right[name]) {
					columns = append(columns, part.name+"."+name)
				}
			}
			slices.Sort(columns)
			list = append(list, columns...)
		}
	}
	return list, nil
}

func pointsName(runID string, n int) string {
	return runsFolder + runID + fmt.Sprintf(pointsMember, n)
}
