package tracking

import (
	"context"
	"errors"
	"io"
	"net/url"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"quant"
	"quant/internal/metastore"
)

// Below the artifact root each run has the folder EXPERIMENT/RUN/artifacts and each
// logged model EXPERIMENT/models/MODEL/artifacts; a client is told its folder as a
// URI of this scheme, and sends and fetches files by their paths below the root.
const artifactScheme = "mlflow-artifacts:/"

const (
	modelsFolder    = "models"
	artifactsFolder = "artifacts"
)

// File is an entry of a folder of artifacts.
type File struct {
	Path  string
	Dir   bool
	Bytes int64
}

// Content is the content of an artifact, verified and open. Close it.
type Content struct {
	*os.File
	Name   string // its last part
	Digest string
	Bytes  int64
	At     quant.Time // when it was logged
}

// runFolder is the folder of a run below the artifact root.
func runFolder(experiment, clientID string) string {
	return experiment + "/" + clientID + "/" + artifactsFolder
}

// modelFolder is the folder of a logged model below the artifact root.
func modelFolder(experiment, modelID string) string {
	return experiment + "/" + modelsFolder + "/" + modelID + "/" + artifactsFolder
}

// ModelFolder is the folder of a logged model of the experiment of a number, below the
// artifact root.
func ModelFolder(number int64, modelID string) string {
	return modelFolder(strconv.FormatInt(number, 10), modelID)
}

// errPath is the error of a path that could lead out of its folder, in the
// reference server's words.
func errPath() error { return invalidf("Invalid path") }

// cleanPath checks a path below a folder, without its slashes at the end: it has to
// keep the rules of an artifact's name, however often it is decoded. "" is the
// folder itself.
func cleanPath(p string) (string, error) {
	p = strings.TrimRight(p, "/")
	if p == "" || p == "." {
		return "", nil
	}
	if hostile(p) {
		return "", errPath()
	}
	p = path.Clean(p) // a//b and a/./b are a/b
	if quant.ValidateArtifactName(p) != nil {
		return "", errPath()
	}
	return p, nil
}

// ValidatePath reports a path of a file that could lead out of its folder, as
// Invalid.
func ValidatePath(p string) error {
	_, err := cleanPath(p)
	return err
}

// hostile tells whether a path is absolute on any system, climbs, or hides where it
// leads, as it stands or decoded, however often.
func hostile(p string) bool {
	for range 10 {
		if leads(p) {
			return true
		}
		next, err := url.PathUnescape(p)
		if err != nil || next == p {
			return false
		}
		p = next
	}
	return true
}

func leads(p string) bool {
	if strings.ContainsAny(p, "\\#\x00") || strings.HasPrefix(p, "/") || strings.HasPrefix(strings.ToLower(p), "file:") {
		return true
	}
	if len(p) >= 2 && p[1] == ':' && (p[0]|0x20) >= 'a' && (p[0]|0x20) <= 'z' {
		return true // a drive
	}
	return slices.Contains(strings.Split(p, "/"), "..")
}

// place is what a path below the artifact root names: a file or folder of a run, or
// one that is no run's.
type place struct {
	run   *target
	name  string // within the folder of the run; "": that folder
	path  string // whole
	model string // the logged model whose folder it lies in; "": none
}

// placeOf finds it. Errors: NotFound for the folder of a run or model that does not
// exist; Invalid.
func (t *Tracking) placeOf(ctx context.Context, p string) (place, error) {
	whole := p
	p, err := cleanPath(p)
	if err != nil || p == "" {
		return place{}, err
	}
	parts := strings.Split(p, "/")
	if _, name, found := strings.Cut(whole, "/"+artifactsFolder+"/"); found && hostile(name) {
		return place{}, errPath() // within the folder of a run or a model
	}
	switch {
	case len(parts) >= 4 && parts[1] == modelsFolder && parts[3] == artifactsFolder && strings.HasPrefix(parts[2], "m-"):
		m, err := t.loggedModel(ctx, parts[2], true)
		if err != nil {
			return place{}, err
		}
		if m.Experiment != parts[0] {
			return place{}, noSuchFolder(p)
		}
		return place{path: p, model: parts[2]}, nil
	case len(parts) >= 3 && parts[2] == artifactsFolder && parts[1] != modelsFolder:
		run, err := t.target(ctx, parts[1])
		switch {
		case errors.Is(err, quant.NotFound) && isClientID(parts[1]), err == nil && run.experiment != parts[0]:
			return place{}, noSuchFolder(p)
		case errors.Is(err, quant.NotFound):
			return place{path: p}, nil // a folder of the client's own
		case err != nil:
			return place{}, err
		}
		return place{run: &run, name: strings.Join(parts[3:], "/"), path: p}, nil
	}
	return place{path: p}, nil
}

