package portable

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"quant"
	"quant/internal/durable"
	"quant/internal/registry"
)

// reader reads a file item by item and takes nothing on trust: order, form,
// sizes, digests and sums are checked, and at the end the manifest. It holds one
// member but contents in memory, and of contents nothing.
type reader struct {
	raw   *bufio.Reader
	zip   *gzip.Reader
	limit *limited
	tar   *tar.Reader

	format   int              // of the file
	seen     manifest         // what the manifest must say
	contents map[string]int64 // size by digest
	used     map[string]bool
	at       *tar.Header // a member that was read ahead
	begun    bool
	content  *openContent
	run      *openRun
	lastRun  string
}

// The items of a file, in their order: contents, then each run followed by its
// batches of points and by runEnd.
type (
	contentItem struct {
		digest string
		bytes  int64
		r      io.Reader // until the next item
	}
	runItem    struct{ document }
	pointsItem []quant.MetricPoint // until the next item
	// runEnd says that the points of a run are complete.
	runEnd struct {
		runID string
		form  pointsForm
	}
)

// pointsForm stands for all points of a run: their members' digests in order.
type pointsForm [sha256.Size]byte

func formOf(digests []string) pointsForm { return sha256.Sum256([]byte(strings.Join(digests, "\n"))) }

type openContent struct {
	name string
	item contentItem
	sum  *durable.Sum
}

func (c *openContent) write(b []byte) { _, _ = c.sum.Write(b) }

type openRun struct {
	document
	members  []string // digests of the members of points
	again    []string // and of those that its points make
	writer   pointWriter
	lines    *bufio.Scanner
	inMember string
	batch    []quant.MetricPoint
	parsed   pointLine
}

// damaged is the error of a file that Write did not write.
func damaged(where, format string, args ...any) error {
	return quant.Errorf(quant.Invalid, "the file of runs, %s: %w", where, fmt.Errorf(format, args...)).
		WithHint("nothing was imported; is the file whole, and was it written by quant runs export?")
}

// limited reads at most so many bytes.
type limited struct {
	r    io.Reader
	left int64
	max  int64
}

func (l *limited) Read(b []byte) (int, error) {
	if l.left <= 0 {
		return 0, quant.Errorf(quant.Refused, "the file of runs unpacks to more than %d bytes", l.max).
			WithHint("nothing was imported; if you trust the file, give a higher --max-size")
	}
	if int64(len(b)) > l.left {
		b = b[:l.left]
	}
	n, err := l.r.Read(b)
	l.left -= int64(n)
	return n, err
}

func newReader(ctx context.Context, file io.Reader, maxBytes int64) (*reader, error) {
	r := &reader{raw: bufio.NewReaderSize(&reading{ctx, file}, 1<<16), contents: map[string]int64{}, used: map[string]bool{}}
	var err error
	if r.zip, err = gzip.NewReader(r.raw); err != nil {
		return nil, r.broken("at its beginning", err)
	}
	r.zip.Multistream(false)
	r.limit = &limited{r: r.zip, left: maxBytes, max: maxBytes}
	r.tar = tar.NewReader(r.limit)
	text, err := r.whole(headMember, maxHead)
	if err != nil {
		return nil, err
	}
	var h head
	if json.Unmarshal(text, &h) != nil || h.Format != formatName {
		return nil, damaged(headMember, "it is no file of runs")
	}
	if h.Version > FormatVersion {
		return nil, quant.Errorf(quant.Invalid, "the file of runs has format %d; this program reads up to %d", h.Version, FormatVersion).
			WithHint("use a newer quant; nothing was imported")
	}
	if want, err := encode(head{formatName, h.Version}); err != nil || h.Version < 1 || !bytes.Equal(want, text) {
		return nil, damaged(headMember, "it is not in its form")
	}
	r.format = h.Version
	return r, nil
}

// broken gives an error of reading its text; ctx's and our own stay.
func (r *reader) broken(where string, err error) error {
	var typed *quant.Error
	switch {
	case errors.As(err, &typed), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return damaged(where, "it ends too early")
	}
	var signal quant.Signalled
	if errors.As(err, &signal) {
		return err
	}
	return damaged(where, "%w", err)
}

