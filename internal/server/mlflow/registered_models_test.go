package mlflow

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestAModelIsRegisteredVersionedAndNamed(t *testing.T) {
	t.Parallel()
	s := newModelServer(t)
	doc := s.must(http.MethodPost, "registered-models/create", `{"name":"iris","description":"d","tags":[{"key":"team","value":"a"}]}`)
	same(t, at(t, doc, "registered_model", "tags"), []any{map[string]any{"key": "team", "value": "a"}})
	s.refused(http.MethodPost, "registered-models/create", `{"name":"iris"}`, 400, "RESOURCE_ALREADY_EXISTS", "Registered Model (name=iris) already exists")
	s.refused(http.MethodPost, "registered-models/create", `{"name":""}`, 400, "INVALID_PARAMETER_VALUE", "Missing value for required parameter 'name'")
	s.refused(http.MethodPost, "registered-models/create", `{"name":"a/b"}`, 400, "INVALID_PARAMETER_VALUE", "Names cannot contain '/' or ':'")
	s.refused(http.MethodPost, "registered-models/create", `{"name":7}`, 400, "INVALID_PARAMETER_VALUE", "Invalid value 7 for parameter 'name' supplied")
	s.refused(http.MethodGet, "registered-models/get?name=none", "", 404, "RESOURCE_DOES_NOT_EXIST", "Registered Model with name=none not found")

	for n := 1; n <= 3; n++ {
		doc = s.must(http.MethodPost, "model-versions/create", `{"name":"iris","source":"runs:/`+s.run+`/model","run_id":"`+s.run+`","tags":[{"key":"k","value":""}]}`)
		same(t, at(t, doc, "model_version", "version"), fmt.Sprint(n))
		same(t, at(t, doc, "model_version", "status"), "READY")
		same(t, at(t, doc, "model_version", "current_stage"), "None")
		same(t, at(t, doc, "model_version", "run_id"), s.run)
	}
	s.refused(http.MethodPost, "model-versions/create", `{"name":"none","source":"runs:/x/y"}`, 404, "RESOURCE_DOES_NOT_EXIST", "Registered Model with name=none not found")
	s.refused(http.MethodGet, "model-versions/get?name=iris&version=9", "", 404, "RESOURCE_DOES_NOT_EXIST", "Model Version (name=iris, version=9) not found")
	s.refused(http.MethodGet, "model-versions/get?name=iris&version=abc", "", 400, "INVALID_PARAMETER_VALUE", "Parameter 'version' must be an integer, got 'abc'")
	s.refused(http.MethodGet, "model-versions/get?name=iris", "", 400, "INVALID_PARAMETER_VALUE", "Missing value for required parameter 'version'")

	s.must(http.MethodPost, "registered-models/alias", `{"name":"iris","alias":"champion","version":"2"}`)
	same(t, at(t, s.must(http.MethodGet, "registered-models/alias?name=iris&alias=champion", ""), "model_version", "version"), "2")
	same(t, at(t, s.must(http.MethodGet, "registered-models/alias?name=iris&alias=LATEST", ""), "model_version", "version"), "3")
	same(t, at(t, s.must(http.MethodGet, "model-versions/get?name=iris&version=2", ""), "model_version", "aliases"), []any{"champion"})
	same(t, at(t, s.must(http.MethodGet, "registered-models/get?name=iris", ""), "registered_model", "aliases"), []any{map[string]any{"alias": "champion", "version": "2"}})
	for alias, message := range map[string]string{"latest": "is reserved", "v2": "is reserved", "a b": "Invalid alias name", strings.Repeat("a", 256): "exceeds the maximum length"} {
		s.refused(http.MethodPost, "registered-models/alias", `{"name":"iris","alias":"`+alias+`","version":"1"}`, 400, "INVALID_PARAMETER_VALUE", message)
	}
	s.refused(http.MethodGet, "registered-models/alias?name=iris&alias=none", "", 400, "INVALID_PARAMETER_VALUE", "Registered model alias none not found")

	s.must(http.MethodPost, "model-versions/transition-stage", `{"name":"iris","version":"1","stage":"production"}`)
	doc = s.must(http.MethodPost, "model-versions/transition-stage", `{"name":"iris","version":"2","stage":"Production","archive_existing_versions":true}`)
	same(t, at(t, doc, "model_version", "current_stage"), "Production")
	same(t, at(t, s.must(http.MethodGet, "model-versions/get?name=iris&version=1", ""), "model_version", "current_stage"), "Archived")
	s.refused(http.MethodPost, "model-versions/transition-stage", `{"name":"iris","version":"1","stage":"x"}`, 400, "INVALID_PARAMETER_VALUE", "Invalid Model Version stage: x")
	s.refused(http.MethodPost, "model-versions/transition-stage", `{"name":"iris","version":"1","stage":"None","archive_existing_versions":true}`, 400, "INVALID_PARAMETER_VALUE", "is not an Active stage")
	doc = s.must(http.MethodPost, "registered-models/get-latest-versions", `{"name":"iris","stages":["production"]}`)
	same(t, at(t, doc, "model_versions", 0, "version"), "2")

	s.must(http.MethodPatch, "model-versions/update", `{"name":"iris","version":"2","description":"words"}`)
	s.must(http.MethodPatch, "registered-models/update", `{"name":"iris","description":""}`)
	s.must(http.MethodPost, "model-versions/set-tag", `{"name":"iris","version":"2","key":"a","value":"b"}`)
	s.must(http.MethodDelete, "model-versions/delete-tag", `{"name":"iris","version":"2","key":"k"}`)
	doc = s.must(http.MethodGet, "model-versions/get?name=iris&version=2", "")
	same(t, at(t, doc, "model_version", "tags"), []any{map[string]any{"key": "a", "value": "b"}})
	same(t, at(t, doc, "model_version", "description"), "words")
	same(t, s.must(http.MethodGet, "model-versions/get-download-uri?name=iris&version=2", ""), map[string]any{"artifact_uri": "runs:/" + s.run + "/model"})

	s.must(http.MethodDelete, "model-versions/delete", `{"name":"iris","version":"3"}`)
	s.refused(http.MethodGet, "model-versions/get?name=iris&version=3", "", 404, "RESOURCE_DOES_NOT_EXIST", "not found")
	doc = s.must(http.MethodPost, "model-versions/create", `{"name":"iris","source":"models:/iris@champion"}`)
	same(t, at(t, doc, "model_version", "version"), "4")
	same(t, at(t, doc, "model_version", "source"), "models:/iris/2")
	same(t, at(t, doc, "model_version", "run_id"), s.run)
	same(t, at(t, s.must(http.MethodPost, "registered-models/rename", `{"name":"iris","new_name":"lily"}`), "registered_model", "name"), "lily")
	s.refused(http.MethodGet, "registered-models/get?name=iris", "", 404, "RESOURCE_DOES_NOT_EXIST", "not found")
	s.must(http.MethodDelete, "registered-models/delete", `{"name":"lily"}`)
	s.refused(http.MethodDelete, "registered-models/delete", `{"name":"lily"}`, 404, "RESOURCE_DOES_NOT_EXIST", "not found")
}

