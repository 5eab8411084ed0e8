package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"

	"quant"
	"quant/internal/calendar"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/metastore"
	"quant/internal/session"
	"quant/internal/strategy"
)

const experimentRef = "experiment:"

func openCalendar(ctx context.Context, s *session.Session, db *factstore.DB, bars string) (*calendar.Calendar, error) {
	name := s.CalendarName()
	if name != calendar.Data {
		return calendar.Open(name)
	}
	rows, err := db.Query(ctx, "SELECT DISTINCT ts FROM "+bars+" ORDER BY ts")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var days []quant.Date
	for rows.Next() {
		var d quant.Date
		if err := rows.Scan(&d); err != nil {
			return nil, err
		}
		days = append(days, d)
	}
	return calendar.FromDates(days), rows.Err()
}

// ResolveModel returns the model that ref names.
func ResolveModel(ctx context.Context, s *session.Session, ref string) (quant.Model, error) {
	meta, err := s.MetaDB()
	if err != nil {
		return quant.Model{}, err
	}
	id := strings.TrimPrefix(ref, experimentRef)
	if _, err := meta.GetExperiment(ctx, id); errors.Is(err, quant.NotFound) {
		return quant.Model{}, quant.Errorf(quant.NotFound, "no experiment %q", id).WithHint("`quant experiments list` shows them, `quant experiments create` makes one")
	} else if err != nil {
		return quant.Model{}, err
	}
	list, err := meta.ListModels(ctx, metastore.ModelFilter{ExperimentID: id})
	if err != nil {
		return quant.Model{}, err
	}
	if len(list) == 0 {
		return quant.Model{}, quant.Errorf(quant.NotFound, "experiment %s has no model yet", id).WithHint("quant train --experiment %s", id)
	}
	trained, err := meta.ListOutputs(ctx, ModelKind) // newest run first
	if err != nil {
		return quant.Model{}, err
	}
	for _, io := range trained {
		if i := slices.IndexFunc(list, func(m quant.Model) bool { return m.ModelID == io.Name }); i >= 0 {
			return list[i], nil
		}
	}
	return list[0], nil // the newest row, where no run is recorded
}

// ReadStrategy reads a strategy with its overrides, notes the file as an input
// of the run, and fills the universe of type all from the Meta DB.
func ReadStrategy(ctx context.Context, s *session.Session, path string, sets []string) (strategy.Strategy, error) {
	data, err := readStrategyFile(path)
	if err != nil {
		return strategy.Strategy{}, err
	}
	s.Record(quant.RunIO{Direction: quant.In, Kind: "file", Name: path, Digest: quant.Text(durable.Digest(data))})
	found, err := strategy.Parse(path, data, sets)
	if err != nil || found.Universe.Type != strategy.UniverseAll {
		return found, err
	}
	meta, err := s.MetaDB()
	if err != nil {
		return found, err
	}
	active := true
	list, err := meta.ListSymbols(ctx, metastore.SymbolFilter{Active: &active})
	if err != nil {
		return found, err
	}
	var symbols []string
	for _, one := range list {
		symbols = append(symbols, one.Symbol)
	}
	return found.WithSymbols(symbols), nil
}

func readStrategyFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, quant.Errorf(quant.NotFound, "strategy file %s does not exist", path).WithHint("check the path")
	}
	if err != nil {
		return nil, quant.Errorf(quant.Failed, "read the strategy: %w", err).WithHint("make the file readable")
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, quant.Errorf(quant.Invalid, "strategy %s is not a regular file", path).WithHint("name a YAML file")
	}
	data, err := io.ReadAll(io.LimitReader(f, strategy.MaxBytes+8)) // one that is longer is refused by Parse
	if err != nil {
		return nil, quant.Errorf(quant.Failed, "read the strategy: %w", err).WithHint("make the file readable")
	}
	return data, nil
}

func logParams(s *session.Session, pairs ...string) {
	var b metastore.Batch
	for i := 0; i < len(pairs); i += 2 {
		if name, value := pairs[i], pairs[i+1]; value != "" && len(value) <= quant.MaxRecordValue {
			b.Params = append(b.Params, quant.Param{Name: name, Value: value})
		}
	}
	s.Log(b)
}

func logMeasured(s *session.Session, prefix string, step int, result any) {
	doc, err := json.Marshal(result)
	if err != nil {
		return
	}
	var members map[string]any
	if json.Unmarshal(doc, &members) != nil {
		return
	}
	var b metastore.Batch
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if value, ok := members[name].(float64); ok {
			b.Metrics = append(b.Metrics, quant.MetricPoint{Name: prefix + name, Step: int64(step), Value: value, LoggedAt: quant.NewTime(s.Now())})
		}
	}
	s.Log(b)
}
