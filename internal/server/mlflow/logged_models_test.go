package mlflow

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"quant"
)

func TestALoggedModelHasItsFilesParamsTagsAndMetrics(t *testing.T) {
	t.Parallel()
	s := newModelServer(t)
	doc := s.must(http.MethodPost, "logged-models", `{"experiment_id":"`+s.number+`","name":"clf","model_type":"sklearn","source_run_id":"`+s.run+`","params":[{"key":"C","value":"1"}],"tags":[{"key":"a","value":"b"}]}`)
	id := at(t, doc, "model", "info", "model_id").(string)
	root := "mlflow-artifacts:/" + s.number + "/models/" + id + "/artifacts"
	same(t, at(t, doc, "model", "info", "artifact_uri"), root)
	same(t, at(t, doc, "model", "info", "status"), "LOGGED_MODEL_PENDING")
	same(t, at(t, doc, "model", "data", "params"), []any{map[string]any{"key": "C", "value": "1"}})
	s.refused(http.MethodPost, "logged-models", `{"experiment_id":"999"}`, 404, "RESOURCE_DOES_NOT_EXIST", "")
	s.refused(http.MethodPost, "logged-models", `{"experiment_id":"`+s.number+`","name":"a/b"}`, 400, "INVALID_PARAMETER_VALUE", "Invalid model name ('a/b') provided")
	s.refused(http.MethodGet, "logged-models/m-"+strings.Repeat("0", 32), "", 404, "RESOURCE_DOES_NOT_EXIST", "not found")

	if w := s.put(strings.TrimPrefix(root, "mlflow-artifacts:/")+"/MLmodel", "flavors"); w.Code != http.StatusOK {
		t.Fatal(w.Code, w.Body)
	}
	s.put(strings.TrimPrefix(root, "mlflow-artifacts:/")+"/data/model.pkl", "\x80")
	if w := s.put(s.number+"/models/m-"+strings.Repeat("0", 32)+"/artifacts/x", "x"); w.Code != http.StatusNotFound {
		t.Errorf("of a model that does not exist: %d %s", w.Code, w.Body)
	}
	doc = s.must(http.MethodGet, "logged-models/"+id+"/artifacts/directories", "")
	same(t, doc["root_uri"], root)
	same(t, at(t, doc, "files", 0, "path"), "MLmodel")
	same(t, at(t, s.must(http.MethodGet, "logged-models/"+id+"/artifacts/directories?artifact_directory_path=data", ""), "files", 0, "path"), "data/model.pkl")
	s.refused(http.MethodGet, "logged-models/"+id+"/artifacts/directories?artifact_directory_path="+url.QueryEscape("../.."), "", 400, "INVALID_PARAMETER_VALUE", "Invalid path")
	if w := s.do(http.MethodGet, "/ajax-api/2.0/mlflow/logged-models/"+id+"/artifacts/files?artifact_file_path=MLmodel", nil); w.Body.String() != "flavors" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if n, err := s.store.ArtifactUsed(t.Context(), "sha256:"+strings.Repeat("0", 64)); n || err != nil {
		t.Error(n, err)
	}
	stored, err := s.store.StoredArtifacts(t.Context())
	if err != nil || len(stored) != 2 {
		t.Errorf("gc knows %v %v", stored, err)
	}

	same(t, at(t, s.must(http.MethodPatch, "logged-models/"+id, `{"status":"LOGGED_MODEL_READY"}`), "model", "info", "status"), "LOGGED_MODEL_READY")
	same(t, at(t, s.must(http.MethodPatch, "logged-models/"+id, `{"status":3}`), "model", "info", "status"), "LOGGED_MODEL_UPLOAD_FAILED")
	s.must(http.MethodPatch, "logged-models/"+id+"/tags", `{"tags":[{"key":"a","value":"c"},{"key":"d/e","value":""}]}`)
	s.must(http.MethodDelete, "logged-models/"+id+"/tags/d%2Fe", "")
	s.refused(http.MethodDelete, "logged-models/"+id+"/tags/none", "", 404, "RESOURCE_DOES_NOT_EXIST", "No tag with key 'none' found")
	s.must(http.MethodPost, "logged-models/"+id+"/params", `{"params":[{"key":"p","value":"q"}]}`)
	s.refused(http.MethodPost, "logged-models/"+id+"/params", `{"params":[{"key":"p","value":"r"}]}`, 400, "INVALID_PARAMETER_VALUE", "")
	s.must(http.MethodPost, "runs/log-metric", `{"run_id":"`+s.run+`","key":"auc","value":0.5,"timestamp":123456789,"step":1,"dataset_name":"d","dataset_digest":"1","model_id":"`+id+`"}`)
	s.must(http.MethodPost, "runs/log-batch", `{"run_id":"`+s.run+`","metrics":[{"key":"nan","value":"NaN","timestamp":1,"model_id":"`+id+`"}]}`)
	s.refused(http.MethodPost, "runs/log-metric", `{"run_id":"`+s.run+`","key":"auc2","value":1,"timestamp":1,"model_id":"m-none"}`, 404, "RESOURCE_DOES_NOT_EXIST", "Logged model with ID 'm-none' not found")
	doc = s.must(http.MethodGet, "logged-models/"+id, "")
	same(t, at(t, doc, "model", "info", "tags"), []any{map[string]any{"key": "a", "value": "c"}})
	same(t, at(t, doc, "model", "data", "metrics"), []any{
		map[string]any{"key": "auc", "value": 0.5, "timestamp": 123456789, "step": 1, "dataset_name": "d", "dataset_digest": "1", "model_id": id, "run_id": s.run},
		map[string]any{"key": "nan", "value": "NaN", "timestamp": 1, "step": 0, "model_id": id, "run_id": s.run},
	})

	s.must(http.MethodPost, "runs/outputs", `{"run_id":"`+s.run+`","models":[{"model_id":"`+id+`","step":4}]}`)
	same(t, at(t, s.must(http.MethodGet, "runs/get?run_id="+s.run, ""), "run", "outputs", "model_outputs"), []any{map[string]any{"model_id": id, "step": 4}})
	s.must(http.MethodPost, "registered-models/create", `{"name":"m"}`)
	for range 2 {
		doc = s.must(http.MethodPost, "model-versions/create", `{"name":"m","source":"models:/`+id+`","model_id":"`+id+`"}`)
		same(t, at(t, doc, "model_version", "run_id"), s.run)
	}
	same(t, s.must(http.MethodGet, "model-versions/get-download-uri?name=m&version=1", "")["artifact_uri"], root)
	tags := at(t, s.must(http.MethodGet, "logged-models/"+id, ""), "model", "info", "tags")
	same(t, at(t, tags, 1, "value"), `[{"name": "m", "version": 1}, {"name": "m", "version": 2}]`)

	s.must(http.MethodDelete, "logged-models/"+id, "")
	s.refused(http.MethodGet, "logged-models/"+id, "", 404, "RESOURCE_DOES_NOT_EXIST", "not found")
	if w := s.get(strings.TrimPrefix(root, "mlflow-artifacts:/") + "/MLmodel"); w.Body.String() != "flavors" {
		t.Errorf("the files of a deleted model, which a version may have: %d %s", w.Code, w.Body)
	}
}

