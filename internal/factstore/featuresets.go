package factstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"quant"
	"quant/internal/sqltext"
)

// What a set, or a feature of it, is made by.
const (
	KindExpressions = "expressions" // over bars; of a set: some of its features are
	KindSQL         = "sql"         // by a SELECT
	KindImport      = "import"      // elsewhere, and read from a file
)

// Since when the values of a feature are known.
const (
	KnownProved = "proved" // at the close of their day: computed by quant from what stood then
	KnownStated = "stated" // as their source says
)

// FeatureSet is a feature version that is not the program's own: its features, and
// what they mean. Its name never gets another meaning.
type FeatureSet struct {
	Version     string       `json:"version"`
	Kind        string       `json:"kind"`
	Description string       `json:"description"`
	Features    []SetFeature `json:"features"`

	// Of a set that was read from the file.
	KnownAt   string     `json:"known_at"` // KnownStated where that of any feature is
	Digest    string     `json:"digest"`   // of what its values follow from: see DigestOf
	RunID     string     `json:"run_id"`   // that declared it
	CreatedAt quant.Time `json:"created_at"`
}

// SetFeature is one feature of a set.
type SetFeature struct {
	Name           string `json:"name"`
	Kind           string `json:"kind"`
	Definition     string `json:"definition"` // an expression, a SELECT, or where it was imported from, as it was written
	Canonical      string `json:"canonical"`  // what it means, spelled in one way; "": as Definition says
	Lookback       *int64 `json:"lookback"`   // sessions before t that the value reads; nil: not known
	FirstRow       *int64 `json:"first_row"`  // the bar, counted from 1, that may have the first value; nil: not known
	Unit           string `json:"unit"`
	ScaleFree      bool   `json:"scale_free"`
	CrossSectional bool   `json:"cross_sectional"` // it reads other symbols of its day
	KnownAt        string `json:"known_at"`
}

// Names are the names of the features, in their order.
func (s FeatureSet) Names() []string {
	names := make([]string, len(s.Features))
	for i, f := range s.Features {
		names[i] = f.Name
	}
	return names
}

// Feature returns the feature of a name.
func (s FeatureSet) Feature(name string) (SetFeature, bool) {
	for _, f := range s.Features {
		if f.Name == name {
			return f, true
		}
	}
	return SetFeature{}, false
}

// ofOne begins the meaning of a feature that has a query of its own.
const ofOne = "one: "

// QueryFeature is what is kept of a feature that has a query of its own, beside those of
// its set. An empty query has no definition.
func QueryFeature(name, query string) SetFeature {
	query = TrimStatement(query)
	return SetFeature{Name: name, Kind: KindSQL, Definition: query, Canonical: ofOne + query, ScaleFree: true, KnownAt: KnownProved}
}

// OwnQuery reports whether the feature has a query of its own.
func (f SetFeature) OwnQuery() bool {
	return f.Kind == KindSQL && strings.HasPrefix(f.Canonical, ofOne)
}

// TrimStatement is a statement without what ends it.
func TrimStatement(text string) string { return strings.TrimRight(strings.TrimSpace(text), "; \t\r\n") }

// Meaning is what the feature's values follow from.
func (f SetFeature) Meaning() string { return cmp.Or(f.Canonical, f.Definition) }

// DigestOf tells of what a set's values follow from: the name, the kind and the
// meaning of each feature, in any order.
func DigestOf(s FeatureSet) string {
	lines := make([]string, len(s.Features))
	for i, f := range s.Features {
		lines[i] = fmt.Sprintf("%q %q %q\n", f.Name, f.Kind, f.Meaning())
	}
	slices.Sort(lines)
	digest := sha256.Sum256([]byte(strings.Join(lines, "")))
	return "sha256:" + hex.EncodeToString(digest[:])
}

// The limits of a set.
const (
	mostFeatures   = 1000
	longestMeaning = 64 << 10 // of a definition or a description, in bytes
)

// CheckFeatureVersion is Invalid for a text that cannot name a set: it is a lower-case
// letter with up to 62 lower-case letters, digits or _, not a name of the program's own
// (v1, v2 and what may follow), and not one that a table of features has.
func CheckFeatureVersion(version string) error {
	hint := "begin with a lower-case letter and go on with up to 62 lower-case letters, digits or _, such as my_alpha"
	switch {
	case !regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`).MatchString(version):
		return quant.Errorf(quant.Invalid, "%.80q cannot name a feature version", version).WithHint("%s", hint)
	case regexp.MustCompile(`^v[0-9]+$`).MatchString(version):
		return quant.Errorf(quant.Invalid, "feature version %s is a name of quant's own versions", version).WithHint("choose another, such as my_%s", version)
	case slices.Contains([]string{"daily", "other", "sets"}, version):
		return quant.Errorf(quant.Invalid, "feature version %s has the name of a table", version).WithHint("choose another, such as my_%s", version)
	}
	return nil
}

// CheckFeatureName is Invalid for a text that cannot name a feature of a set: a letter
// with up to 62 letters, digits or _, and not symbol, ts or computed_at, which every
// table of features has.
func CheckFeatureName(name string) error {
	if !regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,62}$`).MatchString(name) {
		return quant.Errorf(quant.Invalid, "%.80q cannot name a feature", name).WithHint("begin with a letter and go on with up to 62 letters, digits or _, such as MA20")
	}
	if slices.Contains([]string{"symbol", "ts", "computed_at"}, strings.ToLower(name)) {
		return quant.Errorf(quant.Invalid, "feature %s has the name of a column that every table of features has", name).WithHint("choose another")
	}
	return nil
}

