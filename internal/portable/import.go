package portable

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"quant"
	"quant/internal/durable"
	"quant/internal/failpoint"
	"quant/internal/lab"
)

// ImportOptions say how a file is taken in.
type ImportOptions struct {
	MaxBytes int64      // that the file may unpack to
	At       quant.Time // imported_at
	By       string     // run_id of the run that imports
}

// Imported says what an import did.
type Imported struct {
	File     Summary  // what the file holds
	Imported []string // the runs that were taken in, by id
	Skipped  []string // those that were there already, the same
	Digest   string   // of the file
	Bytes    int64
}

// Import takes in a file of runs, whole or not at all. It reads the file twice:
// once to check all of it, and to compare the runs that the lab has already;
// then to store the contents, and last the rows in one transaction. Contents
// that were stored before a failure stay, for gc. Errors: Invalid for a file
// that is not what Write writes; Refused for one that unpacks to more than
// MaxBytes; Conflict when the lab has one of the runs with other records,
// naming what differs; ctx's cause.
func Import(ctx context.Context, to *lab.Lab, file io.ReadSeeker, o ImportOptions) (Imported, error) {
	im := &importing{lab: to, o: o, there: map[string]bool{}, uses: map[string]*use{}}
	if err := im.check(ctx, file); err != nil {
		return Imported{}, err
	}
	if len(im.done.Imported) == 0 {
		return im.done, nil
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return Imported{}, quant.Errorf(quant.Failed, "read the file of runs again: %w", err)
	}
	if err := im.store(ctx, file); err != nil {
		return Imported{}, err
	}
	return im.done, nil
}

type importing struct {
	lab   *lab.Lab
	o     ImportOptions
	done  Imported
	there map[string]bool // runs of the file that the lab has, the same
	uses  map[string]*use // of contents that must be stored, by digest
	logs  map[string][]string
	again *counting // the second reading
}

// use says what a content is needed for.
type use struct {
	artifact bool
	logs     []string
}

// check reads the whole file and changes nothing.
func (im *importing) check(ctx context.Context, file io.Reader) error {
	sum := &counting{r: file, sum: durable.NewSum()}
	r, err := newReader(ctx, sum, im.o.MaxBytes)
	if err != nil {
		return err
	}
	if im.logs, err = logNames(im.lab.LogDir()); err != nil {
		return err
	}
	var clashes []string
	var found comparison
	for {
		item, err := r.next()
		if err != nil {
			return err
		}
		switch item := item.(type) {
		case nil:
			if len(clashes) > 0 {
				return clash(clashes)
			}
			im.done.File = r.seen.Summary
			im.done.Digest, im.done.Bytes = sum.digest(), sum.sum.Size()
			return nil
		case runItem:
			if found, err = im.compare(ctx, item.document); err != nil {
				return err
			}
			if !found.exists {
				im.need(item.document)
			}
		case runEnd:
			if err := im.comparePoints(ctx, &found, item); err != nil {
				return err
			}
			switch {
			case !found.exists:
				im.done.Imported = append(im.done.Imported, item.runID)
			case len(found.differs) > 0:
				clashes = append(clashes, "run "+item.runID+" ("+strings.Join(found.differs, ", ")+")")
			default:
				im.there[item.runID] = true
				im.done.Skipped = append(im.done.Skipped, item.runID)
			}
		}
	}
}

func clash(clashes []string) error {
	shown, more := clashes[:min(3, len(clashes))], ""
	if len(clashes) > len(shown) {
		more = ", ..."
	}
	return quant.Errorf(quant.Conflict, "this lab has %d of the runs already, with other records: %s%s", len(clashes), strings.Join(shown, ", "), more).
		WithHint("nothing was imported; export without these runs, or delete and purge them here first")
}

type counting struct {
	r   io.Reader
	sum *durable.Sum
}

func (c *counting) digest() string { return c.sum.Digest() }

func (c *counting) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	_, _ = c.sum.Write(b[:n])
	return n, err
}

// need notes which contents a run takes.
func (im *importing) need(d document) {
	of := func(digest string) *use {
		if im.uses[digest] == nil {
			im.uses[digest] = &use{}
		}
		return im.uses[digest]
	}
	for _, a := range d.Artifacts {
		of(a.Digest).artifact = true
	}
	for _, f := range d.Client.files() {
		of(f.Digest).artifact = true
	}
	for _, l := range d.Logs {
		of(l.Digest).logs = append(of(l.Digest).logs, l.Name)
	}
}

// comparison is how the lab's run of an id stands to the file's.
type comparison struct {
	exists  bool
	differs []string
	metrics map[string]bool // of which a client says what their last point is
}

func (im *importing) compare(ctx context.Context, theirs document) (comparison, error) {
	id := theirs.Run.RunID
	_, err := im.lab.Meta.GetRun(ctx, id)
	if errors.Is(err, quant.NotFound) {
		return comparison{}, nil
	}
	if err != nil {
		return comparison{}, err
	}
	logs, err := hashLogs(ctx, im.lab.LogDir(), im.logs[id])
	if err != nil {
		return comparison{}, err
	}
	ours, err := documentOf(ctx, im.lab.Meta, id, logs)
	if err != nil {
		return comparison{}, err
	}
	list, err := differences(ours, theirs)
	return comparison{true, list, ours.Client.metrics()}, err
}

func (im *importing) comparePoints(ctx context.Context, c *comparison, theirs runEnd) error {
	if !c.exists || slices.Contains(c.differs, "metrics") {
		return nil
	}
	var digests []string
	w := &pointWriter{clients: c.metrics, emit: func(b []byte) error {
		digests = append(digests, durable.Digest(b))
		return nil
	}}
	if _, err := points(ctx, im.lab.Meta, theirs.runID, w); err != nil {
		return err
	}
	if formOf(digests) != theirs.form {
		c.differs = append(c.differs, "points")
	}
	return nil
}

