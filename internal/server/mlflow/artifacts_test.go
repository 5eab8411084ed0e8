package mlflow

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"quant"
	"quant/internal/metastore"
)

func TestAFileGoesUpAndComesBack(t *testing.T) {
	t.Parallel()
	s := newModelServer(t)
	root := s.number + "/" + s.run + "/artifacts/"
	for name, content := range map[string]string{"a.txt": "abcdefg", "dir/한글 %50.bin": "\x00\x01", "dir/deep/x": "", "MLmodel": "flavors:"} {
		if w := s.put(root+url.PathEscape(name), content); w.Code != http.StatusOK || strings.TrimSpace(w.Body.String()) != "{}" {
			t.Fatalf("%s: %d %s", name, w.Code, w.Body)
		}
		w := s.get(root + url.PathEscape(name))
		if w.Code != http.StatusOK || w.Body.String() != content {
			t.Errorf("%s: %d %q", name, w.Code, w.Body)
		}
	}
	w := s.get(root + "a.txt")
	for header, want := range map[string]string{
		"Content-Type": "text/plain", "Content-Disposition": "attachment; filename=a.txt", "X-Content-Type-Options": "nosniff",
		"ETag":           `"sha256:7d1a54127b222502f5b79b5fb0803061152a44f92b37e23c6527baf665d4da9a"`,
		"Content-Length": "7",
	} {
		if got := w.Header().Get(header); got != want {
			t.Errorf("%s: %q, want %q", header, got, want)
		}
	}
	if w := s.get(root+"a.txt", "Range", "bytes=2-3"); w.Code != http.StatusPartialContent || w.Body.String() != "cd" {
		t.Errorf("a range: %d %q", w.Code, w.Body)
	}
	if w := s.get(root+"a.txt", "If-None-Match", w.Header().Get("ETag")); w.Code != http.StatusNotModified {
		t.Errorf("not modified: %d", w.Code)
	}
	if w := s.do(http.MethodHead, "/api/2.0/mlflow-artifacts/artifacts/"+root+"a.txt", nil); w.Code != http.StatusOK || w.Header().Get("Content-Length") != "7" {
		t.Errorf("HEAD: %d %v", w.Code, w.Header())
	}
	for _, name := range []string{"b.pkl:application/octet-stream", "c.png:image/png", "d.pdf:application/pdf", "mlproject:text/plain", "x.HTML:text/html", "y.svg:image/svg+xml"} {
		name, want, _ := strings.Cut(name, ":")
		s.put("free/"+name, "x")
		if got := s.get("free/"+name, "Accept", "text/html").Header().Get("Content-Type"); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}

	// The run has them, for quant as well.
	list, err := s.store.Artifacts(t.Context(), s.runID)
	if err != nil || len(list) != 4 {
		t.Errorf("%v %v", list, err)
	}
	same(t, s.must(http.MethodGet, "artifacts/list?run_id="+s.run, ""), map[string]any{
		"root_uri": "mlflow-artifacts:/" + s.number + "/" + s.run + "/artifacts",
		"files": []any{
			map[string]any{"path": "MLmodel", "is_dir": false, "file_size": 8},
			map[string]any{"path": "a.txt", "is_dir": false, "file_size": 7},
			map[string]any{"path": "dir", "is_dir": true},
		},
	})
	same(t, at(t, s.must(http.MethodGet, "artifacts/list?run_id="+s.run+"&path=dir", ""), "files", 0, "path"), "dir/deep")
	same(t, s.must(http.MethodGet, "artifacts/list?run_id="+s.run+"&path=a.txt", "")["files"], nil)
	w = s.do(http.MethodGet, "/api/2.0/mlflow-artifacts/artifacts?path="+root+"dir", nil)
	if want := `{"files":[{"path":"deep","is_dir":true},{"path":"한글 %50.bin","is_dir":false,"file_size":2}]}`; w.Body.String() != want {
		t.Errorf("listed %s, want %s", w.Body, want)
	}
	if w := s.do(http.MethodGet, "/get-artifact?run_id="+s.run+"&path=a.txt", nil); w.Body.String() != "abcdefg" {
		t.Errorf("get-artifact: %d %s", w.Code, w.Body)
	}
	s.refused(http.MethodGet, "artifacts/list?run_id="+strings.Repeat("0", 32), "", 404, "RESOURCE_DOES_NOT_EXIST", "not found")
	s.refused(http.MethodGet, "artifacts/list", "", 400, "INVALID_PARAMETER_VALUE", "Missing value for required parameter 'run_id'")
}

