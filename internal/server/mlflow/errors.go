package mlflow

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"

	"quant"
	"quant/internal/tracking"
)

// errorCode is a code of MLflow's error document.
type errorCode string

const (
	internalError    errorCode = "INTERNAL_ERROR"
	invalidParameter errorCode = "INVALID_PARAMETER_VALUE"
	badRequest       errorCode = "BAD_REQUEST"
	doesNotExist     errorCode = "RESOURCE_DOES_NOT_EXIST"
	alreadyExists    errorCode = "RESOURCE_ALREADY_EXISTS"
	endpointNotFound errorCode = "ENDPOINT_NOT_FOUND"
	notImplemented   errorCode = "NOT_IMPLEMENTED"
	invalidState     errorCode = "INVALID_STATE"
	unavailable      errorCode = "TEMPORARILY_UNAVAILABLE"
)

// statusOf is the HTTP status of each code.
var statusOf = map[errorCode]int{
	internalError:    http.StatusInternalServerError,
	invalidParameter: http.StatusBadRequest, badRequest: http.StatusBadRequest, alreadyExists: http.StatusBadRequest, invalidState: http.StatusBadRequest,
	doesNotExist: http.StatusNotFound, endpointNotFound: http.StatusNotFound,
	notImplemented: http.StatusNotImplemented,
	unavailable:    http.StatusServiceUnavailable,
}

// codeOf is the one table from quant's codes to MLflow's.
var codeOf = map[quant.Code]errorCode{
	quant.Invalid: invalidParameter, quant.Usage: invalidParameter, quant.Refused: invalidParameter,
	quant.NotFound: doesNotExist, quant.Conflict: invalidParameter,
	quant.Locked: unavailable,
	quant.Failed: internalError, quant.Partial: internalError, quant.Provider: internalError, quant.Store: internalError,
}

// apiError is an error that knows its document.
type apiError struct {
	Status  int // 0: that of the code
	Code    errorCode
	Message string
}

func (e *apiError) Error() string { return e.Message }

func apiErrorf(code errorCode, format string, args ...any) *apiError {
	return &apiError{Code: code, Message: fmt.Sprintf(format, args...)}
}

// documentOf makes an error's document.
func documentOf(err error) *apiError {
	if e, ok := errors.AsType[*apiError](err); ok {
		return e
	}
	code := codeOf[quant.CodeOf(err)]
	switch {
	case errors.Is(err, tracking.ErrExists):
		code = alreadyExists
	case errors.Is(err, tracking.ErrState):
		code = invalidState
	}
	message := err.Error()
	if hint := quant.HintOf(err); hint != "" {
		message += ". " + hint
	}
	return &apiError{Code: code, Message: message}
}

// fail answers with the document of an error.
func fail(w http.ResponseWriter, err error) {
	e := documentOf(err)
	status := e.Status
	if status == 0 {
		status = statusOf[e.Code]
	}
	b, _ := json.Marshal(struct {
		Code    errorCode `json:"error_code"`
		Message string    `json:"message"`
	}{e.Code, e.Message})
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

// clean is a text of a request, short and without control characters.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	return quant.Clip(s, 200)
}

// notOffered are the parts of MLflow that quant has not: their endpoints say so.
func notOffered() []endpoint {
	var all []endpoint
	for what, paths := range map[string][]string{
		"traces": {
			"/2.0/mlflow/traces", "/2.0/mlflow/traces/{rest...}", "/3.0/mlflow/traces", "/3.0/mlflow/traces/{rest...}",
			"/2.0/mlflow/runs/link-traces-to-run",
		},
		"the AI gateway": {"/2.0/mlflow/gateway-proxy", "/2.0/mlflow/gateway/{rest...}", "/3.0/mlflow/gateway/{rest...}", "/2.0/gateway/{rest...}", "/2.0/endpoints/{rest...}", "/3.0/mlflow/secrets/{rest...}"},
		"assessments":    {"/3.0/mlflow/assessments/{rest...}"},
		"scorers":        {"/3.0/mlflow/scorers/{rest...}", "/2.0/mlflow/scorers/{rest...}"},
		"evaluation datasets": {
			"/3.0/mlflow/datasets/{rest...}", "/2.0/mlflow/datasets/{rest...}", "/3.0/mlflow/evaluations/{rest...}",
		},
		"webhooks":          {"/2.0/mlflow/webhooks", "/2.0/mlflow/webhooks/{rest...}"},
		"prompt optimizers": {"/3.0/mlflow/prompt-optimization/{rest...}", "/2.0/mlflow/prompts/{rest...}", "/3.0/mlflow/prompts/{rest...}", "/2.0/mlflow/runs/create-promptlab-run"},
		"GraphQL":           {"/2.0/mlflow/graphql", "/3.0/mlflow/graphql"},
		"workspaces":        {"/2.0/mlflow/workspaces", "/3.0/mlflow/workspaces", "/2.0/mlflow/workspaces/{rest...}", "/3.0/mlflow/workspaces/{rest...}"},
	} {
		for _, path := range paths {
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
				e := raw(method, path, func(http.ResponseWriter, *http.Request, map[string]string) error {
					return apiErrorf(notImplemented, "quant does not offer %s of MLflow", what)
				})
				e.reads = true
				all = append(all, e)
			}
		}
	}
	return all
}
