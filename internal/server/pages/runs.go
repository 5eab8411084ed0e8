package pages

import "net/http"

// runRoutes are the pages of runs.
func (p *pages) runRoutes(mux *http.ServeMux) []section {
	p.handle(mux, "GET /runs", p.runList)
	return []section{{Name: "Runs", Path: "/runs", Key: "r"}}
}

func (p *pages) runList(w http.ResponseWriter, r *http.Request) error {
	return p.show(w, r, view{File: "runs.html", Title: "Runs", Section: "/runs", Wide: true})
}
