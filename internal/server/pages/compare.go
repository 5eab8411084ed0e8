package pages

import "net/http"

// compareRoutes are the pages that set runs side by side.
func (p *pages) compareRoutes(*http.ServeMux) []section { return nil }
