package session

import (
	"slices"

	"quant"
	"quant/internal/metastore"
	"quant/internal/registry"
)

// Draft is what is to be said of a run that was worked out in one process and is
// recorded by another: what it read and wrote, its params, metrics and the like.
type Draft struct {
	RunID string          `json:"run_id"` // that it was worked out under
	IO    []quant.RunIO   `json:"io"`
	Batch metastore.Batch `json:"batch"`
}

// Drafting makes the session of a run that nothing is recorded of here: what is
// recorded and logged in it is what Drafted returns. It says things to v, and has no end.
func (s *Session) Drafting(v Voice) (*Session, error) {
	id, err := s.Registry.NewRunID()
	if err != nil {
		return nil, quant.Errorf(quant.Failed, "make a run id: %w", err)
	}
	o := s.options
	o.Voice = v
	d := New(o)
	d.Run, d.facts.Self = registry.Draft(id), id
	return d, nil
}

// Drafted is what a session of Drafting was told.
func (s *Session) Drafted() Draft {
	io, batch := s.Run.Drafted()
	return Draft{s.Run.ID, io, batch}
}

// Adopt records with this run what a draft says, in the place of its own run.
func (s *Session) Adopt(d Draft) {
	s.Record(d.IO...)
	b := d.Batch
	b.Params, b.Tags, b.Metrics = slices.Clone(b.Params), slices.Clone(b.Tags), slices.Clone(b.Metrics)
	b.Notes, b.Artifacts = slices.Clone(b.Notes), slices.Clone(b.Artifacts)
	for i := range b.Params {
		b.Params[i].RunID = ""
	}
	for i := range b.Tags {
		b.Tags[i].RunID = ""
	}
	for i := range b.Metrics {
		b.Metrics[i].RunID = ""
	}
	for i := range b.Notes {
		b.Notes[i].RunID = ""
	}
	for i := range b.Artifacts {
		b.Artifacts[i].RunID = ""
	}
	s.Log(b)
}
