package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/config"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/output"
	"quant/internal/registry"
	"quant/internal/registry/liveness"
)

// labReport says where the lab's two databases are and what they hold.
type labReport struct {
	RunID   string        `json:"run_id"`
	MetaDB  storeReport   `json:"meta_db"`
	FactDB  storeReport   `json:"fact_db"`
	Backups []backupEntry `json:"backups"`
}

type storeReport struct {
	Path   string                 `json:"path"`
	Change string                 `json:"change"` // created, upgraded, reset or unchanged
	Tables []metastore.TableCount `json:"tables"`
}

type backupEntry struct {
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	Digest string `json:"digest"`
}

func (r labReport) Sections() []output.Section {
	sections := []output.Section{
		{Title: fmt.Sprintf("Meta DB  %s  (%s)", r.MetaDB.Path, r.MetaDB.Change), Rows: r.MetaDB.Tables},
		{Title: fmt.Sprintf("Fact DB  %s  (%s)", r.FactDB.Path, r.FactDB.Change), Rows: r.FactDB.Tables},
	}
	if len(r.Backups) > 0 {
		sections = append(sections, output.Section{Title: "backups", Rows: r.Backups})
	}
	return append(sections, output.Section{Lines: []string{"run_id  " + r.RunID}})
}

// tableRow is one table of either database, for CSV.
type tableRow struct {
	Store  string `json:"store"`
	Path   string `json:"path"`
	Change string `json:"change"`
	Table  string `json:"table"`
	Rows   int64  `json:"rows"`
}

func (r labReport) CSVRows() any {
	rows := []tableRow{}
	for _, s := range []struct {
		name string
		storeReport
	}{{"meta", r.MetaDB}, {"fact", r.FactDB}} {
		for _, t := range s.Tables {
			rows = append(rows, tableRow{s.name, s.Path, s.Change, t.Table, t.Rows})
		}
	}
	return rows
}

