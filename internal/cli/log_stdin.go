package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"quant"
	"quant/internal/logstream"
	"quant/internal/metastore"
	"quant/internal/output"
)

const (
	maxLogLine = logstream.MaxBytes
	// A batch is committed once it has so many lines or bytes, or is so old: a
	// commit costs the same for one line and for thousands.
	batchLines = 16 << 10
	batchBytes = 4 << 20
	batchAge   = 400 * time.Millisecond
	// chunkLines is how many lines go from the reader to the writer at once.
	chunkLines = 1 << 10
	// shownBadLines is how many bad lines the result lists, saidBadLines how many
	// are told at once.
	shownBadLines = 100
	saidBadLines  = 10
	// lockedFor is how long a batch is tried again that others keep from the Meta
	// DB, after the store has waited itself.
	lockedFor = 2 * time.Minute
)

// readLine is a line that has been read.
type readLine struct {
	number int
	bytes  int
	said   metastore.Batch // its entries name their run
	bad    error
}

// badLine is a line that was left out.
type badLine struct {
	Line   int    `json:"line"`
	Column int    `json:"column"` // byte, from 1; 0: the line as a whole
	Reason string `json:"reason"`
}

// logLinesReport is the result of log --stdin.
type logLinesReport struct {
	logReport
	Lines  int       `json:"lines"`  // read, blank ones left out
	Stored int       `json:"stored"` // lines
	Bad    []badLine `json:"bad_lines"`
}

func (r logLinesReport) CSVRows() any { return []logCounts{r.counts()} }

// logCounts is the result as one row.
type logCounts struct {
	logReport
	Lines    int `json:"lines"`
	Stored   int `json:"stored"`
	BadLines int `json:"bad_lines"`
}

func (r logLinesReport) counts() logCounts {
	return logCounts{r.logReport, r.Lines, r.Stored, r.Lines - r.Stored}
}

func (r logLinesReport) Sections() []output.Section {
	sections := []output.Section{{Rows: []logCounts{r.counts()}}}
	if len(r.Bad) > 0 {
		sections = append(sections, output.Section{Title: "bad lines", Rows: r.Bad})
	}
	return sections
}

// logStream stores the lines of a stream.
type logStream struct {
	*Env
	target string // "": every line names its run
	absent error  // why there is no target
	strict bool
	report logLinesReport
	first  error // the first bad line's
	over   bool  // --strict has seen a bad line

	// Of the reader alone.
	runs map[string]string // by reference
}

func (e *Env) logLines(ctx context.Context, f logFlags) error {
	target, err := e.logTarget(ctx, f.run)
	s := &logStream{Env: e, target: target, strict: f.strict, runs: map[string]string{}}
	if err != nil && (f.run != "" || e.ParentRun != "" || e.Run == nil) {
		return err
	}
	s.absent = err
	s.report.RunID, s.report.Bad = quant.Text(target), []badLine{}

	reading, stop := context.WithCancel(ctx)
	defer stop()
	chunks := make(chan []readLine, 1)
	var readErr error
	go func() {
		defer close(chunks)
		readErr = s.read(reading, chunks)
	}()
	err = s.storeAll(ctx, chunks)
	e.recordLogged(s.report.logReport)
	switch {
	case err != nil && !s.over:
		return s.unfinished(err)
	case err == nil && readErr != nil:
		return s.unfinished(quant.Errorf(quant.Failed, "read standard input: %w", readErr).WithHint("log the rest again"))
	}
	if err := e.Print(s.report); err != nil {
		return err
	}
	return s.verdict()
}

// unfinished is the error of a stream that could not be stored to its end.
func (s *logStream) unfinished(err error) error {
	if _, signal := errors.AsType[quant.Signalled](err); signal || quant.CodeOf(err) == quant.Failed && errors.Is(err, context.Canceled) {
		s.Notice("%s stored before the end", quant.Count(s.report.Stored, "line"))
		return err
	}
	return quant.Errorf(quant.CodeOf(err), "%s stored, then: %w", quant.Count(s.report.Stored, "line"), err).WithHint("%s", quant.HintOf(err))
}

