package registry

import (
	"context"
	"strings"

	"quant"
	"quant/internal/metastore"
	"quant/internal/process"
)

// ProgramStarted notes that the run has started a program, and returns what
// stores that, durably, so that whoever finds this process dead can tell whether
// the program still lives. It is to be called before the program is waited for:
// also of one that has ended by then it is known when it started.
func (g *Registry) ProgramStarted(runID string, p quant.Program) (save func(context.Context) error) {
	p.RunID = runID
	p.Path = quant.Text(g.Mask.Text(strings.ToValidUTF8(string(p.Path), "\uFFFD")))
	if p.ChildPID != nil {
		start, _ := process.StartOf(int(*p.ChildPID))
		p.ChildStart = quant.Text(start)
	}
	g.keepProgram(p)
	return func(ctx context.Context) error {
		var err error
		if p.EnvironmentJSON, err = g.maskedDocument(p.EnvironmentJSON); err != nil {
			return err
		}
		return g.Store.SaveProgram(ctx, p)
	}
}

// ProgramEnded notes what is known of the program after its end; change gets
// what is known so far. It is stored with the end of the run.
func (g *Registry) ProgramEnded(runID string, change func(p *quant.Program)) error {
	run := g.Get(runID)
	if run == nil {
		return quant.Errorf(quant.NotFound, "run %s: %w", runID, ErrUnknown)
	}
	run.mu.Lock()
	p := quant.Program{RunID: runID}
	if run.program != nil {
		p = *run.program
	}
	run.mu.Unlock()
	change(&p)
	doc, err := g.maskedDocument(p.EnvironmentJSON)
	if err != nil {
		return err
	}
	p.EnvironmentJSON = doc
	g.keepProgram(p)
	return nil
}

func (g *Registry) keepProgram(p quant.Program) {
	if run := g.Get(p.RunID); run != nil {
		run.mu.Lock()
		run.program = &p
		run.mu.Unlock()
	}
}

func (g *Registry) maskedDocument(doc quant.JSON) (quant.JSON, error) {
	if len(doc) == 0 {
		return nil, nil
	}
	return g.Mask.JSON(doc)
}

// livingPrograms are the pids of the programs of dead runs, by run, that still
// live: same machine, same boot, same pid, same start.
func (g *Registry) livingPrograms(ctx context.Context, dead []metastore.RunDetail) (map[string]int64, error) {
	var ids []string
	for _, run := range dead {
		if string(run.Process.MachineID) == g.Process.MachineID && run.Process.BootID != "" && string(run.Process.BootID) == g.Process.BootID {
			ids = append(ids, run.RunID)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	programs, err := g.Store.ProgramsOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	living := map[string]int64{}
	for _, p := range programs {
		if p.ChildPID == nil || p.ChildStart == "" {
			continue
		}
		if start, exists := process.StartOf(int(*p.ChildPID)); exists && start == string(p.ChildStart) {
			living[p.RunID] = *p.ChildPID
		}
	}
	return living, nil
}
