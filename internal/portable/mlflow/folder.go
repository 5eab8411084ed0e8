package mlflow

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"quant"
)

// The names that MLflow gives in a store of files.
const (
	metaFile       = "meta.yaml"
	trashFolder    = ".trash"
	modelsFolder   = "models" // at the top: of the registry; in an experiment: logged models
	paramsFolder   = "params"
	metricsFolder  = "metrics"
	tagsFolder     = "tags"
	inputsFolder   = "inputs"
	outputsFolder  = "outputs"
	datasetsFolder = "datasets"
	tracesFolder   = "traces"
	aliasesFolder  = "aliases"

	artifactsFolder = "artifacts"
	versionPrefix   = "version-"
)

// What is read of one file at once, in bytes.
const (
	maxMeta   = 32 << 20 // a dataset's profile may have 16 MiB
	maxRecord = 1 << 20  // of a param or a tag; MLflow's own limit is 8,000 characters
	maxLine   = 64 << 10
)

// folder is a store of files. It is read through a Root, so that no link in it leads
// out of it.
type folder struct {
	name string
	root *os.Root
	note *notes
}

func openFolder(ctx context.Context, name string, n *notes) (source, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, quant.Errorf(quant.Failed, "open %s: %w", name, err)
	}
	f := &folder{name: name, root: root, note: n}
	found := false
	err = f.experimentFolders(func(string) error {
		found = true
		return fs.SkipAll
	})
	if err != nil && !errors.Is(err, fs.SkipAll) {
		f.close()
		return nil, err
	}
	if !found {
		f.close()
		err := quant.Errorf(quant.Invalid, "%s is no store of MLflow: none of its folders has the %s of an experiment", name, metaFile)
		if inner, e := os.Stat(path.Join(name, "mlruns")); e == nil && inner.IsDir() {
			return nil, err.WithHint("name the folder in it: %s", path.Join(name, "mlruns"))
		}
		return nil, err.WithHint("name the folder that MLflow calls mlruns, or its SQLite file")
	}
	return f, nil
}

func (f *folder) close() { _ = f.root.Close() }

