package pipeline

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"quant"
	"quant/internal/feature"
	"quant/internal/model"
	"quant/internal/parquet"
)

// Strategy is what the chain must know of a strategy file.
type Strategy struct {
	Path       string `json:"path"`
	Digest     string `json:"digest"` // sha256:<hex> of the file's bytes
	StrategyID string `json:"strategy_id"`
	Version    string `json:"version"`
}

// Signal is where the strategy's scores come from.
type Signal struct {
	Combines       bool   // what other strategies decided: nothing is computed for it
	FeatureVersion string // of the features that are ranked, or that the model reads
	// ModelID is an explicit model to score with; Training trains one first.
	// Both empty: a feature is ranked, nothing is trained or scored.
	ModelID  string
	Training *Training
	// Imported features, or predictions, came from a file: no stage makes them.
	ImportedFeatures, ImportedPredictions bool
}

// Training is the experiment that a strategy's model comes from.
type Training struct {
	Experiment   string
	LabelVersion string
	Horizon      int // sessions
}

// Arguments are those of the command line, as they decide what the stages do.
// Together with the strategy file they are all that a pipeline is asked for.
type Arguments struct {
	Strategy  string   `json:"strategy"` // path of the file
	From      string   `json:"from"`     // YYYY-MM-DD
	To        string   `json:"to"`
	Ingest    []string `json:"ingest"` // files
	Provider  string   `json:"provider"`
	Features  string   `json:"features,omitempty"` // file that defines the version of features that the strategy reads
	Stages    []Stage  `json:"stages"`
	Symbols   []string `json:"symbols"` // empty: the strategy's universe
	Set       []string `json:"set"`     // KEY=VALUE, over the strategy file
	AcceptRaw bool     `json:"accept_raw"`
	Lag       *int     `json:"lag"` // null: the strategy's
	// Trainer trains the strategy's model; nil: the experiment's own algorithm.
	Trainer *Trainer `json:"trainer,omitempty"`
}

// Trainer is a program that trains in a pipeline, as TrainOptions have it.
type Trainer struct {
	Program   []string         `json:"program"` // the command line
	Params    []string         `json:"params"`  // K=V
	Format    parquet.Format   `json:"format"`
	Proof     model.ProofScope `json:"proof"`
	TimeoutUS int64            `json:"timeout_us"` // of one call of it; 0: none
}

func (t Trainer) timeout() time.Duration { return time.Duration(t.TimeoutUS) * time.Microsecond }

// check reports, as Usage, a trainer that has nothing to train.
func (t *Trainer) check(signal Signal, stages []Stage) error {
	switch {
	case t == nil:
		return nil
	case len(t.Program) == 0:
		return quant.Errorf(quant.Usage, "no program is named for the flags of one").WithHint("name it behind --: quant pipeline run --strategy FILE -- python train.py")
	case signal.Training == nil:
		return quant.Errorf(quant.Usage, "the strategy trains no model, and a program that trains is named behind --").WithHint("leave it out, or name the model as signal.inputs.model_id: %sID", experimentRef)
	case !slices.Contains(stages, StageTrain):
		return quant.Errorf(quant.Usage, "train is not among --stages, and a program that trains is named behind --").WithHint("leave the program out, or add train to --stages")
	}
	_, err := programParams(t.Params)
	return err
}

// Action is what becomes of a stage.
type Action string

// The actions of a plan.
const (
	ActionRun  Action = "run"
	ActionSkip Action = "skip"
)

// Step is one stage of a plan.
type Step struct {
	Stage Stage `json:"stage"`
	// Call is what the stage is asked for; nil: it is left out, whatever stands, or
	// the plan was read from a document, which holds Arguments to make a plan of.
	Call   Call       `json:"-"`
	Args   []string   `json:"args"`   // the command line of Call; the id of a model that is still to be trained is MODEL
	Action Action     `json:"action"` // run, or skip
	Reason string     `json:"reason"` // why
	Since  quant.Text `json:"since"`  // the run whose results stand, if it is skipped because of them
}

// UntrainedModel stands in a plan for the model that train will make.
const UntrainedModel = "MODEL"

