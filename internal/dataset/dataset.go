// Package dataset names the rows of the Fact DB that are written and read
// together, as records of runs, lineage and messages spell them:
//
//	features_daily:ret_20d@v1    labels:fwd_ret_5d@v1    predictions:MODEL/TASK
//	targets:momentum@1.0.0       target_sets:momentum@1.0.0
//	ohlcv                        ohlcv:adjusted
//
// It owns the spelling and the names of these tables, and knows how to find such
// a name in a text; what the tables hold is factstore's. It links no database,
// so that whatever masks texts can tell a name from a user and a password.
package dataset

import "strings"

// The tables whose rows are named in parts.
const (
	OHLCV         = "ohlcv"
	FeaturesDaily = "features_daily"
	Labels        = "labels"
	Predictions   = "predictions"
	Targets       = "targets"
	TargetSets    = "target_sets"
)

// Name is the name of a dataset.
type Name struct {
	Table string
	Rows  string // which rows of it; "": all
}

// String spells the name: TABLE or TABLE:ROWS.
func (n Name) String() string {
	if n.Rows == "" {
		return n.Table
	}
	return n.Table + ":" + n.Rows
}

// Feature names the rows of one feature, of a version.
func Feature(name, version string) Name { return Name{FeaturesDaily, name + "@" + version} }

// FeatureNamed is what Feature spells so; false: no rows of a feature are called name.
func FeatureNamed(name string) (feature, version string, ok bool) {
	rows, found := strings.CutPrefix(name, FeaturesDaily+":")
	at := strings.LastIndexByte(rows, '@')
	if !found || at < 1 {
		return "", "", false
	}
	return rows[:at], rows[at+1:], true
}

// Label names the rows of one label, of a version.
func Label(name, version string) Name { return Name{Labels, name + "@" + version} }

// TargetsOf names the targets of a strategy, of a version.
func TargetsOf(strategyID, version string) Name { return Name{Targets, strategyID + "@" + version} }

// TargetSetsOf names the decisions of a strategy, of a version.
func TargetSetsOf(strategyID, version string) Name {
	return Name{TargetSets, strategyID + "@" + version}
}

// PredictionsOf names the predictions of a model for a task.
func PredictionsOf(modelID, taskID string) Name { return Name{Predictions, modelID + "/" + taskID} }

// PricesOn names the prices as they are read on a basis.
func PricesOn(basis string) Name { return Name{OHLCV, basis} }

// Without returns a text without the names in it that have a version, which is
// to say a colon and an @. What merely looks like one is left in: labels:x@host is a
// user, a password and a host, and so is a version that is no number (see numbered),
// but one of features that known says is one, or with a _, which no host has; known may
// be nil. The time it takes is linear in the length of the text.
func Without(text string, known func(version string) bool) string {
	if !strings.Contains(text, "@") {
		return text
	}
	var out strings.Builder
	written := 0
	for i := 0; i < len(text); {
		n := versioned(text, i, known)
		if n == 0 {
			i++
			continue
		}
		out.WriteString(text[written:i])
		i += n
		written = i
	}
	out.WriteString(text[written:])
	return out.String()
}

// versioned is the length of the name with a version that begins at text[i], 0
// if none does.
func versioned(text string, i int, known func(version string) bool) int {
	if i > 0 && strings.IndexByte(" \t\r\n\"'`=(,;[{|", text[i-1]) < 0 {
		return 0
	}
	for _, table := range [...]string{FeaturesDaily, Labels, Targets, TargetSets} {
		rest, found := strings.CutPrefix(text[i:], table+":")
		if !found {
			continue
		}
		name := span(rest, maxName, "_.#-*") // a known secret in it is masked by then: ***
		if name == 0 || name > maxName || name == len(rest) || rest[name] != '@' {
			return 0
		}
		rest = rest[name+1:]
		version := numbered(rest)
		if table == FeaturesDaily && (version == 0 || !ends(rest[version:])) {
			version = named(rest, known)
		}
		if version == 0 || version > maxFeatureVersion || table != FeaturesDaily && version > maxVersion || !ends(rest[version:]) {
			return 0
		}
		return len(table) + 1 + name + 1 + version
	}
	return 0
}

// numbered is the length of the version that s begins with, if it is one that no
// host is called: 1, v2, 1.0 or 1.0.0, the last also with a suffix (1.0.0-rc.1). 0:
// it begins with none.
func numbered(s string) int {
	n, parts := 0, 0
	if n < len(s) && s[n] == 'v' {
		n++
	}
	for parts < 3 {
		digits := n
		for digits < len(s) && s[digits] >= '0' && s[digits] <= '9' {
			digits++
		}
		if digits == n {
			return 0
		}
		n, parts = digits, parts+1
		if parts == 3 || n == len(s) || s[n] != '.' {
			break
		}
		n++
	}
	if parts == 3 && n < len(s) && (s[n] == '-' || s[n] == '+') {
		n += span(s[n:], maxVersion, ".+-")
	}
	return n
}

// named is the length of the version of features that s begins with, where it is a
// word that is known, or has a _. 0: it begins with none.
func named(s string, known func(version string) bool) int {
	n := span(s, maxFeatureVersion, "_")
	if n == 0 || n > maxFeatureVersion || !strings.Contains(s[:n], "_") && (known == nil || !known(s[:n])) {
		return 0
	}
	return n
}

// The longest parts of a name, in bytes: those of strategies, which are the
// longest.
const (
	maxName    = 64
	maxVersion = 32

	maxFeatureVersion = 63
)

// span is the length of the letters, digits and others at the beginning of s,
// and one more than most if there are more.
func span(s string, most int, others string) int {
	n := 0
	for n < len(s) && n <= most && (s[n] >= 'a' && s[n] <= 'z' || s[n] >= 'A' && s[n] <= 'Z' || s[n] >= '0' && s[n] <= '9' || strings.IndexByte(others, s[n]) >= 0) {
		n++
	}
	return n
}

// ends reports whether a name may end before the text: at a space, a closing
// bracket or quote, a comma or semicolon, or a colon with a space behind it.
func ends(rest string) bool {
	if rest == "" || strings.IndexByte(" \t\r\n\"'`,;)]}|", rest[0]) >= 0 {
		return true
	}
	return rest[0] == ':' && (len(rest) == 1 || strings.IndexByte(" \t\r\n", rest[1]) >= 0)
}
