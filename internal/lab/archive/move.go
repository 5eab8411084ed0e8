package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"quant"
	"quant/internal/artifact"
	"quant/internal/durable"
	"quant/internal/factstore"
	"quant/internal/failpoint"
	"quant/internal/lab"
	"quant/internal/lab/facts"
	"quant/internal/lab/place"
	"quant/internal/metastore"
)

// Moved is what a move took over, or would.
type Moved struct {
	Meta    []metastore.Copied // by table; nil: the Meta DB stays where it is
	Facts   []factstore.Copied // by table; nil: there are no facts, or they stay where they are
	Files   []Files            // by kind
	Missing []string           // artifacts, by digest, whose content is not there or not what was stored
	Since   int64              // runs that were recorded in the source while it was moved; they are not taken over
	IO      []quant.RunIO      // what was read and written
}

// Files counts the files of one kind that a lab has beside its databases.
type Files struct {
	Kind   string `json:"kind"`
	Files  int64  `json:"files"`
	Bytes  int64  `json:"bytes"`
	Digest string `json:"digest"` // of their names and digests; "" where nothing was read

	sum hash.Hash
}

// Incomplete is the Partial error of a move that lacks contents; nil for one that lacks none.
func (m Moved) Incomplete() error {
	if len(m.Missing) == 0 {
		return nil
	}
	return quant.Errorf(quant.Partial, "the contents of %s could not be taken over, such as %s: missing or damaged in the source", quant.Count(len(m.Missing), "artifact"), m.Missing[0]).
		WithHint("the rest is whole; contents that another machine wrote are in its data folder")
}

// moves is the kind of runs that move.
const moves = "lab.move"

// preparing reports whether a run that may have changed something only prepared a lab, or
// began to move one here.
func preparing(r metastore.RunDetail) bool {
	return r.Kind == "init-db" || r.Kind == "restore" && r.Status != quant.Success || r.Kind == moves && r.Status != quant.Success
}

// moving is one move at work.
type moving struct {
	from     *lab.Lab // open for reading
	to       *facts.Store
	metaToo  bool // the Meta DB goes elsewhere
	factsToo bool // the facts do
	done     Moved
}

// sameFacts reports whether two labs have their facts in one place.
func sameFacts(a, b place.Place) bool {
	if a.FactsURL != "" || b.FactsURL != "" {
		return a.FactsURL == b.FactsURL
	}
	return place.Real(a.FactPath) == place.Real(b.FactPath)
}

// sameMeta reports whether two labs are recorded in one Meta DB.
func sameMeta(a, b place.Place) bool {
	if a.MetaURL != "" || b.MetaURL != "" {
		return a.MetaURL == b.MetaURL
	}
	return a.MetaFile() == b.MetaFile()
}

// Move takes a lab over into the one that is open, which is empty but for what prepared it
// and the run that moves, and leaves the source as it is. What the two have in one place stays
// there. The source is held at one moment, at which no run of it is RUNNING. Facts come
// first, then files, each by its digest, and last the Meta DB; facts and Meta DB are each one
// transaction, whose rows are read again and compared before it is committed. After a kill
// at any moment the same move finishes, and takes nothing over twice.
//
// Errors: Usage where nothing would move; Conflict for a target that is a lab in use; Locked
// while a run of the source is RUNNING or writes facts, for longer than to waits; Store.
func Move(ctx context.Context, to *facts.Store, from place.Place) (Moved, error) {
	m := &moving{to: to, metaToo: !sameMeta(from, to.Lab.Place), factsToo: !sameFacts(from, to.Lab.Place)}
	if !m.metaToo && !m.factsToo {
		return m.done, quant.Errorf(quant.Usage, "the lab lies where it is to go already").WithHint("say where it shall go: --to-data-dir, --to-meta-url or --to-facts-url")
	}
	if _, err := to.Lab.MetaDB(); err != nil {
		return m.done, err
	}
	if m.metaToo {
		if err := metastore.Vacant(ctx, to.Lab.Meta, preparing); err != nil {
			return m.done, err
		}
		m.from = lab.New(lab.Options{Place: from, Now: to.Lab.Now, Mask: to.Lab.Mask, Patience: to.Lab.Patience, Waiting: to.Lab.Waiting})
		if err := m.from.OpenReadOnly(ctx); err != nil {
			return m.done, err
		}
		defer func() { _ = m.from.Close() }()
	} else {
		m.from = to.Lab
	}
	err := m.held(ctx, from, func(ctx context.Context, held *factstore.Held) error { return m.take(ctx, from, held) })
	if err != nil {
		return m.done, err
	}
	return m.done, m.since(ctx)
}

