package mlflow

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"time"

	"quant"
	"quant/internal/lab"
	"quant/internal/metastore"
	"quant/internal/registry"
	"quant/internal/tracking"
)

// Leftovers is the artifact in which an imported run keeps the params and tags that
// break a rule of quant's.
const Leftovers = "mlflow-leftovers.json"

// Options say how a store is brought over.
type Options struct {
	Artifacts []string // folders that hold artifacts, beside the store's own
	MaxBytes  int64    // of one artifact; larger ones are left out
	At        quant.Time
	By        string             // run_id of the run that imports
	Registry  *registry.Registry // masks what is stored
}

// Count says how much of one noun was brought over.
type Count struct {
	What     string `json:"what"`
	Found    int64  `json:"found"`
	Imported int64  `json:"imported"`
	There    int64  `json:"there"`    // the lab had it already
	LeftOut  int64  `json:"left_out"` // each is told by a note
}

// Imported says what an import did.
type Imported struct {
	Counts  []Count `json:"counts"`
	Bytes   int64   `json:"artifact_bytes"`
	Skipped int64   `json:"skipped"` // things of which nothing was brought over
	Told    int64   `json:"told"`    // notes, those beyond the first thousand too
	Notes   []Note  `json:"notes"`
}

// The nouns that are counted: the index of each in Imported.Counts.
const (
	experiments = iota
	Runs
	params
	tags
	points
	artifacts
	datasets
	loggedModels
	registeredModels
	versions
	nouns
)

var nounNames = [nouns]string{
	"experiments", "runs", "params", "tags", "metric points", "artifacts", "datasets", "logged models", "registered models", "model versions",
}

// Import brings over what a store of MLflow at path holds and the lab does not have:
// experiments by their names, runs by the ids that MLflow's clients know them by, models
// by their ids and names. Each run comes whole or not at all, so that an import that was
// ended is gone on with by the next one. It reads files below path and the folders of
// artifacts only, and changes none. Errors: NotFound and Invalid for what is no such
// store; Locked; Store; ctx's cause. What the store has that cannot be brought over is
// no error: the notes tell it.
func Import(ctx context.Context, to *lab.Lab, path string, o Options) (done Imported, err error) {
	im := &importing{lab: to, path: path, o: o, experiments: map[string]home{}, moved: map[string]string{}}
	for i, name := range nounNames {
		im.counts[i].What = name
	}
	if im.from, err = open(ctx, path, &im.notes); err != nil {
		return done, err
	}
	defer im.from.close()
	if im.places, err = openPlaces(path, o.Artifacts); err != nil {
		return done, err
	}
	defer im.places.close()
	for _, step := range []func(context.Context) error{im.allExperiments, im.allRuns, im.allLoggedModels, im.allRegisteredModels, im.tellOthers} {
		err := step(ctx)
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return im.result(), err
		}
	}
	return im.result(), nil
}

type importing struct {
	lab    *lab.Lab
	path   string
	o      Options
	from   source
	places places
	notes  notes
	counts [nouns]Count
	bytes  int64

	experiments map[string]home   // by the store's id
	moved       map[string]string // folders of logged models: where they were, what they are for clients
	waiting     []*prepared
	weight      int
}

// home is an experiment of the lab.
type home struct {
	id      string
	number  int64
	created int64
}

func (im *importing) result() Imported {
	return Imported{im.counts[:], im.bytes, im.notes.skipped, im.notes.told, append([]Note{}, im.notes.list...)}
}

// mask takes secrets out of a text that is stored or told.
func (im *importing) mask(s string) string { return im.o.Registry.Mask.Text(s) }

// timeOr is a time of MLflow's, or another where there is none or it is out of range.
func timeOr(ms int64, otherwise quant.Time) quant.Time {
	t := time.UnixMilli(ms).UTC()
	if ms <= 0 || t.Year() > 9999 {
		return otherwise
	}
	return quant.NewTime(t)
}