func noSuchFolder(p string) error {
	return notFoundf("No run and no model of this server has the folder of '%s'", p)
}

// isClientID tells whether a text has the form of the ids that are given to runs.
func isClientID(s string) bool {
	return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == ""
}

// PutFile stores what r gives until its end as the file at a path below the artifact
// root, in the place of one that is there. Of a run that quant recorded, a file that
// is there stays: Conflict if it has another content. After an error nothing is kept.
// Errors: Invalid for a path that leads out of its folder or names none; NotFound;
// Conflict; Store (also when the disk is full); what r gave.
func (t *Tracking) PutFile(ctx context.Context, p string, r io.Reader) error {
	at, err := t.placeOf(ctx, p)
	if err != nil {
		return err
	}
	if at.path == "" || at.run != nil && at.name == "" || at.model != "" && path.Base(at.path) == artifactsFolder && strings.Count(at.path, "/") == 3 {
		return errPath()
	}
	if at.run != nil {
		return t.putOfRun(ctx, *at.run, at.name, r)
	}
	a := quant.ClientArtifact{Path: at.path, LoggedAt: t.now()}
	if a.Digest, a.Bytes, err = t.Artifacts.Put(ctx, r); err != nil {
		return err
	}
	return t.writes.do(ctx, func(ctx context.Context) error { return t.Store.PutClientArtifact(ctx, a) })
}

// PutRunFile is PutFile for a path within the folder of a run.
func (t *Tracking) PutRunFile(ctx context.Context, clientID, name string, r io.Reader) error {
	name, err := cleanPath(name)
	if err != nil {
		return err
	}
	if name == "" {
		return errPath()
	}
	run, err := t.target(ctx, clientID)
	if err != nil {
		return err
	}
	return t.putOfRun(ctx, run, name, r)
}

func (t *Tracking) putOfRun(ctx context.Context, run target, name string, r io.Reader) (err error) {
	a := quant.Artifact{RunID: run.runID, Name: name, LoggedAt: t.now()}
	if a.Digest, a.Bytes, err = t.Artifacts.Put(ctx, r); err != nil {
		return err
	}
	if err := t.sawRun(ctx, run); err != nil {
		return err
	}
	return t.writes.do(ctx, func(ctx context.Context) error {
		if !run.client {
			return t.Store.Log(ctx, metastore.Batch{Artifacts: []quant.Artifact{a}})
		}
		return t.Store.PutArtifact(ctx, a)
	})
}

// RemoveFiles takes away the file at a path below the artifact root, or all files of
// that folder; none is no error. The contents stay in the store until gc. Errors:
// Invalid; NotFound; Refused for a run that quant recorded.
func (t *Tracking) RemoveFiles(ctx context.Context, p string) error {
	at, err := t.placeOf(ctx, p)
	switch {
	case err != nil:
		return err
	case at.path == "":
		return errPath()
	case at.run == nil:
		_, err = t.Store.RemoveClientArtifacts(ctx, at.path)
	case !at.run.client:
		return quant.Errorf(quant.Refused, "run %s was recorded by quant: its artifacts stay", at.run.runID)
	default:
		if err := t.sawRun(ctx, *at.run); err != nil {
			return err
		}
		_, err = t.Store.RemoveArtifacts(ctx, []string{at.run.runID}, at.name)
	}
	return err
}

// Files lists a folder below the artifact root, by path; paths are relative to it. A
// file, or nothing, is an empty folder. Errors: Invalid; NotFound.
func (t *Tracking) Files(ctx context.Context, p string) ([]File, error) {
	at, err := t.placeOf(ctx, p)
	if err != nil {
		return nil, err
	}
	return t.filesOf(ctx, at)
}

func (t *Tracking) filesOf(ctx context.Context, at place) ([]File, error) {
	if at.run != nil {
		list, err := t.Store.ArtifactsBelow(ctx, []string{at.run.runID}, at.name)
		if err != nil {
			return nil, err
		}
		return folder(at.name, len(list), func(i int) (string, int64) { return list[i].Name, list[i].Bytes }), nil
	}
	list, err := t.Store.ClientArtifactsBelow(ctx, at.path)
	if err != nil {
		return nil, err
	}
	return folder(at.path, len(list), func(i int) (string, int64) { return list[i].Path, list[i].Bytes }), nil
}

