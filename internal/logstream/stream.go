package logstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"quant"
	"quant/internal/metastore"
)

// limits are those of a stream: the reader waits for the store, so that little
// more than a batch is ever in memory.
var limits = Limits{Records: 16 << 10, Bytes: 4 << 20, Age: 400 * time.Millisecond, Retry: 2 * time.Minute}

const (
	// chunkLines and chunkBytes are how much goes from the reader to the writer at
	// once.
	chunkLines = 1 << 10
	chunkBytes = 256 << 10
	// chunksAhead is how many wait for the writer at most: as many lines as a batch
	// has, so that the next one is read while one is stored.
	chunksAhead = 16
	// listedBadLines is how many bad lines a Report lists, warnedBadLines how many
	// are told at once.
	listedBadLines = 100
	warnedBadLines = 10
	// knownRuns is how many references of runs are looked up once only.
	knownRuns = 1000
)

// Stream is lines that are stored while they come: within about half a second,
// in batches that are stored whole or not at all.
type Stream struct {
	In    io.Reader
	Sink  Sink
	Clock Clock // nil: the system's
	// Now is the time of entries that have none of their own.
	Now func() time.Time
	// Run is that of lines that name none; "": such a line is bad, for the reason
	// NoRun.
	Run   string
	NoRun error
	// Own is whether Run lives as long as the stream, which may end it with a line; of
	// another run such a line is bad.
	Own bool
	// Strict ends the stream at the first bad line; nothing after it is stored.
	Strict bool
	// Resolve returns the id of the run that a line names. It is called by one
	// goroutine, as Keep is.
	Resolve func(ctx context.Context, ref string) (string, error)
	// Keep stores what stands at a path, as artifact.Store.Keep does.
	Keep func(ctx context.Context, path, name string) ([]quant.Artifact, error)
	// Mask takes secrets out of the reasons that a Report gives.
	Mask func(text string) string
	// Warn is told of bad lines while the stream goes on.
	Warn func(format string, args ...any)
}

// BadLine is a line that was left out.
type BadLine struct {
	Line   int    `json:"line"`
	Column int    `json:"column"` // byte, from 1; 0: the line as a whole
	Reason string `json:"reason"`
}

// Report is what became of a stream.
type Report struct {
	Counts
	Lines  int       `json:"lines"`  // read, blank ones left out
	Stored int       `json:"stored"` // lines
	Bad    []BadLine `json:"bad_lines"`

	// End is how the stream said that its own run ended; nil: it did not say.
	End *Ending `json:"-"`

	first error // the first bad line's
	ended bool  // by it
}

// Err is the error that tells of bad lines: Partial where the others are stored,
// Invalid where the first one ended the stream, the first one's code where
// nothing is stored; nil if there is none.
func (r Report) Err() error {
	bad := r.Lines - r.Stored
	if bad == 0 {
		return nil
	}
	code, rest := quant.Partial, "the others are stored"
	switch {
	case r.ended:
		code, rest = quant.Invalid, fmt.Sprintf("%s before it stored, with --strict nothing after it is", quant.Count(r.Stored, "line"))
	case r.Stored == 0:
		code, rest = quant.CodeOf(r.first), "nothing is stored"
	}
	hint := quant.HintOf(r.first)
	if hint == "" {
		hint = "mend these lines and log them again"
	}
	return quant.Errorf(code, "bad lines: %d of %d, the first is %w; %s", bad, r.Lines, r.first, rest).WithHint("%s", hint)
}

// Store stores the lines until they end. The error says why it could not, and
// the report how far it came; bad lines are no error (Report.Err). When ctx ends,
// what had been read is stored and the error is ctx's cause, as it is. A read
// that nothing can interrupt is left behind then.
func (s Stream) Store(ctx context.Context) (Report, error) {
	w := &streamWriter{Stream: s}
	w.report.RunID, w.report.Bad = quant.Text(s.Run), []BadLine{}
	due := make(chan struct{}, 1)
	batcher := NewBatcher(ctx, BatcherOptions{
		Sink: s.Sink, RunID: s.Run, Limits: limits, Clock: s.Clock, Stored: w.stored, Refused: w.leaveOut,
		Due: func() {
			select {
			case due <- struct{}{}:
			default: // it is on its way already
			}
		},
	})
	defer batcher.Abandon() // what could not be stored is lost, and told
	reading, stop := context.WithCancel(ctx)
	defer stop()
	chunks := make(chan []Record, chunksAhead)
	r := streamReader{Stream: s, chunks: chunks, runs: map[string]string{}}
	var readErr error
	go func() {
		defer close(chunks)
		readErr = r.read(reading)
	}()
	err := pass(ctx, batcher, chunks, due)
	if err == nil { // the reader has ended
		w.report.End = r.end
	}
	switch {
	case w.report.ended || err == nil && readErr == nil:
		return w.report, nil
	case err == nil:
		err = quant.Errorf(quant.Failed, "read standard input: %w", readErr).WithHint("log the rest again")
	case ctx.Err() != nil && errors.Is(err, context.Cause(ctx)):
		return w.report, err
	}
	return w.report, quant.Errorf(quant.CodeOf(err), "%s stored, then: %w", quant.Count(w.report.Stored, "line"), err).WithHint("%s", quant.HintOf(err))
}

