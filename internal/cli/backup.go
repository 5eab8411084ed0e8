package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/config"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/lab/archive"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/output"
	"quant/internal/registry"
)

// backupReport says what is in a backup.
type backupReport struct {
	Path      string     `json:"path"`
	Bytes     int64      `json:"bytes"`
	TakenAt   quant.Time `json:"taken_at"`
	Quant     string     `json:"quant"`
	Members   int64      `json:"members"`
	Artifacts int64      `json:"artifacts"`
	Logs      int64      `json:"logs"`
	Models    int64      `json:"models"`
	FactDB    bool       `json:"fact_db"`
	Missing   []string   `json:"missing_artifacts"`
}

func newBackupReport(path string, bytes int64, m archive.Manifest) backupReport {
	r := backupReport{Path: path, Bytes: bytes, TakenAt: m.TakenAt, Quant: m.Quant, Members: int64(len(m.Members)), Missing: m.Missing}
	if r.Missing == nil {
		r.Missing = []string{}
	}
	for _, member := range m.Members {
		switch folder, _, in := strings.Cut(member.Name, "/"); {
		case member.Name == place.FactDB:
			r.FactDB = true
		case in && folder == "artifacts":
			r.Artifacts++
		case in && folder == "logs":
			r.Logs++
		case in && folder == "models":
			r.Models++
		}
	}
	return r
}

func (r backupReport) Sections() []output.Section {
	facts := "no Fact DB"
	if r.FactDB {
		facts = "the Fact DB"
	}
	return []output.Section{{Lines: []string{
		fmt.Sprintf("%s  %.1f MiB", r.Path, float64(r.Bytes)/(1<<20)),
		fmt.Sprintf("the Meta DB, %s, %s, %s, %s", facts, quant.Count(int(r.Artifacts), "artifact"), quant.Count(int(r.Logs), "log"), quant.Count(int(r.Models), "model file")),
		"state of " + r.TakenAt.String(),
	}}}
}

func (r backupReport) CSVRows() any {
	return []struct {
		Path    string     `json:"path"`
		Bytes   int64      `json:"bytes"`
		TakenAt quant.Time `json:"taken_at"`
		Members int64      `json:"members"`
	}{{r.Path, r.Bytes, r.TakenAt, r.Members}}
}

func backupCommand(env *Env) Command {
	var force, verify bool
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Put the whole lab into one file, while others may work",
		Long: `Put both databases, the contents of artifacts, logs, model files and the plans
of pipelines into one file, an uncompressed tar with the digest of each member;
- is stdout. Other commands may run meanwhile: what commits facts waits until the
Fact DB is copied, so that both databases are of one moment. FILE stands there
whole or not at all. The file holds what the lab holds, secrets in artifacts and
logs too. --verify reads a backup and checks every digest instead. ` + "`quant restore FILE`" + ` brings
the lab back.`,
		Args: wantArgs(1, 1, "one file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if verify {
				return env.verifyBackup(cmd.Context(), args[0])
			}
			return env.backup(cmd.Context(), args[0], force)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace FILE if it exists")
	cmd.Flags().BoolVar(&verify, "verify", false, "check the backup FILE instead of taking one")
	cmd.MarkFlagsMutuallyExclusive("force", "verify")
	return Command{Command: cmd, Traits: Traits{Changes: func(l Line) bool { return !withFlag("verify")(l) }}}
}

// parts is where the parts of this lab stand.
func (e *Env) parts() (archive.Parts, error) {
	facts, err := factstore.Resolve(e.Settings.Value(config.DuckDBPath))
	if err != nil {
		return archive.Parts{}, err
	}
	meta, err := filepath.Abs(e.MetaFile())
	if err != nil {
		return archive.Parts{}, quant.Errorf(quant.Failed, "find the Meta DB: %w", err)
	}
	store := e.Artifacts()
	store.Dir = meta + strings.TrimPrefix(e.ArtifactDir(), e.MetaFile())
	models, err := filepath.Abs(e.ModelDir())
	if err != nil {
		return archive.Parts{}, quant.Errorf(quant.Failed, "find the model files: %w", err)
	}
	return archive.Parts{
		MetaFile: meta, FactFile: facts, Artifacts: store, LogDir: meta + strings.TrimPrefix(e.LogDir(), e.MetaFile()), ModelDir: models, RunDir: filepath.Join(filepath.Dir(models), filepath.Base(e.RunDir())),
		Facts: e.ReadFacts, OpenMeta: e.OpenMeta,
	}, nil
}

