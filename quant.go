// Package quant holds the nouns of the lab (Symbol, Experiment, Model, Run and
// what a run leaves behind) and its error vocabulary. It knows no database, no
// command line and no clock, and imports the standard library only; every
// other package may import it, and it imports none of them.
package quant

import (
	"database/sql/driver"
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxSymbolBytes is the longest symbol, in bytes of UTF-8.
const MaxSymbolBytes = 64

// Symbol is one tradable name: a row of the Meta DB's symbols. The ticker is
// case-sensitive text and never a number: 005930 keeps its zeros.
type Symbol struct {
	Symbol   string `json:"symbol" db:"symbol"`
	Name     Text   `json:"name" db:"name"`
	Sector   Text   `json:"sector" db:"sector"`
	Currency Text   `json:"currency" db:"currency"`
	IsActive bool   `json:"is_active" db:"is_active"`
	Priority int64  `json:"priority" db:"priority"`
}

// Validate reports the first rule that the symbol breaks, as Invalid: its
// ticker's, or that name, sector and currency are UTF-8 without control
// characters (spaces are fine, and a line feed, which quoted CSV may hold).
func (s Symbol) Validate() error {
	if err := ValidateSymbol(s.Symbol); err != nil {
		return err
	}
	for _, column := range []struct {
		name  string
		value Text
	}{{"name", s.Name}, {"sector", s.Sector}, {"currency", s.Currency}} {
		if !utf8.ValidString(string(column.value)) {
			return Errorf(Invalid, "symbol %s: %s is not UTF-8", s.Symbol, column.name)
		}
		for _, r := range string(column.value) {
			if unicode.IsControl(r) && r != '\n' || r == utf8.RuneError {
				return Errorf(Invalid, "symbol %s: %s contains the character %U", s.Symbol, column.name, r)
			}
		}
	}
	return nil
}

// ValidateSymbol checks a ticker: 1 to 64 bytes of UTF-8 without spaces or
// control characters (BRK.B, ^GSPC, 005930.KS).
func ValidateSymbol(s string) error {
	switch {
	case s == "":
		return Errorf(Invalid, "symbol is empty")
	case len(s) > MaxSymbolBytes:
		return Errorf(Invalid, "symbol %q is %d bytes long, more than %d", s[:16]+"...", len(s), MaxSymbolBytes)
	case !utf8.ValidString(s):
		return Errorf(Invalid, "symbol %q is not UTF-8", s)
	}
	for _, r := range s {
		if unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == utf8.RuneError {
			return Errorf(Invalid, "symbol %q contains a space or control character", s)
		}
	}
	return nil
}

// Experiment is a named question with the choices that answer it: a row of
// the Meta DB's experiments.
type Experiment struct {
	ExperimentID    string `json:"experiment_id" db:"experiment_id"`
	Name            string `json:"name" db:"name"`
	Description     Text   `json:"description" db:"description"`
	FeatureSetID    Text   `json:"feature_set_id" db:"feature_set_id"`
	LabelSetID      Text   `json:"label_set_id" db:"label_set_id"`
	SplitPolicyJSON JSON   `json:"split_policy_json" db:"split_policy_json"`
	ParamsJSON      JSON   `json:"params_json" db:"params_json"`
	CreatedAt       Time   `json:"created_at" db:"created_at"`
}

// Validate reports the first rule that the experiment breaks, as Invalid.
func (e Experiment) Validate() error {
	if err := required("experiment", "experiment_id", e.ExperimentID, "name", e.Name); err != nil {
		return err
	}
	if e.CreatedAt.IsZero() {
		return Errorf(Invalid, "experiment %s: created_at is missing", e.ExperimentID)
	}
	return validJSON("experiment "+e.ExperimentID, "split_policy_json", e.SplitPolicyJSON, "params_json", e.ParamsJSON)
}

// Model is one trained model: a row of the Meta DB's models.
type Model struct {
	ModelID        string `json:"model_id" db:"model_id"`
	ExperimentID   Text   `json:"experiment_id" db:"experiment_id"`
	Algo           Text   `json:"algo" db:"algo"`
	ParamsJSON     JSON   `json:"params_json" db:"params_json"`
	TrainRange     Text   `json:"train_range" db:"train_range"`
	FeatureVersion Text   `json:"feature_version" db:"feature_version"`
	LabelVersion   Text   `json:"label_version" db:"label_version"`
	MetricsJSON    JSON   `json:"metrics_json" db:"metrics_json"`
	CreatedAt      Time   `json:"created_at" db:"created_at"`
}

// Validate reports the first rule that the model breaks, as Invalid.
func (m Model) Validate() error {
	if err := required("model", "model_id", m.ModelID); err != nil {
		return err
	}
	if m.CreatedAt.IsZero() {
		return Errorf(Invalid, "model %s: created_at is missing", m.ModelID)
	}
	return validJSON("model "+m.ModelID, "params_json", m.ParamsJSON, "metrics_json", m.MetricsJSON)
}

// Status is where a run stands.
type Status string

// A run is RUNNING until it is closed, once, as SUCCESS or FAIL.
const (
	Running Status = "RUNNING"
	Success Status = "SUCCESS"
	Fail    Status = "FAIL"
)

// Run is one execution of one command: a row of the Meta DB's runs.
type Run struct {
	RunID      string `json:"run_id" db:"run_id"`
	Kind       string `json:"kind" db:"kind"`
	Status     Status `json:"status" db:"status"`
	StartedAt  Time   `json:"started_at" db:"started_at"`
	EndedAt    Time   `json:"ended_at" db:"ended_at"`
	ConfigJSON JSON   `json:"config_json" db:"config_json"`
	ErrorText  Text   `json:"error_text" db:"error_text"`
}

// Validate reports the first rule that the run breaks, as Invalid.
func (r Run) Validate() error {
	if err := required("run", "run_id", r.RunID, "kind", r.Kind); err != nil {
		return err
	}
	switch {
	case r.Status != Running && r.Status != Success && r.Status != Fail:
		return Errorf(Invalid, "run %s: status %q is none of RUNNING, SUCCESS, FAIL", r.RunID, r.Status)
	case r.StartedAt.IsZero():
		return Errorf(Invalid, "run %s: started_at is missing", r.RunID)
	case (r.Status == Running) != r.EndedAt.IsZero():
		return Errorf(Invalid, "run %s: an ended run has ended_at, a running one has none", r.RunID)
	case (r.Status == Fail) != (r.ErrorText != ""):
		return Errorf(Invalid, "run %s: a FAIL has error_text, any other status has none", r.RunID)
	}
	return validJSON("run "+r.RunID, "config_json", r.ConfigJSON)
}

// RunProcess is the process that a run was: what it takes to tell whether it
// still lives, and what it takes to run it again. A companion of runs.
type RunProcess struct {
	RunID         string `json:"run_id" db:"run_id"`
	Changes       bool   `json:"changes" db:"changes"` // known at the start: the command may change something
	ParentRunID   Text   `json:"parent_run_id" db:"parent_run_id"`
	Host          Text   `json:"host" db:"host"`
	User          Text   `json:"user" db:"user"`
	MachineID     Text   `json:"machine_id" db:"machine_id"`
	BootID        Text   `json:"boot_id" db:"boot_id"`
	PID           int64  `json:"pid" db:"pid"`
	ProcessStart  Text   `json:"process_start" db:"process_start"` // opaque; with boot_id and pid it names one process for ever
	LiveLock      Text   `json:"live_lock" db:"live_lock"`         // file, in the folder of the liveness locks, that the process holds locked
	BinaryVersion Text   `json:"binary_version" db:"binary_version"`
	BinaryCommit  Text   `json:"binary_commit" db:"binary_commit"` // commit that quant was built from; "-dirty" appended if its tree was
	GitCommit     Text   `json:"git_commit" db:"git_commit"`       // commit checked out where the command ran
	GitDirty      *bool  `json:"git_dirty" db:"git_dirty"`         // nil: not known
	Argv          JSON   `json:"argv" db:"argv"`                   // masked
	WorkDir       Text   `json:"work_dir" db:"work_dir"`
	ExitCode      *int64 `json:"exit_code" db:"exit_code"`     // nil while running, or when nobody saw the end
	DurationUS    *int64 `json:"duration_us" db:"duration_us"` // by the monotonic clock; nil like exit_code
	Facts         Facts  `json:"facts" db:"facts"`             // what a FAIL had committed; nothing is said of any other run
}

// Facts says whether a run that failed had committed facts. "", nothing is said,
// is SQL NULL and JSON null.
type Facts string

// What can be said of the facts of a run that failed.
const (
	FactsCommitted  Facts = "committed"
	FactsNone       Facts = "none"
	FactsNotChecked Facts = "not_checked" // nobody could look
)

// Validate reports a value that is none of the above, as Invalid.
func (f Facts) Validate() error {
	switch f {
	case "", FactsCommitted, FactsNone, FactsNotChecked:
		return nil
	}
	return Errorf(Invalid, "facts %q is none of committed, none, not_checked", string(f))
}

// MarshalJSON writes null for "".
func (f Facts) MarshalJSON() ([]byte, error) { return Text(f).MarshalJSON() }

// Value stores NULL for "".
func (f Facts) Value() (driver.Value, error) { return Text(f).Value() }

// Scan reads text or NULL.
func (f *Facts) Scan(v any) error { return (*Text)(f).Scan(v) }

// Direction tells what a run read from what it wrote.
type Direction string

// The two directions of a run's inputs and outputs.
const (
	In  Direction = "in"
	Out Direction = "out"
)

// The kinds of what a run reads and writes: what the name of a RunIO names. A
// caller of the registry may record kinds of its own beside these.
const (
	IOTable    = "table"    // a table of the Fact DB, or a dataset in it
	IOFile     = "file"     // a file, by its path
	IORun      = "run"      // in: the run whose rows were read, by its run_id
	IOAnswer   = "answer"   // in: what a provider delivered, as provider:SYMBOL
	IOStage    = "stage"    // in: what a stage of the chain was run on, by its name; the digest is its fingerprint
	IOState    = "state"    // in: a table that the stage writes; the digest says where that stood before
	IOMeta     = "meta"     // out: a table of the Meta DB
	IOModel    = "model"    // out: a trained model, by its model_id
	IOBackup   = "backup"   // a copy of a database or of the lab, by its path
	IOCalendar = "calendar" // in: an exchange's calendar, by its name; the digest is of what the lab changed of it
	IORemoved  = "removed"  // out: garbage that was collected, by its kind
	IORuns     = "runs"     // out: records of runs that were imported
	IOStaged   = "staged"   // out: outputs that the run staged; the digest is of their manifest
	IODataset  = "dataset"  // in: a dataset as a client describes it, by its name; the digest is the client's
	// IOLoggedModel is a model that a client logged, by its id: in where it was
	// used, out where it was made.
	IOLoggedModel = "logged-model"
)

// RunIO is one thing that a run read or wrote. A companion of runs.
type RunIO struct {
	RunID     string    `json:"run_id" db:"run_id"`
	Direction Direction `json:"direction" db:"direction"`
	Kind      string    `json:"kind" db:"kind"` // one of the kinds above, or the caller's own
	Name      string    `json:"name" db:"name"`
	Rows      *int64    `json:"rows" db:"rows"`
	FirstDate Text      `json:"first_date" db:"first_date"` // YYYY-MM-DD
	LastDate  Text      `json:"last_date" db:"last_date"`
	Digest    Text      `json:"digest" db:"digest"` // sha256:<hex>
}

// Validate reports the first rule that the entry breaks, as Invalid.
func (io RunIO) Validate() error {
	if io.Direction != In && io.Direction != Out {
		return Errorf(Invalid, "run io %q: direction %q is neither in nor out", io.Name, io.Direction)
	}
	return required("run io", "run_id", io.RunID, "kind", io.Kind, "name", io.Name)
}

func required(noun string, pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		if strings.TrimSpace(pairs[i+1]) == "" {
			return Errorf(Invalid, "%s: %s is missing", noun, pairs[i])
		}
		if !utf8.ValidString(pairs[i+1]) {
			return Errorf(Invalid, "%s: %s is not UTF-8", noun, pairs[i])
		}
	}
	return nil
}

func validJSON(noun string, pairs ...any) error {
	for i := 0; i < len(pairs); i += 2 {
		if doc := pairs[i+1].(JSON); len(doc) > 0 && !json.Valid(doc) {
			return Errorf(Invalid, "%s: %s is not valid JSON", noun, pairs[i])
		}
	}
	return nil
}
