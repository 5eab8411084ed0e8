package mlflow

import (
	"encoding/json"
	"net/http"
	"strings"
)

// reading are the ends of paths that change nothing although they are asked by
// POST.
func reading(path string) bool {
	for _, end := range []string{
		"/search", "/search-datasets", "/get-latest-versions", "/get-history-bulk", "/get-history-bulk-interval",
		"/batchGet", "/graphql",
	} {
		if strings.HasSuffix(path, end) {
			return true
		}
	}
	return false
}

// Reads tells whether a request changes nothing, so that the scope read is enough.
func Reads(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return true
	case http.MethodPost:
		return reading(r.URL.Path)
	}
	return false
}

// Streams tells whether a request brings the content of an artifact, which is
// stored as it comes and may have any size.
func Streams(r *http.Request) bool {
	return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/mlflow-artifacts/")
}

// Refuse answers a request that the guard does not let pass, as MLflow's clients
// read an error.
func Refuse(w http.ResponseWriter, _ *http.Request, status int, err error) {
	code := "BAD_REQUEST"
	switch status {
	case http.StatusUnauthorized:
		code = "UNAUTHENTICATED"
	case http.StatusForbidden:
		code = "PERMISSION_DENIED"
	case http.StatusTooManyRequests:
		code = "REQUEST_LIMIT_EXCEEDED"
	case http.StatusServiceUnavailable:
		code = "TEMPORARILY_UNAVAILABLE"
	case http.StatusInternalServerError:
		code = "INTERNAL_ERROR"
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error_code": code, "message": err.Error()})
}