func TestLoggedModelsAreSearched(t *testing.T) {
	t.Parallel()
	s := newModelServer(t)
	for _, name := range []string{"a", "b"} {
		doc := s.must(http.MethodPost, "logged-models", `{"experiment_id":"`+s.number+`","name":"`+name+`","params":[{"key":"p","value":"`+name+`"}]}`)
		id := at(t, doc, "model", "info", "model_id").(string)
		s.must(http.MethodPost, "runs/log-metric", `{"run_id":"`+s.run+`","key":"auc","value":`+map[string]string{"a": "1", "b": "2"}[name]+`,"timestamp":1,"dataset_name":"data","dataset_digest":"`+name+`","model_id":"`+id+`"}`)
	}
	for request, want := range map[string]string{
		``: "ba", `"filter":"name = 'a'"`: "a", `"filter":"params.p != 'a'"`: "b", `"filter":"metrics.auc > 1"`: "b", `"filter":"name IN ('a', 'b') AND metrics.auc < 2"`: "a",
		`"order_by":[{"field_name":"creation_timestamp","ascending":true}]`: "ab", `"order_by":[{"field_name":"metrics.auc"}]`: "ab",
		`"datasets":[{"dataset_name":"data","dataset_digest":"a"}]`: "a", `"datasets":[{"dataset_name":"none"}]`: "", `"filter":"creation_timestamp > 0"`: "ba",
	} {
		if request != "" {
			request = "," + request
		}
		doc := s.must(http.MethodPost, "logged-models/search", `{"experiment_ids":["`+s.number+`","12345"]`+request+`}`)
		got := ""
		list, _ := doc["models"].([]any)
		for _, m := range list {
			got += at(t, m, "info", "name").(string)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", request, got, want)
		}
	}
	doc := s.must(http.MethodPost, "logged-models/search", `{"experiment_ids":["`+s.number+`"],"max_results":1}`)
	same(t, at(t, doc, "models", 0, "info", "name"), "b")
	doc = s.must(http.MethodPost, "logged-models/search", `{"experiment_ids":["`+s.number+`"],"max_results":1,"page_token":"`+doc["next_page_token"].(string)+`"}`)
	same(t, at(t, doc, "models", 0, "info", "name"), "a")
	same(t, doc["next_page_token"], nil)
	for _, filter := range []string{"nothing = 'a'", "metrics.auc = 'x'", "name > 'a'", "name = 'a' OR name = 'b'"} {
		s.refused(http.MethodPost, "logged-models/search", `{"experiment_ids":["1"],"filter":"`+filter+`"}`, 400, "INVALID_PARAMETER_VALUE", "")
	}
	s.refused(http.MethodPost, "logged-models/search", `{}`, 400, "INVALID_PARAMETER_VALUE", "Missing value for required parameter 'experiment_ids'")
}