func (e *Env) backup(ctx context.Context, path string, force bool) (err error) {
	meta, err := e.MetaDB()
	if err != nil {
		return err
	}
	here, err := e.parts()
	if err != nil {
		return err
	}
	toStdout := path == "-"
	dir := filepath.Dir(path)
	if toStdout {
		dir = filepath.Dir(here.MetaFile)
	}
	taken := quant.Errorf(quant.Conflict, "%s exists already", path).WithHint("name another file, or give --force to replace it")
	if _, err := os.Lstat(path); err == nil && !toStdout && !force {
		return taken
	}
	if err := archive.CheckRoom(dir, here.Room()); err != nil {
		return err
	}
	failed := func(err error) error {
		return quant.Errorf(quant.Store, "write the backup %s: %w", path, err).WithHint("make room, or name another place; nothing was changed")
	}
	scratch, remove, err := durable.TemporaryFolder(dir, "backup")
	if err != nil {
		return failed(err)
	}
	defer func() { _ = remove() }()
	var out io.Writer
	var file *durable.File
	if toStdout {
		out = e.Streams().Out
	} else {
		if file, err = durable.Begin(path, 0o600); err != nil {
			return failed(err)
		}
		defer file.Discard()
		out = file
	}
	counting := &byteCount{w: out}
	manifest, err := archive.Write(ctx, here, meta, counting, scratch, archive.Manifest{RunID: e.Run.ID, Quant: e.Build.Version}, e.Now)
	if err != nil {
		return err
	}
	report := newBackupReport(e.Mask.Text(path), counting.n, manifest)
	e.record(quant.RunIO{Direction: quant.Out, Kind: "backup", Name: path, Rows: &report.Members})
	if toStdout {
		return missingContents(report.Missing)
	}
	publish := file.Create
	if force {
		publish = file.Replace
	}
	err = publish()
	if errors.Is(err, durable.ErrExists) {
		return taken
	}
	if err != nil {
		return failed(err)
	}
	if err := e.Print(report); err != nil {
		return err
	}
	return missingContents(report.Missing)
}

func missingContents(digests []string) error {
	if len(digests) == 0 {
		return nil
	}
	return quant.Errorf(quant.Partial, "the backup lacks the contents of %s, such as %s: missing or damaged in the lab", quant.Count(len(digests), "artifact"), digests[0]).
		WithHint("the rest is whole; `quant doctor --deep` names them")
}

type byteCount struct {
	w io.Writer
	n int64
}