// held calls fn while the source does not change: facts and Meta DB of one moment.
func (m *moving) held(ctx context.Context, from place.Place, fn func(ctx context.Context, facts *factstore.Held) error) error {
	if err := idle(ctx, m.from, m.to.Self, m.to.Wait); err != nil {
		return err
	}
	source := facts.Store{Lab: &lab.Lab{Options: lab.Options{Place: from}}}
	if !m.factsToo || !source.Exists() {
		return m.atOnce(ctx, func(ctx context.Context) error { return fn(ctx, nil) })
	}
	options := m.to.Options(ctx)
	options.Path, options.URL, options.Extensions, options.Fence = from.FactPath, from.FactsURL, from.Extensions, nil
	moved := errors.New("the facts have moved on")
	return m.to.Write(ctx, func(db *factstore.DB) error {
		for tries := 1; ; tries++ {
			held, err := db.HoldBeside(ctx, options)
			if errors.Is(err, factstore.ErrMissing) { // a lake that nobody made
				return m.atOnce(ctx, func(ctx context.Context) error { return fn(ctx, nil) })
			}
			if err != nil {
				return err
			}
			err = m.atOnce(ctx, func(ctx context.Context) error {
				if stands, err := held.Stands(ctx); err != nil || !stands {
					return errors.Join(err, moved)
				}
				return fn(ctx, held)
			})
			held.Release()
			if !errors.Is(err, moved) || tries == mostTries {
				return err
			}
		}
	})
}

// mostTries is how often two databases are looked at again because one of them has changed
// between the looks.
const mostTries = 20

// atOnce calls fn with one state of the source's Meta DB, in which no run is RUNNING.
func (m *moving) atOnce(ctx context.Context, fn func(ctx context.Context) error) error {
	if !m.metaToo { // it is that in which this run is recorded
		if err := idle(ctx, m.from, m.to.Self, 0); err != nil {
			return err
		}
		return fn(ctx)
	}
	return m.from.Meta.Snapshot(ctx, func(ctx context.Context) error {
		if err := idle(ctx, m.from, m.to.Self, 0); err != nil {
			return err
		}
		return fn(ctx)
	})
}

// idle waits until no run of a lab is RUNNING but one. Locked: one still is.
func idle(ctx context.Context, l *lab.Lab, except string, wait time.Duration) error {
	const step = 100 * time.Millisecond
	for waited := time.Duration(0); ; waited += step {
		running, err := l.Meta.ListRuns(ctx, metastore.RunFilter{All: true, Status: quant.Running, Brief: true, Except: except, Limit: 1})
		if err != nil || len(running) == 0 {
			return err
		}
		if waited >= wait {
			r := running[0]
			return quant.Errorf(quant.Locked, "run %s (%s, process %d on %s) of the lab to move is RUNNING", quant.ShortID(r.RunID), r.Kind, r.Process.PID, string(r.Process.Host)).
				WithHint("wait for its end; if its process is dead, `quant doctor` in that lab closes it")
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(step):
		}
	}
}