func TestDatasetsAreInputsOfTheirRun(t *testing.T) {
	t.Parallel()
	s := newModelServer(t)
	const dataset = `{"tags":[{"key":"mlflow.data.context","value":"training"}],"dataset":{"name":"d","digest":"abc","source_type":"local","source":"{\"uri\":\"x\"}","schema":"{}","profile":"{\"rows\":2}"}}`
	for range 2 {
		s.must(http.MethodPost, "runs/log-inputs", `{"run_id":"`+s.run+`","datasets":[`+dataset+`],"models":[{"model_id":"m-1"}]}`)
	}
	doc := s.must(http.MethodGet, "runs/get?run_id="+s.run, "")
	same(t, len(at(t, doc, "run", "inputs", "dataset_inputs").([]any)), 1)
	same(t, at(t, doc, "run", "inputs", "dataset_inputs", 0, "dataset", "profile"), `{"rows":2}`)
	same(t, at(t, doc, "run", "inputs", "dataset_inputs", 0, "tags", 0, "value"), "training")
	same(t, at(t, doc, "run", "inputs", "model_inputs"), []any{map[string]any{"model_id": "m-1"}})
	same(t, s.must(http.MethodPost, "experiments/search-datasets", `{"experiment_ids":["`+s.number+`"]}`), map[string]any{
		"dataset_summaries": []any{map[string]any{"experiment_id": s.number, "name": "d", "digest": "abc", "context": "training"}},
	})
	s.refused(http.MethodPost, "experiments/search-datasets", `{}`, 400, "INVALID_PARAMETER_VALUE", "must specify at least one experiment_id")
	s.refused(http.MethodPost, "experiments/search-datasets", `{"experiment_ids":[`+strings.Repeat(`"1",`, 20)+`"1"]}`, 400, "INVALID_PARAMETER_VALUE", "cannot specify more than 20")
	s.refused(http.MethodPost, "runs/log-inputs", `{"datasets":[`+dataset+`]}`, 400, "INVALID_PARAMETER_VALUE", "Missing value for required parameter 'run_id'")
	s.refused(http.MethodPost, "runs/log-inputs", `{"run_id":"`+s.run+`","datasets":[{"dataset":{"name":"d"}}]}`, 400, "INVALID_PARAMETER_VALUE", "Missing value for required parameter 'datasets[0].dataset.digest'")
	s.refused(http.MethodPost, "runs/log-inputs", `{"run_id":"`+s.run+`","datasets":[{"dataset":{"name":"`+strings.Repeat("n", 501)+`","digest":"1","source_type":"x","source":"x"}}]}`, 400, "INVALID_PARAMETER_VALUE", "'name' exceeds the maximum length of 500 characters")
	io, err := s.store.RunIO(t.Context(), s.runID)
	if err != nil {
		t.Fatal(err)
	}
	same(t, io[0], quant.RunIO{RunID: s.runID, Direction: quant.In, Kind: quant.IODataset, Name: "d", Digest: "abc"})

	// A run that is resumed has them still.
	s.must(http.MethodPost, "runs/update", `{"run_id":"`+s.run+`","status":"FINISHED"}`)
	s.must(http.MethodPost, "runs/update", `{"run_id":"`+s.run+`","status":"RUNNING"}`)
	doc = s.must(http.MethodGet, "runs/get?run_id="+s.run, "")
	same(t, at(t, doc, "run", "inputs", "dataset_inputs", 0, "dataset", "name"), "d")
}

