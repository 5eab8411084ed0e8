// Package model trains linear models on features and labels, judges them by a
// purged and embargoed walk-forward (Lopez de Prado, Advances in Financial
// Machine Learning, ch. 7), and scores days that a model has not seen. It keeps
// the rule that no figure and no prediction of the lab comes from a model that
// was trained on what it is asked about. It computes no feature and no label
// (it reads features_daily and labels), and knows neither experiments nor the
// Meta DB: the caller keeps what it returns.
package model

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"quant"
)

// Algo is a kind of model.
type Algo string

// The algorithms. Ridge predicts a return (labels fwd_ret_<h>d), Logistic the
// probability that a direction is 1 (labels direction_<h>d).
const (
	Ridge    Algo = "ridge"
	Logistic Algo = "logistic"
	// ByProgram is a program of the user's, which predicts either: a return, or for a
	// direction its probability.
	ByProgram Algo = "program"
)

// ParseAlgo reads the name of an algorithm; Usage for another one.
func ParseAlgo(s string) (Algo, error) {
	if a := Algo(s); a == Ridge || a == Logistic || a == ByProgram {
		return a, nil
	}
	return "", quant.Errorf(quant.Usage, "algorithm %q is not known", s).WithHint("use ridge or logistic, or program for one of your own")
}

// Feature is a feature of a version, written ret_20d@v1.
type Feature struct {
	Name    string
	Version string
}

// String returns name@version.
func (f Feature) String() string { return f.Name + "@" + f.Version }

// MarshalText writes name@version.
func (f Feature) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText reads name@version.
func (f *Feature) UnmarshalText(b []byte) error {
	parsed, err := ParseFeature(string(b))
	*f = parsed
	return err
}

// maxFeatures bounds the width of a model: its normal equations are its square.
const maxFeatures = 200

// ParseFeature reads name@version; Usage for anything else.
func ParseFeature(s string) (Feature, error) {
	name, version, err := parseRef("feature", s)
	return Feature{name, version}, err
}

