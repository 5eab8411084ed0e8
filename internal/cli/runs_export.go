package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"quant"
	"quant/internal/durable"
	"quant/internal/output"
	"quant/internal/portable"
)

func runsExport(env *Env) Command {
	var f exportFlags
	cmd := &cobra.Command{
		Use:   "export RUN... FILE",
		Short: "Write runs to one portable file, with their artifacts and logs",
		Long: `Write runs to one file that ` + "`quant runs import`" + ` takes into another lab: their
rows, params, tags, metrics with all points, notes, artifacts and logs, each with
its digest. docs/portable.md describes the file. The same runs give the same
bytes, also from the lab that imported them and whatever their order here.

A run that is RUNNING or deleted is refused (exit status 5). --children also
takes the runs below the named ones. FILE is written whole or not at all, and
must not exist yet, unless --force; - is stdout.

--format openlineage writes OpenLineage events instead, one JSON document a line:
START and COMPLETE or FAIL for each run. It is for other programs to read;
artifacts, logs and points are not in it, and nothing imports it here.

What is exported is what is stored: masked when it was recorded, and no further.
Look at it before you give it away.`,
		Example: `  quant runs export last momentum.qrx
  quant runs export --children 3f2a 77b0 both.qrx
  quant runs export last - | ssh elsewhere quant runs import -
  quant runs export last:backtest --format openlineage events.jsonl`,
		Args: wantArgs(2, -1, "runs and a file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.runs, f.file = args[:len(args)-1], args[len(args)-1]
			return env.exportRuns(cmd.Context(), f)
		},
	}
	cmd.Flags().BoolVar(&f.children, "children", false, "also the runs below these")
	cmd.Flags().BoolVar(&f.force, "force", false, "replace FILE if it exists")
	cmd.Flags().StringVar(&f.format, "format", "quant", "quant or openlineage")
	return Command{Command: cmd}
}

type exportFlags struct {
	runs            []string
	file, format    string
	children, force bool
}

// exportReport is the result of runs export.
type exportReport struct {
	File   string `json:"file"`
	Format string `json:"format"`
	portable.Summary
	Bytes  int64  `json:"bytes"`
	Digest string `json:"digest"`
}

func (e *Env) exportRuns(ctx context.Context, f exportFlags) error {
	write := map[string]func(context.Context, portable.Lab, []string, io.Writer) (portable.Summary, error){
		"quant": portable.Export, "openlineage": portable.OpenLineage,
	}[f.format]
	if write == nil {
		return quant.Errorf(quant.Usage, "--format %q is not known", f.format).WithHint("use quant or openlineage")
	}
	if f.file == "" {
		return quant.Errorf(quant.Usage, "the name of the file is empty").WithHint("name a file, or - for stdout")
	}
	if f.file == "-" && f.format == "quant" && output.IsTerminal(e.Streams().Out) {
		return quant.Errorf(quant.Usage, "the file of runs would be written to the terminal").WithHint("name a file, or give stdout to a pipe")
	}
	meta, err := e.MetaDB()
	if err != nil {
		return err
	}
	var ids []string
	for _, ref := range f.runs {
		id, err := e.Resolve(ctx, ref)
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	if f.children {
		if ids, err = portable.Children(ctx, meta, ids); err != nil {
			return err
		}
		if e.Run != nil { // this run may be a child of one of them
			ids = slices.DeleteFunc(ids, func(id string) bool { return id == e.Run.ID })
		}
	}
	sum := durable.NewSum()
	report := exportReport{File: f.file, Format: f.format}
	fill := func(w io.Writer) (err error) {
		report.Summary, err = write(ctx, e.carryLab(), ids, io.MultiWriter(w, sum))
		return err
	}
	if f.file == "-" {
		if err := fill(e.Out()); err != nil {
			return err
		}
	} else if err := newFile(f.file, f.force, fill); err != nil {
		return err
	}
	report.Bytes, report.Digest = sum.Size(), sum.Digest()
	name := f.file
	if name == "-" {
		name = "stdout"
	}
	e.record(quant.RunIO{Direction: quant.Out, Kind: quant.IOFile, Name: name, Rows: &report.Runs, Digest: quant.Text(report.Digest)})
	if f.file == "-" {
		return nil
	}
	return e.Print([]exportReport{report})
}

// lab is where runs are exported from and imported to.
func (e *Env) carryLab() portable.Lab {
	return portable.Lab{Store: e.Meta, Artifacts: e.Artifacts(), LogDir: e.LogDir()}
}

// newFile writes a file of 0600 whole or not at all. One that exists is
// Conflict unless force, and then replaced if it is a regular file.
func newFile(path string, force bool, fill func(io.Writer) error) error {
	taken := quant.Errorf(quant.Conflict, "%s exists already", path).WithHint("name another file, or replace it with --force")
	if info, err := os.Lstat(path); err == nil {
		if !force {
			return taken
		}
		if !info.Mode().IsRegular() {
			return quant.Errorf(quant.Conflict, "%s is no regular file", path).WithHint("name another file, or - for stdout")
		}
	}
	failed := func(err error) error {
		return quant.Errorf(quant.Failed, "write %s: %w", path, err).WithHint("is there such a folder, and room on the disk?")
	}
	publish := durable.Create
	if force {
		publish = durable.Replace
	}
	err := publish(path, 0o600, fill)
	var disk *durable.Error
	switch {
	case errors.Is(err, durable.ErrExists):
		return taken
	case errors.As(err, &disk):
		return failed(err)
	}
	return err
}
