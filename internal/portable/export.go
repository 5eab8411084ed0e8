package portable

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"quant"
	"quant/internal/durable"
	"quant/internal/lab"
	"quant/internal/metastore"
)

// exportRuns writes these runs as one file, as they are at one moment, in the order
// of their ids. The same runs give the same bytes, whatever else a lab holds.
// Errors: NotFound for a run that does not exist or an artifact whose content
// is gone; Conflict for a run that has not ended or is deleted; Refused for a
// content that was changed since it was stored; what w gave; ctx's cause.
func exportRuns(ctx context.Context, from *lab.Lab, runIDs []string, w io.Writer) (Summary, error) {
	ids := slices.Clone(runIDs)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	zip, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return Summary{}, err
	}
	p := &packer{ctx: ctx, tar: tar.NewWriter(zip)}
	if err := from.Meta.Snapshot(ctx, func(ctx context.Context) error {
		return pack(ctx, from, ids, p)
	}); err != nil {
		return Summary{}, err
	}
	if err := errors.Join(p.tar.Close(), zip.Close()); err != nil {
		return Summary{}, err
	}
	return p.manifest.Summary, nil
}

// withChildren returns the runs, and all runs below them but self, each once.
func withChildren(ctx context.Context, store metastore.Store, runIDs []string, self string) ([]string, error) {
	all := slices.Clone(runIDs)
	seen := map[string]bool{}
	for _, id := range all {
		seen[id] = true
	}
	for i := 0; i < len(all); i++ {
		below, err := store.ListRuns(ctx, metastore.RunFilter{All: true, Parent: all[i], Brief: true})
		if err != nil {
			return nil, err
		}
		for _, run := range below {
			if !seen[run.RunID] {
				seen[run.RunID] = true
				all = append(all, run.RunID)
			}
		}
	}
	return slices.DeleteFunc(all, func(id string) bool { return id == self }), nil
}

func pack(ctx context.Context, from *lab.Lab, ids []string, p *packer) error {
	first, err := encode(head{formatName, FormatVersion})
	if err != nil {
		return err
	}
	if err := p.bytes(headMember, first); err != nil {
		return err
	}
	logs, err := logNames(from.LogDir())
	if err != nil {
		return err
	}
	contents := map[string]content{}
	logRows := map[string][]logRow{}
	for _, id := range ids {
		if err := mayLeave(ctx, from.Meta, id); err != nil {
			return err
		}
		artifacts, err := from.Meta.Artifacts(ctx, id)
		if err != nil {
			return err
		}
		for _, a := range artifacts {
			contents[a.Digest] = content{runID: id, artifact: a.Name, bytes: a.Bytes}
		}
		client, err := clientOfRun(ctx, from.Meta, id)
		if err != nil {
			return err
		}
		for _, f := range client.files() {
			if _, known := contents[f.Digest]; !known {
				contents[f.Digest] = content{runID: id, artifact: f.Name, bytes: f.Bytes}
			}
		}
		if logRows[id], err = hashLogs(ctx, from.LogDir(), logs[id]); err != nil {
			return err
		}
		for _, l := range logRows[id] {
			if _, known := contents[l.Digest]; !known {
				contents[l.Digest] = content{runID: id, log: filepath.Join(from.LogDir(), l.Name), bytes: l.Bytes}
			}
		}
	}
	for _, digest := range slices.Sorted(maps.Keys(contents)) {
		if err := p.content(ctx, from, digest, contents[digest]); err != nil {
			return err
		}
	}
	for _, id := range ids {
		if err := p.run(ctx, from, id, logRows[id]); err != nil {
			return err
		}
	}
	p.manifest.Runs, p.manifest.Contents = int64(len(ids)), int64(len(contents))
	last, err := encode(p.manifest)
	if err != nil {
		return err
	}
	return p.bytes(manifestMember, last)
}

// mayLeave checks that a run can be exported.
func mayLeave(ctx context.Context, store metastore.Store, id string) error {
	run, err := store.GetRun(ctx, id)
	if err != nil {
		return err
	}
	if run.Status == quant.Running {
		return quant.Errorf(quant.Conflict, "run %s (%s) is RUNNING", id, run.Kind).
			WithHint("export it once it has ended; a run whose process died is closed by the next command, or by `quant runs close`")
	}
	deleted, err := store.IsDeleted(ctx, id)
	if err != nil {
		return err
	}
	if deleted {
		return quant.Errorf(quant.Conflict, "run %s (%s) is deleted", id, run.Kind).WithHint("quant runs restore %s brings it back", id)
	}
	return nil
}