// header returns the next member's, nil after the last one.
func (r *reader) header() (*tar.Header, error) {
	if h := r.at; h != nil {
		r.at = nil
		return h, nil
	}
	where := "after " + headMember
	if n := len(r.seen.Members); n > 0 {
		where = "after " + r.seen.Members[n-1].Name
	} else if !r.begun {
		where = "at its beginning"
	}
	h, err := r.tar.Next()
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, r.broken(where, err)
	}
	r.begun = true
	if len(r.seen.Members) >= maxMembers {
		return nil, damaged(where, "it has more than %d members", maxMembers)
	}
	plain := h.Typeflag == tar.TypeReg && h.Mode == 0o644 && h.Uid == 0 && h.Gid == 0 && h.Uname == "" && h.Gname == "" &&
		h.Linkname == "" && h.Devmajor == 0 && h.Devminor == 0 && h.ModTime.Equal(time.Unix(0, 0)) && h.AccessTime.IsZero() && h.ChangeTime.IsZero()
	for key := range h.PAXRecords {
		plain = plain && key == "size" && h.Size > 1<<33-1
	}
	if !plain || h.Size < 0 {
		return nil, damaged(fmt.Sprintf("member %q", clip(h.Name)), "it is no plain member: a link, a folder, or with properties that no export gives")
	}
	return h, nil
}

func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "..."
	}
	return s
}

// note takes a member down for the manifest.
func (r *reader) note(name string, size int64, digest string) {
	r.seen.Members = append(r.seen.Members, member{name, size, digest})
}

// take reads the member that h begins.
func (r *reader) take(h *tar.Header, limit int64) ([]byte, error) {
	if h.Size > limit {
		return nil, damaged(h.Name, "it has %d bytes, more than %d", h.Size, limit)
	}
	var b bytes.Buffer // grows with what comes, not with what is said
	if _, err := io.Copy(&b, r.tar); err != nil {
		return nil, r.broken(h.Name, err)
	}
	if !utf8.Valid(b.Bytes()) {
		return nil, damaged(h.Name, "it is not UTF-8")
	}
	if h.Name != manifestMember {
		r.note(h.Name, h.Size, durable.Digest(b.Bytes()))
	}
	return b.Bytes(), nil
}

// whole reads the next member, which must have this name.
func (r *reader) whole(name string, limit int64) ([]byte, error) {
	h, err := r.header()
	switch {
	case err != nil:
		return nil, err
	case h == nil:
		return nil, damaged("at its end", "there is no %s", name)
	case h.Name != name:
		return nil, damaged(fmt.Sprintf("member %q", clip(h.Name)), "%s should be there", name)
	}
	return r.take(h, limit)
}

// next returns the next item: a contentItem, runItem, pointsItem or runEnd; nil
// once the file has been read to its end and is all that its manifest says.
func (r *reader) next() (any, error) {
	if r.content != nil {
		if err := r.closeContent(); err != nil {
			return nil, err
		}
	}
	if r.run != nil {
		return r.points()
	}
	h, err := r.header()
	if err != nil {
		return nil, err
	}
	if h == nil {
		return nil, damaged("at its end", "there is no %s", manifestMember)
	}
	switch {
	case strings.HasPrefix(h.Name, contentsFolder):
		return r.openContent(h)
	case strings.HasPrefix(h.Name, runsFolder):
		return r.openRun(h)
	case h.Name == manifestMember:
		return nil, r.finish(h)
	}
	return nil, damaged(fmt.Sprintf("member %q", clip(h.Name)), "no export has a member of that name")
}

func (r *reader) openContent(h *tar.Header) (any, error) {
	digest := sha256Prefix + h.Name[len(contentsFolder):]
	bad := fmt.Sprintf("member %q", clip(h.Name))
	if _, ok := durable.DigestHex(digest); !ok {
		return nil, damaged(bad, "its name is no digest")
	}
	last := r.seen.Members[len(r.seen.Members)-1].Name
	if last != headMember && (!strings.HasPrefix(last, contentsFolder) || last >= h.Name) {
		return nil, damaged(bad, "it may not come after %s", last)
	}
	if h.Size > r.limit.left {
		r.limit.left = 0
		_, err := r.limit.Read(nil)
		return nil, err
	}
	c := &openContent{name: h.Name, item: contentItem{digest: digest, bytes: h.Size}, sum: durable.NewSum()}
	c.item.r = &contentReader{r, c}
	r.content = c
	return c.item, nil
}