// take takes over what is held.
func (m *moving) take(ctx context.Context, from place.Place, held *factstore.Held) (err error) {
	if held != nil {
		if m.done.Facts, err = held.Copy(ctx, m.to.Self); err != nil {
			return err
		}
		m.done.IO = append(m.done.IO, quant.RunIO{Direction: quant.In, Kind: quant.IOFile, Name: m.to.Lab.Mask.Text(from.ShownFacts())})
		for _, t := range m.done.Facts {
			if t.Rows > 0 {
				m.done.IO = append(m.done.IO, quant.RunIO{Direction: quant.In, Kind: quant.IOTable, Name: t.Table, Rows: &t.Rows, Digest: quant.Text(t.Digest)})
			}
		}
	}
	failpoint.Hit("move.facts")
	if !m.metaToo {
		return nil
	}
	if err := m.files(ctx, from); err != nil {
		return err
	}
	failpoint.Hit("move.files")
	if m.done.Meta, err = metastore.CopyWhole(ctx, m.from.Meta, m.to.Lab.Meta, metastore.CopyOptions{Beside: preparing, Before: func() error {
		failpoint.Hit("move.meta")
		return nil
	}}); err != nil {
		return err
	}
	m.done.IO = append(m.done.IO, quant.RunIO{Direction: quant.In, Kind: quant.IOFile, Name: m.to.Lab.Mask.Text(from.ShownMeta())})
	for _, t := range m.done.Meta {
		if t.Rows > 0 {
			m.done.IO = append(m.done.IO, quant.RunIO{Direction: quant.Out, Kind: quant.IOMeta, Name: t.Table, Rows: &t.Rows, Digest: quant.Text(t.Digest)})
		}
	}
	return nil
}

// since counts what the source got meanwhile.
func (m *moving) since(ctx context.Context) error {
	if !m.metaToo {
		return nil
	}
	tables, err := m.from.Meta.Tables(ctx)
	if err != nil {
		return err
	}
	for _, t := range tables {
		for _, c := range m.done.Meta {
			if t.Table == "runs" && c.Table == t.Table {
				m.done.Since = t.Rows - c.Rows
			}
		}
	}
	return nil
}

// files takes over what stands beside the databases. A file that is there already is left.
func (m *moving) files(ctx context.Context, from place.Place) error {
	var to place.Place
	var err error
	if from, err = absolute(from); err != nil {
		return err
	}
	if to, err = absolute(m.to.Lab.Place); err != nil {
		return err
	}
	if err := checkRoom(to.DataDir, parts{Place: from}.beside()); err != nil {
		return err
	}
	contents := m.to.Lab.Artifacts()
	release, err := contents.Hold(ctx)
	if err != nil {
		return err
	}
	release() // it can be had; Put holds it for each
	return eachContent(ctx, from, m.from.Artifacts(), m.from.Meta, func(member, path string) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if strings.HasPrefix(member, artifacts) {
			return m.artifact(ctx, m.from.Artifacts(), contents, durable.DigestPrefix+strings.TrimPrefix(member, artifacts))
		}
		return m.file(member, path, fileOf(to, member, ""))
	})
}

// absolute is a place whose data folder and Meta DB have absolute paths.
func absolute(p place.Place) (_ place.Place, err error) {
	if p.DataDir, err = filepath.Abs(p.DataDir); err == nil {
		p.MetaPath, err = filepath.Abs(p.MetaFile())
	}
	if err != nil {
		return p, quant.Errorf(quant.Failed, "find the data folder: %w", err)
	}
	return p, nil
}

