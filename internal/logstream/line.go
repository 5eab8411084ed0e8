// Package logstream takes in what programs say of their runs: it reads JSON lines
// and NAME=VALUE (what a line may say, and where it is wrong), and it stores
// params, points, tags, notes and artifacts in batches (when, what waits while the
// store is busy, what is dropped and how that is told). It opens no file and no
// store: a Sink takes the batches.
package logstream

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"quant"
)

// MaxBytes is the longest line, in bytes: room for the longest note, every
// character of it escaped.
const MaxBytes = 1 << 20

// parsedLine is what one line says. Entries name no run: they belong to Run, or
// where that is empty to the target of the stream.
type parsedLine struct {
	Run      string // any reference of a run
	Params   []quant.Param
	Tags     []quant.Tag
	Metrics  []quant.MetricPoint
	Notes    []quant.Note
	Artifact *artifactFile
	End      *Ending
}

// Ending is how a program says that its run ended: the last line of a stream that
// has a run of its own.
type Ending struct {
	Status quant.Status // SUCCESS or FAIL
	Reason string       // of a FAIL; "": it said none
}

// artifactFile is an artifact to be read.
type artifactFile struct {
	Path string
	Name string // "": the path's own
	Time quant.Time
}

// forms are the forms of a line, for hints and documents.
const forms = `{"metric":"loss","value":0.5}, {"metrics":{"loss":0.5}}, {"param":"lr","value":0.1}, {"params":{"lr":0.1}}, {"tag":"team","value":"a"}, {"tags":{"team":"a"}}, {"note":"text"} or {"artifact":"path"}`

// lineError is what is wrong with a line, and where.
type lineError struct {
	Column int // byte, from 1; 0: the line as a whole
	Err    *quant.Error
}

// Error is the error of the line, after its column.
func (p *lineError) Error() string {
	if p.Column == 0 {
		return p.Err.Error()
	}
	return fmt.Sprintf("column %d: %s", p.Column, p.Err.Error())
}

// Unwrap returns the error without its column.
func (p *lineError) Unwrap() error { return p.Err }

// lineReader cuts a stream into lines.
type lineReader struct {
	in      *bufio.Reader
	long    []byte
	started bool
}

// newLineReader reads lines from r.
func newLineReader(r io.Reader) *lineReader { return &lineReader{in: bufio.NewReaderSize(r, 256<<10)} }

// next returns the next line without its end, valid until the next call; the
// last one need not end in a line feed. A line of more than MaxBytes is passed
// over and reported as a *lineError. At the end it is io.EOF.
func (r *lineReader) next() ([]byte, error) {
	part, err := r.in.ReadSlice('\n')
	line := part
	if errors.Is(err, bufio.ErrBufferFull) {
		r.long = append(r.long[:0], part...)
		size := len(part)
		for errors.Is(err, bufio.ErrBufferFull) {
			part, err = r.in.ReadSlice('\n')
			if size += len(part); size <= MaxBytes+2 {
				r.long = append(r.long, part...)
			}
		}
		if line = r.long; size > MaxBytes+2 {
			if err == nil || errors.Is(err, io.EOF) {
				err = &lineError{Err: quant.Errorf(quant.Invalid, "the line is %d bytes long, more than %d", size, MaxBytes).WithHint("log what is long as an artifact")}
			}
			return nil, err
		}
	}
	if errors.Is(err, io.EOF) && len(line) > 0 {
		err = nil
	}
	if !r.started {
		r.started, line = true, bytes.TrimPrefix(line, []byte("\ufeff"))
	}
	return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")), err
}

// idle reports whether the next line has yet to come.
func (r *lineReader) idle() bool { return r.in.Buffered() == 0 }

// blank reports whether a line says nothing.
func blank(line []byte) bool { return len(bytes.TrimSpace(line)) == 0 }

// parser reads lines, one after the other. Not safe for concurrent use.
type parser struct {
	dec   *jsontext.Decoder
	buf   bytes.Buffer
	line  []byte
	names map[string]string // names come again and again
	pairs []pair            // the memory of scan
	room  []quant.MetricPoint
}

// roomForPoints is for how many points memory is taken at once: a line has one.
const roomForPoints = 512

// points is an empty list with memory for n points, which nobody else has.
func (p *parser) points(n int) []quant.MetricPoint {
	if len(p.room) < n {
		p.room = make([]quant.MetricPoint, max(n, roomForPoints))
	}
	room := p.room[:0:n]
	p.room = p.room[n:]
	return room
}