// Check is Invalid for a set that cannot be declared.
func (s FeatureSet) Check() error {
	if err := CheckFeatureVersion(s.Version); err != nil {
		return err
	}
	invalid := func(format string, args ...any) *quant.Error {
		return quant.Errorf(quant.Invalid, "feature version %s: %s", s.Version, fmt.Sprintf(format, args...))
	}
	kinds := []string{KindExpressions, KindSQL, KindImport}
	if len(s.Features) == 0 || len(s.Features) > mostFeatures {
		return invalid("it has %d features", len(s.Features)).WithHint("name 1 to %d", mostFeatures)
	}
	if !slices.Contains(kinds, s.Kind) {
		return invalid("%q is no kind of a set", s.Kind)
	}
	if len(s.Description) > longestMeaning || !utf8.ValidString(s.Description) {
		return invalid("its description is too long, or no text")
	}
	seen := map[string]string{}
	for _, f := range s.Features {
		if err := CheckFeatureName(f.Name); err != nil {
			return err
		}
		folded := strings.ToLower(f.Name)
		if other, twice := seen[folded]; twice {
			return invalid("%s and %s are one name to a database", other, f.Name)
		}
		seen[folded] = f.Name
		switch {
		case f.Definition == "" || len(f.Definition)+len(f.Canonical) > longestMeaning || !utf8.ValidString(f.Definition+f.Canonical):
			return invalid("the definition of %s is empty, too long, or no text", f.Name)
		case !slices.Contains(kinds, f.Kind):
			return invalid("%s: %q is no kind of a feature", f.Name, f.Kind)
		case f.KnownAt != KnownProved && f.KnownAt != KnownStated:
			return invalid("%s: %q does not say since when it is known", f.Name, f.KnownAt)
		}
	}
	return nil
}

// FeatureSets returns the sets of the file, by version. The slice is the caller's, what
// it holds is not.
func (db *DB) FeatureSets(ctx context.Context) ([]FeatureSet, error) {
	if !db.setsKnown {
		sets, err := readSets(db.within(ctx), db.conn, factTable(FeatureSets))
		if err != nil {
			return nil, db.failure(ctx, "list the feature sets", err)
		}
		db.sets, db.setsKnown = sets, true
	}
	return slices.Clone(db.sets), nil
}

// FeatureSet returns the set of a version. NotFound: there is none in this file.
func (db *DB) FeatureSet(ctx context.Context, version string) (FeatureSet, error) {
	sets, err := db.FeatureSets(ctx)
	if err != nil {
		return FeatureSet{}, err
	}
	for _, s := range sets {
		if s.Version == version {
			return s, nil
		}
	}
	return FeatureSet{}, quant.Errorf(quant.NotFound, "feature version %.80q is not in this lab", version).WithHint("`quant factor list` shows the versions there are")
}

func readSets(ctx context.Context, q querier, table string) ([]FeatureSet, error) {
	rows, err := q.QueryContext(ctx, "SELECT version, kind, coalesce(description, ''), known_at, digest, to_json(features)::VARCHAR, run_id, created_at FROM "+table+" ORDER BY version")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var sets []FeatureSet
	for rows.Next() {
		var s FeatureSet
		var features string
		if err := rows.Scan(&s.Version, &s.Kind, &s.Description, &s.KnownAt, &s.Digest, &features, &s.RunID, &s.CreatedAt); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(features), &s.Features); err != nil {
			return nil, err
		}
		// The names go into statements, and another program may have written them.
		if err := s.Check(); err != nil {
			return nil, err
		}
		sets = append(sets, s)
	}
	return sets, rows.Err()
}

// featuresType is the type of feature_sets.features, as from_json takes it.
const featuresType = `[{"name":"VARCHAR","kind":"VARCHAR","definition":"VARCHAR","canonical":"VARCHAR","lookback":"BIGINT","first_row":"BIGINT","unit":"VARCHAR","scale_free":"BOOLEAN","cross_sectional":"BOOLEAN","known_at":"VARCHAR"}]`

