package mlflow

import (
	"context"
	"net/http"
	"strconv"

	"quant/internal/tracking"
)

type versionDocument struct {
	Name          string   `json:"name"`
	Version       string   `json:"version"`
	Created       int64    `json:"creation_timestamp"`
	Updated       int64    `json:"last_updated_timestamp"`
	Stage         string   `json:"current_stage"`
	Description   string   `json:"description"`
	Source        string   `json:"source"`
	RunID         string   `json:"run_id,omitempty"`
	Status        string   `json:"status"`
	StatusMessage string   `json:"status_message,omitempty"`
	Tags          []tag    `json:"tags,omitempty"`
	RunLink       string   `json:"run_link"`
	Aliases       []string `json:"aliases,omitempty"`
}

func documentOfVersion(v tracking.ModelVersion) versionDocument {
	doc := versionDocument{
		Name: v.Model, Version: strconv.FormatInt(v.Version, 10), Created: v.CreatedAt.UnixMilli(), Updated: v.UpdatedAt.UnixMilli(),
		Stage: v.Stage, Description: string(v.Description), Source: v.Source, RunID: string(v.RunID), Status: v.Status,
		StatusMessage: string(v.StatusMessage), RunLink: string(v.RunLink), Aliases: v.Aliases,
	}
	for _, t := range v.Tags {
		doc.Tags = append(doc.Tags, tag{t.Name, t.Value})
	}
	return doc
}

func documentsOfVersions(list []tracking.ModelVersion) []versionDocument {
	var all []versionDocument
	for _, v := range list {
		all = append(all, documentOfVersion(v))
	}
	return all
}

type registeredDocument struct {
	Name        string            `json:"name"`
	Created     int64             `json:"creation_timestamp"`
	Updated     int64             `json:"last_updated_timestamp"`
	Description string            `json:"description,omitempty"`
	Latest      []versionDocument `json:"latest_versions,omitempty"`
	Tags        []tag             `json:"tags,omitempty"`
	Aliases     []aliasDocument   `json:"aliases,omitempty"`
}

type aliasDocument struct {
	Alias   string `json:"alias"`
	Version string `json:"version"`
}

func documentOfModel(m tracking.RegisteredModel) registeredDocument {
	doc := registeredDocument{
		Name: m.Name, Created: m.CreatedAt.UnixMilli(), Updated: m.UpdatedAt.UnixMilli(), Description: string(m.Description), Latest: documentsOfVersions(m.Latest),
	}
	for _, t := range m.Tags {
		doc.Tags = append(doc.Tags, tag{t.Name, t.Value})
	}
	for _, a := range m.Aliases {
		doc.Aliases = append(doc.Aliases, aliasDocument{a.Alias, strconv.FormatInt(a.Version, 10)})
	}
	return doc
}

func answerRegistered(m tracking.RegisteredModel, err error) (any, error) {
	return struct {
		Model registeredDocument `json:"registered_model"`
	}{documentOfModel(m)}, err
}

func answerVersion(v tracking.ModelVersion, err error) (any, error) {
	return struct {
		Version versionDocument `json:"model_version"`
	}{documentOfVersion(v)}, err
}

// named, tagged, aliased and ofVersion are requests about a registered model.
type (
	named struct {
		Name string `json:"name" rule:"required"`
	}
	tagged struct {
		Name  string `json:"name" rule:"required"`
		Key   string `json:"key" rule:"required"`
		Value string `json:"value"`
	}
	aliased struct {
		Name    string `json:"name" rule:"required"`
		Alias   string `json:"alias" rule:"required"`
		Version string `json:"version"`
	}
	ofVersion struct {
		Name    string `json:"name" rule:"required"`
		Version string `json:"version" rule:"required"`
	}
	versionTagged struct {
		Name    string `json:"name" rule:"required"`
		Version string `json:"version" rule:"required"`
		Key     string `json:"key" rule:"required"`
		Value   string `json:"value"`
	}
)