type contentReader struct {
	r *reader
	c *openContent
}

func (c *contentReader) Read(b []byte) (int, error) {
	if c.r.content != c.c {
		return 0, io.EOF
	}
	n, err := c.r.tar.Read(b)
	c.c.write(b[:n])
	if err != nil && !errors.Is(err, io.EOF) {
		return n, c.r.broken(c.c.name, err)
	}
	if errors.Is(err, io.EOF) {
		// Whoever reads to the end learns of a wrong digest before it counts.
		if err := c.c.check(); err != nil {
			return n, err
		}
	}
	return n, err
}

func (c *openContent) check() error {
	if c.sum.Size() != c.item.bytes || c.sum.Digest() != c.item.digest {
		return damaged(c.name, "its content does not have the digest of its name")
	}
	return nil
}

func (r *reader) closeContent() error {
	c := r.content
	if _, err := io.Copy(io.Discard, c.item.r); err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	r.content = nil
	r.contents[c.item.digest] = c.item.bytes
	r.seen.Contents++
	r.note(c.name, c.item.bytes, c.item.digest)
	return nil
}

func (r *reader) openRun(h *tar.Header) (any, error) {
	id, found := strings.CutSuffix(h.Name[len(runsFolder):], documentMember)
	if !found || !registry.IsRunID(id) {
		return nil, damaged(fmt.Sprintf("member %q", clip(h.Name)), "the document of a run should be there")
	}
	if r.lastRun >= id {
		return nil, damaged(h.Name, "it may not come after run %s", r.lastRun)
	}
	text, err := r.take(h, maxDocument)
	if err != nil {
		return nil, err
	}
	run := &openRun{}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&run.document); err != nil {
		return nil, damaged(h.Name, "%w", err)
	}
	run.Process.format = r.format
	if run.Run.RunID != id {
		return nil, damaged(h.Name, "it is of run %q", clip(run.Run.RunID))
	}
	if err := run.validate(); err != nil {
		return nil, damaged(h.Name, "%w", err)
	}
	again, err := encode(run.document)
	if err != nil {
		return nil, damaged(h.Name, "%w", err)
	}
	if !bytes.Equal(again, text) {
		return nil, damaged(h.Name, "it is not in its canonical form, byte %d", diverge(again, text))
	}
	run.upgrade()
	for _, a := range run.Artifacts {
		if err := r.use(a.Digest, a.Bytes); err != nil {
			return nil, damaged(h.Name, "artifact %q: %w", a.Name, err)
		}
	}
	for _, f := range run.Client.files() {
		if err := r.use(f.Digest, f.Bytes); err != nil {
			return nil, damaged(h.Name, "file %q of a model: %w", f.Name, err)
		}
	}
	run.writer.clients = run.Client.metrics()
	for _, l := range run.Logs {
		if err := r.use(l.Digest, l.Bytes); err != nil {
			return nil, damaged(h.Name, "log %q: %w", l.Name, err)
		}
	}
	run.writer.emit = func(b []byte) error {
		run.again = append(run.again, durable.Digest(b))
		return nil
	}
	r.run, r.lastRun = run, id
	r.seen.Runs++
	return runItem{run.document}, nil
}

