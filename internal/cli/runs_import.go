package cli

import (
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/portable"
)

func runsImport(env *Env) Command {
	limit := byteLimit(10 << 30)
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Take in the runs of a file that runs export wrote",
		Long: `Take in the runs of a file that ` + "`quant runs export`" + ` wrote, whole or not at
all; - is stdin. Runs keep their ids, times and everything that was recorded of
them, and are marked as imported. A run that the lab has already is skipped if it
is the same; if anything of it differs, nothing is imported (exit status 5).

The whole file is checked before anything is stored: its form, its digests, every
rule of the registry. A file that unpacks to more than --max-size is refused. The
facts of an imported run stay in the lab where it ran.`,
		Example: `  quant runs import momentum.qrx
  ssh elsewhere quant runs export last - | quant runs import -`,
		Args: wantArgs(1, 1, "one file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, name := cmd.Context(), args[0]
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
	cmd.Flags().Var(&limit, "max-size", "what the file may unpack to, such as 500MiB or 20GiB")
	return Command{Command: cmd, Traits: Traits{Changes: always}}
}

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
