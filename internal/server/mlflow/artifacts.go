package mlflow

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"path"
	"strings"
	"syscall"

	"quant/internal/tracking"
)

// fileInfo is an entry of a listing.
type fileInfo struct {
	Path  string `json:"path"`
	IsDir bool   `json:"is_dir"`
	Size  *int64 `json:"file_size,omitempty"` // of a file
}

func fileInfos(files []tracking.File) []fileInfo {
	all := []fileInfo{}
	for _, f := range files {
		one := fileInfo{Path: f.Path, IsDir: f.Dir}
		if !f.Dir {
			one.Size = &f.Bytes
		}
		all = append(all, one)
	}
	return all
}

// listing is the answer that tells of a folder.
type listing struct {
	RootURI string     `json:"root_uri,omitempty"`
	Files   []fileInfo `json:"files,omitempty"`
}

// artifactEndpoints are those of files: the proxied artifacts, by their paths below
// the artifact root, and those of a run.
func (f *face) artifactEndpoints() []endpoint {
	const proxied = "/2.0/mlflow-artifacts/artifacts"
	all := []endpoint{
		on(http.MethodGet, proxied, f.listProxied),
		raw(http.MethodGet, proxied+"/{path...}", func(w http.ResponseWriter, r *http.Request, parts map[string]string) error {
			content, err := f.Tracking.OpenFile(r.Context(), parts["path"])
			return send(w, r, content, err)
		}),
		raw(http.MethodPut, proxied+"/{path...}", func(w http.ResponseWriter, r *http.Request, parts map[string]string) error {
			if err := received(f.Tracking.PutFile(r.Context(), parts["path"], r.Body)); err != nil {
				return err
			}
			return answer(w, empty{})
		}),
		raw(http.MethodDelete, proxied+"/{path...}", func(w http.ResponseWriter, r *http.Request, parts map[string]string) error {
			if err := f.Tracking.RemoveFiles(r.Context(), parts["path"]); err != nil {
				return err
			}
			return answer(w, empty{})
		}),
		on(http.MethodGet, "/2.0/mlflow/artifacts/list", f.listRun),
		raw(http.MethodGet, "/get-artifact", f.getRunFile),
		raw(http.MethodGet, "/2.0/mlflow/get-artifact", f.getRunFile),
		raw(http.MethodGet, "/model-versions/get-artifact", f.getVersionFile),
		raw(http.MethodGet, "/2.0/mlflow/model-versions/get-artifact", f.getVersionFile),
		raw(http.MethodPost, "/2.0/mlflow/upload-artifact", f.upload),
		on(http.MethodGet, "/3.0/mlflow/server-info", serverInfo),
	}
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		e := raw(method, "/2.0/mlflow-artifacts/{rest...}", func(http.ResponseWriter, *http.Request, map[string]string) error {
			return apiErrorf(notImplemented, "quant does not offer multipart and presigned uploads and downloads: send a file as a whole")
		})
		e.reads = true
		all = append(all, e)
	}
	return all
}

// serverInfo tells clients which ways they need not try.
func serverInfo(context.Context, empty) (any, error) {
	return struct {
		StoreType         string `json:"store_type"`
		Workspaces        bool   `json:"workspaces_enabled"`
		MultipartUpload   bool   `json:"multipart_uploads_enabled"`
		MultipartDownload bool   `json:"multipart_downloads_enabled"`
		PresignedUpload   bool   `json:"presigned_uploads_enabled"`
		PresignedDownload bool   `json:"presigned_downloads_enabled"`
	}{StoreType: "SqlStore"}, nil
}

func (f *face) listProxied(ctx context.Context, in struct {
	Path string `json:"path"`
},
) (any, error) {
	files, err := f.Tracking.Files(ctx, in.Path)
	return listing{Files: fileInfos(files)}, err
}

func (f *face) listRun(ctx context.Context, in struct {
	RunID   string `json:"run_id"`
	RunUUID string `json:"run_uuid"`
	Path    string `json:"path"`
},
) (any, error) {
	if in.RunID == "" {
		in.RunID = in.RunUUID
	}
	if in.RunID == "" {
		return nil, missing("run_id")
	}
	root, files, err := f.Tracking.RunFiles(ctx, in.RunID, in.Path)
	return listing{RootURI: root, Files: fileInfos(files)}, err
}