// newParser makes a parser.
func newParser() *parser {
	return &parser{dec: jsontext.NewDecoder(&bytes.Buffer{}), names: map[string]string{}}
}

// The keys of a line.
const (
	metric = iota
	metrics
	param
	params
	tag
	tags
	note
	artifact
	end // the forms end here
	value
	step
	when
	name
	reason
	run
	keys
)

var keyNames = [keys]string{"metric", "metrics", "param", "params", "tag", "tags", "note", "artifact", "end", "value", "step", "time", "name", "error", "run"}

// belongs says which keys may stand beside which form.
var belongs = [value][]int{
	metric: {value, step, when}, metrics: {step, when}, param: {value}, tag: {value}, note: {when}, artifact: {name, when}, end: {reason},
	params: {}, tags: {},
}

// scalar is one JSON value that is neither an object nor an array.
type scalar struct {
	kind jsontext.Kind // 0: there is none
	text string        // of a string what it means, of a number as it is written
	at   int           // column
}

type pair struct {
	name  string
	at    int
	value scalar
}

type document struct {
	one  [keys]scalar // the members
	many []pair       // of the member that is an object
	room []quant.MetricPoint
}

// parse reads one line. What has no time of its own was logged at now. Every
// rule of the entries but those that need the store has been checked. The error
// is a *lineError, always Invalid.
func (p *parser) parse(line []byte, now quant.Time) (parsedLine, error) {
	var doc document
	if !p.scan(string(line), &doc) {
		doc = document{}
		if err := p.read(line, &doc); err != nil {
			return parsedLine{}, err
		}
	}
	if n := doc.points(); n > 0 {
		doc.room = p.points(n)
	}
	return doc.line(now)
}

// read makes the document of any line.
func (p *parser) read(line []byte, doc *document) error {
	p.line = line
	p.buf = *bytes.NewBuffer(line)
	p.dec.Reset(&p.buf)
	return p.document(doc)
}

// points is how many points the document may have.
func (doc *document) points() int {
	switch {
	case doc.one[metric].kind != 0:
		return 1
	case doc.one[metrics].kind != 0:
		return len(doc.many)
	}
	return 0
}

func problem(at int, format string, args ...any) *lineError {
	return &lineError{at, quant.Errorf(quant.Invalid, format, args...)}
}

func (p *lineError) hint(format string, args ...any) *lineError {
	return &lineError{p.Column, p.Err.WithHint(format, args...)}
}

// next is the column of the next token.
func (p *parser) next() int {
	at := int(p.dec.InputOffset())
	for at < len(p.line) && strings.IndexByte(" \t\r\n:,", p.line[at]) >= 0 {
		at++
	}
	return at + 1
}

func (p *parser) syntax(err error) error {
	at, what := p.next(), err
	if s, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		at, what = int(s.ByteOffset)+1, s.Err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return problem(len(p.line)+1, "the line ends within its JSON").hint("a line is one JSON object, such as %s", `{"metric":"loss","value":0.5}`)
	}
	if start := at - 1; start < len(p.line) {
		if start > 0 && p.line[start-1] == '-' {
			start--
		}
		for _, word := range []string{"NaN", "Infinity", "-Infinity", "nan", "inf", "-inf"} {
			if bytes.HasPrefix(p.line[start:], []byte(word)) {
				return problem(start+1, "%s is no finite number", word).hint("leave the point out, or log what happened as a tag")
			}
		}
	}
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return problem(at, "a member stands twice").hint("give each name once in an object")
	}
	return problem(at, "not JSON: %w", what).hint("a line is one JSON object in UTF-8, such as %s", `{"metric":"loss","value":0.5}`)
}

func (p *parser) document(doc *document) error {
	if at := p.next(); p.dec.PeekKind() != '{' {
		if _, err := p.dec.ReadToken(); err != nil {
			return p.syntax(err)
		}
		return problem(at, "the line is no JSON object").hint("write %s", forms)
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return p.syntax(err)
	}
	for {
		at := p.next()
		token, err := p.dec.ReadToken()
		if err != nil {
			return p.syntax(err)
		}
		if token.Kind() == '}' {
			break
		}
		key := p.key(token)
		switch key {
		case -1:
			return problem(at, "the member %q is not known", clipped(token.String())).hint("write %s", forms)
		case metrics, params, tags:
			if doc.many != nil {
				return problem(at, "%q stands beside another form", keyNames[key]).hint("one line for each")
			}
			doc.one[key] = scalar{kind: '{', at: at}
			err = p.object(doc, key)
		default:
			doc.one[key], err = p.scalar(keyNames[key])
		}
		if err != nil {
			return err
		}
	}
	at := p.next()
	if _, err := p.dec.ReadToken(); err == nil {
		return problem(at, "something stands behind the JSON object").hint("one object a line")
	} else if !errors.Is(err, io.EOF) {
		return p.syntax(err)
	}
	return nil
}