func diverge(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

func (r *reader) use(digest string, size int64) error {
	have, known := r.contents[digest]
	switch {
	case !known:
		return fmt.Errorf("the file does not have its content %s", clip(digest))
	case have != size:
		return fmt.Errorf("it says %d bytes, its content has %d", size, have)
	}
	r.used[digest] = true
	return nil
}

// points returns the next line of points of the open run, or its end.
func (r *reader) points() (any, error) {
	run := r.run
	for {
		if run.lines != nil {
			if run.lines.Scan() {
				return run.parse(run.lines.Bytes())
			}
			if err := run.lines.Err(); err != nil {
				return nil, damaged(run.inMember, "%w", err)
			}
			run.lines = nil
		}
		h, err := r.header()
		if err != nil {
			return nil, err
		}
		if h == nil || h.Name != pointsName(run.Run.RunID, len(run.members)+1) {
			r.at = h
			return r.closeRun(h == nil)
		}
		text, err := r.take(h, maxPoints)
		if err != nil {
			return nil, err
		}
		run.members = append(run.members, r.seen.Members[len(r.seen.Members)-1].Digest)
		run.inMember = h.Name
		run.lines = bufio.NewScanner(bytes.NewReader(text))
		run.lines.Buffer(nil, maxPoints+1)
	}
}

func (r *reader) closeRun(atEnd bool) (any, error) {
	run := r.run
	where := "run " + run.Run.RunID
	if atEnd {
		return nil, damaged("at its end", "there is no %s", manifestMember)
	}
	sums, err := run.writer.end()
	if err != nil {
		return nil, damaged(where, "%w", err)
	}
	if !slices.Equal(run.members, run.again) {
		return nil, damaged(where, "its points are not in their canonical form")
	}
	if !slices.Equal(sums, run.Metrics) {
		return nil, damaged(where, "the sums of its metrics are not those of its points")
	}
	for _, m := range sums {
		r.seen.Points += m.Points
	}
	r.run = nil
	return runEnd{run.Run.RunID, formOf(run.members)}, nil
}

// parse reads a line of points.
func (run *openRun) parse(line []byte) (any, error) {
	l := &run.parsed
	l.Step, l.Value, l.AfterUS = l.Step[:0], l.Value[:0], l.AfterUS[:0]
	l.Metric, l.First, l.LoggedAt = "", 0, quant.Time{}
	if err := json.Unmarshal(line, l); err != nil {
		return nil, damaged(run.inMember, "%w", err)
	}
	n := len(l.Step)
	if n == 0 || n > linePoints || len(l.Value) != n || len(l.AfterUS) != n {
		return nil, damaged(run.inMember, "a line with %d steps, %d values, %d times", n, len(l.Value), len(l.AfterUS))
	}
	run.batch = run.batch[:0]
	for i := range n {
		at := time.UnixMicro(l.LoggedAt.UnixMicro() + l.AfterUS[i]).UTC()
		if at.Year() < 0 || at.Year() > 9999 {
			return nil, damaged(run.inMember, "metric %q: a time out of range", clip(l.Metric))
		}
		p := quant.MetricPoint{
			RunID: run.Run.RunID, Name: l.Metric, Point: l.First + int64(i), Step: l.Step[i], Value: l.Value[i], LoggedAt: quant.Time{Time: at},
		}
		if p.Step == quant.AutoStep {
			return nil, damaged(run.inMember, "metric %q: a step out of range", clip(l.Metric))
		}
		if i == 0 || p.LoggedAt.IsZero() { // the name is one, and no JSON number is infinite
			if err := p.Validate(); err != nil {
				return nil, damaged(run.inMember, "%w", err)
			}
		}
		if err := run.writer.add(p); err != nil {
			return nil, damaged(run.inMember, "%w", err)
		}
		run.batch = append(run.batch, p)
	}
	return pointsItem(run.batch), nil
}

// finish checks the manifest, and that nothing comes after it.
func (r *reader) finish(h *tar.Header) error {
	text, err := r.take(h, maxManifest)
	if err != nil {
		return err
	}
	want, err := encode(r.seen)
	if err != nil {
		return err
	}
	if !bytes.Equal(text, want) {
		return damaged(manifestMember, "it does not say what the file holds, from byte %d on", diverge(text, want))
	}
	for digest := range r.contents {
		if !r.used[digest] {
			return damaged(contentsFolder+digest[len(sha256Prefix):], "no run of the file has this content")
		}
	}
	switch h, err := r.header(); {
	case err != nil:
		return err
	case h != nil:
		return damaged(fmt.Sprintf("member %q", clip(h.Name)), "it comes after the manifest")
	}
	rest, err := io.Copy(io.Discard, r.limit)
	if err != nil {
		return r.broken("at its end", err)
	}
	if _, err := r.raw.ReadByte(); rest > 0 || !errors.Is(err, io.EOF) {
		return damaged("at its end", "something comes after it")
	}
	return nil
}