// Plan is what a pipeline is going to do. It holds no time, no run id but those
// of runs whose results stand, and no path but those that were given: the same
// request on the same lab is the same plan, byte for byte.
type Plan struct {
	PlanVersion   int       `json:"plan_version"`
	Strategy      Strategy  `json:"strategy"`
	Universe      []string  `json:"universe"`
	From          string    `json:"from"`
	To            string    `json:"to"`
	Calendar      string    `json:"calendar"`
	RebalanceDays int       `json:"rebalance_days"`
	Force         bool      `json:"force"`
	Arguments     Arguments `json:"arguments"`
	Stages        []Step    `json:"stages"`
}

// PlanVersion is the version of the form of Plan.
const PlanVersion = 1

// planRequest is what a plan is made of.
type planRequest struct {
	Arguments     Arguments
	From, To      quant.Date // those of Arguments
	Strategy      Strategy
	Signal        Signal
	Universe      []string // resolved, in byte order
	Everything    bool     // the universe is every active symbol, also one that ingest will add
	Calendar      string
	RebalanceDays int
	Force         bool
}

// newPlan decides which stages the strategy needs and what their command lines
// are. Every stage is in the plan, also one that is left out. It reads nothing: the
// chain then judges which of the stages that are to run may be skipped.
func newPlan(r planRequest) Plan {
	a := r.Arguments
	p := Plan{
		PlanVersion: PlanVersion, Strategy: r.Strategy, Universe: nonNil(r.Universe), From: a.From, To: a.To,
		Calendar: r.Calendar, RebalanceDays: r.RebalanceDays, Force: r.Force,
	}
	a.Ingest, a.Symbols, a.Set, a.Stages = nonNil(a.Ingest), nonNil(a.Symbols), nonNil(a.Set), nonNil(a.Stages)
	p.Arguments = a

	symbols := r.Universe
	switch {
	case len(a.Symbols) > 0:
		symbols = a.Symbols
	case r.Everything:
		symbols = nil
	}
	for _, stage := range Stages() {
		step := Step{Stage: stage, Action: ActionRun, Reason: "asked for", Args: []string{}}
		switch {
		case !slices.Contains(a.Stages, stage):
			step.leave("not among --stages")
		case stage == StageIngest && len(a.Ingest) == 0 && a.Provider == "":
			step.leave("no files and no provider")
		case stage == StageFeatures && r.Signal.ImportedFeatures:
			step.leave("the features were imported")
		case stage == StageFeatures && r.Signal.ImportedPredictions:
			step.leave("the predictions were imported, and read no features")
		case stage == StageScore && r.Signal.ImportedPredictions:
			step.leave("the predictions were imported")
		case r.Signal.Combines && slices.Contains([]Stage{StageFeatures, StageLabels}, stage):
			step.leave("the strategy combines what others decided")
		case stage == StageTrain && r.Signal.Training == nil && r.Signal.ModelID == "":
			step.leave("the strategy needs no model")
		case stage == StageTrain && r.Signal.Training == nil:
			step.leave("the strategy names a trained model")
		case stage == StageScore && r.Signal.Training == nil && r.Signal.ModelID == "":
			step.leave("the strategy needs no model")
		default:
			step.Call = r.call(stage, symbols)
			step.Args = step.Call.Command().Args
		}
		p.Stages = append(p.Stages, step)
	}
	return p
}

func (s *Step) leave(reason string) { s.Action, s.Reason = ActionSkip, reason }

