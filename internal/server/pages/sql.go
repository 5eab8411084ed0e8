package pages

import "net/http"

// sqlRoutes are the pages that query the databases.
func (p *pages) sqlRoutes(*http.ServeMux) []section { return nil }
