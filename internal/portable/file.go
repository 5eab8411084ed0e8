package portable

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"quant"
	"quant/internal/durable"
	"quant/internal/lab"
)

// The forms in which runs are written.
const (
	Native      = "quant"       // what Import reads
	OpenLineage = "openlineage" // events, one JSON document a line, for other programs
)

// ExportOptions say what is written, and where.
type ExportOptions struct {
	Format   string // Native or OpenLineage
	Path     string // of the file, which is made whole or not at all; - is Stdout
	Stdout   io.Writer
	Force    bool   // replace a file that stands at Path
	Children bool   // also the runs below those that are named
	Self     string // with Children: a run that is left out, as it still runs; "": none
}

// Validate reports the first option that cannot be used, as Usage.
func (o ExportOptions) Validate() error {
	if o.Format != Native && o.Format != OpenLineage {
		return quant.Errorf(quant.Usage, "--format %q is not known", o.Format).WithHint("use %s or %s", Native, OpenLineage)
	}
	if o.Path == "" {
		return quant.Errorf(quant.Usage, "the name of the file is empty").WithHint("name a file, or - for stdout")
	}
	return nil
}

// Exported says what was written.
type Exported struct {
	Summary
	Bytes  int64  `json:"bytes"`
	Digest string `json:"digest"`
}

// Write writes these runs, as they are at one moment, in the order of their ids, to
// a file of mode 0600, or to Stdout. The same runs give the same bytes, whatever
// else a lab holds. Errors: those of Validate; NotFound for a run that does not
// exist or an artifact whose content is gone; Conflict for a run that has not ended
// or is deleted, and if something stands at Path that is not to be, or cannot be,
// replaced; Refused for a content that was changed since it was stored; Failed if
// the file cannot be written; what Stdout gave; ctx's cause.
func Write(ctx context.Context, from *lab.Lab, runIDs []string, o ExportOptions) (done Exported, err error) {
	if err := o.Validate(); err != nil {
		return done, err
	}
	if o.Children {
		if runIDs, err = withChildren(ctx, from.Meta, runIDs, o.Self); err != nil {
			return done, err
		}
	}
	write := exportRuns
	if o.Format == OpenLineage {
		write = exportEvents
	}
	sum := durable.NewSum()
	fill := func(w io.Writer) (err error) {
		done.Summary, err = write(ctx, from, runIDs, io.MultiWriter(w, sum))
		return err
	}
	if o.Path == "-" {
		err = fill(o.Stdout)
	} else {
		err = newFile(o.Path, o.Force, fill)
	}
	done.Bytes, done.Digest = sum.Size(), sum.Digest()
	return done, err
}

// newFile writes a file whole or not at all.
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
		return quant.Errorf(quant.Failed, "write %s: %w", path, err).WithHint("is there such a folder, and room on the disk?")
	}
	return err
}

// Open opens a file of runs, to be read by Import. Errors: NotFound, Invalid for
// what is no regular file and so cannot be read twice, Failed.
func Open(name string) (*os.File, error) {
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

// Spool keeps what a stream has, at most limit bytes, in a file without a name, so
// that Import can read it twice. Errors: Refused for more; the stream's; Failed.
func Spool(stdin io.Reader, limit int64) (*os.File, error) {
	f, err := durable.Nameless("")
	if err != nil {
		return nil, quant.Errorf(quant.Failed, "keep stdin in a file: %w", err)
	}
	n, err := io.Copy(f, io.LimitReader(stdin, limit+1))
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