func (im *importing) allExperiments(ctx context.Context) error {
	return im.from.eachExperiment(ctx, func(e experiment) error {
		im.counts[experiments].Found++
		im.counts[tags].Found += int64(len(e.Tags))
		object := "experiment " + e.ID
		list := im.keptTags(object, e.Tags)
		if e.ArtifactLocation != "" {
			list = append(list, pair{artifactLocationTag, im.mask(e.ArtifactLocation)})
		}
		number, err := strconv.ParseInt(e.ID, 10, 64)
		if err != nil || number < 0 {
			number = -1 // any
		}
		created := timeOr(e.Created, im.o.At)
		one := metastore.ClientExperiment{
			Experiment: quant.Experiment{Name: e.Name, CreatedAt: created}, Number: number, UpdatedAt: timeOr(e.Updated, created),
		}
		if e.Deleted {
			one.DeletedAt = one.UpdatedAt
		}
		var its []metastore.ExperimentTag
		for _, t := range list {
			its = append(its, metastore.ExperimentTag{Name: t.Key, Value: t.Value})
		}
		stored, isNew, err := im.lab.Meta.ImportClientExperiment(ctx, one, its)
		if refusal(err) {
			im.counts[experiments].LeftOut++
			im.notes.skip(object, err)
			return nil
		}
		if err != nil {
			return err
		}
		if isNew {
			im.counts[experiments].Imported++
			im.counts[tags].Imported += int64(len(e.Tags))
		} else {
			im.counts[experiments].There++
			im.counts[tags].There += int64(len(e.Tags))
		}
		im.experiments[e.ID] = home{stored.ExperimentID, stored.Number, e.Created}
		return nil
	})
}

// artifactLocationTag is the tag of an imported experiment that says where its artifacts
// were.
const artifactLocationTag = "mlflow.artifactLocation"

// refusal tells an error of what is to be stored from one of storing it.
func refusal(err error) bool {
	return errors.Is(err, quant.Invalid) || errors.Is(err, quant.Conflict) || errors.Is(err, quant.NotFound)
}

// keptTags leaves out what breaks a rule of quant's, and notes it.
func (im *importing) keptTags(object string, list []pair) []pair {
	var out []pair
	for _, t := range list {
		t.Value = im.mask(t.Value)
		if err := (quant.Tag{RunID: "none", Name: t.Key, Value: t.Value}).Validate(); err != nil {
			im.counts[tags].LeftOut++
			im.notes.add(Note{Object: object, Why: "left out: " + err.Error()})
			continue
		}
		out = append(out, t)
	}
	return out
}

// prepared is a run whose contents are stored, and whose rows are to be.
type prepared struct {
	run
	quantID    string
	experiment home
	row        quant.Run
	process    quant.RunProcess
	batch      metastore.Batch
	datasets   []quant.RunDataset
	models     []quant.RunModel
	leftover   *leftover
	leftOut    [nouns]int64 // of its records
	bytes      int64        // of its artifacts
}

// What is stored in one commit: so many runs, or files and params, at most.
const (
	runsAtOnce   = 100
	weightAtOnce = 10_000
	pointsAtOnce = 10_000
)

