package quant

import (
	"encoding/json"
	"math"
	"path"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The limits of what a run records of itself, in bytes of UTF-8.
const (
	MaxRecordName   = 250      // of a param, metric or tag
	MaxRecordValue  = 8 << 10  // of a param or tag
	MaxNoteText     = 64 << 10 // of a note
	MaxArtifactName = 1 << 10
)

// The tags that have a meaning of their own.
const (
	NameTag       = "name"       // `@NAME` is the newest run of this name
	ExperimentTag = "experiment" // experiment_id of the experiment that the run belongs to
	RerunOfTag    = "rerun_of"   // run_id of the run that this one repeats
	ByTag         = "by"         // who asked a server for what this run did
)

// SystemMetrics begins the names of the metrics that quant samples of a run's program.
// What counts of such a one is its highest value, and not the last.
const SystemMetrics = "system."

// The artifacts that quant exec keeps of a run by itself.
const (
	CodeDiff       = "code.diff"           // what of the code was not committed
	PythonPackages = "python-packages.txt" // NAME==VERSION, a line each
	ProgramLog     = "program.log"         // what it printed, where machines share artifacts
)

// Param is one setting of a run, written once: a companion of runs.
type Param struct {
	RunID string `json:"run_id" db:"run_id"`
	Name  string `json:"name" db:"name"`
	Value string `json:"value" db:"value"`
	// Number is Value where that reads as a finite number, for comparisons; the
	// store works it out.
	Number *float64 `json:"number" db:"number"`
}

// Validate reports the first rule that the param breaks, as Invalid.
func (p Param) Validate() error { return validNamed("param", p.RunID, p.Name, p.Value) }

// Tag is one word about a run that may change or go: a companion of runs.
type Tag struct {
	RunID  string   `json:"run_id" db:"run_id"`
	Name   string   `json:"name" db:"name"`
	Value  string   `json:"value" db:"value"`
	Number *float64 `json:"number" db:"number"` // as of a Param
}

// Validate reports the first rule that the tag breaks, as Invalid.
func (t Tag) Validate() error { return validNamed("tag", t.RunID, t.Name, t.Value) }

// MetricPoint is one measured value of a run: a companion of runs. Points of a
// metric are numbered from 1 in the order in which they were logged; a step may
// come more than once.
type MetricPoint struct {
	RunID    string  `json:"run_id" db:"run_id"`
	Name     string  `json:"name" db:"name"`
	Point    int64   `json:"point" db:"point"` // the store numbers them
	Step     int64   `json:"step" db:"step"`
	Value    float64 `json:"value" db:"value"` // finite
	LoggedAt Time    `json:"logged_at" db:"logged_at"`
}

// AutoStep, as the step of a point, stands for the one after the metric's
// highest; 0 for the first.
const AutoStep = math.MinInt64

// Validate reports the first rule that the point breaks, as Invalid.
func (m MetricPoint) Validate() error {
	if err := validNamed("metric", m.RunID, m.Name, ""); err != nil {
		return err
	}
	if math.IsNaN(m.Value) || math.IsInf(m.Value, 0) {
		return Errorf(Invalid, "metric %q: %v is not a finite number", m.Name, m.Value).
			WithHint("leave the point out, or log what happened as a tag")
	}
	if m.LoggedAt.IsZero() {
		return Errorf(Invalid, "metric %q: logged_at is missing", m.Name)
	}
	return nil
}

// Metric sums up the points of one metric of a run: a companion of runs.
type Metric struct {
	RunID    string  `json:"run_id" db:"run_id"`
	Name     string  `json:"name" db:"name"`
	Points   int64   `json:"points" db:"points"`
	LastStep int64   `json:"last_step" db:"last_step"` // the highest
	Last     float64 `json:"last" db:"last"`           // of the highest step; of several there, the one logged last
	Min      float64 `json:"min" db:"min"`
	Max      float64 `json:"max" db:"max"`
}

// Note is a remark about a run, numbered from 1: a companion of runs.
type Note struct {
	RunID    string `json:"run_id" db:"run_id"`
	Note     int64  `json:"note" db:"note"` // the store numbers them
	Text     string `json:"text" db:"text"`
	LoggedAt Time   `json:"logged_at" db:"logged_at"`
}

// Validate reports the first rule that the note breaks, as Invalid.
func (n Note) Validate() error {
	switch {
	case strings.TrimSpace(n.Text) == "":
		return Errorf(Invalid, "note: it is empty")
	case len(n.Text) > MaxNoteText:
		return Errorf(Invalid, "note: it is %d bytes long, more than %d", len(n.Text), MaxNoteText).WithHint("log it as an artifact")
	case n.LoggedAt.IsZero():
		return Errorf(Invalid, "note: logged_at is missing")
	}
	if err := required("note", "run_id", n.RunID); err != nil {
		return err
	}
	return validText("note", n.Text)
}

// Artifact is a file that a run left, under a name of its own, by the digest of
// its content: a companion of runs. The content is not the store's.
type Artifact struct {
	RunID    string `json:"run_id" db:"run_id"`
	Name     string `json:"name" db:"name"`     // a relative path with slashes
	Digest   string `json:"digest" db:"digest"` // sha256:<hex>
	Bytes    int64  `json:"bytes" db:"bytes"`
	LoggedAt Time   `json:"logged_at" db:"logged_at"`
}

// Validate reports the first rule that the artifact breaks, as Invalid.
func (a Artifact) Validate() error {
	if err := required("artifact", "run_id", a.RunID, "name", a.Name); err != nil {
		return err
	}
	if err := ValidateArtifactName(a.Name); err != nil {
		return err
	}
	hex, found := strings.CutPrefix(a.Digest, "sha256:")
	switch {
	case !found || len(hex) != 64 || strings.Trim(hex, "0123456789abcdef") != "":
		return Errorf(Invalid, "artifact %q: digest %q is not sha256:<hex>", a.Name, a.Digest)
	case a.Bytes < 0:
		return Errorf(Invalid, "artifact %q: %d bytes", a.Name, a.Bytes)
	case a.LoggedAt.IsZero():
		return Errorf(Invalid, "artifact %q: logged_at is missing", a.Name)
	}
	return nil
}

// ValidateArtifactName checks that a name is a clean relative path with
// slashes, so that it can be written out below any folder: no empty part, no
// "." or "..", no backslash, no control character, 1 to 1024 bytes.
func ValidateArtifactName(name string) error {
	if name == "" || len(name) > MaxArtifactName {
		return Errorf(Invalid, "artifact: a name has 1 to %d bytes, this one %d", MaxArtifactName, len(name))
	}
	if err := validText("artifact name", name); err != nil {
		return err
	}
	if path.Clean(name) != name || path.IsAbs(name) || name == "." || name == ".." || strings.HasPrefix(name, "../") || strings.ContainsRune(name, '\\') {
		return Errorf(Invalid, "artifact %q: a name is a relative path without . and .., such as plots/equity.png", name)
	}
	for _, r := range name {
		if r > ' ' && r < unicode.MaxASCII && r != '`' {
			continue // of thousands of points each has a name
		}
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return Errorf(Invalid, "artifact %q: the name contains the character %U", name, r)
		}
	}
	return nil
}