// pass hands what the reader gives to the batcher until it ends, or ctx does.
func pass(ctx context.Context, batcher *Batcher, chunks <-chan []Record, due <-chan struct{}) error {
	for {
		select {
		case chunk, more := <-chunks:
			if !more {
				return batcher.Flush(ctx)
			}
			if err := batcher.Add(ctx, chunk...); err != nil {
				return err
			}
		case <-due:
			if err := batcher.Flush(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			if err := batcher.Flush(ctx); err != nil {
				return err
			}
			return context.Cause(ctx)
		}
	}
}

// streamReader makes records of lines. One goroutine has it for itself.
type streamReader struct {
	Stream
	chunks chan<- []Record
	runs   map[string]string // ids by reference
	end    *Ending           // of the run of the stream; nothing is read after it
}

// read parses the lines and hands them on when there are enough, and whenever the
// next one has yet to come. A line that ends the run is the last. Memory is bounded:
// it waits for the writer.
func (r *streamReader) read(ctx context.Context) error {
	lines, p := newLineReader(r.In), newParser()
	var chunk []Record
	size := 0
	hand := func() bool {
		if len(chunk) == 0 {
			return true
		}
		select {
		case r.chunks <- chunk:
			chunk, size = make([]Record, 0, cap(chunk)), 0
			return true
		case <-ctx.Done():
			return false
		}
	}
	for number := 1; ; number++ {
		text, err := lines.next()
		record := Record{Number: number, Bytes: len(text)}
		if _, bad := errors.AsType[*lineError](err); bad {
			record.Err = err
		} else if err != nil {
			hand()
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		} else if blank(text) {
			if lines.idle() && !hand() {
				return nil
			}
			continue
		} else {
			record.Batch, record.Err = r.batch(ctx, p, text)
		}
		if r.end != nil {
			hand()
			return nil
		}
		chunk = append(chunk, record)
		size += record.Bytes
		last := record.Err != nil && r.Strict
		if (last || len(chunk) >= chunkLines || size >= chunkBytes || lines.idle()) && !hand() || last {
			return nil
		}
	}
}

// batch makes entries of one line, with the artifact that it names, and gives
// them their run.
func (r *streamReader) batch(ctx context.Context, p *parser, text []byte) (metastore.Batch, error) {
	line, err := p.parse(text, quant.NewTime(r.Now()))
	if err != nil {
		return metastore.Batch{}, err
	}
	if line.End != nil {
		if !r.Own {
			return metastore.Batch{}, quant.Errorf(quant.Invalid, "this stream did not start the run, so it cannot end it").WithHint("`quant log --stdin --start KIND` starts one; `quant runs close` ends a run by hand")
		}
		r.end = line.End
		return metastore.Batch{}, nil
	}
	run, err := r.runOf(ctx, line)
	if err != nil {
		return metastore.Batch{}, err
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
	b.Artifacts, err = r.Keep(ctx, line.Artifact.Path, line.Artifact.Name)
	for i := range b.Artifacts {
		b.Artifacts[i].RunID, b.Artifacts[i].LoggedAt = run, line.Artifact.Time
	}
	return b, err
}

// runOf is the run of a line.
func (r *streamReader) runOf(ctx context.Context, line parsedLine) (string, error) {
	switch id, known := r.runs[line.Run]; {
	case line.Run == "" && r.Run == "":
		return "", r.NoRun
	case line.Run == "":
		return r.Run, nil
	case known:
		return id, nil
	}
	id, err := r.Resolve(ctx, line.Run)
	if err == nil && len(r.runs) < knownRuns {
		r.runs[line.Run] = id
	}
	return id, err
}

// streamWriter counts what the batcher stores and refuses, in the goroutine that
// flushes it.
type streamWriter struct {
	Stream
	report Report
}

func (w *streamWriter) stored(b metastore.Batch, lines int) {
	w.report.Lines += lines
	w.report.Stored += lines
	w.report.Add(b)
}

// errEnded ends a Strict stream.
var errEnded = errors.New("a bad line ended the stream")

// leaveOut reports a bad line.
func (w *streamWriter) leaveOut(number int, reason error) error {
	bad := BadLine{Line: number, Reason: w.Mask(reason.Error())}
	where := fmt.Sprintf("line %d", number)
	if p, ok := errors.AsType[*lineError](reason); ok {
		bad.Column, bad.Reason = p.Column, w.Mask(p.Err.Error())
		if p.Column > 0 {
			where += fmt.Sprintf(", column %d", p.Column)
		}
		reason = p.Err
	}
	err := fmt.Errorf("%s: %w", where, reason)
	w.report.Lines++
	if w.report.first == nil {
		w.report.first = err
	}
	if len(w.report.Bad) < listedBadLines {
		w.report.Bad = append(w.report.Bad, bad)
	}
	if w.Strict {
		w.report.ended = true
		return errEnded
	}
	switch soFar := w.report.Lines - w.report.Stored; {
	case soFar <= warnedBadLines:
		w.Warn("left out: %v", err)
	case soFar == warnedBadLines+1:
		w.Warn("more bad lines follow; the result lists them")
	}
	return nil
}
