package pipeline

import (
	"context"
	"errors"
	"slices"
	"strings"

	"quant"
	"quant/internal/factstore"
	"quant/internal/feature"
	"quant/internal/model"
	"quant/internal/session"
)

// FeatureSets returns the sets of the lab: none where it has no Fact DB yet.
func FeatureSets(ctx context.Context, s *session.Session) (sets []factstore.FeatureSet, err error) {
	err = s.ReadFacts(ctx, func(db *factstore.DB) error {
		sets, err = featureSetsOf(ctx, s, db)
		return err
	})
	if errors.Is(err, factstore.ErrMissing) {
		return nil, nil
	}
	return sets, err
}

// featureSetsOf are the sets of a Fact DB. What is said of their features from now on is
// taken for no user and host.
func featureSetsOf(ctx context.Context, s *session.Session, db *factstore.DB) ([]factstore.FeatureSet, error) {
	sets, err := db.FeatureSets(ctx)
	for _, set := range sets {
		s.Mask.KnowVersions(set.Version)
	}
	return sets, err
}

// setsFor are the sets of the lab, where one of the versions is not built in.
func setsFor(ctx context.Context, s *session.Session, versions ...string) ([]factstore.FeatureSet, error) {
	for _, version := range versions {
		if !slices.Contains(feature.Versions(), version) && factstore.CheckFeatureVersion(version) == nil {
			return FeatureSets(ctx, s)
		}
	}
	return nil, nil
}

// FeatureCatalogue are features and the sets of the lab.
type FeatureCatalogue struct {
	Entries []feature.Entry
	Sets    []factstore.FeatureSet
}

// CatalogueOf returns the features of a version, of v1, v2 and the lab's own for "", and
// the sets of the lab. Errors: those of feature.Catalogue.
func CatalogueOf(ctx context.Context, s *session.Session, version string) (FeatureCatalogue, error) {
	var sets []factstore.FeatureSet
	var err error
	if version == "" {
		if sets, err = FeatureSets(ctx, s); err != nil && ctx.Err() == nil {
			s.Say().Notice("the lab's own versions are not shown: %v", err)
			sets, err = nil, nil
		}
	} else {
		sets, err = setsFor(ctx, s, version)
	}
	if err != nil {
		return FeatureCatalogue{}, err
	}
	list, err := feature.Catalogue(version, sets...)
	if err != nil || version != "" {
		return FeatureCatalogue{list, sets}, err
	}
	for _, set := range sets {
		if !slices.Contains(feature.Versions(), set.Version) {
			own, err := feature.Catalogue(set.Version, sets...)
			if err != nil {
				return FeatureCatalogue{}, err
			}
			list = append(list, own...)
		}
	}
	return FeatureCatalogue{list, sets}, nil
}

// priceLevels tells whether a feature of a version is at price level, and its scale-free
// twin, "" where it has none. What neither the catalogue nor the sets know is the user's
// own.
func priceLevels(sets []factstore.FeatureSet) func(name, version string) (twin string, level bool) {
	return func(name, version string) (twin string, level bool) {
		if e, err := feature.Lookup(name, version, sets...); err == nil {
			return e.Twin, !e.ScaleFree
		}
		catalogue, err := feature.Catalogue("")
		if err != nil {
			return "", false // there is no version of which it could be said
		}
		for _, e := range catalogue {
			if e.Name == name {
				return e.Twin, !e.ScaleFree
			}
		}
		return "", false
	}
}

// refusePriceLevels refuses features that move with the level of a price, of
// which a model learns the history of splits and little else.
func refusePriceLevels(list []model.Feature, sets []factstore.FeatureSet) error {
	priceLevel := priceLevels(sets)
	for _, f := range list {
		twin, level := priceLevel(f.Name, f.Version)
		if !level {
			continue
		}
		err := quant.Errorf(quant.Refused, "feature %s moves with the price level: it means another thing for each symbol", f)
		if twin == "" {
			return err.WithHint("define one that is divided by what it is measured in, such as a price by $close, in a new version")
		}
		return err.WithHint("use its scale-free twin %s@%s", twin, f.Version)
	}
	return nil
}

func versionsOf(list []model.Feature) (versions []string) {
	for _, f := range list {
		versions = append(versions, f.Version)
	}
	return versions
}

// wholeVersions puts, in a comma list of features, the scale-free features of a version
// in the place of the version's name alone: alpha158 is KMID@alpha158, KLEN@alpha158 and
// so on.
func wholeVersions(ctx context.Context, s *session.Session, list string) (string, error) {
	var out []string
	for item := range strings.SplitSeq(list, ",") {
		version := strings.TrimSpace(item)
		if version == "" || strings.Contains(version, "@") || feature.CheckVersion(version) != nil {
			out = append(out, item)
			continue
		}
		sets, err := setsFor(ctx, s, version)
		if err != nil {
			return "", err
		}
		entries, err := feature.Catalogue(version, sets...)
		if errors.Is(err, quant.NotFound) { // a feature without its version, of which is said more
			out = append(out, item)
			continue
		}
		if err != nil {
			return "", err
		}
		for _, e := range entries {
			if e.ScaleFree {
				out = append(out, e.Name+"@"+version)
			}
		}
	}
	return strings.Join(out, ","), nil
}