// ParseFeatures reads a comma list of features; Usage for an empty list, one
// that is too long, or one that names a feature twice.
func ParseFeatures(s string) ([]Feature, error) {
	if strings.TrimSpace(s) == "" {
		return nil, quant.Errorf(quant.Usage, "no features are named").WithHint("name them: ret_20d@v1,vol_20d@v1")
	}
	var list []Feature
	for part := range strings.SplitSeq(s, ",") {
		f, err := ParseFeature(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		if slices.Contains(list, f) {
			return nil, quant.Errorf(quant.Usage, "feature %s is named twice", f).WithHint("leave one of them out")
		}
		if list = append(list, f); len(list) > maxFeatures {
			return nil, quant.Errorf(quant.Usage, "more than %d features", maxFeatures).WithHint("choose fewer")
		}
	}
	return list, nil
}

// Label is a label of a version, written fwd_ret_60d@v1. The one at session t
// is known at the close of session t + Horizon, its end t1.
type Label struct {
	Name      string
	Version   string
	Horizon   int  // sessions, at least 1
	Direction bool // 0 or 1, not a return
}

// String returns name@version.
func (l Label) String() string {
	if l.Name == "" {
		return "" // of a model that was not trained here
	}
	return l.Name + "@" + l.Version
}

// MarshalText writes name@version.
func (l Label) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads name@version.
func (l *Label) UnmarshalText(b []byte) error {
	parsed, err := ParseLabel(string(b))
	*l = parsed
	return err
}

// maxHorizon bounds the horizon of a label, in sessions: some 40 years.
const maxHorizon = 10_000

// ParseLabel reads fwd_ret_<h>d@version or direction_<h>d@version; Usage for
// anything else, because the horizon is what keeps training from the future.
func ParseLabel(s string) (Label, error) {
	name, version, err := parseRef("label", s)
	if err != nil {
		return Label{}, err
	}
	l := Label{Name: name, Version: version}
	rest, isReturn := strings.CutPrefix(name, "fwd_ret_")
	if !isReturn {
		rest, l.Direction = strings.CutPrefix(name, "direction_")
	}
	digits, isDays := strings.CutSuffix(rest, "d")
	l.Horizon, err = strconv.Atoi(digits)
	if !isReturn && !l.Direction || !isDays || err != nil || l.Horizon < 1 || l.Horizon > maxHorizon || strconv.Itoa(l.Horizon) != digits {
		return Label{}, quant.Errorf(quant.Usage, "label %q has no horizon that can be read", s).WithHint("use fwd_ret_60d@v1 or direction_60d@v1, 1 to %d sessions", maxHorizon)
	}
	return l, nil
}

func parseRef(noun, s string) (name, version string, err error) {
	name, version, _ = strings.Cut(s, "@")
	if !isName(name) || !isName(version) {
		return "", "", quant.Errorf(quant.Usage, "%s %q is not of the form name@version", noun, s).
			WithHint("letters, digits and _, such as ret_20d@v1")
	}
	return name, version, nil
}

// isName reports whether s can name a feature, a label or a version.
func isName(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i, r := range s {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' // as Qlib's KMID
		if !letter && (i == 0 || r != '_' && (r < '0' || r > '9')) {
			return false
		}
	}
	return true
}

// Join writes a list of features as ParseFeatures reads it.
func Join(list []Feature) string {
	parts := make([]string, len(list))
	for i, f := range list {
		parts[i] = f.String()
	}
	return strings.Join(parts, ",")
}

// shownFeatures is how many features of a version InWords names one by one.
const shownFeatures = 8

// InWords is a list for a person: Join, or of a version with many features how many they
// are.
func InWords(list []Feature) string {
	of := map[string]int{}
	for _, f := range list {
		of[f.Version]++
	}
	if !slices.ContainsFunc(list, func(f Feature) bool { return of[f.Version] > shownFeatures }) {
		return Join(list)
	}
	var parts []string
	for _, f := range list {
		switch n := of[f.Version]; {
		case n > shownFeatures:
			parts, of[f.Version] = append(parts, fmt.Sprintf("%d features of %s", n, f.Version)), -1
		case n >= 0:
			parts = append(parts, f.String())
		}
	}
	return strings.Join(parts, ", ")
}

// Spec is what a model is trained from, and how: with the data it determines
// the model, to the byte.
type Spec struct {
	ExperimentID string // part of the model's identity; may be ""
	Algo         Algo
	Features     []Feature // in the order of the coefficients
	Label        Label
	Policy       Policy
	Alphas       []float64 // penalties to choose from, ascending, each > 0
	Seed         int64     // kept with the model; the linear algorithms draw no number
	Program      *Program  // of ByProgram: what it is; nil otherwise
}

// DefaultAlphas are the penalties that are tried where none are named: far
// apart, because samples overlap, and so weigh less than their number says.
func DefaultAlphas() []float64 { return []float64{1, 100, 1e4, 1e6} }

// Validate reports the first rule that the spec breaks, as Usage.
func (s Spec) Validate() error {
	if _, err := ParseAlgo(string(s.Algo)); err != nil {
		return err
	}
	if len(s.Features) == 0 {
		return quant.Errorf(quant.Usage, "no features are named").WithHint("name them: ret_20d@v1,vol_20d@v1")
	}
	if s.Algo == Ridge && s.Label.Direction {
		return quant.Errorf(quant.Usage, "ridge predicts a return; %s is a direction", s.Label).WithHint("use --algo logistic, or a label such as fwd_ret_%dd", s.Label.Horizon)
	}
	if s.Algo == Logistic && !s.Label.Direction {
		return quant.Errorf(quant.Usage, "logistic predicts a direction; %s is a return", s.Label).WithHint("use --algo ridge, or a label such as direction_%dd", s.Label.Horizon)
	}
	if s.Algo == ByProgram {
		if err := s.Program.validate(); err != nil {
			return err
		}
		return s.Policy.Validate(s.Label)
	}
	if len(s.Alphas) == 0 {
		return quant.Errorf(quant.Usage, "no alpha is named").WithHint("such as alpha=1,10,100")
	}
	for i, a := range s.Alphas {
		if !(a > 0 && a <= 1e15) {
			return quant.Errorf(quant.Usage, "alpha %v is not a positive number", a).WithHint("such as alpha=1,10,100")
		}
		if i > 0 && a <= s.Alphas[i-1] {
			return quant.Errorf(quant.Usage, "alpha %v does not ascend", a).WithHint("name each penalty once, the smallest first")
		}
	}
	return s.Policy.Validate(s.Label)
}

// The tasks of predictions: which model of a file made one, and so whether it
// is out of sample.
const (
	// TaskWalkForward stands for the tasks wf:1, wf:2, ..., one a fold, and
	// final after them.
	TaskWalkForward = "wf"
	// TaskFinal: by the final model, on a day after all its labels had ended.
	TaskFinal = "final"
	// TaskInSample: by the final model, on a day that it, or its future, was
	// trained on. Worth nothing as evidence.
	TaskInSample = "in_sample"
)

// combinationTask names a fold of Combinatorial, counted from 1. No prediction is
// stored under it: such a fold learned from what came after its test.
func combinationTask(fold int) string { return "cpcv:" + strconv.Itoa(fold) }

// FoldTask is the task of a fold's model, counted from 1: wf:<fold>.
func FoldTask(fold int) string { return TaskWalkForward + ":" + strconv.Itoa(fold) }

// InSample reports whether predictions of the task are in-sample. The task
// alone tells: Score gives no other task to a day that a model was trained on.
func InSample(taskID string) bool { return taskID == TaskInSample }
