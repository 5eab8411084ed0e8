package pipeline

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"

	"quant"
	"quant/internal/backtest"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/metastore"
	"quant/internal/session"
	"quant/internal/strategy"
)

// ReadStrategyFile reads the bytes of a strategy file, which must be a regular
// file: a pipe could keep quant waiting for as long as nobody writes to it.
// NotFound, Failed or Invalid.
func ReadStrategyFile(path string) ([]byte, error) {
	return readDefinition("strategy", path, strategy.MaxBytes)
}

// readDefinition reads a YAML file up to a few bytes more than most: one that is longer
// is refused by who parses it.
func readDefinition(what, path string, most int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, quant.Errorf(quant.NotFound, "%s file %s does not exist", what, path).WithHint("check the path")
	}
	if err != nil {
		return nil, quant.Errorf(quant.Failed, "read the %s: %w", what, err).WithHint("make the file readable")
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, quant.Errorf(quant.Invalid, "%s %s is not a regular file", what, path).WithHint("name a YAML file")
	}
	data, err := io.ReadAll(io.LimitReader(f, most+8))
	if err != nil {
		return nil, quant.Errorf(quant.Failed, "read the %s: %w", what, err).WithHint("make the file readable")
	}
	return data, nil
}

// OpenStrategy reads a strategy file with its overrides (KEY=VALUE), records the
// file as an input, and fills its universe, see filled. Errors also: those of
// ReadStrategyFile and strategy.Parse; NotFound: the lab has no such list of members.
func OpenStrategy(ctx context.Context, s *session.Session, path string, sets []string) (strategy.Strategy, error) {
	data, err := ReadStrategyFile(path)
	if err != nil {
		return strategy.Strategy{}, err
	}
	s.Record(quant.RunIO{Direction: quant.In, Kind: quant.IOFile, Name: path, Digest: quant.Text(durable.Digest(data))})
	of, err := strategy.Parse(path, data, sets)
	if err != nil {
		return of, err
	}
	return filled(ctx, s, of)
}

// strategyOfModel is OpenStrategy for what decides: a model that the file calls
// experiment:ID is named by its id, so that decisions, their digest and predictions
// speak of one model.
func strategyOfModel(ctx context.Context, s *session.Session, path string, sets []string) (strategy.Strategy, error) {
	of, err := OpenStrategy(ctx, s, path, sets)
	if err != nil || !isAlias(of.Signal.Inputs.ModelID) {
		return of, err
	}
	m, err := ResolveModel(ctx, s, of.Signal.Inputs.ModelID)
	if err != nil {
		return of, err
	}
	s.Say().Notice("%s is %s", of.Signal.Inputs.ModelID, m.ModelID)
	of.Signal.Inputs.ModelID = m.ModelID
	return of, nil
}

// deciders are the models of the lab by DecisionDigest of the strategy with each:
// they tell which model a decision was made with that differs in nothing else.
// Empty for a strategy that ranks by a feature.
func deciders(ctx context.Context, s *session.Session, of strategy.Strategy) (map[string]string, error) {
	models := map[string]string{}
	if of.Signal.Type != strategy.ModelScore {
		return models, nil
	}
	meta, err := s.MetaDB()
	if err != nil {
		return nil, err
	}
	list, err := meta.ListModels(ctx, metastore.ModelFilter{})
	for _, m := range list {
		of.Signal.Inputs.ModelID = m.ModelID
		models[of.DecisionDigest()] = m.ModelID
	}
	return models, err
}

// modelThatDecided is the model that an alias is taken for where decisions are
// replayed: the one of the experiment that made them all, though another was
// trained since; the one trained last where there is no such one. Where the alias
// means another model now, that is said.
func modelThatDecided(ctx context.Context, s *session.Session, db *factstore.DB, of strategy.Strategy, models map[string]string) (string, error) {
	alias := of.Signal.Inputs.ModelID
	newest, err := ResolveModel(ctx, s, alias)
	if err != nil {
		return "", err
	}
	configs, err := backtest.DecidedBy(ctx, db, of.ID, of.Version, *of.Backtest.From, *of.Backtest.To)
	if err != nil {
		return "", err
	}
	if len(configs) == 1 && models[configs[0]] != "" && models[configs[0]] != newest.ModelID {
		decided, err := s.Meta.GetModel(ctx, models[configs[0]])
		if err != nil {
			return "", err
		}
		if decided.ExperimentID == newest.ExperimentID {
			s.Say().Notice("%s was %s when it decided, and is %s now: what %s decided is replayed; `quant recommend` decides with %s",
				alias, decided.ModelID, newest.ModelID, decided.ModelID, newest.ModelID)
			return decided.ModelID, nil
		}
	}
	s.Say().Notice("%s is %s", alias, newest.ModelID)
	return newest.ModelID, nil
}

// StrategyCheck is what is wrong with one strategy file.
type StrategyCheck struct {
	File       string            `json:"file"`
	Valid      bool              `json:"valid"`
	StrategyID quant.Text        `json:"strategy_id"`
	Version    quant.Text        `json:"version"`
	Digest     quant.Text        `json:"digest"`
	Problems   strategy.Problems `json:"problems"`
	Notices    []string          `json:"notices"`
}

// CheckStrategy checks the text of a strategy file, which is called name, with
// its overrides. invalid is why it is not valid, with all its problems. Where the signal
// is of a set that is not built in, the lab is asked for it, if it can be.
func CheckStrategy(ctx context.Context, s *session.Session, name string, data []byte, sets []string) (check StrategyCheck, invalid error) {
	check = StrategyCheck{File: name, Problems: strategy.Problems{}, Notices: []string{}}
	of, err := strategy.Parse(name, data, sets)
	if err != nil {
		check.Problems, _ = errors.AsType[strategy.Problems](err)
		return check, err
	}
	check.Valid, check.StrategyID, check.Version, check.Digest = true, quant.Text(of.ID), quant.Text(of.Version), quant.Text(of.Digest())
	check.Notices = append(check.Notices, of.Notices()...)
	own, err := setsFor(ctx, s, of.Signal.Inputs.FeatureVersion)
	if err != nil {
		check.Notices = append(check.Notices, "whether its feature is scale-free is not known: "+err.Error())
	}
	if err := of.CheckScale(priceLevels(own)); err != nil {
		check.Notices = append(check.Notices, err.Error()+": recommend refuses it; "+quant.HintOf(err))
	}
	return check, nil
}