// verdict is the error that tells of bad lines.
func (s *logStream) verdict() error {
	bad := s.report.Lines - s.report.Stored
	if bad == 0 {
		return nil
	}
	code, rest := quant.Partial, "the others are stored"
	switch {
	case s.over:
		code, rest = quant.Invalid, fmt.Sprintf("%s before it stored, with --strict nothing after it is", quant.Count(s.report.Stored, "line"))
	case s.report.Stored == 0:
		code, rest = quant.CodeOf(s.first), "nothing is stored"
	}
	hint := quant.HintOf(s.first)
	if hint == "" {
		hint = "mend these lines and log them again"
	}
	return quant.Errorf(code, "bad lines: %d of %d, the first is %w; %s", bad, s.report.Lines, s.first, rest).WithHint("%s", hint)
}

// read parses the lines and hands them on: when there are enough, and whenever
// the next one has yet to come. Memory is bounded: it waits for the writer.
func (s *logStream) read(ctx context.Context, chunks chan<- []readLine) error {
	lines, parser := logstream.NewReader(s.Streams().In), logstream.NewParser()
	var chunk []readLine
	size := 0
	hand := func() bool {
		if len(chunk) == 0 {
			return true
		}
		select {
		case chunks <- chunk:
			chunk, size = make([]readLine, 0, cap(chunk)), 0
			return true
		case <-ctx.Done():
			return false
		}
	}
	for number := 1; ; number++ {
		text, err := lines.Next()
		line := readLine{number: number, bytes: len(text)}
		if _, bad := errors.AsType[*logstream.Problem](err); bad {
			line.bad = err
		} else if err != nil {
			hand()
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		} else if logstream.Blank(text) {
			if lines.Idle() && !hand() {
				return nil
			}
			continue
		} else {
			line.said, line.bad = s.parse(ctx, parser, text)
		}
		chunk = append(chunk, line)
		size += line.bytes
		stop := line.bad != nil && s.strict
		if (stop || len(chunk) >= chunkLines || size >= batchBytes/4 || lines.Idle()) && !hand() || stop {
			return nil
		}
	}
}

// parse reads one line, with the artifact that it names, and gives its entries
// their run.
func (s *logStream) parse(ctx context.Context, parser *logstream.Parser, text []byte) (metastore.Batch, error) {
	line, err := parser.Parse(text, quant.NewTime(s.Now()))
	if err != nil {
		return metastore.Batch{}, err
	}
	run := s.target
	if line.Run != "" {
		known := false
		if run, known = s.runs[line.Run]; !known {
			if run, err = s.Resolve(ctx, line.Run); err != nil {
				return metastore.Batch{}, err
			}
			if len(s.runs) < 1000 {
				s.runs[line.Run] = run
			}
		}
	}
	if run == "" {
		return metastore.Batch{}, s.absent
	}
	b := metastore.Batch{Params: line.Params, Tags: line.Tags, Metrics: line.Metrics, Notes: line.Notes}
	for i := range b.Params {
		b.Params[i].RunID = run
	}
	for i := range b.Tags {
		b.Tags[i].RunID = run
	}
	for i := range b.Metrics {
		b.Metrics[i].RunID = run
	}
	for i := range b.Notes {
		b.Notes[i].RunID = run
	}
	if line.Artifact == nil {
		return b, nil
	}
	if line.Artifact.Path == "-" {
		return b, quant.Errorf(quant.Invalid, "an artifact of a line is a file, not standard input").WithHint("write it to a file first")
	}
	b.Artifacts, err = s.keep(ctx, line.Artifact.Path, line.Artifact.Name)
	for i := range b.Artifacts {
		b.Artifacts[i].RunID, b.Artifacts[i].LoggedAt = run, line.Artifact.Time
	}
	return b, err
}

// storeAll commits what the reader hands on until it ends. When ctx ends, what
// had been read is stored, and its cause returned.
func (s *logStream) storeAll(ctx context.Context, chunks <-chan []readLine) error {
	var pending []readLine
	size := 0
	age := time.NewTimer(time.Hour)
	defer age.Stop()
	flush := func() error {
		list := pending
		pending, size = pending[:0], 0
		return s.store(ctx, list)
	}
	for {
		select {
		case chunk, more := <-chunks:
			if !more {
				return flush()
			}
			if len(pending) == 0 {
				age.Reset(batchAge)
			}
			pending = append(pending, chunk...)
			for _, line := range chunk {
				size += line.bytes
			}
			if len(pending) >= batchLines || size >= batchBytes {
				if err := flush(); err != nil {
					return err
				}
			}
		case <-age.C:
			if err := flush(); err != nil {
				return err
			}
		case <-ctx.Done():
			if err := flush(); err != nil {
				return err
			}
			return context.Cause(ctx)
		}
	}
}

