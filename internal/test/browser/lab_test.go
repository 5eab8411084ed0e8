package browser

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"quant/internal/test/labtest"
)

// What the lab has beside the demo's.
const (
	manyRuns   = 500    // of a client of MLflow, to be compared
	manyPoints = 10_000 // of a metric of the run "긴-곡선"
)

// filled is the demo's lab with a sweep, a model and runs of every look.
func filled(t *testing.T) *labtest.Lab {
	t.Helper()
	l := labtest.New(t)
	l.Must("demo", "lab")
	l.Dir = l.Path("lab")
	l.Must("sweep", "--strategy", "momentum_demo.yaml", "--set", "portfolio.top_k=2,3", "--set", "supervisor.max_weight_per_symbol=0.2,0.3")
	l.Must("experiments", "create", "shape", "--features", "ret_20d@v1,vol_20d@v1", "--label", "fwd_ret_60d@v1")
	l.Must("train", "--experiment", "shape")
	l.Must("exec", "--name", "긴-곡선", "--param", "학습률=0.01", "--param", "json="+strings.Repeat("a long value ", 60), "--tag", "팀=퀀트", "--", "sh", "-c", "echo 안녕하세요")

	var points bytes.Buffer
	for i := range manyPoints {
		fmt.Fprintf(&points, `{"metrics":{"loss":%.6f,"정확도":%.6f},"step":%d}`+"\n", math.Exp(-float64(i)/3000)+0.05*math.Sin(float64(i)/40), 1-math.Exp(-float64(i)/2000), i)
	}
	fmt.Fprintln(&points, `{"note":"손실이 줄었다.\nThe loss fell, and a second line."}`)
	log := l.Command("log", "--stdin", "--run", "@긴-곡선")
	log.Stdin = &points
	l.WantCode(l.StartCmd(log).Wait(), 0)
	l.Write("report.html", []byte(`<!doctype html><title>r</title><style>p { color: green }</style><script>try { top.document.title = "escaped" } catch { document.title = "kept in" }</script><p>보고서</p>`))
	l.Write("table.csv", []byte("symbol,close\nAAPL,1.5\n\"a,b\",2\n"))
	l.Must("log", "artifact", "report.html", "table.csv", "--run", "@긴-곡선")
	l.Want(3, "exec", "--name", "failed", "--", "sh", "-c", "for i in $(seq 200); do echo line $i of what it printed; done; echo ValueError: shapes do not fit >&2; exit 3")
	l.Must("jobs", "submit", "--", "symbols", "list")
	l.Must("jobs", "submit", "--retries", "1", "--retry-delay", "10ms", "--", "sh", "-c", "echo 실패; exit 3")
	l.Must("worker", "--until-empty")
	l.Must("jobs", "submit", "--priority", "high", "--", "sh", "-c", "echo '긴 명령 줄' "+strings.Repeat("and-more ", 40))
	l.Must("schedule", "add", "daily", "--after-close", "XKRX", "--delay", "30m", "--", "pipeline", "run", "--strategy", "전략.yaml")
	return l
}

// client writes as a client of MLflow does.
type client struct {
	t    *testing.T
	base string
}

func (c client) post(path string, body, into any) {
	c.t.Helper()
	text, err := json.Marshal(body)
	labtest.Must(c.t, err)
	answer, err := (&http.Client{Timeout: time.Minute}).Post(c.base+"/api/2.0/mlflow/"+path, "application/json", bytes.NewReader(text))
	labtest.Must(c.t, err)
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		c.t.Fatalf("%s: %s", path, answer.Status)
	}
	if into != nil {
		labtest.Must(c.t, json.NewDecoder(answer.Body).Decode(into))
	}
}

type object = map[string]any

// many records the runs of an experiment that somebody wants to compare.
func (c client) many(runs int) {
	c.t.Helper()
	var experiment struct {
		ID string `json:"experiment_id"`
	}
	c.post("experiments/create", object{"name": "격자 탐색"}, &experiment)
	for i := range runs {
		var created struct {
			Run struct {
				Info struct {
					ID string `json:"run_id"`
				} `json:"info"`
			} `json:"run"`
		}
		c.post("runs/create", object{"experiment_id": experiment.ID, "run_name": fmt.Sprintf("시도-%d", i), "start_time": time.Now().UnixMilli()}, &created)
		var metrics []object
		for step := range 5 {
			metrics = append(metrics, object{"key": "val_loss", "value": 1/float64(step+1) + float64(i%37)/100, "step": step, "timestamp": time.Now().UnixMilli()})
		}
		c.post("runs/log-batch", object{"run_id": created.Run.Info.ID, "metrics": metrics, "params": []object{
			{"key": "lr", "value": fmt.Sprint(0.001 * float64(i%10+1))}, {"key": "depth", "value": fmt.Sprint(i % 7)}, {"key": "optimizer", "value": []string{"adam", "sgd"}[i%2]},
		}}, nil)
		c.post("runs/update", object{"run_id": created.Run.Info.ID, "status": "FINISHED", "end_time": time.Now().UnixMilli()}, nil)
	}
}