func TestModelsAndVersionsAreSearchedAndPaged(t *testing.T) {
	t.Parallel()
	s := newModelServer(t)
	for _, name := range []string{"alpha", "beta", "Gamma"} {
		s.must(http.MethodPost, "registered-models/create", `{"name":"`+name+`","tags":[{"key":"the team","value":"`+name+`"}]}`)
		for range 2 {
			s.must(http.MethodPost, "model-versions/create", `{"name":"`+name+`","source":"runs:/`+name+`/model","run_id":"run-`+name+`"}`)
		}
	}
	s.must(http.MethodPost, "registered-models/create", `{"name":"greeting","tags":[{"key":"mlflow.prompt.is_prompt","value":"true"}]}`)
	s.must(http.MethodPost, "model-versions/create", `{"name":"greeting","source":"dummy-source","tags":[{"key":"mlflow.prompt.is_prompt","value":"true"}]}`)
	names := func(list any, of string) string {
		var all []string
		rows, _ := list.([]any)
		for _, row := range rows {
			all = append(all, fmt.Sprint(row.(map[string]any)[of]))
		}
		return strings.Join(all, " ")
	}
	for filter, want := range map[string]string{
		"": "Gamma alpha beta", "name = 'alpha'": "alpha", `name = "alpha"`: "alpha", "name LIKE '%a'": "Gamma alpha beta", "name LIKE 'g%'": "", "name ilike 'G%'": "Gamma",
		"name != 'alpha' AND tags.`the team` LIKE 'b%'": "beta", `tag."the team" = 'Gamma'`: "Gamma",
		"tags.`mlflow.prompt.is_prompt` = 'true'": "greeting", "tags.`mlflow.prompt.is_prompt` != 'true' AND name LIKE '%a'": "Gamma alpha beta",
	} {
		doc := s.must(http.MethodGet, "registered-models/search?filter="+url.QueryEscape(filter), "")
		if got := names(doc["registered_models"], "name"); got != want {
			t.Errorf("%s: %s, want %s", filter, got, want)
		}
	}
	for filter, want := range map[string]string{
		"name='beta'": "2 1", "run_id IN ('run-beta','run-alpha')": "2 1 2 1", "version_number > 1": "2 2 2", "name = 'alpha' AND version_number <= 1": "1", "source_path = 'runs:/beta/model'": "2 1",
		"tags.`mlflow.prompt.is_prompt` = 'true'": "1", "": "2 1 2 1 2 1",
	} {
		doc := s.must(http.MethodGet, "model-versions/search?order_by=name&order_by=version_number+DESC&filter="+url.QueryEscape(filter), "")
		if got := names(doc["model_versions"], "version"); got != want {
			t.Errorf("%s: %s, want %s", filter, got, want)
		}
	}
	token, all := "", ""
	for range 10 {
		doc := s.must(http.MethodGet, "registered-models/search?max_results=1&order_by=name+DESC&page_token="+url.QueryEscape(token), "")
		all += names(doc["registered_models"], "name") + ","
		token, _ = doc["next_page_token"].(string)
		if token == "" {
			break
		}
	}
	if all != "beta,alpha,Gamma," {
		t.Error(all)
	}
	for _, filter := range []string{"name = alpha", "name > 'a'", "name = 'a' OR name = 'b'", "nothing = 'a'", "tags.x IN ('a')", "name", "name = 'a' AND", "(name = 'a')", "param.x = 'a'", "name = 'a' name = 'b'", "name = 'a;"} {
		s.refused(http.MethodGet, "registered-models/search?filter="+url.QueryEscape(filter), "", 400, "INVALID_PARAMETER_VALUE", "")
	}
	for _, filter := range []string{"version_number = 'x'", "version_number LIKE '1'", "source_path IN ('x')", "run_id IN ()", "run_id IN (1)", "run_id = ('x')"} {
		s.refused(http.MethodGet, "model-versions/search?filter="+url.QueryEscape(filter), "", 400, "INVALID_PARAMETER_VALUE", "")
	}
	s.refused(http.MethodGet, "registered-models/search?max_results=1001", "", 400, "INVALID_PARAMETER_VALUE", "It must be at most 1000, but got value 1001")
	s.refused(http.MethodGet, "registered-models/search?order_by=nothing", "", 400, "INVALID_PARAMETER_VALUE", "Invalid order by key 'nothing'")
	s.refused(http.MethodGet, "registered-models/search?order_by=name+sideways", "", 400, "INVALID_PARAMETER_VALUE", "Invalid ordering key")
	s.refused(http.MethodGet, "registered-models/search?order_by=name&order_by=name", "", 400, "INVALID_PARAMETER_VALUE", "duplicate")
	s.refused(http.MethodGet, "registered-models/search?page_token=x", "", 400, "INVALID_PARAMETER_VALUE", "Invalid page token")
}