func (p *parser) key(token jsontext.Token) int {
	text := token.String()
	for i, name := range keyNames {
		if name == text {
			return i
		}
	}
	return -1
}

func (p *parser) object(doc *document, key int) error {
	if at := p.next(); p.dec.PeekKind() != '{' {
		if _, err := p.dec.ReadToken(); err != nil {
			return p.syntax(err)
		}
		return problem(at, "%q is no object", keyNames[key]).hint(`write {"%s":{"NAME":VALUE,...}}`, keyNames[key])
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return p.syntax(err)
	}
	doc.many = []pair{}
	for {
		one := pair{at: p.next()}
		token, err := p.dec.ReadToken()
		if err != nil {
			return p.syntax(err)
		}
		if token.Kind() == '}' {
			break
		}
		one.name = p.intern(token.String())
		if one.value, err = p.scalar(one.name); err != nil {
			return err
		}
		doc.many = append(doc.many, one)
	}
	if len(doc.many) == 0 {
		return problem(doc.one[key].at, "%q is empty", keyNames[key])
	}
	return nil
}

func (p *parser) intern(s string) string {
	if same, ok := p.names[s]; ok {
		return same
	}
	if len(p.names) < 1000 && len(s) <= quant.MaxRecordName {
		p.names[s] = s
	}
	return s
}

// scalar reads the value of a member.
func (p *parser) scalar(of string) (scalar, error) {
	at := p.next()
	token, err := p.dec.ReadToken()
	if err != nil {
		return scalar{}, p.syntax(err)
	}
	switch token.Kind() {
	case '"', '0':
		return scalar{token.Kind(), p.text(token), at}, nil
	case 't', 'f':
		return scalar{token.Kind(), token.String(), at}, nil
	case 'n':
		return scalar{}, problem(at, "%q is null", clipped(of)).hint("leave out what is not known")
	}
	return scalar{}, problem(at, "%q is an object or an array", clipped(of)).hint("a value is a text, a number, true or false")
}

// text is the text of a token; what may be a name is kept once.
func (p *parser) text(token jsontext.Token) string {
	s := token.String()
	if token.Kind() == '"' && len(s) <= 64 {
		return p.intern(s)
	}
	return s
}

// line makes entries of the members.
func (doc *document) line(now quant.Time) (parsedLine, error) {
	form := -1
	for key := range value {
		if doc.one[key].kind == 0 {
			continue
		}
		if form >= 0 {
			return parsedLine{}, problem(doc.one[key].at, "%q stands beside %q", keyNames[key], keyNames[form]).hint("one line for each")
		}
		form = key
	}
	if form < 0 {
		return parsedLine{}, problem(1, "the line says nothing of a run").hint("write %s", forms)
	}
	for key := value; key < run; key++ {
		if doc.one[key].kind == 0 {
			continue
		}
		ok := false
		for _, other := range belongs[form] {
			ok = ok || other == key
		}
		if !ok {
			return parsedLine{}, problem(doc.one[key].at, "%q does not go with %q", keyNames[key], keyNames[form])
		}
	}
	l := parsedLine{Metrics: doc.room}
	var err error
	if l.Run, err = doc.text(run); err != nil {
		return parsedLine{}, err
	}
	if t := doc.one[when]; t.kind != 0 {
		text, err := doc.text(when)
		if err != nil {
			return parsedLine{}, err
		}
		at, parseErr := time.Parse(time.RFC3339Nano, text)
		if now = quant.NewTime(at); parseErr != nil || now.Year() < 1 || now.Year() > 9999 {
			return parsedLine{}, problem(t.at, "time %q cannot be read", clipped(text)).hint("write 2026-01-15T09:30:00.123456Z")
		}
	}
	switch form {
	case note, artifact:
		err = l.text(doc, form, now)
	case end:
		err = l.ending(doc)
	case metrics, params, tags:
		for _, one := range doc.many {
			if err = l.add(doc, form-1, one, now); err != nil {
				return parsedLine{}, err
			}
		}
	default:
		one := pair{at: doc.one[form].at, value: doc.one[value]}
		if one.name, err = doc.text(form); err == nil {
			err = l.add(doc, form, one, now)
		}
	}
	return l, err
}