func (f *face) getRunFile(w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	query := r.URL.Query()
	id := query.Get("run_id")
	if id == "" {
		id = query.Get("run_uuid")
	}
	if id == "" {
		return missing("run_id")
	}
	if query.Get("path") == "" {
		return missing("path")
	}
	content, err := f.Tracking.OpenRunFile(r.Context(), id, query.Get("path"))
	return send(w, r, content, err)
}

func (f *face) getVersionFile(w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	query := r.URL.Query()
	if query.Get("path") == "" {
		return missing("path")
	}
	content, err := f.Tracking.OpenVersionFile(r.Context(), query.Get("name"), query.Get("version"), query.Get("path"))
	return send(w, r, content, err)
}

// upload is how a page sends one file of a run.
func (f *face) upload(w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	query := r.URL.Query()
	id, name := query.Get("run_uuid"), query.Get("path")
	for _, need := range []struct{ name, value string }{{"run_uuid", id}, {"path", name}} {
		if need.value == "" {
			return apiErrorf(invalidParameter, "Request must specify %s.", need.name)
		}
	}
	if err := tracking.ValidatePath(name); err != nil {
		return err
	}
	first := make([]byte, 1)
	if n, err := io.ReadFull(r.Body, first); n == 0 {
		if errors.Is(err, io.EOF) {
			return apiErrorf(invalidParameter, "Request must specify data.")
		}
		return received(err)
	}
	body := io.MultiReader(strings.NewReader(string(first)), r.Body)
	if err := received(f.Tracking.PutRunFile(r.Context(), id, name, body)); err != nil {
		return err
	}
	return answer(w, empty{})
}

// received is the error of an upload: one that the client broke off is its own, and
// a disk that is full has a status.
func received(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &apiError{Status: http.StatusInsufficientStorage, Code: internalError, Message: "the disk of the server is full: nothing was stored"}
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, context.Canceled):
		return apiErrorf(badRequest, "the upload broke off: nothing was stored")
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &apiError{Status: http.StatusRequestEntityTooLarge, Code: invalidParameter, Message: tooLarge.Error()}
	}
	return err
}

// artifactPolicy keeps an artifact that is shown from running anything, from
// reaching the server as whoever looks at it, and from loading anything.
const artifactPolicy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; frame-ancestors 'none'"

// send answers with the content of a file, or a range of it, as an attachment.
func send(w http.ResponseWriter, r *http.Request, content *tracking.Content, err error) error {
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	h := w.Header()
	h.Set("Content-Type", typeOf(content.Name))
	h.Set("Content-Disposition", disposition(content.Name))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", artifactPolicy)
	h.Set("Cache-Control", "private, no-cache")
	h.Set("ETag", `"`+content.Digest+`"`)
	http.ServeContent(w, r, "", content.At.Time, content.File)
	return nil
}

func disposition(name string) string {
	if text := mime.FormatMediaType("attachment", map[string]string{"filename": name}); text != "" {
		return text
	}
	return "attachment"
}

// typeOf is the content type of a file by its name alone: what it holds is
// anybody's.
func typeOf(name string) string {
	switch strings.ToLower(name) {
	case "mlmodel", "mlproject":
		return "text/plain"
	}
	ext := strings.ToLower(path.Ext(name))
	switch ext {
	case ".txt", ".log", ".err", ".cfg", ".conf", ".cnf", ".cf", ".ini", ".properties", ".prop", ".hocon", ".toml", ".yaml", ".yml",
		".xml", ".json", ".js", ".py", ".py3", ".csv", ".tsv", ".md", ".rst", ".sql", ".diff":
		return "text/plain"
	}
	known := map[string]string{
		".html": "text/html", ".htm": "text/html", ".css": "text/css",
		".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp", ".bmp": "image/bmp", ".svg": "image/svg+xml",
		".tif": "image/tiff", ".tiff": "image/tiff", ".ico": "image/vnd.microsoft.icon",
		".pdf": "application/pdf", ".zip": "application/zip", ".tar": "application/x-tar", ".gz": "application/gzip",
		".mp4": "video/mp4", ".webm": "video/webm", ".mp3": "audio/mpeg", ".wav": "audio/x-wav",
	}
	if kind, ok := known[ext]; ok {
		return kind
	}
	return "application/octet-stream"
}
