package mlflow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"path"
	"slices"
	"strings"

	"quant"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func (im *importing) allLoggedModels(ctx context.Context) error {
	return im.from.eachLoggedModel(ctx, func(m loggedModel) error {
		im.counts[loggedModels].Found++
		err := im.loggedModel(ctx, m)
		if refusal(err) {
			im.counts[loggedModels].LeftOut++
			im.notes.skip("logged model "+m.ID, err)
			return nil
		}
		return err
	})
}

func (im *importing) loggedModel(ctx context.Context, m loggedModel) error {
	meta, object := im.lab.Meta, "logged model "+m.ID
	in, known := im.experiments[m.ExperimentID]
	if !known {
		return quant.Errorf(quant.NotFound, "its experiment %q is not in the store", clip(m.ExperimentID))
	}
	folderOf := path.Join(modelsFolder, m.ID)
	found, err := meta.LoggedModelsOf(ctx, []string{m.ID}, true)
	if err != nil {
		return err
	}
	if len(found) > 0 {
		im.counts[loggedModels].There++
		im.moved[m.ArtifactLocation] = artifactRoot(in.number, folderOf)
		return nil
	}
	created := timeOr(m.Created, im.o.At)
	row := quant.LoggedModel{
		ModelID: m.ID, ExperimentID: in.id, Name: m.Name, SourceRunID: quant.Text(m.SourceRunID), ModelType: quant.Text(m.ModelType),
		Status: quant.LoggedModelStatus(m.Status), StatusMessage: quant.Text(im.mask(m.StatusMessage)), CreatedAt: created, UpdatedAt: timeOr(m.Updated, created),
	}
	if err := row.Validate(); err != nil {
		return err
	}
	var its struct {
		params  []quant.LoggedModelParam
		tags    []quant.LoggedModelTag
		metrics []quant.LoggedModelMetric
	}
	for _, p := range m.Params {
		its.params = append(its.params, quant.LoggedModelParam{ModelID: m.ID, Name: p.Key, Value: im.mask(p.Value)})
	}
	for _, t := range m.Tags {
		its.tags = append(its.tags, quant.LoggedModelTag{ModelID: m.ID, Name: t.Key, Value: im.mask(t.Value)})
	}
	for _, one := range m.Metrics {
		v := quant.LoggedModelMetric{
			ModelID: m.ID, Name: one.Key, LoggedAt: timeOr(one.Timestamp, created), Step: one.Step, RunID: one.RunID,
			DatasetName: quant.Text(one.DatasetName), DatasetDigest: quant.Text(one.DatasetDigest),
		}
		if value := finite(one.Value); !math.IsNaN(value) {
			v.Value = &value
		}
		its.metrics = append(its.metrics, v)
	}
	files, size, err := im.modelFiles(ctx, object, m, path.Join(fmt.Sprint(in.number), folderOf, "artifacts"))
	if err != nil {
		return err
	}
	err = meta.Tx(ctx, func(ctx context.Context) error {
		if err := meta.CreateLoggedModel(ctx, row, its.params, its.tags); err != nil {
			return err
		}
		if err := meta.LogLoggedModel(ctx, nil, nil, its.metrics); err != nil {
			return err
		}
		for _, f := range files {
			if err := meta.PutClientArtifact(ctx, f); err != nil {
				return err
			}
		}
		if !m.Deleted {
			return nil
		}
		return meta.ChangeLoggedModel(ctx, m.ID, func(m *quant.LoggedModel) { m.DeletedAt = m.UpdatedAt })
	})
	if err != nil {
		return err
	}
	im.counts[loggedModels].Imported++
	im.counts[artifacts].Imported += int64(len(files))
	im.bytes += size
	im.moved[m.ArtifactLocation] = artifactRoot(in.number, folderOf)
	return nil
}

// modelFiles stores the contents of a logged model's files, which stand below root for
// MLflow's clients.
func (im *importing) modelFiles(ctx context.Context, object string, m loggedModel, root string) (files []quant.ClientArtifact, size int64, err error) {
	at, folder, found := im.locate(object, m.ArtifactLocation, m.ID, m.folder)
	if !found {
		return nil, 0, nil
	}
	err = im.eachFile(ctx, object, at, folder, func(name string, r io.Reader) error {
		f := quant.ClientArtifact{Path: path.Join(root, name), LoggedAt: timeOr(m.Created, im.o.At)}
		var err error
		if f.Digest, f.Bytes, err = im.lab.Artifacts().Put(ctx, r); err != nil {
			return err
		}
		files, size = append(files, f), size+f.Bytes
		return f.Validate()
	})
	return files, size, err
}

func (im *importing) allRegisteredModels(ctx context.Context) error {
	return im.from.eachRegisteredModel(ctx, func(m registeredModel) error {
		im.counts[registeredModels].Found++
		im.counts[versions].Found += int64(len(m.Versions))
		err := im.registeredModel(ctx, m)
		if refusal(err) {
			im.counts[registeredModels].LeftOut++
			im.counts[versions].LeftOut += int64(len(m.Versions))
			im.notes.skip("registered model "+clip(m.Name), err)
			return nil
		}
		return err
	})
}

