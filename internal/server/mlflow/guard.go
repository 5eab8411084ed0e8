package mlflow

import (
	"encoding/json"
	"net/http"
	"strings"
)

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