// text is the value of a member that must be a text; "" if it is missing.
func (doc *document) text(key int) (string, error) {
	s := doc.one[key]
	if s.kind != 0 && (s.kind != '"' || s.text == "") {
		return "", problem(s.at, "%q is no text, or an empty one", keyNames[key])
	}
	return s.text, nil
}

// target stands for the run of an entry while its rules are checked.
const target = "-"

func (l *parsedLine) text(doc *document, form int, now quant.Time) error {
	text, err := doc.text(form)
	if err != nil {
		return err
	}
	if form == note {
		n := quant.Note{RunID: target, Text: text, LoggedAt: now}
		if err := checked(doc.one[note].at, n.Validate()); err != nil {
			return err
		}
		n.RunID, l.Notes = "", []quant.Note{n}
		return nil
	}
	f := artifactFile{Path: text, Time: now}
	if f.Name, err = doc.text(name); err != nil {
		return err
	}
	if f.Name != "" {
		err = checked(doc.one[name].at, quant.ValidateArtifactName(f.Name))
	}
	l.Artifact = &f
	return err
}

// ending reads how the run ended.
func (l *parsedLine) ending(doc *document) error {
	text, err := doc.text(end)
	if err != nil {
		return err
	}
	e := Ending{Status: quant.Status(text)}
	if e.Status != quant.Success && e.Status != quant.Fail {
		return problem(doc.one[end].at, "a run ends as %s or %s, not %q", quant.Success, quant.Fail, clipped(text))
	}
	if why := doc.one[reason]; why.kind != 0 {
		if e.Status == quant.Success {
			return problem(why.at, "%q does not go with %s", keyNames[reason], quant.Success)
		}
		if e.Reason, err = doc.text(reason); err != nil {
			return err
		}
	}
	if doc.one[run].kind != 0 {
		return problem(doc.one[run].at, "a line ends the run of its own stream, not another").hint("`quant runs close` ends a run by hand")
	}
	l.End = &e
	return nil
}

// checked gives a broken rule its column.
func checked(at int, err error) error {
	if err == nil {
		return nil
	}
	if broken, ok := errors.AsType[*quant.Error](err); ok {
		return &lineError{at, broken}
	}
	return problem(at, "%w", err)
}

// add adds one named entry.
func (l *parsedLine) add(doc *document, form int, one pair, now quant.Time) error {
	if one.value.kind == 0 {
		return problem(one.at, "%s %q has no value", keyNames[form], clipped(one.name)).hint(`add "value":...`)
	}
	switch form {
	case metric:
		m := quant.MetricPoint{RunID: target, Name: one.name, Step: quant.AutoStep, LoggedAt: now}
		var err error
		if one.value.kind != '0' {
			return problem(one.value.at, "metric %q: its value is no number", clipped(one.name)).hint("log a text as a param or a tag")
		}
		if m.Value, err = strconv.ParseFloat(one.value.text, 64); err != nil {
			return problem(one.value.at, "metric %q: %s is no finite number", clipped(one.name), clipped(one.value.text)).
				hint("leave the point out, or log what happened as a tag")
		}
		if s := doc.one[step]; s.kind != 0 {
			if m.Step, err = strconv.ParseInt(s.text, 10, 64); err != nil || s.kind != '0' || m.Step == quant.AutoStep {
				return problem(s.at, "step %q is no whole number of 64 bits", clipped(s.text))
			}
		}
		err = checked(one.at, m.Validate())
		m.RunID, l.Metrics = "", append(l.Metrics, m)
		return err
	case param:
		p := quant.Param{RunID: target, Name: one.name, Value: one.value.text}
		err := checked(one.at, p.Validate())
		p.RunID, l.Params = "", append(l.Params, p)
		return err
	default:
		t := quant.Tag{RunID: target, Name: one.name, Value: one.value.text}
		err := checked(one.at, t.Validate())
		t.RunID, l.Tags = "", append(l.Tags, t)
		return err
	}
}

func clipped(s string) string {
	if len(s) > 60 {
		return strings.ToValidUTF8(s[:57], "") + "..."
	}
	return s
}
