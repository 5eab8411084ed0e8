// Package pipeline composes the production modules into the chain that the lab
// exists for: its stages, which of them a strategy needs and with which options,
// which may be skipped because nothing that they depend on has changed, what a
// result came from, and whether it can be reproduced. It works in a session, which
// records the runs and says what there is to say; it prints nothing.
package pipeline

import (
	"slices"
	"strings"

	"quant"
	"quant/internal/factstore"
)

// Stage is one step of the chain. It is run as the command of the same name,
// which is also the kind of its run.
type Stage string

// The stages.
const (
	StageIngest    Stage = "ingest"
	StageFeatures  Stage = "features"
	StageLabels    Stage = "labels"
	StageTrain     Stage = "train"
	StageScore     Stage = "score"
	StageRecommend Stage = "recommend"
	StageBacktest  Stage = "backtest"
)

// Stages returns all stages in the order in which they run.
func Stages() []Stage {
	return []Stage{StageIngest, StageFeatures, StageLabels, StageTrain, StageScore, StageRecommend, StageBacktest}
}

// Writes returns the tables of the Fact DB that the stage writes, in name
// order. What is not known of any stage counts as an input of all: a table
// without a kind costs a run that changes nothing, never a wrong fact.
func (s Stage) Writes() []string { return factstore.TablesOf(string(s)) }

// reads reports whether the state of a table may decide what the stage
// computes: every table that neither it nor a later stage writes. The rows of
// some belong to their run, and companions change with the facts that they
// speak of: these decide nothing.
func (s Stage) reads(table string) bool {
	if t, known := factstore.LookupTable(table); known && (t.PerRun || t.Bookkeeping && t.Kind == "") {
		return false
	}
	for _, at := range Stages()[slices.Index(Stages(), s):] {
		if slices.Contains(at.Writes(), table) {
			return false
		}
	}
	return true
}

// ParseStages reads a comma list of stages; "" is all of them. The order of
// the list does not matter: the chain has one.
func ParseStages(list string) ([]Stage, error) {
	if list == "" {
		return Stages(), nil
	}
	chosen := map[Stage]bool{}
	for name := range strings.SplitSeq(list, ",") {
		stage := Stage(strings.TrimSpace(name))
		if !slices.Contains(Stages(), stage) {
			return nil, quant.Errorf(quant.Usage, "stage %q is not known", name).WithHint("the stages are %s", names(Stages()))
		}
		chosen[stage] = true
	}
	var out []Stage
	for _, s := range Stages() {
		if chosen[s] {
			out = append(out, s)
		}
	}
	return out, nil
}

func names(stages []Stage) string {
	var list []string
	for _, s := range stages {
		list = append(list, string(s))
	}
	return strings.Join(list, ", ")
}