func (im *importing) allRuns(ctx context.Context) error {
	err := im.from.eachRun(ctx, func(r run) error {
		im.counts[Runs].Found++
		p, err := im.prepare(ctx, r)
		if refusal(err) {
			im.counts[Runs].LeftOut++
			im.notes.skip("run "+r.ID, err)
			return nil
		}
		if err != nil || p == nil {
			return err
		}
		im.waiting = append(im.waiting, p)
		im.weight += len(p.Params) + len(p.Tags) + len(p.batch.Artifacts)
		if len(im.waiting) >= runsAtOnce || im.weight >= weightAtOnce {
			return im.flush(ctx)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return im.flush(ctx)
}

// prepare works out what a run is here, and stores the contents of its artifacts; nil
// for one that the lab has.
func (im *importing) prepare(ctx context.Context, r run) (*prepared, error) {
	in, known := im.experiments[r.ExperimentID]
	if !known {
		return nil, quant.Errorf(quant.NotFound, "its experiment %q is not in the store", clip(r.ExperimentID))
	}
	if r.ID == "" || len(r.ID) > 256 {
		return nil, quant.Errorf(quant.Invalid, "its id has %d bytes", len(r.ID))
	}
	start, err := startOf(r, in.created)
	if err != nil {
		return nil, err
	}
	p := &prepared{run: r, quantID: RunID(start, r.ID), experiment: in}
	there, err := im.there(ctx, r.ID, p.quantID)
	if err != nil {
		return nil, err
	}
	if there {
		im.counts[Runs].There++
		return nil, nil
	}
	if err := im.describe(ctx, p, start); err != nil {
		return nil, err
	}
	im.sort(p)
	return p, im.files(ctx, p)
}

// describe fills in what quant records of a run beside its records.
func (im *importing) describe(ctx context.Context, p *prepared, start int64) (err error) {
	e := registry.Elsewhere{
		Kind: tracking.Kind, Started: time.UnixMilli(start).UTC(), User: p.User, GitCommit: valueOf(p.Tags, "mlflow.source.git.commit"),
		Config: map[string]any{"client": "mlflow", "imported": map[string]string{
			"store": im.path, "run_id": p.ID, "experiment_id": p.ExperimentID, "status": string(p.Status), "artifact_uri": p.ArtifactURI,
		}},
	}
	if source := valueOf(p.Tags, "mlflow.source.name"); source != "" {
		e.Argv = []string{source}
	}
	if parent := valueOf(p.Tags, "mlflow.parentRunId"); parent != "" {
		if e.Parent, err = im.parentOf(ctx, p.run, parent); err != nil {
			return err
		}
	}
	if p.row, p.process, err = im.o.Registry.PrepareElsewhere(e); err != nil {
		return err
	}
	p.row.RunID, p.process.RunID = p.quantID, p.quantID
	return nil
}

// startOf is the start of a run: of one that has none, its end, or its experiment's
// creation.
func startOf(r run, created int64) (int64, error) {
	for _, ms := range []int64{r.Start, r.End, created} {
		if ms == 0 {
			continue
		}
		if ms < 0 || time.UnixMilli(ms).UTC().Year() > 9999 {
			return 0, quant.Errorf(quant.Invalid, "it started at %d ms, which is no time", ms)
		}
		return ms, nil
	}
	return 0, quant.Errorf(quant.Invalid, "nobody knows when it started")
}

// RunID is the run_id of an imported run: a version 7 UUID whose head is the start of
// the run and whose rest is made of the id that MLflow's clients know, so that another
// import finds it. An id that is one already, of a run that quant recorded, stays.
func RunID(startMS int64, clientID string) string {
	if b, err := hex.DecodeString(clientID); err == nil && len(b) == 16 {
		if id := dashed(b); registry.IsRunID(id) && headOf(b) == startMS {
			return id
		}
	}
	sum := sha256.Sum256([]byte("mlflow run " + clientID))
	b := sum[:16]
	var head [8]byte
	binary.BigEndian.PutUint64(head[:], uint64(startMS)<<16)
	copy(b, head[:6])
	b[6] = b[6]&0x0f | 0x70
	b[8] = b[8]&0x3f | 0x80
	return dashed(b)
}

func headOf(b []byte) int64 {
	return int64(binary.BigEndian.Uint64(append([]byte{0, 0}, b[:6]...)))
}

func dashed(b []byte) string {
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// there tells whether the lab has a run, deleted ones too.
func (im *importing) there(ctx context.Context, clientID, quantID string) (bool, error) {
	found, err := im.lab.Meta.ClientRuns(ctx, []string{clientID}, true)
	if err != nil || len(found) > 0 {
		return len(found) > 0, err
	}
	_, err = im.lab.Meta.GetRun(ctx, quantID)
	if errors.Is(err, quant.NotFound) {
		return false, nil
	}
	return err == nil, err
}

// parentOf is the run_id of a parent: of one in the lab, or of one that the store has.
func (im *importing) parentOf(ctx context.Context, r run, parent string) (string, error) {
	found, err := im.lab.Meta.ClientRuns(ctx, []string{parent}, true)
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		return found[0].RunID, nil
	}
	of, stands, err := im.from.runOf(ctx, r, parent)
	if err != nil || !stands {
		return "", err
	}
	start, err := startOf(of, im.experiments[of.ExperimentID].created)
	if err != nil {
		return "", nil
	}
	return RunID(start, parent), nil
}

// leftover is what a run had that breaks a rule of quant's.
type leftover struct {
	Params map[string]string `json:"params,omitempty"`
	Tags   map[string]string `json:"tags,omitempty"`
}

// sort parts the params, tags, datasets and models of a run into those that are stored
// and those that break a rule.
func (im *importing) sort(p *prepared) {
	object := "run " + p.ID
	var all metastore.Batch
	for _, one := range p.Params {
		all.Params = append(all.Params, quant.Param{Name: one.Key, Value: one.Value})
	}
	for _, one := range p.Tags {
		all.Tags = append(all.Tags, quant.Tag{Name: tracking.TagName(one.Key), Value: one.Value})
	}
	all = im.o.Registry.Masked(p.quantID, all)
	var left leftover
	leave := func(noun int, into map[string]string, name, value string, err error) map[string]string {
		p.leftOut[noun]++
		im.notes.add(Note{Object: object, Why: "kept in " + Leftovers + ": " + err.Error()})
		if into == nil {
			into = map[string]string{}
		}
		into[name] = value
		return into
	}
	for _, v := range all.Params {
		if err := v.Validate(); err != nil {
			left.Params = leave(params, left.Params, v.Name, v.Value, err)
			continue
		}
		p.batch.Params = append(p.batch.Params, v)
	}
	for _, v := range all.Tags {
		if err := v.Validate(); err != nil {
			left.Tags = leave(tags, left.Tags, v.Name, v.Value, err)
			continue
		}
		p.batch.Tags = append(p.batch.Tags, v)
	}
	p.batch.Tags = append(p.batch.Tags, quant.Tag{RunID: p.quantID, Name: quant.ExperimentTag, Value: p.experiment.id})
	for _, in := range p.Inputs {
		d, err := im.datasetOf(p.quantID, in)
		if err == nil {
			err = d.Validate()
		}
		if err != nil {
			p.leftOut[datasets]++
			im.notes.add(Note{Object: object, Why: "left out: " + err.Error()})
			continue
		}
		p.datasets = append(p.datasets, d)
	}
	for _, id := range p.ModelInputs {
		p.models = append(p.models, quant.RunModel{RunID: p.quantID, Direction: quant.In, ModelID: id})
	}
	for _, m := range p.ModelOutputs {
		p.models = append(p.models, quant.RunModel{RunID: p.quantID, Direction: quant.Out, ModelID: m.ModelID, Step: m.Step})
	}
	p.models = slices.DeleteFunc(p.models, func(m quant.RunModel) bool {
		err := m.Validate()
		if err != nil {
			im.notes.add(Note{Object: object, Why: "left out: " + err.Error()})
		}
		return err != nil
	})
	if left.Params != nil || left.Tags != nil {
		p.leftover = &left
	}
}

func (im *importing) datasetOf(runID string, in input) (quant.RunDataset, error) {
	d := quant.RunDataset{
		RunID: runID, Name: in.Dataset.Name, Digest: in.Dataset.Digest, SourceType: in.Dataset.SourceType, Source: im.mask(in.Dataset.Source),
		Schema: quant.Text(in.Dataset.Schema), Profile: quant.Text(in.Dataset.Profile), Context: quant.Text(valueOf(in.Tags, quant.DatasetContextTag)),
	}
	list := [][2]string{}
	for _, t := range in.Tags {
		list = append(list, [2]string{t.Key, im.mask(t.Value)})
	}
	var err error
	d.TagsJSON, err = json.Marshal(list)
	return d, err
}

func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}