// call is what a stage is asked for.
func (r planRequest) call(stage Stage, symbols []string) Call {
	a := r.Arguments
	sets := a.Set
	if r.Signal.Training != nil {
		sets = append(slices.Clone(sets), setModel+UntrainedModel)
	}
	switch stage {
	case StageIngest:
		if a.Provider != "" {
			o := DefaultFetch(a.Provider)
			o.Symbols = symbols
			return o
		}
		return IngestOptions{Files: a.Ingest, Gate: Gate{MaxRejectRatio: DefaultMaxRejectRatio}}
	case StageFeatures:
		o := FeaturesOptions{Version: r.Signal.FeatureVersion, File: a.Features, Symbols: symbols, AcceptRaw: a.AcceptRaw}
		if o.File != "" {
			o.Version = ""
		}
		return o
	case StageLabels:
		o := LabelsOptions{Version: feature.LabelVersion, Horizon: 60, Symbols: symbols, AcceptRaw: a.AcceptRaw}
		if t := r.Signal.Training; t != nil {
			o.Version, o.Horizon = t.LabelVersion, t.Horizon
		}
		return o
	case StageTrain:
		o := TrainOptions{Experiment: r.Signal.Training.Experiment}
		if t := a.Trainer; t != nil {
			o.Program, o.Params, o.Format, o.Proof, o.Timeout = t.Program, t.Params, t.Format, t.Proof, t.timeout()
		}
		return o
	case StageScore:
		o := ScoreOptions{Model: cmp.Or(r.Signal.ModelID, UntrainedModel), From: r.From, To: r.To, InSample: model.SkipInSample}
		if a.Trainer != nil {
			o.Timeout = a.Trainer.timeout()
		}
		return o
	case StageRecommend:
		return RecommendOptions{Strategy: a.Strategy, Set: sets, From: &r.From, To: &r.To, AcceptRaw: a.AcceptRaw}
	case StageBacktest:
		return BacktestOptions{Strategy: a.Strategy, Set: sets, From: &r.From, To: &r.To, Lag: a.Lag, AcceptRaw: a.AcceptRaw}
	}
	panic(fmt.Sprintf("pipeline: the stage %q is not known", stage))
}

// setModel gives a strategy of an experiment the model that was trained.
const setModel = "signal.inputs.model_id="

// WithModel is what the step asks for with the model that was trained; as it is
// for "".
func (s Step) WithModel(modelID string) Call {
	if modelID == "" {
		return s.Call
	}
	trained := func(sets []string) []string {
		sets = slices.Clone(sets)
		for i, set := range sets {
			if set == setModel+UntrainedModel {
				sets[i] = setModel + modelID
			}
		}
		return sets
	}
	switch o := s.Call.(type) {
	case ScoreOptions:
		if o.Model == UntrainedModel {
			o.Model = modelID
		}
		return o
	case RecommendOptions:
		o.Set = trained(o.Set)
		return o
	case BacktestOptions:
		o.Set = trained(o.Set)
		return o
	}
	return s.Call
}

// Step returns the plan's step of a stage.
func (p *Plan) Step(stage Stage) *Step {
	i := slices.IndexFunc(p.Stages, func(s Step) bool { return s.Stage == stage })
	return &p.Stages[i]
}

// JSON returns the plan on one line, without a line feed.
func (p Plan) JSON() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(p); err != nil {
		return nil, quant.Errorf(quant.Failed, "encode the plan: %w", err)
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// ParsePlan reads a plan as JSON wrote it. Invalid: it is none, or one of a
// later version.
func ParsePlan(doc []byte) (Plan, error) {
	var p Plan
	dec := json.NewDecoder(bytes.NewReader(doc))
	if err := dec.Decode(&p); err != nil {
		return Plan{}, quant.Errorf(quant.Invalid, "the plan cannot be read: %w", err)
	}
	if p.PlanVersion != PlanVersion {
		return Plan{}, quant.Errorf(quant.Invalid, "the plan has version %d, and this program reads %d", p.PlanVersion, PlanVersion)
	}
	for _, s := range p.Arguments.Stages {
		if !slices.Contains(Stages(), s) {
			return Plan{}, quant.Errorf(quant.Invalid, "the plan names the stage %q, which is not known", s)
		}
	}
	for _, day := range []string{p.Arguments.From, p.Arguments.To} {
		if _, err := quant.ParseDate(day); err != nil {
			return Plan{}, quant.Errorf(quant.Invalid, "the plan has a bad date: %w", err)
		}
	}
	return p, nil
}

func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// Unchanged is the reason of a step that is skipped because its results stand.
func Unchanged(runID string) string {
	return fmt.Sprintf("unchanged since run %s", quant.ShortID(runID))
}
