package cli

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

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
			return env.importRuns(cmd.Context(), args[0], int64(limit))
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

func (e *Env) importRuns(ctx context.Context, name string, limit int64) error {
	if _, err := e.MetaDB(); err != nil {
		return err
	}
	file, err := e.importFile(ctx, name, limit)
	if err != nil {
		return err
	}
	defer file.Close()
	done, err := portable.Import(ctx, e.carryLab(), file, portable.ImportOptions{MaxBytes: limit, At: quant.NewTime(e.Now()), By: e.Run.ID})
	if err != nil {
		return err
	}
	shown := name
	if name == "-" {
		shown = "stdin"
	}
	e.record(quant.RunIO{Direction: quant.In, Kind: quant.IOFile, Name: shown, Rows: &done.File.Runs, Digest: quant.Text(done.Digest)})
	imported := int64(len(done.Imported))
	e.record(quant.RunIO{Direction: quant.Out, Kind: quant.IORuns, Name: "imported", Rows: &imported})
	return e.Print([]importReport{{
		File: shown, Imported: imported, Skipped: int64(len(done.Skipped)), Summary: done.File, Bytes: done.Bytes, Digest: done.Digest,
	}})
}

// importFile opens a file that can be read twice; stdin is kept in a file
// without a name.
func (e *Env) importFile(ctx context.Context, name string, limit int64) (*os.File, error) {
	if name != "-" {
		f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe in its place would wait for a writer
		if err != nil {
			code := quant.Failed
			if errors.Is(err, fs.ErrNotExist) {
				code = quant.NotFound
			}
			return nil, quant.Errorf(code, "open the file of runs: %w", err).WithHint("name a file that you may read, or - for stdin")
		}
		if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
			f.Close()
			return nil, quant.Errorf(quant.Invalid, "%s is no regular file", name).WithHint("give what is no file on stdin: quant runs import - < %s", name)
		}
		return f, nil
	}
	f, err := os.CreateTemp("", "quant-import-*") // 0600
	if err != nil {
		return nil, quant.Errorf(quant.Failed, "keep stdin in a file: %w", err)
	}
	os.Remove(f.Name())
	n, err := whileWaiting(ctx, func() (int64, error) { return io.Copy(f, io.LimitReader(e.Streams().In, limit+1)) })
	if err == nil && n > limit {
		err = quant.Errorf(quant.Refused, "stdin has more than %d bytes", limit).WithHint("nothing was imported; if you trust it, give a higher --max-size")
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
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
