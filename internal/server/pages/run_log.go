package pages

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"time"

	"quant"
	"quant/internal/exec/transcript"
	"quant/internal/runs"
)

// The bounds of what a page shows of a log.
const (
	logLines = 1_000
	logBytes = 256 << 10
	// followEvery is how often a log that is followed is looked at.
	followEvery = 300 * time.Millisecond
	// quietFor is after how long without output a follower is told that there is
	// none, so that a connection that is gone is noticed.
	quietFor = 15 * time.Second
)

func (p *pages) openLog(r *http.Request, id string, wait bool) (*runs.Log, error) {
	return runs.OpenLog(r.Context(), runs.LogOptions{Meta: p.Meta, Registry: p.Registry, RunID: id, Path: p.LogFile(id), Artifacts: p.Artifacts(), Every: followEvery}, wait)
}

// tail keeps the end of what is written to it.
type tail struct {
	kept []byte
	cut  bool // there was more
}

// Write keeps the last logBytes.
func (t *tail) Write(b []byte) (int, error) {
	t.kept = append(t.kept, b...)
	if over := len(t.kept) - logBytes; over > 0 && len(t.kept) > 2*logBytes {
		t.kept, t.cut = append(t.kept[:0:0], t.kept[over:]...), true
	}
	return len(b), nil
}

// text is what is kept, from the beginning of a line on.
func (t *tail) text() string {
	if over := len(t.kept) - logBytes; over > 0 {
		t.kept, t.cut = t.kept[over:], true
	}
	if t.cut {
		if at := bytes.IndexByte(t.kept, '\n'); at >= 0 {
			t.kept = t.kept[at+1:]
		}
	}
	return strings.ToValidUTF8(string(t.kept), "\uFFFD")
}

// runLog shows the end of a log; where its run goes on, a script follows it.
func (p *pages) runLog(w http.ResponseWriter, r *http.Request) error {
	id, done, err := p.whole(w, r, "/log")
	if err != nil || done {
		return err
	}
	v, err := p.about(r.Context(), id, "/log")
	if err != nil {
		return err
	}
	var more struct {
		Text, Why  string
		Bytes, Cut int64
		Lines      int
		Partly     bool // there is more than is shown
		Follow     bool
	}
	more.Follow = v.Live()
	log, err := p.openLog(r, id, false)
	switch {
	case err == nil:
		defer func() { _ = log.Close() }() // it was only read
		var end tail
		screen := &transcript.Screen{W: &end}
		if err := errors.Join(log.Copy(screen, logLines), screen.Close()); err != nil {
			return err
		}
		more.Text, more.Bytes, more.Cut = end.text(), log.Total(), log.Cut()
		more.Lines = strings.Count(more.Text, "\n")
		more.Partly = int64(len(more.Text)) < more.Bytes-more.Cut
	case errors.Is(err, quant.NotFound):
		more.Why = err.Error()
	default:
		return err
	}
	return p.showRun(w, r, v, "run_log.html", "Log", more)
}

// wholeLog sends a log as a file.
func (p *pages) wholeLog(w http.ResponseWriter, r *http.Request) error {
	id, err := p.runOf(r)
	if err != nil {
		return err
	}
	log, err := p.openLog(r, id, false)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // it was only read
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Disposition", `attachment; filename="`+id+`.log"`)
	h.Set("Content-Security-Policy", filePolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	screen := &transcript.Screen{W: masked{p, w}}
	_ = errors.Join(log.Copy(screen, -1), screen.Close()) // once begun, an end is all that can be told
	return nil
}

// masked masks the known secrets of what passes.
type masked struct {
	p *pages
	w http.ResponseWriter
}

// Write is io.Writer's.
func (m masked) Write(b []byte) (int, error) {
	if _, err := m.w.Write(m.p.Mask.KnownBytes(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// followLog sends the end of a log and what comes, as events of the server: begin,
// then texts, then end, or gone where there is no log.
func (p *pages) followLog(w http.ResponseWriter, r *http.Request) error {
	id, err := p.runOf(r)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	e := &events{p: p, w: w, control: http.NewResponseController(w)}
	if err := e.send("begin", ""); err != nil {
		return nil // nobody listens
	}
	log, err := p.openLog(r, id, true)
	if err != nil {
		if r.Context().Err() == nil {
			_ = e.send("gone", quant.FirstLine(err.Error()))
		}
		return nil // an answer has begun, and says it
	}
	defer func() { _ = log.Close() }() // it was only read
	screen := &transcript.Screen{W: &e.held}
	if err := log.Follow(r.Context(), flushed{screen, e.Flush}, logLines); err == nil && screen.Close() == nil && e.Flush() == nil {
		_ = e.send("end", "")
	}
	return nil
}

// flushed is a screen that a follower flushes between two looks.
type flushed struct {
	*transcript.Screen
	flush func() error
}

// Flush is called between two looks.
func (f flushed) Flush() error { return f.flush() }

// events are sent to one browser.
type events struct {
	p       *pages
	w       http.ResponseWriter
	control *http.ResponseController
	held    bytes.Buffer
	last    time.Time
}

// Flush sends what is held, or after a while that there is nothing.
func (e *events) Flush() error {
	switch {
	case e.held.Len() > 0:
		text := e.held.String()
		e.held.Reset()
		return e.send("", text)
	case time.Since(e.last) > quietFor:
		return e.send("quiet", "")
	}
	return nil
}

// send sends one event.
func (e *events) send(name, text string) error {
	var b strings.Builder
	if name != "" {
		b.WriteString("event: " + name + "\n")
	}
	text = strings.ToValidUTF8(e.p.Mask.Known(text), "\uFFFD")
	text = strings.ReplaceAll(text, "\r", "\n") // which ends a line as well: no text begins a field
	for line := range strings.SplitSeq(text, "\n") {
		b.WriteString("data: " + line + "\n")
	}
	b.WriteString("\n")
	e.last = time.Now()
	_ = e.control.SetWriteDeadline(e.last.Add(2 * quietFor)) // without one, a write fails by itself
	if _, err := e.w.Write([]byte(b.String())); err != nil {
		return err
	}
	return e.control.Flush()
}