func TestOlderClientsKeepTheModelsOfARunInATag(t *testing.T) {
	t.Parallel()
	s := newModelServer(t)
	for _, path := range []string{"a", "b"} {
		model := `{\"artifact_path\":\"` + path + `\",\"flavors\":{},\"run_id\":\"x\",\"utc_time_created\":\"now\"}`
		s.must(http.MethodPost, "runs/log-model", `{"run_id":"`+s.run+`","model_json":"`+model+`"}`)
	}
	list := at(t, s.must(http.MethodGet, "runs/get?run_id="+s.run, ""), "run", "data", "tags").([]any)
	if got := fmt.Sprint(list); !strings.Contains(got, `[{"artifact_path":"a"`) || !strings.Contains(got, `,{"artifact_path":"b"`) {
		t.Error(got)
	}
	s.refused(http.MethodPost, "runs/log-model", `{"run_id":"`+s.run+`","model_json":"x"}`, 400, "INVALID_PARAMETER_VALUE", "is not a valid JSON")
	s.refused(http.MethodPost, "runs/log-model", `{"run_id":"`+s.run+`","model_json":"{\"flavors\":{}}"}`, 400, "INVALID_PARAMETER_VALUE", "missing mandatory fields: {'artifact_path', 'run_id', 'utc_time_created'}")
	s.refused(http.MethodPost, "runs/log-model", `{"run_id":"`+s.run+`"}`, 400, "INVALID_PARAMETER_VALUE", "Missing value for required parameter 'model_json'")
}

func TestRunsAreFoundByTheirDatasets(t *testing.T) {
	t.Parallel()
	s := newModelServer(t)
	s.must(http.MethodPost, "runs/create", `{"experiment_id":"`+s.number+`"}`)
	s.must(http.MethodPost, "runs/log-inputs", `{"run_id":"`+s.run+`","datasets":[{"tags":[{"key":"mlflow.data.context","value":"training"}],"dataset":{"name":"prices","digest":"abc","source_type":"local","source":"x"}}]}`)
	for filter, want := range map[string]int{
		"dataset.name = 'prices'": 1, "datasets.name = 'none'": 0, "datasets.digest IN ('abc','x')": 1, "datasets.context = 'training'": 1, "datasets.name LIKE 'PR%'": 0, "datasets.name ILIKE 'PR%'": 1,
	} {
		doc := s.must(http.MethodPost, "runs/search", `{"experiment_ids":["`+s.number+`"],"filter":"`+filter+`"}`)
		runs, _ := doc["runs"].([]any)
		if len(runs) != want {
			t.Errorf("%s: %d runs, want %d", filter, len(runs), want)
		}
		if want == 1 {
			same(t, at(t, runs, 0, "inputs", "dataset_inputs", 0, "dataset", "name"), "prices")
		}
	}
}
