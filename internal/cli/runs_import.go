package cli

import (
	"context"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/output"
	"quant/internal/portable"
	"quant/internal/portable/mlflow"
)

func runsImport(env *Env) Command {
	limit := byteLimit(10 << 30)
	var artifacts []string
	cmd := &cobra.Command{
		Use:   "import FILE|STORE",
		Short: "Take in the runs of a file that runs export wrote, or of a store of MLflow",
		Long: `Take in the runs of a file that ` + "`quant runs export`" + ` wrote, whole or not at
all; - is stdin. Runs keep their ids, times and everything that was recorded of
them, and are marked as imported. A run that the lab has already is skipped if it
is the same; if anything of it differs, nothing is imported (exit status 5).

The whole file is checked before anything is stored: its form, its digests, every
rule of the registry. A file that unpacks to more than --max-size is refused. The
facts of an imported run stay in the lab where it ran.

A STORE is what MLflow keeps: a folder of files (mlruns), or a SQLite file
(mlflow.db), of its versions 1 to 3. Its experiments, runs, params, tags, histories
of metrics, datasets, artifacts and models come over under the ids that MLflow's
clients know, and nothing of it is changed. Each run comes whole or not at all, and
what the lab has is left alone, so that an import that was interrupted is gone on
with by the next. Artifacts are read below the folder, beside the SQLite file in
mlruns and mlartifacts, and in the folders of --artifacts; nowhere else, whatever
the store says. A file larger than --max-size is left out.

Exit status: 0 done; 3 something of a store could not be brought over, and is named.`,
		Example: `  quant runs import momentum.qrx
  ssh elsewhere quant runs export last - | quant runs import -
  quant runs import mlruns
  quant runs import mlflow.db --artifacts /mnt/bucket`,
		Args: wantArgs(1, 1, "one file or store"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, name := cmd.Context(), args[0]
			if name != "-" && mlflow.IsStore(name) {
				return importStore(ctx, env, name, mlflow.Options{Artifacts: artifacts, MaxBytes: int64(limit)})
			}
			if len(artifacts) > 0 {
				return quant.Errorf(quant.Usage, "--artifacts is for a store of MLflow, and %s is none", name)
			}
			open := func() (*os.File, error) { return portable.Open(name) }
			if name == "-" {
				name = "stdin"
				open = func() (*os.File, error) { return portable.Spool(env.Streams().In, int64(limit)) }
			}
			if _, err := env.MetaDB(); err != nil {
				return err
			}
			file, err := whileWaiting(ctx, open)
			if err != nil {
				return err
			}
			defer file.Close()
			done, err := portable.Import(ctx, env.Lab, file, portable.ImportOptions{MaxBytes: int64(limit), At: quant.NewTime(env.Now()), By: env.RunID()})
			if err != nil {
				return err
			}
			imported := int64(len(done.Imported))
			env.Record(
				quant.RunIO{Direction: quant.In, Kind: quant.IOFile, Name: name, Rows: &done.File.Runs, Digest: quant.Text(done.Digest)},
				quant.RunIO{Direction: quant.Out, Kind: quant.IORuns, Name: "imported", Rows: &imported})
			return env.Print([]importReport{{
				File: name, Imported: imported, Skipped: int64(len(done.Skipped)), Summary: done.File, Bytes: done.Bytes, Digest: done.Digest,
			}})
		},
	}
	cmd.Flags().Var(&limit, "max-size", "what the file may unpack to, or one artifact of a store may have, such as 500MiB or 20GiB")
	cmd.Flags().StringArrayVar(&artifacts, "artifacts", nil, "a folder that has artifacts of the store; may be repeated")
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

// shownNotes is how many notes of an import are printed; all are counted.
const shownNotes = 20

// importStore brings a store of MLflow over.
func importStore(ctx context.Context, env *Env, path string, o mlflow.Options) error {
	if _, err := env.MetaDB(); err != nil {
		return err
	}
	o.At, o.By, o.Registry = quant.NewTime(env.Now()), env.RunID(), env.Registry
	done, err := mlflow.Import(ctx, env.Lab, path, o)
	if len(done.Counts) > 0 {
		found, imported := done.Counts[mlflow.Runs].Found, done.Counts[mlflow.Runs].Imported
		env.Record(
			quant.RunIO{Direction: quant.In, Kind: quant.IOFile, Name: path, Rows: &found},
			quant.RunIO{Direction: quant.Out, Kind: quant.IORuns, Name: "imported", Rows: &imported})
	}
	if err != nil {
		return err
	}
	for i, n := range done.Notes {
		if i == shownNotes {
			env.Warn("%d more are not shown", done.Told-shownNotes)
			break
		}
		what := ""
		if n.Skipped {
			what = "skipped: "
		}
		env.Warn("%s: %s%s", n.Object, what, n.Why)
	}
	if err := env.Print(storeImport{done}); err != nil {
		return err
	}
	if done.Skipped > 0 {
		return quant.Errorf(quant.Partial, "%d things of %s could not be brought over", done.Skipped, path).
			WithHint("they are named above; what was brought stays, and another import takes up the rest")
	}
	return nil
}

// storeImport is the result of runs import of a store.
type storeImport struct{ mlflow.Imported }

func (r storeImport) Sections() []output.Section { return []output.Section{{Rows: r.Counts}} }

func (r storeImport) CSVRows() any { return r.Counts }

// importReport is the result of runs import.
type importReport struct {
	File     string `json:"file"`
	Imported int64  `json:"imported"`
	Skipped  int64  `json:"skipped"`
	portable.Summary
	Bytes  int64  `json:"bytes"`
	Digest string `json:"digest"`
}

// byteLimit is a flag value: bytes, with or without KiB, MiB, GiB, TiB, or kB,
// MB, GB, TB.
type byteLimit int64

var byteUnits = []struct {
	name  string
	bytes int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1},
}

func (v *byteLimit) Set(s string) error {
	for _, unit := range byteUnits {
		digits, found := strings.CutSuffix(s, unit.name)
		if !found {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n <= 0 || n > (1<<62)/unit.bytes {
			break
		}
		*v = byteLimit(n * unit.bytes)
		return nil
	}
	return quant.Errorf(quant.Usage, "%q is no size", s).WithHint("write 500MiB or 20GiB")
}

func (v *byteLimit) String() string {
	n := int64(*v)
	for i := 3; i >= 0; i-- {
		if unit := byteUnits[i]; n >= unit.bytes && n%unit.bytes == 0 {
			return strconv.FormatInt(n/unit.bytes, 10) + unit.name
		}
	}
	return strconv.FormatInt(n, 10)
}

func (v *byteLimit) Type() string { return "size" }
