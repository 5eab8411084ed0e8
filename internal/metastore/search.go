package metastore

import (
	"context"
	"slices"
)

// Source says where the value of a Field stands.
type Source int

// The sources of fields.
const (
	Attribute Source = iota // of the run itself and of its process
	ParamOf
	TagOf
	MetricOf
	ClientOf // what clients of MLflow know of the run: one of ClientFields
)

// The fields of ClientOf, all of them texts.
const (
	ClientID          = "id"           // what clients call the run by
	ClientStatus      = "status"       // RUNNING, SCHEDULED, FINISHED, FAILED or KILLED
	ClientArtifactURI = "artifact_uri" // where they put its artifacts
	ContinuedBy       = "continued_by" // run_id of the run that continues it; NULL: it is current
	ClientNamed       = "named"        // ClientID of a current run that a client made; NULL of others
	// ClientStarted is the millisecond in which it began. Runs of one come in the
	// order of what clients call them by, whatever the direction.
	ClientStarted = "started"
)

// ClientFields are the names of the fields of ClientOf.
func ClientFields() []string {
	return []string{ClientID, ClientStatus, ClientArtifactURI, ContinuedBy, ClientNamed, ClientStarted}
}

// Aggregate is which value of a metric a Field means.
type Aggregate string

// The values of a metric, and the text of a param or tag.
const (
	Last   Aggregate = ""
	Min    Aggregate = "min"
	Max    Aggregate = "max"
	IsNaN  Aggregate = "nan"   // 1 where the value that clients show is no number, or NULL
	Shown  Aggregate = "shown" // the last value, or NULL where IsNaN is 1
	AsText Aggregate = "text"  // of a param or tag: its value as a text alone, also where it reads as a number
)

// Field is one value that every run has or has not: an attribute, a param, a
// tag or a metric. A run that has none has NULL there.
type Field struct {
	Of   Source
	Name string
	Agg  Aggregate // of a metric, a param or a tag
}

// Type is what the values of a field are.
type Type int

// The types of fields, with the Go type of their values in conditions and in
// cells. A Mixed value is a text, which compares with a number where it reads
// as one (quant.ParseNumber).
const (
	Text     Type = iota // string
	Number               // float64; int64 in cells of whole numbers
	Time                 // quant.Time
	Duration             // time.Duration
	Bool                 // bool
	Mixed                // string or float64; string in cells
)

// Attributes returns the attributes of a run with their types.
func Attributes() map[string]Type {
	return map[string]Type{
		"run_id": Text, "kind": Text, "status": Text, "started": Time, "ended": Time, "duration": Duration, "exit_code": Number,
		"error": Text, "host": Text, "user": Text, "pid": Number, "git_commit": Text, "git_dirty": Bool, "work_dir": Text, "argv": Text,
		"parent": Text, "binary_version": Text, "binary_commit": Text, "changes": Bool,
	}
}

// Type returns the type of the field's values; ok is false for an attribute
// that does not exist.
func (f Field) Type() (t Type, ok bool) {
	switch f.Of {
	case Attribute:
		t, ok = Attributes()[f.Name]
		return t, ok
	case MetricOf:
		return Number, true
	case ClientOf:
		return Text, slices.Contains(ClientFields(), f.Name)
	default:
		if f.Agg == AsText {
			return Text, true
		}
		return Mixed, true
	}
}

// Expr is a condition on runs. Its value is true, false or unknown: a condition
// on a field that is NULL is unknown, IsNull apart; Not of unknown is unknown;
// And and Or are those of SQL. A search finds the runs for which it is true.
type Expr interface{ condition() }

// The conditions. Values have the Go type of their field's Type.
type (
	And     []Expr // true for none
	Or      []Expr // false for none
	Not     struct{ Expr Expr }
	Compare struct {
		Field Field
		Op    Op
		Value any
	}
	// In is an Or of equals.
	In struct {
		Field  Field
		Values []any
	}
	// Like compares a text, with its case, with a pattern: % is any text, _ any
	// one character, \ takes the meaning from the next one. With Fold the letters A
	// to Z are as a to z.
	Like struct {
		Field   Field
		Pattern string
		Fold    bool
	}
	IsNull struct{ Field Field }
)

// HasDataset is true of a run that was given a dataset whose Key, which is name,
// digest or context, compares so with the values: one of them for = != LIKE ILIKE,
// any number for IN and NOT IN. A pattern has % and _, and no escape.
type HasDataset struct {
	Key, Op string
	Values  []string
}

func (HasDataset) condition() {}

func (And) condition()     {}
func (Or) condition()      {}
func (Not) condition()     {}
func (Compare) condition() {}
func (In) condition()      {}
func (Like) condition()    {}
func (IsNull) condition()  {}

// Op is a comparison. Texts compare by their bytes, false before true.
type Op string

// The comparisons.
const (
	Eq Op = "="
	Ne Op = "!="
	Lt Op = "<"
	Le Op = "<="
	Gt Op = ">"
	Ge Op = ">="
)

// OrderKey is one key of an order. NULL comes last, whatever the direction. Of
// Mixed values those that read as numbers come first, by number; then all by
// text.
type OrderKey struct {
	Field Field
	Desc  bool
}

// Lifecycle says whether a search finds deleted runs.
type Lifecycle int

// What a search finds.
const (
	NotDeleted Lifecycle = iota
	OnlyDeleted
	DeletedToo
)

// Search says which runs to find and what to tell of them.
type Search struct {
	Where   Expr       // nil: all
	Order   []OrderKey // none: newest first; the id breaks ties, in the direction of the last key
	Limit   int        // 0: none
	All     bool       // also the runs that only read
	Deleted Lifecycle  // which runs are found
	Except  string     // this run_id is left out
	After   string     // only the runs that come after this run_id in the order, wherever it is found or not
	Columns []Field
}

// Statement is how a part of a search was answered.
type Statement struct {
	Runs int      // found by it; those of a statement that gave up are found again by the next
	Plan []string // the database's own words, a step each, indented by what it serves
}

// NameSource says of what Names lists the names.
type NameSource int

// The names that runs have.
const (
	KindNames NameSource = iota
	ParamNames
	TagNames
	MetricNames
	RunNames // the values of the tag quant.NameTag
)

// Searches is the repository of questions about all runs.
type Searches interface {
	// SearchRuns hands the cells of every run found to each, in order, a value for
	// each of s.Columns; nil is NULL. Deleted runs are found as Search.Deleted says. The runs are
	// those of one moment; cells are read as they are handed over, and a run that
	// is purged meanwhile is left out. An error of each ends the search and is
	// returned as it is. An order by the attribute "started" is the order of the
	// ids, whose head is that time. A search that goes on after a run costs about
	// what its first page does. Errors: Invalid for a field, a value or a limit that
	// cannot be; NotFound where the run of After does not exist.
	SearchRuns(ctx context.Context, s Search, each func(cells []any) error) error
	// ExplainSearch runs a search and returns the statements that found its runs,
	// in their order, each with its plan. The bounded looks by which it chose them
	// are left out.
	ExplainSearch(ctx context.Context, s Search) ([]Statement, error)
	// Names returns up to limit names that begin with prefix, sorted, at a cost
	// that grows with their number alone.
	Names(ctx context.Context, of NameSource, prefix string, limit int) ([]string, error)
}
