package api

import (
	"cmp"
	"context"
	"net/http"
	"slices"

	"quant"
	"quant/internal/pipeline"
	"quant/internal/session"
)

type nothing struct{}

// Lab is what is served.
type Lab struct {
	Lab       string        `json:"lab" doc:"the folder of the lab"`
	RunID     string        `json:"run_id" doc:"the run that serves"`
	StartedAt quant.Time    `json:"started_at" doc:"when it began"`
	Quant     session.Build `json:"quant" doc:"the program"`
}

type ofExperiment struct {
	Experiment string `path:"experiment" doc:"the id of an experiment"`
}

type modelsOf struct {
	Experiment string `query:"experiment" doc:"only those of this experiment"`
}

// sortedTags are tags in the order of their names.
func sortedTags(tags []quant.Tag) []quant.Tag {
	slices.SortFunc(tags, func(a, b quant.Tag) int { return cmp.Compare(a.Name, b.Name) })
	return tags
}

// routesOfLab are those of what the lab has beside runs, and of the API itself.
func routesOfLab() []route {
	return []route{
		reads("lab", about{id: "getLab", group: "lab", summary: "What is served, and by which program"},
			func(_ context.Context, h *handler, _ nothing) (Lab, error) {
				l := Lab{Lab: h.Session.Shown(), RunID: h.Session.RunID(), Quant: h.Session.Build()}
				if h.Session.Run != nil {
					l.StartedAt = h.Session.Run.Started
				}
				return l, nil
			}),
		reads("experiments", about{id: "listExperiments", group: "lab", summary: "Experiments, newest first", command: "experiments list"},
			func(ctx context.Context, h *handler, _ nothing) ([]quant.Experiment, error) {
				return list(pipeline.ListExperiments(ctx, h.Session))
			}),
		reads("experiments/{experiment}", about{id: "showExperiment", group: "lab", summary: "An experiment with its models", command: "experiments show"},
			func(ctx context.Context, h *handler, in ofExperiment) (pipeline.ExperimentReport, error) {
				e, err := pipeline.ShowExperiment(ctx, h.Session, in.Experiment)
				e.Models, _ = list(e.Models, nil)
				return e, err
			}),
		reads("models", about{id: "listModels", group: "lab", summary: "Models, newest first", command: "models list"},
			func(ctx context.Context, h *handler, in modelsOf) ([]quant.Model, error) {
				return list(pipeline.ListModels(ctx, h.Session, in.Experiment))
			}),
		content("openapi.json", "application/json", about{id: "getOpenAPI", group: "lab", summary: "This document"},
			func(h *handler, w http.ResponseWriter, r *http.Request, _ nothing) error {
				h.send(w, r, http.StatusOK, "application/json", OpenAPI(h.version()))
				return nil
			}),
		content("docs", "text/html", about{id: "getDocs", group: "lab", summary: "This document as a page"},
			func(h *handler, w http.ResponseWriter, r *http.Request, _ nothing) error {
				page, err := docsPage(h.version())
				if err != nil {
					return err
				}
				w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
				h.send(w, r, http.StatusOK, "text/html; charset=utf-8", page)
				return nil
			}),
	}
}

func (h *handler) version() string {
	if h.Session == nil {
		return "dev"
	}
	return cmp.Or(h.Session.Build().Version, "dev")
}

// routes are all of the API.
func routes() []route {
	return slices.Concat(routesOfSearch(), routesOfRun(), routesOfActions(), routesOfJobs(), routesOfLab())
}
