package pages

import "net/http"

// researchRoutes are the pages of strategies, backtests, factors, models and data.
func (p *pages) researchRoutes(*http.ServeMux) []section { return nil }