func (m *moving) artifact(ctx context.Context, from, to artifact.Store, digest string) error {
	f, size, err := openContent(ctx, from, digest)
	if errors.Is(err, quant.NotFound) || errors.Is(err, quant.Refused) {
		m.done.Missing = append(m.done.Missing, digest)
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if to.Verify(ctx, digest) != nil {
		stored, _, err := to.Put(ctx, f)
		if err != nil {
			return err
		}
		if stored != digest {
			return quant.Errorf(quant.Store, "the content %s changed while it was read", digest).WithHint("move again")
		}
	}
	m.count(artifacts, digest, digest, size)
	return nil
}

// file copies a plain file, and reads the copy again. Conflict: another stands there.
func (m *moving) file(member, path, to string) error {
	f, size, err := openRegular(path)
	if skippable(err) {
		return nil
	}
	if err != nil {
		return quant.Errorf(quant.Store, "read %s: %w", path, err).WithHint("make it readable")
	}
	defer f.Close()
	kind := member
	if folder, _, in := strings.Cut(member, "/"); in {
		kind = folder + "/"
	}
	if place.Real(path) == place.Real(to) { // one data folder
		return nil
	}
	digest, _, err := durable.DigestFile(path)
	if err != nil {
		return quant.Errorf(quant.Store, "read %s: %w", path, err).WithHint("make it readable")
	}
	failed := func(err error) error {
		return quant.Errorf(quant.Store, "write %s: %w", to, err).WithHint("make room, or make the folder writable; then move again")
	}
	if err := durable.MakeFolder(filepath.Dir(to)); err != nil {
		return failed(err)
	}
	if _, err := os.Lstat(to); err != nil {
		if err := durable.Create(to, 0o600, func(w io.Writer) error { _, err := io.Copy(w, f); return err }); err != nil && !errors.Is(err, durable.ErrExists) {
			return failed(err)
		}
	}
	stands, _, err := durable.DigestFile(to)
	if err != nil {
		return failed(err)
	}
	if stands != digest {
		return quant.Errorf(quant.Conflict, "%s stands there already and is another than %s", to, path).WithHint("name an empty folder with --to-data-dir")
	}
	m.count(kind, member, digest, size)
	return nil
}

func (m *moving) count(kind, name, digest string, size int64) {
	kind = strings.TrimSuffix(kind, "/")
	if n := len(m.done.Files); n == 0 || m.done.Files[n-1].Kind != kind {
		m.done.Files = append(m.done.Files, Files{Kind: kind, sum: sha256.New()})
	}
	of := &m.done.Files[len(m.done.Files)-1]
	of.Files++
	of.Bytes += size
	_, _ = of.sum.Write(fmt.Appendf(nil, "%s %s\n", name, digest)) // a hash takes everything
	of.Digest = durable.DigestPrefix + hex.EncodeToString(of.sum.Sum(nil))
}

// Survey counts what Move would take over of a lab, without its digests.
func Survey(ctx context.Context, f *facts.Store) (m Moved, err error) {
	meta, err := f.Lab.MetaDB()
	if err != nil {
		return m, err
	}
	tables, err := meta.Tables(ctx)
	if err != nil {
		return m, err
	}
	for _, t := range tables {
		m.Meta = append(m.Meta, metastore.Copied{Table: t.Table, Rows: t.Rows})
	}
	if f.Exists() {
		err := f.Read(ctx, func(db *factstore.DB) error {
			counts, err := db.StoredTables(ctx)
			for _, t := range counts {
				m.Facts = append(m.Facts, factstore.Copied{Table: t.Table, Rows: t.Rows})
			}
			return err
		})
		if err != nil && !errors.Is(err, factstore.ErrMissing) {
			return m, err
		}
	}
	at, err := absolute(f.Lab.Place)
	if err != nil {
		return m, err
	}
	err = eachContent(ctx, at, f.Lab.Artifacts(), meta, func(member, path string) error {
		info, err := os.Lstat(path)
		kind, _, in := strings.Cut(member, "/")
		switch {
		case err == nil && info.Mode().IsRegular():
		case in && kind+"/" == artifacts:
			m.Missing = append(m.Missing, durable.DigestPrefix+strings.TrimPrefix(member, artifacts))
			return nil
		default:
			return nil
		}
		if n := len(m.Files); n == 0 || m.Files[n-1].Kind != kind {
			m.Files = append(m.Files, Files{Kind: kind})
		}
		of := &m.Files[len(m.Files)-1]
		of.Files++
		of.Bytes += info.Size()
		return nil
	})
	return m, err
}
