package archive

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"quant"
	"quant/internal/artifact"
	"quant/internal/durable"
	"quant/internal/lab"
	"quant/internal/lab/place"
	"quant/internal/metastore"
	"quant/internal/registry"
)

// eachContent calls fn for what a lab has beside its databases, as its Meta DB knows it:
// the member of a backup that it is, and the file that it is in, which may be missing; an
// artifact of a lab with a bucket may be there alone. The order is always the same. The
// first error of fn ends it.
func eachContent(ctx context.Context, at place.Place, contents artifact.Store, meta metastore.Store, fn func(member, path string) error) error {
	stored, err := meta.StoredArtifacts(ctx)
	if err != nil {
		return err
	}
	for _, a := range stored {
		path, err := contents.Path(a.Digest)
		if err != nil {
			return err
		}
		if err := fn(artifacts+strings.TrimPrefix(a.Digest, durable.DigestPrefix), path); err != nil {
			return err
		}
	}
	known := func(runID string) (bool, error) {
		_, err := meta.GetRun(ctx, runID)
		if errors.Is(err, quant.NotFound) {
			return false, nil
		}
		return err == nil, err
	}
	printed, err := lab.Entries(at.LogDir())
	if err != nil {
		return err
	}
	for _, e := range printed {
		if len(e.Name()) < 36 || !memberName().MatchString(logs+e.Name()) {
			continue
		}
		if is, err := known(e.Name()[:36]); err != nil {
			return err
		} else if !is {
			continue
		}
		if err := fn(logs+e.Name(), filepath.Join(at.LogDir(), e.Name())); err != nil {
			return err
		}
	}
	folders, err := lab.Entries(at.RunDir())
	if err != nil {
		return err
	}
	for _, folder := range folders {
		if !folder.IsDir() || !registry.IsRunID(folder.Name()) {
			continue
		}
		if is, err := known(folder.Name()); err != nil {
			return err
		} else if !is {
			continue
		}
		files, err := lab.Entries(filepath.Join(at.RunDir(), folder.Name()))
		if err != nil {
			return err
		}
		for _, f := range files {
			member := runFiles + folder.Name() + "/" + f.Name()
			if !memberName().MatchString(member) {
				continue
			}
			if err := fn(member, filepath.Join(at.RunDir(), folder.Name(), f.Name())); err != nil {
				return err
			}
		}
	}
	for _, one := range []struct{ member, path string }{
		{delistings, place.Real(at.DelistingsFile())}, {universes, place.Real(at.UniversesFile())}, {calendarMember, at.CalendarFile()},
	} {
		if err := fn(one.member, one.path); err != nil {
			return err
		}
	}
	trained, err := lab.Entries(at.ModelDir())
	if err != nil {
		return err
	}
	for _, e := range trained {
		if !modelFile().MatchString(e.Name()) {
			continue
		}
		if err := fn(models+e.Name(), filepath.Join(at.ModelDir(), e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// fileOf is where a member stands in a lab, but for artifacts and databases. suffix is put
// behind the name that is exchanged when a lab takes another's place.
func fileOf(at place.Place, member, suffix string) string {
	folder, file, in := strings.Cut(member, "/")
	switch {
	case in && folder+"/" == logs:
		return filepath.Join(place.Real(at.LogDir())+suffix, file)
	case in && folder+"/" == models:
		return filepath.Join(place.Real(at.ModelDir())+suffix, file)
	case in && folder+"/" == runFiles:
		return filepath.Join(place.Real(at.RunDir())+suffix, filepath.FromSlash(file))
	case member == delistings:
		return place.Real(at.DelistingsFile()) + suffix
	case member == universes:
		return place.Real(at.UniversesFile()) + suffix
	}
	return at.CalendarFile() + suffix
}
