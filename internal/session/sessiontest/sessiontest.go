// Package sessiontest makes sessions in labs of their own, for tests that work in
// process: a data folder in a temporary directory, the real Meta DB, and a Fact DB
// once something writes one.
package sessiontest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"quant"
	"quant/internal/calendar"
	"quant/internal/lab"
	"quant/internal/lab/facts"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/session"
)

// Session is a session whose run has started, and what it said.
type Session struct {
	*session.Session
	Heard *Heard
	t     testing.TB
}

// Begin opens a lab and starts a run of the kind test in it. The sessions are
// those that have bars. The lab is closed at the end of the test.
func Begin(t testing.TB) *Session {
	t.Helper()
	at := place.In(filepath.Join(t.TempDir(), "data"))
	l := lab.New(lab.Options{Place: at, Facts: facts.Committed(at)})
	must(t, l.Open(t.Context(), false))
	t.Cleanup(func() { must(t, l.Close()) })
	s := &Session{Heard: &Heard{}, t: t}
	s.Session = session.New(session.Options{Lab: l, Voice: s.Heard, Calendar: calendar.Data})
	_, err := s.Start(t.Context(), session.Command{Kind: "test", Args: []string{"test"}}, "")
	must(t, err)
	return s
}

// Write makes a file beside the data folder and returns its path.
func (s *Session) Write(name, content string) string {
	s.t.Helper()
	path := filepath.Join(filepath.Dir(s.DataDir), name)
	must(s.t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// Recorded is a run that has ended, as the Meta DB has it.
type Recorded struct {
	metastore.RunDetail
	IO      []quant.RunIO
	Params  map[string]string
	Metrics map[string]float64 // the last point of each
}

// Recorded reads the record of a run.
func (s *Session) Recorded(runID string) Recorded {
	s.t.Helper()
	r := Recorded{Params: map[string]string{}, Metrics: map[string]float64{}}
	var err error
	r.RunDetail, err = s.Meta.GetRun(s.t.Context(), runID)
	must(s.t, err)
	r.IO, err = s.Meta.RunIO(s.t.Context(), runID)
	must(s.t, err)
	params, err := s.Meta.Params(s.t.Context(), runID)
	must(s.t, err)
	for _, p := range params {
		r.Params[p.Name] = p.Value
	}
	metrics, err := s.Meta.Metrics(s.t.Context(), runID)
	must(s.t, err)
	for _, m := range metrics {
		r.Metrics[m.Name] = m.Last
	}
	return r
}

// Names are what the run read (In) or wrote (Out), as "kind name".
func (r Recorded) Names(direction quant.Direction) []string {
	var list []string
	for _, io := range r.IO {
		if io.Direction == direction {
			list = append(list, io.Kind+" "+io.Name)
		}
	}
	return list
}

// Heard is a voice that keeps what is said. It may be used from several goroutines.
type Heard struct {
	mu   sync.Mutex
	text []string
}

func (h *Heard) say(kind, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.text = append(h.text, kind+": "+text)
}

// Notice keeps "notice: TEXT".
func (h *Heard) Notice(format string, args ...any) { h.say("notice", fmt.Sprintf(format, args...)) }

// Warn keeps "warning: TEXT".
func (h *Heard) Warn(format string, args ...any) { h.say("warning", fmt.Sprintf(format, args...)) }

// Failed keeps "failed: TEXT".
func (h *Heard) Failed(err error) { h.say("failed", err.Error()) }

// Has reports whether something with this part was said.
func (h *Heard) Has(part string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, text := range h.text {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}

// All is everything that was said.
func (h *Heard) All() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string{}, h.text...)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
