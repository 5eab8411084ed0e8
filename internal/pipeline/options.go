package pipeline

import (
	"strconv"
	"strings"

	"quant/internal/session"
)

// IngestOptions name the files to ingest.
type IngestOptions struct{ Files []string }

// FetchOptions name a provider and the symbols to ask it for; none: all active ones.
type FetchOptions struct {
	Provider string
	Symbols  []string
}

// FeaturesOptions say which features to compute of which symbols; nil: all.
type FeaturesOptions struct {
	Version   string
	Symbols   []string
	AcceptRaw bool
	Force     bool
}

// LabelsOptions say which labels to compute of which symbols; nil: all.
type LabelsOptions struct {
	Version   string
	Horizon   int
	Symbols   []string
	AcceptRaw bool
	Force     bool
}

// TrainOptions name the experiment whose model is trained.
type TrainOptions struct {
	Experiment string
	Algo       string   // "": the experiment's
	Params     []string // KEY=VALUE
}

// ScoreOptions say which model scores which days.
type ScoreOptions struct {
	Model         string
	From, To      string
	SkipInSample  bool
	AllowInSample bool
}

// RecommendOptions say which strategy decides on which days.
type RecommendOptions struct {
	Strategy  string // path of the file
	Sets      []string
	Asof      string
	From, To  string
	AcceptRaw bool
}

// BacktestOptions say which strategy is replayed between which days.
type BacktestOptions struct {
	Strategy      string // path of the file
	Sets          []string
	From, To      string
	Lag           *int
	AcceptRaw     bool
	AllowInSample bool
}

// line builds a command line.
type line []string

func (l *line) flag(name, value string) {
	if value != "" {
		*l = append(*l, "--"+name, value)
	}
}

func (l *line) each(name string, values []string) {
	for _, v := range values {
		l.flag(name, v)
	}
}

func (l *line) on(name string, set bool) {
	if set {
		*l = append(*l, "--"+name)
	}
}

// Command is how a run of it is recorded.
func (o IngestOptions) Command() session.Command {
	return session.Command{Kind: "ingest", Args: append([]string{"ingest", "--"}, o.Files...)}
}

// Command is how a run of it is recorded.
func (o FetchOptions) Command() session.Command {
	l := line{"ingest"}
	l.flag("provider", o.Provider)
	l.flag("symbols", strings.Join(o.Symbols, ","))
	return session.Command{Kind: "ingest", Args: l}
}

// Command is how a run of it is recorded.
func (o FeaturesOptions) Command() session.Command {
	l := line{"features"}
	l.flag("feature-version", o.Version)
	l.flag("symbols", strings.Join(o.Symbols, ","))
	l.on("accept-raw", o.AcceptRaw)
	l.on("force", o.Force)
	return session.Command{Kind: "features", Args: l}
}

// Command is how a run of it is recorded.
func (o LabelsOptions) Command() session.Command {
	l := line{"labels"}
	l.flag("label-version", o.Version)
	l.flag("horizon", strconv.Itoa(o.Horizon))
	l.flag("symbols", strings.Join(o.Symbols, ","))
	l.on("accept-raw", o.AcceptRaw)
	l.on("force", o.Force)
	return session.Command{Kind: "labels", Args: l}
}

// Command is how a run of it is recorded.
func (o TrainOptions) Command() session.Command {
	l := line{"train"}
	l.flag("experiment", o.Experiment)
	l.flag("algo", o.Algo)
	l.each("param", o.Params)
	return session.Command{Kind: "train", Args: l}
}

// Command is how a run of it is recorded.
func (o ScoreOptions) Command() session.Command {
	l := line{"score"}
	l.flag("model", o.Model)
	l.flag("from", o.From)
	l.flag("to", o.To)
	l.on("skip-in-sample", o.SkipInSample)
	l.on("allow-in-sample", o.AllowInSample)
	return session.Command{Kind: "score", Args: l}
}

// Command is how a run of it is recorded.
func (o RecommendOptions) Command() session.Command {
	l := line{"recommend"}
	l.flag("strategy", o.Strategy)
	l.flag("asof", o.Asof)
	l.flag("from", o.From)
	l.flag("to", o.To)
	l.each("set", o.Sets)
	l.on("accept-raw", o.AcceptRaw)
	return session.Command{Kind: "recommend", Args: l}
}

// Command is how a run of it is recorded.
func (o BacktestOptions) Command() session.Command {
	l := line{"backtest"}
	l.flag("strategy", o.Strategy)
	l.flag("from", o.From)
	l.flag("to", o.To)
	l.each("set", o.Sets)
	if o.Lag != nil {
		l.flag("lag", strconv.Itoa(*o.Lag))
	}
	l.on("accept-raw", o.AcceptRaw)
	l.on("allow-in-sample", o.AllowInSample)
	return session.Command{Kind: "backtest", Args: l}
}