// folder makes the entries of a folder from all files below it.
func folder(dir string, n int, file func(i int) (name string, bytes int64)) []File {
	files := []File{}
	if dir != "" {
		dir += "/"
	}
	at := map[string]bool{}
	for i := range n {
		name, bytes := file(i)
		rest, below := strings.CutPrefix(name, dir)
		if !below {
			continue // the file itself
		}
		first, _, deeper := strings.Cut(rest, "/")
		switch {
		case !deeper:
			files = append(files, File{Path: first, Bytes: bytes})
		case !at[first]:
			at[first] = true
			files = append(files, File{Path: first, Dir: true})
		}
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return files
}

// RunFiles lists a folder of a run; paths are relative to the run's folder, whose URI
// is root. Errors: as of Files.
func (t *Tracking) RunFiles(ctx context.Context, clientID, dir string) (root string, files []File, err error) {
	dir, err = cleanPath(dir)
	if err != nil {
		return "", nil, err
	}
	run, err := t.target(ctx, clientID)
	if err != nil {
		return "", nil, err
	}
	files, err = t.filesOf(ctx, place{run: &run, name: dir})
	return artifactScheme + runFolder(run.experiment, clientID), within(dir, files), err
}

// ModelFiles lists a folder of a logged model, as RunFiles one of a run.
func (t *Tracking) ModelFiles(ctx context.Context, modelID, dir string) (root string, files []File, err error) {
	dir, err = cleanPath(dir)
	if err != nil {
		return "", nil, err
	}
	m, err := t.loggedModel(ctx, modelID, true)
	if err != nil {
		return "", nil, err
	}
	base := modelFolder(m.Experiment, modelID)
	files, err = t.filesOf(ctx, place{path: path.Join(base, dir)})
	return artifactScheme + base, within(dir, files), err
}

func within(dir string, files []File) []File {
	for i := range files {
		files[i].Path = path.Join(dir, files[i].Path)
	}
	return files
}

// OpenFile opens the file at a path below the artifact root. Errors: Invalid;
// NotFound; Refused for a content that was changed since it was stored; Store.
func (t *Tracking) OpenFile(ctx context.Context, p string) (*Content, error) {
	at, err := t.placeOf(ctx, p)
	if err != nil {
		return nil, err
	}
	return t.open(ctx, at)
}

// OpenRunFile opens a file by its path within the folder of a run.
func (t *Tracking) OpenRunFile(ctx context.Context, clientID, name string) (*Content, error) {
	name, err := cleanPath(name)
	if err != nil {
		return nil, err
	}
	run, err := t.target(ctx, clientID)
	if err != nil {
		return nil, err
	}
	return t.open(ctx, place{run: &run, name: name, path: name})
}

// OpenModelFile opens a file by its path within the folder of a logged model.
func (t *Tracking) OpenModelFile(ctx context.Context, modelID, name string) (*Content, error) {
	name, err := cleanPath(name)
	if err != nil {
		return nil, err
	}
	m, err := t.loggedModel(ctx, modelID, true)
	if err != nil {
		return nil, err
	}
	return t.open(ctx, place{path: path.Join(modelFolder(m.Experiment, modelID), name)})
}

// OpenVersionFile opens a file of a version of a registered model, by its path within
// the version's folder, where that is one of this server.
func (t *Tracking) OpenVersionFile(ctx context.Context, model, version, name string) (*Content, error) {
	name, err := cleanPath(name)
	if err != nil {
		return nil, err
	}
	location, err := t.VersionLocation(ctx, model, version)
	if err != nil {
		return nil, err
	}
	switch {
	case strings.HasPrefix(location, artifactScheme) && !strings.HasPrefix(location, artifactScheme+"/"):
		return t.OpenFile(ctx, path.Join(strings.TrimPrefix(location, artifactScheme), name))
	case strings.HasPrefix(location, "runs:/"):
		clientID, dir, _ := strings.Cut(strings.TrimPrefix(location, "runs:/"), "/")
		return t.OpenRunFile(ctx, clientID, path.Join(dir, name))
	}
	return nil, quant.Errorf(quant.Refused, "The files of version %s of model '%s' are not on this server, which fetches nothing from elsewhere", version, model)
}

func (t *Tracking) open(ctx context.Context, at place) (*Content, error) {
	c := Content{Name: path.Base(at.path)}
	switch {
	case at.path == "":
		return nil, errPath()
	case at.run != nil:
		list, err := t.Store.ArtifactsBelow(ctx, []string{at.run.runID}, at.name)
		if err != nil {
			return nil, err
		}
		for _, a := range list {
			if a.Name == at.name {
				c.Digest, c.Bytes, c.At = a.Digest, a.Bytes, a.LoggedAt
			}
		}
	default:
		list, err := t.Store.ClientArtifactsBelow(ctx, at.path)
		if err != nil {
			return nil, err
		}
		for _, a := range list {
			if a.Path == at.path {
				c.Digest, c.Bytes, c.At = a.Digest, a.Bytes, a.LoggedAt
			}
		}
	}
	if c.Digest == "" {
		return nil, notFoundf("No such artifact: '%s'", at.path)
	}
	f, err := t.Artifacts.Open(ctx, c.Digest)
	if err != nil {
		return nil, err
	}
	c.File = f
	return &c, nil
}