func initDBCommand(env *Env) Command {
	var reset, yes bool
	cmd := &cobra.Command{
		Use:   "init-db",
		Short: "Create both databases, or bring them up to date",
		Long: `Create both databases, or bring them up to date; run again, it changes nothing
and says so. --reset makes them anew, after a backup of both and a confirmation;
what has run is carried over. A database that cannot be opened is moved aside,
never deleted.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if yes && !reset {
				return quant.Errorf(quant.Usage, "--yes goes with --reset")
			}
			report := labReport{RunID: env.Run.ID, Backups: []backupEntry{}}
			if reset {
				if err := env.confirmReset(ctx, yes); err != nil {
					return err
				}
				if err := env.reset(ctx, &report); err != nil {
					return err
				}
			}
			if err := env.describeLab(ctx, &report, reset); err != nil {
				return err
			}
			if report.MetaDB.Change == "unchanged" && report.FactDB.Change == "unchanged" {
				env.Notice("both databases are up to date: nothing changed")
			}
			return env.Print(report)
		},
	}
	cmd.Flags().BoolVar(&reset, "reset", false, "drop everything but the runs and make both databases anew, after a backup")
	cmd.Flags().BoolVar(&yes, "yes", false, "with --reset: do not ask")
	return Command{Command: cmd, Traits: Traits{Changes: always, Remedy: withFlag("reset")}}
}

// describeLab opens the Fact DB, making it where it is missing, and fills in
// paths, changes and row counts.
func (e *Env) describeLab(ctx context.Context, report *labReport, reset bool) error {
	report.MetaDB.Path, report.FactDB.Path = e.Mask.Text(e.Settings.Value(config.SQLitePath)), e.Mask.Text(e.Settings.Value(config.DuckDBPath))
	report.MetaDB.Change = string(e.Opening.Meta)
	if reset {
		report.MetaDB.Change = "reset"
	}
	err := e.WriteFacts(ctx, func(db *factstore.DB) error {
		switch {
		case reset:
			report.FactDB.Change = "reset"
		case db.Created():
			report.FactDB.Change = "created"
		case db.Upgraded():
			report.FactDB.Change = "upgraded"
		default:
			report.FactDB.Change = "unchanged"
		}
		tables, err := db.Tables(ctx)
		for _, t := range tables {
			report.FactDB.Tables = append(report.FactDB.Tables, metastore.TableCount(t))
		}
		return err
	})
	if err != nil {
		return err
	}
	report.MetaDB.Tables, err = e.Meta.Tables(ctx)
	return err
}

// confirmReset asks, where somebody can be asked; elsewhere --yes must be given.
func (e *Env) confirmReset(ctx context.Context, yes bool) error {
	return e.confirm(ctx, yes, "--reset drops every symbol, experiment, model and fact",
		fmt.Sprintf("This drops every symbol, experiment, model and fact in\n  %s\n  %s\nBoth are backed up first, and the runs are kept.",
			e.Settings.Value(config.SQLitePath), e.Settings.Value(config.DuckDBPath)),
		"give --yes as well; both databases are backed up first")
}

// reset backs both databases up and makes them anew. The Fact DB's file itself
// becomes its backup, and the Meta DB is backed up and reset in one step, so
// that nothing can be written between a backup and its reset.
func (e *Env) reset(ctx context.Context, report *labReport) error {
	meta, err := metastore.AsFile(e.Meta)
	if err != nil {
		return err
	}
	running, err := meta.ListRuns(ctx, metastore.RunFilter{All: true, Status: quant.Running})
	if err != nil {
		return err
	}
	for _, run := range running {
		if run.RunID != e.Run.ID && run.Process.Changes && e.Registry.Judge(ctx, run) == liveness.Alive && run.Process.PID != int64(os.Getpid()) {
			return quant.Errorf(quant.Locked, "run %s (%s, process %d) is still running", quant.ShortID(run.RunID), run.Kind, run.Process.PID).
				WithHint("wait for it to end, then reset")
		}
	}
	// Whatever else is wrong with the Fact DB a reset puts right; a newer one is
	// in order, and not ours to replace.
	options := e.FactOptions(ctx)
	facts, err := factstore.OpenRead(ctx, options)
	if errors.Is(err, factstore.ErrNewer) || errors.Is(err, quant.Locked) {
		return err
	}
	if err == nil {
		facts.Close()
	}
	stamp := e.Now().UTC().Format("20060102T150405Z") + "-" + quant.ShortID(e.Run.ID)
	metaCopy, err := backupPath(e.MetaPath, stamp, place.MetaDB)
	if err != nil {
		return err
	}
	factCopy := ""
	if e.HasFactDB() {
		// Beside the file: a rename does not leave its file system.
		if factCopy, err = backupPath(options.Path, stamp, place.FactDB); err != nil {
			return err
		}
		if err := factstore.Move(ctx, options, factCopy); err != nil {
			return err
		}
	}
	carried, err := meta.Reset(ctx, metaCopy)
	if err != nil {
		if factCopy == "" {
			return err
		}
		closing, stop := registry.Closing(ctx)
		defer stop()
		if back := factstore.MoveBack(closing, options, factCopy); back != nil {
			e.record(backupOf(factCopy, ""))
			return errors.Join(err, back)
		}
		_ = os.Remove(filepath.Dir(factCopy)) // if nothing else is in it
		return err
	}
	copies := []string{metaCopy}
	if factCopy != "" {
		copies = append(copies, factCopy)
	}
	for _, path := range copies {
		e.record(backupOf(path, "")) // even if it cannot be read
	}
	for table, lost := range carried.Lost {
		if lost > 0 {
			e.Notice("%d rows of %s could not be carried over; the backup has them", lost, table)
		}
	}
	for _, path := range copies {
		if err := e.addBackup(report, path); err != nil {
			return err
		}
	}
	return nil
}

// backupPath names the backup of a database, in a folder of its own beside the
// file that the database is, and makes that folder.
func backupPath(database, stamp, name string) (string, error) {
	if real, err := filepath.EvalSymlinks(database); err == nil {
		database = real
	}
	folder := filepath.Join(place.BackupDir(database), stamp)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", quant.Errorf(quant.Store, "make the backup folder: %w", err).WithHint("check that you may write %s", filepath.Dir(database))
	}
	return filepath.Join(folder, name), nil
}

func backupOf(path, digest string) quant.RunIO {
	return quant.RunIO{Direction: quant.Out, Kind: "backup", Name: path, Digest: quant.Text(digest)}
}

func (e *Env) addBackup(report *labReport, path string) error {
	digest, size, err := fileDigest(path)
	if err != nil {
		return quant.Errorf(quant.Store, "read the backup: %w", err)
	}
	report.Backups = append(report.Backups, backupEntry{e.Mask.Text(path), size, digest})
	e.record(backupOf(path, digest))
	return nil
}

// fileDigest is the sha256 of a file's bytes, as sha256:<hex>, and their number;
// "" and 0 of what is no regular file.
func fileDigest(path string) (digest string, size int64, err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return "", 0, nil
	}
	return durable.DigestFile(path)
}