// store reads the file once more, checking it again, and stores what the lab
// does not have.
func (im *importing) store(ctx context.Context, file io.Reader) error {
	im.again = &counting{r: file, sum: durable.NewSum()}
	r, err := newReader(ctx, im.again, im.o.MaxBytes)
	if err != nil {
		return err
	}
	for {
		item, err := r.next()
		if err != nil {
			return err
		}
		switch item := item.(type) {
		case contentItem:
			if err := im.content(ctx, item); err != nil {
				return err
			}
		case runItem:
			failpoint.Hit("carry.contents")
			err := im.lab.Meta.Tx(ctx, func(ctx context.Context) error { return im.rows(ctx, r, item) })
			if err == nil {
				failpoint.Hit("carry.committed")
			}
			return err
		default:
			return damaged("after its contents", "a run should be there")
		}
	}
}

// pointsAtOnce is how many points are handed to the store together, so that its
// checks cost little beside its rows.
const pointsAtOnce = 10 * linePoints

// rows stores the runs of the file, of which first has been read.
func (im *importing) rows(ctx context.Context, r *reader, first runItem) error {
	im.done.Imported, im.done.Skipped = nil, nil
	var item any = first
	var err error
	if im.logs, err = logNames(im.lab.LogDir()); err != nil { // another import may have brought some since
		return err
	}
	var found comparison
	var current document
	var clashes []string
	var waiting []quant.MetricPoint
	flush := func() error {
		err := im.lab.Meta.ImportPoints(ctx, waiting)
		waiting = waiting[:0]
		return named("the file of runs", err)
	}
	for {
		switch it := item.(type) {
		case nil:
			if im.again.digest() != im.done.Digest {
				return damaged("on the second reading", "it was changed since the first")
			}
			if len(clashes) > 0 {
				return clash(clashes)
			}
			failpoint.Hit("carry.rows")
			return nil
		case runItem:
			if found, err = im.compare(ctx, it.document); err != nil {
				return err
			}
			if found.exists {
				break // since the first reading, or then already
			}
			if im.there[it.Run.RunID] {
				return quant.Errorf(quant.Conflict, "run %s was purged while it was imported", it.Run.RunID).WithHint("nothing was imported; import again")
			}
			current = it.document
			mark := quant.Import{RunID: it.Run.RunID, ImportedAt: im.o.At, ByRunID: quant.Text(im.o.By)}
			if err := im.lab.Meta.ImportRun(ctx, it.ended(), mark); err != nil {
				return named("the file of runs, run "+it.Run.RunID, err)
			}
		case pointsItem:
			if found.exists {
				break
			}
			waiting = append(waiting, it...)
			if len(waiting) >= pointsAtOnce {
				if err := flush(); err != nil {
					return err
				}
			}
		case runEnd:
			if err := flush(); err != nil {
				return err
			}
			if !found.exists {
				if err := im.client(ctx, current); err != nil {
					return named("the file of runs, run "+it.runID, err)
				}
			}
			if err := im.comparePoints(ctx, &found, it); err != nil {
				return err
			}
			switch {
			case !found.exists:
				im.done.Imported = append(im.done.Imported, it.runID)
			case len(found.differs) > 0:
				clashes = append(clashes, "run "+it.runID+" ("+strings.Join(found.differs, ", ")+")")
			default:
				im.done.Skipped = append(im.done.Skipped, it.runID)
			}
		default:
			return damaged("after its contents", "a run should be there")
		}
		if item, err = r.next(); err != nil {
			return err
		}
	}
}

// content stores a content for what needs it.
func (im *importing) content(ctx context.Context, c contentItem) error {
	need := im.uses[c.digest]
	if need == nil {
		return nil
	}
	if len(need.logs) == 0 {
		return im.put(ctx, c, c.r)
	}
	text, err := spool(im.lab.LogDir(), c.r)
	if err != nil {
		return err
	}
	defer os.Remove(text.Name())
	defer text.Close()
	if need.artifact {
		if err := im.put(ctx, c, text); err != nil {
			return err
		}
	}
	for _, name := range need.logs {
		if err := placeLog(im.lab.LogDir(), name, text); err != nil {
			return err
		}
	}
	return nil
}

func (im *importing) put(ctx context.Context, c contentItem, r io.Reader) error {
	digest, _, err := im.lab.Artifacts().Put(ctx, r)
	if err == nil && digest != c.digest {
		err = damaged(contentsFolder+c.digest[len(sha256Prefix):], "its content does not have the digest of its name")
	}
	return err
}

// spool writes what r gives to a temporary file of the folder of logs, at its
// beginning.
func spool(dir string, r io.Reader) (*os.File, error) {
	if err := durable.MakeFolder(dir); err != nil {
		return nil, logError(err)
	}
	f, err := durable.TemporaryFile(dir, "import")
	if err != nil {
		return nil, logError(err)
	}
	_, err = io.Copy(f, r)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		os.Remove(f.Name())
		return nil, logError(err)
	}
	return f, nil
}

// placeLog makes a copy of a file the log of this name, whole or not at all.
func placeLog(dir, name string, text *os.File) error {
	if _, err := text.Seek(0, io.SeekStart); err != nil {
		return logError(err)
	}
	if err := durable.Replace(filepath.Join(dir, name), 0o600, durable.From(text)); err != nil {
		return logError(err)
	}
	return nil
}

func logError(err error) error {
	var typed *quant.Error
	var signal quant.Signalled
	if errors.As(err, &typed) || errors.As(err, &signal) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return quant.Errorf(quant.Store, "store a log: %w", err).WithHint("make room, or make the folder writable; no run was imported")
}
