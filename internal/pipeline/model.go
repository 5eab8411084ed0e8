package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"quant"
	"quant/internal/metastore"
	"quant/internal/model"
	"quant/internal/session"
	"quant/internal/stated"
)

// experimentRef begins a reference to the newest model of an experiment.
const experimentRef = "experiment:"

// isAlias reports whether a reference to a model means another one once another
// was trained.
func isAlias(ref string) bool { return strings.HasPrefix(ref, experimentRef) }

// modelParams are params_json of a model. The file is named from the data
// folder.
type modelParams struct {
	Digest   string    `json:"digest"`
	File     string    `json:"file"`
	Alphas   []float64 `json:"alphas"` // to choose from
	Alpha    float64   `json:"alpha"`  // of the final model
	Seed     int64     `json:"seed"`
	Calendar string    `json:"calendar"`
	Samples  int       `json:"samples"`
	// Of a program: the folder that it was started in, and what was proved of it.
	Folder string       `json:"folder,omitempty"`
	Proof  *model.Proof `json:"proof,omitempty"`
}

// ResolveModel returns the model that ref names: by its id, or, as
// experiment:ID, the one of an experiment that was trained last, be it for the
// first time or again. NotFound if there is none.
func ResolveModel(ctx context.Context, s *session.Session, ref string) (quant.Model, error) {
	meta, err := s.MetaDB()
	if err != nil {
		return quant.Model{}, err
	}
	id, isExperiment := strings.CutPrefix(ref, experimentRef)
	if !isExperiment {
		m, err := meta.GetModel(ctx, ref)
		if errors.Is(err, quant.NotFound) {
			return m, quant.Errorf(quant.NotFound, "no model %q", ref).WithHint("`quant models list` shows the models; experiment:ID means the one trained last")
		}
		return m, err
	}
	if _, err := GetExperiment(ctx, s, id); err != nil {
		return quant.Model{}, err
	}
	list, err := meta.ListModels(ctx, metastore.ModelFilter{ExperimentID: id})
	if err != nil {
		return quant.Model{}, err
	}
	if len(list) == 0 {
		return quant.Model{}, quant.Errorf(quant.NotFound, "experiment %s has no model yet", id).WithHint("quant train --experiment %s", id)
	}
	trained, err := meta.ListOutputs(ctx, quant.IOModel) // newest run first
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

// loadModel reads and verifies the file of a model.
func loadModel(s *session.Session, m quant.Model) (model.Document, modelParams, error) {
	var p modelParams
	if isStated(m) {
		return model.Document{}, p, quant.Errorf(quant.Refused, "model %s has no file: its predictions were imported", m.ModelID).WithHint("`quant predictions import FILE --model %s` brings those of more days", m.ModelID)
	}
	if err := json.Unmarshal(m.ParamsJSON, &p); err != nil || p.Digest == "" {
		return model.Document{}, p, quant.Errorf(quant.Store, "model %s has no digest of its file in params_json", m.ModelID).WithHint("train it again")
	}
	doc, err := model.Load(s.ModelDir(), p.Digest)
	return doc, p, err
}

// modelWriter is the run that made a model; "" if it is not recorded.
func modelWriter(ctx context.Context, meta metastore.Store, id string) (string, error) {
	made, err := meta.ListOutputs(ctx, quant.IOModel)
	if err != nil {
		return "", err
	}
	run := ""
	for _, io := range made { // newest first: the oldest one made it
		if io.Name == id {
			run = io.RunID
		}
	}
	return run, nil
}

// ModelReport is a model with what its file says.
type ModelReport struct {
	quant.Model
	Digest       string              `json:"digest"`
	File         string              `json:"file"`
	Features     []model.Feature     `json:"features"`
	Label        model.Label         `json:"label"`
	Coefficients []model.Coefficient `json:"coefficients"` // of the final model
	Intercept    float64             `json:"intercept"`
	KnownAt      quant.Text          `json:"known_at"` // of imported predictions; null: of a model that was trained here
	// Of a program: its command line with the files that it names, what it kept of the
	// final fit, and what was proved of it.
	Program *model.Program   `json:"program,omitempty"`
	Files   []model.KeptFile `json:"files,omitempty"`
	Proof   *model.Proof     `json:"proof,omitempty"`

	Metrics model.Metrics `json:"-"` // those of metrics_json
}

// ShowModel reads a model and verifies its file, which is recorded as an input.
// ref is as ResolveModel has it. Errors also: those of model.Load.
func ShowModel(ctx context.Context, s *session.Session, ref string) (ModelReport, error) {
	m, err := ResolveModel(ctx, s, ref)
	if err != nil {
		return ModelReport{}, err
	}
	if isStated(m) {
		return ModelReport{Model: m, Features: []model.Feature{}, Coefficients: []model.Coefficient{}, KnownAt: stated.KnownAt}, nil
	}
	doc, p, err := loadModel(s, m)
	if err != nil {
		return ModelReport{}, err
	}
	s.Record(quant.RunIO{Direction: quant.In, Kind: quant.IOFile, Name: p.File, Digest: quant.Text(p.Digest)})
	report := ModelReport{Model: m, Digest: p.Digest, File: p.File, Features: doc.Features, Label: doc.Label,
		Coefficients: doc.Final.Coefficients, Intercept: doc.Final.Intercept, Program: doc.Program, Files: doc.Final.Files, Proof: p.Proof}
	if err := json.Unmarshal(m.MetricsJSON, &report.Metrics); err != nil {
		return report, quant.Errorf(quant.Store, "model %s: metrics_json cannot be read: %w", m.ModelID, err).WithHint("train it again")
	}
	return report, nil
}

// ListModels returns the models, newest first: all of them, or those of an
// experiment. NotFound: there is no such experiment.
func ListModels(ctx context.Context, s *session.Session, experiment string) ([]quant.Model, error) {
	meta, err := s.MetaDB()
	if err != nil {
		return nil, err
	}
	if experiment != "" {
		if _, err := GetExperiment(ctx, s, experiment); err != nil {
			return nil, err
		}
	}
	return meta.ListModels(ctx, metastore.ModelFilter{ExperimentID: experiment})
}