// FeatureSet is DB.FeatureSet within the transaction.
func (tx *Tx) FeatureSet(ctx context.Context, version string) (FeatureSet, error) {
	return tx.db.FeatureSet(ctx, version)
}

// DeclareFeatures makes the table of a set, and its features part of features_daily,
// with the transaction. declared is false where the set stands already. It counts a row
// of feature_sets, nothing of features_daily: rows are stored by Store under the name
// that FeatureTable says, and counted by Count.
//
// Invalid: see FeatureSet.Check. Conflict: the version stands with another meaning.
func (tx *Tx) DeclareFeatures(ctx context.Context, s FeatureSet) (declared bool, err error) {
	if err := s.Check(); err != nil {
		return false, err
	}
	db := tx.db
	sets, err := db.FeatureSets(ctx)
	if err != nil {
		return false, err
	}
	if stands, err := standing(sets, s); err != nil || stands {
		if err == nil {
			err = tx.describe(ctx, sets, s)
		}
		return false, err
	}
	known := KnownProved
	if slices.ContainsFunc(s.Features, func(f SetFeature) bool { return f.KnownAt == KnownStated }) {
		known = KnownStated
	}
	features, err := json.Marshal(s.Features)
	if err != nil {
		return false, err
	}
	const what = "declare features"
	if _, err := tx.affected(ctx, "INSERT INTO "+factTable(FeatureSets)+" SELECT ?, ?, nullif(?, ''), ?, ?, from_json(?, "+sqltext.Literal(featuresType)+"), ?, CAST(? AS TIMESTAMP)",
		s.Version, s.Kind, s.Description, known, DigestOf(s), string(features), tx.RunID, tx.Now); err != nil {
		return false, db.failure(ctx, what, err)
	}
	db.sets, db.setsKnown = nil, false
	if sets, err = db.FeatureSets(ctx); err != nil {
		return false, err
	}
	if _, err := db.conn.ExecContext(ctx, featureSchema(withSets(sets), db.lake != nil)); err != nil {
		return false, db.failure(ctx, what, err)
	}
	tx.count(FeatureSets, 1, 0, 0)
	db.reshaped = true
	return true, nil
}

// DescribeFeatures stores the description of a set that stands, where it is another one
// and any is given. It is no part of what the set means.
func (db *DB) DescribeFeatures(ctx context.Context, runID string, s FeatureSet) error {
	sets, err := db.FeatureSets(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(sets, func(other FeatureSet) bool { return other.Version == s.Version })
	if i < 0 || s.Description == "" || sets[i].Description == s.Description {
		return nil
	}
	_, err = db.Write(ctx, runID, func(ctx context.Context, tx *Tx) error { return tx.describe(ctx, sets, s) })
	return err
}

// describe stores the description of a set that stands, which is no part of what it
// means; one that is not given leaves what is there.
func (tx *Tx) describe(ctx context.Context, sets []FeatureSet, s FeatureSet) error {
	i := slices.IndexFunc(sets, func(other FeatureSet) bool { return other.Version == s.Version })
	if i < 0 || s.Description == "" || sets[i].Description == s.Description {
		return nil
	}
	if _, err := tx.affected(ctx, "UPDATE "+factTable(FeatureSets)+" SET description = ? WHERE version = ?", s.Description, s.Version); err != nil {
		return tx.db.failure(ctx, "describe features "+s.Version, err)
	}
	tx.db.sets, tx.db.setsKnown = nil, false
	tx.count(FeatureSets, 0, 1, 0)
	return nil
}

// standing reports whether a set is among those of the file. Conflict: its version is,
// with another meaning.
func standing(sets []FeatureSet, s FeatureSet) (bool, error) {
	for _, other := range sets {
		if other.Version != s.Version {
			continue
		}
		if other.Digest == DigestOf(s) {
			return true, nil
		}
		return false, quant.Errorf(quant.Conflict, "feature version %s stands with another definition: %s", s.Version, difference(other, s)).
			WithHint("give it a new version: what a name means never changes")
	}
	return false, nil
}

// CheckDeclared is Conflict where DeclareFeatures would be.
func (db *DB) CheckDeclared(ctx context.Context, s FeatureSet) error {
	sets, err := db.FeatureSets(ctx)
	if err != nil {
		return err
	}
	_, err = standing(sets, s)
	return err
}

// difference names the first feature in which two sets differ.
func difference(stands, wanted FeatureSet) string {
	for _, f := range wanted.Features {
		switch old, have := stands.Feature(f.Name); {
		case !have:
			return "it has no " + f.Name
		case old.Meaning() != f.Meaning() || old.Kind != f.Kind:
			return fmt.Sprintf("%s is %.200s there", f.Name, old.Definition)
		}
	}
	for _, f := range stands.Features {
		if _, have := wanted.Feature(f.Name); !have {
			return "it also has " + f.Name
		}
	}
	return "another kind"
}
