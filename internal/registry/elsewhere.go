package registry

import (
	"strings"
	"time"

	"quant"
	"quant/internal/metastore"
)

// Elsewhere is a run whose process is none of this machine's: all that is known of
// it is what its client says, unmasked.
type Elsewhere struct {
	Kind      string
	Started   time.Time
	Config    any
	Parent    string // run_id; "": none
	Host      string
	User      string
	WorkDir   string
	GitCommit string
	Argv      []string
}

// PrepareElsewhere makes what is recorded of such a run, masked. Nobody judges
// whether its process lives, so that no reconciliation closes it: whoever stores it
// says when it is over. Invalid for what cannot be stored.
func (g *Registry) PrepareElsewhere(e Elsewhere) (quant.Run, quant.RunProcess, error) {
	id, err := newRunID(e.Started, g.Random)
	if err != nil {
		return quant.Run{}, quant.RunProcess{}, quant.Errorf(quant.Failed, "make a run id: %w", err)
	}
	run := quant.Run{RunID: id, Kind: e.Kind, Status: quant.Running, StartedAt: quant.NewTime(e.Started)}
	if run.ConfigJSON, err = g.maskedJSON(e.Config); err != nil {
		return run, quant.RunProcess{}, err
	}
	process := quant.RunProcess{RunID: id, Changes: true, ParentRunID: quant.Text(e.Parent)}
	for shown, said := range map[*quant.Text]string{
		&process.Host: e.Host, &process.User: e.User, &process.WorkDir: e.WorkDir, &process.GitCommit: e.GitCommit,
	} {
		*shown = quant.Text(g.Mask.Text(strings.ToValidUTF8(said, "\uFFFD")))
	}
	if e.Argv != nil {
		if process.Argv, err = g.maskedArgv(e.Argv); err != nil {
			return run, process, err
		}
	}
	return run, process, nil
}

// Masked is a batch as Log stores it, masked, with times, of the run that it names
// where an entry names none; but for the values of params and tags, which are masked
// where they look like a secret (secret.Masker.Record).
func (g *Registry) Masked(runID string, b metastore.Batch) metastore.Batch {
	return g.masked(ofRun(b, runID), g.Mask.Record)
}