// errStrict ends a stream at its first bad line.
var errStrict = errors.New("a bad line")

// store commits lines in one commit, those left out that are bad.
func (s *logStream) store(ctx context.Context, lines []readLine) error {
	good, bad := make([]readLine, 0, len(lines)), []readLine(nil)
	for _, line := range lines {
		if line.bad == nil {
			good = append(good, line)
		} else {
			bad = append(bad, line)
		}
	}
	refused, err := s.storeGood(ctx, good)
	bad = append(bad, refused...)
	slices.SortFunc(bad, func(a, b readLine) int { return a.number - b.number })
	for _, line := range bad {
		if s.strict && s.over {
			break
		}
		s.leaveOut(line)
	}
	if err == nil && s.over {
		err = errStrict
	}
	return err
}

// storeGood commits lines and returns those that the store refuses. These are
// looked for by halves, so that a line costs only itself; a line is stored whole
// or not at all.
func (s *logStream) storeGood(ctx context.Context, lines []readLine) (refused []readLine, err error) {
	if len(lines) == 0 {
		return nil, nil
	}
	var b metastore.Batch
	for _, line := range lines {
		b.Params = append(b.Params, line.said.Params...)
		b.Tags = append(b.Tags, line.said.Tags...)
		b.Metrics = append(b.Metrics, line.said.Metrics...)
		b.Notes = append(b.Notes, line.said.Notes...)
		b.Artifacts = append(b.Artifacts, line.said.Artifacts...)
	}
	err = s.commit(ctx, b)
	switch quant.CodeOf(err) {
	case "":
		s.report.Lines += len(lines)
		s.report.Stored += len(lines)
		s.report.count(b)
		return nil, nil
	case quant.Invalid, quant.NotFound, quant.Conflict:
	default:
		return nil, err
	}
	if len(lines) == 1 {
		lines[0].bad = err
		return lines, nil
	}
	for _, half := range [][]readLine{lines[:len(lines)/2], lines[len(lines)/2:]} {
		more, err := s.storeGood(ctx, half)
		refused = append(refused, more...)
		if err != nil || s.strict && len(refused) > 0 {
			return refused, err
		}
	}
	return refused, nil
}

// commit stores a batch, whatever has become of ctx; while others hold the Meta
// DB it tries again.
func (s *logStream) commit(ctx context.Context, b metastore.Batch) error {
	begun := time.Now()
	for {
		err := s.Registry.Log(context.WithoutCancel(ctx), s.target, b)
		if !errors.Is(err, quant.Locked) || ctx.Err() != nil || time.Since(begun) > lockedFor {
			return err
		}
	}
}

// leaveOut reports a bad line.
func (s *logStream) leaveOut(line readLine) {
	bad := badLine{Line: line.number, Reason: s.Mask.Text(line.bad.Error())}
	where := fmt.Sprintf("line %d", line.number)
	if p, ok := errors.AsType[*logstream.Problem](line.bad); ok {
		bad.Column, bad.Reason = p.Column, s.Mask.Text(p.Err.Error())
		if p.Column > 0 {
			where += fmt.Sprintf(", column %d", p.Column)
		}
		line.bad = p.Err
	}
	err := fmt.Errorf("%s: %w", where, line.bad)
	s.report.Lines++
	if s.first == nil {
		s.first = err
	}
	if len(s.report.Bad) < shownBadLines {
		s.report.Bad = append(s.report.Bad, bad)
	}
	if s.strict {
		s.over = true
		return
	}
	switch said := s.report.Lines - s.report.Stored; {
	case said <= saidBadLines:
		s.Warn("left out: %v", err)
	case said == saidBadLines+1:
		s.Warn("more bad lines follow; the result lists them")
	}
}
