package pipeline

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"quant"
	"quant/internal/metastore"
)

// Comparison holds what a run recorded of one of its inputs or outputs against
// what the repetition of the run recorded.
type Comparison struct {
	Stage     string          `json:"stage"`     // kind of the run
	Direction quant.Direction `json:"direction"` // in or out
	Object    string          `json:"object"`
	Recorded  quant.Text      `json:"recorded"` // digest
	Now       quant.Text      `json:"now"`      // digest; null: not there
	Same      bool            `json:"same"`
}

// Compare holds the digests that two runs of one kind recorded against each
// other: tables, files and models; inputs first. What has no digest cannot be
// told apart and is left out, and so is an input that only the repetition has.
// outputs reports whether at least one output was compared: without one,
// nothing was shown.
func Compare(kind string, recorded, now []quant.RunIO) (list []Comparison, outputs bool) {
	key := func(io quant.RunIO) string { return string(io.Direction) + "\x00" + io.Kind + "\x00" + io.Name }
	have := map[string]quant.RunIO{}
	for _, io := range now {
		have[key(io)] = io
	}
	for _, io := range recorded {
		if io.Digest == "" || io.Kind == stageKind || io.Kind == stateKind {
			continue
		}
		if Stage(kind) == pipelineRun && io.Direction == quant.Out {
			continue // its plan, which says what could be skipped in that lab
		}
		other := have[key(io)].Digest
		list = append(list, Comparison{
			Stage: kind, Direction: io.Direction, Object: io.Kind + " " + io.Name,
			Recorded: io.Digest, Now: other, Same: other == io.Digest,
		})
		outputs = outputs || io.Direction == quant.Out
	}
	slices.SortStableFunc(list, func(a, b Comparison) int {
		return cmp.Or(cmp.Compare(a.Direction, b.Direction), cmp.Compare(a.Object, b.Object))
	})
	return list, outputs
}

// Replay returns the command line that runs a run's command again elsewhere:
// what was recorded, without the flags that say where the lab is and how to
// print. Refused: a part of it was masked, or it was not recorded, or the run
// is of a kind that is not repeated, or it did not succeed.
func Replay(run metastore.RunDetail) ([]string, error) {
	if run.Status != quant.Success {
		return nil, quant.Errorf(quant.Refused, "run %s ended as %s: only a SUCCESS has a result to reproduce", run.RunID, run.Status).
			WithHint("`quant runs show %s` says what happened", quant.ShortID(run.RunID))
	}
	switch Stage(run.Kind) {
	case StageFeatures, StageLabels, StageTrain, StageScore, StageRecommend, StageBacktest, pipelineRun:
	default:
		return nil, quant.Errorf(quant.Refused, "run %s is of the kind %s, which is not reproduced", run.RunID, run.Kind).
			WithHint("features, labels, train, score, recommend, backtest and pipeline.run are")
	}
	var argv []string
	if err := json.Unmarshal(run.Process.Argv, &argv); err != nil || len(argv) < 2 {
		return nil, quant.Errorf(quant.Refused, "run %s has no command line on record", run.RunID)
	}
	for _, arg := range argv {
		if strings.Contains(arg, "***") {
			return nil, quant.Errorf(quant.Refused, "run %s cannot be run again: a secret in its command line was masked (%s)", run.RunID, arg).
				WithHint("give secrets in the environment or in .env, never on the command line")
		}
	}
	return withoutGlobals(argv[1:]), nil
}

// Again returns the command line that runs a pipeline with these arguments,
// every stage of it, whatever stands already.
func (a Arguments) Again() []string {
	args := []string{"pipeline", "run", "--force", "--strategy", a.Strategy, "--from", a.From, "--to", a.To, "--stages", strings.ReplaceAll(names(a.Stages), " ", "")}
	for _, file := range a.Ingest {
		args = append(args, "--ingest", file)
	}
	for _, set := range a.Set {
		args = append(args, "--set", set)
	}
	if len(a.Symbols) > 0 {
		args = append(args, "--symbols", strings.Join(a.Symbols, ","))
	}
	if a.AcceptRaw {
		args = append(args, "--accept-raw")
	}
	if a.Lag != nil {
		args = append(args, "--lag", strconv.Itoa(*a.Lag))
	}
	return args
}

// pipelineRun is the kind of a pipeline's run.
const pipelineRun Stage = "pipeline.run"

// withoutGlobals takes the flags away that a repetition sets itself.
func withoutGlobals(args []string) []string {
	var out []string
	for i := 0; i < len(args); i++ {
		if args[i] == "--" {
			return append(out, args[i:]...)
		}
		name, _, joined := strings.Cut(args[i], "=")
		switch name {
		case "--data-dir", "--sqlite", "--duckdb", "--output", "--log-level", "--wait":
			if !joined {
				i++
			}
		case "--quiet", "-q", "--no-color":
		default:
			out = append(out, args[i])
		}
	}
	return out
}
