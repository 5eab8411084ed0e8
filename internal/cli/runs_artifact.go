package cli

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/artifact"
	"quant/internal/durable"
	"quant/internal/output"
	"quant/internal/runs"
)

func runsArtifact(env *Env) Command {
	var f artifactFlags
	cmd := &cobra.Command{
		Use:   "artifact RUN [NAME]",
		Short: "List the artifacts of a run, or write one out",
		Long: `List the artifacts of a run, or with NAME write the content of one to stdout, or
to the file that --out names. The content is verified before anything is written:
one that is not what was stored is refused (exit status 6).

A file is written whole or not at all. One that is there already is not
overwritten (exit status 5), unless --force; a symbolic link in its place is
replaced, never followed. Content that is no text is not written to a terminal.`,
		Example: `  quant runs artifact last
  quant runs artifact @baseline plots/equity.png --out equity.png
  quant runs artifact 3f2a code.diff | git apply`,
		Args: wantArgs(1, 2, "a run and at most one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && (f.force || cmd.Flags().Changed("out")) {
				return quant.Errorf(quant.Usage, "--out and --force need the name of an artifact").WithHint("usage: %s", cmd.UseLine())
			}
			if f.out == "" {
				return quant.Errorf(quant.Usage, "--out is empty").WithHint("name a file, or - for stdout")
			}
			return env.artifact(cmd.Context(), args, f)
		},
	}
	cmd.Flags().StringVar(&f.out, "out", "-", "the file to write (-: stdout)")
	cmd.Flags().BoolVar(&f.force, "force", false, "overwrite the file that --out names")
	return Command{Command: cmd}
}

type artifactFlags struct {
	out   string
	force bool
}

// artifactRow is an artifact in the result of runs artifact.
type artifactRow struct {
	Name     string     `json:"name"`
	Bytes    int64      `json:"bytes"`
	Digest   string     `json:"digest"`
	LoggedAt quant.Time `json:"logged_at"`
}

func artifactRows(list []quant.Artifact) []artifactRow {
	rows := []artifactRow{}
	for _, a := range list {
		rows = append(rows, artifactRow{a.Name, a.Bytes, a.Digest, a.LoggedAt})
	}
	return rows
}

func (e *Env) artifact(ctx context.Context, args []string, f artifactFlags) error {
	meta, err := e.MetaDB()
	if err != nil {
		return err
	}
	id, err := e.Resolve(ctx, args[0])
	if err != nil {
		return err
	}
	if len(args) == 1 {
		list, err := meta.Artifacts(ctx, id)
		if err != nil {
			return err
		}
		return e.Print(artifactRows(list))
	}
	a, err := runs.Artifact(ctx, meta, id, args[1])
	if err != nil {
		return err
	}
	if f.out != "-" {
		if err := mayCreate(f.out, f.force); err != nil {
			return err
		}
	}
	content, err := e.Artifacts().Reader(ctx, a.Digest)
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }() // it was only read
	e.record(quant.RunIO{Direction: quant.In, Kind: quant.IORun, Name: id})
	copyTo := func(w io.Writer) error {
		_, err := io.Copy(w, content)
		return err
	}
	switch {
	case f.out != "-":
		defer e.Target(f.out)()
		return createFile(f.out, f.force, copyTo)
	case !output.IsTerminal(e.Streams().Out):
		return copyTo(e.Out())
	}
	return e.showText(content, a.Name)
}

// shownBytes is how much of a text is written to a terminal.
const shownBytes = 1 << 20

// showText writes a text to a terminal, cleaned.
func (e *Env) showText(content *artifact.Reader, name string) error {
	text, cut, err := content.Text(shownBytes)
	if errors.Is(err, artifact.ErrNoText) {
		return quant.Errorf(quant.Refused, "artifact %q is no text, and stdout is a terminal", name).
			WithHint("--out FILE writes it to a file, and a pipe gets it as it is")
	}
	if err != nil {
		return err
	}
	if _, err := io.WriteString(e.Out(), output.Clean(e.Secrets.Known(text))); err != nil {
		return err
	}
	if cut {
		e.Notice("only the first %s are shown; --out FILE writes all of it", quant.Bytes(shownBytes))
	}
	return nil
}

// mayCreate refuses a file that is there already, or that no file can replace.
func mayCreate(path string, force bool) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return quant.Errorf(quant.Failed, "the file to write: %w", err).WithHint("name another one")
	case info.IsDir():
		return quant.Errorf(quant.Conflict, "%s is a folder", path).WithHint("name a file in it")
	case !force:
		return quant.Errorf(quant.Conflict, "%s is there already", path).WithHint("--force overwrites it")
	case !info.Mode().IsRegular() && info.Mode()&fs.ModeSymlink == 0:
		return quant.Errorf(quant.Conflict, "%s is no plain file", path).WithHint("name another one")
	}
	return nil
}

// createFile makes a file of 0600 with what write gives, whole or not at all:
// it appears under its name once it is complete. What stands there is replaced
// if force, else it is a Conflict, also where it came meanwhile.
func createFile(path string, force bool, write func(io.Writer) error) error {
	failed := func(err error) error {
		if quant.CodeOf(err) != quant.Failed || errors.Is(err, context.Canceled) {
			return err
		}
		return quant.Errorf(quant.Failed, "write %s: %w", path, err).WithHint("is there such a folder, and room on the disk?")
	}
	if err := mayCreate(path, force); err != nil {
		return err
	}
	publish := durable.Create
	if force {
		publish = durable.Replace
	}
	switch err := publish(path, 0o600, write); {
	case errors.Is(err, durable.ErrExists):
		return mayCreate(path, false)
	case err != nil:
		return failed(err)
	}
	return nil
}