func (c *byteCount) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// openBackup opens a backup, which must be a plain file.
func openBackup(path string) (*os.File, int64, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, quant.Errorf(quant.NotFound, "there is no backup %s", path).WithHint("name the file that `quant backup` wrote")
	}
	if err != nil {
		return nil, 0, quant.Errorf(quant.Failed, "open the backup: %w", err).WithHint("make it readable")
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = quant.Errorf(quant.Usage, "%s is no plain file", path).WithHint("name the file that `quant backup` wrote")
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

func (e *Env) verifyBackup(ctx context.Context, path string) error {
	f, size, err := openBackup(path)
	if err != nil {
		return err
	}
	defer f.Close()
	m, err := archive.Read(ctx, f, size, func(string, int64, io.Reader) error { return nil })
	if err != nil {
		return named(path, err)
	}
	return e.Print(newBackupReport(e.Mask.Text(path), size, m))
}

func named(path string, err error) error {
	if !errors.Is(err, quant.Refused) {
		return err
	}
	return quant.Errorf(quant.Refused, "%s: %w", path, err).WithHint("%s", quant.HintOf(err))
}

// restoreReport says what a restore brought back.
type restoreReport struct {
	RunID       string       `json:"run_id"`
	Backup      backupReport `json:"backup"`
	RunsClosed  int64        `json:"runs_closed"`
	MovedAside  []string     `json:"moved_aside"`
	RestoredRun int64        `json:"runs"`
}

func (r restoreReport) CSVRows() any { return r.Backup.CSVRows() }

func (r restoreReport) Sections() []output.Section {
	sections := append(r.Backup.Sections(), output.Section{Lines: []string{
		fmt.Sprintf("%s; %d of them were running when the backup was taken, and are closed", quant.Count(int(r.RestoredRun), "run"), r.RunsClosed),
	}})
	if len(r.MovedAside) > 0 {
		sections = append(sections, output.Section{Title: "moved aside; delete it once you need nothing in it", Lines: r.MovedAside})
	}
	return sections
}

func restoreCommand(env *Env) Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Bring the lab back from a backup",
		Long: `Bring the lab back from a file that ` + "`quant backup`" + ` wrote, in place of what stands
there, which is moved aside and not deleted. Every digest is checked first. No
other quant may use the lab meanwhile (it waits as --wait says); others see the old lab or the new one. If
the process is killed in the middle, the old lab stands, or the next command
finishes the work. Runs that were RUNNING in the backup are closed as FAIL. (One
deleted run comes back with ` + "`quant runs restore RUN`" + `.)`,
		Args: wantArgs(1, 1, "one file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return env.restore(cmd.Context(), args[0], yes)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return Command{Command: cmd, Traits: Traits{Changes: always, Remedy: always}}
}

func (e *Env) restore(ctx context.Context, path string, yes bool) error {
	f, size, err := openBackup(path)
	if err != nil {
		return err
	}
	defer f.Close()
	here, err := e.parts()
	if err != nil {
		return err
	}
	if err := e.nobodyElse(ctx, e.tree.Globals.Wait); err != nil {
		return err
	}
	fresh := string(e.Opening.Meta) == "created" && e.Opening.MovedAside == ""
	if !fresh || e.HasFactDB() {
		err := e.confirm(ctx, yes, "restore takes the place of the lab that stands here",
			fmt.Sprintf("This takes the place of the lab in\n  %s\n  %s\nwhich is moved aside.", here.MetaFile, here.FactFile), "give --yes as well; nothing is deleted")
		if err != nil {
			return err
		}
	}
	if err := archive.CheckRoom(filepath.Dir(here.MetaFile), size+size/8+1<<20); err != nil {
		return err
	}
	staged, err := archive.Stage(ctx, here, e.FactOptions(ctx), f, size, e.Meta, e.Run.ID)
	if err != nil {
		return named(path, err)
	}
	var aside []string
	swapped := false
	err = e.Replace(ctx, e.tree.Globals.Wait, func() error {
		return factstore.Apart(ctx, e.FactOptions(ctx), func() (err error) {
			swapped = true
			aside, err = staged.Swap(e.Now())
			return err
		})
	})
	if err != nil {
		if !swapped {
			staged.Discard()
		}
		return err
	}
	if fresh {
		aside = slices.DeleteFunc(aside, func(old string) bool {
			return strings.HasPrefix(old, here.MetaFile+place.Aside) && e.removeEmpty(ctx, old)
		})
	}
	report := restoreReport{RunID: e.Run.ID, Backup: newBackupReport(e.Mask.Text(path), size, staged.Manifest), RunsClosed: int64(staged.Closed), MovedAside: []string{}}
	for _, old := range aside {
		report.MovedAside = append(report.MovedAside, e.Mask.Text(old))
	}
	e.record(quant.RunIO{Direction: quant.In, Kind: "backup", Name: path, Rows: &report.Backup.Members})
	tables, err := e.Meta.Tables(ctx)
	if err != nil {
		return err
	}
	for _, t := range tables {
		if t.Table == "runs" {
			report.RestoredRun = t.Rows
		}
	}
	if err := e.Print(report); err != nil {
		return err
	}
	return missingContents(report.Backup.Missing)
}

// removeEmpty removes the Meta DB that this run made to be recorded in, if no
// other run came into it: this one goes on in the restored one.
func (e *Env) removeEmpty(ctx context.Context, path string) bool {
	old, err := e.OpenMeta(ctx, path)
	if err != nil {
		return false
	}
	runs, err := old.ListRuns(ctx, metastore.RunFilter{All: true, Limit: 2, Brief: true})
	if err := errors.Join(err, old.Close()); err != nil || len(runs) != 1 || runs[0].RunID != e.Run.ID {
		return false
	}
	os.Remove(path + ".lock")
	return os.Remove(path) == nil
}

// nobodyElse refuses while another run of this lab lives, after waiting for its
// end.
func (e *Env) nobodyElse(ctx context.Context, wait time.Duration) error {
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	for {
		other, err := e.liveRun(ctx)
		if err != nil || other == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(min(wait, 20*time.Millisecond)):
			if wait > 0 {
				continue
			}
		case <-deadline.C:
		}
		return quant.Errorf(quant.Locked, "run %s (%s, process %d) is still running", quant.ShortID(other.RunID), other.Kind, other.Process.PID).
			WithHint("wait for it to end, then restore; --wait waits longer")
	}
}

// liveRun returns a run of this lab that lives, other than the present one.
func (e *Env) liveRun(ctx context.Context) (*metastore.RunDetail, error) {
	running, err := e.Meta.ListRuns(ctx, metastore.RunFilter{All: true, Status: quant.Running, Except: e.Run.ID, Brief: true})
	if err != nil {
		return nil, err
	}
	for _, run := range running {
		if e.Registry.Judge(run) == registry.Alive {
			return &run, nil
		}
	}
	return nil, nil
}
