package api

import (
	"encoding/json"
	"net/http"

	"quant"
)

// Reads tells whether a request changes nothing, so that the scope read is enough.
func Reads(r *http.Request) bool {
	return r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
}

// Refuse answers a request that the guard does not let pass.
func Refuse(w http.ResponseWriter, _ *http.Request, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]string{
		"code": string(quant.CodeOf(err)), "message": err.Error(), "hint": quant.HintOf(err),
	}})
}