func TestAFileIsReplacedByItsClientAndTakenAway(t *testing.T) {
	t.Parallel()
	s := newModelServer(t)
	root := s.number + "/" + s.run + "/artifacts/"
	for _, content := range []string{"first", "second"} {
		if w := s.put(root+"model/x", content); w.Code != http.StatusOK {
			t.Fatal(w.Code, w.Body)
		}
		if got := s.get(root + "model/x").Body.String(); got != content {
			t.Errorf("%q, want %q", got, content)
		}
	}
	if n := s.contents(); n != 2 { // the first stays until gc
		t.Errorf("%d contents", n)
	}
	if w := s.put(root+"model", "x"); w.Code != http.StatusBadRequest {
		t.Errorf("a file in the place of a folder: %d %s", w.Code, w.Body)
	}
	if w := s.do(http.MethodDelete, "/api/2.0/mlflow-artifacts/artifacts/"+root+"model", nil); w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := s.get(root + "model/x"); w.Code != http.StatusNotFound {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, e := range []string{"mpu/create/" + root + "x", "mpu/complete/" + root + "x", "presigned/" + root + "x"} {
		if w := s.do(http.MethodPost, "/api/2.0/mlflow-artifacts/"+e, strings.NewReader("{}")); w.Code != http.StatusNotImplemented || !strings.Contains(w.Body.String(), "NOT_IMPLEMENTED") {
			t.Errorf("%s: %d %s", e, w.Code, w.Body)
		}
	}
	if w := s.do(http.MethodGet, "/api/3.0/mlflow/server-info", nil); !strings.Contains(w.Body.String(), `"multipart_uploads_enabled":false`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestWhatQuantRecordedOfItsOwnRunsIsReadAndNotReplaced(t *testing.T) {
	t.Parallel()
	s := newModelServer(t)
	const id = "019bc0de-0002-7000-8000-000000000002"
	started := quant.NewTime(quant.Date(20000).Time())
	digest, size, err := s.artifacts.Put(t.Context(), strings.NewReader("measured"))
	for _, err := range []error{
		err,
		s.store.CreateRun(t.Context(), quant.Run{RunID: id, Kind: "backtest", Status: quant.Running, StartedAt: started}, quant.RunProcess{RunID: id, Changes: true}),
		s.store.Log(t.Context(), metastore.Batch{
			Tags:      []quant.Tag{{RunID: id, Name: quant.ExperimentTag, Value: s.experiment()}},
			Artifacts: []quant.Artifact{{RunID: id, Name: "tearsheet.html", Digest: digest, Bytes: size, LoggedAt: started}},
		}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	root := s.number + "/" + strings.ReplaceAll(id, "-", "") + "/artifacts/"
	if w := s.get(root + "tearsheet.html"); w.Body.String() != "measured" || !strings.Contains(w.Header().Get("Content-Security-Policy"), "sandbox") {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
	if w := s.put(root+"tearsheet.html", "wished"); w.Code != http.StatusBadRequest {
		t.Errorf("replaced: %d %s", w.Code, w.Body)
	}
	if w := s.do(http.MethodDelete, "/api/2.0/mlflow-artifacts/artifacts/"+root+"tearsheet.html", nil); w.Code != http.StatusBadRequest {
		t.Errorf("deleted: %d %s", w.Code, w.Body)
	}
	if w := s.get(root + "tearsheet.html"); w.Body.String() != "measured" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// hostilePaths are ways to leave the folder of a run, as they stand in a URL.
func hostilePaths() []string {
	return []string{
		"../x", "..", "a/../../x", "%2e%2e/x", "%2E%2E%2Fx", "..%2f..%2fetc%2fpasswd", "..%5c..%5cx", "a%5cb", "%252e%252e%252fx", "%25252e%25252e/x",
		"/etc/passwd", "//etc/passwd", "%2fetc%2fpasswd", "C:/windows", "C:%5Cwindows", "c%3a%2fx", "a%00b", "a%0ab", "a%1b%5b2J",
		"a%23b", "file:///etc/passwd", "file:%2f%2f%2fetc%2fpasswd", "%ff%fe", "%E2%80%AEx", strings.Repeat("a", 2000), strings.Repeat("a/", 1000) + "b",
		"a/..%2f..%2f..%2fb", "....//....//x/..", "x;/../../y", "%3b/..%2f..%2fx", "%c0%ae%c0%ae/x",
	}
}

func TestNoPathLeavesItsRun(t *testing.T) {
	t.Parallel()
	s := newModelServer(t)
	root := s.number + "/" + s.run + "/artifacts/"
	if w := s.put(root+"secret.txt", "of this run"); w.Code != http.StatusOK {
		t.Fatal(w.Code)
	}
	before := s.contents()
	for _, p := range hostilePaths() {
		for _, method := range []string{http.MethodPut, http.MethodGet, http.MethodDelete} {
			w := s.do(method, "/api/2.0/mlflow-artifacts/artifacts/"+root+p, strings.NewReader("x"))
			if w.Code != http.StatusBadRequest && w.Code != http.StatusNotFound {
				t.Errorf("%s %s: %d %s", method, p, w.Code, w.Body)
			}
		}
		decoded, err := url.PathUnescape(p)
		if err != nil || !utf8.ValidString(decoded) {
			continue
		}
		q := url.QueryEscape(decoded)
		for _, path := range []string{
			"/api/2.0/mlflow-artifacts/artifacts?path=" + q, "/get-artifact?run_id=" + s.run + "&path=" + q,
			"/api/2.0/mlflow/artifacts/list?run_id=" + s.run + "&path=" + q,
		} {
			w := s.do(http.MethodGet, path, nil)
			if w.Code != http.StatusBadRequest && w.Code != http.StatusNotFound {
				t.Errorf("GET %s: %d %s", path, w.Code, w.Body)
			}
		}
		if w := s.do(http.MethodPost, "/ajax-api/2.0/mlflow/upload-artifact?run_uuid="+s.run+"&path="+q, strings.NewReader("x")); w.Code != http.StatusBadRequest {
			t.Errorf("upload %s: %d %s", p, w.Code, w.Body)
		}
	}
	if n := s.contents(); n != before {
		t.Errorf("%d contents, not %d: something was stored", n, before)
	}
	for _, p := range []string{"8/" + s.run + "/artifacts/secret.txt", s.number + "/" + strings.Repeat("0", 32) + "/artifacts/x"} {
		if w := s.get(p); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d %s", p, w.Code, w.Body)
		}
		if w := s.put(p, "x"); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d %s", p, w.Code, w.Body)
		}
	}
}

func TestAnUploadThatBreaksOffLeavesNothing(t *testing.T) {
	t.Parallel()
	s := newModelServer(t)
	path := "/api/2.0/mlflow-artifacts/artifacts/" + s.number + "/" + s.run + "/artifacts/big"
	for _, tt := range []struct {
		err    error
		status int
	}{{io.ErrUnexpectedEOF, 400}, {context.Canceled, 400}, {syscall.ENOSPC, 507}, {errors.New("something else"), 500}} {
		w := s.do(http.MethodPut, path, io.MultiReader(strings.NewReader(strings.Repeat("x", 1<<16)), iotest.ErrReader(tt.err)))
		if w.Code != tt.status {
			t.Errorf("%v: %d %s", tt.err, w.Code, w.Body)
		}
	}
	if n := s.contents(); n != 0 {
		t.Errorf("%d contents", n)
	}
	if w := s.get(s.number + "/" + s.run + "/artifacts/big"); w.Code != http.StatusNotFound {
		t.Errorf("%d", w.Code)
	}

	// Over a connection that the client closes in the middle.
	server := httptest.NewServer(s.handler)
	defer server.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, server.URL+path, iotest.ErrReader(errors.New("gone")))
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = 1 << 20
	if res, err := http.DefaultClient.Do(r); err == nil {
		res.Body.Close()
		t.Error("the upload ended")
	}
	server.Close() // waits for the handler
	if n := s.contents(); n != 0 {
		t.Errorf("%d contents", n)
	}
}

func TestAContentThatWasChangedIsNotSent(t *testing.T) {
	t.Parallel()
	s := newModelServer(t)
	path := s.number + "/" + s.run + "/artifacts/x"
	s.put(path, "measured")
	list, err := s.store.Artifacts(t.Context(), s.runID)
	if err != nil {
		t.Fatal(err)
	}
	file, err := s.artifacts.Path(list[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(file, 0o600), os.WriteFile(file, []byte("wished!!"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if w := s.get(path); w.Code == http.StatusOK || strings.Contains(w.Body.String(), "wished") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestAnArtifactRunsNothingInABrowser(t *testing.T) {
	t.Parallel()
	s := newModelServer(t)
	root := s.number + "/" + s.run + "/artifacts/"
	for _, name := range []string{"x.html", "x.svg", "x.txt", "a\";filename=evil.html", "나.html"} {
		if w := s.put(root+url.PathEscape(name), "<script>alert(1)</script>"); w.Code != http.StatusOK {
			t.Fatal(w.Code, w.Body)
		}
		h := s.get(root + url.PathEscape(name)).Header()
		if policy := h.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "sandbox;") || !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "allow-scripts") {
			t.Errorf("%s: policy %q", name, policy)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(h.Get("Content-Disposition"), "attachment") {
			t.Errorf("%s: %v", name, h)
		}
	}
}

// FuzzArtifactPaths puts a file at any path and looks that nothing but what the path
// names was stored.
func FuzzArtifactPaths(f *testing.F) {
	for _, p := range hostilePaths() {
		f.Add(p)
	}
	f.Add("a/b.txt")
	f.Fuzz(func(t *testing.T, p string) {
		s := newModelServer(t)
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "http://localhost/", strings.NewReader("x"))
		r.URL = &url.URL{Path: "/api/2.0/mlflow-artifacts/artifacts/" + s.number + "/" + s.run + "/artifacts/" + p, RawPath: ""}
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, r)
		list, err := s.store.Artifacts(t.Context(), s.runID)
		if err != nil {
			t.Fatal(err)
		}
		other, err := s.store.ClientArtifactsBelow(t.Context(), "")
		if err != nil || len(other) > 0 {
			t.Fatalf("%q went to %v %v", p, other, err)
		}
		if (w.Code == http.StatusOK) != (len(list) == 1) {
			t.Fatalf("%q: %d, and %v", p, w.Code, list)
		}
		for _, a := range list {
			if quant.ValidateArtifactName(a.Name) != nil {
				t.Fatalf("%q became %q", p, a.Name)
			}
		}
		if status := w.Code; status != 200 && status != 400 && status != 404 {
			t.Fatalf("%q: %d %s", p, status, w.Body)
		}
	})
}