// content is where a content is found: an artifact of a run, or one of its logs.
type content struct {
	runID, artifact, log string
	bytes                int64
}

// packer writes members and notes them for the manifest.
type packer struct {
	ctx      context.Context
	tar      *tar.Writer
	manifest manifest
}

// member writes a member of this many bytes and returns its digest. Too few or
// too many are Refused.
func (p *packer) member(name string, size int64, r io.Reader) (string, error) {
	if len(p.manifest.Members) >= maxMembers {
		return "", quant.Errorf(quant.Refused, "a file of runs has at most %d members", maxMembers).WithHint("export fewer runs at once")
	}
	err := p.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0)})
	if err != nil {
		return "", err
	}
	sum := durable.NewSum()
	n, err := io.Copy(io.MultiWriter(p.tar, sum), &reading{ctx: p.ctx, r: r})
	switch {
	case errors.Is(err, tar.ErrWriteTooLong) || err == nil && n != size:
		return "", quant.Errorf(quant.Refused, "%s was changed while it was exported", name).WithHint("export again")
	case err != nil:
		return "", err
	}
	digest := sum.Digest()
	if name != manifestMember {
		p.manifest.Members = append(p.manifest.Members, member{name, size, digest})
	}
	return digest, nil
}

func (p *packer) bytes(name string, b []byte) error {
	_, err := p.member(name, int64(len(b)), bytes.NewReader(b))
	return err
}

// reading reads until ctx ends.
type reading struct {
	ctx context.Context
	r   io.Reader
}

func (r *reading) Read(b []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(b)
}

func (p *packer) content(ctx context.Context, from *lab.Lab, digest string, c content) error {
	what := "run " + c.runID + ": artifact " + c.artifact
	var f *os.File
	var err error
	if c.log != "" {
		what = "log " + c.log
		f, err = openLog(c.log)
	} else {
		f, err = from.Artifacts().Open(ctx, digest)
	}
	if err != nil {
		return named(what, err)
	}
	defer f.Close()
	got, err := p.member(contentsFolder+digest[len(sha256Prefix):], c.bytes, f)
	if err == nil && got != digest {
		err = quant.Errorf(quant.Refused, "it was changed while it was exported").WithHint("export again")
	}
	return named(what, err)
}

// named says which object an error is about, and keeps its code and hint.
func named(what string, err error) error {
	if err == nil {
		return nil
	}
	return quant.Errorf(quant.CodeOf(err), "%s: %w", what, err).WithHint("%s", quant.HintOf(err))
}

func (p *packer) run(ctx context.Context, from *lab.Lab, id string, logs []logRow) error {
	d, err := documentOf(ctx, from.Meta, id, logs)
	if err != nil {
		return err
	}
	text, err := encode(d)
	if err != nil {
		return named("run "+id, err)
	}
	if len(text) > maxDocument {
		return quant.Errorf(quant.Refused, "run %s: its records are %d bytes without its points, more than %d", id, len(text), maxDocument)
	}
	if err := p.bytes(runsFolder+id+documentMember, text); err != nil {
		return err
	}
	n := 0
	w := &pointWriter{clients: d.Client.metrics(), emit: func(b []byte) error {
		n++
		return p.bytes(pointsName(id, n), b)
	}}
	sums, err := points(ctx, from.Meta, id, w)
	if err != nil {
		return err
	}
	if !slices.Equal(sums, d.Metrics) {
		return quant.Errorf(quant.Store, "run %s: the sums of its metrics are not those of its points", id).WithHint("run quant doctor")
	}
	for _, m := range sums {
		p.manifest.Points += m.Points
	}
	return nil
}

func points(ctx context.Context, store metastore.Store, id string, w *pointWriter) ([]metricRow, error) {
	if err := store.EachPoint(ctx, id, w.add); err != nil {
		return nil, named("run "+id, err)
	}
	return w.end()
}

