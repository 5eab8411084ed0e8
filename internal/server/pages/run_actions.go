package pages

import (
	"net/http"

	"quant"
	"quant/internal/runs"
	"quant/internal/server/caller"
)

// actionRoutes are what changes a run: forms, each answered by the page of the run.
func (p *pages) actionRoutes(mux *http.ServeMux) {
	act := func(name string, do func(r *http.Request, a runs.Actor, id string) error) {
		p.change(mux, "POST /runs/{run}/"+name, func(w http.ResponseWriter, r *http.Request) error {
			r.Body = http.MaxBytesReader(w, r.Body, maxForm)
			if err := r.ParseForm(); err != nil {
				return quant.Errorf(quant.Usage, "the form cannot be read: %w", err)
			}
			id, err := p.runOf(r)
			if err != nil {
				return err
			}
			actor := runs.Actor{Session: p.Session, By: caller.From(r.Context()).Name}
			if p.clients != nil {
				actor.StopClient = p.clients.Stop
			}
			if err := do(r, actor, id); err != nil {
				return err
			}
			http.Redirect(w, r, "/runs/"+id+"#"+anchorOf(name), http.StatusSeeOther)
			return nil
		})
	}
	act("tag", func(r *http.Request, a runs.Actor, id string) error {
		_, err := a.Tag(r.Context(), id, []quant.Tag{{Name: r.PostFormValue("name"), Value: r.PostFormValue("value")}})
		return err
	})
	act("untag", func(r *http.Request, a runs.Actor, id string) error {
		_, err := a.Untag(r.Context(), id, []string{r.PostFormValue("name")})
		return err
	})
	act("name", func(r *http.Request, a runs.Actor, id string) error {
		_, err := a.SetName(r.Context(), id, r.PostFormValue("name"))
		return err
	})
	act("note", func(r *http.Request, a runs.Actor, id string) error {
		_, err := a.Note(r.Context(), id, r.PostFormValue("text"))
		return err
	})
	act("star", func(r *http.Request, a runs.Actor, id string) error {
		_, err := a.Star(r.Context(), id)
		return err
	})
	act("unstar", func(r *http.Request, a runs.Actor, id string) error {
		_, err := a.Unstar(r.Context(), id)
		return err
	})
	act("delete", func(r *http.Request, a runs.Actor, id string) error {
		_, err := a.Delete(r.Context(), []string{id}, r.PostFormValue("children") != "")
		return err
	})
	act("restore", func(r *http.Request, a runs.Actor, id string) error {
		_, err := a.Restore(r.Context(), []string{id}, r.PostFormValue("children") != "")
		return err
	})
	act("stop", func(r *http.Request, a runs.Actor, id string) error {
		_, err := a.Stop(r.Context(), id)
		return err
	})
}

// maxForm bounds a form: a note, encoded, and what goes with it.
const maxForm = 4 * quant.MaxNoteText

// anchorOf is the part of the page that shows what an action did.
func anchorOf(action string) string {
	switch action {
	case "tag", "untag":
		return "tags"
	case "note":
		return "notes"
	}
	return "main"
}

// mayWrite tells whether a request comes from somebody who may change the lab.
func mayWrite(r *http.Request) bool { return caller.From(r.Context()).May(caller.Write) }