// registrySearch is a search of models or versions.
type registrySearch struct {
	Filter     string   `json:"filter"`
	MaxResults Int      `json:"max_results"`
	OrderBy    []string `json:"order_by"`
	PageToken  string   `json:"page_token"`
}

func (in registrySearch) search(most int64) (s tracking.RegistrySearch, err error) {
	if in.MaxResults.V > most {
		return s, apiErrorf(invalidParameter, "Invalid value for request parameter max_results. It must be at most %d, but got value %d", most, in.MaxResults.V)
	}
	s = tracking.RegistrySearch{Filter: in.Filter, Order: in.OrderBy, Limit: int(in.MaxResults.V)}
	s.Offset, err = offsetOf(in.PageToken)
	return s, err
}

// registeredModelEndpoints are those of the registry of models.
func (f *face) registeredModelEndpoints() []endpoint {
	const models, versions = "/2.0/mlflow/registered-models", "/2.0/mlflow/model-versions"
	t := f.Tracking
	latest := func(ctx context.Context, in struct {
		Name   string   `json:"name" rule:"required"`
		Stages []string `json:"stages"`
	},
	) (any, error) {
		list, err := t.LatestVersions(ctx, in.Name, in.Stages)
		return struct {
			Versions []versionDocument `json:"model_versions,omitempty"`
		}{documentsOfVersions(list)}, err
	}
	return []endpoint{
		on(http.MethodPost, models+"/create", func(ctx context.Context, in struct {
			Name        string `json:"name" rule:"required"`
			Tags        []tag  `json:"tags"`
			Description string `json:"description"`
		},
		) (any, error) {
			return answerRegistered(t.CreateRegisteredModel(ctx, in.Name, in.Description, tagsOf(in.Tags)))
		}),
		on(http.MethodGet, models+"/get", func(ctx context.Context, in named) (any, error) {
			return answerRegistered(t.RegisteredModel(ctx, in.Name))
		}),
		on(http.MethodPatch, models+"/update", func(ctx context.Context, in struct {
			Name        string `json:"name" rule:"required"`
			Description string `json:"description"`
		},
		) (any, error) {
			return answerRegistered(t.DescribeRegisteredModel(ctx, in.Name, in.Description))
		}),
		on(http.MethodPost, models+"/rename", func(ctx context.Context, in struct {
			Name    string `json:"name" rule:"required"`
			NewName string `json:"new_name" rule:"required"`
		},
		) (any, error) {
			return answerRegistered(t.RenameRegisteredModel(ctx, in.Name, in.NewName))
		}),
		on(http.MethodDelete, models+"/delete", func(ctx context.Context, in named) (any, error) {
			return empty{}, t.DeleteRegisteredModel(ctx, in.Name)
		}),
		on(http.MethodGet, models+"/search", f.searchRegisteredModels),
		reading(on(http.MethodPost, models+"/get-latest-versions", latest)),
		on(http.MethodGet, models+"/get-latest-versions", latest),
		on(http.MethodPost, models+"/set-tag", func(ctx context.Context, in tagged) (any, error) {
			return empty{}, t.SetRegisteredModelTag(ctx, in.Name, tracking.Tag{Key: in.Key, Value: in.Value})
		}),
		on(http.MethodDelete, models+"/delete-tag", func(ctx context.Context, in tagged) (any, error) {
			return empty{}, t.DeleteRegisteredModelTag(ctx, in.Name, in.Key)
		}),
		on(http.MethodPost, models+"/alias", func(ctx context.Context, in aliased) (any, error) {
			if in.Version == "" {
				return nil, missing("version")
			}
			return empty{}, t.SetRegisteredModelAlias(ctx, in.Name, in.Alias, in.Version)
		}),
		on(http.MethodGet, models+"/alias", func(ctx context.Context, in aliased) (any, error) {
			return answerVersion(t.VersionOfAlias(ctx, in.Name, in.Alias))
		}),
		on(http.MethodDelete, models+"/alias", func(ctx context.Context, in aliased) (any, error) {
			return empty{}, t.DeleteRegisteredModelAlias(ctx, in.Name, in.Alias)
		}),

		on(http.MethodPost, versions+"/create", func(ctx context.Context, in struct {
			Name        string `json:"name" rule:"required"`
			Source      string `json:"source" rule:"required"`
			RunID       string `json:"run_id"`
			Tags        []tag  `json:"tags"`
			RunLink     string `json:"run_link"`
			Description string `json:"description"`
			ModelID     string `json:"model_id"`
		},
		) (any, error) {
			return answerVersion(t.CreateModelVersion(ctx, tracking.NewVersion{
				Name: in.Name, Source: in.Source, RunID: in.RunID, RunLink: in.RunLink, Description: in.Description, ModelID: in.ModelID, Tags: tagsOf(in.Tags),
			}))
		}),
		on(http.MethodGet, versions+"/get", func(ctx context.Context, in ofVersion) (any, error) {
			return answerVersion(t.ModelVersion(ctx, in.Name, in.Version))
		}),
		on(http.MethodPatch, versions+"/update", func(ctx context.Context, in struct {
			Name        string `json:"name" rule:"required"`
			Version     string `json:"version" rule:"required"`
			Description string `json:"description"`
		},
		) (any, error) {
			return answerVersion(t.DescribeModelVersion(ctx, in.Name, in.Version, in.Description))
		}),
		on(http.MethodPost, versions+"/transition-stage", func(ctx context.Context, in struct {
			Name    string `json:"name" rule:"required"`
			Version string `json:"version" rule:"required"`
			Stage   string `json:"stage" rule:"required"`
			Archive bool   `json:"archive_existing_versions"`
		},
		) (any, error) {
			return answerVersion(t.StageModelVersion(ctx, in.Name, in.Version, in.Stage, in.Archive))
		}),
		on(http.MethodDelete, versions+"/delete", func(ctx context.Context, in ofVersion) (any, error) {
			return empty{}, t.DeleteModelVersion(ctx, in.Name, in.Version)
		}),
		on(http.MethodGet, versions+"/search", f.searchModelVersions),
		on(http.MethodGet, versions+"/get-download-uri", func(ctx context.Context, in ofVersion) (any, error) {
			uri, err := t.VersionLocation(ctx, in.Name, in.Version)
			return struct {
				URI string `json:"artifact_uri"`
			}{uri}, err
		}),
		on(http.MethodPost, versions+"/set-tag", func(ctx context.Context, in versionTagged) (any, error) {
			return empty{}, t.SetModelVersionTag(ctx, in.Name, in.Version, tracking.Tag{Key: in.Key, Value: in.Value})
		}),
		on(http.MethodDelete, versions+"/delete-tag", func(ctx context.Context, in versionTagged) (any, error) {
			return empty{}, t.DeleteModelVersionTag(ctx, in.Name, in.Version, in.Key)
		}),
	}
}

func (f *face) searchRegisteredModels(ctx context.Context, in registrySearch) (any, error) {
	s, err := in.search(1000)
	if err != nil {
		return nil, err
	}
	found, more, err := f.Tracking.SearchRegisteredModels(ctx, s)
	if err != nil {
		return nil, err
	}
	var out struct {
		Models []registeredDocument `json:"registered_models,omitempty"`
		Next   string               `json:"next_page_token,omitempty"`
	}
	for _, m := range found {
		out.Models = append(out.Models, documentOfModel(m))
	}
	if more {
		out.Next = pageToken(s.Offset + len(found))
	}
	return out, nil
}

func (f *face) searchModelVersions(ctx context.Context, in registrySearch) (any, error) {
	s, err := in.search(200_000)
	if err != nil {
		return nil, err
	}
	found, more, err := f.Tracking.SearchModelVersions(ctx, s)
	if err != nil {
		return nil, err
	}
	var out struct {
		Versions []versionDocument `json:"model_versions,omitempty"`
		Next     string            `json:"next_page_token,omitempty"`
	}
	out.Versions = documentsOfVersions(found)
	if more {
		out.Next = pageToken(s.Offset + len(found))
	}
	return out, nil
}