func (f *folder) isFile(name string) bool {
	info, err := f.root.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// entries are the names in a folder, sorted; none where there is no such folder.
func (f *folder) entries(name string) ([]fs.DirEntry, error) {
	list, err := fs.ReadDir(f.root.FS(), name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return list, err
}

// open opens a regular file.
func (f *folder) open(name string) (*os.File, error) {
	file, err := f.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe in its place would wait for a writer
	if err != nil {
		return nil, err
	}
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		file.Close()
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	return file, nil
}

func (f *folder) read(name string, limit int64) ([]byte, error) {
	file, err := f.open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return b, err
}

func (f *folder) meta(name string) (document, error) {
	b, err := f.read(path.Join(name, metaFile), maxMeta)
	if err != nil {
		return document{}, err
	}
	d, err := parseDocument(b)
	if err != nil {
		return document{}, fmt.Errorf("%s: %w", path.Join(name, metaFile), err)
	}
	return d, nil
}

// experimentFolders calls fn for each experiment's folder, those in the trash too.
func (f *folder) experimentFolders(fn func(name string) error) error {
	for _, within := range []string{".", trashFolder} {
		list, err := f.entries(within)
		if err != nil {
			return quant.Errorf(quant.Failed, "read %s: %w", path.Join(f.name, within), err)
		}
		for _, e := range list {
			name := path.Join(within, e.Name())
			if !e.IsDir() || strings.HasPrefix(e.Name(), ".") || within == "." && e.Name() == modelsFolder || !f.isFile(path.Join(name, metaFile)) {
				continue
			}
			if err := fn(name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *folder) eachExperiment(ctx context.Context, fn func(experiment) error) error {
	return f.experimentFolders(func(name string) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		object := "experiment " + path.Base(name)
		d, err := f.meta(name)
		if err != nil {
			f.note.skip(object, err)
			return nil
		}
		e := experiment{
			ID: d.text("experiment_id"), Name: d.text("name"), ArtifactLocation: d.text("artifact_location"),
			Created: d.int("creation_time"), Updated: d.int("last_update_time"),
			Deleted: d.text("lifecycle_stage") == "deleted" || path.Dir(name) == trashFolder,
		}
		if e.ID == "" {
			e.ID = path.Base(name)
		}
		if d.err != nil || e.Name == "" {
			f.note.skip(object, or(d.err, errors.New("it has no name")))
			return nil
		}
		e.Tags = f.records(object, path.Join(name, tagsFolder))
		return fn(e)
	})
}

func (f *folder) eachRun(ctx context.Context, fn func(run) error) error {
	return f.experimentFolders(func(within string) error {
		list, err := f.entries(within)
		if err != nil {
			f.note.skip("the runs of experiment "+path.Base(within), err)
			return nil
		}
		for _, e := range list {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			name := path.Join(within, e.Name())
			if !e.IsDir() || slices.Contains([]string{tagsFolder, datasetsFolder, tracesFolder, modelsFolder, ".trash"}, e.Name()) {
				continue
			}
			r, err := f.run(within, name)
			if err != nil {
				f.note.skip("run "+e.Name(), err)
				continue
			}
			if err := fn(r); err != nil {
				return err
			}
		}
		return nil
	})
}

func (f *folder) run(within, name string) (run, error) {
	d, err := f.meta(name)
	if err != nil {
		return run{}, err
	}
	r := run{
		ID: d.text("run_id"), ExperimentID: d.text("experiment_id"), Name: d.text("run_name"), User: d.text("user_id"),
		Start: d.int("start_time"), End: d.int("end_time"), Deleted: d.text("lifecycle_stage") == "deleted", DeletedAt: d.int("deleted_time"),
		ArtifactURI: d.text("artifact_uri"), folder: name,
	}
	if r.ID == "" {
		r.ID = d.text("run_uuid")
	}
	if r.Name == "" {
		r.Name = d.text("name")
	}
	if r.ExperimentID == "" {
		r.ExperimentID = path.Base(within)
	}
	if r.Status, err = statusOf(d.text("status")); err != nil {
		return run{}, err
	}
	if d.err != nil {
		return run{}, d.err
	}
	if r.ID != path.Base(name) {
		return run{}, fmt.Errorf("its %s is of run %q", metaFile, r.ID)
	}
	object := "run " + r.ID
	r.Params = f.records(object, path.Join(name, paramsFolder))
	r.Tags = withSource(f.records(object, path.Join(name, tagsFolder)), r.Name, d.text("source_name"), d.text("entry_point_name"), d.text("source_version"))
	f.links(object, within, name, &r)
	return r, nil
}

// statusOf reads a status, by its name or its number.
func statusOf(s string) (status, error) {
	if n, err := strconv.Atoi(s); err == nil && n >= 1 && n <= len(statuses) {
		return statuses[n-1], nil
	}
	if slices.Contains(statuses, status(s)) {
		return status(s), nil
	}
	return "", fmt.Errorf("its status %q is none of MLflow's", s)
}

// withSource adds what old stores keep of the source and the name outside the tags.
func withSource(tags []pair, name, source, entry, version string) []pair {
	for _, p := range []pair{{"mlflow.runName", name}, {"mlflow.source.name", source}, {"mlflow.project.entryPoint", entry}, {"mlflow.source.git.commit", version}} {
		if p.Value != "" && !slices.ContainsFunc(tags, func(t pair) bool { return t.Key == p.Key }) {
			tags = append(tags, p)
		}
	}
	return tags
}

// links reads the datasets and models that a run used and made.
func (f *folder) links(object, within, name string, r *run) {
	for _, kind := range []string{inputsFolder, outputsFolder} {
		list, err := f.entries(path.Join(name, kind))
		if err != nil {
			f.note.add(Note{Object: object, Why: fmt.Sprintf("its %s: %v", kind, err)})
			continue
		}
		for _, e := range list {
			if !e.IsDir() {
				continue
			}
			if err := f.link(within, path.Join(name, kind, e.Name()), r); err != nil {
				f.note.add(Note{Object: object, Why: fmt.Sprintf("left out of its %s: %v", kind, err)})
			}
		}
	}
}

func (f *folder) link(within, name string, r *run) error {
	d, err := f.meta(name)
	if err != nil {
		return err
	}
	source, target := d.text("source_id"), d.text("destination_id")
	switch {
	case d.text("source_type") == "DATASET":
		if source == "" || strings.ContainsAny(source, `/\`) || source == "." || source == ".." {
			return fmt.Errorf("%q is no id of a dataset", source)
		}
		data, err := f.meta(path.Join(within, datasetsFolder, source))
		if err != nil {
			return err
		}
		in := input{Tags: d.pairs("tags"), Dataset: dataset{
			Name: data.text("name"), Digest: data.text("digest"), SourceType: data.text("source_type"),
			Source: data.text("source"), Schema: data.text("schema"), Profile: data.text("profile"),
		}}
		if err := or(d.err, data.err); err != nil {
			return err
		}
		r.Inputs = append(r.Inputs, in)
	case d.text("destination_type") == "MODEL_OUTPUT":
		r.ModelOutputs = append(r.ModelOutputs, modelOutput{target, d.int("step")})
	case d.text("destination_type") == "MODEL_INPUT":
		r.ModelInputs = append(r.ModelInputs, target)
	default:
		return fmt.Errorf("%s of %s to %s is not known", path.Base(name), d.text("source_type"), d.text("destination_type"))
	}
	return d.err
}

// records reads the files of a folder as values by name; a slash in a name is a folder
// in it.
func (f *folder) records(object, name string) []pair {
	var out []pair
	f.files(object, name, func(key string) error {
		b, err := f.read(path.Join(name, key), maxRecord)
		if err != nil {
			return err
		}
		if !utf8.Valid(b) {
			return errors.New("it is not UTF-8")
		}
		out = append(out, pair{key, string(b)})
		return nil
	})
	return out
}

// files calls fn for each regular file below a folder, by its path in it, in byte order
// of a folder. What cannot be read is noted.
func (f *folder) files(object, name string, fn func(key string) error) {
	err := fs.WalkDir(f.root.FS(), name, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			f.note.add(Note{Object: object, Why: fmt.Sprintf("%s: %v", p, err)})
			return nil
		}
		if e.IsDir() {
			return nil
		}
		if !e.Type().IsRegular() {
			f.note.add(Note{Object: object, Why: p + " is no regular file"})
			return nil
		}
		if err := fn(strings.TrimPrefix(p, name+"/")); err != nil {
			var stop stopped
			if errors.As(err, &stop) {
				return err
			}
			f.note.add(Note{Object: object, Why: fmt.Sprintf("%s: %v", p, err)})
		}
		return nil
	})
	_ = err // fn's, which its caller has kept
}

// stopped is the error of a caller that wants no more.
type stopped struct{ error }

func (f *folder) eachPoint(ctx context.Context, r run, fn func(point) error) error {
	var out error
	name := path.Join(r.folder, metricsFolder)
	f.files("run "+r.ID, name, func(key string) error {
		bad := 0
		err := f.lines(path.Join(name, key), func(fields []string) error {
			if ctx.Err() != nil {
				return stopped{context.Cause(ctx)}
			}
			p, err := parsePoint(key, fields)
			if err != nil {
				bad++
				return nil
			}
			if err := fn(p); err != nil {
				return stopped{err}
			}
			return nil
		})
		var stop stopped
		if errors.As(err, &stop) {
			out = stop.error
			return err
		}
		if bad > 0 {
			err = errors.Join(err, fmt.Errorf("%d lines are no points", bad))
		}
		return err
	})
	return out
}

// lines calls fn for the fields of each line that has any.
func (f *folder) lines(name string, fn func(fields []string) error) error {
	file, err := f.open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	s := bufio.NewScanner(file)
	s.Buffer(make([]byte, 0, 4<<10), maxLine)
	for s.Scan() {
		fields := strings.Fields(string(bytes.ToValidUTF8(s.Bytes(), []byte("\ufffd"))))
		if len(fields) == 0 {
			continue
		}
		if err := fn(fields); err != nil {
			return err
		}
	}
	return s.Err()
}

// parsePoint reads a line of a metric: its time, its value and, since MLflow 1.0, its
// step; a dataset after it is not the point's.
func parsePoint(key string, fields []string) (point, error) {
	p := point{Key: key}
	var err error
	if len(fields) < 2 {
		return p, errors.New("too few fields")
	}
	if p.Timestamp, err = strconv.ParseInt(fields[0], 10, 64); err != nil {
		return p, err
	}
	if p.Value, err = parseValue(fields[1]); err != nil {
		return p, err
	}
	if len(fields) > 2 {
		p.Step, err = strconv.ParseInt(fields[2], 10, 64)
	}
	return p, err
}

// parseValue reads a number as Python writes it.
func parseValue(s string) (float64, error) {
	switch s {
	case "nan":
		return math.NaN(), nil
	case "inf":
		return math.Inf(1), nil
	case "-inf":
		return math.Inf(-1), nil
	}
	v, err := strconv.ParseFloat(s, 64)
	if errors.Is(err, strconv.ErrRange) {
		err = nil // infinite, as Python reads it
	}
	return v, err
}

func (f *folder) eachLoggedModel(ctx context.Context, fn func(loggedModel) error) error {
	return f.experimentFolders(func(within string) error {
		list, err := f.entries(path.Join(within, modelsFolder))
		if err != nil {
			f.note.skip("the logged models of experiment "+path.Base(within), err)
			return nil
		}
		for _, e := range list {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			name := path.Join(within, modelsFolder, e.Name())
			if !e.IsDir() {
				continue
			}
			m, err := f.loggedModel(name)
			if err != nil {
				f.note.skip("logged model "+e.Name(), err)
				continue
			}
			if err := fn(m); err != nil {
				return err
			}
		}
		return nil
	})
}

func (f *folder) loggedModel(name string) (loggedModel, error) {
	d, err := f.meta(name)
	if err != nil {
		return loggedModel{}, err
	}
	m := loggedModel{
		ID: d.text("model_id"), ExperimentID: d.text("experiment_id"), Name: d.text("name"), ArtifactLocation: d.text("artifact_location"),
		Created: d.int("creation_timestamp"), Updated: d.int("last_updated_timestamp"), StatusMessage: d.text("status_message"),
		ModelType: d.text("model_type"), SourceRunID: d.text("source_run_id"), Deleted: d.text("lifecycle_stage") == "deleted", folder: name,
	}
	if m.Status, err = modelStatus(d.text("status")); err != nil {
		return m, err
	}
	if d.err != nil {
		return m, d.err
	}
	if m.ID != path.Base(name) {
		return m, fmt.Errorf("its %s is of model %q", metaFile, m.ID)
	}
	object := "logged model " + m.ID
	m.Params, m.Tags = f.records(object, path.Join(name, paramsFolder)), f.records(object, path.Join(name, tagsFolder))
	metrics := path.Join(name, metricsFolder)
	f.files(object, metrics, func(key string) error {
		bad := 0
		err := f.lines(path.Join(metrics, key), func(fields []string) error {
			p, err := parsePoint(key, fields)
			if err != nil || len(fields) < 4 {
				bad++
				return nil
			}
			one := modelMetric{point: p, RunID: fields[3]}
			if len(fields) > 5 {
				one.DatasetName, one.DatasetDigest = fields[4], fields[5]
			}
			m.Metrics = append(m.Metrics, one)
			return nil
		})
		if bad > 0 {
			err = errors.Join(err, fmt.Errorf("%d lines are no points", bad))
		}
		return err
	})
	return m, nil
}

// modelStatus reads the status of a logged model, by its name or its number.
func modelStatus(s string) (string, error) {
	if n, err := strconv.Atoi(s); err == nil && n >= 0 && n < len(modelStatuses) {
		return modelStatuses[n], nil
	}
	if slices.Contains(modelStatuses, s) {
		return s, nil
	}
	return "", fmt.Errorf("its status %q is none of MLflow's", s)
}

func (f *folder) eachRegisteredModel(ctx context.Context, fn func(registeredModel) error) error {
	list, err := f.entries(modelsFolder)
	if err != nil {
		return quant.Errorf(quant.Failed, "read %s: %w", path.Join(f.name, modelsFolder), err)
	}
	for _, e := range list {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		name := path.Join(modelsFolder, e.Name())
		if !e.IsDir() {
			continue
		}
		object := "registered model " + e.Name()
		d, err := f.meta(name)
		if err != nil {
			f.note.skip(object, err)
			continue
		}
		m := registeredModel{
			Name: d.text("name"), Description: d.text("description"), Created: d.int("creation_timestamp"), Updated: d.int("last_updated_timestamp"),
		}
		if d.err != nil || m.Name == "" {
			f.note.skip(object, or(d.err, errors.New("it has no name")))
			continue
		}
		m.Tags = f.records(object, path.Join(name, tagsFolder))
		for _, a := range f.records(object, path.Join(name, aliasesFolder)) {
			version, err := strconv.ParseInt(strings.TrimSpace(a.Value), 10, 64)
			if err != nil {
				f.note.add(Note{Object: object, Why: fmt.Sprintf("left out: alias %q is of no version", a.Key)})
				continue
			}
			m.Aliases = append(m.Aliases, alias{a.Key, version})
		}
		if err := f.versions(object, name, &m); err != nil {
			f.note.add(Note{Object: object, Why: fmt.Sprintf("its versions: %v", err)})
		}
		if err := fn(m); err != nil {
			return err
		}
	}
	return nil
}

func (f *folder) versions(object, name string, m *registeredModel) error {
	list, err := f.entries(name)
	if err != nil {
		return err
	}
	for _, e := range list {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), versionPrefix) {
			continue
		}
		within := path.Join(name, e.Name())
		d, err := f.meta(within)
		v := modelVersion{
			Version: d.int("version"), Created: d.int("creation_timestamp"), Updated: d.int("last_updated_timestamp"),
			Description: d.text("description"), User: d.text("user_id"), Stage: d.text("current_stage"), Source: d.text("source"),
			RunID: d.text("run_id"), RunLink: d.text("run_link"), ModelID: d.text("model_id"),
			Status: d.text("status"), StatusDetail: d.text("status_message"),
		}
		if err = or(err, d.err); err == nil && v.Version < 1 {
			err = errors.New("it has no number")
		}
		if err != nil {
			f.note.skip(object+", "+e.Name(), err)
			continue
		}
		v.Tags = f.records(object, path.Join(within, tagsFolder))
		m.Versions = append(m.Versions, v)
	}
	slices.SortFunc(m.Versions, func(a, b modelVersion) int { return int(a.Version - b.Version) })
	return nil
}

func (f *folder) others(ctx context.Context) (map[string]int64, error) {
	out := map[string]int64{}
	err := f.experimentFolders(func(name string) error {
		list, err := f.entries(path.Join(name, tracesFolder))
		if err == nil && len(list) > 0 {
			out[tracesFolder] += int64(len(list))
		}
		return nil
	})
	return out, err
}

// or is the first error of several.
func or(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// runOf finds another run by its id, in the experiment of one first.
func (f *folder) runOf(_ context.Context, beside run, id string) (run, bool, error) {
	if id == "" || id == "." || id == ".." || strings.ContainsAny(id, `/\`) {
		return run{}, false, nil
	}
	within := path.Dir(beside.folder) // "." of none
	if !f.isFile(path.Join(within, id, metaFile)) {
		within = ""
		err := f.experimentFolders(func(name string) error {
			if f.isFile(path.Join(name, id, metaFile)) {
				within = name
				return fs.SkipAll
			}
			return nil
		})
		if within == "" {
			if errors.Is(err, fs.SkipAll) {
				err = nil
			}
			return run{}, false, err
		}
	}
	d, err := f.meta(path.Join(within, id))
	if err != nil {
		return run{}, false, nil // told where that run is read
	}
	r := run{ID: id, ExperimentID: d.text("experiment_id"), Start: d.int("start_time"), End: d.int("end_time"), ArtifactURI: d.text("artifact_uri")}
	return r, d.err == nil, nil
}
