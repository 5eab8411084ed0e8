package pipeline

import (
	"context"
	"encoding/json"
	"slices"

	"quant"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/session"
)

// Work that can be divided is divided into units: each is worked out by a job, which is
// a run of its own and stages what it comes to; the run that asked for it takes that
// in. What a unit did not stage, who asked works out itself, so that what it comes to
// does not depend on the units.

// Dispatch has command lines of quant done as jobs, each a run of its own under that of
// s, and returns the run that did each. name is the same for the same lines. When ctx
// ends, or a job fails, none is left running. Errors: Failed, with why the job failed.
type Dispatch func(ctx context.Context, s *session.Session, name string, lines [][]string) (runIDs []string, err error)

// unit is what one process works out for the run that asked for it.
type unit struct {
	line        []string       // that works it out
	fingerprint string         // of what it is to do, and on what
	staged      factstore.Unit // RunID "": nobody has worked it out
}

// UnitOf says which unit of a stage a process works out for the run that asked for it; its
// zero value: none, but all of the stage.
type UnitOf struct {
	Name        string // which one; "": what the stage is asked for says it
	Plan        string // the digest of what that run is asked for: another is refused
	Fingerprint string // of what the unit is worked out on
}

// The flags of a stage that can be divided. How many workers there are is no part of
// what a stage is asked for.
const (
	workersFlag         = "workers"
	unitFlag            = "unit"
	unitPlanFlag        = "unit-plan"
	unitFingerprintFlag = "unit-fingerprint"
)

func (u UnitOf) flags(c *commandLine) {
	c.text(workersFlag, "")
	c.text(unitFlag, u.Name)
	c.text(unitPlanFlag, u.Plan)
	c.text(unitFingerprintFlag, u.Fingerprint)
}

// planDigest is of what is asked for: two processes that find the same one work out the
// same from the same facts. what names it in an error.
func planDigest(s *session.Session, what string, asked ...any) (string, error) {
	calendar, err := calendarIdentity(s)
	if err != nil {
		return "", err
	}
	program, err := s.Build().Identity(digestOfFile)
	if err != nil {
		return "", err
	}
	doc, err := json.Marshal(append(asked, calendar, program))
	if err != nil {
		return "", quant.Errorf(quant.Failed, "name what %s asked for: %w", what, err)
	}
	return durable.Digest(doc), nil
}

// tellTakenOver says how many of units were worked out for a run that did not come to its
// end: each is one, which they were by what did them.
func tellTakenOver(s *session.Session, units []*unit, one, were string) {
	over := 0
	for _, u := range units {
		if u.staged.RunID != "" {
			over++
		}
	}
	if over > 0 {
		s.Say().Notice("%d of %s were %s that did not come to its end, and are taken over", over, quant.Count(len(units), one), were)
	}
}

// findStaged notes of units what was staged for a run that did not come to its end.
func findStaged(ctx context.Context, s *session.Session, db *factstore.DB, units []*unit) error {
	var all []string
	for _, u := range units {
		all = append(all, u.fingerprint)
	}
	found, err := db.FindOutputs(ctx, all)
	if err != nil {
		return err
	}
	for _, u := range units {
		for _, id := range found[u.fingerprint] {
			if err := u.by(ctx, s, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// work has units worked out that nobody has worked out yet. One whose job ended well and
// staged nothing that can be found is left as it is.
func (d Dispatch) work(ctx context.Context, s *session.Session, kind string, units []*unit) error {
	name := kind
	var lines [][]string
	var left []*unit
	for _, u := range units {
		name += " " + u.fingerprint
		if u.staged.RunID != "" {
			continue
		}
		if !slices.Equal(s.Mask.Args(u.line), u.line) {
			return quant.Errorf(quant.Usage, "the command line holds what looks like a secret, which would stand in the queue").WithHint("leave it out, or run without --workers")
		}
		lines, left = append(lines, u.line), append(left, u)
	}
	if len(lines) == 0 {
		return nil
	}
	hexadecimal, _ := durable.DigestHex(durable.Digest([]byte(name)))
	runs, err := d(ctx, s, kind+"-"+hexadecimal[:12], lines)
	if err != nil {
		return err
	}
	for i, id := range runs {
		if err := left[i].by(ctx, s, id); err != nil {
			return err
		}
	}
	return nil
}

// by notes that a run has staged the unit, if it ended SUCCESS and has.
func (u *unit) by(ctx context.Context, s *session.Session, runID string) error {
	digest, ok, err := stagedBy(ctx, s, runID)
	if ok {
		u.staged = factstore.Unit{RunID: runID, Digest: digest}
	}
	return err
}

// stageUnit stages what fill writes as that of the unit with a fingerprint, and records
// it under a name. fill returns the number of rows, and what who takes them in is told.
func stageUnit(ctx context.Context, s *session.Session, db *factstore.DB, fingerprint, name string, fill func(*factstore.OutputsWriter) (rows int64, note any, err error)) error {
	out, err := db.StageOutputs(ctx, s.RunID(), fingerprint)
	if err != nil {
		return err
	}
	rows, note, err := fill(out)
	digest := ""
	if err == nil {
		digest, err = out.Seal(ctx, note)
	}
	if err != nil {
		out.Discard()
		return err
	}
	s.Record(quant.RunIO{Direction: quant.Out, Kind: quant.IOStaged, Name: name, Rows: &rows, Digest: quant.Text(digest)})
	return nil
}

// stagedBy returns the digest of what a run has staged; not ok: it did not end SUCCESS,
// or staged nothing.
func stagedBy(ctx context.Context, s *session.Session, runID string) (digest string, ok bool, err error) {
	meta, err := s.MetaDB()
	if err != nil {
		return "", false, err
	}
	run, err := meta.GetRun(ctx, runID)
	if quant.CodeOf(err) == quant.NotFound {
		return "", false, nil
	}
	if err != nil || run.Status != quant.Success {
		return "", false, err
	}
	list, err := meta.RunIO(ctx, runID)
	if err != nil {
		return "", false, err
	}
	for _, io := range list {
		if io.Direction == quant.Out && io.Kind == quant.IOStaged {
			return string(io.Digest), true, nil
		}
	}
	return "", false, nil
}

// succeeded asks the Meta DB which runs ended SUCCESS.
func succeeded(s *session.Session) func(context.Context, []string) (map[string]bool, error) {
	return func(ctx context.Context, ids []string) (map[string]bool, error) {
		meta, err := s.MetaDB()
		if err != nil {
			return nil, err
		}
		ended := map[string]bool{}
		for _, id := range ids {
			run, err := meta.GetRun(ctx, id)
			if err != nil && quant.CodeOf(err) != quant.NotFound {
				return nil, err
			}
			ended[id] = err == nil && run.Status == quant.Success
		}
		return ended, nil
	}
}