// documentOf reads a run from the store.
func documentOf(ctx context.Context, store metastore.Store, id string, logs []logRow) (document, error) {
	run, err := store.GetRun(ctx, id)
	if err != nil {
		return document{}, err
	}
	d := document{
		Run: run.Run, Process: processRow{run.Process, FormatVersion}, Logs: logs,
		IO: []ioRow{}, Params: []pair{}, Tags: []pair{}, Metrics: []metricRow{}, Notes: []noteRow{}, Artifacts: []artifactRow{},
	}
	if d.Logs == nil {
		d.Logs = []logRow{}
	}
	ios, err := store.RunIO(ctx, id)
	if err != nil {
		return document{}, err
	}
	for _, io := range ios {
		d.IO = append(d.IO, ioRow{io.Direction, io.Kind, io.Name, io.Rows, io.FirstDate, io.LastDate, io.Digest})
	}
	params, err := store.Params(ctx, id)
	if err != nil {
		return document{}, err
	}
	for _, p := range params {
		d.Params = append(d.Params, pair{p.Name, p.Value})
	}
	tags, err := store.Tags(ctx, id)
	if err != nil {
		return document{}, err
	}
	for _, t := range tags {
		d.Tags = append(d.Tags, pair{t.Name, t.Value})
	}
	if d.Client, err = clientOf(ctx, store, id, experimentTag(tags)); err != nil {
		return document{}, err
	}
	if d.Client != nil && d.Client.Experiment != nil { // another lab calls it otherwise
		d.Tags = slices.DeleteFunc(d.Tags, func(t pair) bool { return t.Name == quant.ExperimentTag })
	}
	metrics, err := store.Metrics(ctx, id)
	if err != nil {
		return document{}, err
	}
	for _, m := range metrics {
		d.Metrics = append(d.Metrics, metricRow{m.Name, m.Points, m.LastStep, m.Last, m.Min, m.Max})
	}
	notes, err := store.Notes(ctx, id)
	if err != nil {
		return document{}, err
	}
	for _, n := range notes {
		d.Notes = append(d.Notes, noteRow{n.Text, n.LoggedAt})
	}
	artifacts, err := store.Artifacts(ctx, id)
	if err != nil {
		return document{}, err
	}
	for _, a := range artifacts {
		d.Artifacts = append(d.Artifacts, artifactRow{a.Name, a.Digest, a.Bytes, a.LoggedAt})
	}
	switch program, err := store.GetProgram(ctx, id); {
	case err == nil:
		d.Program = &program
	case !errors.Is(err, quant.NotFound):
		return document{}, err
	}
	return d, nil
}

func clientOfRun(ctx context.Context, store metastore.Store, id string) (*clientRow, error) {
	tags, err := store.Tags(ctx, id)
	if err != nil {
		return nil, err
	}
	return clientOf(ctx, store, id, experimentTag(tags))
}

// experimentTag is the experiment that tags name; "": none.
func experimentTag(tags []quant.Tag) string {
	for _, t := range tags {
		if t.Name == quant.ExperimentTag {
			return t.Value
		}
	}
	return ""
}

// logNames finds the logs of every run, each run's in byte order.
func logNames(dir string) (map[string][]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, quant.Errorf(quant.Store, "read the folder of logs: %w", err).WithHint("make it readable")
	}
	names := map[string][]string{}
	for _, e := range entries { // sorted
		if name := e.Name(); e.Type().IsRegular() && len(name) > 36 && isLogOf(name, name[:36]) {
			names[name[:36]] = append(names[name[:36]], name)
		}
	}
	return names, nil
}

func hashLogs(ctx context.Context, dir string, names []string) ([]logRow, error) {
	rows := []logRow{}
	for _, name := range names {
		f, err := openLog(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		sum := durable.NewSum()
		n, err := io.Copy(sum, &reading{ctx, f})
		f.Close()
		if err != nil {
			return nil, quant.Errorf(quant.Store, "read log %s: %w", name, err)
		}
		rows = append(rows, logRow{name, sum.Digest(), n})
	}
	return rows, nil
}

func openLog(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, quant.Errorf(quant.Store, "open a log: %w", err).WithHint("make it readable")
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, quant.Errorf(quant.Refused, "log %s is no regular file", path)
	}
	return f, nil
}