// Program is what `quant exec` knows of the program that it ran: a companion of
// runs.
type Program struct {
	RunID       string `json:"run_id" db:"run_id"`
	Path        Text   `json:"path" db:"path"` // the file that was executed
	ChildPID    *int64 `json:"child_pid" db:"child_pid"`
	ChildStart  Text   `json:"child_start" db:"child_start"` // opaque, as process_start
	Signal      *int64 `json:"signal" db:"signal"`           // that ended it; nil: none
	UserUS      *int64 `json:"user_us" db:"user_us"`         // processor time of it and of its children that it waited for
	SystemUS    *int64 `json:"system_us" db:"system_us"`
	MaxRSSBytes *int64 `json:"max_rss_bytes" db:"max_rss_bytes"`
	// OutputBytes is what it wrote to stdout and stderr, OutputCutBytes what of
	// that the log left out.
	OutputBytes     *int64 `json:"output_bytes" db:"output_bytes"`
	OutputCutBytes  *int64 `json:"output_cut_bytes" db:"output_cut_bytes"`
	EnvironmentJSON JSON   `json:"environment_json" db:"environment_json"` // masked
}

// Validate reports the first rule that the program breaks, as Invalid.
func (p Program) Validate() error {
	if len(p.EnvironmentJSON) > 0 && !json.Valid(p.EnvironmentJSON) {
		return Errorf(Invalid, "program of run %s: not valid JSON", p.RunID)
	}
	return nil
}

// Deletion marks a run that lists no longer show: a companion of runs.
type Deletion struct {
	RunID     string `json:"run_id" db:"run_id"`
	DeletedAt Time   `json:"deleted_at" db:"deleted_at"`
	ByRunID   Text   `json:"by_run_id" db:"by_run_id"`
}

// Import marks a run that came from another lab: a companion of runs.
type Import struct {
	RunID      string `json:"run_id" db:"run_id"`
	ImportedAt Time   `json:"imported_at" db:"imported_at"`
	ByRunID    Text   `json:"by_run_id" db:"by_run_id"`
}

// ParseNumber reads a text that is a finite decimal number, as the values of
// params and tags are compared with numbers: "5", " 5.0" is none, "5e-1".
func ParseNumber(s string) (float64, bool) {
	if s == "" || strings.Trim(s, "0123456789+-.eE") != "" {
		return 0, false // also NaN, Inf, 0x1p-2 and 1_000, which the parser takes
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}

// ValidateRecordName checks the name of a param, metric or tag: 1 to 250 bytes
// of UTF-8 without control or format characters, no space at either end.
func ValidateRecordName(noun, name string) error {
	switch {
	case name == "":
		return Errorf(Invalid, "%s: its name is empty", noun)
	case len(name) > MaxRecordName:
		return Errorf(Invalid, "%s %q: its name is %d bytes long, more than %d", noun, name[:16]+"...", len(name), MaxRecordName)
	case !utf8.ValidString(name):
		return Errorf(Invalid, "%s %q: its name is not UTF-8", noun, name)
	case strings.TrimSpace(name) != name:
		return Errorf(Invalid, "%s %q: its name begins or ends with a space", noun, name)
	}
	for _, r := range name {
		if r > ' ' && r < unicode.MaxASCII && r != '`' {
			continue // of thousands of points each has a name
		}
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == utf8.RuneError || r == '`' {
			return Errorf(Invalid, "%s %q: its name contains the character %U", noun, name, r)
		}
	}
	return nil
}

func validNamed(noun, runID, name, value string) error {
	if err := required(noun, "run_id", runID); err != nil {
		return err
	}
	if err := ValidateRecordName(noun, name); err != nil {
		return err
	}
	if value == "" {
		return nil
	}
	if len(value) > MaxRecordValue {
		return Errorf(Invalid, "%s %q: its value is %d bytes long, more than %d", noun, name, len(value), MaxRecordValue).
			WithHint("log it as an artifact")
	}
	return validText(noun+" "+strconv.Quote(name), value)
}

func validText(noun, s string) error {
	if !utf8.ValidString(s) {
		return Errorf(Invalid, "%s is not UTF-8", noun)
	}
	if strings.ContainsRune(s, 0) {
		return Errorf(Invalid, "%s contains a NUL character", noun)
	}
	return nil
}