func TestASourceThatIsAPathOfTheServerIsRefused(t *testing.T) {
	t.Parallel()
	s := newModelServer(t)
	s.must(http.MethodPost, "registered-models/create", `{"name":"m"}`)
	create := func(source string) string {
		b, err := json.Marshal(map[string]any{"name": "m", "source": source, "run_id": s.run})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, source := range []string{"/etc", "file:///etc/passwd", "file:/etc/passwd", "file://localhost/etc", "relative/path", "./x", "../../etc"} {
		s.refused(http.MethodPost, "model-versions/create", create(source), 400, "INVALID_PARAMETER_VALUE", "To use a local path as a model version source")
	}
	for _, source := range []string{
		"mlflow-artifacts://host:9000/models/artifact/..../x/..", "mlflow-artifacts://host:9000/models/../../../", "http://host:9000/models/../../../",
		"https://host/api/2.0/mlflow-artifacts/artifacts/../../../", "s3a://my_bucket/api/../../../", "ftp://host:8888/../../../", "mlflow-artifacts:/../../x",
		"mlflow-artifacts://host:9000/models/..%2f..%2fartifacts", "mlflow-artifacts://host:9000/models/artifact%00", "dbfs:/x/artifacts/a%3f/../../../../", "runs:/x/../../y", "http://host/%252e%252e%252fx",
	} {
		s.refused(http.MethodPost, "model-versions/create", create(source), 400, "INVALID_PARAMETER_VALUE", "Invalid model version source")
	}
	s.refused(http.MethodPost, "model-versions/create", create("file://123.456.789.123/path"), 500, "INTERNAL_ERROR", "is not a valid remote uri")
	for _, source := range []string{"mlflow-artifacts:/models", "mlflow-artifacts:/models/", "mlflow-artifacts:/models///", "mlflow-artifacts:/models/foo///bar", "mlflow-artifacts://host:9000/models", "s3://bucket/key", "http://host/x?y=z"} {
		s.must(http.MethodPost, "model-versions/create", create(source))
	}
}

// TestNoURIOfAClientIsOpened registers what points at a server of the test and asks
// for its files in every way there is.
func TestNoURIOfAClientIsOpened(t *testing.T) {
	t.Parallel()
	s := newModelServer(t)
	asked := 0
	bait := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer bait.Close()
	s.must(http.MethodPost, "registered-models/create", `{"name":"m"}`)
	s.must(http.MethodPost, "model-versions/create", `{"name":"m","source":"`+bait.URL+`/model"}`)
	s.must(http.MethodPost, "experiments/create", `{"name":"elsewhere","artifact_location":"`+bait.URL+`/x"}`)
	s.must(http.MethodPost, "runs/log-inputs", `{"run_id":"`+s.run+`","datasets":[{"dataset":{"name":"d","digest":"1","source_type":"http","source":"`+bait.URL+`/data.csv"}}]}`)
	same(t, s.must(http.MethodGet, "model-versions/get-download-uri?name=m&version=1", "")["artifact_uri"], bait.URL+"/model")
	for _, path := range []string{"/model-versions/get-artifact?name=m&version=1&path=MLmodel", "/ajax-api/2.0/mlflow/model-versions/get-artifact?name=m&version=1&path=MLmodel"} {
		if w := s.do(http.MethodGet, path, nil); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	s.must(http.MethodGet, "artifacts/list?run_id="+s.run, "")
	if asked > 0 {
		t.Errorf("the server was asked %d times", asked)
	}
}

func TestAVersionsFilesAreThoseOfItsRun(t *testing.T) {
	t.Parallel()
	s := newModelServer(t)
	s.put(s.number+"/"+s.run+"/artifacts/model/MLmodel", "flavors")
	s.must(http.MethodPost, "registered-models/create", `{"name":"m"}`)
	s.must(http.MethodPost, "model-versions/create", `{"name":"m","source":"mlflow-artifacts:/`+s.number+`/`+s.run+`/artifacts/model"}`)
	s.must(http.MethodPost, "model-versions/create", `{"name":"m","source":"runs:/`+s.run+`/model"}`)
	for _, version := range []string{"1", "2"} {
		if w := s.do(http.MethodGet, "/model-versions/get-artifact?name=m&version="+version+"&path=MLmodel", nil); w.Body.String() != "flavors" {
			t.Errorf("version %s: %d %s", version, w.Code, w.Body)
		}
		if w := s.do(http.MethodGet, "/model-versions/get-artifact?name=m&version="+version+"&path=..%2f..%2fx", nil); w.Code != http.StatusBadRequest {
			t.Errorf("version %s: %d %s", version, w.Code, w.Body)
		}
	}
}

func FuzzModelFilters(f *testing.F) {
	for _, filter := range []string{"name = 'a'", "tags.`x y` LIKE \"b\" AND version_number >= 2", "run_id IN ('a','b',)", "metrics.auc > 1e-3", "a.'b'", "x NOT IN ('", "`", "tags.a.b-c/d != ''''"} {
		f.Add(filter)
	}
	f.Fuzz(func(t *testing.T, filter string) {
		s := newModelServer(t)
		body, err := json.Marshal(map[string]any{"experiment_ids": []string{s.number}, "filter": filter})
		if err != nil {
			t.Fatal(err)
		}
		if status, doc := s.json(http.MethodPost, "logged-models/search", string(body)); status != 200 && status != 400 {
			t.Fatalf("%q: %d %v", filter, status, doc)
		}
		for _, path := range []string{"registered-models/search", "model-versions/search"} {
			if status, doc := s.json(http.MethodGet, path+"?filter="+url.QueryEscape(filter), ""); status != 200 && status != 400 {
				t.Fatalf("%q: %d %v", filter, status, doc)
			}
		}
	})
}