func (im *importing) registeredModel(ctx context.Context, m registeredModel) error {
	meta, object := im.lab.Meta, "registered model "+m.Name
	standing, err := meta.GetRegisteredModel(ctx, m.Name)
	switch {
	case err == nil:
		im.counts[registeredModels].There++
		var there, more int64
		for _, v := range m.Versions {
			if v.Version <= standing.LastVersion {
				there++
			} else {
				more++
			}
		}
		im.counts[versions].There += there
		im.counts[versions].LeftOut += more
		if more > 0 {
			im.notes.add(Note{Object: object, Why: fmt.Sprintf("the lab has a model of that name: %d versions that it does not have were left out", more)})
		}
		return nil
	case !errors.Is(err, quant.NotFound):
		return err
	}
	created := timeOr(m.Created, im.o.At)
	row := quant.RegisteredModel{Name: m.Name, Description: quant.Text(im.mask(m.Description)), CreatedAt: created, UpdatedAt: timeOr(m.Updated, created)}
	if err := row.Validate(); err != nil {
		return err
	}
	var tags []quant.RegisteredModelTag
	for _, t := range m.Tags {
		tags = append(tags, quant.RegisteredModelTag{Model: m.Name, Name: t.Key, Value: im.mask(t.Value)})
	}
	before := im.notes
	var imported, leftOut int64
	err = meta.Tx(ctx, func(ctx context.Context) error {
		if err := meta.CreateRegisteredModel(ctx, row, tags); err != nil {
			return err
		}
		next := int64(1)
		for _, v := range m.Versions {
			if v.Version > next+maxGap || v.Version < next {
				leftOut++
				im.notes.add(Note{Object: object, Why: fmt.Sprintf("version %d left out: its number does not follow %d", v.Version, next-1)})
				continue
			}
			for ; next < v.Version; next++ { // it was deleted
				if err := im.gap(ctx, m.Name, created); err != nil {
					return err
				}
			}
			if err := im.version(ctx, m.Name, v, created); err != nil {
				return err
			}
			next++
			imported++
		}
		for _, a := range m.Aliases {
			err := meta.SetRegisteredModelAlias(ctx, quant.RegisteredModelAlias{Model: m.Name, Alias: a.Name, Version: a.Version})
			if err != nil {
				return fmt.Errorf("alias %q: %w", clip(a.Name), err)
			}
		}
		return nil
	})
	if err != nil {
		im.notes = before
		return err
	}
	im.counts[registeredModels].Imported++
	im.counts[versions].Imported += imported
	im.counts[versions].LeftOut += leftOut
	return nil
}

// maxGap is how many numbers of versions may be missing one after another.
const maxGap = 10_000

// gap takes a number of a version that the store no longer has.
func (im *importing) gap(ctx context.Context, model string, at quant.Time) error {
	v := quant.ModelVersion{Model: model, Stage: noStage, Status: readyVersion, CreatedAt: at, UpdatedAt: at}
	number, err := im.lab.Meta.CreateModelVersion(ctx, v, nil)
	if err != nil {
		return err
	}
	return im.lab.Meta.DeleteModelVersion(ctx, model, number, at)
}

// What a version says where the store says nothing.
const (
	noStage      = "None"
	readyVersion = "READY"
)

func (im *importing) version(ctx context.Context, model string, v modelVersion, created quant.Time) error {
	at := timeOr(v.Created, created)
	location, err := im.movedTo(ctx, v)
	if err != nil {
		return err
	}
	row := quant.ModelVersion{
		Model: model, Description: quant.Text(im.mask(v.Description)), Stage: v.Stage, Source: im.mask(v.Source), Location: im.mask(location),
		RunID: quant.Text(v.RunID), RunLink: quant.Text(im.mask(v.RunLink)), ModelID: quant.Text(v.ModelID), Status: v.Status,
		StatusMessage: quant.Text(im.mask(v.StatusDetail)), CreatedAt: at, UpdatedAt: timeOr(v.Updated, at),
	}
	if row.Stage == "" {
		row.Stage = noStage
	}
	if row.Status == "" {
		row.Status = readyVersion
	}
	var tags []quant.ModelVersionTag
	for _, t := range v.Tags {
		tags = append(tags, quant.ModelVersionTag{Model: model, Name: t.Key, Value: im.mask(t.Value)})
	}
	number, err := im.lab.Meta.CreateModelVersion(ctx, row, tags)
	if err == nil && number != v.Version {
		err = quant.Errorf(quant.Conflict, "version %d would be %d here", v.Version, number)
	}
	return err
}

// movedTo is where the files of a version stand now: what it says itself where they are
// none of a run or a logged model of the store.
func (im *importing) movedTo(ctx context.Context, v modelVersion) (string, error) {
	for at := v.Source; at != "" && at != "." && at != "/"; at = path.Dir(at) {
		if to, found := im.moved[at]; found {
			return to + strings.TrimPrefix(v.Source, at), nil
		}
	}
	if v.RunID == "" {
		return v.Source, nil
	}
	r, found, err := im.from.runOf(ctx, run{}, v.RunID)
	if err != nil || !found || r.ArtifactURI == "" {
		return v.Source, err
	}
	rest, below := strings.CutPrefix(v.Source, r.ArtifactURI)
	in, known := im.experiments[r.ExperimentID]
	if !below || !known || rest != "" && rest[0] != '/' {
		return v.Source, nil
	}
	return artifactRoot(in.number, v.RunID) + rest, nil
}

// tellOthers notes what the store has that has no place here.
func (im *importing) tellOthers(ctx context.Context) error {
	others, err := im.from.others(ctx)
	if err != nil {
		return err
	}
	for _, noun := range sortedKeys(others) {
		im.notes.add(Note{Object: "the store", Why: fmt.Sprintf("%d %s were not brought: they have no place here", others[noun], noun)})
	}
	return nil
}
