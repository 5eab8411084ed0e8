package api

import (
	"context"
	"net/http"

	"quant"
	"quant/internal/runs"
	"quant/internal/server/caller"
)

// NewTags are tags to set.
type NewTags struct {
	Tags map[string]string `json:"tags" doc:"values by name; all are set, or none"`
}

// NewNote is a note to add.
type NewNote struct {
	Text string `json:"text"`
}

// NewName is a name to give.
type NewName struct {
	Name string `json:"name"`
}

// Chosen are runs to delete or to restore.
type Chosen struct {
	Runs     []string `json:"runs" doc:"as they are named elsewhere; all of them, or none"`
	Children bool     `json:"children,omitempty" doc:"also the runs that ran inside of them"`
}

// maxChosen is how many runs one request deletes or restores at most.
const maxChosen = 1000

type setTags struct {
	Run  string  `path:"run" doc:"a run: its id, a unique prefix or suffix of that, @NAME, or last"`
	Body NewTags `body:""`
}

type removeTags struct {
	Run  string   `path:"run" doc:"a run: its id, a unique prefix or suffix of that, @NAME, or last"`
	Name []string `query:"name" required:"true" doc:"a tag; repeat it for each"`
}

type addNote struct {
	Run  string  `path:"run" doc:"a run: its id, a unique prefix or suffix of that, @NAME, or last"`
	Body NewNote `body:""`
}

type setName struct {
	Run  string  `path:"run" doc:"a run: its id, a unique prefix or suffix of that, @NAME, or last"`
	Body NewName `body:""`
}

type choose struct {
	Body Chosen `body:""`
}

// act does something as who asked.
func act[In any](do func(ctx context.Context, a runs.Actor, in In) (runs.Acted, error)) func(context.Context, *handler, In) (runs.Acted, error) {
	return func(ctx context.Context, h *handler, in In) (runs.Acted, error) {
		if _, err := h.Session.MetaDB(); err != nil {
			return runs.Acted{}, err
		}
		return do(ctx, h.actor(caller.From(ctx)), in)
	}
}

// checkChosen holds a request to its bound.
func checkChosen(c Chosen) error {
	if len(c.Runs) > maxChosen {
		return quant.Errorf(quant.Usage, "%d runs are named, more than %d", len(c.Runs), maxChosen).WithHint("send them in parts")
	}
	return nil
}

// routesOfActions are those that change something.
func routesOfActions() []route {
	return []route{
		writes(http.MethodPost, "runs/{run}/tags", about{id: "setTags", group: "actions", summary: "Set tags of a run"},
			act(func(ctx context.Context, a runs.Actor, in setTags) (runs.Acted, error) {
				var tags []quant.Tag
				for name, value := range in.Body.Tags {
					tags = append(tags, quant.Tag{Name: name, Value: value})
				}
				return a.Tag(ctx, in.Run, sortedTags(tags))
			})),
		writes(http.MethodDelete, "runs/{run}/tags", about{id: "removeTags", group: "actions", summary: "Take tags of a run away"},
			act(func(ctx context.Context, a runs.Actor, in removeTags) (runs.Acted, error) {
				return a.Untag(ctx, in.Run, in.Name)
			})),
		writes(http.MethodPost, "runs/{run}/notes", about{id: "addNote", group: "actions", summary: "Add a note to a run"},
			act(func(ctx context.Context, a runs.Actor, in addNote) (runs.Acted, error) {
				return a.Note(ctx, in.Run, in.Body.Text)
			})),
		writes(http.MethodPut, "runs/{run}/name", about{id: "setName", group: "actions", summary: "Give a run a name", text: "`@NAME` is the newest run of a name."},
			act(func(ctx context.Context, a runs.Actor, in setName) (runs.Acted, error) {
				return a.SetName(ctx, in.Run, in.Body.Name)
			})),
		writes(http.MethodPut, "runs/{run}/star", about{id: "starRun", group: "actions", summary: "Mark a run, with the tag star"},
			act(func(ctx context.Context, a runs.Actor, in ofRun) (runs.Acted, error) { return a.Star(ctx, in.Run) })),
		writes(http.MethodDelete, "runs/{run}/star", about{id: "unstarRun", group: "actions", summary: "Take the mark of a run away"},
			act(func(ctx context.Context, a runs.Actor, in ofRun) (runs.Acted, error) { return a.Unstar(ctx, in.Run) })),
		writes(http.MethodPost, "runs/delete", about{id: "deleteRuns", group: "actions", summary: "Delete runs, so that lists leave them out", text: "Nothing is lost: restore undoes it."},
			act(func(ctx context.Context, a runs.Actor, in choose) (runs.Acted, error) {
				if err := checkChosen(in.Body); err != nil {
					return runs.Acted{}, err
				}
				return a.Delete(ctx, in.Body.Runs, in.Body.Children)
			})),
		writes(http.MethodPost, "runs/restore", about{id: "restoreRuns", group: "actions", summary: "Bring deleted runs back"},
			act(func(ctx context.Context, a runs.Actor, in choose) (runs.Acted, error) {
				if err := checkChosen(in.Body); err != nil {
					return runs.Acted{}, err
				}
				return a.Restore(ctx, in.Body.Runs, in.Body.Children)
			})),
	}
}
